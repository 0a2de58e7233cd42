"""Do two forms of a model answer alike? `python benchmarks/same_answers.py MODEL OTHER CORPUS,...`

MODEL and OTHER are saved models, such as a checkpoint and its ONNX export; each CORPUS is a folder as for `mere-ds
shard`, of which all texts of all splits are read. Both models compute in fp32 and answer with every candidate. Prints
how many texts and triples there were, how many triples only one of them has, and the largest difference of two scores:
of the same triple, and of a text's n-th best triple here and there. Where triples that only one model has are ties,
which rounding decides, the latter is as small as the former.
"""

import sys
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mere_ds import flags
from mere_ds.corpus.folder import open_corpus
from mere_ds.inference import Extractor

AT_ONCE = 1024
"""Texts that both answer before they are compared."""


def main(model: str, other: str, corpora: tuple[str, ...], *, threads: int = 1) -> None:
    """Compare all answers. A text in a language that the model doesn't know is read as one in its first language."""
    sides = [Extractor.load(folder, min_score=0.0, threads=threads, precision="fp32") for folder in (model, other)]
    texts = triples = alone = 0
    largest = by_rank = 0.0
    its = iter(tqdm(texts_of(corpora), unit="text"))
    while chunk := list(islice(its, AT_ONCE)):
        languages = [language if language in sides[0].languages else sides[0].languages[0] for language, _ in chunk]
        answers = [list(side.extract([text for _, text in chunk], languages)) for side in sides]
        for own, theirs in zip(*answers, strict=True):
            scores, others = _scores(own), _scores(theirs)
            triples += len(scores)
            alone += len(scores.keys() ^ others.keys())
            largest = max([largest, *(abs(scores[key] - others[key]) for key in scores.keys() & others.keys())])
            ranked = zip_longest(*(sorted(of.values(), reverse=True) for of in (scores, others)), fillvalue=0.0)
            by_rank = max([by_rank, *(abs(score - other) for score, other in ranked)])
        texts += len(chunk)
    print(
        f"{texts:,} texts, {triples:,} triples, {alone} of only one model; scores differ by {largest:.1e} at most, "
        f"n-th best ones by {by_rank:.1e}"
    )


def texts_of(corpora: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(language, text) of every sentence of the corpora."""
    for folder in corpora:
        corpus = open_corpus(folder)
        for file in corpus.files:
            for example in corpus.read(file):
                yield example.language, example.text


def _scores(answer: dict) -> dict[tuple, float]:
    return {
        (triple["relation"], *(triple[side][end] for side in ("head", "tail") for end in ("start", "end"))): triple[
            "score"
        ]
        for triple in answer["triples"]
    }


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "same_answers.py")
