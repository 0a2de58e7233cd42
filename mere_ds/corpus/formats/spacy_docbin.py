"""spaCy's DocBin, a `.spacy` file, read by spaCy: relations as two groups of spans, or as `doc._.rel`.

spaCy has no place of its own for relations. `mere-ds convert --to=spacy` writes the groups `HEADS` and `TAILS`: the
spans at the same place of both are a relation, and both have its label. In spaCy's tutorial on relations, `doc._.rel`
maps the first tokens of two entities to scores of labels.

A file is msgpack inside of zlib, without pickles, also in what `doc._` keeps. It may still be damaged, or made to do
harm: of the attributes of tokens we load only what we need, and each document by itself.
"""

import gc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import MOST_RAW, Format, Link, Lost, Mention, Stated, Unreadable, files_below, shares
from mere_ds.corpus.rows import Rejected, open_file
from mere_ds.errors import UserError
from mere_ds.optional_libraries import needed

if TYPE_CHECKING:
    from spacy.tokens import Doc, DocBin, SpanGroup

HEADS, TAILS = "relation_heads", "relation_tails"
"""The names of the groups of spans."""
ID, LANGUAGE = "id", "language"
"""Keys of `doc.user_data`."""

_LOSSES = {
    "invalid_document": "spaCy can't load the document",
    "uneven_groups": f"{HEADS} and {TAILS} have different numbers of spans",
    "labels_differ": f"the spans at the same place of {HEADS} and {TAILS} have different labels",
    "low_score": "the relation's score is below 0.5, but not 0",
}
_NOTES = {"no_known_relations": f"the document has neither the spans {HEADS} and {TAILS} nor relations in doc._"}

_ATTRIBUTES = ("ORTH", "ENT_IOB", "ENT_TYPE", "SENT_START")
_ENOUGH = 0.5  # the tutorial's threshold
_PLAUSIBLE = 200  # bytes that a byte of a file unpacks to; spaCy's files are far below
_SMALL = 1 << 26
_BLOCK = 1 << 20


def _recognise(sample: Sample) -> str | None:
    try:
        begin = zlib.decompressobj().decompress(sample.head, 1 << 8)
    except zlib.error:
        return None
    return "a DocBin inside of zlib" if b"version" in begin and b"attrs" in begin else None


def require_spacy() -> None:
    """Raises UserError if it isn't installed."""
    with needed("spaCy's files need"):
        import spacy  # noqa: F401


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    require_spacy()
    extension = options.columns.get("rel", "rel")
    if other := next((key for key in options.columns if key != "rel"), None):
        raise UserError(f"--map={other}=...: must be rel=NAME, the extension doc._.NAME that holds the relations")
    with open_file(path) as stream:
        content = stream.read()
    packed = _bin(path, content)
    sizes = shares(len(content), len(packed))
    for place, (doc, size) in enumerate(zip(_docs(packed), sizes, strict=True), start=1):
        if doc is None:
            yield Unreadable(place, "invalid_document", f"document {place}", size)
        else:
            yield _stated(doc, place, f"{path.stem}-{place}", size, ("._.", extension, None, None))


@contextmanager
def _collecting() -> Iterator[None]:
    """srsly leaves the garbage collector off after a file that it can't read."""
    was_on = gc.isenabled()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _bin(path: Path, content: bytes) -> "DocBin":
    """Raises UserError."""
    from spacy.attrs import IDS
    from spacy.tokens import DocBin

    try:
        _check_size(content)
        with _collecting():
            packed = DocBin().from_bytes(content)
        columns = [packed.attrs.index(IDS[name]) for name in _ATTRIBUTES if IDS[name] in packed.attrs]
        packed.attrs = [packed.attrs[column] for column in columns]
        packed.tokens = [tokens[:, columns] for tokens in packed.tokens]
        packed.strings = {string for string in packed.strings if isinstance(string, str)}
        if packed.attrs[0] != IDS["ORTH"]:
            raise ValueError("no ORTH")
    except Exception as error:  # of any class, from wherever the libraries stumble over the file
        raise UserError(
            f"{path}: is not a DocBin of spaCy ({' '.join(str(error).split())[:200]}): write it again"
        ) from None
    return packed


def _check_size(content: bytes) -> None:
    """Raises ValueError for a file that was made to fill the memory, zlib.error for one that isn't packed."""
    unpacker, left, size = zlib.decompressobj(), content, 0
    while left and not unpacker.eof:
        size += len(unpacker.decompress(left, _BLOCK))
        left = unpacker.unconsumed_tail
        if size > max(_SMALL, _PLAUSIBLE * len(content)):
            raise ValueError(f"it unpacks to more than {_PLAUSIBLE} times its size")


