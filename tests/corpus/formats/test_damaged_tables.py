"""Whatever a table holds, it is counted row by row or refused in one line."""

import json
import random
from contextlib import suppress

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.formats.checking import FormatFile, Source, read_source
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import FORMATS
from mere_ds.corpus.rows import Tally
from mere_ds.errors import UserError
from tests.corpus.formats.reading import check, convert

LINK = {"head_start": 0, "head_end": 3, "relation": "in", "tail_start": 12, "tail_end": 16}
ROW = {"id": "1", "text": "Ada lebt in Bonn.", "triples": [LINK, LINK | {"relation": "on"}]}
FLAT = {"id": "1", "text": "Ada lebt in Bonn.", **LINK, "head": "Ada", "tail": "Bonn"}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(LINK)), inner, max_size=3),
    max_leaves=5,
)


def attempt(path, **options):
    """Reads a table; what was read is checked by `convert`."""
    with suppress(UserError):
        convert(path, "table", **{"end": "exclusive", **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def json_lines(folder, rows):
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@given(key=st.sampled_from(list(FLAT)), value=VALUES, end=st.sampled_from(["auto", "exclusive"]))
def test_any_value_in_a_row_of_one_relation(folder, key, value, end):
    attempt(json_lines(folder, [FLAT, {**FLAT, key: value}, FLAT | {"id": "3"}]), end=end)


@given(key=st.sampled_from(list(ROW)), inner=st.sampled_from([None, *LINK]), value=VALUES)
def test_any_value_in_a_row_of_many_relations(folder, key, inner, value):
    changed = {**ROW, "triples": [{**LINK, inner: value}]} if inner else {**ROW, key: value}
    attempt(json_lines(folder, [ROW, changed]))


def damaged(content: bytes, seed: int) -> bytes:
    """Some bytes changed, or the end cut off."""
    chance = random.Random(seed)
    found = bytearray(content)
    for _ in range(chance.randrange(4)):
        found[chance.randrange(len(found))] = chance.randrange(256)
    return bytes(found[: chance.choice((len(found), chance.randrange(len(found))))])


@pytest.fixture(scope="module")
def contents(folder):
    """Whole files by suffix."""
    table = pyarrow.Table.from_pylist([FLAT] * 5)
    pyarrow.parquet.write_table(table, folder / "whole.parquet")
    lines = [",".join(FLAT), *['1,"Ada lebt\nin ""Bonn"".",0,3,in,12,16,Ada,Bonn'] * 5]
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {
        ".parquet": (folder / "whole.parquet").read_bytes(),
        ".csv": "\n".join([*lines, ""]).encode(),
        ".jsonl": (json.dumps(ROW) + "\n").encode() * 5,
        ".arrow": sink.getvalue().to_pybytes(),
    }


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@given(seed=st.integers(0, 2**32))
def test_damaged_bytes(folder, contents, suffix, seed):
    path = folder / f"x{suffix}"
    path.write_bytes(damaged(contents[suffix], seed))
    attempt(path)


@given(seed=st.integers(0, 2**32))
def test_damaged_bytes_of_a_saved_dataset(folder, contents, seed):
    part = folder / "train"
    part.mkdir(exist_ok=True)
    (part / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
    (part / "x.arrow").write_bytes(damaged(contents[".arrow"], seed))
    source = Source(FORMATS["datasets"], SourceOptions(end="exclusive"))
    file, rejects = FormatFile(part, "train", "de"), []
    tally = Tally(file)
    with suppress(UserError):
        examples = list(read_source(source, file, False, None, rejects.append, tally))
        check(tally.counts[0], examples, rejects, source.format)
