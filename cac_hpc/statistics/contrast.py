"""Contrast runs divide slices, not patients: whether the finished run by patient that they need is the right one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from cac_hpc.dataset import shards
from cac_hpc.run import config, paths, settings
from cac_hpc.run.causes import Cause
from cac_hpc.run.config import Config, InputError
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.statistics import report_json

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
    summary = _report(cfg, reference)
    theirs = settings.load(reference.config)
    if theirs.split.unit != "patient":
        raise _refused(cfg, "which is a contrast run itself; wanted the run by patient that it was contrasted with")
    if summary.get("status") != "COMPLETE":
        complete = f"python jobs/launch_cv.py --resume {shlex.quote(str(reference.root))}"
        raise _refused(cfg, f"whose report is {summary.get('status')}; complete it first", complete)
    tested, cohort, studies_sha256 = _facts(cfg, reference, summary)
    if tested != cohort:
        raise _refused(cfg, f"which tested {tested} of {cohort} patients; wanted all, as split.scheme kfold tests them")
    own, packed = RunPaths(Path(cfg.run)).dataset(cfg.data.packed_dir), reference.dataset(theirs.data.packed_dir)
    _check_dataset(own, packed, studies_sha256)
    _check_settings(cfg, theirs)


def _report(cfg: Config, reference: RunPaths) -> dict[str, Any]:
    stored = reference.report_json
    if not reference.config.is_file() or not stored.is_file():
        missing = "where no run is" if not reference.config.is_file() else "which has no report yet"
        raise _refused(cfg, f"{missing}; wanted the folder of a finished run, with its report.json")
    try:
        summary = paths.read_json(stored)
    except ValueError:
        summary = None
    if not isinstance(summary, dict):
        raise _damaged(cfg, reference)
    if (version := summary.get("format_version")) != report_json.FORMAT_VERSION:
        wanted = f"wanted {report_json.FORMAT_VERSION}"
        raise _refused(cfg, f"whose report.json is of format version {version}, {wanted}", _again(reference))
    return summary


def _facts(cfg: Config, reference: RunPaths, summary: dict[str, Any]) -> tuple[int, int, str]:
    """How many patients were tested, of how many, and the digest of the dataset's studies."""
    try:
        tested, cohort = summary["levels"]["patient"]["distinct"], summary["cohort"]["patients"]
        return tested, cohort, summary["digests"]["studies_sha256"]
    except (KeyError, TypeError):
        raise _damaged(cfg, reference) from None


def _damaged(cfg: Config, reference: RunPaths) -> InputError:
    return _refused(cfg, "whose report.json is damaged", _again(reference))


def _again(reference: RunPaths) -> str:
    return f"python jobs/aggregate.py --run {shlex.quote(str(reference.root))}"


def _check_dataset(own: DatasetPaths, packed: DatasetPaths, studies_sha256: str) -> None:
    """Both are of the same sealed dataset, so that the same slices are divided."""
    if own.seal.exists() and shards.read_checked(own.seal)["studies_sha256"] == studies_sha256:
        return
    found = "another dataset" if own.seal.exists() else "no sealed dataset"
    take = f"--data.packed_dir {shlex.quote(str(packed.root))}"
    raise InputError(Cause("contrast_dataset", file=str(own.root), words=found, help=take))


def _check_settings(cfg: Config, theirs: Config) -> None:
    """They differ in what is divided alone, else the difference of their figures would be of something else, too."""
    one, other = ({name: config.plain(getattr(each, name)) for name in SECTIONS} for each in (theirs, cfg))
    one["rule"], other["rule"] = ((each.report.patient_rule, each.report.top_k) for each in (theirs, cfg))
    if changed := [line for line in config.differences(one, other) if not line.startswith(FREE)]:
        raise _refused(
            cfg, f"which has other settings (found / wanted by this run: {'; '.join(changed[:5])}); "
            "a contrast run differs in split.unit alone"
        )  # fmt: skip


def _refused(cfg: Config, why: str, helps: str | None = None) -> InputError:
    return InputError(Cause("contrast_run", file=cfg.split.contrast_to, words=why, help=helps))
