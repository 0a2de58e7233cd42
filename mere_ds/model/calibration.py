"""What a model's scores mean: from raw score to probability, and from which probability on a triple is an answer.

Found on dev by `mere_ds.evaluation.calibration`; kept beside the weights of the checkpoint as `calibration.json`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mere_ds.errors import UserError
from mere_ds.files import read_json

CALIBRATION = "calibration.json"
LEAST = 1e-7
"""Raw scores count as at least this, and at most 1 minus it: their logits stay finite."""
_ADVICE = "copy the checkpoint again, or train this stage again (--overwrite)"


class Curve(NamedTuple):
    """Probability = sigmoid(logit(raw score) / temperature + shift)."""

    temperature: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """The default leaves scores as they are and answers with those of 0.5 and more."""

    min_score: float = 0.5
    """Calibrated score from which on a triple is an answer: the best for dev's F1."""
    pooled: Curve = Curve()
    """Of all languages together."""
    languages: Mapping[str, Curve] = field(default_factory=dict)
    """Of those with enough candidates on dev for a curve of their own."""
    candidates: int = 0
    """Number of dev's found triples, right and wrong, that this was made from."""

    def calibrated(self, raw_F: np.ndarray, language: str) -> np.ndarray:
        """Probabilities (float64, F) of raw scores (F) of one language."""
        temperature, shift = self.languages.get(language, self.pooled)
        if (temperature, shift) == Curve():
            return np.asarray(raw_F, dtype=np.float64)
        return sigmoid(logits(raw_F) / temperature + shift)

    def as_dict(self) -> dict:
        """As JSON."""
        curves = {language: curve._asdict() for language, curve in self.languages.items()}
        return {
            "min_score": self.min_score,
            "candidates": self.candidates,
            "pooled": self.pooled._asdict(),
            "languages": curves,
        }

    @classmethod
    def from_dict(cls, plain: Mapping, path: Path) -> "Calibration":
        """From what `as_dict` gave. Raises UserError that names `path` for anything else."""
        pooled, languages = plain.get("pooled"), plain.get("languages")
        curves = [pooled, *(languages.values() if isinstance(languages, dict) else [None])]
        whole = type(plain.get("candidates")) is int and _is_finite(plain.get("min_score"))
        if not whole or plain["min_score"] < 0 or not all(map(_is_curve, curves)):
            raise UserError(f"{path}: not a calibration of scores: {_ADVICE}")
        own = {language: Curve(**curve) for language, curve in plain["languages"].items()}
        return cls(plain["min_score"], Curve(**plain["pooled"]), own, plain["candidates"])

    @classmethod
    def load(cls, folder: str | Path) -> "Calibration":
        """Of a saved model; the default where it has none. Its digest is checked with those of the other files, when
        the model is loaded. Raises UserError for a file that isn't a calibration."""
        path = Path(folder) / CALIBRATION
        return cls.from_dict(read_json(path, _ADVICE), path) if path.exists() else cls()


def logits(raw_F: np.ndarray) -> np.ndarray:
    """log(s / (1 - s)) in float64 of scores in [0, 1], finite also at the ends."""
    inside_F = np.clip(np.asarray(raw_F, dtype=np.float64), LEAST, 1 - LEAST)
    return np.log(inside_F) - np.log1p(-inside_F)


def sigmoid(x_F: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x_F))


def _is_finite(number: object) -> bool:
    return type(number) in (int, float) and math.isfinite(number)  # type: ignore[arg-type]


def _is_curve(plain: object) -> bool:
    if not isinstance(plain, dict) or plain.keys() != {*Curve._fields}:
        return False
    return all(map(_is_finite, plain.values())) and plain["temperature"] > 0
