"""Text -> triples, with a trained model.

Texts become tokens, and what a `Backend` finds in these becomes triples of the texts. Importing this loads no torch.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mere_ds.backends.loading import load_backend
from mere_ds.backends.stated import Backend
from mere_ds.config import AUTO, NO_RELATION, Precision
from mere_ds.encoders.tokenizer_files import read_tokenizer
from mere_ds.errors import UserError
from mere_ds.language_detection import detector_for
from mere_ds.model.calibration import Calibration
from mere_ds.model.splitting import split
from mere_ds.runs.trained import check_limits
from mere_ds.shards.encoding import Encoded, SentenceEncoder
from mere_ds.shards.windows import CHARACTERS_A_TOKEN
from mere_ds.streams import LINES_AT_ONCE

EMPTY = "empty text"
"""The note of a text without words."""
BATCH = 32
BATCH_COST = 200
"""What a further batch costs, in tokens of padding that take as long. Chosen on a CPU with e5-small's size, where a
batch took as long as 80 to 150 tokens before its first, and the first one of its size longer."""


class _Found(NamedTuple):
    """A triple in a sentence's tokens."""

    relation: str
    positions: list[int]
    cuts: list[int]
    score: float


@dataclass
class Extractor:
    """A trained model with its tokenizer; safe to use for any number of texts."""

    backend: Backend
    encoder: SentenceEncoder
    calibration: Calibration = field(default_factory=Calibration)
    """What makes scores probabilities, where a text has any number of triples."""
    min_score: float | None = None
    """Least score of an answer. None: the calibration's where a text has any number of triples, else whatever it is."""
    max_triples: int | None = None
    """Number of triples of a text at most, those with the highest scores."""
    negative_labels: Collection[str] = (NO_RELATION,)
    """Relations that mean that there is none: answers leave them out."""
    batch_size: int = BATCH
    """Number of texts that the model computes at a time, at most: long ones don't join short ones."""
    candidates: bool = False
    """Whether the answer of a text whose language is detected has `"candidates": [[language, certainty], ...]`."""

    @classmethod
    def load(
        cls,
        folder: str | Path,
        k: int | None = None,
        min_score: float | None = None,
        max_triples: int | None = None,
        negative_labels: Collection[str] = (NO_RELATION,),
        threads: int | None = None,
        batch_size: int = BATCH,
        precision: Precision = "auto",
        candidates: bool = False,
    ) -> "Extractor":
        """From a saved model's folder, such as `RUN/checkpoints/stage2/best`; `k` overrides its top-k, `min_score` its
        threshold. `threads` is how many compute (None: as many as the library chooses), `precision` the number format
        of the computation (auto: the fastest of the hardware). The others are the fields of this class."""
        check_limits(min_score, max_triples)
        backend = load_backend(folder, k, threads, precision)
        encoder = SentenceEncoder(read_tokenizer(folder), backend.facts.languages, backend.facts.max_length)
        calibration = Calibration.load(folder)
        return cls(backend, encoder, calibration, min_score, max_triples, negative_labels, batch_size, candidates)

    @property
    def finds_many(self) -> bool:
        """Whether a text has any number of triples; else it has one."""
        return self.backend.facts.finds_many

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that the model knows."""
        return self.backend.facts.languages

    @property
    def labels(self) -> tuple[str, ...]:
        """The relations that the model knows."""
        return self.backend.facts.labels

    def check_language(self, language: str) -> None:
        """Raises UserError for a language that the model wasn't trained on, and for `AUTO` if none can be detected."""
        if language == AUTO:
            detector_for(self.languages)
        elif language not in self.languages:
            raise UserError(f"language {language!r} is unknown to this model: use one of {', '.join(self.languages)}")

    def extract(self, texts: Iterable[str], languages: str | Iterable[str]) -> Iterator[dict]:
        """One answer per text, in order: `{"text", "lang", "triples": [{"head", "relation", "tail", "score"}]}`.

        `languages` is the language of all texts, or gives one for each; `AUTO` has it detected, and a text whose
        language is unclear gets `"lang": None`, no triple and a note. Spans are character offsets into the text as
        given. `score` is the product of the five probabilities; if a text may have any number of triples, it is the
        calibrated probability that the triple is right, and the highest comes first. Relations of `negative_labels`
        are left out. A text without words gets no triple and `"note": "empty text"`; of a text longer than the model's
        max_length tokens only the beginning is read, and `"note"` says how much. Raises UserError for an unknown
        language, and if there aren't as many languages as texts.
        """
        if isinstance(languages, str):
            self.check_language(languages)
            pairs: Iterator[tuple] = zip(texts, repeat(languages), strict=False)
        else:
            pairs = zip_longest(texts, languages)
        while chunk := list(islice(pairs, LINES_AT_ONCE)):
            its_texts, its_languages = zip(*chunk, strict=True)
            if None in its_texts or None in its_languages:
                raise UserError("not as many languages as texts: pass one for each text, or one for all")
            yield from self.answers(its_texts, its_languages)

    def answers(self, texts: Sequence[str], languages: Sequence[str]) -> list[dict]:
        """`extract` for a few texts held in memory, each in its language. Raises UserError as `extract`."""
        for language in set(languages):
            self.check_language(language)
        asked = [i for i, language in enumerate(languages) if language == AUTO]
        found = detector_for(self.languages).detect([texts[i] for i in asked]) if asked else []
        detected = dict(zip(asked, found, strict=True))
        spoken = [detected[i].language if i in detected else its for i, its in enumerate(languages)]
        problems = [problem_of(text) or (detected[i].note if i in detected else None) for i, text in enumerate(texts)]
        read = [i for i, problem in enumerate(problems) if problem is None]
        answered = self._answers_in([texts[i] for i in read], [spoken[i] or "" for i in read])
        answers = [_no_triple(*its) for its in zip(texts, spoken, problems, strict=True)]
        for i, answer in zip(read, answered, strict=True):
            answers[i] = answer
        for i, its in detected.items() if self.candidates else ():
            answers[i]["candidates"] = [list(candidate) for candidate in its.candidates]
        return answers

    def _answers_in(self, texts: Sequence[str], languages: Sequence[str]) -> list[dict]:
        """`answers` for texts whose language is known; the part of a text that can't fit the model isn't tokenised."""
        read = [text[: CHARACTERS_A_TOKEN * self.encoder.max_length] for text in texts]
        encoded = self.encoder.encode_texts(read, languages)
        found = self.triples_of(texts, encoded, languages)
        answers = []
        for text, language, tokens, triples in zip(texts, languages, encoded, found, strict=True):
            answer = {"text": text, "lang": language, "triples": triples}
            answers.append(answer if tokens.offsets else _no_triple(text, language, EMPTY))
        for i, text in enumerate(texts):
            end = int(encoded[i].offsets[-1][1]) if encoded[i].truncated else len(read[i])
            if encoded[i].truncated or end < len(text):
                answers[i]["note"] = f"too long: only the first {end} of {len(text)} characters were read"
        return answers

    def triples_of(
        self, texts: Sequence[str], encoded: Sequence[Encoded], languages: Sequence[str]
    ) -> list[list[dict]]:
        """The triples of a few texts, given with their tokens and languages, as in the answers of `extract`."""
        triples: list[list[dict]] = [[] for _ in texts]
        full = [i for i, tokens in enumerate(encoded) if tokens.offsets]
        full.sort(key=lambda i: len(encoded[i].ids))
        cost = None if self.backend.packs else BATCH_COST
        for batch in batches_of([len(encoded[i].ids) for i in full], self.batch_size, cost):
            rows = full[batch]
            predicted = self._predict([encoded[i] for i in rows], [languages[i] for i in rows])
            for i, found in zip(rows, predicted, strict=True):
                triples[i] = self._chosen(texts[i], encoded[i], found)
        return triples

    def _predict(self, encoded: list[Encoded], languages: list[str]) -> list[list[_Found]]:
        """The triples of each sentence, the highest score first."""
        token_ids_BM, mask_BM = self.encoder.padded([e.ids for e in encoded])
        languages_B = np.array([self.languages.index(language) for language in languages], dtype=np.int64)
        output = self.backend.predict(token_ids_BM, mask_BM, languages_B)
        if not np.isfinite(output.score_F).all():
            raise UserError(
                "the model's scores aren't finite because its weights are too large: train it again, at a lower "
                "--learning_rate"
            )
        relations = [self.labels[r] for r in output.relation_F.tolist()]
        spans = output.positions_F4.tolist(), output.cuts_F4.tolist()
        sentences = output.sentence_F.tolist()
        scores = self._scores(output.score_F, [languages[sentence] for sentence in sentences])
        found: list[list[_Found]] = [[] for _ in encoded]
        for sentence, *triple in zip(sentences, relations, *spans, scores, strict=True):
            found[sentence].append(_Found(*triple))
        return [sorted(its, key=lambda triple: -triple.score) for its in found]

    def _scores(self, raw_F: np.ndarray, languages: list[str]) -> list[float]:
        if not self.finds_many:
            return raw_F.tolist()
        scores_F = np.empty(len(raw_F))
        for language in set(languages):
            rows = [i for i, its in enumerate(languages) if its == language]
            scores_F[rows] = self.calibration.calibrated(raw_F[rows], language)
        return scores_F.tolist()

    def _chosen(self, text: str, encoded: Encoded, found: list[_Found]) -> list[dict]:
        """Of equal triples the first; their spans may be of other tokens."""
        least = self.calibration.min_score if self.min_score is None and self.finds_many else self.min_score
        triples: dict[tuple, dict] = {}
        for relation, positions, cuts, score in found:
            if least is not None and score < least or len(triples) == self.max_triples:
                break  # the next ones have no higher score
            if relation in self.negative_labels:
                continue
            head, tail = (_span(text, encoded, positions[own], cuts[own]) for own in (slice(2), slice(2, 4)))
            triple = {"head": head, "relation": relation, "tail": tail, "score": round(score, 6)}
            triples.setdefault((relation, *head.values(), *tail.values()), triple)
        return list(triples.values())


def batches_of(lengths: Sequence[int], most: int, cost: int | None) -> Iterator[slice]:
    """Cuts rows of ascending `lengths`, in tokens, into batches of `most`, and those that need less padding as two, by
    more than `cost`, into two; None: there is no padding."""
    for start in range(0, len(lengths), most):
        batch = slice(start, min(start + most, len(lengths)))
        yield from (batch,) if cost is None else split(lengths, cost, batch.start, batch.stop)


def problem_of(text: str) -> str | None:
    """Why a text can't be read, whatever its language; else None."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return f"not Unicode: character {error.start + 1} is half of a surrogate pair"
    return None if text and not text.isspace() else EMPTY


def _no_triple(text: str, language: str | None, note: str | None) -> dict:
    return {"text": text, "lang": language, "triples": [], "note": note}


def _span(text: str, encoded: Encoded, positions: list[int], cuts: list[int]) -> dict:
    first, last = positions
    start, end = encoded.characters(text, first, last, cuts)
    return {"text": text[start:end], "start": start, "end": end}
