"""UIMA CAS as XMI, which INCEpTION and other UIMA tools export, with its type system beside it; read by dkpro-cassis.

A relation is an annotation with two features that point at annotations: `Governor` and `Dependent`, or the like.
Offsets count UTF-16 code units in the file and code points after loading, except those of annotations that are in no
index, and those inside of a character, which dkpro-cassis leaves as they are.
"""

import keyword
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.parsers import expat

from mere_ds.corpus.example import Span
from mere_ds.corpus.formats.layers import LOSSES, Layers, document_name, short_name
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.samples import Sample
from mere_ds.corpus.formats.stated import MOST_RAW, Format, Link, Lost, Mention, Stated, Unreadable, files_below
from mere_ds.corpus.formats.units import ToCodePoint, span_at, to_code_points
from mere_ds.corpus.languages import language_code
from mere_ds.corpus.rows import Rejected, open_file
from mere_ds.errors import UserError
from mere_ds.optional_libraries import needed

if TYPE_CHECKING:
    from cassis import Cas, Type, TypeSystem, View

_LOSSES = {
    **LOSSES,
    "invalid_xml": "the file is not well-formed XML",
    "document_type": "the XML has a document type (DOCTYPE), which may name other files, and is not read for safety",
    "invalid_xmi": "the file is not a CAS of its type system",
    "unknown_roles": "the names of the layer's two links don't say which is the head: pass --map head=NAME,tail=NAME",
}
_NOTES = {"other_links": "the document has chains or slots, which link other than two spans and are not read"}
_KEYS = ("head", "layer", "relation", "tail")

_ROLES = (
    *(("governor", "dependent"), ("source", "target"), ("head", "tail"), ("subject", "object")),
    ("arg1", "arg2"),
)
_OF_THE_TOOLS = ("uima.", "de.tudarmstadt.ukp.", "org.dkpro.")  # whose types with two links aren't all relations
_ANNOTATION, _STRING, _LIST = "uima.tcas.Annotation", "uima.cas.String", "uima.cas.FSArray"
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LEFT = re.compile(r"Not mapping external offset \[(-?[0-9]+)\]")


def _recognise(sample: Sample) -> str | None:
    cas = "http://www.omg.org/XMI" in sample.text and "uima/cas.ecore" in sample.text
    return "XML of XMI and cas.ecore" if cas else None


def _read(path: Path, options: SourceOptions) -> Iterator[Stated | Unreadable]:
    layers = Layers(options, _KEYS)
    if (layers.of("head") is None) != (layers.of("tail") is None):
        raise UserError("--map: pass both head=FEATURE and tail=FEATURE")
    with open_file(path) as stream:
        content = stream.read()
    size, raw = len(content), content[:MOST_RAW].decode("utf-8", "backslashreplace")
    types = _types_for(path)
    try:
        _check_xml(content)
        cas, left = _loaded(content, types)
    except Rejected as rejected:
        yield Unreadable(1, str(rejected), raw, size)
        return
    views = [view for view in cas.views if view.sofa.sofaString is not None]
    if not views:
        yield Unreadable(1, "empty_text", raw, size)
    for place, view in enumerate(views, start=1):
        name = document_name(path) + (f".{view.sofa.sofaID}" if len(views) > 1 else "")
        yield _View(view, types, left).stated(place, name, layers, size if place == 1 else 0, raw, options.lang)


def _check_xml(content: bytes) -> None:
    """Raises Rejected. Without a document type XML has no entities, so that it can neither name files nor explode."""

    def refuse(*_: object) -> None:
        raise Rejected("document_type")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError):  # the latter for an unknown encoding
        raise Rejected("invalid_xml") from None


def _types_for(path: Path) -> "TypeSystem":
    """From the folder of a document, or the one above. Raises UserError."""
    for folder in (path.parent, path.parent.parent):
        found = [other for other in sorted(folder.glob("*.[xX][mM][lL]")) if other.is_file()]
        named = [other for other in found if other.name.lower() == "typesystem.xml"]
        for other in named or [file for file in found if b"typeSystemDescription" in Sample(file).head]:
            status = other.stat()
            return _types_in(other, status.st_mtime_ns, status.st_size)
    raise UserError(f"{path}: has no TypeSystem.xml beside it: put the one that was exported with it there")


