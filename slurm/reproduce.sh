#!/bin/bash
#SBATCH --job-name=mere-reproduce
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=16
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%A_%a.out
# A table or figure of the paper as job arrays: bash slurm/reproduce.sh [sbatch's flags --] --table=2 --shards=... --out=...
set -uo pipefail
folder=$(dirname "$0") # in a job this is where Slurm keeps its copy of the script
[ -f "$folder/common.sh" ] || folder=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/Command=/ { s:^ *Command=\(.*\)/reproduce\.sh.*:\1:p; q; }')
# shellcheck source=slurm/common.sh
source "$folder/common.sh"

usage() {
  cat <<'TEXT'
Reproduce a table or figure of the paper on a Slurm cluster: each training, with its scoring, is a task of a job array.

  bash slurm/reproduce.sh --table=2 --shards=SHARDS --out=OUT [flags of mere-ds reproduce]
  bash slurm/reproduce.sh --time=12:00:00 --partition=v100 --gres=gpu:8 -- --table=3 --shards=SHARDS --out=OUT

Flags before `--` are sbatch's flags for all jobs. One array runs the jobs without dependencies, a second one those that
start from a stage one of the first, and a last job writes the report. Each task uses one node. Only what is missing is
submitted, so the same command also reruns what failed. Python is $PYTHON, else the repository's .venv, else python3.
TEXT
}

export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH}
reproduce=("$PYTHON" -c 'from mere_ds.cli import main; main()' reproduce)

submit_all() { # [SBATCH'S FLAGS --] FLAGS...: an array, the array that needs it, the report
  local options words plan first second before=()
  split_words "$@"
  set -- "${words[@]}"
  ! is_on dry_run "$@" || exec "${reproduce[@]}" "$@"
  plan=$("${reproduce[@]}" "$@" --list) || exit
  first=$(awk '$2 == "missing" && $3 == 0 { print $1 }' <<<"$plan" | paste -sd,)
  second=$(awk '$2 == "missing" && $3 != 0 { print $1 }' <<<"$plan" | paste -sd,)
  [ -z "$first" ] || submit "$first" "$@"
  [ -z "$second" ] || submit "$second" "$@"
  submit '' "$@"
}

submit() { # NUMBERS OF JOBS (empty: the report) FLAGS...: submit them to run after those submitted before
  local what="jobs $1" array=(--array="$1") id
  shift
  [ "$what" != "jobs " ] || what="the report" array=(--output=%x-%j.out)
  id=$(outside_this_job sbatch --parsable "${options[@]}" "${array[@]}" "${before[@]}" \
    "$scripts/reproduce.sh" run "$@") || exit
  id=${id%%;*} # a federation adds the cluster's name
  before=(--dependency="afterok:$id" --kill-on-invalid-dep=yes)
  echo "$what: job $id"
}

run() { # FLAGS...: one task's job, or in the last job everything still missing, which is the report
  local code
  [ -n "${SLURM_JOB_ID:-}" ] || { usage >&2 && exit 2; }
  run_program "${reproduce[@]}" "$@" ${SLURM_ARRAY_TASK_ID:+--only="$SLURM_ARRAY_TASK_ID"}
  code=$?
  [ "$code" != "$LEFT_ON_SIGNAL" ] || requeue "$code"
  exit "$code"
}

case ${1-} in
  run) shift && run "$@" ;;
  '') usage >&2 && exit 2 ;;
  *) help_if_asked "$@" && submit_all "$@" ;;
esac
