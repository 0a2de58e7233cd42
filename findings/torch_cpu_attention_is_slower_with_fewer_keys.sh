#!/usr/bin/env bash
# torch on a CPU: scaled_dot_product_attention over 63 tokens takes much longer than over 64.
#
# Expected: fewer tokens take no longer; 63 x 63 products, exponentials and sums are 3 % fewer than 64 x 64.
# Seen: 63 tokens take about twice as long, in fp32 and in bf16, with or without a mask. The exponentials of a row that
# don't fill a vector of the CPU (15 of 63 with AVX-512, 7 with AVX2) are computed one by one. So padding to a multiple of
# 16 makes attention faster, and a batch's longest sentence decides the speed by its remainder.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6
cd "$folder"
cat > show.py <<'PY'
import time
from statistics import median

import torch
from torch.nn.functional import scaled_dot_product_attention as attend

torch.set_num_threads(1)
print("torch", torch.__version__, "on a CPU with", torch.backends.cpu.get_cpu_capability())
for dtype in (torch.float32, torch.bfloat16):
    states = {length: torch.randn(32, 12, length, 32, dtype=dtype) for length in (48, 63, 64)}  # sentences, heads
    seconds = {length: [] for length in states}
    for _ in range(15):
        for length, x in states.items():
            begun = time.process_time()
            attend(x, x, x)
            seconds[length].append(time.process_time() - begun)
    took = {length: median(its) for length, its in seconds.items()}
    ratio = took[63] / took[64]
    shown = ", ".join(f"{length} tokens {1000 * its:.1f} ms" for length, its in took.items())
    print(f"{dtype}: {shown}; 63 against 64: expected at most 1.0, seen {ratio:.2f}")
    assert ratio > 1.3, "63 tokens no longer take longer than 64"
PY
"$folder/venv/bin/python" show.py
