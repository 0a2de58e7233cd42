#!/bin/bash
# "Systems on real sentences" in RESULTS.md: bash benchmarks/systems.sh SHARDS OUT [UPDATES]
# All systems on a budget of UPDATES of one encoder (by default an epoch), seeds of both stages, the sweeps of k and s,
# and what differs by more than chance. Two trainings at a time, a core each. The same command resumes where it stopped.
set -euo pipefail
shards=$1 out=$2
export DS_ACCELERATOR=cpu OMP_NUM_THREADS=1
case $(tr ' ' '\n' < /proc/cpuinfo | grep -xm1 -e avx512_bf16 -e amx_bf16) in
  '') config=cpu precision=fp32 ;;
  *) config=cpu_bf16 precision=bf16 ;;
esac
updates=${3:-$(python -c "
from mere_ds.shards.manifest import Manifest
print(-(-Manifest.load('$shards').splits['train'].sentences // 16))")}
knobs=(
  --shards="$shards" --deepspeed_config="ds_configs/$config.json" --save_minutes=0
  --learning_rate=2e-4 --learning_rate_stage_two=1.5e-4 --new_parts_rate=5 --pooler=mean --beta=8
  --feature_cache="$out/features" --keep_features
)

train() { # RUN, KNOBS...
  python mere_ds/train.py --run="$out/runs/$1" "${knobs[@]}" "${@:2}"
}

score() { # RUNS...: those over one stage one share its pass
  mere-ds evaluate "${@/#/$out/runs/}" --precision=$precision
}

encoder() { # RUN, KNOBS...: stage one on the whole budget
  train "$1" --stage=1 --max_steps="$updates" "${@:2}"
}

switcher() { # RUN, KNOBS...: a stage two over mERE-LS; cheap updates, for they read its features
  train "$1" --stage=2 --stage_one_run="$out/runs/mERE-LS-seed0" --max_steps=$((updates * 3 / 2)) "${@:2}"
}

switchers() {
  for seed in 0 1 2; do
    switcher mERE-seed$seed --seed=$seed --bottleneck=512
    switcher mERE14-seed$seed --seed=$seed --bottleneck=512 --system=mERE14
    switcher one-for-all-seed$seed --seed=$seed --bottleneck=512 --submodule_layers=2 --top_k=1 # for all languages
  done
  switcher heads-alone-seed0 --bottleneck=1 --submodule_layers=1 --top_k=1 # LS can't do anything
}

with_stage_one() {
  encoder mERE-LS-seed0 --system=mERE-LS
  switchers
  score {mERE-LS,heads-alone}-seed0 {mERE,mERE14,one-for-all}-seed{0,1,2}
  mere-ds evaluate "$out"/runs/mERE-seed{0,1,2} --split=dev --k=1,2,3,4,5,6 --precision=$precision
}

baselines() {
  encoder mERE-LS-LA-seed0 --system=mERE-LS-LA
  encoder mBERT-seed0 --system=mBERT
  train HERBERTa-seed0 --system=HERBERTa --max_steps=$(((updates + 1) / 2)) # each of its two encoders
  score mERE-LS-LA-seed0 mBERT-seed0 HERBERTa-seed0
}

seeds_of_stage_one() { # dev scores
  for seed in 1 2; do
    for system in mERE-LS mERE-LS-LA; do encoder $system-seed$seed --system=$system --seed=$seed; done
  done
}

sweep_of_s() { # dev scores; s = 2 is mERE-LS
  for s in 1 4; do encoder s$s --system=mERE-LS --concatenate="$s"; done
  for s in 3 5; do encoder s$s --system=mERE-LS --concatenate="$s" --batch_size=15; done
}

with_stage_one &
baselines
sweep_of_s
encoder eq4-as-printed --system=mERE-LS --nola_residual # dev score
seeds_of_stage_one
wait $!
differ() { # SYSTEM, SYSTEM, SEEDS...
  mere-ds compare "$(printf "$out/runs/$1-seed%s," "${@:3}")" "$(printf "$out/runs/$2-seed%s," "${@:3}")" --parallel_ids
}
for other in HERBERTa mBERT mERE-LS-LA mERE-LS heads-alone; do differ mERE $other 0; done
for other in mERE14 one-for-all; do differ mERE $other 0 1 2; done
differ mERE-LS mERE-LS-LA 0
differ mERE-LS-LA mBERT 0
scored=("$out"/runs/*-seed*/evaluation/test.json)
mere-ds report "${scored[@]%/evaluation/test.json}" --out="$out/report"
