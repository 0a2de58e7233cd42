"""An input of any length answered unit by unit, to a stream or to a file; an interrupted call is gone on with."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tqdm import tqdm

from mere_ds.bulk.answering import Answerer, kinds_of
from mere_ds.bulk.finishing import finish_output, is_finished, remove_work, states_of
from mere_ds.bulk.processes import working
from mere_ds.bulk.progress import AGAIN, Done, Progress, Totals
from mere_ds.bulk.reading import Source, Unit
from mere_ds.bulk.rows import Parser
from mere_ds.bulk.writing import Writer
from mere_ds.config import Precision
from mere_ds.errors import UserError
from mere_ds.files import digest_file, naming
from mere_ds.inference import Extractor
from mere_ds.parts import WHOLE, Part

STREAM = "a stream"
"""What an output was made from, where it can't be read again."""


@dataclass(frozen=True)
class Options:
    """How the model is used: arguments of `Extractor.load`."""

    k: int | None
    min_score: float | None
    max_triples: int | None
    negative_labels: tuple[str, ...]
    batch_size: int
    precision: Precision
    candidates: bool = False
    threads: int | None = None


class Result(NamedTuple):
    """What became of a unit."""

    content: bytes
    done: Done
    read: int


@dataclass(frozen=True)
class Job:
    """All that a process needs to answer units."""

    model: Path
    options: Options
    language: str | None
    """Of the rows that say none."""
    parser: Parser
    writer: Writer
    digests: bool
    """Whether results have digests of what was read."""

    def begin(self, threads: int | None) -> Callable[[Unit], Result]:
        """Loads the model and returns the function that answers a unit. `threads` is for options that don't say; None:
        one for each core."""
        options = self.options if self.options.threads else replace(self.options, threads=threads)
        extractor = Extractor.load(self.model, **asdict(options))
        answerer = Answerer(extractor, extractor.languages, self.language)
        gc.freeze()  # what was loaded stays
        return partial(self._answer, answerer)

    def _answer(self, answerer: Answerer, unit: Unit) -> Result:
        answers = answerer.answer(self.parser.rows(unit.content, unit.first))
        triples = sum(len(answer.triples) for answer in answers)
        digest = unit.digest if self.digests else None
        done = Done(unit.number, 0, len(answers), triples, dict(kinds_of(answers)), digest)
        return Result(self.writer.unit(answers), done, unit.read)


@dataclass(frozen=True)
class Target:
    """Which output is made, and how much of it by this call."""

    out: Path
    made_from: dict[str, Any]
    part: Part = WHOLE
    overwrite: bool = False
    resume: bool = True


def input_digest(source: Source) -> str:
    """sha256, in hex, of a file; `STREAM` for what can be read only once."""
    return digest_file(source.path) if source.path else STREAM


def answer_stream(job: Job, source: Source, processes: int, stream: BinaryIO, show: bool) -> Totals:
    """Write each unit's answers to `stream` as soon as they are there."""
    totals = Totals()
    with _bar(source, show) as advance, working(_begin(job, processes), processes) as work:
        result: Result
        for result in work(source.units()):
            with naming(Path("standard output")):
                stream.write(result.content)
                stream.flush()  # the caller may wait for an answer before it writes the next line
            totals.add(result.done)
            advance(result.read)
    return totals


def answer_file(job: Job, source: Source, target: Target, processes: int) -> Totals | None:
    """Make `target.out`, or its part beside it; goes on with what an interrupted call has left. None if it is there
    already.

    Raises UserError for an output that is there or was begun from something else, MachineError while another process
    makes it, OSError that names it.
    """
    out, part, writer = target.out, target.part, job.writer
    if is_finished(out, target.made_from, target.overwrite, is_stream=source.path is None):
        remove_work(out)
        return None
    header = writer.header() if part.of == 1 else b""
    try:
        with Progress(out, part, target.made_from, header, target.resume) as progress:
            if not progress.state.whole:
                _advance(job, source, progress, processes)
                progress.finish()
            if part.of == 1:
                finish_output(out, {part: progress.state}, writer, _table(job, source))
    except KeyboardInterrupt as stopped:
        stopped.args = (f"nothing is lost: the same command goes on with {out}",)
        raise
    return Totals.of([progress.state])


def join_parts(job: Job, source: Source, target: Target) -> Totals | None:
    """Make `target.out` of the parts that other calls have made, as many as `target.part.of`; None if it is there."""
    if is_finished(target.out, target.made_from, target.overwrite, is_stream=source.path is None):
        remove_work(target.out)
        return None
    states = states_of(target.out, target.made_from, target.part.of)
    finish_output(target.out, states, job.writer, _table(job, source))
    return Totals.of(states.values())


def _table(job: Job, source: Source) -> Path | None:
    return source.path if job.writer.format == "parquet" == job.parser.format else None


def _advance(job: Job, source: Source, progress: Progress, processes: int) -> None:
    """Make the units that are missing."""
    with _bar(source, show=True) as advance:
        units = (unit for unit in source.units() if progress.part.has(unit.number))
        for done in progress.state.done:
            unit = next(units, None)
            if unit is None or (done.digest is not None and unit.digest != done.digest):
                raise UserError(f"{source.name}: is not what {progress.out} was begun from: {AGAIN}")
            advance(unit.read)
        first = list(islice(units, processes))  # no more processes than units
        processes = max(1, min(processes, len(first)))
        result: Result
        if first:
            with working(_begin(job, processes), processes) as work:
                for result in work(chain(first, units)):
                    progress.append(result.content, result.done)
                    advance(result.read)


def _begin(job: Job, processes: int) -> Callable[[], Callable[[Unit], Result]]:
    return partial(job.begin, None if processes == 1 else 1)


@contextmanager
def _bar(source: Source, show: bool) -> Iterator[Callable[[int], None]]:
    """A function that is told how much was read: bytes of a file, which tell the time left too, or rows of a stream."""
    unit = " rows" if source.total is None else "B"
    with tqdm(total=source.total, unit=unit, unit_scale=True, disable=None if show else True) as bar:
        yield lambda read: bar.update(read - bar.n)
