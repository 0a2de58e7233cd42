"""The paper's own figures, to stand beside those of the runs."""

import json
from importlib.resources import files

PAPER: dict = json.loads(files(__package__).joinpath("paper.json").read_text(encoding="utf-8"))
"""`{"source", "rows": {"mERE": {"AVG": 77.9, "it": ...}}, "layers": {"1-2": 77.9}, "top_k": {"3": 77.87}}`: F1 in
percent; null where a row hasn't got the language."""
