"""Which row of the paper's tables a run belongs to, from the record of its training."""

import json
from collections.abc import Iterable
from typing import Any

from mere_ds.config import TrainConfig
from mere_ds.corpus.languages import GROUPS, parse_languages
from mere_ds.runs.resume import DATA, STAGE_ONE, START, WEIGHTS

PAPERS_ORDER = (
    *("HERBERTa", "mBERT", "MTMB", "mERE14", "mERE", "mERE (EURO)", "mERE (SVO)"),
    *("mERE-LS", "mERE-LS-LA (MONO)", "mERE-LS-LA"),
)
"""Rows of Table 2 from top to bottom; mERE14, which is only in Figure 7, before mERE."""

PAPERS_SETTING = {"concatenate": TrainConfig.concatenate, "submodule_layers": [*TrainConfig.submodule_layers]}
"""The paper's values of the settings that Figure 6 and Table 3 vary: train.py's defaults."""

_NAMED_ELSEWHERE = {"--seed", "--system", "--languages", "global batch", STAGE_ONE}
_NAMES = {DATA: "shards", WEIGHTS: "encoder weights", START: "start", "precision": "training precision"}
"""How ingredients of a training that aren't knobs are called in a row's name."""


def row_name(system: str, languages: str | list[str]) -> str:
    """Name of a run's row in Table 2, such as "mERE (EURO)" or "mERE-LS-LA (MONO)"; `languages` as of `--languages`."""
    chosen = parse_languages(languages)
    if chosen == "all":
        return system
    if system == "mERE-LS-LA" and len(chosen) == 1:
        return f"{system} (MONO)"
    groups = [name for name, codes in GROUPS.items() if set(codes) == set(chosen)]
    return f"{system} ({groups[0] if groups else ','.join(chosen)})"


def deciding_knobs(trained: dict[str, dict]) -> dict:
    """Everything that determined a run's model, except the seed and what `row_name` includes, from `{"stage1",
    "stage2"}: ingredients`; those of stage two take precedence, except that it has no weights to start from.

    For a run that started from another run's stage one, stage one's knobs are unknown.
    """
    found: dict = {}
    for stage in sorted(trained):
        found |= {
            _NAMES.get(name, name.removeprefix("--")): _short(value)
            for name, value in trained[stage].items()
            if name not in _NAMED_ELSEWHERE and not (name in (WEIGHTS, START) and value is None and stage == "stage2")
        }
    return found


def _short(value: object) -> object:
    """The first digits of a sha256; other values unchanged."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else value


def varied(knobs: Iterable[dict]) -> list[str]:
    """The knobs that have more than one value among these runs, ignoring runs where a knob is unknown."""
    values: dict[str, set[str]] = {}
    for run in knobs:
        for name, value in run.items():
            values.setdefault(name, set()).add(json.dumps(value))
    return [name for name, seen in values.items() if len(seen) > 1]


def variant(knobs: dict, names: Iterable[str]) -> str:
    """How a run differs from others of its row: "s = 3, learning_rate = 0.001"; omits the paper's s and layers."""
    found = {name: knobs[name] for name in names if name in knobs}
    return ", ".join(_setting(*knob) for knob in found.items() if knob not in PAPERS_SETTING.items())


def _setting(name: str, value: Any) -> str:
    if name == "concatenate":
        return f"s = {value}"
    if name == "submodule_layers":
        return f"layers {layers_label(value)}"
    return f"{name} = {value}"


def layers_label(layers: list[int]) -> str:
    """Table 3's name of the sub-modules' layers: 1-2 for 1,1,1,2,2,2; others as they are, 1,2,3."""
    half = len(layers) // 2
    first, second = set(layers[:half]), set(layers[half:])
    if len(layers) == 6 and len(first) == len(second) == 1:
        return f"{layers[0]}-{layers[-1]}"
    return ",".join(map(str, layers))


def order(name: str) -> tuple[int, str]:
    """Sort key of rows: the paper's from top to bottom, then the others by name."""
    plain = name.split(", ")[0]
    return PAPERS_ORDER.index(plain) if plain in PAPERS_ORDER else len(PAPERS_ORDER), name
