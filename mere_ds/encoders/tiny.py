"""`tiny`: a small BERT with random weights and a WordPiece vocabulary trained on the corpus, for tests and demos."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tqdm import tqdm
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mere_ds.encoders.tokens import wrap
from mere_ds.encoders.weights import save_model
from mere_ds.errors import UserError

T = TypeVar("T")

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
SENTENCES = 200_000
"""Maximum number of sentences to train the vocabulary on; with more it hardly changes but takes longer."""

LEAST_FREQUENCY = 5
"""Minimum count of a word piece. A rarer piece would reveal whether a name occurred in training, and a small model
would rely on that."""


@dataclass(frozen=True)
class TinySize:
    """Sizes of `tiny`; its feed-forward layers are 4 x hidden wide. UserError if they don't fit together."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    vocabulary: int = 8000
    """Number of word pieces and special tokens; the language symbols are added to these."""
    positions: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"tiny's {field.name} must be a whole number of at least 1, not {value!r}")
        if self.hidden % self.heads:
            raise UserError(f"tiny's hidden size {self.hidden} must be a multiple of its number of heads, {self.heads}")
        if self.vocabulary < 4 * len(SPECIAL):
            raise UserError(f"tiny's vocabulary must have at least {4 * len(SPECIAL)} entries, not {self.vocabulary}")


def most_weights(size: TinySize) -> int:
    """Number of the model's weights, without biases, LayerNorms and language symbols."""
    return size.hidden * (size.vocabulary + size.positions + (12 * size.layers + 1) * size.hidden)


def train_tokenizer(texts: Iterable[str], size: TinySize, seed: int) -> PreTrainedTokenizerFast:
    """A cased WordPiece tokenizer trained on at most `SENTENCES` of the texts, drawn evenly (see `sample`).

    The same texts and seed give the same vocabulary. UserError if there is no text.
    """
    drawn = sample(texts, SENTENCES, seed)
    if not any(text.strip() for text in drawn):
        raise UserError("there is no text to train tiny's vocabulary on: pass a corpus with at least one sentence")
    backend = Tokenizer(models.WordPiece(_train_vocabulary(drawn, size.vocabulary), unk_token=SPECIAL["unk_token"]))
    _set_word_steps(backend)
    backend.decoder = decoders.WordPiece()
    numbers, (sep, cls) = backend.get_vocab(), (SPECIAL[role] for role in ("sep_token", "cls_token"))
    backend.post_processor = processors.BertProcessing((sep, numbers[sep]), (cls, numbers[cls]))
    return wrap(backend, SPECIAL, size.positions)


def _set_word_steps(backend: Tokenizer) -> None:
    """Sets BERT's normalisation and splitting into words, keeping case and accents."""
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def _train_vocabulary(texts: list[str], size: int) -> dict[str, int]:
    """At most `size` entries: special tokens, characters at and after a word's start, then the most frequent merges.

    The trainer drops some of equally rare characters, and numbers those after a word's start (which it uses to break
    ties), in hash order, which differs between processes. So it gets both sets explicitly, the second one as special
    tokens of a tokenizer that is discarded.
    """
    alphabet = _alphabet(texts, size // 4)
    scratch = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk_token"]))
    _set_word_steps(scratch)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=LEAST_FREQUENCY,
        special_tokens=[*SPECIAL.values(), *(f"##{character}" for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    scratch.train_from_iterator(texts, trainer, length=len(texts))
    return scratch.get_vocab()


def write_model(folder: Path, tokenizer: PreTrainedTokenizerFast, size: TinySize, seed: int) -> BertConfig:
    """Writes config.json and model.safetensors of a BERT with random weights, the same for the same seed."""
    config = BertConfig(
        architectures=["BertModel"],
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.hidden,
        max_position_embeddings=size.positions,
        initializer_range=0.08,
        hidden_dropout_prob=0.0,  # too small to overfit in the few epochs it is for
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_model(folder, config, BertModel(config).state_dict())
    return config


def sample(items: Iterable[T], count: int, seed: int) -> list[T]:
    """At most `count` of the items, each as likely as any other (reservoir sampling: one pass, bounded memory)."""
    draw = random.Random(seed)
    kept: list[T] = []
    for i, item in enumerate(tqdm(items, desc="texts for the vocabulary", unit="", unit_scale=True, disable=None)):
        if i < count:
            kept.append(item)
        elif (place := draw.randrange(i + 1)) < count:
            kept[place] = item
    return kept


def _alphabet(texts: list[str], limit: int) -> list[str]:
    """The `limit` most frequent visible characters, in a fixed order."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    visible = [character for character in counts if character.isprintable() and not character.isspace()]
    return sorted(visible, key=lambda character: (-counts[character], character))[:limit]
