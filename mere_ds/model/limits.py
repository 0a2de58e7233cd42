"""Numbers that bound and mark what is decoded, whatever computes it; importing this loads no torch."""

MASKED = -1e9
"""A masked logit: large but finite, so that a softmax over only masked logits (in a padding row) is not NaN."""

CANDIDATES = 16
"""Likeliest spans of each entity that a (sentence, relation) pair's triples are made of."""

MOST_RELATIONS = 64
"""Relations of a sentence that are looked at in use, the likeliest."""

_NUMBERS_AT_ONCE = 1 << 24
"""That the scores of so many pairs as are held at once take, about."""


def pairs_at_once(M: int, D: int) -> int:
    """How many (sentence, relation) pairs are scored together, at M tokens a sentence and hidden size D."""
    return max(1, _NUMBERS_AT_ONCE // (M * (8 * D + 6 * M) + 4 * CANDIDATES * D))
