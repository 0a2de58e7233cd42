"""What using a model imports: nothing of training, so that it starts fast and runs where torch isn't installed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "deepspeed", "webdataset", "huggingface_hub", "tensorboard", "matplotlib", "datasets")


@pytest.mark.parametrize("module", ["mere_ds", "mere_ds.inference", "mere_ds.documents", "mere_ds.cli"])
def test_importing_it_loads_nothing_of_training(module):
    code = f"import sys, {module}; print(sorted(set({HEAVY!r}) & sys.modules.keys()))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr
