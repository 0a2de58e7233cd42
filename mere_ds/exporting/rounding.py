"""What rounded weights cost: F1 of an exported folder and of the run's own weights, on the same sentences."""

from itertools import islice
from pathlib import Path
from typing import Any

import torch

from mere_ds.backends.stated import Backend
from mere_ds.backends.with_onnx import OnnxBackend
from mere_ds.backends.with_torch import TorchBackend
from mere_ds.encoders.tokens import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.evaluation.metrics import scores
from mere_ds.evaluation.recording import Recorder
from mere_ds.evaluation.scoring import batches, count_right
from mere_ds.model.calibration import Calibration
from mere_ds.model.triple import MereOutput
from mere_ds.shards.manifest import Manifest

MOST_SENTENCES = 4096
"""Sentences to measure on, about; of a larger split every n-th batch."""
WARNED = 0.5
"""Points of triple F1, on average over languages, above which a loss is worth a warning."""


def f1_lost(model: Any, folder: Path, manifest: Manifest) -> tuple[dict[str, float], str]:
    """Points of triple F1 by tokens that the folder has less than `model`, by language and "average"; and in words what
    that was measured on: dev, or test where dev has no sentences. Raises UserError where there are none at all."""
    split = next((name for name in ("dev", "test") if manifest.splits[name].sentences), None)
    if split is None:
        raise UserError("dev and test have no sentences")
    rows, sentences = zip(
        *(
            _scored(backend, folder, manifest, split)
            for backend in (TorchBackend(model), OnnxBackend.of_graphs(folder))
        ),
        strict=True,
    )
    lost = {name: rows[0][name]["triple"] - rows[1][name]["triple"] for name in rows[0]}
    return lost, f"{sentences[0]} sentences of {split}"


def _scored(backend: Backend, folder: Path, manifest: Manifest, split: str) -> tuple[dict[str, dict], int]:
    """All scores (see `metrics.scores`) by language and on average, and the number of sentences."""
    recorder = Recorder(manifest, split, load_tokenizer(folder), Calibration.load(folder))
    step, count = -(-manifest.splits[split].sentences // MOST_SENTENCES), 0
    for batch in islice(batches(manifest, split, torch.device("cpu")), 0, None, step):
        real = batch.weights_B > 0  # a filler is no sentence
        arrays = (x[real].numpy() for x in (batch.token_ids_BM, batch.mask_BM, batch.languages_B))
        found = {name: torch.from_numpy(x) for name, x in backend.predict(*arrays)._asdict().items()}
        found["sentence_F"] = real.nonzero().squeeze(1)[found["sentence_F"]]
        recorder.add(batch, MereOutput(**found, relation_probability_F=found["score_F"]))
        count += int(real.sum())
    counted = scores(count_right(recorder.answers(), manifest.languages), manifest.languages)
    return counted["languages"] | {"average": counted["average"]}, count
