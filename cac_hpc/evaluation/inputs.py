"""All that a run's report is made from, read once."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cac_hpc.dataset import integrity, sealed, splits
from cac_hpc.dataset.held_out import Groups
from cac_hpc.dataset.splits import Fold
from cac_hpc.evaluation import audit, contrast, occlusion, pairing, published, questions, trials
from cac_hpc.evaluation.occlusion import Blanking, Views
from cac_hpc.evaluation.outcome import Outcome, predicts_scores
from cac_hpc.evaluation.pairing import Finished
from cac_hpc.evaluation.published import PublishedTable
from cac_hpc.evaluation.trials import Tried
from cac_hpc.results.audits import Audit, ShownBefore
from cac_hpc.results.cohort import Digests
from cac_hpc.results.figures import Absent
from cac_hpc.results.serialization import Json
from cac_hpc.run import causes, digests, disk, looks
from cac_hpc.run.causes import PACK
from cac_hpc.run.logs import log
from cac_hpc.run.looks import Looks
from cac_hpc.run.paths import DatasetPaths, FoldPaths, RunPaths
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics.assessment import Tested
from cac_hpc.train import lesion_results, predictions
from cac_hpc.train.lesion_results import Scores
from cac_hpc.train.predictions import Predictions
from cac_hpc.trials import plan
from cac_hpc.trials.standing import FoldTrials

SHOWN = ("labels", "pack", "split", "model", "train")  # settings that a report shows
MASKS = "masks"  # in place of the path of pack.regions
# paths of the place where the run was made: not shown
PATHS = (("labels", "sheet"), ("labels", "masks"), ("split", "contrast_to"), ("trials", "contrast_to"))


@dataclass(frozen=True)
class FoldResult:
    """A fold with a valid result."""

    predictions: Predictions
    views: Views | str  # or why there are none
    facts: Json  # metrics.json
    scores: Scores | None = None  # of a model that predicts any
    lesions: pd.DataFrame | None = None  # lesions.csv, of such a model


@dataclass(frozen=True)
class Inputs:
    """What a run was asked for, and what it left."""

    name: str  # of the run's folder
    labels: LabelsConfig
    report: ReportConfig
    settings: Json  # by section, as the report shows them
    blanking: Blanking
    folds: Sequence[Fold]
    studies: pd.DataFrame  # studies.csv, those that the model can be given
    intake: Json  # intake.json
    audits: list[Audit]
    results: dict[int, FoldResult]
    faults: dict[int, str | None]  # of the other folds: what is wrong with their predictions, None if they have none
    digests: Digests
    published: PublishedTable | Absent | None
    reference: Finished | Absent | None  # of a complete run, the one that it is contrasted with
    other: Finished | Absent | None = None  # the run that report.compare names, with its patients named as here
    shown_before: ShownBefore | None = None  # None if no test figures of these patients had been shown
    tried: Tried | None = None  # of a run with trials
    pseudonyms: bool = False  # whether they stand for study numbers
    answers: dict[str, str] | None = None  # to what only people can say, in the file that report.checklist names
    subgroups: Sequence[str] = ()  # data.subgroups
    groups: Groups | None = None  # of patients, where split.group asks for them

    @property
    def outcome(self) -> Outcome:
        scores = {fold: one.scores for fold, one in self.results.items() if one.scores is not None}
        predictions = {fold: one.predictions for fold, one in self.results.items()}
        return Outcome(predictions, scores if predicts_scores(self.settings) else None)

    @property
    def tested(self) -> list[Tested]:
        """The levels of evaluation."""
        return self.outcome.tested(self.studies, self.labels.edges, self.report)

    @property
    def lesions(self) -> pd.DataFrame | None:
        """lesions.csv of all folds, with the patient of each study; None of a model that knows no lesions."""
        if not predicts_scores(self.settings):
            return None
        owner = self.studies[["study", "patient"]]
        tables = [one.lesions.assign(fold=fold) for fold, one in self.results.items() if one.lesions is not None]
        return pd.concat(tables).merge(owner, on="study") if tables else pd.DataFrame()


def load(run: RunPaths, alone: bool = False) -> Inputs:
    """Read and check everything.

    Args:
        alone: without the audit of folds, which reads all shards, and the run that this one is compared with.
    Raises: InputError if the dataset is not as it was sealed, or a patient is on both sides of a fold.
    """
    cfg = stored_settings.load(run.config)
    folds, dataset = splits.read_splits(run.splits), run.dataset(cfg.data.packed_dir)
    sealed_digests, studies = _read_seal(dataset), sealed.usable(sealed.read_studies(dataset), cfg.model)
    groups = splits.read_groups(run)
    with ThreadPoolExecutor(1) as pool:  # what shards hold is read by a process of its own meanwhile
        reading = pool.submit(_read_folds, run, cfg, folds, studies)
        audits = [] if alone else audit.check_cohort(cfg, run.splits, dataset, folds, studies, groups)
        read_folds, tried = reading.result()
    audits += [trials.check_looks(tried, folds, studies)] if tried and not alone else []
    found = {fold: one for fold, one in read_folds.items() if isinstance(one, FoldResult)}
    faults = {fold: one for fold, one in read_folds.items() if not isinstance(one, FoldResult)}
    return Inputs(
        name=run.root.name,
        labels=cfg.labels,
        report=cfg.report,
        settings=_shown(config.plain(cfg), cfg.trials.active),
        blanking=Blanking(cfg.pack.size, float(round(cfg.train.window_hu[0])), cfg.train.occlusion),
        folds=folds,
        studies=studies,
        intake=disk.read_json(dataset.intake),
        audits=audits,
        results=found,
        faults=faults,
        digests=Digests(*sealed_digests, digests.file_sha256(run.splits)),
        published=_read_published(cfg.report.published, cfg.labels.names),
        reference=None if faults or alone else _read_reference(cfg, run.root),
        other=_read_other(cfg.report.compare),
        shown_before=_shown_before(looks.read_before(run)),
        tried=tried,
        pseudonyms=cfg.data.pseudonym_key is not None,
        answers=_read_answers(cfg.report.checklist),
        subgroups=cfg.data.subgroups,
        groups=groups,
    )


def _shown_before(before: Sequence[Looks]) -> ShownBefore | None:
    """How often test figures had been shown before the run was set up; None if they had not."""
    return ShownBefore(sum(one.times for one in before), looks.names(before)) if before else None


def _shown(plain: Json, has_trials: bool) -> Json:
    """Settings by section, as the report shows them."""
    shown = {name: plain[name] for name in (*SHOWN, *(["trials"] if has_trials else []))}
    for section, key in PATHS:
        shown.get(section, {}).pop(key, None)
    if "regions" in shown["pack"]:
        shown["pack"]["regions"] = MASKS
    return shown


def _as_chosen(fold: int, one: FoldResult | str | None, tried: Tried) -> FoldResult | str | None:
    """The result of a fold, if it was trained with what it chose among its trials; else why it does not count."""
    if not isinstance(one, FoldResult):
        return one
    try:
        trials.check_trained(one.facts, tried, fold)
        return one
    except ValueError as error:
        return str(error)


def _read_seal(dataset: DatasetPaths) -> tuple[str, str]:
    """Digests of studies and plan, of a dataset that is as it was sealed."""
    if not dataset.seal.exists():
        raise InputError(f"{dataset.seal}: not there, wanted a sealed dataset; run jobs/pack.py first")
    content = integrity.read_checked(dataset.seal)
    for path in (dataset.studies, dataset.intake):
        if fault := integrity.table_fault(path, content):
            raise InputError(causes.error(f"{path}: {fault}", f"{PACK} --seal"))
    return content["studies_sha256"], content["plan_sha256"]


def _read_folds(
    run: RunPaths, cfg: Config, folds: Sequence[Fold], studies: pd.DataFrame
) -> tuple[dict[int, FoldResult | str | None], Tried | None]:
    """The result of each fold, or why it does not count, None if there is none; and the trials of a run that has any.

    Raises: InputError as `trials.read`.
    """
    by_study, splits_sha256 = studies.set_index("study"), digests.file_sha256(run.splits)
    num_categories, scored = len(cfg.labels.names), predicts_scores(config.plain(cfg))

    def read(index: int) -> FoldResult | str | None:
        return _read_fold(run.fold(index), index, folds[index], by_study, splits_sha256, num_categories, scored)

    numbers = range(len(folds))
    with ThreadPoolExecutor(2) as pool:
        found = dict(enumerate(pool.map(read, numbers)))
    if not cfg.trials.active:
        return found, None
    of = plan.read(run.trials_plan)
    of_folds = [FoldTrials(run, index, cfg, of) for index in numbers]
    tried = trials.read(cfg, of, of_folds, [run.trials(index).choice for index in numbers])
    return {fold: _as_chosen(fold, one, tried) for fold, one in found.items()}, tried


def _read_fold(
    files: FoldPaths,
    index: int,
    fold: Fold,
    studies: pd.DataFrame,
    splits_sha256: str,
    num_categories: int,
    scored: bool,
) -> FoldResult | str | None:
    """The results of a fold, or what is wrong with them; None if there are none.

    Args:
        studies: indexed by study. scored: whether its model predicts scores of studies.
    """
    if not files.predictions.is_file():
        return None
    try:
        facts = audit.check_result(files, index, splits_sha256, scored)
        found = predictions.read_predictions(files.predictions, index, num_categories)
        audit.check_rows(found, fold, studies)
        of_studies = lesion_results.read_scores(files.scores, index, num_categories) if scored else None
        lesions = lesion_results.read_lesions(files.lesions, index) if scored else None
        if of_studies is not None and lesions is not None:
            audit.check_scores(of_studies, lesions, fold, studies)
    except ValueError as error:
        return str(error)
    views: Views | str = occlusion.OF_LESIONS
    if not scored:
        views = occlusion.read_views(files, index, facts.get("views_sha256", {}), num_categories)
    return FoldResult(found, views, facts, of_studies, lesions)


def _read_published(named: str | None, names: Sequence[str]) -> PublishedTable | Absent | None:
    """The table that is shown with the results."""
    if named is None:
        return None
    try:
        return published.read_for(Path(named), names)
    except (InputError, OSError) as error:  # it was there when the run was planned
        log.warning("report.published: %s", error)
        return Absent(f"The published table {Path(named).name} could not be read any more.")


def _read_answers(named: str | None) -> dict[str, str] | None:
    """What people have answered; None if nothing."""
    if named is None:
        return None
    try:
        return questions.read_answers(Path(named), "report.checklist") or None
    except InputError as error:  # it was as it must be when the run was planned
        log.warning("%s; the checklists have no answers", error)
        return None


def _read_reference(cfg: Config, root: Path) -> Finished | Absent | None:
    """The run that this one is contrasted with; a note why there is none if it is not what it was at the launch."""
    found = next(contrast.kinds(cfg.split, cfg.trials), None)
    if found is None:
        return None
    kind, named = found
    try:
        contrast.check(cfg)
        return pairing.read([Path(named)])[0]
    except (InputError, OSError) as error:
        here = shlex.quote(str(root))
        again = f"python jobs/launch_cv.py --resume {here} --{kind.section}.contrast_to FOLDER names another, "
        again += f"python jobs/aggregate.py --run {here} makes the report again"
        log.warning("no comparison with split.contrast_to or trials.contrast_to: %s; %s", error, again)
        return Absent(causes.sentence(causes.shareable(causes.of(error), root)))


def _read_other(named: str | None) -> Finished | Absent | None:
    """The run that is shown as a further reader; a note why it is not there if it is not what it was."""
    if named is None:
        return None
    try:
        return pairing.read([Path(named)])[0]
    except (InputError, OSError) as error:
        log.warning("report.compare: %s", error)
        why = "its report is missing, or of another version of cac_hpc"
        return Absent(f"the run {Path(named).name}, which report.compare names, cannot be read: {why}")
