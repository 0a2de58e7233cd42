"""What `mere-ds extract` is told besides the model and a single text, as knobs."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mere_ds.bulk.rows import InputFormat
from mere_ds.bulk.writing import OutputFormat
from mere_ds.config import AUTO, NO_RELATION, Precision, Which
from mere_ds.errors import UserError
from mere_ds.knobs import check_knobs, knob
from mere_ds.parts import Part, asked_for
from mere_ds.runs.trained import check_limits
from mere_ds.sums import OPTIMIZER

_PROCESS_BYTES = 1 << 30  # of Python, its libraries and a batch

_free = partial(knob, on_resume="free")
_content = partial(knob, on_resume="content")  # what it leads to is compared


@dataclass(frozen=True)
class ExtractSettings:
    """Raises UserError for values that don't fit together."""

    lang: str | None = knob(
        "Language of the texts, such as de, or auto, which detects it; with --lang_field that of rows without one.",
        None,
        also="language",
    )
    candidates: bool = knob(
        "Say for each text whose language is detected which ones come into question, and how certainly (JSON lines).",
        False,
    )
    file: str | None = _content("File of texts; - is standard input.", None, also="input source")
    input_format: InputFormat | None = _content(
        "lines, jsonl, csv or parquet (None: as the file's name says; standard input has lines).", None, also="format"
    )
    text_field: str | None = knob("Field or column with the text (None: text).", None, also="column text_column")
    lang_field: str | None = knob(
        "Field or column with the language of each text (None: all are in --lang).", None, also="lang_column"
    )
    out: str | None = _content(
        "File for the answers: .jsonl, .csv (a row a triple), .nt (N-Triples), each also with .gz or .zst; .parquet; "
        "with --to=neo4j a folder (None: print JSON lines).",
        None,
        also="output",
    )
    to: OutputFormat | None = _content(
        "jsonl, csv, nt, parquet or neo4j (None: as the name of OUT says).", None, also="output_format"
    )
    min_score: float | None = knob(
        "Least score of a triple, 0 to 1 (None: the model's threshold; without one, any).", None, also="threshold"
    )
    max_triples: int | None = knob(
        "Maximum number of triples per text, those with the highest scores (None: no maximum).", None
    )
    negative_label: tuple[str, ...] = knob(
        "Relations that mean that there is none; answers leave them out.", (NO_RELATION,)
    )
    keep_negative: bool = knob("Give triples with these relations too.", False)
    document: bool = knob(
        "Read the whole input as one text of any length and print one triple a line, with offsets of the text, in the "
        "order of its sentences; nothing is cut off, and MAX_TRIPLES is of a sentence.",
        False,
    )
    k: int | None = knob("Number of sub-modules to run (None: as trained, 3 by default).", None)
    which: Which = _content(
        "The best or the latest model of the last stage; stage1: the best model of stage one, without stage two (each "
        "answer says so).",
        "best",
    )
    batch_size: int = knob("Number of texts that the model computes at a time, at most.", 32, least=1)
    precision: Precision = knob(
        "Number format of the computation; auto: bf16 where a CPU has products in it, and on GPUs (fp16 on older "
        "ones), else fp32. 16 bits are faster, but round.",
        "auto",
    )
    threads: int | None = _free(
        "Number of threads of a process on a CPU (None: one for each core, or a single one if there are several "
        "processes).",
        None,
        least=1,
    )
    processes: int | None = _free(
        "Number of processes with a thread each (None: with OUT as many as cores and memory allow, but one where there "
        "is a GPU; without OUT one, with all its threads).",
        None,
        least=1,
        also="workers jobs",
    )
    part: str | None = _content(
        "Make only this part of OUT, such as 2/4, the second of four; --join makes OUT of them.", None
    )
    join: int | None = _content(
        "Make OUT of this many parts, after all of them; the other flags are those of the parts.", None, least=1
    )
    overwrite: bool = _free("Replace OUT.", False)
    resume: bool = _free("Go on where the same command was stopped; --noresume begins again.", True)

    def __post_init__(self) -> None:
        check_limits(self.min_score, self.max_triples)
        check_knobs(self)
        if self.lang is None and self.lang_field is None:
            raise UserError("--lang=... is missing; see mere-ds extract --help")
        if self.document and (self.lang is None or self._given("input_format", "text_field", "lang_field", "out")):
            raise UserError("--document prints the triples of one text: pass --lang, and neither fields nor --out")
        if self.candidates and self.document:
            raise UserError("--candidates is of texts: leave it or --document out")
        if self.candidates and self.lang != AUTO and self.lang_field is None:
            raise UserError("--candidates is of detected languages: pass --lang=auto, or leave it out")
        if self.out is None and (self.to not in (None, "jsonl") or self._given("part", "join", "overwrite")):
            raise UserError("--to, --part, --join and --overwrite are about a file: pass --out")
        _ = self.share

    @property
    def share(self) -> Part:
        """The part of OUT that is made, or the last of those that are joined."""
        return asked_for(self.part, self.join)

    def check_alone(self, text: str) -> None:
        """Raises UserError unless TEXT is to be read, and nothing else."""
        if self.file is not None:
            raise UserError("TEXT and --file are both given: pass only one of them")
        if self._given("input_format", "text_field", "lang_field", "out"):
            raise UserError("TEXT is one text: leave --input_format, fields and --out out, or pass --file")
        if not text.strip():
            raise UserError("TEXT is empty: pass a sentence")
        if _is_file(text):
            raise UserError(f"TEXT is the name of a file: to read that, pass --file={text}")

    def check_fields(self, format: InputFormat) -> None:
        """Raises UserError for fields of an input that has none."""
        if format == "lines" and self._given("text_field", "lang_field"):
            raise UserError("--text_field and --lang_field: lines have no fields: pass --input_format")

    def _given(self, *names: str) -> bool:
        return any(getattr(self, name) for name in names)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False


def processes_for(model: Path) -> int:
    """How many processes compute best: one where there is a GPU, otherwise one a core, if memory is enough for as many
    models."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if not hidden and any(Path("/dev").glob("nvidia[0-9]*")):
        return 1
    weights = sum(path.stat().st_size for path in model.iterdir() if path.is_file() and path.name != OPTIMIZER)
    return max(1, min(len(os.sched_getaffinity(0)), _free_bytes() // (2 * weights + _PROCESS_BYTES)))


def _free_bytes() -> int:
    """Memory that processes can have; where the system doesn't say, all that there is."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
