"""A saved model of any system."""

import json
from pathlib import Path

from mere_ds.errors import UserError
from mere_ds.model.herberta import HerbertaModel
from mere_ds.model.mere import MereModel
from mere_ds.model.triple import TripleModel

MODELS = {model.config_class.model_type: model for model in (MereModel, HerbertaModel)}


def load_model(folder: str | Path) -> TripleModel:
    """The model that a folder's config.json names, as its `from_pretrained` loads it. Raises UserError."""
    try:
        model = MODELS[json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["model_type"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no readable model there, name a folder saved by mere-ds") from error
    return model.from_pretrained(folder)
