"""What holds for every format: its files are recognised as its own alone, and damaged ones never give a traceback.

`MERE_DS_DAMAGED_FILES=100000 pytest tests/corpus/formats/test_all_formats.py --hypothesis-seed=1` tries so many files.
"""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mere_ds.corpus.folder import Corpus, open_corpus
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.registry import FORMATS, recognised
from mere_ds.corpus.formats.stated import Stated
from mere_ds.corpus.rows import CorpusFile, Reject, Tally
from mere_ds.errors import UserError
from tests.corpus.formats.damage import Files, damaged_files, lines
from tests.corpus.formats.reading import check
from tests.corpus.formats.whole import SAMPLES, Made

DAMAGED_FILES = int(os.environ.get("MERE_DS_DAMAGED_FILES", "0"))


def written(folder: Path, files: Files) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def opened(folder: Path, name: str, made: Made) -> Corpus:
    return open_corpus(
        folder, options=SourceOptions(**{"format": name, "split": "train", "lang": "de", **made.options})
    )


def read(corpus: Corpus, file: CorpusFile) -> tuple[int, int]:
    """Reads a file, holds that all rows and relations are counted, and returns the rows kept and their relations."""
    assert corpus.source
    tally, rejects = Tally(file), list[Reject]()
    examples = list(corpus.read(file, rejects.append, tally))
    [counts] = tally.counts
    check(counts, examples, rejects, corpus.source.format)
    items = list(corpus.source.format.read(file.path, corpus.source.options))
    relations = sum(len(item.links) if isinstance(item, Stated) else item.relations for item in items)
    assert sum(counts.labels.values()) + sum(counts.left_out.values()) == relations
    return counts.kept, sum(counts.labels.values())


def test_every_sample_is_of_a_format():
    assert SAMPLES.keys() <= FORMATS.keys()
    if missing := FORMATS.keys() - SAMPLES.keys():
        pytest.skip(f"formats without a sample: {', '.join(sorted(missing))}")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_formats_files_are_recognised_as_of_it_alone(tmp_path, name):
    assert list(recognised(written(tmp_path / "c", SAMPLES[name]().files))) == [name]


def test_files_that_are_named_like_our_json_lines_are_told_from_them_by_their_first_row(tmp_path):
    options = SourceOptions(lang="de")
    triple = {"head": [0, 3], "relation": "left", "tail": [4, 5]}
    ours = [{"id": "1", "text": "Ida x", "triples": triples} for triples in ([triple], [])]
    rebels = [{"docid": "1", "text": "Ida", "entities": [], "triples": triples} for triples in ([{}], [])]
    kinds = {"ours": ours[0], "without": ours[1], "rebel": rebels[0], "either": rebels[1]}
    opened = {}
    for kind, row in kinds.items():
        folder = written(tmp_path / kind, {"train.jsonl": lines(row)})
        try:
            corpus = open_corpus(folder, options=options)
            opened[kind] = corpus.source and corpus.source.format.name
        except UserError as error:
            opened[kind] = str(error)
    several = opened.pop("either")
    assert opened == {"ours": None, "without": None, "rebel": "rebel"}
    assert "--format=jsonl" in several and "--format=rebel" in several


@pytest.mark.parametrize("name", SAMPLES)
def test_a_whole_file_is_kept(tmp_path, name):
    made = SAMPLES[name]()
    corpus = opened(written(tmp_path / "c", made.files), name, made)
    kept, relations = (sum(counts) for counts in zip(*(read(corpus, file) for file in corpus.files), strict=True))
    assert kept >= 2 and relations >= 2


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_gives_counted_rows_or_an_error_for_the_user(tmp_path, name):
    made = SAMPLES[name]()

    @settings(
        settings.default,
        max_examples=DAMAGED_FILES // len(SAMPLES) or min(15, settings.default.max_examples),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.deferred(lambda: damaged_files(made.files)))
    def holds(files: Files) -> None:
        folder = written(tmp_path / "c", files)
        recognised(folder)
        try:
            corpus = opened(folder, name, made)
            for file in corpus.files:
                read(corpus, file)
        except UserError as error:
            assert "\n" not in str(error)

    holds()
