"""Of the methods, what was studied and how: data, images, division, model, training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cac_hpc.results.external import External
from cac_hpc.results.report import Report
from cac_hpc.sections import trained, wording
from cac_hpc.sections.formatting import figure_name, grouped, listed, percent
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.train import AnatomyConfig, TrainConfig

STUDY = ("study", "studies")
OPTIMIZERS = {"adam": "Kingma and Ba 2015", "adamw": "Loshchilov and Hutter 2019"}
ORIGINS = {
    "sheet": "was read from a sheet",
    "sr": "was read from structured reports beside the scans",
    "masks": "was computed inside of what people had drawn on the scans",
}
LEFT_OUT = {
    "no_prediction": "without a prediction",
    "no_label": "without a label",
    "no_study": "rows without a study",
    "known": "of patients known from training",
}


def of_data(report: Report) -> Iterator[str]:
    """What was found, left out for which reasons, and used."""
    cohort, studies = report.cohort, report.cohort.intake["studies"]
    lost = [f"{studies['without_label']:,} without a label"] if studies["without_label"] else []
    lost += [f"{count:,} refused for {reason.replace('_', ' ')}" for reason, count in studies["refused"].items()]
    yield f"Of {grouped(cohort.studies_found, *STUDY)} of non-contrast cardiac CT that were found,"
    yield f"{listed(lost)} were left out;" if lost else "none was left out;"
    yield f"{grouped(cohort.studies, *STUDY)} of {grouped(cohort.patients, 'patient')} were used, with "
    yield f"{grouped(cohort.slices, 'slice')}."
    if cohort.rejected_files:
        yield f"{grouped(cohort.rejected_files, 'file')} were not used, each for a reason that is on record."
    if sites := cohort.intake.get("cohorts"):
        used = [f"{name} ({one['studies']['used']:,} used)" for name, one in sites.items()]
        yield f"They come from {len(sites)} cohorts: {listed(used)}."
    if cohort.pseudonyms:
        yield "Study numbers were replaced by pseudonyms."
    if report.shown_before:
        times = grouped(report.shown_before.times, "time")
        yield f"Test figures of these patients had been shown {times} before the configuration was set."
    for fold in report.missing_folds:
        yield f"Fold {fold.fold} has no result and is not part of what follows."


def of_external_data(report: Report, found: External) -> Iterator[str]:
    yield f"{grouped(report.cohort.studies_found, *STUDY)} were predicted, for an external test of the {found.source};"
    counts = Counter(one.why for one in found.left_out)
    lost = [f"{count} {LEFT_OUT[why]}" for why, count in sorted(counts.items())]
    yield f"left out were {listed(lost)};" if lost else "none was left out;"
    yield f"{grouped(report.cohort.studies, *STUDY)} of {grouped(report.cohort.patients, 'patient')} were tested."
    if found.out_of_range is not None:
        yield f"Outside of what the model was trained on: {grouped(found.out_of_range, *STUDY)}."


def of_reference(report: Report) -> Iterator[str]:
    labels = report.settings["labels"]
    origin = "was read from a sheet" if report.external else ORIGINS[labels.get("source", "sheet")]
    yield f"The reference standard was the reported Agatston score (Agatston 1990), which {origin}."
    yield f"It was divided into {len(report.categories)} categories: {listed([*_ranges(report)])}."
    counts = listed([f"{count:,}" for count in report.cohort.studies_per_category])
    yield f"There were {counts} studies of these categories."


def _ranges(report: Report) -> Iterator[str]:
    for one in report.categories:
        above = f"above {one.score_above:g}" if one.score_above is not None else ""
        up_to = f"up to {one.score_up_to:g}" if one.score_up_to is not None else ""
        yield f"{one.name} ({' and '.join(filter(None, [above, up_to]))})"


def of_images(report: Report) -> Iterator[str]:
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


def of_division(report: Report) -> Iterator[str]:
    split = report.split
    if split is None:
        return
    if split.unit == "slice":
        yield "This run divides slices, not patients, on purpose: a patient's slices are in training and test at once."
    kind = f"{split.unit}s"
    whom = "the patients of the other groups" if split.scheme == "leave_one_out" else f"all {kind}"
    validation = f"{percent(split.val_fraction, True)} of {whom} served for validation in each (seed {split.seed})."
    over = "over the categories" if split.group is None else f"over the categories and over groups by {split.group}"
    if split.scheme == "kfold":
        yield f"The {kind} were divided into {split.folds} folds, balanced {over};"
        yield f"each was tested once, by a model that had not seen it, and {validation}"
    elif split.scheme == "holdout":
        share = percent(split.test_fraction, True)
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


def of_model(report: Report) -> Iterator[str]:
    model, folds = report.settings["model"], trained.of_folds(report)
    numbers = sorted({one.parameters for one in folds if one.parameters})
    size = f" ({listed([f'{number:,}' for number in numbers])} parameters)" if numbers else ""
    kind = model.get("kind", ModelConfig.kind)
    if kind == "lesions":
        hidden, members = model.get("hidden", ModelConfig.hidden), model.get("members", ModelConfig.members)
        yield f"A perceptron with hidden layers of {listed(hidden)} units{size} gave each candidate a probability of"
        yield "being coronary calcium; it learned from the scores of studies alone."
        if members > 1:
            yield f"The answers of {members} networks were averaged."
        yield "The Agatston scores of candidates above 0.5 were added up to the predicted score; its category is the"
        yield "prediction, and probabilities of the categories came from ordinal regression on validation patients"
        yield "(McCullagh 1980)."
    elif kind == "slices":
        side, filters = model["kernel"], model["filters"]
        yield f"A convolutional network{size} with {len(filters)} convolutions of {side} x {side} pixels and"
        yield f"{listed(filters)} filters, each with ReLU and 2 x 2 max-pooling, a layer of {model['dense']} units and"
        yield f"dropout of {model['dropout']:g} predicted the category of a slice."
        yield f"A patient's category was that of the highest probability by the rule {report.statistics.patient_rule}"
        yield "over his slices."
    else:
        yield f"The model was of the kind {kind}{size}."


def of_training(report: Report) -> Iterator[str]:
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
        yield f"{anatomy['rotation_deg']:g} degrees, {percent(anatomy['scale'], True)})."
    else:
        weight = "weighted by the frequency of the categories" if train["class_weight"] == "balanced" else "unweighted"
        yield f"The loss was {weight} cross-entropy."
        changed = [name.replace("_", " ") for name, value in train["augment"].items() if value]
        yield (f"Training slices were augmented ({listed(changed)})." if changed else "There was no augmentation.")
    tested = "that of the lowest validation loss" if train["evaluate"] == "best" else "the last"
    yield f"The epoch that was tested is {tested}; the seed was {train['seed']}."


def of_choice(report: Report) -> Iterator[str]:
    found = report.trials
    if found is None:
        return
    names = list(dict.fromkeys(name for one in found.trials for name in one.settings))
    yield f"In each fold {grouped(found.number, 'configuration')} ({listed(names)}) drawn by {found.sampler}"
    yield "were tried,"
    whom = "validation patients; test patients were not looked at"
    if found.select_on == "test":
        whom = "TEST patients, on purpose, so that figures are too high"
    yield f"and the one with the highest {figure_name(found.select_by)} was chosen by {whom}."
    if found.seeds > 1:
        yield f"Each was trained with {found.seeds} seeds."
