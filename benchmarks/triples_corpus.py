"""The protocol for corpora with any number of triples: what is trained on, what is dev, what is test.

`python benchmarks/triples_corpus.py SOURCE OUT [--languages=en,de] [--most=100] [--test_one_of=6]`: a folder of JSON
lines becomes one with the same rows in `{lang}.{train,dev,test}.jsonl`. Test is test, or about one of so many of its
sentences; dev is about every tenth sentence of the source's dev; all others are train. Sentences are chosen by a digest
of their id, so that translations with the same id stay together.
"""

import json
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mere_ds import flags
from mere_ds.corpus.jsonl import JsonLinesFile, json_lines_paths
from mere_ds.errors import UserError

ONE_OF = 10
"""One of so many sentences of the source's dev is dev."""


def make_corpus(
    source: str | Path,
    out: str | Path,
    languages: list[str] | None = None,
    most: int | None = None,
    test_one_of: int = 1,
) -> None:
    """Write the folder `out` from JSON lines in `source`; of each file's rows in a language `most` at most, and of
    test's sentences about one of `test_one_of`.

    Raises UserError for a folder without JSON lines, for a row that is none, and for languages that it doesn't have.
    """
    rows: dict[tuple[str, str], list[bytes]] = {}
    seen: dict[tuple[str, str], int] = {}
    for path in json_lines_paths(Path(source)):
        file = JsonLinesFile.of(path)
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                row = json.loads(line)
                language, id = file.language or row["lang"], str(row["id"])
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f"{path}, line {number}: not a JSON object with id and lang: fix or remove it"
                ) from None
            if languages is not None and language not in languages:
                continue
            if file.split == "test" and not _chosen(id, test_one_of):
                continue
            seen[language, file.split] = seen.get((language, file.split), 0) + 1
            if most is None or seen[language, file.split] <= most:
                rows.setdefault((language, _split(file.split, id)), []).append(line + b"\n")
    found = {language for language, _ in rows}
    if missing := set(languages or ()) - found or (not found and {"train"}):
        raise UserError(f"{source}: has no rows of {', '.join(sorted(missing))}: choose others")
    Path(out).mkdir(parents=True, exist_ok=True)
    for (language, split), lines in rows.items():
        Path(out, f"{language}.{split}.jsonl").write_bytes(b"".join(lines))


def _split(split: str, id: str) -> str:
    """Where a sentence of the source's split goes."""
    return "train" if split == "dev" and not _chosen(id, ONE_OF) else split


def _chosen(id: str, one_of: int) -> bool:
    return zlib.crc32(id.encode()) % one_of == 0


def main(source: str, out: str, languages: str | None = None, most: int | None = None, test_one_of: int = 1) -> None:
    """Make OUT from SOURCE; of each file's rows in a language `most` at most, of test about one of `test_one_of`."""
    make_corpus(source, out, languages.split(",") if languages else None, most, test_one_of)


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "triples_corpus.py")
