"""Scores and comparisons as the tables that a person reads."""

from mere_ds.evaluation.intervals import LEVEL
from mere_ds.evaluation.metrics import METRICS

ALPHA = 0.05
"""A difference whose p is not below this is told to be no more than chance may make."""


def format_scores(result: dict) -> str:
    """A row a language, then average and pooled, each with its interval of triple F1; last what the triples score
    without `no_relation`. `result` as from `summary.scores_of`."""
    widths = {m: max(10, len(m) + 2) for m in METRICS}
    titles = "".join(f"{m.replace('_', ' '):>{width}}" for m, width in widths.items())
    lines = [f"{'':10}{'sentences':>10}{titles}{f'triple {LEVEL} %':>15}"]
    total = sum(row["sentences"] for row in result["languages"].values())
    bounds = _flat(result["intervals"])
    for name, row in _flat(result).items():
        cells = "".join(f"{row[m]:>{width}.1f}" for m, width in widths.items())
        lines.append(f"{name:10}{row.get('sentences', total):>10}{cells}{_range(bounds[name]):>15}")
    average, pooled = (result["without_no_relation"][name] for name in ("average", "pooled"))
    if pooled:
        lines.append(
            f"triple without no_relation: F1 {average['f1']:.1f} average, {pooled['f1']:.1f} pooled "
            f"(precision {pooled['precision']:.1f}, recall {pooled['recall']:.1f})"
        )
    return "\n".join(lines)


def format_comparison(result: dict) -> str:
    """A row a language, then average and pooled; last the difference of the average in words."""
    interval_title = f"{LEVEL} %"
    lines = [f"{'triple F1':10}{'A':>8}{'B':>8}{'A - B':>8}{interval_title:>15}{'p':>9}"]
    for name, row in _flat(result).items():
        numbers = f"{row['a']:>8.1f}{row['b']:>8.1f}{row['difference']:>+8.1f}"
        lines.append(f"{name:10}{numbers}{_range(row['interval']):>15}{row['p']:>9.4f}")
    lines += [_side(side.upper(), result[side], result["k"][side], result["seeds"][side]) for side in "ab"]
    if result["left_out"]:
        lines.append(f"not compared, as one side alone has them: {', '.join(result['left_out'])}")
    return "\n".join([*lines, f"A - B on average: {sentence(result['average'])}"])


def sentence(row: dict) -> str:
    """A row of a comparison in words."""
    verdict = "" if row["p"] < ALPHA else "; no more than chance may make"
    return f"difference {row['difference']:.1f}, {LEVEL} % {_range(row['interval'])}, p = {row['p']:.4f}{verdict}"


def _side(name: str, runs: list[str], k: int | None, seeds: dict) -> str:
    with_k = "" if k is None else f" with k = {k}"
    spread = "" if seeds["deviation"] is None else f": {seeds['mean']:.1f} +- {seeds['deviation']:.1f} over seeds"
    return f"{name} = {', '.join(runs)}{with_k}{spread}"


def _flat(result: dict) -> dict:
    """By name: the languages, average and pooled; nothing where there is no sentence."""
    if not result.get("languages"):
        return {}
    return {**result["languages"], "average": result["average"], "pooled": result["pooled"]}


def _range(bounds: list[float]) -> str:
    return f"{bounds[0]:.1f} to {bounds[1]:.1f}"
