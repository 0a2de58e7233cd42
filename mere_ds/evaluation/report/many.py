"""The report's tables of runs with any number of triples a sentence, and the reliability diagram of their scores."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from mere_ds.corpus.overlaps import OVERLAPS
from mere_ds.evaluation.calibration import calibration_error
from mere_ds.evaluation.intervals import LEVEL, spread
from mere_ds.evaluation.many import NUMBERS
from mere_ds.evaluation.report import plots
from mere_ds.evaluation.report.figures import Drawing
from mere_ds.evaluation.report.runs import Result, Row
from mere_ds.evaluation.report.tables import (
    AVERAGE,
    Cell,
    Line,
    Table,
    deviation_text,
    languages_of,
    main_rows,
    seeds_of,
)

POOLED = "pooled"
_BESIDE = f"Beside a score: with one seed its {LEVEL} % bootstrap interval over sentences, else ± over seeds."

_PARTS = {"precision": "by_precision", "recall": "by_precision", "relation": ""}
"""Score -> the entry of `many.scores_of_many` that has it by language; "" for the outermost one."""

Told = tuple[float, Sequence[float] | None]
"""A score and its interval."""


def precision_and_recall(rows: Iterable[Row]) -> Table:
    """By language: precision and recall of triples, and F1 of relation sets; three lines a row."""
    rows = list(rows)
    languages = languages_of(rows)
    places = [("average",), *(("languages", language) for language in languages), ("pooled",)]
    lines = [
        Line(
            f"{row.name}{seeds_of(row)}: {'relation sets' if name == 'relation' else name}",
            [_cell(row, partial(_by_language, name=name, place=place)) for place in places],
        )
        for row in rows
        for name in _PARTS
    ]
    note = (
        "In percent, by tokens: precision and recall of triples, and F1 of the sets of a sentence's relations. Every "
        f"sentence counts. {_BESIDE}"
    )
    return Table("Precision, recall and relation sets", note, [AVERAGE, *languages, POOLED], lines)


def by_number(rows: Iterable[Row]) -> Table:
    """False triples where there is none, and F1 by the number of gold triples."""
    some = NUMBERS[1:]
    columns: list[Callable[[dict], Told | None]] = [_false_triples]
    columns += [partial(_of, entry="numbers", name=number) for number in some]
    note = (
        "Of the sentences without a triple, the share that got one (lower is better); of the others, triple F1 by the "
        f"number of their triples. In percent, by characters, all languages together. {_BESIDE}"
    )
    names = ["none: got one", *some]
    return Table("By the number of triples in a sentence", note, names, _lines(rows, columns))


def by_overlap(rows: Iterable[Row]) -> Table:
    """Recall by kind of overlap."""
    note = (
        "Recall of gold triples in percent, by characters, all languages together. Same pair: another triple of the "
        "sentence has both entities; same entity: one of them; nested: an entity shares characters with another; "
        f"normal: none of these. {_BESIDE}"
    )
    columns = [partial(_of_overlap, kind=kind) for kind in OVERLAPS]
    return Table("By kind of overlap", note, list(OVERLAPS), _lines(rows, columns))


def by_label(rows: Iterable[Row]) -> Table:
    """F1 by label: a line each, and a column a row."""
    rows = list(rows)
    gold: dict[str, int] = {}
    for row in rows:
        for label, told in row.results[0].scores["pooled_labels"].items():
            gold[label] = max(gold.get(label, 0), told["gold"])
    lines = [
        Line(f"{label} ({gold[label]})", [_cell(row, partial(_of, entry="pooled_labels", name=label)) for row in rows])
        for label in sorted(gold)
    ]
    note = (
        "Triple F1 in percent, by characters, all languages together; in parentheses the number of gold triples; – "
        f"where a label is neither gold nor found. {_BESIDE}"
    )
    return Table("By label", note, [row.name + seeds_of(row) for row in rows], lines)


def calibration_table(rows: Iterable[Row]) -> Table:
    """Expected calibration error before and after calibration, and the threshold."""
    title = "What scores mean"
    lines = [Line(row.name + seeds_of(row), _of_calibration(row)) for row in rows]
    if not any(any(line.cells) for line in lines):
        return Table(title, "Not shown: these evaluations have no candidates with scores.", (), ())
    note = (
        "In percent: expected calibration error of the scores of all candidates on the test set (ten bins of equal "
        "width) as the model gives them and after calibration on dev, and the score from which on a triple is an "
        "answer, which was the best on dev. ±: standard deviation over models. – where a model has no candidates."
    )
    return Table(title, note, ["error, raw", "error, calibrated", "least score"], lines)


def _of_calibration(row: Row) -> list[Cell | None]:
    of_results = [reliability_of(result) for result in row.results]
    if not all(of_results):
        return [None, None, None]
    values = [[100 * calibration_error(found[name]) for found in of_results] for name in ("raw", "calibrated")]
    values.append([100 * run.content["calibration"]["min_score"] for result in row.results for run in result.runs])
    return [Cell(value["mean"], deviation_text(value["deviation"])) for value in map(spread, values)]


def figure_reliability(rows: list[Row]) -> Drawing:
    """Share right by score, before and after calibration, of each row's first seed."""
    title = "Reliability of scores"
    shown = [row for row in main_rows(rows) if reliability_of(row.results[0])]
    if not shown:
        return Drawing("reliability", title, calibration_table(rows).note)
    panels = {}
    for row in shown:
        found = reliability_of(row.results[0])
        panels[row.results[0].name] = {
            f"{name} (error {100 * calibration_error(bins):.1f} %)": [
                (b["score"], b["right"], b["candidates"]) for b in bins if b["candidates"]
            ]
            for name, bins in found.items()
        }
    note = (
        "The share of candidates that are right, strictly by tokens, against their mean score, in ten bins of score; "
        "bigger points have more candidates. On the dashed line a score is a probability."
    )
    return Drawing("reliability", title, note, plots.reliability(panels), tuple(shown))


