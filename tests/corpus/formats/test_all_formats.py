"""What holds for every format: it has a sample, whose files are recognised as of it alone and kept whole."""

import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from mere_ds.converting import convert_corpus
from mere_ds.corpus.folder import open_corpus
from mere_ds.corpus.formats import checking
from mere_ds.corpus.formats.options import NOT_FOR_ALL
from mere_ds.corpus.formats.registry import FORMATS, recognised
from mere_ds.corpus.formats.writer_registry import WRITERS
from mere_ds.corpus.rows import REJECTIONS
from mere_ds.errors import UserError
from tests.corpus.formats.damage import lines
from tests.corpus.formats.patience import patience
from tests.corpus.formats.reading import read_all
from tests.corpus.formats.whole import SAMPLES, opened, written


def test_every_format_has_a_sample():
    assert SAMPLES.keys() == FORMATS.keys()


def test_a_name_of_a_reason_repair_or_note_has_one_meaning_in_all_formats():
    every = [(checking.LOSSES | REJECTIONS, {}, checking.NOTES)]
    every += [(format.losses, format.repairs, format.notes) for format in FORMATS.values()]
    found: dict[str, set] = {}
    for kinds in every:
        for kind, meanings in enumerate(kinds):
            for name, meaning in meanings.items():
                found.setdefault(name, set()).add((kind, meaning))
    assert not {name: meanings for name, meanings in found.items() if len(meanings) > 1}


def test_the_page_about_formats_has_a_row_and_a_section_for_each_that_names_all_of_its_reasons():
    page = (Path(__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[([a-z0-9-]+)\]\(#\1\) \|.*\| (.*) \|$", page, re.MULTILINE)
    flags = {name: ", ".join(f"`--{flag}`" for flag in format.flags) or "-" for name, format in FORMATS.items()}
    assert rows == list(flags.items())
    sections = dict(re.findall(r"^## ([a-z]\S*)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(FORMATS)
    also = {"datasets": ("table", "nyt"), "duie": ("nyt",), "gliner2": ("nyt",), "table": ("nyt",)}  # what it refers to
    for name, format in FORMATS.items():
        text = sections[name] + "".join(sections[other] for other in also.get(name, ()))
        assert not [own for own in (*format.losses, *format.repairs, *format.notes) if f"`{own}`" not in text], name


@pytest.mark.parametrize("name", SAMPLES)
def test_a_formats_files_are_recognised_as_of_it_alone(tmp_path, name):
    assert list(recognised(written(tmp_path / "c", SAMPLES[name]().files))) == [name]


def test_files_that_are_named_like_our_json_lines_are_told_from_them_by_their_first_row(tmp_path):
    triple = {"head": [0, 3], "relation": "left", "tail": [4, 5]}
    ours = [{"id": "1", "text": "Ida x", "triples": triples} for triples in ([triple], [])]
    rebels = [{"docid": "1", "text": "Ida", "entities": [], "triples": triples} for triples in ([{}], [])]
    kinds = {"ours": ours[0], "without": ours[1], "rebel": rebels[0], "either": rebels[1]}
    opened = {}
    for kind, row in kinds.items():
        folder = written(tmp_path / kind, {"train.jsonl": lines(row)})
        try:
            corpus = open_corpus(folder)
            opened[kind] = corpus.source and corpus.source.format.name
        except UserError as error:
            opened[kind] = str(error)
    several = opened.pop("either")
    assert opened == {"ours": None, "without": None, "rebel": "rebel"}
    assert "--format=jsonl" in several and "--format=rebel" in several


@pytest.mark.parametrize("name", SAMPLES)
def test_pipes_are_not_opened_for_nothing_may_ever_come(tmp_path, name):
    made = SAMPLES[name]()
    with patience():
        for path in made.files:
            folder = written(tmp_path / "c", made.files)
            (folder / path).unlink()
            os.mkfifo(folder / path)
            os.mkfifo(folder / "more.ann")
            for given in ("auto", name):
                with suppress(UserError):
                    corpus = opened(folder, given, **made.options)
                    for file in corpus.files:
                        list(corpus.read(file))
        with pytest.raises(UserError):
            opened(folder / path, name, **made.options)


@pytest.mark.parametrize("name", SAMPLES)
def test_options_that_a_format_has_no_use_for_are_refused(tmp_path, name):
    folder = written(tmp_path / "c", SAMPLES[name]().files)
    given = {"map": ("text=a",), "offsets": "utf16", "end": "inclusive", "ambiguous": "all"}
    assert given.keys() == {*NOT_FOR_ALL} >= {*FORMATS[name].flags}
    for option in given.keys() - FORMATS[name].flags:
        with pytest.raises(UserError, match=f"--{option}=.*: format {name} has no use for it: omit it"):
            opened(folder, name, **{option: given[option]})


@pytest.mark.parametrize("name", SAMPLES)
def test_a_whole_file_is_kept(tmp_path, name):
    made = SAMPLES[name]()
    corpus = opened(written(tmp_path / "c", made.files), name, **made.options)
    for file in corpus.files:
        counts = read_all(corpus.source, file).counts
        assert counts.kept == counts.rows
        assert sum(counts.labels.values()) >= 1 and counts.kept + sum(counts.labels.values()) >= 2


def kept_in(corpus):
    """Relations in any order, for tools keep none."""
    found = [example for file in corpus.files for example in corpus.read(file)]
    return sorted((example.id, example.language, example.text, tuple(sorted(example.triples))) for example in found)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_written_in_any_format_is_read_back(tmp_path, name):
    made = SAMPLES[name]()
    corpus = opened(written(tmp_path / "c", made.files), name, **made.options)
    for to in WRITERS:
        convert_corpus(corpus.folder, tmp_path / to, corpus.source.options, to=to)
        assert kept_in(open_corpus(tmp_path / to)) == kept_in(corpus)
