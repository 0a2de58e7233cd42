# shellcheck shell=bash
# Functions shared by the job scripts, which source this file and then call `train_stage` or `evaluate`.

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$scripts") # the folder that holds mere_ds/
[ ! -e "$repository/train.py" ] || repository=$(dirname "$repository") # the scripts lie in the installed package
if [ -z "${PYTHON:-}" ]; then
  PYTHON=$repository/.venv/bin/python
  [ -x "$PYTHON" ] || PYTHON=python3
fi
REQUEUES=3 # how often to requeue a job that keeps failing without a new checkpoint
LEFT_ON_SIGNAL=85 # train.py's exit code when it was asked to stop and has saved

usage() {
  cat <<'TEXT'
Train on a Slurm cluster; each job submits the next one: stage one, stage two, evaluation.

  sbatch slurm/stage1.sh --shards=SHARDS --run=RUN [knobs of mere_ds/train.py but --stage]
  sbatch slurm/stage2.sh --shards=SHARDS --run=RUN [the same]     only stage two and evaluation
  sbatch slurm/evaluate.sh RUN [flags of mere-ds evaluate]        only evaluation

Nodes, GPUs, time, partition, account and so on are sbatch's own flags; the next jobs get the same ones:

  sbatch --nodes=4 --time=12:00:00 --partition=v100 slurm/stage1.sh --shards=shards --run=runs/a --epochs=3
  sbatch --ntasks-per-node=8 --gres=gpu:8 slurm/stage1.sh --shards=shards --run=runs/b \
      --deepspeed_config=a100_h100
  sbatch --ntasks-per-node=2 --gres=none slurm/stage1.sh --shards=shards --run=runs/c

While a job is pending, also after a requeue, its number of nodes can be changed; training resumes with the same result:

  scontrol update jobid=JOB numnodes=1 numtasks=4 numcpus=16

Python is $PYTHON, else the repository's .venv, else python3.
TEXT
}

end() { # CODE TEXT
  echo "$SLURM_JOB_NAME: $2" >&2
  exit "$1"
}

help_if_asked() { # WORDS...: if help is among them, show the usage and exit
  local word
  for word; do
    case $word in -h | --help) usage && exit 0 ;; esac
  done
}

in_a_job() { # WORDS...: outside a job, or if help is requested, show the usage and exit
  help_if_asked "$@"
  [ -n "${SLURM_JOB_ID:-}" ] || { usage >&2 && exit 2; }
}

split_words() { # [SBATCH'S FLAGS --] WORDS...: sets `options` and `words`
  options=() words=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=("$1") && shift; done
  [ $# = 0 ] || { options=("${words[@]}") && shift && words=("$@"); }
}

knob() { # NAME WORDS...: print the value of --NAME=... or --NAME ...
  local name=$1 value=
  while shift && [ $# -gt 0 ]; do
    case $1 in
      "--$name="*) value=${1#*=} ;;
      "--$name") value=${2-} ;;
    esac
  done
  echo "$value"
}

is_on() { # NAME WORDS...: whether the switch --NAME is on, however it is typed
  local name=$1 word value on=1
  while shift && [ $# -gt 0 ]; do
    word=${1//-/_} value=${2-}
    [[ $word =~ ^_+"$name"(=.*)?$ ]] || continue
    [[ $word != *=* ]] || value=${word#*=}
    case ${value,,} in false | no | 0) on=1 ;; *) on=0 ;; esac
  done
  return "$on"
}

evaluate() { # RUN FLAGS...
  in_a_job "$@"
  export PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH}
  exec srun --export=ALL --ntasks=1 "$PYTHON" -c 'from mere_ds.cli import main; main()' evaluate "$@"
}

train_stage() { # STAGE KNOBS...
  local stage=$1 run state checkpoint starts knobs code stopped='' srun=''
  shift
  in_a_job "$@"
  run=$(knob run "$@")
  [ -n "$run" ] || end 2 "--run=... is missing"
  ! is_on dry_run "$@" || end 2 "--dry_run trains nothing, so it needs no job: call mere-ds train with these flags"
  [ "${SLURM_GPUS_ON_NODE:-$SLURM_NTASKS_PER_NODE}" -ge "$SLURM_NTASKS_PER_NODE" ] ||
    end 2 "$SLURM_NTASKS_PER_NODE tasks per node, but only $SLURM_GPUS_ON_NODE GPUs: set --ntasks-per-node and --gres to match"
  state=$run/slurm/$SLURM_JOB_ID # what this job remembers across its starts
  mkdir -p "$state" || end 1 "cannot create $state"

  trap stop USR1 TERM
  submit_next "$@" || echo "$SLURM_JOB_NAME: the next job could not be submitted; will try again at the end" >&2
  count_start
  choose_knobs "$@"
  launch "$repository/mere_ds/train.py" "--stage=$stage" "${knobs[@]}"
  code=$?
  case $code in
    0) submit_next "$@" || end 1 "the stage is done, but the next job could not be submitted: submit it by hand" ;;
    2) end 2 "this error needs your attention (see above), so the job is not requeued" ;;
    *) again "$code" ;;
  esac
}

