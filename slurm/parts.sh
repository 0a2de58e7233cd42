# shellcheck shell=bash
# What the scripts share that make an output in parts, by a job array, and join them. Such a script sources this file,
# defines `usage` and `run PARTS FLAGS...`, which calls `run_part`, and ends with `make_parts`.

# shellcheck source=slurm/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH}

make_parts() { # SCRIPT WORDS...: what the script was called with
  local script=$1
  shift
  case ${1-} in
    run)
      shift
      [ -n "${SLURM_JOB_ID:-}" ] || { usage >&2 && exit 2; }
      run "$@"
      ;;
    '') usage >&2 && exit 2 ;;
    *) help_if_asked "$@" && submit_parts "$script" "$@" ;;
  esac
}

submit_parts() { # SCRIPT [SBATCH'S FLAGS --] FLAGS...: an array, then the job that joins its parts
  local script=$1 options words parts id
  split_words "${@:2}"
  set -- "${words[@]}"
  words=()
  parts=$(knob parts "$@")
  [[ $parts =~ ^[1-9][0-9]*$ ]] ||
    { echo "mere-${script%.sh}: --parts=... must say how many parts there are" >&2 && exit 2; }
  while [ $# -gt 0 ]; do
    case $1 in
      --parts=*) ;;
      --parts) shift ;;
      *) words+=("$1") ;;
    esac
    shift
  done
  id=$(outside_this_job sbatch --parsable "${options[@]}" --array="1-$parts" "$scripts/$script" run "$parts" "${words[@]}") || exit
  id=${id%%;*} # a federation adds the cluster's name
  echo "parts 1 to $parts: job $id"
  id=$(outside_this_job sbatch --parsable "${options[@]}" --output=%x-%j.out --dependency="afterok:$id" \
    --kill-on-invalid-dep=yes "$scripts/$script" run "$parts" "${words[@]}") || exit
  echo "joining them: job ${id%%;*}"
}

run_part() { # COMMAND PARTS FLAGS...: mere-ds COMMAND for one part, or in the last job to join all of them
  local command=$1 parts=$2 code stopped=''
  shift 2
  if [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    set -- "$@" "--join=$parts"
  else
    set -- "$@" "--part=$SLURM_ARRAY_TASK_ID/$parts"
  fi
  run_program "$PYTHON" -c 'from mere_ds.cli import main; main()' "$command" "$@"
  code=$?
  [ -z "$stopped" ] || [ "$code" = 0 ] || requeue_part "$code"
  exit "$code"
}

requeue_part() { # CODE with which the program ended; `most_restarts` bounds this where a part begins again each time
  local before=${SLURM_RESTART_COUNT:-0}
  [ "$before" -lt "${most_restarts:-$((before + 1))}" ] ||
    end "$1" "was stopped $((before + 1)) times: allow more --time or take more --parts, and submit again"
  requeue "$1"
}
