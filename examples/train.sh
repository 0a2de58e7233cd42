#!/usr/bin/env bash
# From a folder of TSV files to a scored model: bash examples/train.sh CORPUS OUT [knobs of mere_ds/train.py]
# ENCODER (default tiny: random weights, quick and poor) and RANKS (default 1) come from the environment.
set -euo pipefail
corpus=$1 out=$2
shift 2

mere-ds inspect "$corpus" --rejects="$out.rejects.jsonl"
mere-ds shard "$corpus" "$out/shards" --encoder="${ENCODER:-tiny}"
deepspeed --num_gpus="${RANKS:-1}" "$(dirname "$0")/../mere_ds/train.py" --stage=all --shards="$out/shards" \
    --run="$out/run" "$@"
mere-ds evaluate "$out/run"
