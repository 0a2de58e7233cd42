#!/bin/bash
# Stands in for python where only the job scripts are on trial: rank 0 writes down what it was told and, in stage one,
# does what --act says. The other ranks end at once.
stage=evaluate run=${4:-} act=: # -c CODE evaluate RUN
for word; do
  case $word in
    --stage=*) stage=${word#*=} ;;
    --run=*) run=${word#*=} ;;
    --act=*) act=${word#*=} ;;
  esac
done
[ "${RANK:-0}" = 0 ] || exit 0
echo "$stage ${WORLD_SIZE:-} ${LOCAL_WORLD_SIZE:-} ${MASTER_ADDR:-} $*" >>"$run/calls"

save() { # NAME
  mkdir -p "$run/checkpoints/stage1/$1"
  touch "$run/checkpoints/stage1/$1/SHA256SUMS"
  ln -sfn "$1" "$run/checkpoints/stage1/latest"
}

[ "$stage" != 1 ] || eval "$act"
