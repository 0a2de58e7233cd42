#!/bin/bash
#SBATCH --job-name=mere-extract
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%A_%a.out
# The triples of a corpus by a job array: bash slurm/extract.sh [sbatch's flags --] --parts=8 RUN --file=... --out=...
set -uo pipefail
folder=$(dirname "$0") # in a job this is where Slurm keeps its copy of the script
[ -f "$folder/common.sh" ] || folder=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/Command=/ { s:^ *Command=\(.*\)/extract\.sh.*:\1:p; q; }')
# shellcheck source=slurm/common.sh
source "$folder/common.sh"

usage() {
  cat <<'TEXT'
Extract the triples of a file of any length on a Slurm cluster: each task of a job array makes a part, a last job joins them.

  bash slurm/extract.sh --parts=8 RUN --file=FILE --out=OUT [flags of mere-ds extract]
  bash slurm/extract.sh --time=2:00:00 --gres=none --cpus-per-task=32 -- --parts=20 runs/a --lang=de \
      --file=news.jsonl.gz --out=news.parquet

Flags before `--` are sbatch's flags for all jobs. A part that is stopped near its time limit or preempted is requeued and
goes on; the same command also goes on with what failed. Without GPUs there is a process for each of a task's CPUs.
Python is $PYTHON, else the repository's .venv, else python3.
TEXT
}

export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH}
extract=("$PYTHON" -c 'from mere_ds.cli import main; main()' extract)

submit_all() { # [SBATCH'S FLAGS --] FLAGS...: an array, then the job that joins its parts
  local options=() words=() parts id
  if [[ " $* " == *" -- "* ]]; then
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
  fi
  parts=$(knob parts "$@")
  [[ $parts =~ ^[1-9][0-9]*$ ]] || { echo "mere-extract: --parts=... must say how many parts there are" >&2 && exit 2; }
  while [ $# -gt 0 ]; do
    case $1 in
      --parts=*) ;;
      --parts) shift ;;
      *) words+=("$1") ;;
    esac
    shift
  done
  id=$(outside_this_job sbatch --parsable "${options[@]}" --array="1-$parts" "$scripts/extract.sh" run "$parts" "${words[@]}") || exit
  id=${id%%;*} # a federation adds the cluster's name
  echo "parts 1 to $parts: job $id"
  id=$(outside_this_job sbatch --parsable "${options[@]}" --output=%x-%j.out --dependency="afterok:$id" \
    --kill-on-invalid-dep=yes "$scripts/extract.sh" run "$parts" "${words[@]}") || exit
  echo "joining them: job ${id%%;*}"
}

run() { # PARTS FLAGS...: one part's job, or the job that joins all of them
  local parts=$1 child='' code stopped=''
  shift
  [ -n "${SLURM_JOB_ID:-}" ] || { usage >&2 && exit 2; }
  if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    set -- "$@" "--join=$parts"
  else
    set -- "$@" "--part=$SLURM_ARRAY_TASK_ID/$parts"
    if [ -z "$(knob processes "$@")" ] && [ "${SLURM_GPUS_ON_NODE:-0}" = 0 ]; then
      set -- "$@" "--processes=${SLURM_CPUS_PER_TASK:-1}"
    fi
  fi
  trap 'stopped=yes; [ -z "$child" ] || kill -TERM "$child"' USR1 TERM
  "${extract[@]}" "$@" &
  child=$!
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends wait early
  wait "$child"
  code=$?
  [ -z "$stopped" ] || [ "$code" = 0 ] || requeue "$code"
  exit "$code"
}

case ${1-} in
  run) shift && run "$@" ;;
  -h | --help) usage ;;
  '') usage >&2 && exit 2 ;;
  *) submit_all "$@" ;;
esac
