#!/bin/bash
# "Systems on real sentences" in RESULTS.md: bash benchmarks/systems.sh SHARDS OUT
# All systems on a budget of one epoch of one encoder, LS's seeds, the sweeps of k and s, and what differs by more than
# chance. Two trainings at a time, a core each. The same command goes on where it stopped.
set -euo pipefail
shards=$1 out=$2
export DS_ACCELERATOR=cpu OMP_NUM_THREADS=1
case $(tr ' ' '\n' < /proc/cpuinfo | grep -xm1 -e avx512_bf16 -e amx_bf16) in
  '') config=cpu precision=fp32 ;;
  *) config=cpu_bf16 precision=bf16 ;;
esac
half_epoch=$(python -c "
from mere_ds.shards.manifest import Manifest
print(Manifest.load('$shards').splits['train'].sentences // 32)")
knobs=(
  --shards="$shards" --deepspeed_config="ds_configs/$config.json" --epochs=1 --epochs_stage_two=1 --save_minutes=0
  --learning_rate=2e-4 --learning_rate_stage_two=4e-5 --new_parts_rate=5 --pooler=mean --beta=8 --feature_cache="$out/features" --keep_features
)

train() { # RUN, KNOBS...
  python mere_ds/train.py --run="$out/runs/$1" "${knobs[@]}" "${@:2}"
}

score() { # RUN, KNOBS...
  [ -f "$out/runs/$1/evaluation/${3-test}.json" ] || mere-ds evaluate "$out/runs/$1" --precision=$precision ${2+"$2"}
}

switcher() { # NAME, SEED, KNOBS...: another stage two over mERE-LS
  train "$1-seed$2" --stage=2 --stage_one_run="$out/runs/mERE-LS-seed0" --seed="$2" "${@:3}"
}

with_stage_one() {
  train mERE-LS-seed0 --stage=1 --system=mERE-LS
  score mERE-LS-seed0
  for seed in 0 1 2; do
    switcher mERE $seed
    score mERE-seed$seed
    switcher mERE14 $seed --system=mERE14
    score mERE14-seed$seed
    switcher one-for-all $seed --submodule_layers=2 --top_k=1 # one sub-module for all languages
    score one-for-all-seed$seed
  done
  score mERE-seed0 --k=1,2,3,4,5,6 test-k1
}

baselines() {
  train HERBERTa-seed0 --system=HERBERTa --max_steps="$half_epoch" # each of its two encoders
  score HERBERTa-seed0
  for system in mERE-LS-LA mBERT; do
    train $system-seed0 --stage=1 --system=$system
    score $system-seed0
  done
}

sweep_of_s() { # stage one alone, dev scores
  for s in 1 2 4; do
    train s$s --stage=1 --system=mERE-LS --concatenate=$s --max_steps="$half_epoch"
  done
  for s in 3 5; do
    train s$s --stage=1 --system=mERE-LS --concatenate=$s --batch_size=15 --max_steps="$half_epoch"
  done
}

with_stage_one &
baselines
wait $!
sweep_of_s
for other in mERE14 mERE-LS mERE-LS-LA mBERT HERBERTa one-for-all; do
  mere-ds compare "$out/runs/mERE-seed0" "$out/runs/$other-seed0" --parallel_ids
done
mere-ds report "$out"/runs/*-seed*/ --out="$out/report"
