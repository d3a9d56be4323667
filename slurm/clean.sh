#!/bin/bash
# Start a command without the variables that it must not have. Which those are says cac_hpc/machine/environment.txt.
#   clean.sh job COMMAND ...    in a job submitted by hand: only what is listed for jobs, of all that sbatch has taken along
#   clean.sh task COMMAND ...   for what does the work: all but what would mislead Python and torchrun
set -euo pipefail
set +o posix
IFS=$' \t\n'
unset -f env exec read declare 2> /dev/null || true # functions that somebody has exported
what=$1
shift
declare -A names=()
while read -r list patterns; do
    [[ -z $list || $list == "#"* ]] || names[$list]+="|${patterns// /|}"
done < "${BASH_SOURCE[0]%/*}/../cac_hpc/machine/environment.txt"
user="@(${names[user]})" job="@(${names[job]})" never="@(${names[never]})"
dropped=()
while IFS= read -r -d "" entry; do
    name=${entry%%=*}
    [[ -z $name || $name == $user ]] && continue
    if { [[ $what == job ]] && [[ $name != $job ]]; } || { [[ $what == task ]] && [[ $name == $never ]]; }; then
        dropped+=(-u "$name")
    fi
done < <(env -0)
if [[ $what == job && -n ${SLURM_MEM_PER_NODE:-} && -n ${SLURM_MEM_PER_CPU:-}${SLURM_MEM_PER_GPU:-} ]]; then
    # one is of a job in which sbatch was called, and srun refuses both; without them the step has all that the job has
    dropped+=(-u SLURM_MEM_PER_NODE -u SLURM_MEM_PER_CPU -u SLURM_MEM_PER_GPU)
fi
exec env ${dropped[@]+"${dropped[@]}"} "$@"
