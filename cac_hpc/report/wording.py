"""Sentences of a report, as its page, its Markdown and the terminal have them; numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from cac_hpc.results.cohort import Split
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.examples import ShownPatient
from cac_hpc.results.figures import Absent, Difference, Figure
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Pooled, Published
from cac_hpc.results.readers import Reader, Readers
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.results.training import Training
from cac_hpc.run import looks
from cac_hpc.train import ordinal

MARK = "CONTRAST RUN, LEAKS"  # in every title, on every page and table
READERS, LOOKS, LESIONS = "Which reader to trust", "Where the network looks", "Which calcium counted"
LEAST = 1e-4  # what is smaller is shown as 0
KAPPAS = "Cohen's kappa plain, linear and quadratic over all categories; ICC(2,1), absolute agreement"
LEAKS = (
    "LEAKS BY DESIGN: this contrast run divides slices, not patients, so that a patient's slices are in the training, "
    "validation and test part of a fold at once. It shows what such a split does to the figures; its figures must not "
    "be reported as performance."
)
LEAKS_CHOICE = (
    "LEAKS BY DESIGN: this contrast run chose its settings by the test patients, whose figures it then reports. It "
    "shows what such a choice does to the figures; its figures must not be reported as performance."
)
OF_PATIENTS = (
    "A patient is tested in every fold that tests slices of it, each time by these alone, which are fewer than in the "
    "run by patient: every test counts, and intervals resample patients with all of their tests."
)
BY_PATIENT = "Folds are divided by patient: no patient is in the training and the test part of one fold."
OWN_PART = (
    "Of a slice this model gives the category of what counted on it, mostly below its patient's: the figures of slices "
    "say little of it."
)
OF_OTHERS = {  # of an external test
    "left_out": "No study is counted whose pixels the model was trained on, nor any other of a patient who has one; "
    "other scans of training patients, or the same one resampled, cannot be recognised.",
    "counted": "Studies whose pixels the model was trained on are counted if there are any: see the check above.",
    "unknown": "Nothing tells whether the program was trained on these patients.",
}
LIMITS = (
    "Every slice carries its patient's category, and most slices of a real exam show no coronary calcium: a "
    "slice-level figure is not a patient-level figure, and the slice-level one is bounded well below 1.",
    BY_PATIENT,
    "This is research software and not a medical device.",
)


def title(report: Report) -> str:
    return report.title + ("" if report.status == "COMPLETE" else f" ({report.status})")


def status_mark(report: Report) -> str:
    """What stands on every table and page of a report that is not a whole one, or leaks; else nothing."""
    marks = [MARK] if report.banner else []
    return ", ".join(marks + [report.status] * (report.status != "COMPLETE"))


def category_names(report: Report) -> list[str]:
    return [category.name for category in report.categories]


def counted(level: str, results: Level) -> str:
    """How many units were tested, and how often, if that is not once each."""
    n, distinct = results.pooled.n, results.distinct
    return f"{n} {level}s" if n == distinct else f"{n} tests of {distinct} {level}s"


def units(level: str, results: Level) -> str:
    """What is counted in a level's matrix."""
    return f"{level}s" if results.pooled.n == results.distinct else f"{level} tests"


def tested(report: Report) -> list[tuple[str, Level]]:
    """The levels at which anything was tested, patients first: they are what it is about."""
    return [(level, results) for level, results in reversed(report.levels.items()) if results.pooled.n]


def extent(report: Report) -> str:
    """How much of what was asked for is there."""
    return "external test" if report.split is None else f"{report.folds_found} of {report.split.folds} folds"


def design(report: Report) -> str:
    """What was tested how, and on how many."""
    by_slice, patients = " by slice" if split_by_slice(report) else "", report.cohort.patients
    if report.split is None:
        source = report.external.source if report.external else ""
        return f"External test of the {source}: {patients} patients, {report.cohort.studies} studies."
    return (
        f"{_scheme(report.split)} cross-validation{by_slice}, {extent(report)}, "
        f"{patients} patients, {report.cohort.slices} slices."
    )


def verdict(report: Report) -> str:
    """What came out, at both levels, against always guessing the largest category."""
    names = category_names(report)
    sentences = [
        design(report),
        *(
            _verdict(level, results, names)
            for level, results in reversed(report.levels.items())
            if level == "patient" or not of_lesions(report)
        ),
    ]
    if of_lesions(report):
        sentences.append(OWN_PART)
    return " ".join(sentences)


