#!/bin/bash
# All triples of real sentences: bash benchmarks/all_triples.sh DATA ENCODER OUT [UPDATES] [RIVAL_PYTHON] [FLAGS]
# DATA is a folder of JSON lines with train, dev and test (see benchmarks/triples_corpus.py for what becomes what),
# ENCODER a folder with an encoder such as e5-small. mERE, mERE-LS, mERE-LS-LA and mBERT on a budget of UPDATES of 16
# sentences (by default three epochs), each scored on test, by language with intervals, and compared with mERE. With
# RIVAL_PYTHON, the Python of an environment with gliner[training] 0.2.29, its relation model is trained on as many
# sentences as both stages of mERE together and scored beside mERE and mERE-LS (see benchmarks/rivals/gliner_relex.py).
# FLAGS go to benchmarks/triples_corpus.py: --most=20 takes so many rows of each file, to try it all; --test_one_of=6 a
# sixth of test's sentences.
# The same command resumes where it stopped.
set -euo pipefail
data=$1 encoder=$2 out=$3
export DS_ACCELERATOR=cpu OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
case $(tr ' ' '\n' < /proc/cpuinfo | grep -xm1 -e avx512_bf16 -e amx_bf16) in
  '') config=cpu precision=fp32 compile=() ;;
  *) config=cpu_bf16 precision=bf16 compile=(--compile) ;;
esac
mkdir -p "$out"
[ -e "$out/shards/manifest.json" ] || {
  python benchmarks/triples_corpus.py "$data" "$out/corpus" "${@:6}"
  mere-ds shard "$out/corpus" "$out/shards" --encoder="$encoder" --max_length=128
}
updates=${4:-}
[ -n "$updates" ] || updates=$(python -c "
from mere_ds.shards.manifest import Manifest
print(-(-3 * Manifest.load('$out/shards').splits['train'].sentences // 16))")
knobs=(
  --shards="$out/shards" --deepspeed_config="ds_configs/$config.json" --save_minutes=10
  --learning_rate=2e-4 --learning_rate_stage_two=1.5e-4 --new_parts_rate=5 --pooler=mean
  --feature_cache="$out/features" --keep_features "${compile[@]}"
)

train() { # SYSTEM, KNOBS...
  python mere_ds/train.py --run="$out/runs/$1" --system="$1" --epochs=1000 --epochs_stage_two=1000 --max_steps="$updates" "${knobs[@]}" "${@:2}"
}

train mERE-LS --stage=1
train mERE --stage=2 --stage_one_run="$out/runs/mERE-LS" --bottleneck=512
train mERE-LS-LA --stage=1
train mBERT --stage=1
systems=(mERE mERE-LS mERE-LS-LA mBERT)
mere-ds evaluate "${systems[@]/#/$out/runs/}" --precision=$precision | tee "$out/scores.txt"
for other in mERE-LS mERE-LS-LA mBERT; do
  mere-ds compare "$out/runs/mERE" "$out/runs/$other" --parallel_ids
done | tee "$out/differences.txt"

rival=${5:-}
[ -n "$rival" ] || exit 0
[ -e "$out/rival/test.jsonl" ] ||
  "$rival" benchmarks/rivals/gliner_relex.py "$out/corpus" "$encoder" "$out/rival" --steps=$((2 * updates)) \
    --precision=$precision
for system in mERE mERE-LS; do
  [ -e "$out/answers/$system/speed.json" ] ||
    python benchmarks/rivals/our_answers.py "$out/runs/$system" "$out/corpus" "$out/answers/$system"
  python benchmarks/rivals/score.py "$out/corpus" "$out/answers/$system" "$out/rival" "$out/against-$system"
done | tee "$out/rival.txt"
