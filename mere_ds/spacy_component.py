"""A component for spaCy's pipelines, `nlp.add_pipe("mere_ds", config={"model": "runs/a"})`, that finds triples.

spaCy finds this module by itself where the package is installed (entry point `spacy_factories`). The component gives
a document `doc._.triples`, and `doc.spans["mere_ds"]` with their entities. Importing it raises UserError where spaCy is
not installed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import mere_ds
from mere_ds.api import Model, Triples
from mere_ds.config import spelt_as
from mere_ds.errors import UserError
from mere_ds.files import digest_of
from mere_ds.optional_libraries import needed

with needed("the component for spaCy's pipelines needs"):
    from spacy.language import Language
    from spacy.tokens import Doc, Span, SpanGroup
    from spacy.util import minibatch

KEY = "mere_ds"
"""Of the entities in `doc.spans`, and of what is kept in `doc.user_data`."""
_ANY_LANGUAGE = "xx"  # what spaCy calls a pipeline of no particular language


@dataclass(frozen=True)
class DocTriple:
    """A triple of a document. Tokens are spaCy's: a span covers each token that the entity touches."""

    head: Span
    relation: str
    tail: Span
    score: float
    head_characters: tuple[int, int]
    """Exactly where the entity is: `doc.text[start:end]`."""
    tail_characters: tuple[int, int]


@Language.factory(
    "mere_ds",
    assigns=["doc.spans"],
    default_config={"lang": None, "min_score": None, "max_triples": None, "threads": None},
)
def make_finder(
    nlp: Language,
    name: str,
    model: str,
    lang: str | None,
    min_score: float | None,
    max_triples: int | None,
    threads: int | None,
) -> "TripleFinder":
    """The component; spaCy saves these settings with a pipeline, and so the reference to the model, not the model.

    Args:
        nlp: The pipeline.
        name: The component's name in it.
        model: What `mere_ds.load` takes: a run, a checkpoint, an exported folder, or hf://org/name.
        lang: Language of the documents, as the model spells it; auto: detected (None: the pipeline's).
        min_score: Least score of a triple (None: the model's threshold; without one, any).
        max_triples: Maximum number of triples of a document (None: no maximum).
        threads: How many threads compute on a CPU (None: one for each core).
    """
    lang = lang or nlp.lang or _ANY_LANGUAGE
    if lang == _ANY_LANGUAGE:
        raise UserError('lang: this pipeline is of no language: pass {"lang": "de"}, or another one, or "auto"')
    loaded = mere_ds.load(model, min_score=min_score, max_triples=max_triples, threads=threads)
    spelt = spelt_as(lang, loaded.languages)
    if spelt is None:
        raise UserError(f"lang={lang!r}: unknown to this model: pass one of {', '.join(loaded.languages)}, or auto")
    return TripleFinder(loaded, spelt)


class TripleFinder:
    """Sets `doc._.triples`, `doc._.triples_note` and `doc.spans["mere_ds"]`."""

    def __init__(self, model: Model, language: str) -> None:
        self._model, self._language = model, language

    def __call__(self, doc: Doc) -> Doc:
        return _filled(doc, self._model.extract(doc.text, self._language))

    def pipe(self, docs: Iterable[Doc], batch_size: int = 64) -> Iterator[Doc]:
        """The documents in order, `batch_size` computed at once."""
        for batch in minibatch(docs, batch_size):
            answers = self._model.extract([doc.text for doc in batch], self._language, batch_size=batch_size)
            yield from map(_filled, batch, answers)


def _filled(doc: Doc, triples: Triples) -> Doc:
    # plain values: spaCy can't write spans, and makes the objects of `doc._.triples` anew when they are asked for
    kept = {"triples": [triple.to_dict() for triple in triples], "note": triples.note}
    doc.user_data[KEY] = kept | {"text_sha256": _digest(doc)}
    found = triples_of(doc)
    spans = {(span.start, span.end): span for triple in found for span in (triple.head, triple.tail)}
    doc.spans[KEY] = SpanGroup(doc, name=KEY, spans=[spans[place] for place in sorted(spans)])
    return doc


def triples_of(doc: Doc) -> list[DocTriple]:
    """`doc._.triples`: the highest score first; none if the component hasn't seen the document, or not this text."""
    made = []
    for triple in _kept(doc).get("triples", ()):
        places = [(triple[side]["start"], triple[side]["end"]) for side in ("head", "tail")]
        head, tail = (doc.char_span(*place, label="entity", alignment_mode="expand") for place in places)
        assert head is not None and tail is not None  # the places lie in the text
        made.append(DocTriple(head, triple["relation"], tail, triple["score"], *places))
    return made


def note_of(doc: Doc) -> str | None:
    """`doc._.triples_note`: why there are no triples, or what of the document wasn't read."""
    return _kept(doc).get("note")


def _kept(doc: Doc) -> dict:
    """What the component has found; spaCy copies it to parts of a document too, where the places are others."""
    kept = doc.user_data.get(KEY, {})
    if kept and kept["text_sha256"] != _digest(doc):
        return {"note": "the triples are of another text: run the component on this document"}
    return kept


def _digest(doc: Doc) -> str:
    return digest_of(doc.text.encode())


Doc.set_extension("triples", getter=triples_of, force=True)
Doc.set_extension("triples_note", getter=note_of, force=True)