def _scheme(split: Split) -> str:
    """The division into folds, in the field's words."""
    names = {
        "kfold": f"{split.folds}-fold",
        "holdout": "repeated hold-out",
        "leave_one_out": f"leave-one-{split.group}-out",
    }
    return names[split.scheme]


def split_by_slice(report: Report) -> bool:
    return report.split is not None and report.split.unit == "slice"


def of_lesions(report: Report) -> bool:
    """Whether the model decides which candidates count; else it is a network that sees slices."""
    return report.lesions is not None


def model(report: Report) -> str:
    if report.external:
        return "model"
    return "lesion model" if of_lesions(report) else "network"


def of_folds(folds: Sequence[int]) -> str:
    return f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"


def network(report: Report, folds: Sequence[int] = ()) -> str:
    """What the picture of the layers shows.

    Args:
        folds: whose it is, where they differ.
    """
    if folds:
        return f"{of_folds(folds).capitalize()}: {network(report)}"
    if of_lesions(report):
        return "The model as it was trained: blocks are as high as layers have numbers; features of a candidate left."
    size = "blocks are as high as the image and as wide as it has channels"
    return f"The network as it was trained: {size}; input on the left."


def trusted(report: Report) -> list[str]:
    """Which reader to trust, if any others were compared."""
    return [f"**{trust(report.readers)}**"] if isinstance(report.readers, Readers) else []


def trust(found: Readers) -> str:
    """Which reader to trust, and why; `evaluation.readers.trust` has the rule."""
    return " ".join([_trust(found), *_large_errors(found)])


def _large_errors(found: Readers) -> list[str]:
    """That another reader is surely less often two or more categories off than the one to trust, if one is."""
    own = next(reader for reader in found.readers if reader.compared is None)
    chosen = next((reader for reader in found.readers if reader.key == found.trust.reader), None)
    if chosen is None:
        return []
    if chosen is not own:
        fewer = [own] if (_off_less(chosen).high or 0) < 0 else []
    else:
        fewer = [reader for reader in found.readers if reader.compared and (_off_less(reader).low or 0) > 0]
    return [
        f"But the {reader.name} makes fewer large errors: it is two or more categories off in {_off(reader)} of "
        f"{reader.levels['patient'].n} patients, the {chosen.name} in {_off(chosen)}, and the 95 % interval of the "
        "difference does not reach 0."
        for reader in fewer
    ]


def _off(reader: Reader) -> int:
    """In how many patients it is two or more categories off."""
    found = reader.levels["patient"]
    return round((found.figures["two_or_more_off"].value or 0) * found.n)


def _off_less(reader: Reader) -> Difference:
    """How much more often the model is two or more categories off than this reader."""
    assert reader.compared
    return reader.compared.levels["patient"].figures["two_or_more_off"]


def _trust(found: Readers) -> str:
    """The reader that the rule chooses, and why."""
    by_key, said = {reader.key: reader for reader in found.readers}, found.trust
    own = next(reader for reader in found.readers if reader.compared is None)
    chosen, rivals = by_key.get(said.reader or ""), [by_key[key] for key in said.rivals]
    n = own.levels["patient"].n
    if said.reason == "few":
        return f"Which reader to trust cannot be said: {own.levels['patient'].patients} patients are too few."
    if chosen is None:
        return (
            f"Trust none of the readers: on these {n} patients none is significantly better than always guessing the "
            f"largest category (the {own.name} is right in {right(own)})."
        )
    begin = f"Trust the {chosen.name}: it is right in {right(chosen)} of {n} patients"
    if said.reason == "model_worse":
        if _surely_worse(chosen):
            return f"{begin}, the {own.name} in {right(own)}, which is worse: {_less(chosen)}."
        return (
            f"{begin} and significantly better than always guessing the largest category, which the {own.name} (right "
            f"in {right(own)}) is not; these patients do not show which of the two is better: {_less(chosen)}."
        )
    if said.reason == "simpler":
        worse = [reader for reader in found.readers if reader.compared and reader not in (chosen, *rivals)]
        unlike = f" Worse than the {own.name}: {_counts(worse)}." if worse else ""
        equal = f"these patients do not show that another is better ({_counts(rivals)})"
        return f"{begin} and needs no training; {equal}.{unlike}"
    others = _counts(reader for reader in found.readers if reader.compared and reader not in rivals)
    equal = " or ".join(f"{reader.name} ({right(reader)})" for reader in rivals)
    equal = equal and f"; these patients do not show whether {equal} is worse"
    return f"{begin}, more than each of the others ({others}){equal}."


