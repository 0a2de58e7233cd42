"""Sentences with one triple each, written from the patterns and names of one language."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from mere_ds.corpus.synthetic.grammar import Language, Pattern
from mere_ds.corpus.synthetic.parts import Aside, Edge, Entity, Names, Parts, capitalise

MOST_WORDS = 100
_MEDIAN_LOG_WORDS, _SPREAD_LOG_WORDS = 3.0, 0.5
_ASIDE_SHARE = 0.35
_BEFORE_SHARE = 0.3
CONTINUATIONS = (",", ";", "،", "؛")
"""A clause that starts with one of these continues the sentence before it, whose full stop is removed."""

_COMMAS = (",", "،")
_STOPS = (*CONTINUATIONS, ".", ":", ")")

_MARKS = {"head": "e1", "tail": "e2"}

Rename = Callable[[str, str], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence in SMiLER's form: `text` with `<e1>head</e1>` and `<e2>tail</e2>` in it."""

    label: str
    head: str
    tail: str
    text: str


class Writer:
    """Writes sentences in one language for one side (training or test) from one random stream."""

    def __init__(self, language: Language, rng: Random, test: bool):
        self.language, self.rng = language, rng
        self.names = Names(language.kinds, language.entity_kinds, rng, test)

    def sentence(self, label: str, most_words: int = MOST_WORDS, rename: Rename | None = None) -> Sentence:
        """A sentence with clauses around its core, at most `most_words` long. `rename` may change (head, tail)."""
        pattern = self.names.pick(self.language.labels[label])
        core = self._core(label, pattern, rename)
        return Sentence(label, core.head, core.tail, self.with_clauses(core.text, most_words))

    def bare_sentence(self, label: str, last: str, rename: Rename) -> Sentence:
        """A sentence without clauses in which the entity `last` ("head" or "tail") comes last."""
        fitting = [pattern for pattern in self.language.labels[label] if pattern.head_first == (last == "tail")]
        return self._core(label, self.names.pick(fitting), rename)

    def _core(self, label: str, pattern: Pattern, rename: Rename | None) -> Sentence:
        names = self.names
        names.avoid = ()
        tail = names.surface(pattern.tail)
        names.avoid = (tail.casefold(),)
        head = names.surface(pattern.head)
        if rename:
            head, tail = rename(head, tail)
        names.avoid = (head.casefold(), tail.casefold())
        surfaces = {"head": head, "tail": tail}
        text = self.marked(pattern.parts, surfaces, _MARKS)
        return Sentence(label, surfaces["head"], surfaces["tail"], text)

    def marked(self, parts: Parts, surfaces: dict[str, str], marks: dict[str, str]) -> str:
        """The parts as text, entities between their `marks` ({slot: mark}); `surfaces` gets the capitals asked for."""
        names, text = self.names, ""
        for part in parts:
            if isinstance(part, Entity):
                if part.capital:
                    surfaces[part.slot] = capitalise(surfaces[part.slot])
                mark = marks[part.slot]
                text += f"<{mark}>{surfaces[part.slot]}</{mark}>"
            elif isinstance(part, Edge):
                text += f"<{'/' * part.closes}{marks[part.slot]}>"
            elif isinstance(part, Aside):
                if names.random() < _ASIDE_SHARE:
                    aside = names.join(names.pick(self.language.clauses["aside"]))
                    text += aside if aside.startswith(CONTINUATIONS) else f" {aside}"
            else:
                piece = names.join((part,))
                if text.endswith(_COMMAS) and piece.startswith(_STOPS):  # an aside's comma before another stop
                    text = text[:-1]
                text += piece
        return text

    def with_clauses(self, text: str, most_words: int) -> str:
        """Adds different clauses before and after the text until its length reaches one drawn from a log-normal.

        An introduction (which ends with a colon) comes directly before the core.
        """
        names, clauses = self.names, self.language.clauses
        wanted = min(most_words, int(self.rng.lognormvariate(_MEDIAN_LOG_WORDS, _SPREAD_LOG_WORDS)))
        unused = {"before": list(clauses["before"]), "after": list(clauses["after"])}
        words = len(text.split())
        while words < wanted and unused["after"]:
            where = "before" if unused["before"] and names.random() < _BEFORE_SHARE else "after"
            clause = names.join(unused[where].pop(int(names.random() * len(unused[where]))))
            if clause.endswith(":") and len(unused["before"]) < len(clauses["before"]) - 1:
                continue
            words += len(clause.split())
            if words > most_words:
                break
            text = f"{clause} {text}" if where == "before" else _continued(text, clause)
        return text


def _continued(text: str, clause: str) -> str:
    return text.removesuffix(".") + clause if clause.startswith(CONTINUATIONS) else f"{text} {clause}"