@lru_cache(maxsize=2)
def _types_in(path: Path, *_: int) -> "TypeSystem":
    with needed("UIMA XMI needs"):
        from cassis import load_typesystem
    with open_file(path) as stream:
        content = stream.read()
    try:
        _check_xml(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            types = load_typesystem(BytesIO(content))
    except Exception as error:  # of any class, from wherever the library stumbles over the file
        message = _LOSSES.get(str(error), f"{type(error).__name__}: {error}")
        raise UserError(f"{path}: is not a type system ({' '.join(message.split())[:200]}): export it again") from None
    _check_names(path, types)
    return types


def _check_names(path: Path, types: "TypeSystem") -> None:
    """Raises UserError. The library makes attributes of features' names, so they must be names that Python allows."""
    for its in types.get_types():
        for feature in its.all_features:
            name = feature.name or ""  # the library takes a feature without one
            if not _IDENTIFIER.fullmatch(name) or keyword.iskeyword(name):
                raise UserError(
                    f"{path}: {its.name} has a feature {name[:40]!r}, which dkpro-cassis can't read: rename it"
                )


def _loaded(content: bytes, types: "TypeSystem") -> tuple["Cas", set[int]]:
    """The CAS, and the offsets that were left as they are. Raises Rejected."""
    from cassis import load_cas_from_xmi

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            cas = load_cas_from_xmi(BytesIO(content), typesystem=types)
    except Exception:  # of any class, from wherever the library stumbles over the file
        raise Rejected("invalid_xmi") from None
    return cas, {int(left[1]) for warning in said for left in [_LEFT.match(str(warning.message))] if left}


class _Roles(NamedTuple):
    """The features of a type of relations."""

    head: str
    tail: str
    labels: dict[str, str]
    """The features that may be the label, by their names in the type system."""


class _View:
    """A text and its annotations."""

    def __init__(self, view: "View", types: "TypeSystem", left: set[int]):
        self._text = view.sofa.sofaString or ""
        self._types, self._left = types, left
        indexed = [fs for fs in view.get_all_fs() if self._is(fs.type, _ANNOTATION)]
        self._annotations: list[Any] = sorted(indexed, key=lambda fs: fs.xmiID)
        self._indexed = {fs.xmiID for fs in indexed}
        self._place: ToCodePoint | None = None
        self._roles: dict[str, _Roles | str | None] = {}

    def stated(self, place: int, name: str, layers: Layers, size: int, raw: str, lang: str | None) -> Stated:
        links = tuple(link for fs in self._annotations for link in self._of(fs, layers))
        notes = ("other_links",) if any(self._has_other_links(fs) for fs in self._annotations) else ()
        language = "" if lang else self._language()
        return Stated(place, name, self._text, links, size, raw, language, bounds=self._bounds(), notes=notes)

    def _is(self, its: "Type", parent: str) -> bool:
        return self._types.is_instance_of(its, parent)

    def _language(self) -> str:
        codes = [getattr(fs, "language", None) for fs in self._annotations if fs.type.name.startswith(_OF_THE_TOOLS)]
        return next((code for code in codes if isinstance(code, str) and language_code(code)), "")

    def _bounds(self) -> tuple[int, ...] | None:
        sentences = [fs for fs in self._annotations if short_name(fs.type.name) == "Sentence"]
        places = {place for fs in sentences for place in (fs.begin, fs.end) if isinstance(place, int)}
        return tuple(sorted(places - self._left)) or None

    def _has_other_links(self, fs: Any) -> bool:
        return any(
            getattr(fs, feature.name, None) is not None
            for feature in fs.type.all_features
            if self._is(feature.rangeType, _LIST)
            or (feature.name == "next" and self._is(feature.rangeType, _ANNOTATION))
        )

    def _of(self, fs: Any, layers: Layers) -> Iterator[Link | Lost]:
        layer = fs.type.name
        if layer not in self._roles:
            self._roles[layer] = self._roles_of(fs.type, layers)
        roles = self._roles[layer]
        if roles is None:
            return
        shown = f"{short_name(layer)} {fs.xmiID}"
        try:
            if isinstance(roles, str):
                raise Rejected(roles)
            head, tail = (self._span(getattr(fs, role, None)) for role in (roles.head, roles.tail))
            feature = layers.label(layer, list(roles.labels))
            label = getattr(fs, roles.labels[feature], None) if feature else short_name(layer)
            yield Link(Mention((head,)), label if isinstance(label, str) else "", Mention((tail,)), f"{shown} {label}")
        except Rejected as rejected:
            yield Lost(str(rejected), shown)

    def _roles_of(self, its: "Type", layers: Layers) -> _Roles | str | None:
        """None for a layer of spans, a reason where relations can't be read."""
        ends = {_shown(f.name): f.name for f in its.all_features if self._is(f.rangeType, _ANNOTATION)}
        given = [name for name in (layers.of("head"), layers.of("tail")) if name in ends]
        by_word = {name.lower(): name for name in ends}
        known = [[by_word[word] for word in words] for words in _ROLES if by_word.keys() >= set(words)]
        head_and_tail = given if len(given) == 2 else next(iter(known), [])
        if not head_and_tail and (len(ends) != 2 or its.name.startswith(_OF_THE_TOOLS)):
            return None
        if not layers.wants(its.name):
            return "other_layer"
        if not head_and_tail:
            return "unknown_roles"
        labels = {_shown(f.name): f.name for f in its.all_features if self._is(f.rangeType, _STRING)}
        head, tail = (ends[name] for name in head_and_tail)
        return _Roles(head, tail, labels)

    def _span(self, fs: Any) -> Span:
        start, end = getattr(fs, "begin", None), getattr(fs, "end", None)
        if not isinstance(start, int) or not isinstance(end, int):
            raise Rejected("unknown_entity")
        if fs.xmiID in self._indexed:
            if {start, end} & self._left:
                raise Rejected("span_out_of_text")
            return start, end
        self._place = self._place or to_code_points(self._text, "utf16")
        span = span_at(self._place, start, end)
        if span is None:
            raise Rejected("span_out_of_text")
        return span


def _shown(feature: str) -> str:
    """A feature's name in the type system; the library changes two of them."""
    return feature.removesuffix("_") if feature in ("self_", "type_") else feature


FORMATS = (
    Format(
        name="xmi",
        about="UIMA CAS XMI with TypeSystem.xml, as INCEpTION exports it",
        parts=files_below((".xmi",)),
        recognise=_recognise,
        read=_read,
        flags=("map",),
        losses=_LOSSES,
        notes=_NOTES,
        documents=True,
    ),
)
