"""Whether what the settings name is there: scheduler, model, optimizer, paths, other runs and tables."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

from cac_hpc.cluster.schedulers import SCHEDULERS
from cac_hpc.evaluation import published, questions
from cac_hpc.run import logs
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.checks import require
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import models, optimizers

UNSAFE = ("Cc", "Cs", "Zl", "Zp")  # control characters, bytes that are not UTF-8, separators of lines


def check(run: RunPaths, cfg: Config, source: Path) -> None:
    """What the settings name is there: scheduler, model, optimizer, paths and other runs."""
    wanted = f"auto, {' or '.join(SCHEDULERS)}"
    require(cfg.cluster.kind in ("auto", *SCHEDULERS), "cluster.kind", cfg.cluster.kind, wanted)
    models.chosen(cfg)
    optimizers.check(cfg.train)
    _check_paths(cfg, source)
    _check_other_results(run, cfg)


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


def _check_other_results(run: RunPaths, cfg: Config) -> None:
    """The runs and tables that the results are compared with are what they must be.

    Raises: InputError saying what is wrong with them.
    """
    if cfg.split.contrast_to or cfg.trials.contrast_to:
        _check_contrast(run, cfg)
    if cfg.report.published:
        published.read_for(Path(cfg.report.published), cfg.labels.names)
    if cfg.report.compare:
        check_compared(run, cfg.report.compare)
    if cfg.report.checklist:
        questions.read_answers(Path(cfg.report.checklist), "report.checklist")


def _check_contrast(run: RunPaths, cfg: Config) -> None:
    """The run that this one is contrasted with is what it must be. A run that has its folds goes on without: its report
    says so.

    Raises: InputError saying what is wrong with it.
    """
    from cac_hpc.evaluation import contrast  # types of reports take a quarter of the start, which most runs do without

    try:
        contrast.check(cfg)
    except InputError as error:
        was = stored_settings.load(run.config) if run.splits.is_file() else None
        known = was is not None and [*contrast.kinds(was.split, was.trials)] == [*contrast.kinds(cfg.split, cfg.trials)]
        if not known:
            raise
        logs.say(f"note: {error}; until then the report has no comparison with it")


def check_compared(run: RunPaths, named: str) -> None:
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
