#!/usr/bin/env bash
# What torchrun says of three ranks when one of them is ended by a signal: who has failed, and by what.
#
# Guess before running: ChildFailedError.failures holds the one rank that a signal has ended.
# Seen on 2026-11-29 with torch 2.13.0: it holds all three, for torchrun ends the others by SIGTERM and counts them as failed,
# in the same second; the order alone tells (get_first_failure). The exit code of torchrun is 1, whatever the signal was. Where
# somebody sends SIGTERM to one rank, exit codes cannot tell it from those that torchrun has ended.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > rank.py <<'PY'
import os
import signal
import time

if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
PY
cat > try.py <<'PY'
from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

try:
    run.main(["--standalone", "--nproc-per-node=3", "rank.py"])
except ChildFailedError as error:
    for rank, failure in sorted(error.failures.items()):
        print(f"rank {rank}: exit code {failure.exitcode}")
    print(f"first: rank {error.get_first_failure()[0]}")
PY
cat > wanted <<'END'
rank 0: exit code -15
rank 1: exit code -9
rank 2: exit code -15
first: rank 1
torchrun itself: 1
END
env/bin/python try.py 2> /dev/null > seen
code=0
env/bin/torchrun --standalone --nproc-per-node=3 rank.py > /dev/null 2>&1 || code=$?
echo "torchrun itself: $code" >> seen
cat seen
diff wanted seen
