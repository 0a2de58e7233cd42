#!/bin/bash
#SBATCH --job-name=mere-shard
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%A_%a.out
# The shards of a corpus by a job array: bash slurm/shard.sh [sbatch's flags --] --parts=8 SOURCE OUT ...
set -uo pipefail
folder=$(dirname "$0") # in a job this is where Slurm keeps its copy of the script
[ -f "$folder/parts.sh" ] || folder=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/Command=/ { s:^ *Command=\(.*\)/shard\.sh.*:\1:p; q; }')
# shellcheck source=slurm/parts.sh
source "$folder/parts.sh"

usage() {
  cat <<'TEXT'
Make the shards of a corpus on a Slurm cluster: each task of a job array makes a part, a last job joins them.

  bash slurm/shard.sh --parts=8 SOURCE OUT [flags of mere-ds shard]
  bash slurm/shard.sh --time=2:00:00 --mem=16G -- --parts=20 smiler/ shards/ --encoder=e5-small

Flags before `--` are sbatch's flags for all jobs. A part that is stopped near its time limit or preempted is requeued and
made again, up to 3 times; the same command also makes those parts that failed, and joins them with the others.
Python is $PYTHON, else the repository's .venv, else python3.
TEXT
}

most_restarts=$REQUEUES # a part that is stopped begins again

run() { # PARTS FLAGS...: one part's job, or the job that joins all of them
  run_part shard "$@"
}

make_parts shard.sh "$@"
