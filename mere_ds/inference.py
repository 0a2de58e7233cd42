"""Text -> triples, with a trained run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.model.loading import load_model
from mere_ds.model.triple import TripleModel
from mere_ds.shards.encoding import Encoded, SentenceEncoder

BATCH = 32
LOOKAHEAD = 32
"""Batches whose sentences are sorted by length together, so that little is padded."""


@dataclass
class Extractor:
    """A trained model with its tokenizer; safe to use for any number of texts."""

    model: TripleModel
    encoder: SentenceEncoder
    device: torch.device

    @classmethod
    def load(cls, folder: str | Path, k: int | None = None) -> "Extractor":
        """From a saved model's folder, such as `RUN/checkpoints/stage2/best`; `k` overrides its top-k."""
        model = load_model(folder).eval()
        if not model.finds_entities:
            raise UserError(f"{folder}: this model only classifies relations so far: train its stage two (--stage=2)")
        if k is not None:
            check_k(model, k)
            model.config.top_k = k
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder = SentenceEncoder(load_tokenizer(folder), model.config.languages, model.config.max_length)
        return cls(model.to(device), encoder, device)

    def check_language(self, language: str) -> None:
        """Raises UserError for a language that the model wasn't trained on."""
        if language not in self.model.config.languages:
            raise UserError(
                f"language {language!r} is unknown to this model; it knows {', '.join(self.model.config.languages)}"
            )

    def extract(self, texts: Iterable[str], language: str) -> Iterator[dict]:
        """One answer a text, in order: `{"text", "lang", "triples": [{"head", "relation", "tail", "score"}]}`.

        Spans are character offsets into the text as given; `score` is the product of the five probabilities. A text
        without words gets no triple and `"note": "empty text"`; of one longer than the model's max_length tokens only
        the beginning is read, with `"note"` saying how much. Raises UserError for an unknown language.
        """
        self.check_language(language)
        texts = iter(texts)
        while chunk := list(islice(texts, BATCH * LOOKAHEAD)):
            encoded = self.encoder.encode_texts(chunk, [language] * len(chunk))
            answers: list[dict | None] = [None] * len(chunk)
            full = [i for i in range(len(chunk)) if len(encoded[i].offsets)]
            full.sort(key=lambda i: len(encoded[i].ids))
            for start in range(0, len(full), BATCH):
                rows = full[start : start + BATCH]
                for i, triple in zip(rows, self._predict([encoded[i] for i in rows], language), strict=True):
                    answers[i] = self._answer(chunk[i], language, encoded[i], triple)
            for i, text in enumerate(chunk):
                yield answers[i] or {"text": text, "lang": language, "triples": [], "note": "empty text"}

    @torch.no_grad()
    def _predict(self, encoded: list[Encoded], language: str) -> list[tuple[str, list[int], float]]:
        width = max(len(e.ids) for e in encoded)
        token_ids_BM = np.full((len(encoded), width), self.encoder.pad_id, dtype=np.int64)
        lengths_B = np.array([len(e.ids) for e in encoded])
        for row, e in zip(token_ids_BM, encoded, strict=True):
            row[: len(e.ids)] = e.ids
        mask_BM = np.arange(width) < lengths_B[:, None]
        language_id = self.model.config.languages.index(language)
        output = self.model(
            torch.from_numpy(token_ids_BM).to(self.device),
            torch.from_numpy(mask_BM).to(self.device),
            torch.full((len(encoded),), language_id, device=self.device),
        )
        if not output.score_B.isfinite().all():
            raise UserError("the model's scores aren't finite: its weights are too large, train it anew")
        relations = [self.model.config.labels[r] for r in output.relation_B.tolist()]
        return list(zip(relations, output.positions_B4.tolist(), output.score_B.tolist(), strict=True))

    @staticmethod
    def _answer(text: str, language: str, encoded: Encoded, triple: tuple[str, list[int], float]) -> dict:
        relation, (head_start, head_end, tail_start, tail_end), score = triple
        answer = {
            "text": text,
            "lang": language,
            "triples": [
                {
                    "head": _span(text, encoded, head_start, head_end),
                    "relation": relation,
                    "tail": _span(text, encoded, tail_start, tail_end),
                    "score": round(score, 6),
                }
            ],
        }
        if encoded.truncated:
            end = int(encoded.offsets[-1][1])
            answer["note"] = f"too long: only the first {end} of {len(text)} characters were read"
        return answer


def check_k(model: TripleModel, k: int) -> None:
    """Raises UserError for a k that the model's Switcher can't run with."""
    if getattr(model, "switcher", None) is None:
        raise UserError(f"--k={k}: this model has no Switcher: leave --k out")
    most = model.config.most_k
    if most == 1 != k:
        raise UserError(f"--k={k}: each sentence goes through its language's sub-module alone, so 1 is wanted")
    if not 1 <= k <= most:
        raise UserError(f"--k={k}: this model's Switcher has {most} sub-modules, so 1 to {most} is wanted")


def _span(text: str, encoded: Encoded, first: int, last: int) -> dict:
    start, end = encoded.characters(text, first, last)
    return {"text": text[start:end], "start": start, "end": end}
