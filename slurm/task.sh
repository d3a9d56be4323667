#!/bin/bash
# What srun starts on every node of a job, of the launcher's jobs and of those by hand: task.sh RUN STAGE [OPTION ...]
set -euo pipefail
trap "" USR1 USR2 TERM # SLURM's requests to stop would end us until Python listens
RUN=$1 STAGE=$2
set +u # what sites have there, as module and conda, often reads variables that are not set
source "$RUN/code/slurm/env.sh"
set -u
[[ $RUN == *:* ]] || export PYTHONPATH="$RUN/code${PYTHONPATH:+:$PYTHONPATH}" # else the script alone finds its package
exec bash "$RUN/code/slurm/clean.sh" task \
    "${CAC_HPC_PYTHON:-python3}" "$RUN/code/jobs/supervise.py" --run "$RUN" --stage "$STAGE" "${@:3}"
