"""DocRED, Re-DocRED and JacRED: documents whose entities have several mentions, and whose relations are of entities.

The closest two mentions stand for a relation, see `_closest`. Half of the relations have no sentence with both
arguments, so documents are kept whole unless --cut=sentence is passed, which never cuts through a relation.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice, product
from pathlib import Path
from typing import Any, NamedTuple

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.checking import agreement
from mere_ds.corpus.formats.json_rows import Row, json_files, json_rows, shown, unreadable, whole_json
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import Format, Link, Lost, Mention, Stated, Unreadable
from mere_ds.corpus.formats.units import join_tokens
from mere_ds.corpus.formats.values import is_int, is_strings
from mere_ds.errors import UserError

Names = Mapping[str, str]
"""Names of relations by their ids."""


class _Document(NamedTuple):
    sentences: list[list[str]]
    entities: list[list[dict[str, Any]]]
    """Mentions: name, sent_id and pos, which is two places of the sentence's tokens, the end exclusive."""

    def tokens_of(self, mention: dict[str, Any], longer: int = 0) -> list[str]:
        """Empty where there are no such tokens; `longer` is added to the mention's end."""
        number, (first, end) = mention["sent_id"], mention["pos"]
        sentence = self.sentences[number] if 0 <= number < len(self.sentences) else []
        return sentence[first : end + longer] if 0 <= first < end + longer <= len(sentence) else []


class _Placed(NamedTuple):
    """A mention that lies in its sentence."""

    sentence: int
    mention: Mention
    fits: bool
    """Whether its name is what stands there, but for blanks."""
    repairs: tuple[str, ...] = ()


def _recognise(sample: Sample) -> str | None:
    return "vertexSet and sents" if sample.has("vertexSet", "sents") else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    names, blank = _names(path), _blank(path)
    for row in json_rows(path):
        yield row if isinstance(row, Unreadable) else _stated(row, blank, names)


def _names(path: Path) -> Names:
    """From a table beside the file or in meta/; none without one. Raises UserError.

    A name that several relations have is left out, so that they stay several.
    """
    for table in _tables(path):
        names = whole_json(table)
        if not (type(names) is dict and is_strings(list(names.values()))):
            raise UserError(f'{table}: must be one JSON object such as {{"P17": "country"}}: correct or remove it')
        count = Counter(names.values())
        return {id: name for id, name in names.items() if name.strip() and count[name] == 1}
    return {}


def _tables(path: Path) -> Iterator[Path]:
    found = (folder / "rel_info.json" for folder in (path.parent, path.parent / "meta"))
    yield from islice((table for table in found if table.is_file()), 1)


def _blank(path: Path) -> str:
    """What the tokens of a file are joined by: what the names of its mentions show, a blank if they show nothing."""
    shown_by: Counter[str] = Counter()
    for row in json_rows(path):
        if isinstance(row, Row) and (document := _document(row.value)):
            for mention in (mention for entity in document.entities for mention in entity):
                if len(tokens := document.tokens_of(mention)) > 1:
                    shown_by.update(blank for blank in (" ", "") if blank.join(tokens) == mention["name"])
    return "" if shown_by[""] > shown_by[" "] else " "


def _document(value: dict[str, Any]) -> _Document | None:
    """None for another shape."""
    sentences, entities = value.get("sents"), value.get("vertexSet")
    if not (type(sentences) is list and all(is_strings(tokens) for tokens in sentences) and type(entities) is list):
        return None
    if not all(type(entity) is list and all(_is_mention(mention) for mention in entity) for entity in entities):
        return None
    return _Document(sentences, entities)


def _is_mention(value: object) -> bool:
    if not (type(value) is dict and type(value.get("name")) is str and is_int(value.get("sent_id"))):
        return False
    pos = value.get("pos")
    return type(pos) is list and len(pos) == 2 and all(is_int(place) for place in pos)


