"""A model's folder -> what computes it."""

from pathlib import Path

from mere_ds.backends.stated import Backend


def load_backend(folder: str | Path, k: int | None = None, threads: int | None = None) -> Backend:
    """The model in a folder, with `k` sub-modules instead of its own number. Raises UserError."""
    from mere_ds.backends.with_torch import TorchBackend  # only here: it loads torch

    return TorchBackend.load(folder, k, threads)
