"""Files of the Hugging Face hub, or of its local cache, with errors that a user can act on."""

import re
from pathlib import Path

from mere_ds.errors import UserError, first_line

SECONDS = 10  # timeout of the hub's first answer; its client tries twice
MODEL_FILES = ("SHA256SUMS", "*.json", "*.safetensors", "*.onnx")
"""Top-level files of an exported model; its card is not needed."""

_ON_HUB = re.compile(r"hf:/{1,2}(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", re.ASCII)  # Path makes one slash of two


def fetch(name: str, patterns: list[str], what: str, advice: str, revision: str | None = None) -> Path:
    """The local folder with the matching top-level files of a hub model; the folder's name is the commit.

    If the hub doesn't answer within seconds, or with HF_HUB_OFFLINE=1, the cache is used. UserError that begins with
    `what` and ends with `advice` if neither has the model.
    """
    from huggingface_hub import HfApi, snapshot_download

    unanswered: Exception | None = None
    try:
        HfApi().model_info(name, revision=revision, timeout=SECONDS)  # a download without this may wait forever
    except Exception as error:  # the hub's client passes on errors of its HTTP library
        unanswered = error
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=["*/*"],
            local_files_only=unanswered is not None,
        )
    except Exception as error:
        reason = first_line(unanswered or error).rstrip(".")
        raise UserError(f"{what} ({reason}): {advice}") from error
    return Path(folder)


def local(place: str | Path, needed: str) -> Path:
    """The folder of a model: `place` itself, or for `hf://org/name` or `hf://org/name@revision` that of its download.

    Only this prefix asks the hub: a mistyped folder never does. Raises UserError, also for a repository that has no
    file `needed`.
    """
    found = _ON_HUB.fullmatch(str(place))
    if found is None:
        if str(place).startswith("hf:/"):
            raise UserError(f"{place}: not a model on the hub: write hf://org/name or hf://org/name@revision")
        if _ON_HUB.fullmatch(f"hf://{place}") and not Path(place).exists():
            raise UserError(f"{place}: no such folder; a model on the hub is written hf://{place}")
        return Path(place)
    name, revision = found.groups()
    advice = "check the name, log in (hf auth login) if it is private, or pass a folder"
    folder = fetch(name, [*MODEL_FILES], f"hf://{name} is not available", advice, revision)
    if not (folder / needed).is_file():
        raise UserError(f"hf://{name}: has no {needed}, so it is no model that mere-ds export made: pass another")
    return folder
