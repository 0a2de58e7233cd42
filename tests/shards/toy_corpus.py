"""A small corpus in SMiLER's format, made up here, and its shards."""

import json
import random
from pathlib import Path

from mere_ds.encoders.sources import TinySize
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import Sentences, read_sentences
from mere_ds.shards.writing import shard_corpus

TINY = TinySize(hidden=16, layers=1, heads=2, vocabulary=300)
HEADER = "id\tentity_1\tentity_2\tlabel\ttext\tlang\n"
SIZES = {"de": (150, 9), "fr": (90, 6), "uk": (40, 4), "ko": (30, 0)}  # training and test sentences
LABELS = {"de": ["born-in", "wrote", "made-of"], "fr": ["born-in", "wrote"], "uk": ["born-in"], "ko": ["wrote"]}
SYLLABLES = {
    "de": "ber lin gau dorf stein",
    "fr": "le roi mont val eau",
    "uk": "киї лис гора сто",
    "ko": "서 울 강 남 북",
}


def row(number: int, language: str, label: str, text: str) -> str:
    """A TSV row; `text` holds the four marks."""
    head = text.split("<e1>")[1].split("</e1>")[0]
    tail = text.split("<e2>")[1].split("</e2>")[0]
    return f"{number}\t{head}\t{tail}\t{label}\t{text}\t{language}\n"


def sentence(language: str, draw: random.Random, words: int) -> str:
    def word() -> str:
        return "".join(draw.choices(SYLLABLES[language].split(), k=draw.randint(1, 3)))

    middle = [word() for _ in range(words)]
    middle[0], middle[-1] = f"<e1>{word()} {word()}</e1>", f"<e2>{word()}</e2>{draw.choice(['', 'en'])}"
    if draw.random() < 0.3:
        middle.reverse()
    return " ".join([*middle, "."])


def write_corpus(folder: Path, sizes: dict = SIZES, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    draw, number = random.Random(seed), 0
    for language, counts in sizes.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            rows = []
            for _ in range(count):
                number += 1
                words = min(60, 3 + int(draw.expovariate(0.1)))
                rows.append(row(number, language, draw.choice(LABELS[language]), sentence(language, draw, words)))
            if rows:
                path = folder / f"{language}_corpora_{split}.tsv"
                path.write_text(HEADER + "".join(rows), encoding="utf-8", newline="\n")
    return folder


def make_shards(corpus: Path, out: Path, **options) -> Manifest:
    options = {"encoder": "tiny", "tiny": TINY, "sentences_per_shard": 40, "sentences_per_member": 16, **options}
    return shard_corpus(corpus, out, **options)


def write_json_lines(folder: Path, sizes: dict[str, tuple[int, int, int]], seed: int = 0) -> Path:
    """Sentences of training, dev and test with 0 to 5 triples; spans of several words may overlap."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    for language, counts in sizes.items():
        for split, count in zip(("train", "dev", "test"), counts, strict=True):
            lines = [json.dumps(row_of_many(f"{split}-{n}", language, draw)) + "\n" for n in range(count)]
            if lines:
                (folder / f"{language}.{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def row_of_many(name: str, language: str, draw: random.Random) -> dict:
    syllables = SYLLABLES[language].split()
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(draw.randint(3, 30))]
    starts = [sum(map(len, words[:i])) + i for i in range(len(words))]

    def span() -> list[int]:
        first = draw.randrange(len(words))
        last = min(first + draw.randrange(3), len(words) - 1)
        return [starts[first], starts[last] + len(words[last])]

    triples = [
        {"head": span(), "relation": draw.choice(LABELS[language]), "tail": span()} for _ in range(draw.randrange(6))
    ]
    return {"id": name, "lang": language, "text": " ".join(words), "triples": triples}


def whole_split(manifest, split) -> Sentences:
    return Sentences.join([read_sentences(manifest.source, shard) for shard in manifest.splits[split].shards])


def triples_of(sentences: Sentences, place: int) -> list:
    own = slice(sentences.triple_starts[place], sentences.triple_starts[place] + sentences.counts[place])
    columns = sentences.labels[own], sentences.positions[own], sentences.cuts[own]
    return [(int(label), positions.tolist(), cuts.tolist()) for label, positions, cuts in zip(*columns, strict=True)]