def _surely_worse(reader: Reader) -> bool:
    """Whether the interval of the model's accuracy less the reader's lies below 0."""
    assert reader.compared
    high = reader.compared.levels["patient"].figures["accuracy"].high
    return high is not None and high < 0


def _counts(found: Iterable[Reader]) -> str:
    """How many patients each has right."""
    return ", ".join(f"{reader.name} {right(reader)}" for reader in found)


def right(reader: Reader) -> int:
    """How many patients a reader has right."""
    pooled = reader.levels["patient"]
    return pooled.n - pooled.errors


def _less(reader: Reader) -> str:
    """The model's accuracy less that of a reader, in the same draws."""
    assert reader.compared
    return f"difference of accuracy {in_sentence(reader.compared.levels['patient'].figures['accuracy'])}"


def _verdict(level: str, results: Level, names: list[str]) -> str:
    pooled, figures = results.pooled, results.pooled.figures
    if not pooled.n or pooled.majority_category is None:
        return f"No {level} was tested."
    accuracy, majority, gain = (figures[name] for name in ("accuracy", "majority_accuracy", "gain_over_majority"))
    between = "" if accuracy.low is None else f", 95 % interval {number(accuracy.low)} to {number(accuracy.high)}"
    return (
        f"**{level.capitalize()} level: accuracy {number(accuracy.value)}** (n = {counted(level, results)}{between}), "
        f"{against(gain.value or 0)} always guessing the largest category ({names[pooled.majority_category]}: "
        f"{number(majority.value)}); quadratic kappa {with_interval(figures['kappa_quadratic'])}."
    )


def against(gain: float, digits: int = 3) -> str:
    """An accuracy less that of always guessing the largest category, in words."""
    if abs(gain) < 0.0005:
        return "no better and no worse than"
    return f"{number(abs(gain), digits)} {'above' if gain > 0 else 'BELOW'}"


def inflation(report: Report) -> list[str]:
    """Of a contrast run, by how much its figures are above those of the run that does not leak."""
    if not report.banner:
        return []
    found = report.inflation
    if found is None:
        why = "folds are missing" if report.missing_folds else "this is not the final report"
        return [f"Inflation: not worked out, for {why}."]
    if isinstance(found, Absent):
        return [f"Inflation: not worked out: {found.note}."]
    if not split_by_slice(report):
        return [*_claimed(report, found)]
    parts = []
    for level, results in found.levels.items():
        figure = results.figures["accuracy"]
        values = f"{number(figure.reference)} by patient, {number(figure.other)} by slice"
        parts.append(f"{level} accuracy {difference(figure)} ({values})")
    return [f"Inflation by the split by slice, against the run {found.reference.run}: {'; '.join(parts)}."]


def shown_before(report: Report) -> list[str]:
    """That test figures of these patients had been seen before, whatever was chosen by them."""
    before = report.shown_before
    if before is None:
        return []
    told = looks.told(before.times, before.runs)
    return [
        f"**Not a first look: {told}.** What is chosen after seeing test figures fits the patients that they are of."
    ]


def _claimed(report: Report, found: Comparison) -> Iterator[str]:
    """What choosing by the test patients would have claimed, and what the run says that did not."""
    if report.trials is None:
        return
    count, name = report.trials.number, report.trials.select_by
    figures = found.levels["patient"].figures
    parts = [
        f"{figure_name(one)} {number(figures[one].other)}, the choice by validation says "
        f"{number(figures[one].reference)}: inflation {difference(figures[one])}"
        for one in dict.fromkeys((name, "accuracy")) if figures[one].difference is not None
    ]  # fmt: skip
    yield (
        f"Inflation by choosing the best of {count} trials on the test patients, against the run "
        f"{found.reference.run}: best on test would have claimed {'; '.join(parts)}."
    )


def missing_lines(report: Report, run: str = "RUN") -> list[str]:
    """One line per fold without a valid result, and what to do about it.

    Args:
        run: the run folder, in commands.
    """
    if report.status == "COMPLETE":
        return []
    lines = [
        f"{report.status}: fold {fold.fold} is {'not done yet' if fold.at_work else 'missing'} ({fold.reason})."
        for fold in report.missing_folds
    ]
    if report.status == "PROVISIONAL":
        lines.append(
            "This is not the final report: the run's last job makes it when all folds have ended; where that job does "
            f"not come, python jobs/aggregate.py --run {run}."
        )
    again = ", ".join(f"fold {fold.fold}" for fold in report.missing_folds if not fold.at_work)
    return [*lines, f"To complete the report ({again}): python jobs/launch_cv.py --resume {run}"] if again else lines


