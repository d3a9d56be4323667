"""Runs that divide slices, not patients: whether the run by patient that they are compared with is the right one."""

from __future__ import annotations

import shlex
from pathlib import Path

from cac_hpc.dataset import shards
from cac_hpc.evaluation import report_json
from cac_hpc.run import config, settings
from cac_hpc.run.causes import Cause
from cac_hpc.run.config import Config, InputError
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.statistics import results
from cac_hpc.statistics.results import FORMAT_VERSION, Damaged, Json, Report

SECTIONS = ("labels", "pack", "split", "model", "train")
FREE = (
    *(f"{key}:" for key in config.WITHOUT_EFFECT), "labels.sheet:", "pack.limits.", "split.unit:", "split.contrast_to:",
)  # fmt: skip  # what a dataset or a result does not depend on, and what the contrast is


def check(cfg: Config) -> None:
    """The run that a contrast run is contrasted with is finished, divides patients, and is like it in all else.

    Raises: InputError saying what to do.
    """
    if cfg.split.contrast_to is None:
        return
    reference = RunPaths(Path(cfg.split.contrast_to))
    report = _report(cfg.split.contrast_to, reference.config, reference.report_json)
    theirs = settings.load(reference.config)
    if theirs.split.unit != "patient":
        why = "which is a contrast run itself; wanted the run by patient that it was contrasted with"
        raise _refused(cfg.split.contrast_to, why)
    if report.status != "COMPLETE":
        complete = f"python jobs/launch_cv.py --resume {shlex.quote(str(reference.root))}"
        raise _refused(cfg.split.contrast_to, f"whose report is {report.status}; complete it first", complete)
    tested, cohort = report.levels["patient"].distinct, report.cohort.patients
    if tested != cohort:
        why = f"which tested {tested} of {cohort} patients; wanted all, as split.scheme kfold tests them"
        raise _refused(cfg.split.contrast_to, why)
    own, packed = RunPaths(Path(cfg.run)).dataset(cfg.data.packed_dir), reference.dataset(theirs.data.packed_dir)
    _check_dataset(own, packed, report.digests.studies_sha256)
    if changed := _changed(config.plain(cfg), config.plain(theirs)):
        raise _refused(
            cfg.split.contrast_to,
            f"which has other settings (found / wanted by this run: {'; '.join(changed[:5])}); "
            "a contrast run differs in split.unit alone",
        )


def _report(named: str, config: Path, stored: Path) -> Report:
    """The report of the run that is named in split.contrast_to."""
    if not config.is_file() or not stored.is_file():
        missing = "where no run is" if not config.is_file() else "which has no report yet"
        raise _refused(named, f"{missing}; wanted the folder of a finished run, with its report.json")
    again = report_json.remake(config.parent)
    try:
        content = report_json.load(stored)
        if version := report_json.other_version(content):
            why = f"whose report.json is of {version}, wanted {FORMAT_VERSION}"
            raise _refused(named, why, again)
        report = results.from_json(content, Report)
        if "patient" in report.levels:
            return report
        raise Damaged("has no patient level")
    except Damaged:
        raise _refused(named, "whose report.json is damaged", again) from None


def _check_dataset(own: DatasetPaths, packed: DatasetPaths, studies_sha256: str) -> None:
    """Both are of the same sealed dataset, so that the same slices are divided."""
    if own.seal.exists() and shards.read_checked(own.seal)["studies_sha256"] == studies_sha256:
        return
    found = "another dataset" if own.seal.exists() else "no sealed dataset"
    take = f"--data.packed_dir {shlex.quote(str(packed.root))}"
    raise InputError(Cause("contrast_dataset", file=str(own.root), words=found, help=take))


def _changed(ours: Json, theirs: Json) -> list[str]:
    """Settings that differ, but for the division: the difference of the figures would be of these, too."""
    one, other = ({name: each[name] for name in SECTIONS} for each in (theirs, ours))
    one["rule"], other["rule"] = ((each["report"]["patient_rule"], each["report"]["top_k"]) for each in (theirs, ours))
    return [line for line in config.differences(one, other) if not line.startswith(FREE)]


def _refused(named: str, why: str, helps: str | None = None) -> InputError:
    return InputError(Cause("contrast_run", file=named, words=why, help=helps))
