"""The main job: check, prepare the run folder, then submit the stage graph to SLURM or run it here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cac_hpc.cluster import (
    estimate,
    feasibility,
    gpu_drivers,
    monitor,
    nodes,
    ownership,
    run_folder,
    schedulers,
    settings_check,
    site_limits,
    trial_costs,
    usage,
)
from cac_hpc.cluster.queue_records import OPEN
from cac_hpc.cluster.schedulers import SCHEDULERS, Scheduler
from cac_hpc.cluster.task_status import RunStates
from cac_hpc.dataset import held_out, plan, preview
from cac_hpc.dataset.plan import DatasetPlan
from cac_hpc.run import causes, lock, logs, stages, task_states
from cac_hpc.run.disk import named, read_json, write_text
from cac_hpc.run.paths import RunPaths, page_name
from cac_hpc.run.stages import STAGES, Task
from cac_hpc.run.task_states import TaskState
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.checks import require
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.launch_command import LaunchOptions
from cac_hpc.trials import plan as trials_plan
from cac_hpc.trials.plan import Plan as TrialsPlan


def launch(cfg: Config, options: LaunchOptions, source: Path) -> int:
    """Do what ``jobs/launch_cv.py`` promises.

    Args:
        source: the checkout whose jobs/ and slurm/ the run keeps a copy of.
    Returns: the exit code, 0 or 1.
    Raises: InputError for whatever is wrong with the user's input, before anything is submitted; scores of masks apart,
        which are kept beside the run folder, nothing is written either.
    """
    with causes.in_run(Path(cfg.run)):
        return _launch(RunPaths(Path(cfg.run)), cfg, options, source)


def _launch(run: RunPaths, cfg: Config, options: LaunchOptions, source: Path) -> int:
    settings_check.check(run, cfg, source)
    run_folder.check(run, cfg, options)
    dataset_plan = plan.make_plan(cfg)
    cfg = _with_folds(cfg, dataset_plan, options)
    tried = _tried(run, cfg)
    plan.check_dataset(run.dataset(cfg.data.packed_dir), dataset_plan)
    kind, why = schedulers.choose(cfg)
    tasks, scheduler = stages.plan_tasks(cfg, run, len(dataset_plan.shards)), SCHEDULERS[kind]
    _show_plan(run, cfg, dataset_plan, tried, kind, why)
    waiting = stages.waiting(tasks)
    queued = {} if scheduler.RUNS_HERE else _in_queue(run, scheduler, waiting)
    if queued and {task.stage.name for task in waiting} <= set(queued):
        return _follow(run, tasks) if options.wait else _point(run, at_work=True)
    _check_studies(run, cfg, dataset_plan, waiting, options.dry_run)
    run_folder.complete(run, cfg, dataset_plan, tried, tasks, source)
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
    return _follow(run, tasks) if options.wait else _point(run, at_work=bool(waiting or queued))


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
    allowed = site_limits.read(cfg.cluster.partition) if kind == "slurm" else None
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
    for note in (*dataset_plan.warnings, *estimate.notes(cfg, found, kind), *raised, *gpu_drivers.notes(cfg)):
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
        found = preview.of_headers(cfg, planned.folders, planned.labels)
        for line in found.lines if shown else ():
            logs.say(line)
        if note := preview.fault(found, len(planned.labels), cfg):
            logs.say(f"note: {note}")
    if "seal" in stages_left and "pack" not in stages_left and not dataset.seal.exists() and dataset.intake.exists():
        from cac_hpc.dataset import sealing  # it imports h5py, which most launches do without

        sealing.check_share(dataset, cfg)


def _point(run: RunPaths, at_work: bool) -> int:
    """Say how to look after a run; returns the exit code."""
    here = shlex.quote(str(run.root))
    if at_work:
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
        page = run.report / page_name(read_json(tasks[-1].result)["status"], "html")
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


def _in_queue(run: RunPaths, scheduler: Scheduler, waiting: Sequence[Task]) -> dict[str, str]:
    """The stages that jobs in the queue do, with their jobs; says so, and what has to wait for their end.

    Raises: InputError if the scheduler does not say, or a job that is not known to be the run's works on it.
    """
    if not run.provenance.exists():
        return {}
    if note := ownership.claim(run):
        logs.say(f"note: {note}")
    found = scheduler.in_queue(run)
    states = {(state.stage, state.task): state for state in RunStates(run).states()}
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