def cohort(report: Report) -> str:
    found = report.cohort
    counts = ", ".join(
        f"{name} {count}" for name, count in zip(category_names(report), found.studies_per_category, strict=True)
    )
    if report.external:
        return f"Cohort: {found.studies_found} studies predicted, {found.studies} tested ({counts})."
    lost = found.intake.get("no_heart", 0) if report.settings.get("model", {}).get("kind") == "lesions" else 0
    without = f"{lost} left out, as no heart was found in them, where candidates of calcium are looked for; "
    return (
        f"Cohort: {found.studies_found} studies found, {found.studies} used ({counts}); {without if lost else ''}"
        f"{found.rejected_files} files not used, each with its reason in rejected.csv."
    )


def crop(intake: Mapping[str, Any]) -> list[str]:
    """What cropping to the heart has changed, by intake.json, if slices were cropped."""
    found = intake.get("crop")
    if not found:
        return []
    refused = intake["studies"]["refused"].get("no_heart", 0)
    if not found["studies"]:
        return [f"No slice was cropped (pack.crop: heart): no heart was found in {found['whole']} studies."]
    side, share, pixel, whole = (found[name] for name in ("side_mm", "share", "pixel_mm", "whole_pixel_mm"))
    return [
        f"Slices were cropped to a square around the heart and {found['margin_mm']:g} mm around it (pack.crop: heart) "
        f"before they were resampled: its side is {side['min']:.0f} to {side['max']:.0f} mm, median "
        f"{side['median']:.0f}; {share['median']:.0%} of a slice (median) are kept, and a packed pixel is "
        f"{pixel['median']:.2f} mm wide in place of {whole['median']:.2f}. {found['whole']} studies are whole, for no "
        f"heart was found in them, and {refused} were left out for it. What it did to the results: python "
        "jobs/report.py RUN_WITHOUT_CROP RUN."
    ]


def published_at(level: str, report: Report) -> Published | None:
    """The published table's figures, at the level that it is of alone."""
    found = report.published
    return found if isinstance(found, Published) and found.level == level else None


def published_title(found: Published) -> str:
    """What a published table is, and is not."""
    return (
        f"{found.title}, computed from its printed matrix of {found.n} {found.level}s "
        "(other data: to look at, not to subtract)"
    )


def sign_test(pooled: Pooled) -> str:
    test = pooled.sign_test
    p_value = test.note if test.p_value is None else f"exact sign test {chance(test.p_value)}"
    return (
        f"Predicted too high: {pooled.over_estimated}, too low: {pooled.under_estimated}; of patients, "
        f"{test.over} more often too high and {test.under} more often too low: {p_value}."
    )


def calibration(results: Level) -> str:
    """Whether the probabilities mean what they say."""
    found = results.calibration
    if isinstance(found, Absent):
        return f"Calibration: none, for {found.note}."
    return (
        f"Calibration: Brier score {with_interval(found.brier)}, where the true frequencies of the categories give "
        f"{with_interval(found.brier_of_frequencies)}; expected calibration error "
        f"{with_interval(found.expected_calibration_error)} over {found.bins} bins of equal width."
    )


def other_rules(results: Level) -> list[str]:
    others = [f"{other.rule}: {with_interval(other.accuracy)}" for other in results.other_rules or ()]
    return [f"Accuracy by the rules that were not chosen (report.patient_rule): {', '.join(others)}."] if others else []


def untrained(report: Report) -> str:
    """What the readers do that nothing was learned for; empty if there are none."""
    found = report.readers
    known = {reader.key for reader in found.readers} if isinstance(found, Readers) else set()
    where, there = "in the heart's region, found automatically", "there"
    if "regions" in report.settings.get("pack", {}):
        where, there = "in the masks of pack.regions", where
    kinds = {
        "rule": f"The Agatston rule counts lesions of at least 130 HU {where}.",
        "control": f"The untrained control counts candidates of which more than half lies {there}.",
    }
    said = [text for key, text in kinds.items() if key in known]
    return " ".join([*said, *["Neither knows any label."] * (len(said) > 1)])


