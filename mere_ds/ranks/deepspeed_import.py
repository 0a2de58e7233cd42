"""The first import of DeepSpeed in a process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_deepspeed() -> None:
    """Import it for the device of this machine, and without mlflow: its autotuner, which isn't used here, would import
    that where it is installed, which takes nearly as long as all the rest."""
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with _without("mlflow"):
        import deepspeed  # noqa: F401 (for those who import it later)


@contextmanager
def _without(library: str) -> Iterator[None]:
    """Inside, a library that hasn't been imported yet isn't found."""
    modules: dict = sys.modules
    if library in modules:
        yield
        return
    modules[library] = None  # an import of it now raises ModuleNotFoundError
    try:
        yield
    finally:
        del modules[library]
