"""Example -> EncodedExample: token ids and each triple's four token positions, from character spans.

A sentence becomes `[CLS] [xx] w ... w [SEP]`, `[xx]` its language's symbol. Positions count in this whole sequence.
The tokenizer gets the composed form of a text (NFC); spans are of the text as it was given.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from tokenizers import Encoding, Tokenizer

from mere_ds.corpus.example import Example, Span
from mere_ds.corpus.graphemes import Alignment, compose, graphemes, surely_whole, trim, whole_graphemes
from mere_ds.encoders.tokenizer_files import language_symbol
from mere_ds.errors import UserError

FRAME = 3
"""Number of tokens that are not words: `[CLS]`, the language symbol and `[SEP]`."""

_MOST_CUT = np.iinfo(np.int16).max
_BEFORE = 2  # how many of these come before the words


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised sentence without gold spans."""

    ids: np.ndarray
    """int32 [tokens]; the whole sequence."""
    offsets: list[Span]
    """Half-open character span of each word token that is left; `offsets[0]` belongs to position 2. Neighbours may
    overlap, as where a syllable is several tokens."""
    truncated: bool

    def characters(self, text: str, first: int, last: int, cuts: Sequence[int] = (0, 0)) -> Span:
        """The graphemes of the text that the tokens at positions `first` to `last` touch, without blanks around them;
        of these, `cuts` are left out at the front and at the end, unless that would leave nothing.

        Never empty for tokens in order that cover anything.
        """
        shown = _shown(text, (self.offsets[first - _BEFORE][0], self.offsets[last - _BEFORE][1]))
        if not any(cuts):
            return shown
        front, back = cuts
        parts = graphemes(text, shown)
        kept = parts[front : len(parts) - back]
        return trim(text, (kept[0][0], kept[-1][1])) if kept else shown


class Words(NamedTuple):
    """The tokens of a text of any length, without those that frame a sequence."""

    alignment: Alignment
    """Of the given text's characters to those of its composed form."""
    encoding: Encoding
    """Of the composed form."""


class EncodedTriple(NamedTuple):
    """Head and tail of a triple in a sentence's tokens."""

    positions: tuple[int, int, int, int]
    """Head start, head end, tail start, tail end; ends inclusive; -1 for both ends of a span that has no tokens."""
    exact: tuple[bool, bool]
    """Whether `Encoded.characters` of head's and tail's tokens are exactly the gold characters, blanks aside."""
    cuts: tuple[int, int, int, int]
    """In the order of the positions, the cuts with which `Encoded.characters` gives the gold characters: graphemes that
    the entity leaves out at the front of its first token and at the end of its last one; -1 where there is none."""
    problem: str | None
    """Of a span without positions: "span_beyond_max_length" if truncation cuts the entity off, "span_without_token" if
    the tokenizer leaves nothing of it."""


class EncodedExample(NamedTuple):
    """One sentence of a corpus in tokens."""

    ids: list[int]
    triples: list[EncodedTriple]
    truncated: bool
    is_whole: bool
    """Whether every span has tokens."""


class FramingTokenizer(Protocol):
    """What is asked of a tokenizer."""

    @property
    def backend_tokenizer(self) -> Tokenizer: ...
    @property
    def model_max_length(self) -> int: ...
    @property
    def cls_token_id(self) -> int: ...
    @property
    def sep_token_id(self) -> int: ...
    @property
    def pad_token_id(self) -> int: ...


