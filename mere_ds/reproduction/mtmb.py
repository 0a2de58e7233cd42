"""Whether MTMB's weights exist and fit, checked before anything starts."""

import json

from mere_ds.encoders import hub
from mere_ds.encoders.sources import EncoderInfo, locate_weights
from mere_ds.errors import UserError
from mere_ds.files import expanded

ADVICE = "make weights with mere-ds pretrain-mtmb and pass --mtmb=FOLDER; --mtmb=none leaves the row out"


def why_not(weights: str, encoder: EncoderInfo) -> str | None:
    """Why the weights (a folder or a model of the hub) can't be used with the shards' encoder; None if they can.

    From the hub, only the configuration is downloaded.
    """
    try:
        here = expanded(weights).is_dir()
        folder = locate_weights(weights) if here else hub.fetch(weights, ["config.json"], advice=ADVICE)
        width = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    except UserError as error:
        return str(error)
    except (OSError, ValueError, KeyError):
        return f"{weights}/config.json is missing or describes no encoder: {ADVICE}"
    if width != encoder.hidden_size:
        other = f"{encoder.hidden_size} of the shards' encoder ({encoder.source})"
        return f"{weights} has hidden size {width}, not {other}: {ADVICE}"
    return None
