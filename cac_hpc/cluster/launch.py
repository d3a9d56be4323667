"""The main job: check, prepare the run folder, then submit the stage graph to SLURM or run it here."""

from __future__ import annotations

import errno
import os
import secrets
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from cac_hpc.cluster import (
    estimate,
    feasibility,
    local,
    monitor,
    nodes,
    preflight,
    queue_records,
    submission,
    trial_costs,
    usage,
)
from cac_hpc.cluster.queue_records import OPEN
from cac_hpc.dataset import held_out, plan, preview, sealed, sealing
from cac_hpc.dataset.plan import DatasetPlan
from cac_hpc.evaluation import contrast, published, questions
from cac_hpc.run import causes, ledger, lock, logs, looks, provenance, stages, task_states
from cac_hpc.run.disk import named, read_json, write_json, write_text
from cac_hpc.run.paths import RunPaths, page_name
from cac_hpc.run.stages import STAGES, Stage, Task
from cac_hpc.run.task_states import TaskState
from cac_hpc.settings import config, launch_command, stored_settings
from cac_hpc.settings.checks import require
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.launch_command import LaunchOptions
from cac_hpc.train import models, optimizers
from cac_hpc.trials import plan as trials_plan
from cac_hpc.trials.plan import Plan as TrialsPlan

MOST_NAMED = 5  # settings in one message
LONGEST = 200  # characters of each, as of a whole section
UNSAFE = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are not UTF-8, separators of lines

# moved folders, other resources, another title, what only decides whether to go on: the same science
FREE = (
    *(f"{key}:" for key in config.WITHOUT_EFFECT),
    "run:", "cluster.", "report.title:", "report.figure_dpi:", "report.near_equal_ids:",
    "report.published:", "report.compare:", "report.checklist:", "report.window_hu:", "pack.limits.rejected_studies:",
    "split.contrast_to:", "trials.contrast_to:",
)  # fmt: skip


