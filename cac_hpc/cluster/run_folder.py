"""The run folder as its launcher writes it: new, or that of this very run, with all that the jobs need."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
from pathlib import Path

from cac_hpc.dataset import held_out, plan, sealed
from cac_hpc.dataset.plan import DatasetPlan
from cac_hpc.run import ledger, logs, looks, provenance
from cac_hpc.run.disk import write_json, write_text
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Task
from cac_hpc.settings import config, launch_command, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.launch_command import LaunchOptions
from cac_hpc.trials import plan as trials_plan
from cac_hpc.trials.plan import Plan as TrialsPlan

MOST_NAMED = 5  # settings in one message
LONGEST = 200  # characters of each, as of a whole section
# moved folders, other resources, another title, what only decides whether to go on: the same science
FREE = (
    *(f"{key}:" for key in config.WITHOUT_EFFECT),
    "run:", "cluster.", "report.title:", "report.figure_dpi:", "report.near_equal_ids:",
    "report.published:", "report.compare:", "report.checklist:", "report.window_hu:", "pack.limits.rejected_studies:",
    "split.contrast_to:", "trials.contrast_to:",
)  # fmt: skip


def check(run: RunPaths, cfg: Config, options: LaunchOptions) -> None:
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


def complete(
    run: RunPaths, cfg: Config, dataset_plan: DatasetPlan, tried: TrialsPlan | None, tasks: list[Task], source: Path
) -> None:
    """See to it that the run folder has everything that the jobs need, and say what was missing or changed.

    Raises: InputError if that cannot be.
    """
    is_new = not run.config.exists()
    if is_new:
        _create(run, cfg, dataset_plan, tried, tasks, source)
    if before := looks.read_before(run):
        logs.say(f"note: {looks.told_of(before)}; the report will say so")
    if is_new:
        return
    dataset = run.dataset(cfg.data.packed_dir)
    _write_plans(run, cfg, dataset_plan, tried)
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
    scratch = RunPaths(run.root.with_name(f".{run.root.name}.{os.urandom(4).hex()}.tmp"))
    before = looks.find_before(run, cfg)
    try:
        scratch.slurm.mkdir(parents=True)
        code = provenance.take(source, scratch.code)
        collected = provenance.collect(source, run.root, scratch.root) | code | looks.to_json(before)
        write_json(scratch.provenance, collected)
        for task in tasks:
            result = os.path.relpath(task.result, run.root)
            ledger.record(scratch.ledger, task.stage.name, task.index, "planned", result=result)
        write_text(scratch.config, config.to_yaml(cfg))
        _write_plans(scratch, cfg, dataset_plan, tried)
        scratch.root.replace(run.root)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and run.config.exists():
            raise InputError(f"{run.root}: another launcher has made this run meanwhile; run this again") from None
        raise InputError(f"cannot write the run folder {run.root} or data.packed_dir: {error}") from error
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)


def _write_plans(run: RunPaths, cfg: Config, dataset_plan: DatasetPlan, tried: TrialsPlan | None) -> None:
    if tried and not run.trials_plan.exists():
        trials_plan.write(run.trials_plan, tried)
    held_out.write(run.groups, dataset_plan.groups)
    plan.write_plan(run.dataset(cfg.data.packed_dir), dataset_plan)
