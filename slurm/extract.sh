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
[ -f "$folder/parts.sh" ] || folder=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/Command=/ { s:^ *Command=\(.*\)/extract\.sh.*:\1:p; q; }')
# shellcheck source=slurm/parts.sh
source "$folder/parts.sh"

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

run() { # PARTS FLAGS...: one part's job, or the job that joins all of them
  if [ -n "${SLURM_ARRAY_TASK_ID:-}" ] && [ -z "$(knob processes "$@")" ] && [ "${SLURM_GPUS_ON_NODE:-0}" = 0 ]; then
    set -- "$@" "--processes=${SLURM_CPUS_PER_TASK:-1}"
  fi
  run_part extract "$@"
}

make_parts extract.sh "$@"
