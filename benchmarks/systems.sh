#!/bin/bash
# "Systems on real sentences" in RESULTS.md: bash benchmarks/systems.sh SHARDS OUT
# Six systems of the paper trained with one seed, more seeds of stage two, the sweep of k, and what differs by more than
# chance. The same command goes on where it stopped.
set -euo pipefail
shards=$1 out=$2
knobs="--epochs=1 --epochs_stage_two=2 --learning_rate=1e-4 --new_parts_rate=10 --learning_rate_stage_two=1e-4 \
--feature_cache=$out/features --keep_features"

reproduce() { # one process: on a CPU all cores work for it
  mere-ds reproduce --shards="$shards" --out="$out" --mtmb=none --launcher=python --train="$knobs" "$@"
}

stage_two() { # NAME, SEED, KNOBS...: another stage two over the same stage one
  local run="$out/stage-two/$1-seed$2" seed=$2
  shift 2
  # shellcheck disable=SC2086 # the knobs are words
  mere-ds train --stage=2 --stage_one_run="$out/runs/mERE-LS-seed0" --run="$run" --shards="$shards" \
    --deepspeed_config=ds_configs/cpu.json --seed="$seed" $knobs "$@"
  [ -f "$run/evaluation/test.json" ] || mere-ds evaluate "$run"
}

reproduce --figure=7        # mERE-LS, mERE, mERE14, mERE-LS-LA
reproduce --table=2 --only=4 # HERBERTa
reproduce --table=2 --only=5 # mBERT
reproduce --sweep=k
for seed in 0 1 2; do
  [ "$seed" = 0 ] || stage_two mERE "$seed"
  [ "$seed" = 0 ] || stage_two mERE14 "$seed" --system=mERE14
  stage_two one-for-all "$seed" --submodule_layers=2 --top_k=1
done
for other in mERE14 mERE-LS mERE-LS-LA mBERT HERBERTa; do
  mere-ds compare "$out/runs/mERE-seed0" "$out/runs/$other-seed0" --parallel_ids
done
mere-ds report "$out"/runs/*/ "$out"/stage-two/*/ --out="$out/report"
