"""Triples of the lines of standard input, most certain first: python examples/extract.py RUN LANGUAGE < texts"""

import sys

import mere_ds


def main(run: str, language: str) -> None:
    texts = (line.rstrip("\n") for line in sys.stdin)
    answers = mere_ds.load(run).extract(texts, lang=language)
    found = [triple for triples in answers for triple in triples]
    for triple in sorted(found, key=lambda triple: -triple.score):
        print(f"{triple.score:.3f}\t{triple.head.text}\t{triple.relation}\t{triple.tail.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