def reliability_of(result: Result) -> dict[str, list[dict]]:
    """{"raw", "calibrated"} -> the bins of `evaluation.calibration.reliability`, summed over the result's runs; {} if
    there is none, or no candidate."""
    told = [run.content.get("calibration") for run in result.runs]
    joined = {}
    for name in ("raw", "calibrated") if all(told) else ():
        bins = [list(of_all) for of_all in zip(*(one[name]["bins"] for one in told if one), strict=True)]
        joined[name] = [_joined(of_all) for of_all in bins]
    return joined if any(b["candidates"] for bins in joined.values() for b in bins) else {}


def _joined(bins: Sequence[dict]) -> dict:
    n = sum(b["candidates"] for b in bins)
    means = {
        name: sum(b["candidates"] * b[name] for b in bins if b["candidates"]) / n if n else None
        for name in ("score", "right")
    }
    return {**bins[0], "candidates": n, **means}


def _lines(rows: Iterable[Row], columns: Sequence[Callable[[dict], Told | None]]) -> list[Line]:
    return [Line(row.name + seeds_of(row), [_cell(row, told) for told in columns]) for row in rows]


def _cell(row: Row, told: Callable[[dict], Told | None]) -> Cell | None:
    """A score with its interval, or with several seeds their mean and deviation."""
    found = [told(result.scores) for result in row.results]
    values = [value for value in found if value]
    if len(values) < len(found):
        return None
    if len(values) > 1:
        over_seeds = spread([score for score, _ in values])
        return Cell(over_seeds["mean"], deviation_text(over_seeds["deviation"]))
    ((score, bounds),) = values
    return Cell(score, f"{bounds[0]:.1f}–{bounds[1]:.1f}" if bounds else "")


def _by_language(scores: dict, name: str, place: Sequence[str]) -> Told | None:
    """Of a language, the average or all sentences; None for a language that the row doesn't have."""
    value, bounds = scores[_PARTS[name]] if _PARTS[name] else scores, scores[f"intervals_{name}"]
    for key in place:
        value, bounds = value.get(key, {}), bounds.get(key, {})
    return (value[name], bounds) if value else None


def _of(scores: dict, entry: str, name: str) -> Told | None:
    row = scores[entry].get(name)
    return row and (row["f1"], row["interval"])


def _of_overlap(scores: dict, kind: str) -> Told | None:
    row = scores["overlaps"][kind]
    return (row["recall"], row["interval"]) if row["gold"] else None


def _false_triples(scores: dict) -> Told | None:
    row = scores["without_triples"]
    return (row["share"], row["interval"]) if row["sentences"] else None


TABLES = (precision_and_recall, by_number, by_overlap, by_label, calibration_table)
"""What a report has beside the tables of both kinds."""
