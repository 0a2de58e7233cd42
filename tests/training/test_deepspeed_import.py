"""What every rank of a training imports."""

import subprocess
import sys

PROGRAM = """
import sys
from mere_ds.ranks.deepspeed_import import import_deepspeed
import_deepspeed()
import mere_ds.training.session, mere_ds.training.stages
print([name for name in ("deepspeed", "mlflow", "setuptools", "wandb", "matplotlib") if name in sys.modules])
import mlflow
print(mlflow.MlflowClient.__name__)
"""


def test_deepspeed_is_imported_without_mlflow_which_is_there_afterwards():
    """Its autotuner imports what it finds, in every rank."""
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert said.stdout.splitlines()[-2:] == ["['deepspeed']", "MlflowClient"], said.stderr
