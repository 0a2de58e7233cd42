"""Sentences of different lengths, cut into parts that need little padding; importing this loads no torch."""

from collections.abc import Iterator, Sequence


def split(lengths: Sequence[int], cost: int, start: int = 0, end: int | None = None) -> Iterator[slice]:
    """Cuts rows of ascending `lengths` where two parts need less padding than one, by more than `cost`."""
    end = len(lengths) if end is None else end
    saved = [(cut - start) * (lengths[end - 1] - lengths[cut - 1]) for cut in range(start + 1, end)]
    if max(saved, default=0) <= cost:
        yield slice(start, end)
    else:
        cut = start + 1 + saved.index(max(saved))
        yield from split(lengths, cost, start, cut)
        yield from split(lengths, cost, cut, end)
