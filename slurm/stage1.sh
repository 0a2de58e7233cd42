#!/bin/bash
#SBATCH --job-name=mere-stage1
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=4
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output=%x-%j.out
# Stage one, then stage two, then evaluation: sbatch slurm/stage1.sh --shards=... --run=...
set -uo pipefail
folder=$(dirname "$0") # in a job this is where Slurm keeps its copy of the script
[ -f "$folder/common.sh" ] || folder=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's:^ *Command=\(.*\)/stage1\.sh.*:\1:p')
# shellcheck source=slurm/common.sh
source "$folder/common.sh"
train_stage 1 "$@"
