#!/bin/bash
# What srun starts in the jobs of jobs/predict.py --cluster: predict.sh CODE [OPTION ...]
set -euo pipefail
trap "" USR1 USR2 # SLURM's requests to save: every part that is done has been saved
CODE=$1
set +u # what sites have there, as module and conda, often reads variables that are not set
source "$CODE/slurm/env.sh"
set -u
exec bash "$CODE/slurm/clean.sh" task "${CAC_HPC_PYTHON:-python3}" "$CODE/jobs/predict.py" "${@:2}" \
    ${SLURM_ARRAY_TASK_ID:+--shard "$SLURM_ARRAY_TASK_ID"}
