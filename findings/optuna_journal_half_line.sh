#!/usr/bin/env bash
# Optuna's file journal after a write that was cut short, as by a quota, a full disk or a limit of file sizes.
#
# Valid input: JournalStorage on JournalFileBackend. A limit of the file's size ends the first process in the middle of a
# line; it is lifted before the second begins.
# Guess before running: the half line is passed over, or ended by a new line before the next entry; what follows is read.
# Seen on 2026-11-30 with Optuna 5.0.0: the first raises OSError, as it should, and leaves half a line. The next writer puts its
# first entry right behind it on the same line, and from then on nobody can read the study: JSONDecodeError at every load,
# though all trials before are whole. Cutting the journal after its last whole line before anybody writes to it helps.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0
cat > try.py <<'PY'
import resource
import signal
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

JOURNAL = Path("journal")


def study():
    return optuna.create_study(
        study_name="study", storage=JournalStorage(JournalFileBackend("journal")), load_if_exists=True
    )


def told(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "no error"


def run():
    study().optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)


optuna.logging.set_verbosity(optuna.logging.ERROR)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
print("two trials:", told(run), "whole lines:", JOURNAL.read_bytes().endswith(b"\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, (JOURNAL.stat().st_size + 40, limits[1]))
print("with a limit:", told(run), "whole lines:", JOURNAL.read_bytes().endswith(b"\n"))
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
cut = JOURNAL.read_bytes()
print("read with half a line at the end:", told(study))
print("written and read:", told(run))
print("read again:", told(study))
JOURNAL.write_bytes(cut[: cut.rindex(b"\n") + 1])
print("cut after the last whole line:", told(run), len(study().trials), "trials")
PY
env/bin/python try.py | tee seen
cat > wanted <<'END'
two trials: no error whole lines: True
with a limit: OSError whole lines: False
read with half a line at the end: no error
written and read: JSONDecodeError
read again: JSONDecodeError
cut after the last whole line: no error 4 trials
END
diff wanted seen
