"""A contrast run differs from a finished run in one thing, to measure what that does to the figures.

It leaks on purpose: it divides slices in place of patients (split.unit: slice), or chooses among its trials by the test
patients (trials.select_on: test). Or it tests groups of patients that it never saw (split.scheme: leave_one_out).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.dataset import integrity
from cac_hpc.evaluation import report_json
from cac_hpc.results.report import FORMAT_VERSION, Report
from cac_hpc.results.serialization import Damaged, Json, from_json
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig
from cac_hpc.settings.trials import TrialsConfig

SECTIONS = ("labels", "pack", "split", "model", "train", "trials")
FREE = (  # what a dataset or a result does not depend on
    *(f"{key}:" for key in config.WITHOUT_EFFECT), "labels.sheet:", "labels.masks:", "pack.limits.", "pack.regions:",
    "trials.workers:",
)  # fmt: skip


@dataclass(frozen=True)
class Contrast:
    """A way to differ: the section of its two settings, what the first one is, and the run that is not so.

    differing: other settings of the section that may differ, as they are of one of the two ways alone.
    """

    section: str
    setting: str
    value: str
    reference: str
    differing: tuple[str, ...] = ()

    @property
    def free(self) -> tuple[str, ...]:
        return (*FREE, *(f"{self.section}.{name}" for name in (f"{self.setting}:", "contrast_to:", *self.differing)))


BY_SLICE = Contrast("split", "unit", "slice", "the run by patient")
OF_VALIDATION = ("inner_folds:", "gpu_hours:", "pruning.")
ON_TEST = Contrast("trials", "select_on", "test", "the run that chose by validation patients", OF_VALIDATION)
OF_SCHEME = ("folds:", "test_fraction:", "group:", "smallest_group:")
BY_GROUP = Contrast("split", "scheme", "leave_one_out", "the run by patient folds (split.scheme kfold)", OF_SCHEME)


def kinds(split: SplitConfig, trials: TrialsConfig) -> Iterator[tuple[Contrast, str]]:
    """In what a run is contrasted with another, if it is, and that run."""
    of_split = BY_SLICE if split.unit == "slice" else BY_GROUP
    for kind, section in ((of_split, split), (ON_TEST, trials)):
        if section.contrast_to:
            yield kind, section.contrast_to


def check(cfg: Config) -> None:
    """The run that a contrast run is contrasted with is finished, is no contrast run, and is like it in all else.

    Raises: InputError saying what to do.
    """
    found = list(kinds(cfg.split, cfg.trials))
    if len(found) > 1:
        both = " and ".join(f"{kind.section}.{kind.setting} {kind.value}" for kind, _ in found)
        raise InputError(f"found {both}, wanted one of them: a contrast run differs in one way")
    if not found:
        return
    ((kind, named),) = found
    reference = RunPaths(Path(named))
    report = _report(kind, named, reference.config, reference.report_json)
    theirs = stored_settings.load(reference.config)
    if any(kinds(theirs.split, theirs.trials)):
        why = f"which is a contrast run itself; wanted {kind.reference} that it was contrasted with"
        raise _refused(kind, named, why)
    if kind is BY_GROUP and theirs.split.scheme != "kfold":
        raise _refused(kind, named, f"whose split.scheme is {theirs.split.scheme}; wanted {kind.reference}")
    if kind is ON_TEST and not theirs.trials.active:
        raise _refused(kind, named, "which has no trials; wanted the finished run of the same trials")
    if report.status != "COMPLETE":
        complete = f"python jobs/launch_cv.py --resume {shlex.quote(str(reference.root))}"
        raise _refused(kind, named, f"whose report is {report.status}; complete it first", complete)
    tested, cohort = report.levels["patient"].distinct, report.cohort.patients
    if tested != cohort:
        why = f"which tested {tested} of {cohort} patients; wanted all, as split.scheme kfold tests them"
        raise _refused(kind, named, why)
    own, packed = RunPaths(Path(cfg.run)).dataset(cfg.data.packed_dir), reference.dataset(theirs.data.packed_dir)
    assert report.digests, "`_report` refuses one without"
    _check_dataset(kind, own, packed, report.digests.studies_sha256)
    if changed := _changed(config.plain(cfg), config.plain(theirs), kind):
        others = f"which has other settings (found / wanted by this run: {'; '.join(changed[:5])}); "
        raise _refused(kind, named, f"{others}a contrast run differs in {kind.section}.{kind.setting} alone")


def _report(kind: Contrast, named: str, config: Path, stored: Path) -> Report:
    """The report of the run that is named in contrast_to."""
    if not config.is_file() or not stored.is_file():
        missing = "where no run is" if not config.is_file() else "which has no report yet"
        raise _refused(kind, named, f"{missing}; wanted the folder of a finished run, with its report.json")
    again = report_json.remake(config.parent)
    try:
        content = report_json.load(stored)
        if version := report_json.other_version(content):
            why = f"whose report.json is of {version}, wanted {FORMAT_VERSION}"
            raise _refused(kind, named, why, again)
        report = from_json(content, Report)
        if "patient" in report.levels and report.digests:
            return report
        raise Damaged("has no patient level, or no digests")
    except Damaged:
        raise _refused(kind, named, "whose report.json is damaged", again) from None


def _check_dataset(kind: Contrast, own: DatasetPaths, packed: DatasetPaths, studies_sha256: str) -> None:
    """Both are of the same sealed dataset, so that the same slices are divided."""
    if own.seal.exists() and integrity.read_checked(own.seal)["studies_sha256"] == studies_sha256:
        return
    found = "another dataset" if own.seal.exists() else "no sealed dataset"
    take = f"--data.packed_dir {shlex.quote(str(packed.root))}"
    raise InputError(Cause("contrast_dataset", place=kind.section, file=str(own.root), words=found, help=take))


def _changed(ours: Json, theirs: Json, kind: Contrast) -> list[str]:
    """Settings that differ, but for what is measured: the difference of the figures would be of these, too."""
    one, other = ({name: each.get(name, {}) for name in SECTIONS} for each in (theirs, ours))
    one["rule"], other["rule"] = ((each["report"]["patient_rule"], each["report"]["top_k"]) for each in (theirs, ours))
    return [line for line in config.differences(one, other) if not line.startswith(kind.free)]


def _refused(kind: Contrast, named: str, why: str, helps: str | None = None) -> InputError:
    return InputError(Cause("contrast_run", place=kind.section, file=named, words=why, help=helps))
