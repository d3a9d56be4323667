"""A complete run in, its bundle out: nothing of a patient, a path or a machine goes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

import cac_hpc
from cac_hpc.calcium import candidates
from cac_hpc.dataset import integrity, sealed, shards
from cac_hpc.evaluation import inputs, report_json
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.predict import bundle as bundles
from cac_hpc.predict import bundle_files, bundle_members, model_card, onnx_files, training_range
from cac_hpc.predict.bundle import Bundle, FoldSettings
from cac_hpc.predict.training_range import TrainingRange
from cac_hpc.results.figures import Absent
from cac_hpc.results.levels import Level
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import Json, from_json, to_json
from cac_hpc.run import causes, digests, fold_settings, logs, looks
from cac_hpc.run.causes import RESUME
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import given_paths, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.export_command import ExportConfig
from cac_hpc.statistics import assessment, prediction_sets
from cac_hpc.statistics.pooling import Units
from cac_hpc.train import checkpoint, models
from cac_hpc.train.ordinal import Errors

KEPT = 8  # digests of a study: of as many of its slices, those that come first in the order of the digests


def export(cfg: ExportConfig) -> Bundle:
    """Write the bundle of a run and say what is in it.

    Returns: the bundle as it is read back.
    Raises: InputError if the run is not complete, or something is there already where the bundle is to go.
    """
    out = given_paths.home(cfg.out)
    if out.exists():
        raise InputError(f"--out {out}: is there already, wanted the name of a new folder or .zip file")
    if cfg.onnx:
        onnx_files.check_installed()
    run = stored_settings.run_folder(cfg.run)
    made = of_run(run, cfg.licence)
    extra = onnx_files.files(made) if cfg.onnx else {}
    bundle_files.write(made, out, {bundle_members.CARD: model_card.text(made, sorted(extra)).encode(), **extra})
    read = bundle_files.read(out)
    looks.note(run, "bundle")  # it holds the run's figures
    for line in summary(read, out):
        logs.say(line)
    return read


def of_run(root: Path, licence: str = "") -> Bundle:
    """The bundle of a run.

    Raises: InputError naming what it lacks: a fold, its report, its dataset's shards.
    """
    run = RunPaths(root)
    cfg = stored_settings.load(run.config)
    _check_kind(root, cfg)
    found = inputs.load(run, alone=True)
    report, dataset = _complete(root, found), run.dataset(cfg.data.packed_dir)
    sealed.check(dataset)
    of_folds = [fold_settings.load(run, fold) for fold in range(len(found.folds))]
    folds = [_read_model(run, fold, one) for fold, one in enumerate(of_folds)]
    own = tuple(FoldSettings(one.model, one.train.window_hu) for one in of_folds)
    patients = assessment.units_of(found.tested)["patient"]
    salt = digests.content_sha256([found.digests.studies_sha256, found.digests.plan_sha256])[:32]
    return Bundle(
        kind=cfg.model.kind,
        version=cac_hpc.__version__,
        pack=replace(cfg.pack, regions=None),  # a path; new studies are scored in the heart that is found
        model=cfg.model,
        window_hu=cfg.train.window_hu,
        names=cfg.labels.names,
        edges=cfg.labels.edges,
        patient_rule=cfg.report.patient_rule,
        top_k=cfg.report.top_k,
        weights=[weights for weights, _ in folds],
        errors=[errors for _, errors in folds if errors] or None,
        internal=internal(report),
        training=_training(found, patients),
        salt=salt,
        known=frozenset(known(dataset, salt)),
        licence=licence,
        sets=prediction_sets.calibrate(patients, cfg.report.coverage, len(folds)),
        own=() if set(own) == {FoldSettings(cfg.model, cfg.train.window_hu)} else own,
    )


def _check_kind(root: Path, cfg: Config) -> None:
    """The run is one of which a bundle can be made, by its folds and its model.

    Raises: InputError if not.
    """
    spec = models.chosen(cfg)
    if cfg.split.unit != "patient" or (spec.row == "slice" and spec.unit == "study"):
        raise InputError(
            f"{root}: found split.unit {cfg.split.unit}, model.kind {cfg.model.kind}, wanted a run that divides "
            "patients, with a model of slices or candidates"
        )


def _complete(root: Path, found: Inputs) -> Report:
    """The report of a run whose folds all have a valid result, made of these results.

    Raises: InputError saying what is missing and what to do.
    """
    with causes.in_run(root):
        if found.faults:
            folds = ", ".join(map(str, sorted(found.faults)))
            raise InputError(causes.error(f"{root}: folds {folds} have no valid result, wanted a complete run", RESUME))
    again = report_json.remake(root)
    plain = report_json.read(root)
    if other := report_json.other_version(plain):
        raise InputError(f"{RunPaths(root).report_json}: found {other}, wanted this cac_hpc's; {again} makes it again")
    with report_json.sound(root):
        report = from_json(plain, Report)
    of_these = report.digests == found.digests and report.training == [one.facts for one in found.results.values()]
    if report.status != "COMPLETE" or not of_these:
        raise InputError(
            f"{RunPaths(root).report_json}: is not the complete report of the folds as they are now; {again} makes it"
        )
    return report


def _read_model(run: RunPaths, fold: int, cfg: Config) -> tuple[Mapping[str, Tensor], Errors | None]:
    """The weights of a fold, and of a lesion model the errors of its scores.

    Raises: InputError if they are damaged, or of another run or version.
    """
    files = run.fold(fold)
    try:
        content = checkpoint.load(files.model)
        if content["belongs_to"] != checkpoint.of_fold(run, fold, cfg):
            raise ValueError("is of another fold, or of other splits or another choice among trials")
        if models.chosen(cfg).row != "candidate":
            return content["weights"], None
        if (content["candidates"], content["features"]) != (candidates.VERSION, list(candidates.NAMES)):
            raise ValueError("was trained with candidates of another version of cac_hpc")
        return content["weights"], Errors(float(content["calibration_scale"]), float(content["calibration_gross"]))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        said = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{files.model}: cannot be used ({said}), wanted the weights of this run's fold") from None


def internal(report: Report) -> Json:
    """What a run says of itself, for a bundle: no name of a patient or study.

    Returns: title, as the settings have it; status; format_version of report.json; level: its patient level
    (`Level`); categories; statistics; split; cohort: studies, patients, slices, studies_per_category; reader:
    which reader is to be trusted, and why; scores: the model's agreement with the reported scores
    (`ScoreAgreement`), None of a slice network; digests; prediction_sets: wanted, the
    share of patients, and promised (`PromisedCoverage`), None where there is none.
    """
    cohort, readers = to_json(report.cohort), report.readers
    found = None if isinstance(readers, Absent) else readers
    model = next((one for one in found.readers if one.key == "model"), None) if found else None
    return {
        "title": report.title,
        "status": report.status,
        "format_version": report.format_version,
        "level": to_json(report.levels["patient"]),
        "categories": [to_json(one) for one in report.categories],
        "statistics": to_json(report.statistics),
        "split": to_json(report.split),
        "cohort": {key: cohort[key] for key in ("studies", "patients", "slices", "studies_per_category")},
        "reader": to_json(found.trust) if found else None,
        "scores": to_json(model.scores) if model and model.scores else None,
        "digests": to_json(report.digests),
        "prediction_sets": _promised(report),
    }


def _promised(report: Report) -> Json | None:
    sets = report.prediction_sets
    if not isinstance(sets, PredictionSets) or sets.promised is None:
        return None
    return {"wanted": sets.wanted, "promised": to_json(sets.promised)}


def _training(found: Inputs, units: Units) -> TrainingRange:
    """Args:
    units: the patients that the folds tested.
    """
    names = found.outcome.patient_names(found.studies)
    right = pd.Series(units.label == units.predicted).groupby(names[units.patient]).all()
    by_study = dict(zip(found.studies["study"], found.studies["patient"].map(right), strict=True))
    known_of = {str(study): bool(value) for study, value in by_study.items() if isinstance(value, bool | np.bool_)}
    return training_range.with_gate(training_range.of_studies(found.studies), found.studies, known_of)


def known(dataset: DatasetPaths, salt: str) -> set[str]:
    """Salted digests of KEPT slices of each study.

    Raises: InputError if a shard is damaged.
    """
    found: set[str] = set()
    for shard in integrity.read_checked(dataset.seal)["shards"]:
        path = dataset.root / shard["file"]
        if fault := integrity.fault(path, shard["digest"]):
            raise InputError(f"{path}: {fault}, wanted it as it was sealed")
        _, counts, digest_N16 = shards.read_digests(path)
        for of_study in np.split(digest_N16, np.cumsum(counts)[:-1]):
            different = {row.tobytes() for row in of_study} - {shards.NOTHING}
            found.update(sorted(bundles.salted(digest, salt) for digest in different)[:KEPT])
    return found


def summary(bundle: Bundle, out: Path) -> list[str]:
    """What was exported, for people."""
    level = from_json(bundle.internal["level"], Level)
    accuracy = model_card.shown(level.pooled.figures["accuracy"])
    lines = [
        f"bundle: {out}, sha256 {bundle.digest}",
        f"model {bundle.kind}, {amount(len(bundle.weights), 'fold')}; accuracy by patient {accuracy}",
        *model_card.gate(bundle.training),
        f"{len(bundle.known)} salted digests of slices mark the {bundle.training.studies} training studies",
    ]
    if bundle.sets:
        sets = bundle.sets
        lines.append(f"prediction sets: {sets.coverage:.0%} wanted, calibrated on {amount(sets.patients, 'patient')}")
    return lines if bundle.licence else [*lines, "no licence: --licence TEXT says on what terms others may use it"]
