"""External tests: predictions of a bundle, or of any other program, held against a sheet of labels."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from cac_hpc.evaluation import external_files, external_inputs, predicted, questions
from cac_hpc.evaluation.external_inputs import Asked
from cac_hpc.evaluation.predicted import Predicted
from cac_hpc.labels import label_rows, matching
from cac_hpc.predict import bundle_files, training_range
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.training_range import Codes, Numbers, TrainingRange
from cac_hpc.report import external_report, terminal
from cac_hpc.results.external import CohortFact, Distribution
from cac_hpc.results.figures import Absent
from cac_hpc.run import escaping, logs
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths, prediction_plan
from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.evaluate_command import EvaluateConfig
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig

PREDICTIONS, FACTS = "predictions.csv", "studies.csv"  # of a folder that jobs/predict.py wrote
TITLE = "External test"
KINDS = {"lesions": "lesion model", "slices": "slice network"}
UNKNOWN = Absent("not known")
NAMED = 10  # studies that a message names


def report(out: Path, bundle: Bundle, labels_cfg: LabelsConfig) -> None:
    """Write the report of an external test into OUT/report.

    Args:
        out: folder with predictions.csv, and studies.csv for the cohort. bundle: that made the predictions.
    Raises: InputError if the sheet's categories are not the bundle's, or as `external_inputs.collect`.
    """
    _check_categories(bundle, labels_cfg)
    found = predicted.read(out / PREDICTIONS, bundle.names, bundle.edges)
    asked = Asked(f"{TITLE} of the {_name(bundle)}", [_name(bundle)], ReportConfig())
    test, table = external_inputs.collect(found, [], labels_cfg, asked, bundle.internal)
    external_report.write(out, replace(test, cohorts=_cohorts(bundle.training, out / FACTS, table)), table)


@dataclass(frozen=True)
class Maker:
    """What makes the report when predictions are there, with the bundle's categories."""

    labels_cfg: LabelsConfig

    def check(self, studies: Collection[str], bundle: Bundle) -> None:
        """Say which studies have no label, before anything is predicted.

        Raises: InputError as `matching.match_labels`.
        """
        labels_cfg = self._with_categories(bundle)
        matched = matching.match_labels(labels_cfg, list(studies), "the studies", "study")
        if matched.unlabelled:
            counted = (
                f"{len(matched.unlabelled)} of {len(studies)} studies have no label and are left out of the report"
            )
            log.warning("%s: %s: %s", labels_cfg.origin, counted, logs.first_of(list(matched.unlabelled), NAMED))

    def __call__(self, out: Path, bundle: Bundle) -> None:
        try:
            report(out, bundle, self._with_categories(bundle))
        except InputError as error:
            kept = f"no report was made; the predictions are in {out}: no study is predicted again by the same command"
            raise InputError(f"{error}\n{kept}") from None
        log.info("report of the external test: %s", out / "report")

    def _with_categories(self, bundle: Bundle) -> LabelsConfig:
        return replace(self.labels_cfg, names=bundle.names, edges=bundle.edges)


def maker(labels_cfg: LabelsConfig, out: Path) -> Maker:
    """What makes the report of an external test.

    Args:
        out: folder of the predictions.
    Raises: InputError if the sheet cannot be read, or the report there is of another one: before anything is predicted.
    """
    label_rows.read_rows(labels_cfg)
    if (out / external_files.SETTINGS).exists():
        external_files.check_labels(out, labels_cfg)
    return Maker(labels_cfg)


def evaluate(cfg: EvaluateConfig) -> int:
    """Write the report of predictions of any program, and show it.

    Returns: exit code.
    Raises: InputError as `predicted.read` and `external_inputs.collect`, or if --out is a file or a run.
    """
    out, file = given_paths.out_folder(cfg.out), _predictions(cfg.predictions)
    if RunPaths(out).config.exists():
        raise InputError(f"--out {out}: found a run, whose report would be replaced; wanted another folder")
    if file.exists() and any(Path(sheet).exists() and file.samefile(sheet) for sheet in cfg.labels.sheets):
        raise InputError(f"{file}: found one file for predictions and labels, wanted predictions of a program")
    found = predicted.read(file, cfg.labels.names, cfg.labels.edges)
    bundle, beside = _beside(cfg)
    beside_names = [_named(path) for path in cfg.beside if not bundle_files.is_bundle(Path(path))]
    own = f"predictions of {cfg.name}" if cfg.name else _named(cfg.predictions)
    counting, title = ReportConfig(cuts=cfg.cuts), cfg.title or f"{TITLE} of the {own}"
    answers = questions.read_answers(Path(cfg.checklist), "--checklist") if cfg.checklist else {}
    asked = Asked(title, [own, *beside_names], counting, cfg.known == "use", answers or None)
    internal = bundle.internal if bundle else None
    test, table = external_inputs.collect(found, beside, cfg.labels, asked, internal)
    cohorts = _cohorts(bundle.training if bundle else None, file.parent / FACTS, table)
    made = external_report.write(out, replace(test, cohorts=cohorts), table, cfg.figure_dpi)
    return terminal.present(made, f"figures, tables and page: {out / 'report'}")


