"""One sentence in composed and decomposed form is one sentence: to the shards, to the model and in its answers."""

import unicodedata

import pytest
import regex
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mere_ds.backends.with_torch import TorchBackend
from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.graphemes import BLANK, trim
from mere_ds.corpus.reading import read_file, split_files
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.encoders.sources import TinySize, load_encoder, load_tokenizer
from mere_ds.inference import Extractor
from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel
from mere_ds.pretraining.statements import read_statements, train_corpus
from mere_ds.shards.encoding import SentenceEncoder
from mere_ds.shards.manifest import Manifest
from tests.shards.test_encoding import TOKENIZERS
from tests.shards.toy_corpus import make_shards

TINY = TinySize(hidden=16, layers=1, heads=2, vocabulary=1200)
HOSTILE = (
    "aéb \u0301\u0323\u0308ｶﾞはﾟ김각\u1100\u1161\u11a8علي\u064b\u0651क\u094dष\u093f👩👍🏽❤\ufe0f🇩🇪½ﬁ."
    "\u200d\u200c\u200b\u200f\u2067\u2069\ufeff\u00ad\r\n"
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """By form: one corpus in all 14 languages."""
    folders = {form: tmp_path_factory.mktemp(form) for form in ("NFC", "NFD", "NFKC")}
    synthesize(folders["NFC"], 700, at_least=50, seed=5, processes=1)
    for form in ("NFD", "NFKC"):
        for path in folders["NFC"].glob("*.tsv"):
            text = unicodedata.normalize(form, path.read_text(encoding="utf-8"))
            (folders[form] / path.name).write_text(text, encoding="utf-8", newline="\n")
    return folders


@pytest.fixture(scope="module")
def manifests(corpora, tmp_path_factory) -> dict[str, Manifest]:
    return {
        form: make_shards(folder, tmp_path_factory.mktemp("shards") / form, tiny=TINY)
        for form, folder in corpora.items()
    }


@pytest.fixture(scope="module")
def extractor(manifests) -> Extractor:
    """Random weights: their triples depend on every token."""
    manifest = manifests["NFC"]
    config = MereConfig(
        languages=manifest.languages,
        labels=manifest.labels,
        label_mask=manifest.label_mask,
        language_token_ids=[manifest.encoder.language_token_ids[x] for x in manifest.languages],
        use_ls=False,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    tokenizer = load_tokenizer(manifest.encoder_folder)
    model = MereModel.from_encoder(load_encoder(manifest.encoder_folder, manifest.encoder), config).eval()
    return Extractor(TorchBackend(model), SentenceEncoder(tokenizer, manifest.languages, 256))


def test_training_data_are_the_same_bytes_in_every_form(manifests):
    composed, *others = (m.splits for m in manifests.values())
    for other in others:
        assert other["train"] == composed["train"], "digests too"
        for split in ("dev", "test"):
            assert [getattr(other[split], n) for n in ("tokens", "counts", "unaligned")] == [
                getattr(composed[split], n) for n in ("tokens", "counts", "unaligned")
            ]


def test_every_language_s_answers_are_the_same_letters_in_every_form(corpora, extractor):
    asked = changed = 0
    for file in split_files(corpora["NFC"]):
        if file.split == "train":
            continue
        texts = [e.text for e in read_file(file.path)]
        told = list(extractor.extract(texts, file.language))
        for form in ("NFD", "NFKC"):
            again = [unicodedata.normalize(form, text) for text in texts]
            changed += again != texts
            for one, other in zip(told, extractor.extract(again, file.language), strict=True):
                (a,), (b,) = one["triples"], other["triples"]
                assert (a["relation"], a["score"]) == (b["relation"], pytest.approx(b["score"], rel=1e-4))
                for side in ("head", "tail"):
                    span = b[side]
                    assert other["text"][span["start"] : span["end"]] == span["text"]
                    assert unicodedata.normalize("NFC", span["text"]) == a[side]["text"]
                asked += 1
    assert asked == 2 * 140 and changed >= 12


def test_gold_spans_of_decomposed_text_find_their_tokens(manifests, corpora):
    """What gold's tokens show is gold, wherever it is in the composed form."""
    manifest = manifests["NFC"]
    encoder = SentenceEncoder(load_tokenizer(manifest.encoder_folder), manifest.languages, 256)
    files = zip(*(split_files(corpora[form]) for form in ("NFC", "NFD")), strict=True)
    for composed_file, file in files:
        composed, given_ = (list(read_file(f.path)) for f in (composed_file, file))
        one, other = encoder.encode_examples(composed), encoder.encode_examples(given_)
        assert [(e.ids, [t[:2] for t in e.triples]) for e in one] == [
            (e.ids, [t[:2] for t in e.triples]) for e in other
        ]
        plain = encoder.encode_texts([e.text for e in given_], [e.language for e in given_])
        for sentence, gold, tokens in zip(given_, other, plain, strict=True):
            for span, place, exact in zip(
                (sentence.triples[0].head, sentence.triples[0].tail), (0, 2), gold.triples[0].exact, strict=True
            ):
                if gold.triples[0].positions[place] >= 0:
                    shown = tokens.characters(sentence.text, *gold.triples[0].positions[place : place + 2])
                    assert (shown == span) == exact


def test_pretraining_reads_the_same_pieces_in_every_form(corpora, manifests):
    tokenizer = load_tokenizer(manifests["NFC"].encoder_folder)
    one, other = (
        read_statements(train_corpus(corpora[form], "ko,fr"), tokenizer, 64, False) for form in ("NFC", "NFD")
    )
    assert (one.pieces == other.pieces).all() and (one.spans == other.spans).all()


@pytest.mark.parametrize("word", [unicodedata.normalize("NFD", "김민수"), "cafe\u0301", "ｶﾞｷﾞ", "❤\ufe0f"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_no_letter_loses_its_last_part(name, word):
    text = f"is {word} \u200fa\u2069 x"
    encoder = SentenceEncoder(TOKENIZERS[name], ["en"], 64)
    entity = 3, 3 + len(word)
    marked = Example("1", "en", text, (Triple(entity, "label", (entity[1] + 1, entity[1] + 4)),), "f", 2)
    (gold,), (tokens,) = encoder.encode_examples([marked]), encoder.encode_texts([text], ["en"])
    assert gold.triples[0].exact == (True, True)
    assert tokens.characters(text, *gold.triples[0].positions[:2]) == entity
    assert tokens.characters(text, *gold.triples[0].positions[2:]) == (entity[1] + 2, entity[1] + 3)


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=st.text(st.sampled_from(HOSTILE), min_size=1, max_size=20), data=st.data())
@settings(max_examples=150)
def test_any_two_tokens_show_whole_graphemes(name, text, data):
    (tokens,) = SentenceEncoder(TOKENIZERS[name], ["en"], 512).encode_texts([text], ["en"])
    if not tokens.offsets:
        return
    first = data.draw(st.integers(0, len(tokens.offsets) - 1))
    last = data.draw(st.integers(first, len(tokens.offsets) - 1))
    start, end = tokens.characters(text, first + 2, last + 2)
    assert 0 <= start < end <= len(text), "never empty"
    covered = range(tokens.offsets[first][0], tokens.offsets[last][1])
    assert not text[covered.start : start].strip(BLANK) and not text[end : covered.stop].strip(BLANK)
    for grapheme in regex.finditer(r"\X", text):
        a, b = grapheme.span()
        if a < start < b:
            assert not text[a:start].strip(BLANK), "a grapheme begins before the span with more than blanks"
        if a < end < b:
            assert not text[end:b].strip(BLANK), "a grapheme ends after the span with more than blanks"


@given(st.text(st.sampled_from(HOSTILE), min_size=1, max_size=20), st.data())
@example("\u200e각\u200f", None)
@settings(max_examples=150)
def test_exact_is_what_an_answer_with_gold_s_tokens_would_be(text, data):
    start = data.draw(st.integers(0, len(text) - 1)) if data else 0
    end = data.draw(st.integers(start + 1, len(text))) if data else len(text)
    sentence = Example("1", "en", text, (Triple((start, end), "label", (start, end)),), "f", 2)
    for name, tokenizer in TOKENIZERS.items():
        encoder = SentenceEncoder(tokenizer, ["en"], 512)
        (gold,), (tokens,) = encoder.encode_examples([sentence]), encoder.encode_texts([text], ["en"])
        if gold.triples[0].positions[0] < 0:
            assert not gold.triples[0].exact[0]
        else:
            assert gold.triples[0].exact[0] == (
                tokens.characters(text, *gold.triples[0].positions[:2]) == trim(text, (start, end))
            ), name