class Scheduler(Protocol):
    """What can run the stages of a run, as the launcher uses it; a module serves."""

    @property
    def RUNS_HERE(self) -> bool:
        """Whether the tasks are children of the launcher, which then follows them, and have no queue."""

    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine; None if it can."""

    def check(self, cfg: Config) -> None:
        """Raises: InputError if it cannot run what the settings ask for."""

    def in_queue(self, run: RunPaths) -> dict[str, str]:
        """The run's stages that are in its queue, by the names of their jobs."""

    def require_own(self, run: RunPaths, jobs: Sequence[str]) -> None:
        """Raises: InputError if one of the jobs, which the ledger names, is not known to be the run's."""

    def start(
        self, run: RunPaths, cfg: Config, waiting: Sequence[Task], queued: Mapping[str, str]
    ) -> Generator[None, None, None] | None:
        """Submit the waiting tasks, but those of stages that are queued; or run them here while one iterates."""

    def try_out(self, run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> tuple[str, bool]:
        """How a stage would be started, in words, and whether that would be refused; starts nothing."""


SCHEDULERS: dict[str, Scheduler] = {  # by cluster.kind; auto takes the first that is available
    "slurm": submission,
    "local": local,
}


def launch(cfg: Config, options: LaunchOptions, source: Path) -> int:
    """Do what ``jobs/launch_cv.py`` promises.

    Args:
        source: the checkout whose jobs/ and slurm/ the run keeps a copy of.
    Returns: the exit code, 0 or 1.
    Raises: InputError for whatever is wrong with the user's input, before anything is submitted; scores of masks apart,
        which are kept, which are kept beside the run folder, nothing is written either.
    """
    with causes.in_run(Path(cfg.run)):
        return _launch(RunPaths(Path(cfg.run)), cfg, options, source)


def _launch(run: RunPaths, cfg: Config, options: LaunchOptions, source: Path) -> int:
    _check_settings(run, cfg, source)
    _check_run_folder(run, cfg, options)
    dataset_plan = plan.make_plan(cfg)
    cfg = _with_folds(cfg, dataset_plan, options)
    tried = _tried(run, cfg)
    plan.check_dataset(run.dataset(cfg.data.packed_dir), dataset_plan)
    kind, why = _choose_kind(cfg)
    tasks, scheduler = stages.plan_tasks(cfg, run, len(dataset_plan.shards)), SCHEDULERS[kind]
    _show_plan(run, cfg, dataset_plan, tried, kind, why)
    waiting = stages.waiting(tasks)
    queued = {} if scheduler.RUNS_HERE else _in_queue(run, scheduler, waiting)
    if queued and {task.stage.name for task in waiting} <= set(queued):
        return _follow(run, tasks) if options.wait else _point(run)
    _check_studies(run, cfg, dataset_plan, waiting, options.dry_run)
    _complete(run, cfg, dataset_plan, tried, tasks, source)
    if options.dry_run:
        if not queued and not lock.is_held(run.lock):
            write_text(run.config, config.to_yaml(cfg))
        return _dry_run(run, cfg, scheduler, waiting or tasks)
    with named(run.root), lock.exclusive(run.lock, inherited=scheduler.RUNS_HERE):
        queued = queued or scheduler.in_queue(run)  # another launcher was here meanwhile
        if not queued:  # else its jobs read the settings that are there
            write_text(run.config, config.to_yaml(cfg))
        if not scheduler.RUNS_HERE:
            task_states.take_as_done(run, [task for task in tasks if task not in waiting])
        if steps := scheduler.start(run, cfg, waiting, queued):
            monitor.follow(monitor.RunView(run), steps)
            return _result(run, tasks)
    return _follow(run, tasks) if options.wait else _point(run)


def _with_folds(cfg: Config, dataset_plan: DatasetPlan, options: LaunchOptions) -> Config:
    """The settings with one fold for each group, where groups are held out.

    Raises: InputError if another number was asked for.
    """
    groups, count = dataset_plan.groups, len(dataset_plan.folds)
    if groups is None or not groups.tested:
        return cfg
    asked = dict(options.given).get("split.folds", str(count))
    wanted = f"left out, or {count}, one for each group of split.group {groups.fact}: {', '.join(groups.tested)}"
    require(asked == str(count), "split.folds", asked, logs.harmless(wanted))
    return replace(cfg, split=replace(cfg.split, folds=count))


def _check_settings(run: RunPaths, cfg: Config, source: Path) -> None:
    """What the settings name is there: scheduler, model, optimizer, paths and other runs."""
    wanted = f"auto, {' or '.join(SCHEDULERS)}"
    require(cfg.cluster.kind in ("auto", *SCHEDULERS), "cluster.kind", cfg.cluster.kind, wanted)
    models.chosen(cfg)
    optimizers.check(cfg.train)
    _check_paths(cfg, source)
    _check_beside(run, cfg)


def _check_paths(cfg: Config, source: Path) -> None:
    """No path has a character that a terminal, a script or a file of settings would not give back as it is.

    Raises: InputError naming path and character.
    """
    named = {
        "run": cfg.run, "data.packed_dir": cfg.data.packed_dir, "data.pseudonym_key": cfg.data.pseudonym_key,
        **{cohort.said(name): path for cohort in cfg.by_cohort() for name, path in _inputs(cohort.cfg).items()},
        "split.contrast_to": cfg.split.contrast_to, "report.published": cfg.report.published,
        "report.compare": cfg.report.compare, "report.checklist": cfg.report.checklist,
        "trials.contrast_to": cfg.trials.contrast_to,
        "the checkout": str(source), "Python": sys.executable, "TMPDIR": os.environ.get("TMPDIR"),
    }  # fmt: skip
    for name, path in named.items():
        for character in path or "":
            if unicodedata.category(character) in UNSAFE:
                what = unicodedata.name(character, f"U+{ord(character):04X}")
                raise InputError(
                    f"{name} is {path!a}, with {character!a} ({what}) in it; wanted a path of printable characters in "
                    "UTF-8: rename it, or make a link to it"
                )


def _inputs(cfg: Config) -> dict[str, str | None]:
    """The paths that a single cohort is read from."""
    sheet, masks = "".join(cfg.labels.sheets), cfg.labels.masks
    return {"data.dicom_root": cfg.data.dicom_root, "labels.sheet": sheet, "labels.masks": masks}


def _check_beside(run: RunPaths, cfg: Config) -> None:
    """The run and the table that stand beside the results are what they must be. A run that has its folds goes on
    without the run that it was contrasted with: its report says so.

    Raises: InputError saying what is wrong with them.
    """
    try:
        contrast.check(cfg)
    except InputError as error:
        was = stored_settings.load(run.config) if run.splits.is_file() else None
        known = was is not None and [*contrast.kinds(was.split, was.trials)] == [*contrast.kinds(cfg.split, cfg.trials)]
        if not known:
            raise
        logs.say(f"note: {error}; until then the report has no comparison with it")
    if cfg.report.published:
        published.read_for(Path(cfg.report.published), cfg.labels.names)
    if cfg.report.compare:
        _check_compared(run, cfg.report.compare)
    if cfg.report.checklist:
        questions.read_answers(Path(cfg.report.checklist), "report.checklist")


def _check_compared(run: RunPaths, named: str) -> None:
    """The run that report.compare names is another one and has a report. A run that has its folds goes on without.

    Raises: InputError if it is this run, or has none.
    """
    wanted = "wanted the folder of a finished run with the same folds"
    if Path(named).resolve() == run.root.resolve():
        raise InputError(f"report.compare is {named}, which is this run; {wanted}")
    if RunPaths(Path(named)).report_json.is_file():
        return
    missing = f"report.compare is {named}, which has no report/report.json"
    if not run.splits.is_file() or stored_settings.load(run.config).report.compare != named:
        raise InputError(f"{missing}; {wanted}")
    logs.say(f"note: {missing}; until then the report has no figures of it")


def _tried(run: RunPaths, cfg: Config) -> TrialsPlan | None:
    """What every fold tries, as it was settled when the run was made; None where nothing is tried.

    Raises: InputError naming the setting that cannot be, or the plan that is damaged.
    """
    if not cfg.trials.active:
        return None
    return trials_plan.read(run.trials_plan) if run.trials_plan.exists() else trials_plan.make(cfg)


def _show_plan(
    run: RunPaths, cfg: Config, dataset_plan: DatasetPlan, tried: TrialsPlan | None, kind: str, why: str
) -> None:
    """Print where the run goes, and what it needs compared with what there is.

    Raises: InputError for what cannot work, one line for each fault.
    """
    logs.say(f"run folder: {run.root}\ncluster: {kind}, {why}")
    allowed = feasibility.read(cfg.cluster.partition) if kind == "slurm" else None
    faults = feasibility.faults(allowed, cfg) if allowed else []
    if faults:
        raise InputError("\n".join(faults))
    found = estimate.estimate(cfg, dataset_plan, dataset_plan.folds, kind)
    costs = trial_costs.estimate(cfg, found, dataset_plan.folds, tried, kind) if tried else None
    logs.console().print(estimate.table(cfg, found, allowed, trial_costs.rows(cfg, costs) if costs else ()))
    raised = [
        *(feasibility.notes(allowed, cfg) if allowed else ()),
        *(trial_costs.choosing_notes(cfg, found) if costs else ()),
        *(trial_costs.notes(cfg, costs) if costs and allowed else ()),
    ]
    for line in plan.cohort_lines(dataset_plan):
        logs.say(line)
    _show_groups(cfg, dataset_plan)
    for note in (*dataset_plan.warnings, *estimate.notes(cfg, found, kind), *raised, *preflight.driver_notes(cfg)):
        logs.say(f"note: {note}")
    if kind == "slurm":
        nodes.check_excluded(run, cfg)
        for line in nodes.exclusion_notes(run):
            logs.say(line)


def _show_groups(cfg: Config, dataset_plan: DatasetPlan) -> None:
    """Print the groups of patients, where there are any, how many of each every fold tests, and who is not tested."""
    groups = dataset_plan.groups
    if groups is None:
        return
    patient = {study: label.patient for study, label in dataset_plan.labels.items()}
    columns, *rows = held_out.table(groups, patient, [fold.parts["test"] for fold in dataset_plan.folds])
    logs.console().print(logs.table("Groups of patients, and by which fold they are tested", columns, rows))
    for note in held_out.notes(groups, patient, cfg.split):
        logs.say(f"note: {note}")


def _check_studies(run: RunPaths, cfg: Config, planned: DatasetPlan, waiting: Sequence[Task], shown: bool) -> None:
    """The cohort is not one that the seal must refuse, as far as headers and what was packed already say.

    Args:
        shown: whether to say what the headers of the first studies say.
    Raises: InputError naming the main reason, and the settings that allow it.
    """
    dataset, stages_left = run.dataset(cfg.data.packed_dir), {task.stage.name for task in waiting}
    if shown or "pack" in stages_left:
        found = preview.of_headers(cfg, planned.labels)
        for line in found.lines if shown else ():
            logs.say(line)
        if note := preview.fault(found, len(planned.labels), cfg):
            logs.say(f"note: {note}")
    if "seal" in stages_left and "pack" not in stages_left and not dataset.seal.exists() and dataset.intake.exists():
        sealing.check_share(dataset, cfg)


def _point(run: RunPaths) -> int:
    """Say how to look after a run; returns the exit code."""
    here = shlex.quote(str(run.root))
    logs.say(f"where it stands: python jobs/status.py {here}\nto stop it:      python jobs/cancel.py {here}")
    logs.say(f"the report:      python jobs/report.py {here}")
    return 0


def _follow(run: RunPaths, tasks: list[Task]) -> int:
    view = monitor.RunView(run)
    monitor.follow(view, monitor.until_settled(view))
    return _result(run, tasks)


def _result(run: RunPaths, tasks: list[Task]) -> int:
    """Say where the report of a run that has ended is; returns the exit code."""
    if tasks[-1].result.exists():
        page = run.report / page_name(read_json(tasks[-1].result)["status"], "md")
        logs.say(f"the report: {page}\nin here:    python jobs/report.py {shlex.quote(str(run.root))}")
    unfinished = [str(task) for task in tasks if not task.done]
    if unfinished:
        logs.say(f"without a valid result: {', '.join(unfinished)}")
        logs.say(f"to go on:   python jobs/launch_cv.py --resume {shlex.quote(str(run.root))}")
    _show_use(run)
    return 1 if unfinished else 0


def _show_use(run: RunPaths) -> None:
    """What the stages asked for beside what they took."""
    cfg = stored_settings.load(run.config)
    if uses := usage.read(run, cfg):
        logs.console().print(usage.table(uses))
        for line in usage.advice(uses, cfg):
            logs.say(f"next time:  {line}")


def _choose_kind(cfg: Config) -> tuple[str, str]:
    """The name of the scheduler, and why it is that one.

    Raises: InputError if the choice cannot work.
    """
    kind, why = available_kind(cfg.cluster)
    SCHEDULERS[kind].check(cfg)
    return kind, why


def available_kind(cluster: ClusterConfig) -> tuple[str, str]:
    """The name of the scheduler that is used, and why it is that one.

    Raises: InputError if the one that is asked for is not there.
    """
    asked = [name for name in SCHEDULERS if cluster.kind in ("auto", name)]
    absent = {name: why for name in asked if (why := SCHEDULERS[name].unavailable())}
    if cluster.kind in absent:
        why = f"{absent[cluster.kind]}; log in to the cluster or set cluster.kind local"
        raise InputError(f"cluster.kind is {cluster.kind}: {why}")
    kind = next(name for name in asked if name not in absent)
    found = "; ".join(absent.values()) or "a SLURM controller answers"
    return kind, found if cluster.kind == "auto" else "as set"


def _check_run_folder(run: RunPaths, cfg: Config, options: LaunchOptions) -> None:
    """The folder is new, or holds this very run; how it uses the cluster, stops and is reported may change.

    Raises: InputError naming the settings that differ.
    """
    if not run.config.exists():
        if run.root.exists() and (not run.root.is_dir() or any(run.root.iterdir())):
            raise InputError(f"run is {str(run.root)!r}, which holds other files; wanted a new folder or that of a run")
        return
    stored = config.plain(stored_settings.load(run.config))
    free = (*FREE, "split.folds:") if cfg.split.scheme == "leave_one_out" else FREE  # their number is the groups'
    changed = [line for line in config.differences(stored, config.plain(cfg)) if not line.startswith(free)]
    if changed:
        untouched = all(event["event"] == "planned" for event in ledger.read(run.ledger))
        other = (
            f" (nothing was started in this one: rm -r {shlex.quote(str(run.root))} makes room)" if untouched else ""
        )
        named = [line if len(line) <= LONGEST else f"{line[:LONGEST]}..." for line in changed[:MOST_NAMED]]
        named += [f"and {len(changed) - MOST_NAMED} more"] * (len(changed) > MOST_NAMED)
        new = launch_command.new_run(run.root, options.given if options.resume else ())
        how = new if options.resume else f"the same command with --run {new.split(' --run ')[1]}"
        raise InputError(
            f"run is {str(run.root)!r}, which holds another run (found / wanted: {'; '.join(named)});"
            f" these settings change results, so they are fixed; for a new run: {how}{other}"
        )


def _complete(
    run: RunPaths, cfg: Config, dataset_plan: DatasetPlan, tried: TrialsPlan | None, tasks: list[Task], source: Path
) -> None:
    """See to it that the run folder has everything that the jobs need, and say what was missing or changed.

    Raises: InputError if that cannot be.
    """
    if not run.config.exists():
        _create(run, cfg, dataset_plan, tried, tasks, source)
        return
    dataset = run.dataset(cfg.data.packed_dir)
    plan.write_plan(dataset, dataset_plan)
    held_out.write(run.groups, dataset_plan.groups)
    if tried and not run.trials_plan.exists():
        trials_plan.write(run.trials_plan, tried)
    if restored := provenance.restore(run, source):
        logs.say(f"note: {run.code}: put back as they were: {', '.join(restored[:5])} ({len(restored)} in all)")
    if changed := provenance.note_changes(run):
        logs.say(f"note: {run.code}: {provenance.told(changed)}")
    if faults := sealed.faults(dataset):
        logs.say(
            f"note: {dataset.root}: {', '.join(faults[:5])} ({len(faults)} in all); packed again, as it was sealed"
        )


def _create(
    run: RunPaths, cfg: Config, dataset_plan: DatasetPlan, tried: TrialsPlan | None, tasks: list[Task], source: Path
) -> None:
    """Write everything that the jobs need; the run folder appears with all of it or not at all.

    Raises: InputError if the folders cannot be written.
    """
    scratch = RunPaths(run.root.with_name(f".{run.root.name}.{secrets.token_hex(4)}.tmp"))
    if before := looks.find_before(run, cfg):
        logs.say(f"note: {looks.told_of(before)}; the report will say so")
    try:
        scratch.slurm.mkdir(parents=True)
        code = provenance.take(source, scratch.code)
        collected = provenance.collect(source, run.root, scratch.root) | code | looks.to_json(before)
        write_json(scratch.provenance, collected)
        for task in tasks:
            result = os.path.relpath(task.result, run.root)
            ledger.record(scratch.ledger, task.stage.name, task.index, "planned", result=result)
        write_text(scratch.config, config.to_yaml(cfg))
        if tried:
            trials_plan.write(scratch.trials_plan, tried)
        held_out.write(scratch.groups, dataset_plan.groups)
        plan.write_plan(scratch.dataset(cfg.data.packed_dir), dataset_plan)
        scratch.root.replace(run.root)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and run.config.exists():
            raise InputError(f"{run.root}: another launcher has made this run meanwhile; run this again") from None
        raise InputError(f"cannot write the run folder {run.root} or data.packed_dir: {error}") from error
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)


