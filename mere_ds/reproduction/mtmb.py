"""Whether MTMB's weights exist and fit, checked before anything starts."""

import json
from pathlib import Path

from mere_ds.encoders import hub
from mere_ds.encoders.sources import EncoderInfo, locate_weights
from mere_ds.errors import UserError

ADVICE = "make weights with mere-ds pretrain-mtmb and pass --mtmb=FOLDER; --mtmb=none leaves the row out"


def why_not(weights: str, encoder: EncoderInfo) -> str | None:
    """What keeps the weights (a folder, or a model of the hub) from being used with the shards' encoder.

    Of a hub's model only the configuration is fetched.
    """
    try:
        here = Path(weights).expanduser().is_dir()
        folder = locate_weights(weights) if here else hub.fetch(weights, ["config.json"], advice=ADVICE)
        width = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    except UserError as error:
        return str(error)
    except (OSError, ValueError, KeyError):
        return f"{weights}/config.json is missing or describes no encoder: {ADVICE}"
    if width != encoder.hidden_size:
        return f"{weights} is {width} wide, the shards' encoder ({encoder.source}) {encoder.hidden_size}: {ADVICE}"
    return None
