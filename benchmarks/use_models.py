"""Models for `use.py`, of random weights: as saved by training, and as ONNX graphs."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.material import Material, Sizes, make_material
from benchmarks.work import encoder_flops, stage_flops
from mere_ds.corpus.reading import read_file, split_files
from mere_ds.graphs.writing import write_graphs
from mere_ds.model.use import load_for_use
from mere_ds.sums import SUMS, write_sums

SIZES = {
    "mBERT": Sizes(),
    "e5-small": Sizes(vocabulary=65_745, hidden=384, heads=12, feed_forward=1536),
    "tiny": Sizes(tokenizer="tiny", vocabulary=0, hidden=32, layers=2, heads=2, feed_forward=64, bottleneck=48),
}
GRAPHS = ("fp32", "int8")
BATCH = 64
"""Sentences of a batch whose products are measured."""


@dataclass(frozen=True)
class Models:
    """A model in all its forms, and what it is to read."""

    material: Material
    checkpoint: Path
    encoder: Path
    """The encoder alone, with weights and tokenizer, as transformers reads it."""
    graphs: dict[str, Path]
    """By precision."""
    texts: Path
    """JSON: a list of texts."""
    arrays: Path
    """Batches of `BATCH` tokenised sentences, for `use_side`."""
    flops: float
    """Of the model on all of `arrays`, without padding."""


def make_models(folder: Path, size: str, texts: int, batches: int, graphs: tuple[str, ...] = GRAPHS) -> Models:
    """Writes below `folder`: models of one of `SIZES`, so many texts, and so many batches."""
    material = make_material(folder, max(1000, 2 * texts, 2 * batches * BATCH), SIZES[size])
    checkpoint = folder / "model"
    model = material.checkpoint(checkpoint)
    made = {precision: _graphs(checkpoint, folder / f"graphs-{precision}", precision) for precision in graphs}
    rows = material.batches(batches, BATCH)
    named = {"ids": "token_ids_BM", "mask": "mask_BM", "languages": "languages_B"}
    parts = {f"{ours}{i}": getattr(batch, its).numpy() for i, batch in enumerate(rows) for ours, its in named.items()}
    np.savez(folder / "arrays.npz", **parts)
    flops = encoder_flops(model, rows) + stage_flops(model, rows, 2, 1, k=material.sizes.top_k, training=False)
    return Models(material, checkpoint, folder / "encoder", made, _texts(folder, texts), folder / "arrays.npz", flops)


def _graphs(checkpoint: Path, out: Path, precision: str) -> Path:
    """What `mere-ds export --to=onnx` keeps, without the card."""
    shutil.copytree(checkpoint, out, ignore=shutil.ignore_patterns("model.safetensors", SUMS))
    write_graphs(load_for_use(checkpoint, "fp32"), out, precision)
    write_sums(out)
    return out


def _texts(folder: Path, count: int) -> Path:
    """The first of the corpus, the languages in turn."""
    by_language = [[example.text for example in read_file(file.path)] for file in split_files(folder / "corpus")]
    longest = max(map(len, by_language))
    texts = [its[i] for i in range(longest) for its in by_language if i < len(its)]
    path = folder / "texts.json"
    path.write_text(json.dumps(texts[:count]), encoding="utf-8")
    return path
