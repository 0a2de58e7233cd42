"""Run folders with made-up predictions, as training and evaluation would leave them."""

import random
from pathlib import Path

from mere_ds.evaluation.metrics import METRICS
from mere_ds.evaluation.predictions import evaluation_name, read_predictions
from mere_ds.evaluation.summary import scores_of
from mere_ds.files import write_json, write_json_lines

TEXTS = {
    "de": ("Anna Berg wurde in Köln geboren.", "Anna Berg", "Köln"),
    "en": ("Anna 😀 Berg was born in <script>alert(1)</script> Cologne.", "Berg", "Cologne"),
    "fa": ("آنا برگ در شهر کلن به دنیا آمد.", "آنا برگ", "کلن"),
    "ar": ("ولدت آنا بيرغ في مدينة كولونيا.", "آنا بيرغ", "كولونيا"),
    "uk": ("Анна Берг народилася в Кельні.", "Анна Берг", "Кельні"),
}
LABELS = ("birth-place", "has-child", "no_relation")


def config(system: str = "mERE", seed: int = 0, **knobs) -> dict:
    """RUN/config.json as a run of `system` leaves it."""
    told = {
        "system": system, "seed": seed, "languages": "all", "concatenate": 2, "submodule_layers": [1, 1, 1, 2, 2, 2],
        "learning_rate": 3e-5, "run": f"runs/{seed}", "ranks": 2, "global_batch": 32,
    } | knobs  # fmt: skip
    return {stage: told for stage in (("stage1", "stage2") if system in ("mERE", "mERE14") else ("stage1",))}


def record(language: str, number: int, right: float, chance: random.Random) -> dict:
    """A sentence with an answer that is all right with probability `right`, else wrong in some way."""
    text, head, tail = TEXTS[language]
    spans = {side: [text.index(name), text.index(name) + len(name)] for side, name in (("head", head), ("tail", tail))}
    gold = {"relation": LABELS[number % 3], **spans}
    predicted = {**gold, "probability": 0.9, "score": 0.8}
    correct = list(METRICS)
    if chance.random() > right:
        kind = ("relation", "head", "none")[number % 3]
        if kind == "relation":
            predicted["relation"] = LABELS[(number + 1) % 3]
            correct = [m for m in METRICS if m != "relation" and not m.startswith("triple")]
        elif kind == "head":
            predicted["head"] = [gold["head"][0], gold["tail"][1]]  # it covers the tail too
            correct = ["relation", "tail", "tail_characters"]
        else:
            predicted |= {"head": None, "tail": None}
            correct = ["relation"]
    elif number % 5 == 4:
        predicted["tail"] = [gold["tail"][0], gold["tail"][1] + 1]  # a token that is more than the entity
        correct = ["relation", "pair", "head", "tail", "triple", "head_characters"]
    return {"id": f"{language}-{number}", "lang": language, "text": text, "gold": gold, "predicted": predicted,
            "right": correct}  # fmt: skip


def make_run(
    folder: Path, told: dict, languages=tuple(TEXTS), sentences: int = 12, right: float = 0.7, ks: tuple[int, ...] = ()
) -> Path:
    """A run folder with `sentences` answers a language and a missed German one, and an evaluation for each k."""
    chance = random.Random(str(told))
    records = [record(x, n, right, chance) for x in languages for n in range(sentences)]
    missed = {"lang": "de", "text": None, "gold": None, "predicted": None, "right": [], "reason": "rejected by reader"}
    records += [missed] * ("de" in languages)
    write_json(folder / "config.json", told)
    stage = told.get("stage2") or told["stage1"]
    router = {"languages": list(languages), "probabilities": [[0.1, 0.2, 0.3, 0.2, 0.1, 0.1]] * len(languages)}
    for k in (None, *ks):
        name = evaluation_name("test", k)
        write_json_lines(folder / "evaluation" / f"{name}.jsonl", records)
        about = {"split": "test", "k": k or 3, "system": stage["system"], "seed": stage["seed"]}
        scores = scores_of(read_predictions(folder / "evaluation" / f"{name}.jsonl"))
        routed = router if stage["system"] == "mERE" else None
        write_json(folder / "evaluation" / f"{name}.json", {**about, **scores, "router": routed})
    return folder
