"""Answers as RDF in the form N-Triples.

An entity is a resource of its language and name, so that equal names of a language are one; a relation is a property.
Each triple is stated, and described by an `rdf:Statement` with its score, its text and its offsets in characters.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from mere_ds.bulk.answering import Answered

NAMESPACE = "urn:mere-ds:"
_RDF, _RDFS = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/2000/01/rdf-schema#"
_XSD = "http://www.w3.org/2001/XMLSchema#"
_TAG = re.compile("[a-zA-Z]+(-[a-zA-Z0-9]+)*")  # of a language, as in N-Triples
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPECIAL = re.compile('[\\\\"\x00-\x1f\x7f]')


def statements(answer: Answered, beside: dict[str, Any]) -> bytes:
    """The lines for one row: none unless it has a triple or a note."""
    if not answer.triples and answer.note is None:
        return b""
    return "".join(f"{s} {p} {o} .\n" for s, p, o in _lines(answer, beside)).encode()


def _lines(answer: Answered, beside: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    language = answer.language or ""
    digest = hashlib.sha256((answer.text or "").encode(errors="surrogatepass")).hexdigest()[:16]
    text = _own("text", str(answer.number), digest)
    yield text, _term("line"), _number(answer.number)
    if answer.text is not None:
        yield text, _iri(_RDF, "value"), _literal(answer.text, language)
    if answer.note is not None:
        yield text, _term("note"), _literal(answer.note)
    for place, triple in enumerate(answer.triples, start=1):
        head, tail = (_own("entity", language, triple[side]["text"]) for side in ("head", "tail"))
        relation = _own("relation", triple["relation"])
        for entity, side in ((head, "head"), (tail, "tail")):
            yield entity, _iri(_RDFS, "label"), _literal(triple[side]["text"], language)
        yield head, relation, tail
        statement = _own("text", str(answer.number), digest, str(place))
        yield statement, _iri(_RDF, "type"), _iri(_RDF, "Statement")
        for name, value in (("subject", head), ("predicate", relation), ("object", tail)):
            yield statement, _iri(_RDF, name), value
        yield statement, _term("text"), text
        yield statement, _term("score"), _number(triple["score"])
        for side in ("head", "tail"):
            for end in ("start", "end"):
                yield statement, _term(f"{side}_{end}"), _number(triple[side][end])
        for name, value in beside.items():
            yield statement, _term(name), _number(value)


def _own(*parts: str) -> str:
    """A resource's IRI in ASCII, of any names."""
    return _iri(NAMESPACE, ":".join(quote(part, safe="") for part in parts))


def _term(name: str) -> str:
    return _own("term", name)


def _iri(namespace: str, name: str) -> str:
    return f"<{namespace}{name}>"


def _number(value: float) -> str:
    return f'"{value}"^^{_iri(_XSD, "integer" if isinstance(value, int) else "double")}'


def _literal(text: str, language: str = "") -> str:
    escaped = _SPECIAL.sub(lambda found: _ESCAPED.get(found[0]) or f"\\u{ord(found[0]):04X}", text)
    return f'"{escaped}"' + (f"@{language}" if _TAG.fullmatch(language) else "")
