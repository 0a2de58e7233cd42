"""Run folders with made-up predictions, as training and evaluation would leave them."""

import random
from pathlib import Path

import numpy as np

from mere_ds.config import TWO_STAGES
from mere_ds.evaluation.calibration import Candidates, calibrate, calibrated, reliability
from mere_ds.evaluation.metrics import METRICS
from tests.evaluation.made_up_runs import evaluate, train
from tests.evaluation.records import many_record
from tests.evaluation.second_scorer import random_sentence

TEXTS = {
    "de": ("Anna Berg wurde in Köln geboren.", "Anna Berg", "Köln"),
    "en": ("Anna 😀 Berg was born in <script>alert(1)</script> Cologne.", "Berg", "Cologne"),
    "fa": ("آنا برگ در شهر کلن به دنیا آمد.", "آنا برگ", "کلن"),
    "ar": ("ولدت آنا بيرغ في مدينة كولونيا.", "آنا بيرغ", "كولونيا"),
    "uk": ("Анна Берг народилася в Кельні.", "Анна Берг", "Кельні"),
}
LABELS = ("birth-place", "has-child", "no_relation")


def knobs(system: str = "mERE", seed: int = 0, **others) -> dict:
    """What train.py was told for a run of `system`."""
    return {"system": system, "seed": seed, **others}


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
    folder: Path, told: dict, languages=tuple(TEXTS), sentences: int = 12, right: float = 0.7, ks=(), **how
) -> Path:
    """A trained run folder with `sentences` answers a language and a missed German one, and an evaluation for each k;
    `how` goes to `evaluate`."""
    train(folder, (1, 2) if told["system"] in TWO_STAGES else (1,), **told)
    for k in (None, *ks):
        evaluate(folder, records_of(told, languages, sentences, right), k, router=_router(told, languages), **how)
    return folder


def records_of(told: dict, languages=tuple(TEXTS), sentences: int = 12, right: float = 0.7) -> list[dict]:
    """Answers that are as good as `right`, the same for the same knobs."""
    chance = random.Random(str(told))
    records = [record(x, n, right, chance) for x in languages for n in range(sentences)]
    missed = {"lang": "de", "text": None, "gold": None, "predicted": None, "right": [], "reason": "rejected by reader"}
    return records + [missed] * ("de" in languages)


def make_many_run(
    folder: Path, told: dict, languages=("de", "ko"), sentences: int = 40, candidates: int = 2_000
) -> Path:
    """A trained run folder with answers of any number of triples, the same sentences in every run, and a missed German
    one; its scores are too low before calibration."""
    asked = random.Random("sentences")
    chance = random.Random(str(told))
    records = []
    for language in languages:
        for number in range(sentences):
            sentence = random_sentence(asked)
            kept = [triple for triple in sentence["found"] if chance.random() < 0.8]
            records.append(many_record(sentence | {"found": kept}, language, f"{language}-{number}"))
    missed = {"lang": "de", "text": None, "gold": None, "predicted": None, "right": {}, "reason": "rejected by reader"}
    train(folder, (1, 2) if told["system"] in TWO_STAGES else (1,), **told)
    labels = ("born-in", "made-of", "wrote")
    records += [missed] * ("de" in languages)
    evaluate(
        folder,
        records,
        labels=labels,
        triples="many",
        calibration=made_up_calibration(chance.randrange(1000), candidates),
    )
    return folder


def made_up_calibration(seed: int, candidates: int) -> dict:
    """As `mere-ds evaluate` records it, of candidates that are right more often than their scores say."""
    draw = np.random.default_rng(seed)
    truth_F = draw.random(candidates)
    found = Candidates(truth_F**2, draw.random(candidates) < truth_F, np.zeros(candidates, int), 1_500)
    curves = calibrate(found, ["de"])
    scores = {"raw": found.raw_F, "calibrated": calibrated(found, curves, ["de"])}
    return curves.as_dict() | {name: reliability(score_F, found.right_F) for name, score_F in scores.items()}


def _router(told: dict, languages) -> dict | None:
    routed = {"languages": list(languages), "probabilities": [[0.1, 0.2, 0.3, 0.2, 0.1, 0.1]] * len(languages)}
    return routed if told["system"] == "mERE" else None
