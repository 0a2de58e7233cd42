"""A tiny training of both stages; prints a digest of the weights of each. Run by test_same_bits.py in a process of its
own, as `python -m tests.training.same_bits FOLDER`."""

import hashlib
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file

from tests.shards.toy_corpus import make_shards, write_corpus

TRAIN = Path(__file__).resolve().parents[2] / "mere_ds" / "train.py"
KNOBS = "--deepspeed_config=cpu --batch_size=4 --max_steps=3 --bottleneck=8 --submodule_layers=1,2 --top_k=1"


def digest(weights: Path) -> str:
    hashed = hashlib.sha256()
    for name, tensor in sorted(load_file(weights).items()):
        hashed.update(name.encode() + tensor.numpy().tobytes())
    return hashed.hexdigest()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make_shards(write_corpus(folder / "corpus"), folder / "shards")
    places = [f"--shards={folder / 'shards'}", f"--run={folder / 'run'}"]
    subprocess.run([sys.executable, TRAIN, *places, *KNOBS.split(), "--learning_rate=2e-3"], check=True)
    for stage in (1, 2):
        print(digest(folder / "run" / "checkpoints" / f"stage{stage}" / "best" / "model.safetensors"))
