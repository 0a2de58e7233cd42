#!/bin/bash
#SBATCH --job-name=mere-evaluate
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Scores of a trained run: sbatch slurm/evaluate.sh RUN [flags of mere-ds evaluate]
set -uo pipefail
folder=$(dirname "$0") # in a job this is where Slurm keeps its copy of the script
[ -f "$folder/common.sh" ] || folder=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's:^ *Command=\(.*\)/evaluate\.sh.*:\1:p')
# shellcheck source=slurm/common.sh
source "$folder/common.sh"
evaluate "$@"
