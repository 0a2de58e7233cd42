"""What `speed.py` measured, as tables between the marks of RESULTS.md and as results.json."""

import json
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path

AIMS = {
    "stage1/literal": 12, "stage1/hf": 1.4, "stage2/literal": 20, "stage2/hf": 3, "evaluate/literal": 8,
    "heads/literal": 2, "switcher/literal": 2, "stage1/gemm_share": 0.7,
}  # fmt: skip
"""What we set out to reach, on a CPU with bf16 products."""

LIBRARIES = ("torch", "deepspeed", "transformers", "accelerate")


def spread(values: list[float], digits: int = 2) -> str:
    """minimum / median / maximum."""
    return " / ".join(f"{f(values):,.{digits}f}" for f in (min, statistics.median, max))


def write_report(bench, folder: Path) -> None:
    """Print the tables, put them into RESULTS.md between the marks of this kind of machine, write results.json."""
    entries = _entries(bench)
    tables = _tables(bench, {entry["name"]: entry["ratio"] for entry in entries})
    print(tables)
    put_between((f"<!-- {bench.ceiling.device.type} -->\n", "<!-- end -->"), tables, folder / "RESULTS.md")
    keep_results(folder / "results.json", entries)


def put_between(marks: tuple[str, str], text: str, page: Path) -> None:
    """Write a text into a page, in the place of what is between the two marks."""
    before, mark, after = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, rest = after.partition(marks[1])
    page.write_text(f"{before}{mark}\n{text}\n\n{end}{rest}", encoding="utf-8")


def keep_results(path: Path, entries: list[dict]) -> None:
    """Write entries into a file of them, in the place of those of the same names."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    names = {entry["name"] for entry in entries}
    entries = [entry for entry in kept if entry["name"] not in names] + entries
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def put_before_and_now(
    figures: dict[str, dict[str, list[float]]],
    table: tuple[str, str, dict[str, str]],
    told: dict,
    marks: tuple[str, str],
    folder: Path,
) -> None:
    """Print a table of seconds, and write it between the marks of RESULTS.md and into results.json.

    `figures` are, by what was measured and side ("now", and "before" if there is one), those of each turn; `table` is
    the text above it, the name of its first column, and each row's words; `told` is added to each entry.
    """
    head, what, words = table
    lines, entries = [head, "", f"| {what} | before | now | now / before |", "|---|---|---|---|"], []
    for name, sides in figures.items():
        entry = {"name": name, "value": median_triple(sides["now"]), "unit": "s"}
        cells = [spread(sides[side]) if side in sides else "" for side in ("before", "now")] + [""]
        if "before" in sides:
            ratios = [now / before for now, before in zip(sides["now"], sides["before"], strict=True)]
            entry |= {"before": median_triple(sides["before"]), "to before": median_triple(ratios)}
            cells[-1] = spread(ratios)
        lines.append(f"| {words[name]} | {' | '.join(cells)} |")
        entries.append(entry | told)
    print("\n".join(lines))
    put_between(marks, "\n".join(lines), folder / "RESULTS.md")
    keep_results(folder / "results.json", entries)


def _entries(bench) -> list[dict]:
    told = {"machine": str(bench.ceiling), "precision": bench.precision, "batch": bench.batch}
    entries = []
    for name, got in bench.tasks.items():
        ours = got.rates["ours"]
        for rival, theirs in got.rates.items():
            if rival == "ours":
                continue
            ratio = median_triple([o / t for o, t in zip(ours, theirs, strict=True)])
            rates = {"unit": "sentences/s", "ours": median_triple(ours), "theirs": median_triple(theirs)}
            entries.append({"name": f"{name}/{rival}", "ratio": ratio, **rates, **told})
        if got.shares:
            entries.append({"name": f"{name}/gemm_share", "ratio": median_triple(got.shares), **told})
    return entries


def median_triple(values: list[float]) -> list[float]:
    """minimum, median and maximum."""
    return [round(f(values), 4) for f in (min, statistics.median, max)]


def _tables(bench, ratios: dict[str, list[float]]) -> str:
    c, lengths = bench.ceiling, bench.material.lengths()
    rivals = [side for side in next(iter(bench.tasks.values())).rates if side != "ours"]
    c.measure_copy()
    lines = [
        f"{c}, {date.today()}; {', '.join(f'{x} {version(x)}' for x in LIBRARIES)}. Precision {bench.precision}, batch "
        f"{bench.batch}; tokens a sentence: mean {lengths['mean']:.1f}, median {lengths['p50']:.0f}, p90 "
        f"{lengths['p90']:.0f}, p99 {lengths['p99']:.0f}. Ceiling: products of {c.size} x {c.size} matrices "
        f"{spread([g / 1e9 for g in c.gemm], 0)} GFLOP/s, copies {spread([b / 1e9 for b in c.copy], 1)} GB/s. "
        "Figures are minimum / median / maximum over rounds.",
        "",
        f"| | ours, sentences a second | {' | '.join(f'`{rival}`' for rival in rivals)} | "
        + " | ".join(f"ours / `{rival}`" for rival in rivals)
        + " | of the product's rate |",
        "|---" * (2 * len(rivals) + 3) + "|",
    ]
    for name, got in bench.tasks.items():
        cells = [spread(got.rates[side]) for side in ("ours", *rivals)]
        cells += [spread(ratios[f"{name}/{rival}"]) for rival in rivals]
        cells.append(f"{spread([100 * share for share in got.shares], 0)} %" if got.shares else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| aim | median here | |", "|---|---|---|"]
    lines += [
        f"| {name} at least {aim} | {ratios[name][1]:.2f} | {'met' if ratios[name][1] >= aim else '**missed**'} |"
        for name, aim in AIMS.items()
        if name in ratios
    ]
    lines.append("")
    for name, got in bench.tasks.items():
        if got.facts:
            lines.append(f"- {name}: {', '.join(f'{fact} {value}' for fact, value in got.facts.items())}")
    for name, got in bench.tasks.items():
        if got.profile:
            lines += ["", f"Where the time of our step of {name} goes:", "", got.profile]
    return "\n".join(lines)