class _Text:
    """A document as one text, with its mentions in it."""

    def __init__(self, document: _Document, blank: str):
        self._document = document
        self.text, self._spans = join_tokens([token for tokens in document.sentences for token in tokens], blank)
        self._begins = list(accumulate((len(tokens) for tokens in document.sentences), initial=0))
        self.bounds = tuple(self._spans[end - 1][1] for end in self._begins if end)
        self.mentions = [[self._place(mention) for mention in entity] for entity in document.entities]
        self._pairs: dict[tuple[int, int], tuple[_Placed, _Placed] | None] = {}

    def _place(self, mention: dict[str, Any]) -> _Placed | None:
        number, name = mention["sent_id"], mention["name"]
        bare = name.removeprefix(f"{number}.\n")
        renamed = ("numbered_name",) if bare != name else ()
        for longer, repairs in ((0, renamed), (1, (*renamed, "short_end"))):
            if self._document.tokens_of(mention, longer):
                its = Mention(self._span(mention, longer), bare)
                if agreement(self.text, its) != "differs":
                    return _Placed(number, its, True, repairs)
        if self._document.tokens_of(mention):
            return _Placed(number, Mention(self._span(mention, 0), name), False)
        return None

    def _span(self, mention: dict[str, Any], longer: int) -> tuple[Span]:
        first, end = (self._begins[mention["sent_id"]] + place for place in mention["pos"])
        return ((self._spans[first][0], self._spans[end + longer - 1][1]),)

    def closest(self, head: int, tail: int) -> tuple[_Placed, _Placed] | None:
        """The mentions that stand for two entities; None where one of these has no mention in the text."""
        if (head, tail) not in self._pairs:
            self._pairs[head, tail] = _closest(self._usable(head), self._usable(tail))
        return self._pairs[head, tail]

    def _usable(self, entity: int) -> list[_Placed]:
        """An entity's mentions, each once, and only those that fit if there are any."""
        found = [placed for placed in dict.fromkeys(self.mentions[entity]) if placed]
        return [placed for placed in found if placed.fits] or found


def _stated(row: Row, blank: str, names: Names) -> Stated | Unreadable:
    document, title, labels = _document(row.value), row.value.get("title"), row.value.get("labels")
    if document and "labels" not in row.value:
        return unreadable(row, "no_relations", labels)
    if document is None or type(title) is not str or type(labels) is not list:
        return unreadable(row, "wrong_keys", labels)
    its = _Text(document, blank)
    links = tuple(_link(label, its, names) for label in labels)
    astray = any(placed is None for entity in its.mentions for placed in entity)
    notes = ("mention_out_of_text",) if astray else ()
    return Stated(row.place, title, its.text, links, row.size, row.raw, bounds=its.bounds, notes=notes)


def _link(label: object, text: _Text, names: Names) -> Link | Lost:
    raw = shown(label)
    if type(label) is not dict or type(relation := label.get("r")) is not str:
        return Lost("wrong_keys", raw)
    head, tail = label.get("h"), label.get("t")
    if not (is_int(head) and is_int(tail)):
        return Lost("wrong_keys", raw)
    if not all(0 <= entity < len(text.mentions) for entity in (head, tail)):
        return Lost("unknown_entity", raw)
    pair = text.closest(head, tail)
    if pair is None:
        return Lost("span_out_of_text", raw)
    notes = [] if pair[0].sentence == pair[1].sentence else ["no_common_sentence"]
    if any(len(text.mentions[entity]) > 1 for entity in (head, tail)):
        notes.append("one_of_several_mentions")
    repairs = tuple(dict.fromkeys((*pair[0].repairs, *pair[1].repairs)))
    return Link(pair[0].mention, names.get(relation, relation), pair[1].mention, raw, repairs, tuple(notes))


def _closest(heads: Sequence[_Placed], tails: Sequence[_Placed]) -> tuple[_Placed, _Placed] | None:
    """The two mentions in one sentence, if there are such, that don't overlap, if there are such, with the fewest
    characters between them; of several, those that begin first."""

    def order(pair: tuple[_Placed, _Placed]) -> tuple[bool, int, int, int]:
        [head], [tail] = (placed.mention.pieces for placed in pair)
        between = max(head[0], tail[0]) - min(head[1], tail[1])
        overlap = between < 0
        return pair[0].sentence != pair[1].sentence, overlap, 0 if overlap else between, min(head[0], tail[0])

    return min(product(heads, tails), key=order, default=None)


FORMATS = (
    Format(
        name="docred",
        about="DocRED, Re-DocRED and JacRED: JSON of documents whose entities have several mentions",
        parts=json_files,
        recognise=_recognise,
        read=_read,
        tables=_tables,
        repairs={
            "short_end": "the head or tail ended one token short of its name; the token was added",
            "numbered_name": "the name of head or tail began with the number of its sentence; taken off",
        },
        notes={
            "no_common_sentence": "no sentence has a mention of both head and tail",
            "one_of_several_mentions": "the head or tail has several mentions; the closest two stand for the relation",
            "mention_out_of_text": "the document has a mention that doesn't lie in its sentence; others are used",
        },
    ),
)
