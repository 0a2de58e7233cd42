"""Loads a saved model of any system."""

from pathlib import Path

from mere_ds.encoders.sources import usable_positions
from mere_ds.errors import UserError
from mere_ds.files import read_json
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.mere import MereModel
from mere_ds.model.precision import nonfinite
from mere_ds.sums import check_for_use

MODELS = {model.config_class.model_type: model for model in (MereModel, HerbertaModel)}


def load_model(folder: str | Path) -> MereModel | HerbertaModel:
    """The model that a folder's config.json names, as its `from_pretrained` loads it.

    A checkpoint's files, including the tokenizer's, are first checked against their digests, once per process. Raises
    UserError, also for weights that aren't finite and if max_length is more than the encoder takes.
    """
    folder = Path(folder)
    check_for_use(folder)
    kind = str(read_json(folder / "config.json", "pass a folder saved by mere-ds").get("model_type"))
    if kind not in MODELS:
        raise UserError(f"{folder}: not a model of mere-ds (model_type {kind}): pass a folder saved by mere-ds")
    model = MODELS[kind].from_pretrained(folder)
    if name := nonfinite(model.state_dict()):
        raise UserError(
            f"{folder}: {name} contains numbers that aren't finite: train it again, at a lower --learning_rate"
        )
    most = usable_positions(model.trained_encoder) - model.own_tokens
    if model.config.max_length > most:
        raise UserError(
            f"{folder}: config.json has max_length {model.config.max_length}, but the model's encoder takes at most "
            f"{most} tokens: copy the checkpoint again, or train this stage again (--overwrite)"
        )
    return model
