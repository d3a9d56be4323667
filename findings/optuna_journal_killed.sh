#!/usr/bin/env bash
# Optuna on a file journal: what becomes of a trial whose process is killed, and of its point of a grid.
#
# Valid input: JournalStorage on JournalFileBackend, GridSampler, optimize; the second process is the first one's command again.
# Guess before running: the next process finds that the other is dead, and marks its trial as failed or runs it again.
# Seen on 2026-11-30 with Optuna 5.0.0: the trial stays RUNNING for ever; only the RDB storage has heartbeats. Its point is
# run when all others are done, as a trial of another number, so a study of 4 points has 5 trials; with n_trials=2 for what
# was left it is not run at all. Who counts trials, or waits until none is RUNNING, must find out by other means.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0
cat > try.py <<'PY'
import os
import signal
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

name, n_trials, is_killed = sys.argv[1], int(sys.argv[2]) or None, len(sys.argv) > 3


def objective(trial):
    x = trial.suggest_int("x", 0, 3)
    if is_killed and trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


optuna.logging.set_verbosity(optuna.logging.ERROR)
storage, sampler = JournalStorage(JournalFileBackend(name)), optuna.samplers.GridSampler({"x": [0, 1, 2, 3]}, seed=0)
study = optuna.create_study(study_name="study", storage=storage, load_if_exists=True, sampler=sampler)
study.optimize(objective, n_trials=n_trials)
print(", ".join(f"{trial.number} {trial.state.name} x={trial.params['x']}" for trial in study.trials))
PY
for n_trials in 0 2; do
    env/bin/python try.py "journal-$n_trials" 0 killed 2> /dev/null || true
    env/bin/python try.py "journal-$n_trials" "$n_trials"
done | tee seen
cat > wanted <<'END'
0 COMPLETE x=2, 1 RUNNING x=3, 2 COMPLETE x=1, 3 COMPLETE x=0, 4 COMPLETE x=3
0 COMPLETE x=2, 1 RUNNING x=3, 2 COMPLETE x=1, 3 COMPLETE x=0
END
diff wanted seen
