"""What `use.py` measured, as a table between the marks of RESULTS.md and as entries of results.json."""

import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.report import keep_results, median_triple, put_between, spread

SIDES = ("before", "fp32", "auto", "onnx", "int8", "gliner")
OURS = ("fp32", "auto", "onnx", "int8")
LOWER = ("start", "resident")
"""What begins so is better the lower it is."""
MARKS = "<!-- use -->\n", "<!-- end use -->"
RATES = {
    "batch": "sentences/s, many at once",
    "one": "sentences/s, one at a time",
    "products": "sentences/s, the model",
}


def write_use(got, folder: Path) -> None:
    """Print the table, put it into RESULTS.md between the marks, and the entries into results.json."""
    text = table(got)
    print(text)
    put_between(MARKS, text, folder / "RESULTS.md")
    keep_results(folder / "results.json", entries(got))


def entries(got) -> list[dict]:
    """One for each figure; beside its values, a ratio to `before` and to `gliner` where these have it too, by round."""
    made = []
    for (size, what, side), values in got.figures.items():
        entry = {"name": f"use/{size}/{what}/{side}", "value": median_triple(values)}
        for other in ("before", "gliner"):
            theirs = got.figures.get((size, what, other))
            if theirs and side in OURS:
                entry[f"to {other}"] = median_triple([a / b for a, b in zip(values, theirs, strict=True)])
        made.append(entry | {"machine": got.machine, "precision": got.precision})
    return made


def table(got) -> str:
    """A row for each thing measured, a column for each side."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime", "tokenizers"))
    rates = "; ".join(f"{p} {spread([rate / 1e9 for rate in its], 0)}" for p, its in got.products.items())
    lines = [
        f"{got.machine}, {date.today()}; {libraries}. `auto` is {got.precision}."
        + f" Products of large matrices, GFLOP/s: {rates}." * bool(rates)
        + " Figures are minimum / median / maximum over rounds; ratios are of the same rounds, their medians.",
        "",
        "| size | | " + " | ".join(f"`{side}`" for side in SIDES) + " | best / `before` | best / `gliner` |",
        "|---|---|" + "---|" * (len(SIDES) + 2),
    ]
    for size, what in dict.fromkeys((size, what) for size, what, _ in got.figures):
        sides = {side: got.figures[size, what, side] for side in SIDES if (size, what, side) in got.figures}
        digits = 0 if "MiB" in what else 2
        cells = [spread(sides[side], digits) if side in sides else "" for side in SIDES]
        cells += [_best(what, sides, other) for other in ("before", "gliner")]
        lines.append(f"| {size} | {RATES.get(what, what)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _best(what: str, sides: dict[str, list[float]], other: str) -> str:
    """The best of our sides' ratios to another side, and whose it is."""
    if other not in sides:
        return ""
    ratios = {
        side: statistics.median(a / b for a, b in zip(sides[side], sides[other], strict=True))
        for side in OURS
        if side in sides
    }
    if not ratios:
        return ""
    side = (min if what.startswith(LOWER) else max)(ratios, key=lambda name: ratios[name])
    return f"{ratios[side]:.2f} (`{side}`)"
