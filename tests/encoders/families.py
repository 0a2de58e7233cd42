"""A folder with a small encoder of each architecture: random weights, and a tokenizer of its kind trained here."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mere_ds.encoders.families import auto_class

TEXTS = [
    "Anna Berg wurde in Köln geboren.",
    "Seoul is the capital of Korea, and Anna lives there.",
    "Le roi Montval a écrit un livre (1999).",
    "베르그는 서울에서 태어났다",
    "berlingau dorfstein steinber leroi montvaleau",
]
BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
XLM_R = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
T5 = {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}
ALBERT = {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
EUROBERT = {"pad": "<|pad|>", "bos": "<|begin_of_text|>", "eos": "<|end_of_text|>", "mask": "<|mask|>"}

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2}
SIZES = {**LAYERS, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 64}
OF_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 2}


@cache
def wordpiece(special: tuple[str, ...]) -> dict[str, int]:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=list(special), show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return backend.get_vocab()


@cache
def unigram(special: tuple[str, ...]) -> list[tuple[str, float]]:
    unknown = special[[token.strip("<>[]").lower() for token in special].index("unk")]
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=list(special), unk_token=unknown, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    return [tuple(piece) for piece in json.loads(backend.to_str())["model"]["vocab"]]


@cache
def byte_level(special: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def of_class(name: str, train: Callable, roles: dict[str, str], **more) -> Callable[[], PreTrainedTokenizerFast]:
    """Makes a tokenizer of transformers' class with that name."""
    return lambda: getattr(transformers, name)(vocab=train(tuple(roles.values())), **more)


def roberta_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary, merges = byte_level(tuple(XLM_R.values()))
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)


def plain_byte_level(roles: dict[str, str]) -> Callable[[], PreTrainedTokenizerFast]:
    """Makes a tokenizer of no class of its own, as ModernBERT and EuroBERT have."""

    def make() -> PreTrainedTokenizerFast:
        vocabulary, merges = byte_level(tuple(roles.values()))
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        tokens = {f"{role}_token": token for role, token in roles.items()}
        return PreTrainedTokenizerFast(tokenizer_object=backend, **tokens)

    return make


@dataclass(frozen=True)
class Family:
    """How to make a small encoder of one architecture."""

    tokenizer: Callable[[], PreTrainedTokenizerFast]
    sizes: dict = field(default_factory=lambda: SIZES)
    whole: str | None = None
    """The class of the model whose weights are in the folder, if it is more than the encoder."""


WORDPIECE = of_class("BertTokenizer", wordpiece, BERT, do_lower_case=False)
SENTENCEPIECE = of_class("XLMRobertaTokenizer", unigram, XLM_R)
NARROW = {**SIZES, "embedding_size": 16}

FAMILIES = {
    "bert": Family(WORDPIECE),
    "xlm-roberta": Family(SENTENCEPIECE, {**SIZES, "max_position_embeddings": 66}, "XLMRobertaForMaskedLM"),
    "roberta": Family(roberta_tokenizer, {**SIZES, "max_position_embeddings": 66}),
    "modernbert": Family(plain_byte_level(BERT), {**SIZES, "global_attn_every_n_layers": 2, "local_attention": 8}),
    "eurobert": Family(plain_byte_level(EUROBERT), {**SIZES, "num_key_value_heads": 2}),
    "deberta-v2": Family(
        of_class("DebertaV2Tokenizer", unigram, BERT),
        {**SIZES, "relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
    ),
    "electra": Family(WORDPIECE, NARROW),
    "distilbert": Family(
        WORDPIECE, {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
    ),
    "albert": Family(of_class("AlbertTokenizer", unigram, ALBERT), NARROW, "AlbertForMaskedLM"),
    "rembert": Family(
        of_class("RemBertTokenizer", unigram, ALBERT),
        {**SIZES, "input_embedding_size": 16, "output_embedding_size": 24},
        "RemBertForMaskedLM",
    ),
    "t5": Family(of_class("T5Tokenizer", unigram, T5, extra_ids=0), OF_T5),
    "mt5": Family(of_class("T5Tokenizer", unigram, T5, extra_ids=0), OF_T5, "MT5ForConditionalGeneration"),
    "umt5": Family(of_class("T5Tokenizer", unigram, T5), OF_T5, "UMT5ForConditionalGeneration"),
}
"""Those that are tested from their folder to the triples."""

LONGER = {**SIZES, "max_position_embeddings": 66}
OTHERS = {
    **dict.fromkeys(("ernie", "megatron-bert", "nomic_bert"), Family(WORDPIECE)),
    **dict.fromkeys(
        ("camembert", "data2vec-text", "mpnet", "roberta-prelayernorm", "xlm-roberta-xl"), Family(WORDPIECE, LONGER)
    ),
    "deberta": Family(WORDPIECE, {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
}
"""The other architectures, whatever tokenizer they have."""


def make(kind: str, folder: Path) -> Path:
    """Writes the encoder's folder as transformers saves it."""
    family = (FAMILIES | OTHERS)[kind]
    tokenizer = family.tokenizer()
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(str(folder))
    given = transformers.AutoConfig.for_model(
        kind,
        **family.sizes,
        vocab_size=len(tokenizer),
        **{f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")},
    )
    torch.manual_seed(5)
    model = getattr(transformers, family.whole)(given) if family.whole else auto_class(given).from_config(given)
    model.save_pretrained(folder)
    return folder
