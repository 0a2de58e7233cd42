"""Damaged files of every format are read record by record, or refused in one line: no traceback, hang or silent loss.

`make hostile` breaks 100,000 files, always the same ones.
"""

import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mere_ds.corpus.formats.registry import FORMATS, recognised
from mere_ds.corpus.formats.samples import Sample
from mere_ds.errors import UserError
from tests.corpus.formats.broken import broken
from tests.corpus.formats.damage import Files
from tests.corpus.formats.patience import patience
from tests.corpus.formats.reading import read_all
from tests.corpus.formats.stating import stated_in
from tests.corpus.formats.whole import SAMPLES, Made, opened, written

ALL = os.environ.get("MERE_DS_HOSTILE") == "all"
FILES = 100_000
"""Of all formats together."""
FILES_A_SEED = 10

_SEEDS = FILES // FILES_A_SEED // len(SAMPLES) + 1
HOW_MANY = settings(
    settings.default,
    **(
        {"max_examples": _SEEDS, "derandomize": True, "database": None}
        if ALL
        else {"max_examples": min(3, settings.default.max_examples)}
    ),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller seed is no smaller file
    suppress_health_check=list(HealthCheck),
)


def hold(folder: Path, name: str, made: Made) -> None:
    """Reads the files and holds that all that they state is kept, or left out with a reason."""
    try:
        corpus = opened(folder, name, cut="document", **made.options)
        assert corpus.source
        for file in corpus.files:
            counts = read_all(corpus.source, file).counts
            if stated := stated_in(name, file.path):
                found = counts.rows, sum(counts.labels.values()) + sum(counts.left_out.values())
                enough = found == stated[:2] if stated.are_all else found >= stated[:2]
                assert enough, f"{file.path.name} states {stated}, of which {found} are accounted for"
    except UserError as error:
        assert "\n" not in str(error)


def hold_recognition(folder: Path, name: str, files: Files, everything: bool) -> None:
    if everything:
        recognised(folder)
    else:
        for path in [folder, *(folder / path for path in files)]:
            FORMATS[name].recognise(Sample(path))


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_accounted_for_or_refused_in_one_line(tmp_path, name):
    made = SAMPLES[name]()
    folder = written(tmp_path / "c", made.files)

    @HOW_MANY
    @given(st.integers(0, 2**64 - 1))
    def holds(seed: int) -> None:
        with patience():
            for number in range(FILES_A_SEED):
                files = broken(Random(f"{name} {seed} {number}"), made.files)
                for path, content in files.items():
                    (folder / path).write_bytes(content)
                try:
                    hold_recognition(folder, name, files, everything=number == 0)
                    hold(folder, name, made)
                except Exception as error:
                    changed = {path: content for path, content in files.items() if content != made.files[path]}
                    raise AssertionError(f"damaged file {number} of this seed: {changed}") from error

    holds()
