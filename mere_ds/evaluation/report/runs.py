"""What a report is about: the given runs, read from their folders and put into the rows of the paper's tables."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mere_ds.errors import UserError
from mere_ds.evaluation.intervals import spread
from mere_ds.evaluation.predictions import evaluation_name, read_predictions
from mere_ds.evaluation.report.rows import deciding_knobs, order, row_name, variant, varied
from mere_ds.evaluation.summary import scores_of
from mere_ds.training.run_folder import RunFolder

SPLIT = "test"


@dataclass(frozen=True)
class Run:
    """A run folder as `mere-ds train` and `mere-ds evaluate` left it."""

    folder: RunFolder
    config: dict
    evaluation: dict
    """RUN/evaluation/test.json."""

    def sweep(self, metric: str) -> dict[int, float]:
        """Average F1 by k: of the evaluations that were given a k, and of the one as trained."""
        found = {self.evaluation["k"]: self.evaluation["average"][metric]}
        for path in self.folder.evaluation.glob(evaluation_name(SPLIT, None) + "-k*.json"):
            content = _json(path)
            found[content["k"]] = content["average"][metric]
        return found


@dataclass(frozen=True)
class Result:
    """A row's answers with one seed: one run, or one a language where each was trained alone (MONO)."""

    row: str
    seed: int
    runs: tuple[Run, ...]
    scores: dict
    """See `summary.scores_of`."""

    @property
    def name(self) -> str:
        return f"{self.row}, seed {self.seed}"

    def records(self) -> Iterator[dict]:
        return _records(self.runs)


@dataclass(frozen=True)
class Row:
    """Runs that differ in nothing but their seed."""

    name: str
    paper: str
    """The paper's name of this row."""
    knobs: dict
    results: tuple[Result, ...]

    def mean(self, figure: Callable[[dict], float | None]) -> dict | None:
        """`{"mean", "deviation"}` over seeds of a figure of `summary.scores_of`; None where a seed hasn't got it."""
        values = [figure(result.scores) for result in self.results]
        return None if None in values else spread(values)

    def triple(self, language: str | None, metric: str = "triple") -> dict | None:
        """The same of triple F1 in a language, None: of the average over languages; by tokens, or by characters
        (`triple_characters`)."""
        return self.mean(lambda s: (s["languages"].get(language, {}) if language else s["average"]).get(metric))


def load_rows(folders: Iterable[str]) -> list[Row]:
    """The runs' rows in the paper's order, with all their scores.

    Raises UserError for a folder that is no evaluated run, and for two runs of the same settings and seed.
    """
    runs = [_load(folder) for folder in dict.fromkeys(folders)]
    if not runs:
        raise UserError("RUN is missing: name one run folder or more")
    names: dict[str, list[Run]] = {}
    for run in runs:
        names.setdefault(row_name(run.config), []).append(run)
    with tqdm(total=len(runs), desc="scores", unit="run", disable=None) as bar:
        return [row for name in sorted(names, key=order) for row in _rows(name, names[name], bar.update)]


def _load(folder: str) -> Run:
    run = RunFolder(folder)
    if not run.config.is_file():
        raise UserError(f"{folder}: config.json is missing: name the folder of a run")
    path = run.evaluation / f"{evaluation_name(SPLIT, None)}.json"
    if not path.with_suffix(".jsonl").is_file() or not path.is_file():
        raise UserError(f"{folder} has no predictions: run mere-ds evaluate {folder} first")
    evaluation = _json(path)
    if not evaluation["languages"]:
        raise UserError(f"{folder}: its test set is empty, there is nothing to report")
    return Run(run, _json(run.config), evaluation)


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None


def _rows(name: str, runs: list[Run], advance: Callable[[int], object]) -> Iterator[Row]:
    """The rows that share a name: one a setting."""
    differing = varied(deciding_knobs(run.config) for run in runs)
    settings: dict[str, dict[int, list[Run]]] = {}
    for run in runs:
        setting = variant(deciding_knobs(run.config), differing)
        settings.setdefault(setting, {}).setdefault(run.folder.told["seed"], []).append(run)
    for setting in sorted(settings):
        row = f"{name}, {setting}" if setting else name
        results = tuple(_result(row, seed, tuple(runs)) for seed, runs in sorted(settings[setting].items()))
        first, *_ = results[0].runs
        advance(sum(len(result.runs) for result in results))
        yield Row(row, name, deciding_knobs(first.config), results)


def _result(row: str, seed: int, runs: tuple[Run, ...]) -> Result:
    seen: dict[str, Run] = {}
    for run in runs:
        for language in run.evaluation["languages"]:
            if other := seen.get(language):
                raise UserError(
                    f"{other.folder.root} and {run.folder.root} are both {row} with seed {seed}: give one of them"
                )
            seen[language] = run
    return Result(row, seed, runs, scores_of(_records(runs)))


def _records(runs: Iterable[Run]) -> Iterator[dict]:
    for run in runs:
        yield from read_predictions(run.folder.evaluation / f"{evaluation_name(SPLIT, None)}.jsonl")
