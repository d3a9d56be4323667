# Sourced by every job before anything else: what this site needs so that `python3` is the environment of cac_hpc.
# For example:
#   module load cuda/12.6
#   source "$HOME/cac_hpc/.venv/bin/activate"
# Of the shell in which the job was submitted only a list is passed on (docs/cluster.md): what else is needed is
# set here. Which network card to use is a site's business too:
#   export NCCL_SOCKET_IFNAME=ib0