newest() { # the stage's newest checkpoint; its time distinguishes it from an overwritten one of the same name
  local latest=$run/checkpoints/stage$stage/latest
  stat --format="$(readlink "$latest") %Y" "$latest/SHA256SUMS" 2>/dev/null || echo none
}

count_start() { # sets `checkpoint`, and `starts`: how often this job has started from it, including this time
  # counted at the start, since the crash of a node ends this script too
  checkpoint=$(newest)
  starts=$(($(grep --count --fixed-strings --line-regexp -e "$checkpoint" "$state/starts" 2>/dev/null) + 1))
  give_up_after "$((starts - 1))"
  [ -e "$state/before" ] || echo "$checkpoint" >"$state/before"
  echo "$checkpoint" >>"$state/starts" || end 1 "$state can't be written"
}

choose_knobs() { # KNOBS...: sets `knobs`, the flags for train.py
  local word name next
  knobs=()
  while [ $# -gt 0 ]; do
    word=$1 name=${1%%=*}
    shift
    next=${1:-}
    # --overwrite is for the old training, not for what this job itself trained before it was requeued
    if [[ $name =~ ^-+overwrite$ ]] && [ "$checkpoint" != "$(cat "$state/before")" ]; then
      if [ "$word" = "$name" ] && [[ ${next,,} =~ ^(true|yes|1|false|no|0)$ ]]; then shift; fi
    else
      knobs+=("$word")
    fi
  done
}

give_up_after() { # NUMBER OF STARTS that all ended without a new checkpoint
  [ "$1" -le "$REQUEUES" ] || end 1 "giving up after $1 starts without a new checkpoint: see the log above"
}

stop() { # the time limit is near, or the job is preempted: srun forwards the signal to every task
  stopped=yes
  [ -z "$srun" ] || kill -USR1 "$srun" 2>/dev/null
}

launch() { # ARGUMENTS OF PYTHON...: one task per rank; returns srun's exit code
  [ -z "$stopped" ] || return "$LEFT_ON_SIGNAL"
  MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  getent hosts "$MASTER_ADDR" >/dev/null ||
    MASTER_ADDR=$(scontrol --oneliner show node "$MASTER_ADDR" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
  MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000)) # below the ephemeral ports
  OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
  export MASTER_ADDR MASTER_PORT OMP_NUM_THREADS
  echo "$SLURM_JOB_NAME: job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST"

  # A rank that exits with 85 must not kill the others, so no --kill-on-bad-exit; --wait kills what lingers.
  # shellcheck disable=SC2016 # each task's own variables
  srun --export=ALL --label --kill-on-bad-exit=0 --wait=20 --cpus-per-task="$OMP_NUM_THREADS" \
    --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node="$SLURM_NTASKS_PER_NODE" \
    --ntasks="$((SLURM_JOB_NUM_NODES * SLURM_NTASKS_PER_NODE))" \
    bash -c 'export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID
             export LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE; exec "$@"' rank "$PYTHON" -u "$@" &
  srun=$!
  [ -z "$stopped" ] || stop
  while kill -0 "$srun" 2>/dev/null; do wait "$srun"; done # a signal ends wait early
  wait "$srun"
}

