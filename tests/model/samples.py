"""Tiny encoders with random weights, models around them and batches for them."""

import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, XLMRobertaConfig, XLMRobertaModel

from mere_ds.model.configuration import MereConfig
from mere_ds.model.mere import MereModel

VOCABULARY = 40
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def bert(hidden_size=8, **more):
    return BertModel(BertConfig(vocab_size=VOCABULARY, hidden_size=hidden_size, **SIZES, **more))


def bert_without_pooler(hidden_size=8, **more):
    config = BertConfig(vocab_size=VOCABULARY, hidden_size=hidden_size, **SIZES, **more)
    return BertModel(config, add_pooling_layer=False)


def xlm_roberta(**more):
    config = XLMRobertaConfig(vocab_size=VOCABULARY, hidden_size=8, pad_token_id=0, type_vocab_size=1, **SIZES, **more)
    return XLMRobertaModel(config)


def distilbert(**more):
    sizes = {"dim": 8, "hidden_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 40}
    return DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, **sizes, **more))


ENCODERS = {"bert": bert, "no_pooler": bert_without_pooler, "xlm_roberta": xlm_roberta, "distilbert": distilbert}


def tiny_config(**choices):
    """Three languages, four labels, three sub-modules."""
    values = {
        "languages": ["de", "en", "ko"],
        "labels": ["a", "b", "c", "d"],
        "label_mask": [[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]],
        "language_token_ids": [5, 6, 7],
        "max_length": 38,
        "submodule_layers": [1, 2, 1],
        "bottleneck": 10,
        "top_k": 2,
    }
    return MereConfig(**{**values, **choices})


def tiny_model(encoder=bert, stage=1, spread=0.3, **choices):
    """A float64 model in eval mode, always of the same weights, around the encoder that `encoder` makes.

    `spread` scales all weights up, so that no nonlinearity stays near its origin.
    """
    torch.manual_seed(0)
    config = tiny_config(initializer_range=spread, **choices)
    model = MereModel.from_encoder(encoder(initializer_range=spread), config).double()
    if stage == 2:
        model.begin_stage_two()
        train_switcher_a_little(model, spread)
    return model.eval()


@torch.no_grad()
def train_switcher_a_little(model, spread=0.3):
    """A fresh switcher is hardly more than the identity, which would hide mistakes."""
    for name, parameter in model.switcher.named_parameters():
        if name.endswith("down_GbD"):
            parameter.normal_(std=spread)


def tiny_batch(lengths=(9, 6, 12, 5), seed=0, width=None):
    """Keyword arguments of a training forward; `lengths` count all real tokens, of which there are at least 4."""
    generator = torch.Generator().manual_seed(seed)
    count, width = len(lengths), width or max(lengths)
    languages_B = torch.randint(3, (count,), generator=generator)
    token_ids_BM = torch.randint(8, VOCABULARY, (count, width), generator=generator)
    token_ids_BM[:, 0], token_ids_BM[:, 1] = 2, 5 + languages_B
    mask_BM = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    token_ids_BM[~mask_BM] = 0
    spans = [torch.randint(2, length - 1, (4,), generator=generator) for length in lengths]
    return {
        "token_ids_BM": token_ids_BM,
        "mask_BM": mask_BM,
        "languages_B": languages_B,
        "labels_T": torch.randint(4, (count,), generator=generator),
        "positions_T4": torch.stack([span.view(2, 2).sort(dim=1).values.flatten() for span in spans]),
        "cuts_T4": torch.randint(-1, 6, (count, 4), generator=generator),
    }


def without_gold(batch):
    return {name: batch[name] for name in ("token_ids_BM", "mask_BM", "languages_B")}
