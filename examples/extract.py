"""Triples of the lines of standard input, most certain first: python examples/extract.py RUN LANGUAGE < texts"""

import sys

from mere_ds.inference import Extractor
from mere_ds.runs.trained import used_model


def main(run: str, language: str) -> None:
    extractor = Extractor.load(used_model(run).folder)
    texts = (line.rstrip("\n") for line in sys.stdin)
    found = [triple for answer in extractor.extract(texts, language) for triple in answer["triples"]]
    for triple in sorted(found, key=lambda triple: -triple["score"]):
        print(f"{triple['score']:.3f}\t{triple['head']['text']}\t{triple['relation']}\t{triple['tail']['text']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
