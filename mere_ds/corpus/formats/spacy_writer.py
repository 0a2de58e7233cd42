"""Example -> spaCy's DocBin: `{language}.{split}.{number}.spacy`, which `spacy_docbin` reads back exactly.

A document's relations are the spans at the same place of two groups, see `spacy_docbin`; `doc.user_data` has its id
and language. Tokens are those of spaCy's tokenizer for the language, or of the one for any language where spaCy needs
another package for it, and are cut where a head or tail begins or ends inside of one.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.formats.spacy_docbin import HEADS, ID, LANGUAGE, TAILS, require_spacy
from mere_ds.corpus.formats.writer import new_file
from mere_ds.errors import UserError

if TYPE_CHECKING:
    from spacy.tokens import Doc, DocBin

_MOST = 10_000
"""Documents of a file: spaCy holds a whole file in memory."""


class SpacyFiles:
    """A `mere_ds.corpus.formats.writer.Writer`."""

    def __init__(self, folder: Path, shown: Path):
        """`shown` is the folder's name in messages."""
        self._folder, self._shown = folder, shown
        self._bins: dict[str, DocBin] = {}
        self._files: dict[str, int] = {}
        self._tokenizers: dict[str, Callable[[str], Doc]] = {}

    def __enter__(self) -> "SpacyFiles":
        require_spacy()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            for name in self._bins:
                self._flush(name)

    def write(self, example: Example, split: str) -> None:
        """Raises UserError if the file is there already, or spaCy can't hold the sentence."""
        from spacy.tokens import DocBin

        name = f"{example.language}.{split}"
        if name not in self._bins:
            self._bins[name] = DocBin(attrs=["ORTH"], store_user_data=True)
        self._bins[name].add(self._doc(example))
        if len(self._bins[name]) == _MOST:
            self._flush(name)
            del self._bins[name]

    def _flush(self, name: str) -> None:
        number = self._files[name] = self._files.get(name, 0) + 1
        with new_file(self._folder / f"{name}.{number:03}.spacy", self._shown) as stream:
            stream.write(self._bins[name].to_bytes())

    def _doc(self, example: Example) -> "Doc":
        from spacy.tokens import Doc, Span, SpanGroup

        if example.language not in self._tokenizers:
            self._tokenizers[example.language] = _tokenizer(example.language)
        tokens = self._tokenizers[example.language](example.text)
        places = _places(tokens, example.text, example.triples)
        words = [example.text[start:end] for start, end, _ in places]
        doc = Doc(tokens.vocab, words=words, spaces=[blank for _, _, blank in places])
        if doc.text != example.text:
            raise UserError(f"{example.id}: spaCy can't hold its text: convert with --to=jsonl")
        first = {start: number for number, (start, _, _) in enumerate(places)}
        last = {end: number + 1 for number, (_, end, _) in enumerate(places)}
        for name, ends in ((HEADS, [t.head for t in example.triples]), (TAILS, [t.tail for t in example.triples])):
            labels = [triple.relation for triple in example.triples]
            spans = [Span(doc, first[a], last[b], label) for (a, b), label in zip(ends, labels, strict=True)]
            doc.spans[name] = SpanGroup(doc, name=name, spans=spans)
        doc.user_data.update({ID: example.id, LANGUAGE: example.language})
        return doc


def _tokenizer(language: str) -> Callable[[str], "Doc"]:
    import spacy

    try:
        return spacy.blank(language.split("-")[0].lower()).tokenizer
    except (ImportError, OSError, ValueError):  # no such language, or it needs another package
        return spacy.blank("xx").tokenizer


def _places(tokens: Any, text: str, triples: tuple[Triple, ...]) -> list[tuple[int, int, bool]]:
    """Start and end of each token, and whether a blank that isn't a token follows it."""
    starts = {place for triple in triples for place in (triple.head[0], triple.tail[0])}
    ends = {place for triple in triples for place in (triple.head[1], triple.tail[1])}
    bounds = {0, len(text), *starts, *ends}
    for token in tokens:
        bounds |= {token.idx, token.idx + len(token)}
    places: list[tuple[int, int, bool]] = []
    ordered = sorted(bounds)
    for start, end in zip(ordered, ordered[1:], strict=False):
        free = places and not places[-1][2] and places[-1][1] == start
        if free and text[start:end] == " " and start not in starts and end not in ends:
            places[-1] = (*places[-1][:2], True)
        else:
            places.append((start, end, False))
    return places
