import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.graphemes import BLANK, trim, whole_graphemes
from mere_ds.errors import UserError
from mere_ds.shards.encoding import FRAME, SentenceEncoder

ROLES = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
WORDS = ["mont", "##real", "is", "a", "town", "of", "big", "##ger", "北", "京", ".", ",", "x"]


def finish(backend: Tokenizer) -> PreTrainedTokenizerFast:
    backend.add_special_tokens([*ROLES.values(), "[en]", "[zh]"])
    backend.encode_special_tokens = True
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, split_special_tokens=True, **ROLES)


def wordpiece() -> PreTrainedTokenizerFast:
    vocabulary = {token: i for i, token in enumerate([*ROLES.values(), *WORDS])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return finish(backend)


def sentencepiece() -> PreTrainedTokenizerFast:
    pieces = ["▁mont", "real", "▁is", "▁", *"abcdefghijklmnopqrstuvwxyz北京.,1⁄2"]
    backend = Tokenizer(models.Unigram([("<unk>", -9.0), *[(piece, -3.0) for piece in pieces]], 0, False))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return finish(backend)


def bytelevel() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return finish(backend)


TOKENIZERS = {"wordpiece": wordpiece(), "sentencepiece": sentencepiece(), "bytelevel": bytelevel()}


def make(text: str, head: str, tail: str, language: str = "en") -> Example:
    spans = [(text.index(entity), text.index(entity) + len(entity)) for entity in (head, tail)]
    return Example("1", language, text, (Triple(spans[0], "label", spans[1]),), "en_corpora_train.tsv", 2)


def encode(name: str, example: Example, max_length: int = 64):
    return SentenceEncoder(TOKENIZERS[name], ["en", "zh"], max_length).encode_examples([example])[0]


def test_a_sentence_of_wordpieces():
    tokenizer = TOKENIZERS["wordpiece"]
    encoded = encode("wordpiece", make("montreal is a big town.", "montreal", "town"))
    tokens = ["[CLS]", "[en]", "mont", "##real", "is", "a", "big", "town", ".", "[SEP]"]
    assert tokenizer.convert_ids_to_tokens(encoded.ids) == tokens
    assert encoded.triples[0].positions == (2, 3, 7, 7)
    assert encoded.triples[0].exact == (True, True) and not encoded.truncated and encoded.triples[0].problem is None


def test_languages_without_spaces_and_the_other_symbol():
    encoded = encode("wordpiece", make("北京,mont", "北京", "mont", "zh"))
    assert TOKENIZERS["wordpiece"].convert_ids_to_tokens(encoded.ids)[1] == "[zh]"
    assert encoded.triples[0].positions == (2, 3, 5, 5) and encoded.triples[0].exact == (True, True)


def test_marks_inside_a_token_are_told():
    encoded = encode("wordpiece", make("montreal is big", "tr", "is"))
    assert encoded.triples[0].positions == (2, 3, 4, 4) and encoded.triples[0].exact == (False, True)


def test_white_space_that_a_piece_swallows_is_no_difference():
    encoded = encode("sentencepiece", make("a montreal is x", "montreal", "x"))
    assert encoded.triples[0].exact == (True, True) and encoded.triples[0].problem is None


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_span_of_characters_that_are_several_tokens_is_covered_to_its_end(name):
    text = "is ½北 a"
    encoder = SentenceEncoder(TOKENIZERS[name], ["en"], 64)
    encoded = encoder.encode_examples([make(text, "½北", "a")])[0]
    offsets = encoder.encode_texts([text], ["en"])[0].offsets
    first, last = encoded.triples[0].positions[0] - 2, encoded.triples[0].positions[1] - 2
    assert [offsets[i] for i in range(len(offsets)) if offsets[i][0] < 5 and offsets[i][1] > 3] == offsets[
        first : last + 1
    ]
    assert encoded.triples[0].exact[0]


def test_ends_without_a_token_move_inwards():
    text = "\u200dmont\u0000 is"  # the normaliser takes the joiner and the NUL away
    encoded = encode("wordpiece", Example("1", "en", text, (Triple((0, 6), "label", (7, 9)),), "f", 2))
    assert encoded.triples[0].positions == (2, 2, 3, 3) and encoded.triples[0].exact == (False, True)


def test_a_span_without_any_token():
    encoded = encode("wordpiece", Example("1", "en", "mont \u0000 is", (Triple((0, 4), "label", (5, 6)),), "f", 2))
    assert encoded.triples[0].problem == "span_without_token"
    assert encoded.triples[0].positions == (2, 2, -1, -1) and encoded.triples[0].exact == (True, False)


@pytest.mark.parametrize(
    "max_length, tail, problem, truncated",
    [(11, 10, None, False), (10, -1, "span_beyond_max_length", True), (9, -1, "span_beyond_max_length", True)],
)
def test_truncation(max_length, tail, problem, truncated):
    # 11 tokens with the frame; the tail is the last but one, so a room of 10 cuts the full stop alone
    example = make("montreal is a big a big town", "montreal", "town")
    encoded = encode("wordpiece", example, max_length)
    assert len(encoded.ids) == max_length if truncated else len(encoded.ids) == 11
    assert encoded.ids[-1] == TOKENIZERS["wordpiece"].sep_token_id
    assert (encoded.triples[0].problem, encoded.truncated) == (problem, truncated)
    assert encoded.triples[0].positions == ((2, 3, 9, 9) if tail > 0 else (2, 3, -1, -1))


def test_a_truncated_sentence_whose_spans_survive_is_no_problem():
    encoded = encode("wordpiece", make("montreal is a big a big town", "montreal", "is"), 8)
    assert encoded.truncated and encoded.triples[0].problem is None and encoded.triples[0].positions == (2, 3, 4, 4)


def test_special_tokens_in_a_text_are_text():
    encoded = encode("wordpiece", make("[en] mont [SEP] is", "mont", "is"))
    special = set(TOKENIZERS["wordpiece"].convert_tokens_to_ids(["[en]", "[SEP]", "[CLS]"]))
    assert not special.intersection(encoded.ids[2:-1])
    assert encoded.triples[0].exact == (True, True)


@given(st.text("ab北é½ \u0301\u200d.x", min_size=2, max_size=20), st.data())
@example("½½", None)
@settings(max_examples=150)
def test_spans_are_covered_by_their_tokens_and_no_token_is_spare(text, data):
    start = data.draw(st.integers(0, len(text) - 1)) if data else 0
    end = data.draw(st.integers(start + 1, len(text))) if data else 1
    sentence = Example("1", "en", text, (Triple((start, end), "label", (start, end)),), "f", 2)
    for name, tokenizer in TOKENIZERS.items():
        encoder = SentenceEncoder(tokenizer, ["en"], 512)
        encoded = encoder.encode_examples([sentence])[0]
        plain = encoder.encode_texts([text], ["en"])[0]
        assert plain.ids.tolist() == encoded.ids, name
        touching = [i + 2 for i, (a, b) in enumerate(plain.offsets) if a < end and b > start]
        assert encoded.triples[0].positions[:2] == ((touching[0], touching[-1]) if touching else (-1, -1)), name


def test_cuts_are_the_characters_that_an_entity_leaves_out():
    encoder = SentenceEncoder(TOKENIZERS["wordpiece"], ["en"], 64)
    text = "montreal is montbig."  # [UNK] is one token: the whole word
    for head, cuts in (("mont", (0, 0)), ("ont", (1, 0)), ("real", (0, 0)), ("ea", (1, 1)), ("montreal is", (0, 0))):
        encoded = encoder.encode_examples([make(text, head, ".")])[0]
        assert encoded.triples[0].cuts == (*cuts, 0, 0), head
    for head, cuts in (("montb", (0, 2)), ("ig", (5, 0)), ("montbig", (0, 0)), ("eal is m", (1, 6))):
        assert encoder.encode_examples([make(text, head, ".")])[0].triples[0].cuts[:2] == cuts, head
    (cut_off,) = SentenceEncoder(TOKENIZERS["wordpiece"], ["en"], 6).encode_examples([make(text, "ont", ".")])
    assert cut_off.triples[0].cuts == (1, 0, -1, -1)


def test_cuts_that_would_leave_nothing_are_not_made():
    (encoded,) = SentenceEncoder(TOKENIZERS["wordpiece"], ["en"], 64).encode_texts(["mont is"], ["en"])
    shown = {cuts: encoded.characters("mont is", 2, 2, cuts) for cuts in ((1, 2), (4, 0), (2, 2), (0, 15), (15, 15))}
    assert shown == {(1, 2): (1, 2), (4, 0): (0, 4), (2, 2): (0, 4), (0, 15): (0, 4), (15, 15): (0, 4)}
    assert encoded.characters("mont is", 2, 3, (0, 2)) == (0, 4), "a blank before what was cut goes too"


PIECES = st.sampled_from(
    ["mont", "real", "town", "김민수", "는", "서울", "에서", "и", "Киев", "е", "محمد", "و", "ب", "القاهرة", "é",
     "e\u0301", "-", " ", " ", ".", "\u200f", "北", "京", "☎", "👩\u200d👩"]
)  # fmt: skip


@given(st.lists(PIECES, min_size=2, max_size=14), st.sampled_from(["NFC", "NFD"]), st.data())
@settings(max_examples=200)
def test_gold_tokens_and_cuts_give_the_gold_characters(pieces, form, data):
    """Particles, prefixes, right to left, decomposed: whatever the tokenizer makes one token."""
    pieces = [unicodedata.normalize(form, piece) for piece in pieces]
    start = data.draw(st.integers(0, len(pieces) - 1))
    end = data.draw(st.integers(start + 1, len(pieces)))
    before, text = len("".join(pieces[:start])), "".join(pieces)
    gold = trim(text, (before, before + len("".join(pieces[start:end]))))
    if not text[slice(*gold)].strip(BLANK) or whole_graphemes(text, gold) != gold:
        return  # the reader takes no such entity, and nobody sees a part of a grapheme
    for name, tokenizer in TOKENIZERS.items():
        encoder = SentenceEncoder(tokenizer, ["en"], 512)
        (encoded,) = encoder.encode_examples([Example("1", "en", text, (Triple(gold, "label", gold),), "f", 2)])
        (plain,) = encoder.encode_texts([text], ["en"])
        if encoded.triples[0].positions[0] >= 0:
            assert encoded.triples[0].exact[0] == (plain.characters(text, *encoded.triples[0].positions[:2]) == gold), (
                name
            )
            found = plain.characters(text, *encoded.triples[0].positions[:2], encoded.triples[0].cuts[:2])
            covered = plain.characters(text, *encoded.triples[0].positions[:2])
            if covered[0] <= gold[0] and gold[1] <= covered[1]:  # some tokenizers leave characters out
                assert found == gold, name


def test_texts_for_use():
    encoder = SentenceEncoder(TOKENIZERS["wordpiece"], ["en", "zh"], 6)
    short, long, empty = encoder.encode_texts(["montreal", "a big town of mont", ""], ["en", "zh", "en"])
    assert short.ids.dtype == np.int32 and len(short.ids) == 5 and short.offsets == [(0, 4), (4, 8)]
    assert not short.truncated
    assert len(long.ids) == 6 and long.offsets == [(0, 1), (2, 5), (6, 10)]
    assert long.truncated
    assert len(empty.ids) == FRAME and empty.offsets == []


def test_misuse():
    tokenizer = TOKENIZERS["wordpiece"]
    with pytest.raises(UserError, match="no language symbol for xx"):
        SentenceEncoder(tokenizer, ["en", "xx"], 64)
    for length in (3, 513):
        with pytest.raises(UserError, match=f"--max_length={length} is out of range: pass 4 to 512"):
            SentenceEncoder(tokenizer, ["en"], length)
    with pytest.raises(UserError, match="unknown language fr"):
        SentenceEncoder(tokenizer, ["en"], 64).encode_texts(["a"], ["fr"])
