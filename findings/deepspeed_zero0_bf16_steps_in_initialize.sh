#!/usr/bin/env bash
# DeepSpeed, bf16 at ZeRO stage 0: `deepspeed.initialize` already makes an optimizer step.
#
# Expected: after initialize, before any backward or step, weights and the optimizer's step count are untouched, as they
# are with bf16 at ZeRO stage 1 and in fp32 at stage 0.
# Seen: the optimizer has stepped once on zero gradients, so AdamW's decoupled decay has shrunk the fp32 weights by
# lr * weight_decay, and the step count (bias correction) of the first real update is 2.
# Needs python3 with venv and pip; makes a temporary folder and removes it. Fails if what was seen changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 deepspeed==0.19.8 numpy==2.2.6 setuptools
cd "$folder"
cat > show.py <<'PY'
import os
import sys

import deepspeed
import torch

os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1]}
deepspeed.init_distributed("gloo", verbose=False)


def after_initialize(bf16: bool, stage: int) -> tuple[float, int]:
    """The fp32 weight (2.0 before) and Adam's step count."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 2.0)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "optimizer": {"type": "AdamW", "params": {"lr": 0.5, "weight_decay": 0.1, "torch_adam": True}},
        "bf16": {"enabled": bf16},
        "zero_optimization": {"stage": stage},
    }
    engine, optimizer, _, _ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config)
    adam = getattr(optimizer, "optimizer", optimizer)
    steps = [int(state["step"]) for state in adam.state.values() if "step" in state]
    masters = [p for group in adam.param_groups for p in group["params"]]
    return round(float(masters[0].detach().float().flatten()[0]), 4), max(steps, default=0)


print("torch", torch.__version__, "deepspeed", deepspeed.__version__)
found = {(bf16, stage): after_initialize(bf16, stage) for bf16, stage in ((False, 0), (True, 1), (True, 0))}
for (bf16, stage), (weight, steps) in found.items():
    print(f"{'bf16' if bf16 else 'fp32'} ZeRO {stage}: expected weight 2.0; seen weight {weight}, steps {steps}")
assert found[False, 0] == (2.0, 0), "fp32, ZeRO 0 has changed"
assert found[True, 1][0] == 2.0, "bf16, ZeRO 1 has changed"
assert found[True, 0] == (1.9, 1), "bf16, ZeRO 0 no longer steps in initialize"
PY
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
DS_ACCELERATOR=cpu "$folder/venv/bin/python" show.py "$port" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
