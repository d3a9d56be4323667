#!/usr/bin/env bash
# Optuna's GridSampler in several processes on one file journal: how often is each point of the grid run?
#
# Valid input: four processes that run the same study on a journal until the sampler ends it, as its documentation shows.
# Guess before running: each point once, or rarely one of them twice, where two processes ask at the same time: its note says
# "occasionally".
# Seen on 2026-11-30 with Optuna 5.0.0: one process runs 8 points as 8 trials. Four ran them as 11 or 12, in each of five tries:
# as soon as every point is done or running, each process that is free takes one that another is still running, and all of
# them run to their end. So about as many trials are repeated as there are other processes; of long trainings each costs a
# whole one.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0
cat > try.py <<'PY'
import multiprocessing
import time

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def objective(trial):
    x = trial.suggest_int("x", 0, 7)
    time.sleep(1)
    return x


def work(name):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.GridSampler({"x": list(range(8))}, seed=0)
    optuna.load_study(study_name="study", storage=storage_in(name), sampler=sampler).optimize(objective)


def storage_in(name):
    return JournalStorage(JournalFileBackend(name))


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for count in (1, 4):
        study = optuna.create_study(study_name="study", storage=storage_in(f"journal-{count}"))
        processes = [multiprocessing.Process(target=work, args=(f"journal-{count}",)) for _ in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        points = [trial.params["x"] for trial in study.trials]
        print(f"{count} processes: {len(set(points))} points, more trials than points: {len(points) > len(set(points))}")
PY
env/bin/python try.py | tee seen
cat > wanted <<'END'
1 processes: 8 points, more trials than points: False
4 processes: 8 points, more trials than points: True
END
diff wanted seen