class SentenceEncoder:
    """Tokenises sentences for one tokenizer and set of languages.

    `tokenizer` is what `load_tokenizer` (`mere_ds.encoders.tokens`) or `read_tokenizer` (`tokenizer_files`) gives: it
    has a special token `[xx]` for each language code. `max_length` bounds the whole sequence; longer sentences lose
    their last words. Raises UserError if a language's token is missing or `max_length` is out of the encoder's range.
    """

    def __init__(self, tokenizer: FramingTokenizer, languages: Iterable[str], max_length: int):
        limit = min(tokenizer.model_max_length, np.iinfo(np.int16).max)
        if not FRAME < max_length <= limit:
            raise UserError(f"--max_length={max_length} is out of range: pass {FRAME + 1} to {limit}")
        self.max_length = max_length
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        symbols = {language: self._backend.token_to_id(language_symbol(language)) for language in languages}
        self._symbols = {language: number for language, number in symbols.items() if number is not None}
        unknown = sorted(symbols.keys() - self._symbols.keys(), key=[*symbols].index)
        if unknown:
            raise UserError(
                f"the tokenizer has no language symbol for {', '.join(unknown)}: make shards with these languages"
            )
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self.pad_id = tokenizer.pad_token_id

    def encode_texts(self, texts: Sequence[str], languages: Sequence[str]) -> list[Encoded]:
        """Sentences for prediction. Raises UserError for a language that the tokenizer does not know."""
        unknown = sorted(set(languages) - set(self._symbols))
        if unknown:
            raise UserError(f"unknown language {', '.join(unknown)}: this model knows {', '.join(self._symbols)}")
        return [self.text(words, language) for words, language in zip(self.words(texts), languages, strict=True)]

    def encode_examples(self, examples: Sequence[Example]) -> list[EncodedExample]:
        """Sentences with their spans, for writing."""
        words = self.words([example.text for example in examples])
        return [self.example(example, its) for example, its in zip(examples, words, strict=True)]

    def padded(self, sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Whole sequences as one batch: token_ids_BM (int64) and mask_BM, which is true on real tokens."""
        lengths_B = np.array([len(ids) for ids in sequences])
        mask_BM = np.arange(lengths_B.max()) < lengths_B[:, None]
        token_ids_BM = np.full(mask_BM.shape, self.pad_id, dtype=np.int64)
        token_ids_BM[mask_BM] = np.concatenate(sequences)
        return token_ids_BM, mask_BM

    @property
    def room(self) -> int:
        """How many tokens of words a sequence takes."""
        return self.max_length - FRAME

    def words(self, texts: Sequence[str]) -> Iterator[Words]:
        """All tokens of each text."""
        composed = [compose(text) for text in texts]
        encodings = self._backend.encode_batch([text for text, _ in composed], add_special_tokens=False)
        return (Words(its, encoding) for (_, its), encoding in zip(composed, encodings, strict=True))

    def text(self, words: Words, language: str, kept: int | None = None) -> Encoded:
        """A sentence of the first `kept` tokens (None: as many as there is room for) in a known language."""
        ids = self._frame(words.encoding.ids, language, kept)
        offsets = [words.alignment.to_given(span) for span in words.encoding.offsets[: len(ids) - FRAME]]
        return Encoded(np.array(ids, dtype=np.int32), offsets, self._is_truncated(words, kept))

    def example(self, example: Example, words: Words, kept: int | None = None) -> EncodedExample:
        """The same with the example's spans; its text is the one of the tokens, or of the first `kept` ones."""
        ids = self._frame(words.encoding.ids, example.language, kept)
        text, room = example.text, len(ids) - FRAME
        triples, is_whole = [], True
        for head, _, tail in example.triples:
            h_start, h_end, h_exact, h_front, h_back, problem = _in_tokens(text, head, *words, room)
            t_start, t_end, t_exact, t_front, t_back, another = _in_tokens(text, tail, *words, room)
            positions, cuts = (h_start, h_end, t_start, t_end), (h_front, h_back, t_front, t_back)
            triples.append(EncodedTriple(positions, (h_exact, t_exact), cuts, problem or another))
            is_whole = is_whole and not (problem or another)
        return EncodedExample(ids, triples, self._is_truncated(words, kept), is_whole)

    def _frame(self, ids: list[int], language: str, kept: int | None) -> list[int]:
        """The whole sequence of some tokens."""
        return [self._cls, self._symbols[language], *ids[: self.room if kept is None else kept], self._sep]

    def _is_truncated(self, words: Words, kept: int | None) -> bool:
        """Whether tokens are cut off; those after the first `kept` ones aren't of the sentence."""
        return kept is None and len(words.encoding) > self.room


def _in_tokens(
    text: str, span: Span, alignment: Alignment, words: Encoding, room: int
) -> tuple[int, int, bool, int, int, str | None]:
    """An entity's share of `EncodedTriple`: first and last position, exact, two cuts and the problem; only `room` of
    the words are kept."""
    tokens = _tokens_of(words, alignment.to_composed(span))
    if tokens is None or tokens[1] >= room:
        return -1, -1, False, -1, -1, "span_without_token" if tokens is None else "span_beyond_max_length"
    first, last = tokens
    of_first = words.token_to_chars(first)
    of_last = of_first if first == last else words.token_to_chars(last)
    assert of_first and of_last  # tokens of these words
    covered = of_first[0], of_last[1]
    if alignment.is_equal and covered == span and surely_whole(text, span):
        return first + _BEFORE, last + _BEFORE, True, 0, 0, None  # the usual case, ten times as fast as the code below
    shown, gold = _shown(text, alignment.to_given(covered)), trim(text, span)
    front, back = _cuts(text, shown, gold)
    return first + _BEFORE, last + _BEFORE, shown == gold, front, back, None


def _tokens_of(words: Encoding, span: Span) -> tuple[int, int] | None:
    """First and last token of a character span; characters without a token (white space, ...) are skipped."""
    for start in range(*span):
        if (first := words.char_to_token(start)) is not None:
            break
    else:
        return None
    end = span[1]
    while (last := words.char_to_token(end - 1)) is None:
        end -= 1
    while (following := words.token_to_chars(last + 1)) and following[0] < span[1]:
        last += 1  # a character can be several tokens, and char_to_token returns the first
    return first, last


def _cuts(text: str, shown: Span, gold: Span) -> tuple[int, int]:
    """How many graphemes covered by the tokens come before and after the gold span."""
    if shown == gold:
        return 0, 0
    parts = graphemes(text, shown)
    front, back = sum(end <= gold[0] for _, end in parts), sum(start >= gold[1] for start, _ in parts)
    return min(front, _MOST_CUT), min(back, _MOST_CUT)


def _shown(text: str, covered: Span) -> Span:
    """The span that tokens cover, as whole graphemes without blanks at its ends.

    SentencePiece's tokens include blanks, and a letter with combining marks may get the offsets of its first part only.
    """
    return trim(text, whole_graphemes(text, covered))
