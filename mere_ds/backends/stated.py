"""What extraction asks of whatever computes a model: arrays of tokens in, arrays of triples out, NumPy alone.

Shape suffixes: B sentences, M tokens of a sentence (padded), F triples found in them, 4 positions (head start, head
end, tail start, tail end; ends inclusive).
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class ModelFacts:
    """What reading texts and writing answers needs to know of a model."""

    languages: tuple[str, ...]
    """`languages_B` of a batch are indices into these."""
    labels: tuple[str, ...]
    """`relation_F` of a prediction are indices into these."""
    max_length: int
    """Most tokens of a sentence, special tokens included."""
    finds_many: bool
    """Whether a sentence has any number of triples; else it has one."""


class Prediction(NamedTuple):
    """The triples found in a batch, ordered by sentence."""

    sentence_F: np.ndarray
    """int64; the sentence of each triple, an index into B. With one triple per sentence F is B."""
    relation_F: np.ndarray
    """int64."""
    positions_F4: np.ndarray
    """int64; the entities' tokens; -1 for a sentence without words."""
    cuts_F4: np.ndarray
    """int64; characters that head and tail leave out at the start of their first token and the end of their last."""
    score_F: np.ndarray
    """float32, not yet calibrated."""


class Backend(Protocol):
    """A model that is ready to predict; one may be used from several threads."""

    @property
    def facts(self) -> ModelFacts: ...

    @property
    def packs(self) -> bool:
        """Whether sentences of different lengths cost no padding."""
        ...

    def predict(self, token_ids_BM: np.ndarray, mask_BM: np.ndarray, languages_B: np.ndarray) -> Prediction:
        """The triples of B sentences: int64 token ids, bool mask (true on real tokens, which come first), int64
        languages. The caller checks that scores are finite."""
        ...