def _predictions(named: str) -> Path:
    """The file of predictions, also where the folder of jobs/predict.py is named.

    Raises: InputError saying what to do with what is something else.
    """
    path, again = Path(named), shlex.quote(named)
    if bundle_files.is_bundle(path) and path.exists():
        raise InputError(
            f"{named}: found a bundle, which holds a model and no predictions; wanted these: python jobs/predict.py "
            f"{again} STUDIES --out DIR --labels SHEET makes them, and their report"
        )
    if not path.is_dir() or (path / PREDICTIONS).is_file():
        return path / PREDICTIONS if path.is_dir() else path
    if RunPaths(path).config.is_file():
        raise InputError(
            f"{named}: found a run, wanted predictions or a bundle; python jobs/report.py {again} shows its own report "
            f"and python jobs/export.py {again} --out MODEL.zip makes a bundle of it"
        )
    if prediction_plan(path).is_file():
        raise InputError(f"{path / PREDICTIONS}: not there, as the prediction has not ended: run its command again")
    if (path / external_files.SETTINGS).is_file():
        raise InputError(f"{named}: found an external test, wanted predictions: those that it was made of")
    raise InputError(f"{named}: found no {PREDICTIONS} in it, wanted a folder that jobs/predict.py wrote, or a file")


def _named(path: str) -> str:
    """Whose predictions these are where nobody says: those of a file, or of a folder that jobs/predict.py wrote."""
    file = (Path(path) / PREDICTIONS if Path(path).is_dir() else Path(path)).absolute()  # "." has a name, too
    return f"predictions in {f'folder {file.parent.name}' if file.name == PREDICTIONS else file.name}"


def _beside(cfg: EvaluateConfig) -> tuple[Bundle | None, list[Predicted]]:
    """What stands beside the predictions: the figures of a bundle, and predictions of the same studies.

    Raises: InputError if there is more than one bundle.
    """
    paths = [Path(path) for path in cfg.beside]
    found = [bundle_files.read(path) for path in paths if bundle_files.is_bundle(path)]
    if len(found) > 1:
        raise InputError("--beside: found several bundles, wanted one whose figures stand beside these predictions")
    for bundle in found:
        _check_categories(bundle, cfg.labels)
    names, edges = cfg.labels.names, cfg.labels.edges
    files = [_predictions(str(path)) for path in paths if not bundle_files.is_bundle(path)]
    return (found[0] if found else None), [predicted.read(file, names, edges) for file in files]


def _check_categories(bundle: Bundle, cfg: LabelsConfig) -> None:
    if (tuple(cfg.names), tuple(cfg.edges)) != (tuple(bundle.names), tuple(bundle.edges)):
        found = f"{', '.join(cfg.names)} ({', '.join(f'{edge:g}' for edge in cfg.edges)})"
        wanted = f"{', '.join(bundle.names)} ({', '.join(f'{edge:g}' for edge in bundle.edges)})"
        raise InputError(f"--names, --edges: found {found}, wanted the bundle's categories {wanted}")


def _name(bundle: Bundle) -> str:
    return KINDS.get(bundle.kind, bundle.kind)


def _cohorts(training: TrainingRange | None, facts: Path, tested: pd.DataFrame) -> list[CohortFact]:
    """Attributes of the training studies, and of the studies that are tested.

    Args:
        facts: a studies.csv, which need not be there. tested: as `external_inputs.collect` gives them.
    """
    table = tested[["study", "score"]]
    if facts.is_file():
        read = pd.read_csv(facts, dtype={"study": str}, keep_default_na=False, na_values=[""])
        read["study"] = read["study"].map(escaping.plain)
        table = table.merge(read.drop(columns="score", errors="ignore"), on="study", how="left")
    here = training_range.of_studies(table)
    return [*_numbers(training, here), *_codes(training, here)]


def _numbers(training: TrainingRange | None, here: TrainingRange) -> Iterator[CohortFact]:
    for key, (name, unit) in training_range.NUMBERS.items():
        sides = [None if of is None else of.numbers.get(key) for of in (training, here)]
        if any(side is not None and side.n for side in sides):
            yield CohortFact(name, unit, *(_of_numbers(side) for side in sides))


def _codes(training: TrainingRange | None, here: TrainingRange) -> Iterator[CohortFact]:
    for key, name in training_range.CODES.items():
        sides = [None if of is None else of.codes.get(key) for of in (training, here)]
        if any(side is not None for side in sides):
            yield CohortFact(name, "", *(_of_codes(side) for side in sides))


def _of_numbers(found: Numbers | None) -> Distribution | Absent:
    if found is None or not found.n:
        return UNKNOWN
    middle = found.quantiles[training_range.QUANTILES.index(0.5)]
    return Distribution(found.n, found.unknown, found.low, middle, found.high)


def _of_codes(found: Codes | None) -> Distribution | Absent:
    if found is None:
        return UNKNOWN
    unknown = found.counts.get(training_range.UNKNOWN, 0)
    return Distribution(sum(found.counts.values()) - unknown, unknown, None, None, None, found.counts)