def readers(report: Report) -> list[str]:
    """What the readers are, which one to trust, and by which rule."""
    found = report.readers
    if isinstance(found, Absent):
        return [f"No other reader is compared with the {model(report)}: {found.note}."]
    own = next(reader for reader in found.readers if reader.compared is None)
    lacks = "a reader says nothing" if report.external else "the rule has no score"
    left_out = f" Left out, for {lacks} of them: {found.left_out.studies} studies." * bool(found.left_out.studies)
    absent = f" Not compared: {'; '.join(found.absent)}." if found.absent else ""
    tests = own.levels["patient"].n
    without = f"{left_out}{absent} {untrained(report)}"
    return [
        *trusted(report),
        "How this is decided: a reader must be better than always guessing the largest category, and one reader is "
        "better than another if the 95 % interval of the difference of their accuracies, in the same draws of "
        "patients, lies on one side of 0. Of readers that do not differ significantly the one that needs no training "
        "is preferred; if another makes significantly fewer errors of two or more categories, that is added.",
        f"All readers on the same {tests} tests of patients.{without.rstrip()}",
    ]


def agreement(found: Readers) -> list[str]:
    """What the agreement of scores means, if a reader has any."""
    known = [reader.scores for reader in found.readers if reader.scores]
    if not known or known[0].bias is None:
        return [f"Agreement of scores: not given, for there are {one.note}." for one in known[:1]]
    return []


def lesions(report: Report) -> list[str]:
    """What the pictures show, and whom."""
    found = report.lesions
    if found is None:
        return []
    if isinstance(found, Absent):
        return [f"No patient is shown: {found.note}."]
    return [
        "The model weighs candidates: connected pieces of at least 130 HU in and near the heart. What it takes for "
        "coronary calcium (probability p above 0.5) counts with its whole Agatston score; the sum is the predicted "
        f"score, and its category the prediction. Of {found.candidates} candidates {found.counted} counted.",
        *_probabilities(report),
        f"Shown: {found.rule}. tables/lesions.csv has the candidates of every patient.",
    ]


def _probabilities(report: Report) -> list[str]:
    """How probabilities of categories come from a score, as the folds say."""
    found = [from_json(facts, Training).calibration for facts in report.training]
    methods = dict.fromkeys(str(one["method"]) for one in found if one and "method" in one)
    if not methods:
        return []
    scale = max((float(one["scale"]) for one in found if one and "scale" in one), default=0.0)
    edges = [one.score_up_to for one in report.categories if one.score_up_to is not None]
    runs = ordinal.other_is_likelier(scale, edges) if scale else []
    scores = [f"{low}" if low == high else f"{low} to {high}" for low, high in runs]
    where = f" The predicted category is that of the score; where the score is {', '.join(scores)} another category is "
    where += f"more probable, as the errors reach over its edges (largest scale of a fold: {number(scale, 2)})."
    return [f"Probabilities of the categories: {'; '.join(methods)}.{where if scores else ''}"]


def decided(patient: ShownPatient, names: list[str]) -> str:
    """Why a patient has the predicted category, in one line."""
    counted = sum(lesion.counted for lesion in patient.lesions)
    what = f"{counted} candidate{'s' * (counted != 1)} counted" if counted else "no candidate counted"
    return (
        f"Predicted {names[patient.predicted]}: {what}, score {short(patient.score)} "
        f"(probability of the category {number(patient.probability, 2)})."
    )


def reported(patient: ShownPatient, names: list[str]) -> str:
    """What the sheet says of a patient."""
    score = "" if patient.reported is None else f", score {short(patient.reported)}"
    return f"Reference {names[patient.true]}{score}."


def short(score: float) -> str:
    """A score as people read it: whole from 10 on."""
    return f"{score:.0f}" if score >= 9.95 or score == 0 else f"{score:.1f}"


def occlusion(report: Report) -> list[str]:
    """What the network was shown of each slice in the occlusion test."""
    found = report.occlusion
    if isinstance(found, Absent):
        return [f"The network was not tested on parts of slices: {found.note}."]
    left_out = found.left_out
    without = f" Studies in which no heart was found, left out: {left_out.studies}." if left_out.studies else ""
    if left_out.folds:
        without += f" Folds without this test, left out: {', '.join(map(str, left_out.folds))}."
    own = report.trials is not None and any("train.window_hu" in one.settings for one in report.trials.choices)
    blank = "the lower end of its fold's train.window_hu" if own else f"{found.blank_hu:g} HU"
    return [
        "The same slices were shown to the network once more with all but a box around the heart blank, and once with "
        f"that box blank ({blank}). The box is {found.share:.0%} of a slice. A network that reads "
        f"the coronary arteries keeps its accuracy with the heart alone and loses it without.{without}"
    ]


