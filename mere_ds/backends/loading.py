"""A model's folder -> what computes it."""

from pathlib import Path

from mere_ds.backends.onnx_files import MODEL
from mere_ds.backends.stated import Backend
from mere_ds.config import Precision
from mere_ds.optional_libraries import needed
from mere_ds.sums import check_early
from mere_ds.torch_environment import prepare_use


def load_backend(
    folder: str | Path, k: int | None = None, threads: int | None = None, precision: Precision = "auto"
) -> Backend:
    """The model in a folder, with `k` sub-modules instead of its own number. Raises UserError."""
    if _has_graphs(folder):
        from mere_ds.backends.with_onnx import OnnxBackend

        return OnnxBackend.load(folder, k, threads, precision)
    check_early(Path(folder))
    prepare_use()
    with needed("a model that is not exported to ONNX needs"):
        from mere_ds.backends.with_torch import TorchBackend  # only here: it loads torch

    return TorchBackend.load(folder, k, threads, precision)


def precision_here(folder: str | Path) -> Precision:
    """What the precision `auto` is for this model on this machine; graphs have one of their own: theirs is `auto`."""
    if _has_graphs(folder):
        return "auto"
    from mere_ds.model.use import best_here  # loads torch

    return best_here()


def _has_graphs(folder: str | Path) -> bool:
    return (Path(folder) / MODEL).exists()
