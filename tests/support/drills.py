"""What the drills share: a fold that takes its time on a real SLURM, what it tells, what it must not leave behind."""

from __future__ import annotations

import contextlib
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.run import ledger
from cac_hpc.run.paths import RunPaths
from tests.support.folds import results
from tests.support.runs import REPO
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.conftest import Slurm

DEV = REPO / "configs" / "cluster" / "dev.yaml"
GONE_S = 15.0  # after a drill, for everything that took part
SHOWN = ("COMPLETED", "FAILED", "OUT_OF_MEMORY", "CANCELLED", "NODE_FAIL", "TIMEOUT")  # ends, as accounting calls them


def pace(run: Path, seconds: float, more: str = "") -> None:
    """Have every step take so much longer. more: lines of shell before the work."""
    scratch = run.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    lines = f"export TMPDIR={scratch}\nexport CAC_PACE_S={seconds}\n{more}\n"
    (run / "code" / "slurm" / "env.sh").write_text(lines, encoding="utf-8")


def submit(slurm: Slurm, run: Path, *options: str, script: str = "train_folds", array: str | None = "0") -> str:
    """A stage by hand; returns its job, of an array of one its task."""
    given = [] if array is None else [f"--array={array}"]
    job = slurm.run("sbatch", "--parsable", *given, "--mem=1500M", f"--chdir={run.parent}", *options,
                    f"{REPO}/slurm/{script}.sbatch", str(run))  # fmt: skip
    return f"{job}_{array}" if array and array.isdecimal() else job


def events(run: Path, kind: str, fold: int | None = None, stage: str = "folds") -> list[dict]:
    """What the ledger tells of a stage, of all folds or of one."""
    every = ledger.read(run / "ledger.jsonl")
    found = [event for event in every if (event["event"], event["stage"]) == (kind, stage)]
    return [event for event in found if fold in (None, event["task"])]


def checkpoints(run: Path, fold: int = 0) -> int:
    """How often a fold has saved, as a number that only grows."""
    saved = RunPaths(run).fold(fold).checkpoints()
    return int("".join(re.findall(r"\d+", saved[-1].name))) if saved else 0


def wait_for_progress(run: Path, beyond: int = 0, fold: int = 0) -> int:
    wait_for(lambda: checkpoints(run, fold) > beyond, 90, f"a checkpoint after {beyond}: {log(run)}")
    return checkpoints(run, fold)


def log(run: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in run.parent.glob("cac-folds*.log"))


def done(run: Path, undisturbed: dict, resumes: int, timeout_s: float = 150) -> None:
    """The fold is done, has gone on so often, never from the start, and nothing shows in the results."""
    wait_for(RunPaths(run).fold(0).predictions.exists, timeout_s, f"the end of the fold: {log(run)}")
    assert results(run) == undisturbed
    places = re.findall(r"rank 0: resumed after epoch (\d+), step (\d+)", log(run))
    assert len(places) >= resumes, log(run)
    assert ("0", "0") not in places


def wait_for_end(slurm: Slurm, jobs: str, timeout_s: float = 120) -> dict[str, str]:
    """Wait until all these jobs have ended; returns what accounting calls the end of each task."""
    found: dict[str, str] = {}

    def ended() -> bool:
        lines = slurm.run("sacct", "-X", "-n", "-P", "-o", "jobid,state", "-j", jobs).splitlines()
        found.clear()
        found.update(line.split("|") for line in lines)
        return bool(found) and all(state.startswith(SHOWN) for state in found.values())

    wait_for(ended, timeout_s, f"the end of job {jobs}")
    return found


def leftovers(run: Path) -> list[str]:
    """Processes that work on a run, with the ports they listen on, and what is in its folders for a while only."""
    scratch = run.parent / "scratch"
    found = [path for path in scratch.glob("*") if not path.name.startswith("torchinductor_")]  # the user's, for ever
    passing = [path for path in run.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    found += [path for path in passing if path.parent.name != "heartbeats"]
    return [*_processes(run), *map(str, found)]


def nothing_is_left(run: Path) -> None:
    """In a moment: see `leftovers`."""
    deadline = time.monotonic() + GONE_S
    while found := leftovers(run):
        assert time.monotonic() < deadline, "\n".join([f"left after {GONE_S:.0f} s:", *found])
        time.sleep(0.5)


def _processes(run: Path) -> Iterator[str]:
    """Known by their arguments or their environment, so that whatever they have started counts, too."""
    named = re.compile(re.escape(bytes(run)) + rb"(/|\0)")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            words, variables = ((process / file).read_bytes() for file in ("cmdline", "environ"))
            if (named.search(words) or named.search(variables)) and b"pytest" not in words:
                ports = ",".join(map(str, _ports(process))) or "no port"
                yield f"{process.name} {words.replace(bytes(1), b' ').decode(errors='replace')}(listens on {ports})"


def _ports(process: Path) -> list[int]:
    """The TCP ports that a process listens on."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A":  # listens
                sockets[int(cells[9])] = int(cells[1].rpartition(":")[2], 16)
    opened = [file.stat() for file in (process / "fd").iterdir()]
    return sorted(sockets[file.st_ino] for file in opened if stat.S_ISSOCK(file.st_mode) and file.st_ino in sockets)
