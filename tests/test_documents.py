"""Documents of any length: sentences, windows, offsets of the whole, bounded memory and linear time."""

import re
import tracemalloc

import pytest
import torch

from mere_ds.backends.with_torch import TorchBackend
from mere_ds.corpus import sentences
from mere_ds.corpus.sentences import sentences_of, with_sentencex
from mere_ds.documents import extract_document, windows_of
from mere_ds.errors import UserError
from mere_ds.inference import Extractor
from mere_ds.model.triple import MereOutput
from tests.test_extraction import Finder, encoder  # noqa: F401  # the fixture


def at_stops(language: str, text: str) -> list[int]:
    """As sentencex: sentences end behind a full stop and the blanks after it."""
    ends = [match.end() for match in re.finditer(r"\.\s*", text)]
    return ends if ends and ends[-1] == len(text) else [*ends, len(text)]


class Neighbours(Finder):
    """Finds each token's pair with the next one, with a score that depends on the place in what it reads."""

    def __call__(self, token_ids_BM, mask_BM, languages_B) -> MereOutput:
        found = [
            (b, [2 + i, 2 + i, 3 + i, 3 + i], 0.9 - i / 1000)
            for b, length in enumerate(mask_BM.sum(1).tolist())
            for i in range(length - 4)
        ]
        positions_F4 = torch.tensor([positions for _, positions, _ in found]).reshape(-1, 4)
        score_F = torch.tensor([score for *_, score in found])
        return MereOutput(
            sentence_F=torch.tensor([b for b, *_ in found], dtype=torch.long),
            relation_F=torch.zeros(len(found), dtype=torch.long),
            relation_probability_F=score_F,
            positions_F4=positions_F4,
            score_F=score_F,
            cuts_F4=torch.zeros_like(positions_F4),
        )


@pytest.fixture
def extractor(encoder) -> Extractor:  # noqa: F811
    return Extractor(TorchBackend(Neighbours()), encoder)


def spans(triples) -> list[tuple[int, int, int, int]]:
    return [(*(t["head"][n] for n in ("start", "end")), *(t["tail"][n] for n in ("start", "end"))) for t in triples]


def test_offsets_are_of_the_document(extractor):
    text = "\n\n berlin gau.  dorf stein gau .\n\n" * 3
    triples = list(extract_document(extractor, text, "de", at_stops))
    assert triples and all(text[t[s]["start"] : t[s]["end"]] == t[s]["text"] for t in triples for s in ("head", "tail"))
    alone = []
    for start, end in sentences_of(text, "de", at_stops):
        for answer in extractor.extract([text[start:end]], "de"):
            alone += [tuple(start + place for place in span) for span in spans(answer["triples"])]
    assert spans(triples) == alone, "as of each sentence alone, in their order"


@pytest.mark.parametrize("words", [5, 60, 400])
def test_a_sentence_too_long_is_read_in_windows_and_nothing_is_lost_or_doubled(extractor, words):
    text = " ".join(["berlin", "gau", "dorf", "stein"] * (words // 4 + 1))
    found = spans(extract_document(extractor, text, "de", at_stops))
    encoded = extractor.encoder.encode_texts([text], ["de"])
    windows = list(windows_of(extractor, text, "de", at_stops))
    assert (len(windows) > 1) == encoded[0].truncated
    assert len(set(found)) == len(found)
    covered = sorted({(start, end) for start, end, *_ in found} | {(start, end) for *_, start, end in found})
    assert covered[0][0] == 0 and covered[-1][1] == len(text)
    assert all(after[0] - before[1] <= 1 for before, after in zip(covered, covered[1:], strict=False)), "no gap"


def test_blocks_change_no_sentence(monkeypatch):
    text = "a b. " * 30 + "x" * 300 + ". c d."
    whole = list(sentences_of(text, "de", at_stops))
    for size in (7, 64, 1000):
        monkeypatch.setattr(sentences, "_BLOCK", size)
        assert list(sentences_of(text, "de", at_stops)) == whole


def test_memory_does_not_grow_with_the_text_and_time_grows_linearly(encoder):  # noqa: F811
    """By counting: how much is tokenised, and how much memory is held beside the text."""
    none = Extractor(TorchBackend(Finder()), encoder)
    read = []

    class Counting:
        max_length, room, padded, text = encoder.max_length, encoder.room, encoder.padded, encoder.text

        def words(self, texts):
            read.append(sum(map(len, texts)))
            return encoder.words(texts)

    none.encoder = Counting()
    totals = []
    for size in (1, 3):
        text = ("berlin gau dorf stein. " * 40 + "gau " * 3000 + ". ") * (6 * size)
        read.clear()
        tracemalloc.start()
        assert list(extract_document(none, text, "de", at_stops)) == []
        totals.append((sum(read), tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
    (few, held), (many, still_held) = totals
    assert many == pytest.approx(3 * few, rel=0.05) and still_held < 1.3 * held


def test_without_sentencex_it_is_said_what_to_install(extractor, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentencex", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'mere-ds\[documents\]'"):
        list(extract_document(extractor, "berlin", "de"))


def test_sentencex_knows_abbreviations_and_counts_characters(extractor):
    text = "Dr. Müller kam am 3. Mai. 😀 Er wohnte z. B. in Köln. Gut!"
    found = [text[start:end].strip() for start, end in sentences_of(text, "de", with_sentencex())]
    assert found == ["Dr. Müller kam am 3. Mai.", "😀 Er wohnte z. B. in Köln.", "Gut!"]
    for language in ("it", "fr", "de", "pt", "nl", "en", "ko", "pl", "es", "ar", "ru", "sv", "fa", "uk"):
        assert len(list(sentences_of("Aa bb. Cc dd.", language, with_sentencex()))) == 2
