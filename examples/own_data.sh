#!/usr/bin/env bash
# From JSON lines of your own to a model that answers over HTTP: bash examples/own_data.sh CORPUS OUT [ENCODER [STEPS]]
#
# CORPUS has {lang}.train.jsonl and {lang}.test.jsonl, see docs/data.md. ENCODER is a folder, a hub name, e5-small, or tiny
# (the default: random weights, quick and poor). STEPS ends each stage early, for a first try.
set -euo pipefail
corpus=$1 out=$2 encoder=${3:-tiny} steps=${4:-}

mkdir -p "$out"
mere-ds inspect "$corpus" --rejects="$out/rejects.jsonl"
mere-ds shard "$corpus" "$out/shards" --encoder="$encoder"
mere-ds train --shards="$out/shards" --run="$out/run" ${steps:+--max_steps="$steps"}
mere-ds evaluate "$out/run"
mere-ds export "$out/run" "$out/model"

coproc server { exec mere-ds serve "$out/model" --port=0 2>&1; }
# shellcheck disable=SC2154  # bash sets it
pid=$server_PID
trap 'kill $pid 2> /dev/null || true' EXIT
while read -r address rest <&"${server[0]}" && [[ $address != http://* ]]; do echo "$address $rest"; done

file=$(find "$corpus" -name '*.test.jsonl' | sort | head -n 1)
lang=$(basename "$file" .test.jsonl)
python -c 'import json, sys; print(json.dumps({"text": json.loads(sys.stdin.readline())["text"], "lang": sys.argv[1]}))' \
    "$lang" < "$file" > "$out/request.json"
curl --fail --silent --show-error "${address}extract" -H 'Content-Type: application/json' -d @"$out/request.json" | tee "$out/answer.json"
echo
curl --fail --silent --show-error "$address" > "$out/page.html"
kill "$pid"
wait "$pid"
echo "The model is in $out/model. To look at it in a browser: mere-ds serve $out/model"
