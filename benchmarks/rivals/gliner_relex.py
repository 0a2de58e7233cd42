"""gliner's relation model on the work of `--triples=many`: trained by its `train_model`, answers by its `inference`.

`PYTHON benchmarks/rivals/gliner_relex.py CORPUS ENCODER OUT --steps N` with the Python of an environment that has
gliner 0.2.29 (not ours: it has other versions of the same libraries). CORPUS is a folder made by `triples_corpus`,
ENCODER the folder that our shards were made with. Writes OUT/{dev,test}.jsonl, every candidate with its score (see
`benchmarks.rivals.score`), and OUT/speed.json; with OUT/model already there it isn't trained again.

The setup, as fair as we could make it: all heads and tails are entities of one type; words are cut so that an entity of
a script without blanks can be told; spans may be as wide as 99 % of training's; all labels are shown with every
sentence, in training as in use, without gliner's dropping of labels, which is for labels never seen; relations are
scored for all pairs of entities (`relations_layer="none"`, which beside the pairs needs no choice); from an entity
score on that is best on dev. `--precision=bf16` trains and answers in 16 bits, by gliner's own settings for that.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import torch
from gliner import GLiNER
from gliner.config import UniEncoderSpanRelexConfig
from gliner.model import UniEncoderSpanRelexGLiNER
from transformers import AutoConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.words import ENTITY, example, labels_of, read, widest, words

LEAST = 0.05
"""Score of an entity and of a relation from which on a triple is a candidate."""
ENTITY_SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""From which of them on entities count is chosen on dev."""


def new_model(encoder: str, width: int) -> GLiNER:
    """The relation model around the encoder in a folder, with the values that gliner gives a new one."""
    config = UniEncoderSpanRelexConfig(
        model_name=encoder,
        hidden_size=AutoConfig.from_pretrained(encoder).hidden_size,
        max_width=width,
        max_types=100,
        max_len=512,
        relations_layer="none",
        augment_data_prob=0.0,
    )
    return with_words(UniEncoderSpanRelexGLiNER.load_from_config(config))


def with_words(model: GLiNER) -> GLiNER:
    """The model, cutting texts into our words."""
    model.data_processor.words_splitter = words
    return model


def train(model: GLiNER, rows: list[dict], labels: list[str], out: Path, given: argparse.Namespace) -> float:
    """Train by gliner's own route; returns sentences a second, as its trainer gives them."""
    data = [example(row, labels) for row in rows]
    random.Random(given.seed).shuffle(data)
    trainer = model.train_model(
        data,
        data[:1],  # asked for, not used
        output_dir=out / "trainer",
        max_steps=given.steps,
        per_device_train_batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        others_lr=given.others_lr,
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
        bf16=given.precision == "bf16",
        dataloader_num_workers=0,
        seed=given.seed,
        disable_tqdm=True,
    )
    return trainer.state.log_history[-1]["train_samples_per_second"]


def answers(model: GLiNER, rows: list[dict], labels: list[str], batch_size: int) -> list[dict]:
    """All candidates of each row; "entity" of a triple is the lower of its entities' scores."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["text"]))
    texts = [rows[i]["text"] for i in order]
    entities, found = model.inference(
        texts,
        labels=[ENTITY],
        relations=labels,
        flat_ner=False,
        threshold=LEAST,
        relation_threshold=LEAST,
        batch_size=batch_size,
    )
    result: list[dict] = [{} for _ in rows]
    for i, own, triples in zip(order, entities, found, strict=True):
        result[i] = {
            **{name: rows[i][name] for name in ("id", "lang", "text")},
            "triples": [
                {
                    "relation": triple["relation"],
                    **{side: [triple[side]["start"], triple[side]["end"]] for side in ("head", "tail")},
                    "score": triple["score"],
                    "entity": min(own[triple[side]["entity_idx"]]["score"] for side in ("head", "tail")),
                }
                for triple in triples
            ],
        }
    return result


def best_entity_score(given: list[dict], found: list[dict]) -> float:
    """The least entity score with which the best threshold on triples gives the most F1."""
    best = (-1.0, LEAST)
    gold = [{_key(triple) for triple in row["triples"]} for row in given]
    for least in ENTITY_SCORES:
        scored = sorted(
            (
                (triple["score"], _key(triple) in own)
                for own, row in zip(gold, found, strict=True)
                for triple in row["triples"]
                if triple["entity"] >= least
            ),
            reverse=True,
        )
        right, total = 0, sum(map(len, gold))
        for taken, (_, is_right) in enumerate(scored, start=1):
            right += is_right
            best = max(best, (2 * right / (taken + total), least))
    return best[1]


def _key(triple: dict) -> tuple:
    return triple["relation"], *triple["head"], *triple["tail"]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser()
    for name in ("corpus", "encoder", "out"):
        parser.add_argument(name)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--learning_rate", type=float, default=2e-4)
    parser.add_argument("--others_lr", type=float, default=1e-3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    random.seed(given.seed)
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = {split: read(given.corpus, split) for split in ("train", "dev", "test")}
    labels = labels_of(rows["train"])
    saved, speed = out / "model", out / "speed.json"
    if not saved.exists():
        model = new_model(given.encoder, widest([example(row, labels) for row in rows["train"]]))
        rate = train(model, rows["train"], labels, out, given)
        speed.write_text(json.dumps({"training": rate}))
        model.save_pretrained(saved)
    dtype = "bf16" if given.precision == "bf16" else None
    model = with_words(GLiNER.from_pretrained(str(saved), local_files_only=True, dtype=dtype))
    start = time.perf_counter()
    test = answers(model, rows["test"], labels, given.batch_size)
    rate = len(test) / (time.perf_counter() - start)
    dev = answers(model, rows["dev"], labels, given.batch_size)
    least = best_entity_score(rows["dev"], dev)
    for split, found in (("dev", dev), ("test", test)):
        for row in found:
            row["triples"] = [triple for triple in row["triples"] if triple["entity"] >= least]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        (out / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    speed.write_text(json.dumps(json.loads(speed.read_text()) | {"extraction": rate, "entity score": least}))


if __name__ == "__main__":
    main()
