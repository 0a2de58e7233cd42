"""Example -> Parquet: `{language}.{split}.parquet`, a row a sentence, which the format "table" reads again."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mere_ds.corpus.example import Example
from mere_ds.corpus.formats.table_files import metadata_of, pyarrow_or_error
from mere_ds.corpus.formats.writer import new_file

if TYPE_CHECKING:
    import pyarrow

_ROWS = 4096  # of a row group


class ParquetWriter:
    """Columns id, lang, text, and triples: head_start, head_end, relation, tail_start, tail_end; offsets count code
    points, ends are exclusive, as the schema's metadata says."""

    def __init__(self, folder: Path, shown: Path):
        """`shown` is the folder's name in messages. Raises UserError where pyarrow is missing."""
        self._pyarrow = pyarrow_or_error("parquet")
        self._folder, self._shown = folder, shown
        self._schema = _schema(self._pyarrow)
        self._files: dict[str, Any] = {}
        self._rows: dict[str, list[Example]] = {}

    def __enter__(self) -> "ParquetWriter":
        self._stack = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None:
                for name in self._files:
                    self._flush(name)

    def write(self, example: Example, split: str) -> None:
        """See `mere_ds.corpus.formats.writer.Writer`."""
        name = f"{example.language}.{split}.parquet"
        if name not in self._files:
            stream = self._stack.enter_context(new_file(self._folder / name, self._shown))
            writer = self._pyarrow.parquet.ParquetWriter(stream, self._schema)
            self._files[name], self._rows[name] = self._stack.enter_context(writer), []
        self._rows[name].append(example)
        if len(self._rows[name]) == _ROWS:
            self._flush(name)

    def _flush(self, name: str) -> None:
        rows, pa = self._rows[name], self._pyarrow
        triples = [triple for example in rows for triple in example.triples]
        ends = [0]
        for example in rows:
            ends.append(ends[-1] + len(example.triples))
        item = self._schema.field("triples").type.value_type
        places = [(*head, relation, *tail) for head, relation, tail in triples]
        fields = [pa.array(column, field.type) for column, field in zip(_columns(places), item, strict=True)]
        columns = [
            pa.array([example.id for example in rows], pa.string()),
            pa.array([example.language for example in rows], pa.string()),
            pa.array([example.text for example in rows], pa.string()),
            pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(fields, fields=list(item))),
        ]
        self._files[name].write_table(pa.Table.from_arrays(columns, schema=self._schema))
        rows.clear()


def _columns(places: list[tuple[int, int, str, int, int]]) -> list[tuple]:
    return list(zip(*places, strict=True)) or [()] * 5


def _schema(pa: Any) -> "pyarrow.Schema":
    place, text = pa.int32(), pa.string()
    triple = pa.struct(
        [
            pa.field(name, text if name == "relation" else place, nullable=False)
            for name in ("head_start", "head_end", "relation", "tail_start", "tail_end")
        ]
    )
    columns = [("id", text), ("lang", text), ("text", text), ("triples", pa.list_(triple))]
    return pa.schema([pa.field(*column) for column in columns], metadata=metadata_of("char", "exclusive"))
