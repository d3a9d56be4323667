"""A drill on the user's own cluster: a small fold is asked to stop, and must save, start again and end the same.

Two folds of a synthetic cohort are trained with the run's cluster settings: one is left alone, the other is warned as
SLURM warns before the time limit. What is told is what this site did with the warning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shlex
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cac_hpc.cluster import launch, ownership, slurm_commands, submission
from cac_hpc.cluster.task_status import RunStates
from cac_hpc.dataset import packing, sealing
from cac_hpc.phantom import cohort
from cac_hpc.run import ledger, logs, result_files, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.data import DataConfig
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.launch_command import LaunchOptions
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import Checks, PackConfig
from cac_hpc.settings.phantom_command import PhantomConfig
from cac_hpc.settings.split import SplitConfig
from cac_hpc.settings.trials import TrialsConfig

STUDIES, SLICES, SIZE = 12, 12, 32
MATRIX, FIELD_MM = 128, 160.0  # fine enough for the lowest scores
EPOCHS, TIME_MIN = 400, 15  # seconds to minutes of work
FOLD = 0
PATIENCE_MIN, POLL_S = 60, 0.5  # for every wait, most of them in the queue
LOOK_S, STUCK_S = 5.0, 30.0  # between two looks at the job; how long it may be one that nothing more comes of
ENDED = ("failed", "gone", "held", "stopped")
Finding = tuple[str, str]  # what was asked, and what was found


def rehearse(root: Path, source: Path) -> int:
    """Drill with the cluster settings of a run; works in RUN/drill, a new folder each time.

    Args:
        source: the checkout whose jobs are drilled.
    Returns: 0 if the fold went on by itself and ended the same, else 1.
    Raises: InputError if there is no SLURM; WorkError if a job does not start in time, or its fold fails.
    """
    cfg = stored_settings.load(RunPaths(root).config)
    if absent := slurm_commands.unavailable():
        raise InputError(f"a drill needs SLURM, but {absent}; log in to the cluster")
    folder = RunPaths(root).drill(time.strftime("%Y%m%d-%H%M%S"))
    runs = {name: _prepare(folder, name, cfg, source) for name in ("alone", "warned")}
    same, (alone, warned) = False, (run for run, _ in runs.values())
    try:
        for run, small in runs.values():
            submission.start(run, small, [_task(run, small)], {})
        findings = _warn(warned)
        if not _given_up(warned):
            for run in (alone, warned):
                _wait(run, partial(result_files.fold_is_done, run.fold(FOLD)), f"the end of the fold in {run.root}")
            same = _result(alone) == _result(warned)
            findings.append(("its result", f"{'equals' if same else 'DIFFERS from'} that of the fold left alone"))
    finally:
        for run in (alone, warned):
            _clear(run)
    logs.console().print(logs.table(f"drill on {cfg.cluster.partition or 'the default partition'}", ("", ""), findings))
    logs.say("this site works as the settings assume" if same else "see above for what does not work here")
    return 0 if same else 1


def _prepare(folder: Path, name: str, cfg: Config, source: Path) -> tuple[RunPaths, Config]:
    """A run folder with a packed synthetic cohort; both share it."""
    scans = folder / "scans"
    if not scans.exists():
        size = PhantomConfig(
            out=str(scans), studies=STUDIES, slices=SLICES, matrix=MATRIX, field_of_view_mm=FIELD_MM, easy=True
        )
        cohort.write_cohort(size)
    fold = dataclasses.replace(cfg.cluster.fold, time_min=min(TIME_MIN, cfg.cluster.fold.time_min))
    small = dataclasses.replace(
        cfg,
        run=str(folder / name),
        data=DataConfig(dicom_root=str(scans), packed_dir=str(folder / "packed")),
        labels=LabelsConfig(sheet=str(scans / "labels.csv")),
        pack=PackConfig(size=SIZE, studies_per_shard=STUDIES, min_slices=SLICES, checks=Checks(missing_slices="warn")),
        split=SplitConfig(folds=2),
        model=ModelConfig(filters=(8, 16, 16), dense=32),
        train=dataclasses.replace(
            cfg.train,
            epochs=EPOCHS,
            steps=None,
            schedule="plateau",
            batch_size=max(8, cfg.cluster.ranks),
            residency="auto",
        ),
        cluster=dataclasses.replace(cfg.cluster, kind="slurm", fold=fold, folds_per_node=1),
        trials=TrialsConfig(),
    )
    with contextlib.redirect_stdout(io.StringIO()):
        launch.launch(small, LaunchOptions(dry_run=True), source)
        run = RunPaths(Path(small.run))
        packing.pack_shards(run.root)
        sealing.seal(run.root)
    return run, small


def _task(run: RunPaths, cfg: Config) -> stages.Task:
    return next(task for task in stages.tasks_of(cfg, run, "folds") if task.index == FOLD)


def _warn(run: RunPaths) -> list[Finding]:
    """Warn the fold once it trains, and watch what follows."""
    _wait(run, lambda: _event(run, "progress"), "the first epoch of the fold that is to be warned")
    job = _events(run, "started")[-1]["job"]
    warned = time.monotonic()
    refusal = slurm_commands.send_signal(job, "USR2", ownership.owner_of(run))
    if refusal:
        return [("the warning", f"SLURM does not send it ({refusal})")]
    saved = _wait(run, lambda: _event(run, "ended"), "the save of the warned fold")
    findings = [("it saved", f"{time.monotonic() - warned:.0f} s after the warning: {saved['cause']}"), *_grace()]
    starts = len(_events(run, "started"))
    _wait(run, lambda: len(_events(run, "started")) > starts or _given_up(run), "its second start")
    if given_up := _given_up(run):
        return [*findings, ("starting again", given_up)]
    second = _events(run, "started")[-1]
    findings.append(("it started again", f"{time.monotonic() - warned:.0f} s after the warning, on {second['node']}"))
    return findings


def _clear(run: RunPaths) -> None:
    """Take what is left of the drill out of the queue."""
    jobs = sorted({event["job"].split("_")[0] for event in _events(run, "submitted") if event.get("job")})
    if refusal := slurm_commands.cancel(jobs, ownership.owner_of(run)):
        logs.say(f"note: job {', '.join(jobs)} of the drill may still be in the queue ({refusal})")


def _given_up(run: RunPaths) -> str | None:
    """Why the fold will not start again by itself."""
    ends = [event for event in _events(run, "ended") if event.get("final") and not event.get("lost")]
    return str(ends[-1]["cause"]) if ends else None


def _grace() -> list[Finding]:
    """What the site gives a job that it stops."""
    config = slurm_commands.ask(["scontrol", "show", "config"]) or ""
    found = re.findall(r"^(KillWait|PreemptMode|JobRequeue|ProctrackType)\s*=\s*(.+?)\s*$", config, re.M)
    return [(f"the site's {name}", value) for name, value in found]


def _events(run: RunPaths, kind: str) -> list[dict[str, Any]]:
    events = ledger.read(run.ledger)
    return [event for event in events if (event["event"], event["stage"], event["task"]) == (kind, "folds", FOLD)]


def _event(run: RunPaths, kind: str) -> dict[str, Any] | None:
    return next(reversed(_events(run, kind)), None)


def _wait(run: RunPaths, condition: Callable[[], Any], what: str) -> Any:
    """Wait until something is true of the fold of a run.

    Raises: WorkError if it does not come in time, or can no longer come: the fold has failed, or its job never starts.
    """
    logs.log.info("waiting for %s", what)
    began = stuck_since = looked = time.monotonic()
    seen = RunStates(run)
    while not (found := condition()):
        now = time.monotonic()
        why = _given_up(run)
        if why is None and now - looked > LOOK_S:
            looked, state = now, next(state for state in seen.states() if (state.stage, state.task) == ("folds", FOLD))
            stuck_since = stuck_since if state.state in ENDED else now
            why = f"{state.state}: {state.reason}" if now - stuck_since > STUCK_S else None
        if why:
            log = f"python jobs/status.py {shlex.quote(str(run.root))} --log {FOLD}"
            raise WorkError(f"{what} does not come, {why}; the end of its log: {log}")
        if now - began > PATIENCE_MIN * 60:
            where = f"python jobs/status.py {shlex.quote(str(run.root))}"
            raise WorkError(f"{what} did not come within {PATIENCE_MIN} min; where it stands: {where}")
        time.sleep(POLL_S)
    return found


def _result(run: RunPaths) -> Sequence[bytes]:
    files = run.fold(FOLD)
    return [path.read_bytes() for path in (files.model, files.history, files.predictions)]
