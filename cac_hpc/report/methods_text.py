"""The methods of a report as text for a paper, made from its settings and facts, with the sources of its statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.report import wording
from cac_hpc.results.calibration import Recalibration
from cac_hpc.results.cuts import AtCut, DecisionCurves
from cac_hpc.results.external import External
from cac_hpc.results.figures import Absent
from cac_hpc.results.groups import Subgroups
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.readers import Readers
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.results.training import Training
from cac_hpc.run import escaping, logs
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.train import AnatomyConfig, TrainConfig

HEADING = "Methods, for a paper"
MARKDOWN, LATEX = "methods.md", "methods.tex"
STUDY = ("study", "studies")
OPTIMIZERS = {"adam": "Kingma and Ba 2015", "adamw": "Loshchilov and Hutter 2019"}
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "pydicom")  # that are named with their versions
SOURCES = {
    "Agatston 1990": "Agatston AS et al. J Am Coll Cardiol 1990;15:827-832",
    "Bland and Altman 1986": "Bland JM, Altman DG. Lancet 1986;327:307-310",
    "Cohen 1968": "Cohen J. Psychol Bull 1968;70:213-220",
    "Cox 1958": "Cox DR. Biometrika 1958;45:562-565",
    "DeLong 1988": "DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845",
    "Efron and Tibshirani 1993": "Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman and Hall 1993",
    "Kingma and Ba 2015": "Kingma DP, Ba J. Adam. International Conference on Learning Representations 2015",
    "Loshchilov and Hutter 2019": "Loshchilov I, Hutter F. Decoupled weight decay regularization. International "
    "Conference on Learning Representations 2019",
    "McCullagh 1980": "McCullagh P. J R Stat Soc B 1980;42:109-142",
    "McNemar 1947": "McNemar Q. Psychometrika 1947;12:153-157",
    "Riley 2021": "Riley RD et al. Stat Med 2021;40:4230-4251",
    "Shrout and Fleiss 1979": "Shrout PE, Fleiss JL. Psychol Bull 1979;86:420-428",
    "Vickers and Elkin 2006": "Vickers AJ, Elkin EB. Med Decis Making 2006;26:565-574",
    "Vovk 2012": "Vovk V. Asian Conference on Machine Learning 2012, PMLR 25:475-490",
    "Wilson 1927": "Wilson EB. J Am Stat Assoc 1927;22:209-212",
}
ORIGINS = {
    "sheet": "was read from a sheet",
    "sr": "was read from structured reports beside the scans",
    "masks": "was computed inside of what people had drawn on the scans",
}
OF_CUTS = {  # figures, and what is said of them
    "auroc": "AUROC",
    "auroc_delong": "its interval by DeLong (DeLong 1988)",
    "sensitivity": "sensitivity and specificity",
    "calibration_slope": "calibration slope and intercept (Cox 1958)",
}
LEFT_OUT = {
    "no_prediction": "without a prediction",
    "no_label": "without a label",
    "no_study": "rows without a study",
    "known": "of patients known from training",
}
TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
TEX |= {">": r"\textgreater{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"}}


@dataclass(frozen=True)
class Paragraph:
    """Sentences under a heading."""

    heading: str
    text: str


def paragraphs(report: Report, found: Circumstances) -> list[Paragraph]:
    """The methods, and last the sources that they name."""
    if report.external:
        parts = {"Data": _external_data(report, report.external), "Reference standard": _reference(report)}
        parts["Evaluation"] = _evaluation(report.external)
    else:
        parts = {"Data": _data(report), "Reference standard": _reference(report), "Images": _images(report)}
        parts |= {"Division of the patients": _division(report), "Model": _model(report)}
        parts |= {"Training": _training(report), "Choice of settings": _choice(report)}
    parts |= {"Statistics": _statistics(report), "Software and computers": _software(report, found)}
    texts = [Paragraph(heading, " ".join(filter(None, lines))) for heading, lines in parts.items()]
    written = [one for one in texts if one.text]
    used = [source for name, source in SOURCES.items() if any(name in one.text for one in written)]
    return [*written, Paragraph("Sources", "; ".join(used) + ".")]


def markdown(found: Sequence[Paragraph], report: Report) -> str:
    """The methods as text."""
    mark = [f"**{mark}**" for mark in [wording.status_mark(report)] if mark]
    lines = [f"**{one.heading}.** {escaping.markdown(one.text)}" for one in found]
    return logs.harmless("\n\n".join([f"# {HEADING}", *mark, *lines]) + "\n")


def latex(found: Sequence[Paragraph], report: Report) -> str:
    """The methods for ``\\input`` in a paper."""
    mark = [f"\\textbf{{{_tex(mark)}}}" for mark in [wording.status_mark(report)] if mark]
    lines = [f"\\paragraph{{{_tex(one.heading)}.}} {_tex(one.text)}" for one in found]
    return logs.harmless("\n\n".join([*mark, *lines]) + "\n")


def _tex(text: str) -> str:
    return "".join(TEX.get(sign, sign) for sign in logs.line(text))


def _counted(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def _and(texts: Sequence[object]) -> str:
    words = list(map(str, texts))
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _data(report: Report) -> Iterator[str]:
    """What was found, left out for which reasons, and used."""
    cohort, studies = report.cohort, report.cohort.intake["studies"]
    lost = [f"{studies['without_label']:,} without a label"] if studies["without_label"] else []
    lost += [f"{count:,} refused for {reason.replace('_', ' ')}" for reason, count in studies["refused"].items()]
    yield f"Of {_counted(cohort.studies_found, *STUDY)} of non-contrast cardiac CT that were found,"
    yield f"{_and(lost)} were left out;" if lost else "none was left out;"
    yield f"{_counted(cohort.studies, *STUDY)} of {_counted(cohort.patients, 'patient')} were used, with "
    yield f"{_counted(cohort.slices, 'slice')}."
    if cohort.rejected_files:
        yield f"{_counted(cohort.rejected_files, 'file')} were not used, each for a reason that is on record."
    if sites := cohort.intake.get("cohorts"):
        used = [f"{name} ({one['studies']['used']:,} used)" for name, one in sites.items()]
        yield f"They come from {len(sites)} cohorts: {_and(used)}."
    if cohort.pseudonyms:
        yield "Study numbers were replaced by pseudonyms."
    if report.shown_before:
        times = _counted(report.shown_before.times, "time")
        yield f"Test figures of these patients had been shown {times} before the configuration was set."
    for fold in report.missing_folds:
        yield f"Fold {fold.fold} has no result and is not part of what follows."


def _external_data(report: Report, found: External) -> Iterator[str]:
    yield f"{_counted(report.cohort.studies_found, *STUDY)} were predicted, for an external test of the {found.source};"
    counts = Counter(one.why for one in found.left_out)
    lost = [f"{count} {LEFT_OUT[why]}" for why, count in sorted(counts.items())]
    yield f"left out were {_and(lost)};" if lost else "none was left out;"
    yield f"{_counted(report.cohort.studies, *STUDY)} of {_counted(report.cohort.patients, 'patient')} were tested."
    if found.out_of_range is not None:
        yield f"Outside of what the model was trained on: {_counted(found.out_of_range, *STUDY)}."


def _reference(report: Report) -> Iterator[str]:
    labels = report.settings["labels"]
    origin = "was read from a sheet" if report.external else ORIGINS[labels.get("source", "sheet")]
    yield f"The reference standard was the reported Agatston score (Agatston 1990), which {origin}."
    yield f"It was divided into {len(report.categories)} categories: {_and([*_ranges(report)])}."
    counts = _and([f"{count:,}" for count in report.cohort.studies_per_category])
    yield f"There were {counts} studies of these categories."


def _ranges(report: Report) -> Iterator[str]:
    for one in report.categories:
        above = f"above {one.score_above:g}" if one.score_above is not None else ""
        up_to = f"up to {one.score_up_to:g}" if one.score_up_to is not None else ""
        yield f"{one.name} ({' and '.join(filter(None, [above, up_to]))})"


def _images(report: Report) -> Iterator[str]:
    pack, train = report.settings["pack"], report.settings["train"]
    low, high = pack["series"]["thickness_mm"]
    strict = sum(value == "refuse" for value in pack["checks"].values())
    yield f"Of each study one axial series with slices of {low:g} to {high:g} mm was taken by a fixed rule;"
    yield f"studies that failed one of {strict} checks of geometry, acquisition and values were refused."
    if wording.of_lesions(report):
        yield "In and near the heart, which was found automatically, connected pieces of at least 130 HU were"
        yield "candidates of coronary calcium, and features of each were measured."
        return
    crop = f"cut to a square around the heart with a margin of {pack['crop_margin_mm']:g} mm, which was found "
    cropped = f"{crop}automatically, and " if pack["crop"] == "heart" else ""
    yield f"Slices were {cropped}resampled to {pack['size']} x {pack['size']} pixels;"
    lower, upper = train["window_hu"]
    yield f"values of {lower:g} to {upper:g} HU were mapped to 0 to 1 and cut off outside."


def _division(report: Report) -> Iterator[str]:
    split = report.split
    if split is None:
        return
    if split.unit == "slice":
        yield "This run divides slices, not patients, on purpose: a patient's slices are in training and test at once."
    kind = f"{split.unit}s"
    whom = "the patients of the other groups" if split.scheme == "leave_one_out" else f"all {kind}"
    validation = (
        f"{wording.percent(split.val_fraction, True)} of {whom} served for validation in each (seed {split.seed})."
    )
    over = "over the categories" if split.group is None else f"over the categories and over groups by {split.group}"
    if split.scheme == "kfold":
        yield f"The {kind} were divided into {split.folds} folds, balanced {over};"
        yield f"each was tested once, by a model that had not seen it, and {validation}"
    elif split.scheme == "holdout":
        share = wording.percent(split.test_fraction, True)
        yield f"{split.folds} times, {share} of the {kind} were drawn for test, balanced {over},"
        yield f"and {validation}"
    elif split.scheme == "leave_one_out":
        yield f"Patients form groups by {split.group}; each group of {split.smallest_group} patients or more was tested"
        yield f"by a model that had never seen any of it, and {validation}"
    else:
        yield f"The {kind} were divided by the scheme {split.scheme} into {split.folds} folds, and {validation}"
    passed = [audit.name for audit in report.audits if audit.passed]
    if "patients" in passed:
        yield "No patient was in two parts of a fold."
    if "pixels" in passed:
        yield "No slice of one patient was, pixel by pixel, a slice of another in a different part."


def _model(report: Report) -> Iterator[str]:
    model, training = report.settings["model"], [from_json(facts, Training) for facts in report.training]
    numbers = sorted({one.parameters for one in training if one.parameters})
    size = f" ({_and([f'{number:,}' for number in numbers])} parameters)" if numbers else ""
    kind = model.get("kind", ModelConfig.kind)
    if kind == "lesions":
        hidden, members = model.get("hidden", ModelConfig.hidden), model.get("members", ModelConfig.members)
        yield f"A perceptron with hidden layers of {_and(hidden)} units{size} gave each candidate a probability of"
        yield "being coronary calcium; it learned from the scores of studies alone."
        if members > 1:
            yield f"The answers of {members} networks were averaged."
        yield "The Agatston scores of candidates above 0.5 were added up to the predicted score; its category is the"
        yield "prediction, and probabilities of the categories came from ordinal regression on validation patients"
        yield "(McCullagh 1980)."
    elif kind == "slices":
        side, filters = model["kernel"], model["filters"]
        yield f"A convolutional network{size} with {len(filters)} convolutions of {side} x {side} pixels and"
        yield f"{_and(filters)} filters, each with ReLU and 2 x 2 max-pooling, a layer of {model['dense']} units and"
        yield f"dropout of {model['dropout']:g} predicted the category of a slice."
        yield f"A patient's category was that of the highest probability by the rule {report.statistics.patient_rule}"
        yield "over his slices."
    else:
        yield f"The model was of the kind {kind}{size}."


def _training(report: Report) -> Iterator[str]:
    train = report.settings["train"]
    optimizer = train.get("optimizer", TrainConfig.optimizer)
    source = f" ({OPTIMIZERS[optimizer]})" if optimizer in OPTIMIZERS else ""
    steps = f" in {train['steps']:,} steps" if train.get("steps") else ""
    yield f"Training took {train['epochs']} epochs{steps} with the optimizer {optimizer}{source}, a learning rate of"
    yield f"{train['learning_rate']:g} by the schedule {train.get('schedule', TrainConfig.schedule)} and batches of"
    yield f"{train['batch_size']}."
    if wording.of_lesions(report):
        anatomy = {**vars(AnatomyConfig()), **train.get("anatomy", {})}
        yield f"In every step candidates were moved at random (standard deviations {anatomy['shift_mm']:g} mm,"
        yield f"{anatomy['rotation_deg']:g} degrees, {wording.percent(anatomy['scale'], True)})."
    else:
        weight = "weighted by the frequency of the categories" if train["class_weight"] == "balanced" else "unweighted"
        yield f"The loss was {weight} cross-entropy."
        changed = [name.replace("_", " ") for name, value in train["augment"].items() if value]
        yield f"Training slices were augmented ({_and(changed)})." if changed else "There was no augmentation."
    tested = "that of the lowest validation loss" if train["evaluate"] == "best" else "the last"
    yield f"The epoch that was tested is {tested}; the seed was {train['seed']}."


def _choice(report: Report) -> Iterator[str]:
    found = report.trials
    if found is None:
        return
    names = list(dict.fromkeys(name for one in found.trials for name in one.settings))
    yield f"In each fold {_counted(found.number, 'configuration')} ({_and(names)}) drawn by {found.sampler} were tried,"
    whom = "validation patients; test patients were not looked at"
    if found.select_on == "test":
        whom = "TEST patients, on purpose, so that figures are too high"
    yield f"and the one with the highest {wording.figure_name(found.select_by)} was chosen by {whom}."
    if found.seeds > 1:
        yield f"Each was trained with {found.seeds} seeds."


def _statistics(report: Report) -> Iterator[str]:
    draws, seed = report.statistics.draws, report.statistics.seed
    yield "The unit of analysis is the patient. Intervals of proportions are Wilson's (Wilson 1927), others come from"
    yield f"{draws:,} draws of patients (seed {seed}; Efron and Tibshirani 1993) where tables name no other way; all"
    yield "are 95 % intervals."
    yield "Agreement is Cohen's kappa with quadratic weights (Cohen 1968) and ICC(2,1) (Shrout and Fleiss 1979)."
    yield from _cuts(report.cuts.at if report.cuts else [])
    if isinstance(report.readers, Readers):
        others = [reader for reader in report.readers.readers if reader.compared]
        if others:
            yield f"The model is compared with {_and([one.name for one in others])} in the same draws and by McNemar's"
            yield "exact test (McNemar 1947)."
        if any(reader.scores for reader in report.readers.readers):
            yield "Scores are compared by limits of agreement (Bland and Altman 1986)."
    sets = report.prediction_sets
    if isinstance(sets, PredictionSets) and sets.wanted is not None:
        wanted = wording.percent(sets.wanted, True)
        yield f"For each patient a set of neighbouring categories is given that is to name the true one in {wanted} of"
        yield "patients (conformal prediction, Vovk 2012)."
    yield from _subgroups(report.subgroups)
    if report.how_many and report.cuts and any(one.needed for one in report.cuts.at):
        yield "Patients needed for a stated precision follow the criteria of Riley 2021."


def _cuts(found: Sequence[AtCut]) -> Iterator[str]:
    """What is given at the cuts that were judged."""
    judged = [one for one in found if any(figure.value is not None for figure in one.figures.values())]
    known = {name for one in judged for name, figure in one.figures.items() if figure.value is not None}
    if not any(one.figures["auroc_delong"].low is not None for one in judged):  # patients were tested more than once
        known -= {"auroc_delong"}
    given = [text for name, text in OF_CUTS.items() if name in known]
    if any(isinstance(one.decisions, DecisionCurves) for one in judged):
        given.append("net benefit (Vickers and Elkin 2006)")
    if given:
        yield f"For {_and([f'a score {one.event}' for one in judged])}, {_and(given)} are given."


def _subgroups(found: Subgroups | None) -> Iterator[str]:
    """By what groups of patients are compared, if any are."""
    compared = [fact for fact in found.facts if any(one.differences for one in fact.groups)] if found else []
    if found and compared:
        yield f"Figures are also given by {_and([one.fact.replace('_', ' ') for one in compared])}, of groups of"
        yield f"{found.fewest} patients or more, with {found.comparisons} comparisons that are not corrected for their"
        yield "number."


def _evaluation(found: External) -> Iterator[str]:
    known = {"left_out": "left out", "counted": "counted", "unknown": "not known"}[found.known]
    yield (
        f"Patients on whom the model was trained were {known}."
        if known != "not known"
        else ("Whether the model was trained on these patients is not known.")
    )
    if isinstance(found.recalibration, Recalibration):
        yield f"Probabilities are given as predicted and after recalibration {found.recalibration.method}."
    if not isinstance(found.internal, Absent):
        yield "Figures stand beside those of the model's own cross-validation, which describes how it was made."


def _software(report: Report, found: Circumstances) -> Iterator[str]:
    known: Mapping[str, object] = found.provenance or {}
    packages = known.get("packages")
    versions = (
        [f"{name} {packages[name]}" for name in PACKAGES if name in packages] if isinstance(packages, dict) else []
    )
    if "version" in known:
        python = [f"Python {known['python']}"] if "python" in known else []
        yield f"The software was cac_hpc {known['version']} with {_and([*python, *versions])}."
    training = [from_json(facts, Training) for facts in report.training]
    devices = dict.fromkeys(
        f"{one.device} ({_counted(one.ranks or 1, 'process', 'processes')}, {one.precision})"
        for one in training
        if one.device
    )
    if devices:
        yield f"Folds were trained on {_and([*devices])}."
