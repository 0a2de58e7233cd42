"""Texts of any length -> sentences, in blocks of a bounded size, so that memory and time are linear in the text."""

from collections.abc import Callable, Iterator

from mere_ds.corpus.example import Span
from mere_ds.corpus.languages import main_language
from mere_ds.optional_libraries import needed

Split = Callable[[str, str], list[int]]
"""(language, text) -> where its sentences end, ascending; the last one at the text's end."""

_BLOCK = 1 << 16  # characters that are split into sentences at a time


def with_sentencex() -> Split:
    """sentencex' boundaries. Raises UserError if it isn't installed."""
    with needed("splitting documents into sentences needs"):
        from sentencex import get_sentence_boundaries
    return lambda code, text: [bound["end_index"] for bound in get_sentence_boundaries(main_language(code), text)]


def sentences_of(text: str, language: str, split: Split) -> Iterator[Span]:
    """The sentences, which cover the text. A block's last one may go on, so it is split again with the next block."""
    begin = at = 0
    while at < len(text):
        block = text[at : at + _BLOCK]
        is_last = at + len(block) == len(text)
        ends = [at + end for end in split(language, block)]
        if not is_last:
            ends = ends[:-1]
        for end in ends:
            yield begin, end
            begin = end
        if is_last:
            break
        at = ends[-1] if ends else at + max(1, len(block) // 2)  # not a whole one: a sentence may end with this block
    if begin < len(text):
        yield begin, len(text)
