"""The paper's own scores, shown beside those of runs on the paper's data."""

import json
from collections.abc import Iterable
from importlib.resources import files

from mere_ds.corpus.smiler import unlike_smiler
from mere_ds.evaluation.report.runs import Row, have_many

PAPER: dict = json.loads(files(__package__).joinpath("paper.json").read_text(encoding="utf-8"))
"""`{"source", "rows": {"mERE": {"AVG": 77.9, "it": ...}}, "layers": {"1-2": 77.9}, "top_k": {"3": 77.87}}`: F1 in
percent; null if a row doesn't have the language."""

_NOTHING: dict = {name: {} for name in ("rows", "layers", "top_k")}


def paper_beside(rows: Iterable[Row]) -> tuple[dict, str]:
    """The part of `PAPER` to show beside these rows, and a sentence about it: nothing unless every run was scored on
    shards that match SMiLER in labels, languages and number of rows, with one triple a sentence."""
    if have_many(rows := list(rows)):
        return _NOTHING, "The paper's scores are left out: they are for one triple a sentence."
    for run in (run for row in rows for result in row.results for run in result.runs):
        shards = run.made_from["shards"]
        if why := unlike_smiler(shards["labels"], shards["rows"]):
            other = f"{run.run.root} was scored on other data ({why})"
            return _NOTHING, f"The paper's scores, which are for SMiLER, are left out: {other}."
    return PAPER, (f"Rows “paper”: {PAPER['source']}. The data match SMiLER in labels, languages and numbers of rows.")