again() { # CODE: requeue this job, unless it keeps failing
  if [ "$1" = "$LEFT_ON_SIGNAL" ] || [ -n "$stopped" ]; then
    : >"$state/starts"
  elif [ "$checkpoint" = "$(newest)" ]; then
    give_up_after "$starts"
  fi
  requeue "$1"
}

requeue() { # CODE with which the program ended
  local job=$SLURM_JOB_ID
  # the job id of an array's last task is also that of the whole array
  [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
  # don't requeue a job that was cancelled, or that Slurm itself requeues
  [ "$(squeue --noheader --jobs="$job" --format=%T)" = RUNNING ] || end "$1" "Slurm has ended this job, so it is not requeued"
  echo "$SLURM_JOB_NAME: ended with exit code $1, requeued"
  trap - USR1 TERM
  scontrol requeue "$job" || end "$1" "this job can't be requeued: submit it again"
}

run_program() { # COMMAND...: returns its exit code; a signal to stop goes to it as TERM and sets `stopped` to yes
  local child=''
  trap 'stopped=yes; [ -z "${child:-}" ] || kill -TERM "$child"' USR1 TERM # it may come after the end too
  "$@" &
  child=$!
  while kill -0 "$child" 2>/dev/null; do wait "$child"; done # a signal ends wait early
  wait "$child"
}

has_stage_two() { # SYSTEM, empty for the default
  case $1 in '' | mERE | mERE14 | HERBERTa) ;; *) return 1 ;; esac
}

submit_next() { # KNOBS...: submit the job that follows this one, once
  # An earlier start may have been killed between submitting and recording the job id: then a job depends on this one.
  # A recorded job id counts too, so that a job that the user cancelled is not submitted again.
  local name=mere-evaluate words=("$scripts/evaluate.sh" "$run") waiting id options
  [ ! -s "$state/next" ] || return 0
  if [ "$stage" = 1 ] && has_stage_two "$(knob system "$@")"; then
    name=mere-stage2 words=("$scripts/stage2.sh" "$@")
  fi
  waiting=$(squeue --noheader --name="$name" --format='%i %E') || return 1
  id=$(grep -E "afterok:$SLURM_JOB_ID([^0-9]|\$)" <<<"$waiting" | cut -d ' ' -f 1)
  if [ -z "$id" ]; then
    mapfile -t options < <(same_resources "$name")
    id=$(outside_this_job sbatch --parsable "${options[@]}" "${words[@]}") || return 1
    echo "$SLURM_JOB_NAME: $name is job $id"
  fi
  echo "$id" >"$state/next"
}

same_resources() { # NAME OF THE NEXT JOB: print sbatch's flags for it, one per line
  local flag variable limit gres features
  IFS='|' read -r limit gres features < <(squeue --noheader --jobs="$SLURM_JOB_ID" --format='%l|%b|%f')
  case $gres in N/A | '(null)' | '') gres=none ;; esac
  gres=${gres//gres[:\/]/}
  if [ "$1" = mere-evaluate ]; then
    [ "$gres" = none ] || gres=${gres%%,*} gres=${gres%:*}:1
  else
    printf '%s\n' --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node="$SLURM_NTASKS_PER_NODE"
  fi
  printf '%s\n' --dependency="afterok:$SLURM_JOB_ID" --kill-on-invalid-dep=yes --job-name="$1" \
    --time="$limit" --gres="$gres" --partition="$SLURM_JOB_PARTITION"
  [ "$features" = '(null)' ] || printf '%s\n' --constraint="$features"
  while read -r flag variable; do
    [ -z "${!variable:-}" ] || printf '%s\n' "--$flag=${!variable}"
  done <<'FLAGS'
account SLURM_JOB_ACCOUNT
qos SLURM_JOB_QOS
reservation SLURM_JOB_RESERVATION
cpus-per-task SLURM_CPUS_PER_TASK
mem SLURM_MEM_PER_NODE
mem-per-cpu SLURM_MEM_PER_CPU
mem-per-gpu SLURM_MEM_PER_GPU
FLAGS
}

outside_this_job() ( # COMMAND...: without this job's variables, which sbatch would use as defaults for the next job
  conf=${SLURM_CONF:-}
  unset "${!SLURM_@}"
  [ -z "$conf" ] || export SLURM_CONF="$conf"
  "$@"
)
