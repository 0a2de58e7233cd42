"""The runs of a report, read from their folders and grouped into the rows of the paper's tables."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tqdm import tqdm

from mere_ds.errors import UserError
from mere_ds.evaluation.intervals import spread
from mere_ds.evaluation.many import scores_of_many
from mere_ds.evaluation.predictions import evaluation_name
from mere_ds.evaluation.provenance import Evaluation, check_same_sentences, check_scored_alike, read_evaluation
from mere_ds.evaluation.report.rows import deciding_knobs, order, row_name, variant, varied
from mere_ds.evaluation.summary import scores_of
from mere_ds.runs.run_folder import RunFolder

SPLIT = "test"


def sweep(run: Evaluation, metric: str) -> dict[int, float]:
    """Average F1 by k, from the run's evaluations with a given k and the one as trained. Raises UserError if they are
    not of the same model on the same data."""
    found = {run.content["k"]: run.content["average"][metric]}
    for path in sorted(run.run.evaluation.glob(evaluation_name(SPLIT, None) + "-k*.json")):
        if k := re.fullmatch(r".*-k([0-9]+)", path.stem):
            other = read_evaluation(run.run, SPLIT, int(k[1]))
            check_scored_alike(run, other)
            found[other.content["k"]] = other.content["average"][metric]
    return found


@dataclass(frozen=True)
class Result:
    """A row's answers with one seed: one run, or one run per language for models of a single language (MONO)."""

    row: str
    seed: int
    runs: tuple[Evaluation, ...]
    scores: dict
    """See `summary.scores_of`, and `many.scores_of_many` for any number of triples."""

    @property
    def name(self) -> str:
        return f"{self.row}, seed {self.seed}"

    def records(self) -> Iterator[dict]:
        return _records(self.runs)


@dataclass(frozen=True)
class Row:
    """Runs that differ only in their seed."""

    name: str
    paper: str
    """The paper's name of this row."""
    knobs: dict
    results: tuple[Result, ...]

    def mean(self, figure: Callable[[dict], float | None]) -> dict | None:
        """`{"mean", "deviation"}` over seeds of a value in `summary.scores_of`; None if it is missing for a seed."""
        found = [figure(result.scores) for result in self.results]
        values = [value for value in found if value is not None]
        return spread(values) if len(values) == len(found) else None

    def triple(self, language: str | None, metric: str = "triple") -> dict | None:
        """The same for triple F1 in a language (None: the average over languages), by tokens or by characters
        (`triple_characters`)."""
        return self.mean(lambda s: (s["languages"].get(language, {}) if language else s["average"]).get(metric))


def load_rows(folders: Iterable[str]) -> list[Row]:
    """The runs' rows in the paper's order, with all their scores.

    Raises UserError for a folder without an evaluation of its current model, for runs scored on different sentences or
    of both kinds (one triple a sentence, any number), and for two runs with the same settings and seed.
    """
    runs = [read_evaluation(RunFolder(folder), SPLIT) for folder in dict.fromkeys(folders)]
    if not runs:
        raise UserError("RUN is missing: pass one run folder or more")
    for run in runs:
        if not run.content["languages"]:
            raise UserError(f"{run.path}: the test set is empty, so there is nothing to report")
        if _has_many(run) != _has_many(runs[0]):
            one, other = sorted((runs[0], run), key=_has_many)
            raise UserError(
                f"{one.run.root} finds one triple a sentence and {other.run.root} any number: their scores can't be "
                "compared, so make a report of each kind"
            )
    check_same_sentences(runs)
    precisions = {run.content["precision"] for run in runs}
    names: dict[str, list[Evaluation]] = {}
    for run in runs:
        names.setdefault(_name(run), []).append(run)
    with tqdm(total=len(runs), desc="scores", unit="run", disable=None) as bar:
        return [
            row
            for name in sorted(names, key=order)
            for row in _rows(name, names[name], len(precisions) > 1, bar.update)
        ]


def _has_many(run: Evaluation) -> bool:
    return run.content.get("triples") == "many"


def have_many(rows: Iterable[Row]) -> bool:
    """Whether the runs of a report have any number of triples a sentence: all have, or none."""
    return any(_has_many(run) for row in rows for result in row.results for run in result.runs)


def _name(run: Evaluation) -> str:
    """The paper's name of a run's row, with what is unusual about the run."""
    trained = run.made_from["trained"][f"stage{run.content['stage']}"]
    return ", ".join((row_name(run.content["system"], trained["--languages"]), *run.remarks(precision=False)))


def _rows(name: str, runs: list[Evaluation], mixed: bool, advance: Callable[[int], object]) -> Iterator[Row]:
    """The rows that share a name: one per setting, and per precision of scoring if the report mixes precisions."""
    knobs = {run.path: deciding_knobs(run.made_from["trained"]) for run in runs}
    differing = varied(knobs.values())
    settings: dict[str, dict[int, list[Evaluation]]] = {}
    for run in runs:
        setting = variant(knobs[run.path], differing)
        row = ", ".join(filter(None, (name, setting, f"scored in {run.content['precision']}" if mixed else "")))
        settings.setdefault(row, {}).setdefault(run.content["seed"], []).append(run)
    for row in sorted(settings):
        results = tuple(_result(row, seed, tuple(runs)) for seed, runs in sorted(settings[row].items()))
        first, *_ = results[0].runs
        advance(sum(len(result.runs) for result in results))
        yield Row(row, name, knobs[first.path], results)


def _result(row: str, seed: int, runs: tuple[Evaluation, ...]) -> Result:
    seen: dict[str, Evaluation] = {}
    for run in runs:
        for language in run.content["languages"]:
            if other := seen.get(language):
                raise UserError(
                    f"{other.run.root} and {run.run.root} are both {row} with seed {seed}: pass only one of them"
                )
            seen[language] = run
    return Result(row, seed, runs, (scores_of_many if _has_many(runs[0]) else scores_of)(_records(runs)))


def _records(runs: Iterable[Evaluation]) -> Iterator[dict]:
    for run in runs:
        yield from run.records()
