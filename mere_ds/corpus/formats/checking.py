"""What a format's reader states -> Example: every relation is checked against its text, and every one is counted."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from mere_ds.corpus import jsonl
from mere_ds.corpus.example import Example, Span, Triple
from mere_ds.corpus.formats.cutting import bounds_of, pieces_of
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Raw, Stated, Unreadable
from mere_ds.corpus.graphemes import BLANK, surely_whole, trim, whole_graphemes
from mere_ds.corpus.jsonl import MOST_TRIPLES
from mere_ds.corpus.languages import language_code
from mere_ds.corpus.rows import CorpusFile, FileCounts, Reject, Rejected, Tally
from mere_ds.corpus.sentences import Split, with_sentencex
from mere_ds.errors import UserError

MOST_CHARACTERS = 1 << 17
"""Of a sentence with its id and labels, so that its row of JSON lines is shorter than `rows.MOST_ROW_BYTES`."""

LOSSES = jsonl.REJECTIONS | {
    "too_long_text": f"the sentence has more than {MOST_CHARACTERS:,} characters, its id and labels included; "
    "--cut=sentence may help",
    "no_relations": "the record has no list of relations, so nothing says which ones its text states",
    "surface_differs": "the text at the place of a head or tail differs from what the file says it is",
    "unknown_entity": "a head or tail is not among the record's entities",
    "same_start": "several entities begin at the token that the relation names",
    "double_triple": "the sentence has the triple already",
}
"""Why a text or a relation of any format is not kept, beside the reasons of `mere_ds.corpus.rows`."""

NOTES = {
    "discontinuous": "the head or tail has several pieces; its span is from the first to the last character",
    "blanks_differ": "the file has other blanks in the head or tail than the text",
    "cut_letter": "the head or tail begins or ends inside of a letter with marks",
    "self_relation": "head and tail are the same span",
}
"""What is noteworthy of kept relations and texts."""


class FormatFile(CorpusFile):
    """What a format reads on its own: a file, or a folder."""

    __slots__ = ()


class Source(NamedTuple):
    """A format and how to read it."""

    format: Format
    options: SourceOptions


def read_source(
    source: Source,
    file: FormatFile,
    one_triple: bool,
    languages: Collection[str] | None,
    on_reject: Callable[[Reject], None],
    tally: Tally,
) -> Iterator[Example]:
    """Streams the sentences of a part of a source; the arguments are those of `jsonl.read_json_lines`.

    A relation that is not kept is counted in `left_out`, and its text is kept without it, unless the format's records
    have one relation each; `on_reject` gets both what is rejected and what is left out or repaired. Raises UserError
    for an unreadable file or an unknown language.
    """
    return _Reading(source, file, one_triple, languages, on_reject, tally).examples()


def languages_of(source: Source, file: FormatFile) -> set[str]:
    """The languages that a part of a source states. Raises UserError as `read_source` does."""
    format, options = source.format, options_for(source.options, file)
    if format.languages:
        stated = format.languages(file.path, options)
    else:
        stated = {item.language for item in format.read(file.path, options) if isinstance(item, Stated)}
    if "" in stated:
        raise _no_language(file)
    return {code for text in stated if (code := language_code(text.strip()))}


def _no_language(file: FormatFile) -> UserError:
    return UserError(f"{file.path}: does not state the language of its texts: pass --lang=de or the like")


def options_for(options: SourceOptions, file: FormatFile) -> SourceOptions:
    """How to read one part of a source: what the user says of splits holds for all of its texts."""
    split: Any = file.split if options.split == "auto" else "auto"
    return replace(options, split=split)


class _Reading:
    def __init__(
        self,
        source: Source,
        file: FormatFile,
        one_triple: bool,
        languages: Collection[str] | None,
        on_reject: Callable[[Reject], None],
        tally: Tally,
    ):
        self._format, self._options = source
        self._file, self._one_triple, self._languages = file, one_triple, languages
        self._on_reject, self._tally = on_reject, tally
        self._part = file.path.name
        cut = self._options.cut
        self._is_cut = cut == "sentence" or (cut == "auto" and self._format.documents)
        self._wanted: dict[str, FileCounts] = {}
        """The counts of texts that state a language, by language."""

    def examples(self) -> Iterator[Example]:
        for stated in self._format.read(self._file.path, options_for(self._options, self._file)):
            if isinstance(stated, Unreadable):
                self._reject(self._tally.of(self._file.language), stated, stated.reason, stated.raw)
                continue
            counts = self._wanted.get(stated.language) or self._counts(stated)
            if counts and (triples := self._triples(stated, counts)) is not None:
                if self._is_cut and stated.bounds != ():
                    yield from self._pieces(stated, triples, counts)
                elif example := self._example(stated, stated.id, stated.text, triples, counts):
                    yield example

    def _counts(self, stated: Stated) -> FileCounts | None:
        """Of the texts in its language; None for one that is rejected, or in a language that isn't wanted."""
        language = self._language(stated)
        if not language:
            self._reject(self._tally.of(self._file.language), stated, "unknown_language", stated.raw)
        elif self._file.language not in ("", language):
            self._reject(self._tally.of(self._file.language), stated, "wrong_language", stated.raw)
        elif self._languages is not None and language not in self._languages:
            self._tally.skipped_bytes += stated.size
        else:
            counts = self._tally.of(language)
            if stated.language in ("", language):  # otherwise there are any number of spellings
                self._wanted[stated.language] = counts
            return counts
        return None

    def _language(self, stated: Stated) -> str | None:
        """None if the record states another thing than a language."""
        if stated.language:
            return language_code(stated.language.strip())
        if self._file.language:
            return self._file.language
        raise _no_language(self._file)

    def _triples(self, stated: Stated, counts: FileCounts) -> Sequence[Triple] | None:
        """The relations that can be kept, each once; None if the text is rejected."""
        text = stated.text
        if reason := _fault(text, stated.id):
            self._reject(counts, stated, reason, stated.raw)
            return None
        if stated.plain and not stated.notes:
            counts.bytes += stated.size
            return stated.plain
        kept: dict[Triple, None] = dict.fromkeys(stated.plain)
        lost: list[tuple[str, Raw]] = []
        notes = list(stated.notes)
        repaired: list[Link] = []
        for link in stated.links:
            its_notes: list[str] = []
            triple = _checked(link, text, its_notes)
            if isinstance(triple, str):
                lost.append((triple, link.raw))
            elif triple in kept:
                lost.append(("double_triple", link.raw))
            else:
                kept[triple] = None
                if its_notes:
                    notes += dict.fromkeys(its_notes)
                if isinstance(link, Link) and link.repairs:
                    repaired.append(link)
        if lost and not kept and (self._format.one_relation or stated.one_relation):
            self._reject(counts, stated, lost[0][0], stated.raw)
            return None
        counts.bytes += stated.size
        if notes or lost or repaired:
            self._count(stated, counts, notes, lost, repaired)
        return list(kept)

    def _count(
        self, stated: Stated, counts: FileCounts, notes: list[str], lost: list[tuple[str, Raw]], repaired: list[Link]
    ) -> None:
        counts.notes.update(notes)
        for reason, raw in lost:
            counts.left_out[reason] += 1
            self._tell(stated, reason, True, raw)
        for link in repaired:
            counts.repaired_triples.update(link.repairs)
            for repair in link.repairs:
                self._tell(stated, repair, True, link.raw)

    def _pieces(self, stated: Stated, triples: Sequence[Triple], counts: FileCounts) -> Iterator[Example]:
        pieces = list(pieces_of(stated.text, triples, self._bounds(stated, counts.language)))
        for number, ((start, end), its) in enumerate(pieces, start=1):
            own_id = stated.id if len(pieces) == 1 else f"{stated.id}.{number}"
            if example := self._example(stated, own_id, stated.text[start:end], its, counts):
                yield example

    def _example(
        self, stated: Stated, own_id: str, text: str, triples: Sequence[Triple], counts: FileCounts
    ) -> Example | None:
        """A sentence of the text; None if it is rejected."""
        counts.rows += 1
        if reason := self._unfit(len(own_id) + len(text), triples):
            counts.rejected[reason] += 1
            counts.left_out[reason] += len(triples)
            self._tell(stated, reason, False, text)
            return None
        counts.kept += 1
        for _, relation, _ in triples:
            counts.labels[relation] += 1
        return Example(own_id, counts.language, text, tuple(triples), stated.file or self._part, stated.place)

    def _bounds(self, stated: Stated, language: str) -> Sequence[int]:
        return stated.bounds if stated.bounds is not None else bounds_of(stated.text, language, self._split)

    @cached_property
    def _split(self) -> Split:
        return with_sentencex()

    def _unfit(self, characters: int, triples: Sequence[Triple]) -> str:
        """Why a sentence can't be kept; `characters` are those of its id and text."""
        for _, relation, _ in triples:
            characters += len(relation)
        if characters > MOST_CHARACTERS:
            return "too_long_text"
        if self._one_triple and len(triples) != 1:
            return "not_one_triple"
        return "too_many_triples" if len(triples) > MOST_TRIPLES else ""

    def _reject(self, counts: FileCounts, stated: Stated | Unreadable, reason: str, raw: Raw) -> None:
        counts.rows += 1
        counts.bytes += stated.size
        counts.rejected[reason] += 1
        self._tell(stated, reason, False, raw)
        if lost := stated.relations:
            counts.left_out[reason] += lost

    def _tell(self, stated: Stated | Unreadable, reason: str, kept: bool, raw: Raw) -> None:
        self._on_reject(Reject(self._name(stated), stated.place, reason, kept, str(raw)))

    def _name(self, stated: Stated | Unreadable) -> str:
        return stated.file or self._part


