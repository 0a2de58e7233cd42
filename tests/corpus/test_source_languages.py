"""What language the texts of another tool's files are of."""

from pathlib import Path

import pytest

from mere_ds.corpus.formats.checking import FormatFile, Source, read_source
from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.formats.stated import Format, Stated, files_below
from mere_ds.corpus.rows import Tally
from mere_ds.corpus.sentences import with_sentencex
from mere_ds.errors import UserError


def read(stated: list[str], file_language: str = ""):
    """Languages of the texts that are kept when a file states these, reasons of the others, and the counts."""

    def texts(path, options):
        for place, language in enumerate(stated, start=1):
            yield Stated(place, str(place), "A or B", (), 10, "raw", language)

    source = Source(Format("made-up", "", files_below((".x",)), lambda sample: None, texts), SourceOptions())
    file = FormatFile(Path("a.x"), "train", file_language)
    rejects, tally = [], Tally(file)
    examples = list(read_source(source, file, False, None, rejects.append, tally))
    counts = tally.counts
    assert sum(c.rows for c in counts) == sum(c.kept + c.rejected.total() for c in counts) == len(stated)
    return [example.language for example in examples], [reject.reason for reject in rejects]


def test_stated_languages_have_one_spelling_and_what_is_none_is_rejected():
    assert read(["de", "DE", "pt_br", "zh-hant "]) == (["de", "de", "pt-BR", "zh-Hant"], [])
    assert read(["German", "d", "de; fr"]) == ([], ["unknown_language"] * 3)


def test_a_language_for_all_is_for_texts_that_state_none():
    assert read(["", "PT-br", "pt", "?"], "pt-BR") == (["pt-BR", "pt-BR"], ["wrong_language", "unknown_language"])
    with pytest.raises(UserError, match="does not state the language of its texts: pass --lang"):
        read([""])
    assert SourceOptions(lang="pt_br").lang == "pt-BR"
    with pytest.raises(UserError, match="--lang=german: not a language code"):
        SourceOptions(lang="german")


def test_sentences_of_a_region_s_language_are_those_of_the_language():
    pytest.importorskip("sentencex")
    split, text = with_sentencex(), "Das ist z.B. Dr. Berg. Sie kam am 3. Mai. Dann ging sie."
    assert split("de-AT", text) == split("de-Latn-CH", text) == split("de", text)
    assert len(split("de", text)) < len(split("en", text))