def _in_queue(run: RunPaths, scheduler: Scheduler, waiting: Sequence[Task]) -> dict[str, str]:
    """The stages that jobs in the queue do, with their jobs; says so, and what has to wait for their end.

    Raises: InputError if the scheduler does not say, or a job that is not known to be the run's works on it.
    """
    if not run.provenance.exists():
        return {}
    if note := queue_records.claim(run):
        logs.say(f"note: {note}")
    found = scheduler.in_queue(run)
    states = {(state.stage, state.task): state for state in monitor.read_states(run)}
    told = {stage: str(state.job).split("_")[0] for (stage, _), state in states.items() if state.job and _open(state)}
    scheduler.require_own(run, [job for stage, job in told.items() if stage not in found])
    found = told | found
    if found:
        logs.say(f"this run is in the queue already: job {', '.join(dict.fromkeys(found.values()))}")
    idle = [
        str(task) for task in waiting if task.stage.name in found and not _open(states[task.stage.name, task.index])
    ]
    if idle:
        logs.say(
            f"note: {', '.join(idle)} can start again only after that: run this again then, or jobs/cancel.py before"
        )
    return found


def _open(state: TaskState) -> bool:
    return state.state in OPEN


def _dry_run(run: RunPaths, cfg: Config, scheduler: Scheduler, tasks: list[Task]) -> int:
    """Say how every stage would be started; submit nothing.

    Returns: 1 if one would be refused as things are.
    """
    refused = False
    for stage in STAGES:
        mine = [task for task in tasks if task.stage is stage]
        if mine:
            said, refuses = scheduler.try_out(run, cfg, stage, mine)
            refused = refused or refuses
            logs.say(f"{stage.name}: {stages.count(mine)}, {said}")
    logs.say("nothing was submitted" + ("; as it is, SLURM would refuse it: see above" if refused else ""))
    return int(refused)
