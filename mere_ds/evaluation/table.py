"""Scores and comparisons as text tables."""

from mere_ds.columns import align
from mere_ds.evaluation.intervals import LEVEL
from mere_ds.evaluation.metrics import BY_CHARACTERS, BY_TOKENS
from mere_ds.evaluation.provenance import remarks

_KINDS = {"tokens": (BY_TOKENS, ""), "characters": (BY_CHARACTERS, "_characters")}
"""How spans are compared -> the metrics, and the suffix of the entries derived from their triples."""

ALPHA = 0.05
"""A difference with a p of at least this is reported as not significant."""


def format_evaluation(result: dict) -> str:
    """`format_scores`, followed by what is unusual about the evaluation. `result` as from `evaluate_runs`."""
    notes = remarks(result, result["made_from"]["checkpoint"]["finished"])
    return format_scores(result) + (f"\nnote: {', '.join(notes)}" if notes else "")


def format_scores(result: dict) -> str:
    """A row per language, then average and pooled, with entities by tokens and by characters and the interval of triple
    F1 for each; finally the triples' scores without `no_relation`, or, if sentences have any number of triples, what
    `_format_many` gives. `result` as from `summary.scores_of` or `many.scores_of_many`."""
    titles = [*BY_TOKENS, f"triple {LEVEL} %"]
    grid = [["", "", ""], ["", "sentences", "relation"]]
    for kind in _KINDS:  # the kind is above the last of its columns
        grid[0] += [""] * len(BY_TOKENS) + [f"by {kind}"]
        grid[1] += titles
    total = sum(row["sentences"] for row in result["languages"].values())
    for name, row in _flat(result).items():
        line = [name, str(row.get("sentences", total)), f"{row['relation']:.1f}"]
        for metrics, suffix in _KINDS.values():
            bounds = _flat(result[f"intervals{suffix}"])[name]
            line += [*(f"{row[metric]:.1f}" for metric in metrics), _range(bounds)]
        grid.append(line)
    if "without_triples" in result:
        return "\n".join([align(grid), *_format_many(result)])
    lines = [align(grid)]
    for kind, (_, suffix) in _KINDS.items():
        average, pooled = (result[f"without_no_relation{suffix}"][name] for name in ("average", "pooled"))
        if pooled:
            lines.append(
                f"triple by {kind} without no_relation: F1 {average['f1']:.1f} average, {pooled['f1']:.1f} pooled "
                f"(precision {pooled['precision']:.1f}, recall {pooled['recall']:.1f})"
            )
    return "\n".join(lines)


def _format_many(result: dict) -> list[str]:
    """Precision and recall; false triples; triples by number and by overlap, each as a table; what scores mean."""
    lines = []
    for kind, (_, suffix) in _KINDS.items():
        if pooled := result[f"by_precision{suffix}"]["pooled"]:
            shares = f"precision {pooled['precision']:.1f}, recall {pooled['recall']:.1f}, F1 {pooled['f1']:.1f}"
            lines.append(f"triple by {kind}, pooled: {shares}")
    answered, sentences, share = (result["without_triples"][name] for name in ("answered", "sentences", "share"))
    lines.append(f"{answered} of {sentences} sentences without a triple got one ({share:.1f} %)")
    names = ("precision", "recall", "f1")
    grid = [["gold triples", "sentences", *names]]
    for number, row in result["numbers"].items():
        grid.append([number, str(row["sentences"]), *(f"{row[name]:.1f}" if row["gold"] else "-" for name in names)])
    overlaps = [["overlap", "gold", "recall"]]
    overlaps += [[kind, str(row["gold"]), f"{row['recall']:.1f}"] for kind, row in result["overlaps"].items()]
    lines += ["by characters:", align(grid), align(overlaps)]
    if calibration := result.get("calibration"):
        errors = " and ".join(f"{100 * calibration[name]['error']:.1f} % {name}" for name in ("raw", "calibrated"))
        lines.append(
            f"answers have a score of {calibration['min_score']:.3f} or more; expected calibration error of the "
            f"scores: {errors}"
        )
    return lines


def format_comparison(result: dict) -> str:
    """A row per language, then average and pooled, for triples by tokens and by characters; then the two sides; finally
    the difference of each average in words."""
    grid, verdicts = [], []
    for kind, compared in (("tokens", result), ("characters", result["characters"])):
        grid.append([f"triple F1 by {kind}", "A", "B", "A - B", f"{LEVEL} %", "p"])
        for name, row in _flat(compared).items():
            scores = f"{row['a']:.1f}", f"{row['b']:.1f}", f"{row['difference']:+.1f}"
            grid.append([name, *scores, _range(row["interval"]), f"{row['p']:.4f}"])
        verdicts.append(f"A - B on average by {kind}: {sentence(compared['average'])}")
    lines = [align(grid), *(_side(side.upper(), result, side) for side in "ab")]
    if result["left_out"]:
        lines.append(f"not compared, as only one side has them: {', '.join(result['left_out'])}")
    return "\n".join([*lines, *verdicts])


def sentence(row: dict) -> str:
    """A row of a comparison in words."""
    verdict = "" if row["p"] < ALPHA else "; not significant"
    return f"difference {row['difference']:.1f}, {LEVEL} % {_range(row['interval'])}, p = {row['p']:.4f}{verdict}"


def _side(name: str, result: dict, side: str) -> str:
    runs = (
        f"{run} ({', '.join(notes)})" if notes else run
        for run, notes in zip(result[side], result["remarks"][side], strict=True)
    )
    k = result["k"][side]
    with_k = "" if k is None else f" with k = {k}"
    spreads = [
        f"{seeds['mean']:.1f} +- {seeds['deviation']:.1f}"
        for seeds in (compared["seeds"][side] for compared in (result, result["characters"]))
        if seeds["deviation"] is not None
    ]
    spread = f": {' and '.join(spreads)} over seeds" if spreads else ""
    return f"{name} = {', '.join(runs)}{with_k}{spread}"


def _flat(result: dict) -> dict:
    """The rows by name: the languages, average and pooled; {} if there is no sentence."""
    if not result.get("languages"):
        return {}
    return {**result["languages"], "average": result["average"], "pooled": result["pooled"]}


def _range(bounds: list[float]) -> str:
    return f"{bounds[0]:.1f} to {bounds[1]:.1f}"
