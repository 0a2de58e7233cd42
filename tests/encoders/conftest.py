"""Folders with small foreign encoders of random weights, in the manner of BERT, XLM-R and DistilBERT."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, XLMRobertaConfig, XLMRobertaModel

LETTERS = "abcdefghijklmnopqrstuvwxyzäöüßéABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,<>/[]-▁"


def wordpiece_files(folder):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["Haus", "the", "der", "##haus", "SEP", "de", "##ing"]
    vocabulary = [*special, *LETTERS[:-1], *(f"##{letter}" for letter in LETTERS[:-1]), *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(vocabulary)


def unigram_files(folder):
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = ["▁the", "▁Haus", "▁der", "ing", "</", "▁<"]
    pieces = [(token, 0.0) for token in special] + [(word, -6.0) for word in words]
    pieces += [(letter, -8.0 - i / 100) for i, letter in enumerate(LETTERS)] + [("<mask>", 0.0)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    backend.add_special_tokens([*special, "<mask>"])
    backend.save(str(folder / "tokenizer.json"))
    roles = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}
    settings = {f"{role}_token": token for role, token in roles.items()}
    settings |= {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(pieces)


@pytest.fixture
def foreign(tmp_path):
    """`foreign(kind)` makes the folder of a foreign encoder and returns it with its model."""

    def make(kind, spare=0):
        folder = tmp_path / kind
        folder.mkdir()
        rows = spare + (unigram_files(folder) if kind == "xlm-r" else wordpiece_files(folder))
        sizes = {"vocab_size": rows, "num_hidden_layers": 1, "num_attention_heads": 2}
        wide = {"hidden_size": 16, "intermediate_size": 32}
        torch.manual_seed(3)
        if kind == "bert":
            model = BertModel(BertConfig(**sizes, **wide, max_position_embeddings=64))
        elif kind == "xlm-r":
            model = XLMRobertaModel(
                XLMRobertaConfig(**sizes, **wide, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1)
            )
        else:
            model = DistilBertModel(
                DistilBertConfig(
                    vocab_size=rows, dim=16, hidden_dim=32, n_layers=1, n_heads=2, max_position_embeddings=64
                )
            )
        model.save_pretrained(folder)
        return folder, model.eval()

    return make
