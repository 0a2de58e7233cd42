"""Training with one triple in each sentence gives the weights that it gave before a sentence could have several."""

import os
import subprocess
import sys

import pytest
import torch

SEEN = ({"AVX2", "AVX512"}, "2.13.0")
"""CPUs' instructions and the version of torch with which the digests, recorded by commit 70ef724, were seen."""
DIGESTS = [
    "9ae75a0c59a1c0894574c7a1a82e2a34f46b3f65fcedcac1df657dfc5d1f7ac4",
    "c13f4ab59aba064747c8c884db758f2900f5adceee268048e7bfeb2b7e3c74bb",
]
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
"""The plainest code paths of torch, MKL and oneDNN, which depend least on the CPU. Others were not tried: the test is
skipped there."""


@pytest.mark.slow
def test_one_triple_in_each_sentence_gives_the_recorded_weights(tmp_path):
    instructions, version = torch.backends.cpu.get_cpu_capability(), torch.__version__.split("+")[0]
    if instructions not in SEEN[0] or version != SEEN[1]:
        pytest.skip(f"the digests were seen with {SEEN}, this is {instructions}, {version}")
    command = [sys.executable, "-m", "tests.training.same_bits", str(tmp_path)]
    env = {**os.environ, **PLAIN, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == DIGESTS