def plain_triple(text: str, head: Span, relation: str, tail: Span) -> Triple | None:
    """A relation of which nothing is to be said, as of nearly all: what `_checked` gives, in a third of the time. None
    where that must take a closer look."""
    (a, b), (c, d) = head, tail
    if not (0 <= a < b <= len(text) and 0 <= c < d <= len(text)) or head == tail:
        return None
    if text[a] in BLANK or text[b - 1] in BLANK or text[c] in BLANK or text[d - 1] in BLANK:
        return None
    if relation[:1] in BLANK or relation[-1] in BLANK or _has_half_pair(relation):
        return None
    # ASCII joins CR and LF alone, and the spans have no such edge
    if text.isascii() or (surely_whole(text, head) and surely_whole(text, tail)):
        return Triple(head, relation, tail)
    return None


def _fault(text: str, own_id: str) -> str:
    if text[:1] in BLANK and not text.strip(BLANK):
        return "empty_text"
    return "invalid_text" if _has_half_pair(text) or _has_half_pair(own_id) else ""


def _has_half_pair(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _checked(link: Link | Lost, text: str, notes: list[str]) -> Triple | str:
    """The triple, or the reason why there is none; adds what is noteworthy of it."""
    if isinstance(link, Lost):
        return link.reason
    relation = link.relation.strip()
    if not relation:
        return "empty_label"
    if _has_half_pair(relation):
        return "invalid_text"
    notes += link.notes
    try:
        head, tail = _span(link.head, text, notes), _span(link.tail, text, notes)
    except Rejected as rejected:
        return str(rejected)
    if head == tail:
        notes.append("self_relation")
    return Triple(head, relation, tail)


def _span(mention: Mention, text: str, notes: list[str]) -> Span:
    """From the first to the last character of all pieces, without blanks at the ends; notes what is noteworthy."""
    span = _hull(mention.pieces, len(text))
    if mention.surface is not None:
        match agreement(text, mention):
            case "differs":
                raise Rejected("surface_differs")
            case "blanks":
                notes.append("blanks_differ")
    span = trim(text, span)
    if text[span[0]] in BLANK:
        raise Rejected("empty_span")
    if len(mention.pieces) > 1:
        notes.append("discontinuous")
    if not surely_whole(text, span) and whole_graphemes(text, span) != span:
        notes.append("cut_letter")
    return span


def _hull(pieces: Sequence[Span], length: int) -> Span:
    """From the first to the last character of all pieces. Raises Rejected if one is empty or not in the text."""
    if len(pieces) == 1:  # as nearly all have; the rest is the same for any number
        [(start, end)] = pieces
        if 0 <= start < end <= length:
            return start, end
    if not pieces or any(not 0 <= start <= end <= length for start, end in pieces):
        raise Rejected("span_out_of_text")
    if any(start == end for start, end in pieces):
        raise Rejected("empty_span")
    return min(start for start, _ in pieces), max(end for _, end in pieces)


def agreement(text: str, mention: Mention) -> str:
    """ "equal", "blanks" (other blanks only) or "differs": the text at the mention's place and what the file says."""
    there, said = " ".join(text[slice(*piece)] for piece in mention.pieces), mention.surface
    if said is not None and mention.any_case:
        there, said = there.casefold(), said.casefold()
    if said is None or there == said:
        return "equal"
    bare = "".join(said.split())
    if len("".join(there[: 2 * len(said) + 64].split())) > len(bare):
        return "differs"  # without a look at the rest: a damaged span may be as long as the text
    return "blanks" if "".join(there.split()) == bare else "differs"