def methods(report: Report) -> list[str]:
    counts = report.statistics
    checked = {True: "passed", False: "NOT passed", None: "NOT checked"}
    return [
        f"Intervals of proportions are Wilson's, where a patient has several units with their effective number; all "
        f"others are percentiles of {counts.draws} draws of patients (seed {counts.seed}). {KAPPAS}. "
        "docs/report.md defines every figure; tables/figures.csv has each with unit, n and interval.",
        *([OF_PATIENTS] if split_by_slice(report) else []),
        *(f"Check of {audit.name} {checked[audit.passed]}: {audit.note}." for audit in report.audits),
    ]


def limits(report: Report) -> list[str]:
    """What a reader must know, the leak in place of its absence."""
    if report.external:
        return [OF_OTHERS[report.external.known], *LIMITS[2:]]
    if report.banner and not split_by_slice(report):
        return [report.banner, *LIMITS]
    return [report.banner if report.banner and line is BY_PATIENT else line for line in LIMITS]


def heading(figure: str) -> str:
    """What a column of a figure is called."""
    return figure.replace("_", " ").replace("f1", "F1")


def figure_name(figure: str) -> str:
    """What a figure is called in a sentence."""
    return f"{figure.removeprefix('kappa_')} kappa" if figure.startswith("kappa_") else heading(figure)


def chance(p_value: float) -> str:
    """A p-value; none is 0."""
    return f"p = {number(p_value, 2)}" if p_value >= 0.001 else "p < 0.001"


def difference(figure: Difference) -> str:
    if figure.difference is None:
        return "undefined"
    why = f" (no interval: {figure.note})" if figure.note else ""
    return signed(figure.difference, figure.low, figure.high) + (why if figure.low is None else "")


def signed(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A difference and its interval in a table, where it has one."""
    between = "" if low is None else f" [{number(low, digits, '+')}, {number(high, digits, '+')}]"
    return number(value, digits, "+") + between


def brief(figure: Difference) -> str:
    """A difference in few words; why it has no interval is in the tables."""
    return difference(replace(figure, note=None))


def in_sentence(figure: Figure | Difference) -> str:
    """A figure, or a difference, in a sentence: two digits, and its interval if it has one."""
    if isinstance(figure, Figure):
        return said(figure.value, figure.low, figure.high)
    return said(figure.difference, figure.low, figure.high, "+")


def said(value: float | None, low: float | None, high: float | None, sign: Literal["", "+"] = "") -> str:
    """A value and its interval in a sentence."""
    between = "" if low is None else f" ({number(low, 2, sign)} to {number(high, 2, sign)})"
    return number(value, 2, sign) + between


def with_interval(figure: Figure, digits: int = 3) -> str:
    return interval(figure.value, figure.low, figure.high, digits)


def interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A value and its interval in a table, where it has one."""
    between = "" if low is None else f" [{number(low, digits)}, {number(high, digits)}]"
    return number(value, digits) + between


def number(value: float | int | None, digits: int = 3, sign: Literal["", "+"] = "") -> str:
    """A number as people read it; files for programs have all of its digits.

    Args:
        digits: behind the point up to 1, in all above; of small ones two that are not 0. What would be 1.00 and is less
        has a third.
    """
    if value is None or isinstance(value, int):
        return "undefined" if value is None else str(value)
    size = abs(value)
    if size >= LEAST and float(f"{size:.2g}") < 10 ** (1 - digits):
        return f"{value:{sign}.2g}"
    if size > 1 + 0.5 / 10**digits:
        return f"{value:{sign}.{max(0, digits - len(str(int(size))))}f}"
    less = size < 1 and round(size, digits) == 1 and round(size, 3) < 1
    return f"{value:{sign}.{3 if less else digits}f}"


def percent(share: float, of_settings: bool = False) -> str:
    """A share in whole percent, with as many digits more as it takes to be less than 100 % where it is, or more than 0.

    Args:
        of_settings: all digits that people have written.
    """
    if of_settings:
        return f"{100 * share:.6g}%"
    shown = (f"{share:.{digits}%}" for digits in range(4))
    return next((one for one in shown if share in (0, 1) or float(one[:-1]) not in (0, 100)), f"{share:.4%}")
