"""The plots, from plain numbers: grouped bars, lines, heat maps; as SVG for the page and as PNG files.

Shape suffixes: R rows and C columns of a heat map.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"
"""Colour of text and axes. In SVG it becomes currentColor, so that plots follow the page's dark mode."""

COLOURS = ("#4477aa", "#ee7733", "#44aa99", "#aa3377")
"""Distinguishable for colour-blind readers too, on white and on black."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, and a reader can search it
    "text.parse_math": False,  # a label may hold dollar signs
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **{"axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
}

Value = tuple[float, float]
"""A mean and half the length of its error bar."""


def bars(series: dict[str, dict[str, Value]], ylabel: str) -> Figure:
    """Grouped bars: series -> category -> (height, half of the error bar); a category may lack some series."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.add_subplot()
        categories = list(dict.fromkeys(name for values in series.values() for name in values))
        width = 0.8 / len(series)
        for place, (name, values) in enumerate(series.items()):
            shown = [(c, *values[category]) for c, category in enumerate(categories) if category in values]
            x, height, error = np.array(shown, dtype=float).reshape(-1, 3).T
            left = x + (place - (len(series) - 1) / 2) * width
            colour = COLOURS[place % len(COLOURS)]
            axes.bar(left, height, width * 0.92, color=colour, label=name)
            if error.any():
                axes.errorbar(left, height, error, fmt="none", ecolor=INK, elinewidth=0.8)
        axes.set_xticks(range(len(categories)), categories)
        axes.set_ylabel(ylabel)
        axes.set_ylim(0, 100)
        _finish(figure, axes)
        return figure


def lines(series: dict[str, dict[float, Value]], xlabel: str, ylabel: str) -> Figure:
    """Lines through series -> x -> (y, half of the error bar); x are whole numbers."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, values) in enumerate(series.items()):
            colour = COLOURS[place % len(COLOURS)]
            x = sorted(values)
            y, error = np.array([values[at] for at in x], dtype=float).T
            axes.errorbar(x, y, error if error.any() else None, fmt="o-", color=colour, label=name, capsize=3)
        axes.set_xticks(sorted({x for values in series.values() for x in values}))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        _finish(figure, axes)
        return figure


def heat_map(
    values_RC: np.ndarray, rows: Sequence[str], columns: Sequence[str], highest: float, decimals: int, label: str
) -> Figure:
    """Cells from 0 (light) to `highest` (dark), with their numbers; cells of nan stay empty."""
    with matplotlib.rc_context(_STYLE | {"axes.spines.left": False, "axes.spines.bottom": False}):
        size = (1.3 + 0.08 * max(map(len, rows)) + 0.55 * len(columns), 0.9 + 0.26 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        cells = axes.pcolormesh(np.ma.masked_invalid(values_RC), cmap="Blues", vmin=0, vmax=highest, edgecolors="none")
        for r, c in np.argwhere(np.isfinite(values_RC)):
            colour = (
                "#ffffff" if values_RC[r, c] > 0.6 * highest else "#000000"
            )  # depends on the cell, not on the page's colours
            place: dict[str, Any] = {"ha": "center", "va": "center", "color": colour, "size": 7}
            axes.text(c + 0.5, r + 0.5, f"{values_RC[r, c]:.{decimals}f}", **place)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
        axes.invert_yaxis()
        bar = figure.colorbar(cells, ax=axes, label=label, shrink=min(1.0, 4 / size[1]), aspect=15)
        bar.ax.spines["outline"].set_visible(False)
        return figure


def router_heat_map(probabilities_TN: np.ndarray, languages: Sequence[str]) -> Figure:
    """Figure 8: f_t(L_n) of eq. 5, with a row per sub-module and a column per language."""
    rows = [f"θ{t + 1}" for t in range(len(probabilities_TN))]
    highest = float(np.max(probabilities_TN))
    return heat_map(probabilities_TN, rows, languages, highest, 2, "selection probability")


def reliability(panels: dict[str, dict[str, list[tuple[float, float, int]]]]) -> Figure:
    """Panels by title, each with series -> points (mean score, share right, candidates), and a dashed diagonal."""
    with matplotlib.rc_context(_STYLE):
        across = min(3, len(panels))
        down = -(-len(panels) // across)
        figure = Figure(figsize=(3.6 * across, 3.9 * down), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).flat
        for (title, series), axes in zip(panels.items(), grid, strict=False):
            axes.plot((0, 1), (0, 1), "--", color=INK, alpha=0.4, linewidth=0.8)
            for place, (name, points) in enumerate(series.items()):
                x, y, counts = np.array(points, dtype=float).T
                colour = COLOURS[place % len(COLOURS)]
                axes.plot(x, y, "-", color=colour, linewidth=1, label=name)
                axes.scatter(x, y, 8 + 60 * np.sqrt(counts / counts.max()), color=colour, alpha=0.8)
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="score", ylabel="share right")
            axes.set_title(title, fontsize=9)
            axes.legend(loc="upper left")
            axes.grid(color=INK, alpha=0.15, linewidth=0.6)
        for axes in list(grid):  # those that are left over
            axes.remove()
        return figure


def _finish(figure: Figure, axes: Axes) -> None:
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4)


def svg(figure: Figure, name: str) -> str:
    """An <svg> element for use inside a page; `name` makes its ids different from other plots'."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name, "svg.id": f"plot-{name}"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    element = buffer.getvalue()
    element = element[element.index("<svg") :].replace(INK, "currentColor")
    element = re.sub(r"<(metadata|style).*?</\1>", "", element, flags=re.DOTALL)  # its style would be the whole page's
    element = re.sub(r'(href="|url\()#', rf"\1#{name}-", element)
    return re.sub(r'id="(?!plot-)([\w.]+)"', rf'id="{name}-\1"', element)


def png(figure: Figure, sources: str) -> bytes:
    """The content of a PNG file; `sources` is stored in its metadata as `Source`."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata={"Source": sources})
    return buffer.getvalue()
