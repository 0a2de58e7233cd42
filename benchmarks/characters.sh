#!/bin/bash
# "Characters within the first and last token" in RESULTS.md: bash benchmarks/characters.sh OUT
# The same training with and without --characters, on a synthetic corpus whose test files are a larger one's: test names
# are none of the training names whatever the seed. The same command resumes where it stopped.
set -euo pipefail
out=$1
export DS_ACCELERATOR=cpu OMP_NUM_THREADS=1
if [ ! -d "$out/shards" ]; then
  mere-ds synthesize "$out/corpus" --sentences=10000 --at_least=700 --seed=1 > /dev/null
  mere-ds synthesize "$out/larger" --sentences=70000 --at_least=4500 --seed=2 > /dev/null
  cp "$out"/larger/*_corpora_test.tsv "$out/corpus/"
  mere-ds shard "$out/corpus" "$out/shards" --encoder=tiny
fi

train() { # RUN, KNOBS...
  python mere_ds/train.py --shards="$out/shards" --run="$out/$1" --deepspeed_config=ds_configs/cpu.json \
    --batch_size=32 --epochs=4 --epochs_stage_two=1 --learning_rate=2e-3 --learning_rate_stage_two=1e-3 \
    --word_dropout=0.05 --bottleneck=256 --save_minutes=0 "${@:2}"
}

train tokens
train characters --characters=15
for split in dev test; do
  mere-ds evaluate "$out/tokens" "$out/characters" --split=$split
  mere-ds compare "$out/characters" "$out/tokens" --split=$split
done
