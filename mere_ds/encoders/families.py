"""The architectures that can be the encoder, and what differs between them.

An encoder must give every token a state that depends on the whole sentence, but neither on the padding, which follows
the batch, nor on anything but tokens and mask.
"""

from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel

from mere_ds.encoders.weights import word_embeddings
from mere_ds.errors import UserError

WITH_DECODER = ("mt5", "t5", "umt5")
"""Model types of which only the encoder half is used."""

FAMILIES = (
    *("albert", "bert", "camembert", "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie"),
    *("eurobert", "megatron-bert", "modernbert", "mpnet", "nomic_bert", "rembert", "roberta", "roberta-prelayernorm"),
    *("xlm-roberta", "xlm-roberta-xl", *WITH_DECODER),
)
"""transformers' `model_type` of all architectures that can be the encoder."""

MOST_RELATIVE = 1024
"""The longest sequence, in tokens, of an encoder that only knows distances: it has no limit itself, but the attention's
memory grows with the square of the length."""

WIDENING = ("encoder.embedding_hidden_mapping_in", "embeddings_project", "embeddings.embed_proj")
"""Where architectures with narrower word embeddings keep the linear map to their hidden size: ALBERT and RemBERT;
ELECTRA; DeBERTa."""


def check_family(config: PreTrainedConfig, source: str) -> None:
    """UserError unless the architecture is one of `FAMILIES`, as an encoder."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise UserError(f"{source!r} is a {kind} model, which can't be the encoder; choose {', '.join(FAMILIES)}")
    whole = config.is_encoder_decoder and kind not in WITH_DECODER
    if whole or getattr(config, "is_decoder", False):
        raise UserError(
            f"{source!r} is a {kind} model set up as a decoder (is_encoder_decoder or is_decoder in its config.json), "
            "not an encoder: choose another one"
        )


def auto_class(config: PreTrainedConfig) -> type[AutoModel] | type[AutoModelForTextEncoding]:
    """The transformers class that creates or loads the encoder, and of an encoder-decoder only its encoder."""
    return AutoModelForTextEncoding if config.model_type in WITH_DECODER else AutoModel


def usable_positions(model: PreTrainedModel) -> int:
    """The longest sequence that an encoder accepts, in tokens; RoBERTa-like ones don't use their first positions."""
    if model.config.model_type in WITH_DECODER:
        return MOST_RELATIVE
    most = model.config.max_position_embeddings
    for name, module in model.named_modules():
        if name.split(".")[-1] == "position_embeddings" and getattr(module, "padding_idx", None) is not None:
            return most - module.padding_idx - 1
    return most


def widening(model: PreTrainedModel) -> nn.Module:
    """The encoder's own map from the width of its word embeddings to its hidden size (see `WIDENING`), or the identity.

    UserError if they are narrower and the encoder has no such map.
    """
    for path in WIDENING:
        module: nn.Module | None = model
        for name in path.split("."):
            module = getattr(module, name, None)
        if module is not None:
            return module
    width, D = word_embeddings(model).embedding_dim, model.config.hidden_size
    if width != D:
        raise UserError(
            f"the encoder's word embeddings have size {width} but its output has size {D}, and the switcher needs "
            "them equal: choose another encoder or --system=mERE-LS"
        )
    return nn.Identity()