def _docs(packed: "DocBin") -> Iterator["Doc | None"]:
    """One after the other, so that a damaged one doesn't end the others; None for that."""
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    vocab = Vocab()
    for string in packed.strings:
        vocab.strings.add(string)
    for place in range(len(packed)):
        one = DocBin()
        try:
            one.attrs, one.tokens, one.spaces = packed.attrs, [packed.tokens[place]], [packed.spaces[place]]
            one.cats, one.flags, one.span_groups = [{}], [packed.flags[place]], [packed.span_groups[place]]
            one.user_data = [packed.user_data[place]]
            with _collecting():
                [doc] = one.get_docs(vocab)
            doc.text, doc.ents  # noqa: B018 (raise what a damaged document raises)
        except Exception:  # of any class, from wherever the libraries stumble over the document
            doc = None
        yield doc


def _stated(doc: "Doc", place: int, name: str, size: int, key: tuple[Any, ...]) -> Stated:
    data: dict[Any, Any] = doc.user_data
    notes: tuple[str, ...] = ()
    if HEADS in doc.spans or TAILS in doc.spans:
        links = tuple(_of_groups(doc))
    elif isinstance(data.get(key), dict):
        links = tuple(_of_scores(doc, data[key]))
    else:
        links, notes = (), ("no_known_relations",)
    given = ((data.get(key), default) for key, default in ((ID, name), (LANGUAGE, "")))
    own_id, language = (value if isinstance(value, str) else default for value, default in given)
    bounds = None
    if doc.has_annotation("SENT_START"):
        bounds = tuple(token.idx for token in doc if token.is_sent_start and token.i)
    return Stated(place, own_id, doc.text, links, size, doc.text[:MOST_RAW], language, bounds=bounds, notes=notes)


def _of_groups(doc: "Doc") -> Iterator[Link | Lost]:
    heads, tails = (doc.spans.get(name, ()) for name in (HEADS, TAILS))
    for number, (head, tail) in enumerate(zip_longest(range(len(heads)), range(len(tails)))):
        try:
            if head is None or tail is None:
                raise Rejected("uneven_groups")
            (head_place, label), (tail_place, other) = _span(heads, number), _span(tails, number)
            if label != other:
                raise Rejected("labels_differ")
            yield Link(Mention((head_place,)), label, Mention((tail_place,)), f"relation {number + 1}: {label}")
        except Rejected as rejected:
            yield Lost(str(rejected), f"relation {number + 1}")


def _span(group: "SpanGroup", number: int) -> tuple[Span, str]:
    """A span's characters and its label. Raises Rejected."""
    try:
        span = group[number]  # raises IndexError for one outside of the document
        return _characters(span), span.label_  # raises KeyError for a label that the file lacks
    except IndexError:
        raise Rejected("span_out_of_text") from None
    except KeyError:
        raise Rejected("wrong_keys") from None


def _characters(span: Any) -> Span:
    """By its tokens: the characters that a file states with them are not checked by spaCy."""
    if span.start >= span.end:
        raise Rejected("empty_span")
    last = span.doc[span.end - 1]
    return span.doc[span.start].idx, last.idx + len(last)


def _of_scores(doc: "Doc", pairs: dict[Any, Any]) -> Iterator[Link | Lost]:
    """Relations with a score above 0."""
    begins = _places_by_first_token(doc)
    for ends, scores in pairs.items():
        for label, score in scores.items() if isinstance(scores, dict) else [("", None)]:
            shown = f"{ends}: {label} {score}"[:MOST_RAW]
            try:
                if not isinstance(label, str) or not isinstance(score, Real) or not 0 <= float(score) <= 1:
                    raise Rejected("wrong_keys")
                if score == 0:
                    continue
                if float(score) < _ENOUGH:
                    raise Rejected("low_score")
                if not isinstance(ends, tuple) or len(ends) != 2:
                    raise Rejected("wrong_keys")
                head, tail = (_only(begins, token) for token in ends)
                yield Link(Mention((head,)), label, Mention((tail,)), shown)
            except Rejected as rejected:
                yield Lost(str(rejected), shown)


def _places_by_first_token(doc: "Doc") -> dict[int, set[Span]]:
    """The entities, and the other spans where no entity begins."""
    found: dict[int, set[Span]] = {}
    for span in doc.ents:
        found.setdefault(span.start, set()).add(_characters(span))
    others: dict[int, set[Span]] = {}
    for group in doc.spans.values():
        for number in range(len(group)):
            try:
                span = group[number]
                others.setdefault(span.start, set()).add(_characters(span))
            except (IndexError, Rejected):  # no span of the document: what begins there is unknown
                continue
    return others | found


def _only(begins: dict[int, set[Span]], token: Any) -> Span:
    places = begins.get(token, set()) if isinstance(token, int) and not isinstance(token, bool) else set()
    if len(places) != 1:
        raise Rejected("same_start" if places else "unknown_entity")
    return next(iter(places))


FORMATS = (
    Format(
        name="spacy",
        about="spaCy's DocBin: relations as two groups of spans, or in doc._.rel",
        parts=files_below((".spacy",)),
        recognise=_recognise,
        read=_read,
        flags=("map",),
        losses=_LOSSES,
        notes=_NOTES,
    ),
)
