"""Make a parallel corpus one in which languages have sentences of their own.

`python benchmarks/one_language_each.py CORPUS OUT`: of a training sentence and its translations one stays, in the
language that a digest of its id picks; test files are copied as they are. Prints how many stay of each language.
"""

import shutil
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mere_ds import flags
from mere_ds.corpus.languages import shared_id
from mere_ds.corpus.reading import TsvFile


def main(corpus: str, out: str) -> None:
    """Write OUT from CORPUS, a folder in SMiLER's form whose ids name translations alike (de-12, fr-12)."""
    Path(out).mkdir(parents=True)
    files = [TsvFile.of(path) for path in sorted(Path(corpus).glob("*.tsv"))]
    languages = sorted({file.language for file in files if file.split == "train"})
    for file in files:
        copy = Path(out, file.path.name)
        if file.split == "test":
            shutil.copyfile(file.path, copy)
            continue
        header, *rows = file.path.read_bytes().splitlines(keepends=True)
        kept = [row for row in rows if language_of(row, file.language, languages) == file.language]
        copy.write_bytes(header + b"".join(kept))
        print(f"{file.language}: {len(kept)} of {len(rows)}")


def language_of(row: bytes, language: str, languages: list[str]) -> str:
    """The language in which the sentence of this row, and of its translations, stays."""
    id = shared_id(row.split(b"\t", 1)[0].decode(), language)
    return languages[zlib.crc32(id.encode()) % len(languages)]


if __name__ == "__main__":
    flags.run(main, sys.argv[1:], "one_language_each.py")
