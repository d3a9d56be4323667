"""The first screen of a report: what a clinician asks first, answered in sentences and one small table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cac_hpc.results.cuts import Cuts
from cac_hpc.results.external import InternalTest, RangeSplit
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Published
from cac_hpc.results.readers import Readers
from cac_hpc.results.report import Report
from cac_hpc.sections import contrast_parts, level_parts, method_parts, reader_parts, trial_parts, wording
from cac_hpc.sections.formatting import in_sentence, number
from cac_hpc.sections.section import Section, TextTable

QUESTIONS = {  # by their ids on the page, in their order
    "good": "How good is it?",
    "at-cuts": "How good at the scores that treatment depends on?",
    "against": "Better than what?",
    "sure": "How sure is that, and how many patients would settle it?",
    "not-for": "For whom does it not hold?",
}
AT_CUTS = ("sensitivity", "specificity", "auroc")
FEW = 10  # patients: a category of fewer is counted and not judged
OTHERS = (
    "Nothing here speaks for scanners, sites, protocols or populations that are not among these studies. Research "
    "software, not a medical device."
)


def sections(report: Report, more: Mapping[str, Sequence[str]]) -> list[Section]:
    """The questions and their answers.

    Args:
        more: what other parts of the report say to a question, by its id.
    """
    lines = {
        "good": _good(report),
        "at-cuts": _notes_at_cuts(report.cuts),
        "against": _against(report),
        "sure": [*_of_folds(report), *method_parts.shown_before(report)],
        "not-for": list(_not_for(report)),
    }
    tables = {"good": contrast_parts.tables(report), "at-cuts": _at_cuts(report), "against": _readers(report.readers)}
    last = {"not-for": [OTHERS]}
    return [
        Section(key, text, [*lines[key], *more.get(key, ()), *last.get(key, ())], tables.get(key, []))
        for key, text in QUESTIONS.items()
    ]


def _good(report: Report) -> list[str]:
    wanted = {level: found for level, found in report.levels.items() if level == "patient"}
    if not wording.of_lesions(report):
        wanted |= report.levels
    inflated = [f"**{line}**" for line in contrast_parts.lines(report)]
    said = [_right(level, found, len(report.categories)) for level, found in wanted.items()]
    return [*said, *_of_scores(report), *inflated, *trial_parts.verdict(report)]


def _right(level: str, found: Level, num_categories: int) -> str:
    """How many are right, and how the others are wrong."""
    pooled, figures = found.pooled, found.pooled.figures
    if not pooled.n:
        return f"No {level} was tested."
    far = round((figures["two_or_more_off"].value or 0) * pooled.n)
    wrong = (
        f" Wrong: {pooled.errors}, by two or more categories {far}; too high {pooled.over_estimated}, too low "
        f"{pooled.under_estimated}."
    )
    right = (
        f"{pooled.n - pooled.errors} of {wording.counted(level, found)} are put in the right one of {num_categories} "
        f"categories: accuracy {_with_interval(figures['accuracy'])}."
    )
    begin = f"**{right}**" if level == "patient" else f"Slices, each with the category of its patient: {right}"
    return f"{begin}{wrong * (pooled.errors > 0)} Quadratic kappa {in_sentence(figures['kappa_quadratic'])}."


def _with_interval(figure: Figure) -> str:
    """In words, the first time that an interval is met."""
    why = f" (no interval: {figure.note})" if figure.note else ""
    between = f" (95 % interval {number(figure.low, 2)} to {number(figure.high, 2)})"
    return number(figure.value, 2) + (why if figure.low is None else between)


def _of_scores(report: Report) -> list[str]:
    """How near the model's scores are to the reported ones, if it has any."""
    of = {} if isinstance(report.readers, Absent) else {one.key: one.scores for one in report.readers.readers}
    own = {} if isinstance(report.readers, Absent) else {one.key for one in report.readers.readers if not one.compared}
    scores = next((of[key] for key in own), None)
    if scores is None or scores.log_icc.value is None:
        return []
    rule = of.get("rule")
    beside = f"; of the Agatston rule {in_sentence(rule.log_icc)}" if rule else ""
    return [f"Its scores agree with the reported ones: ICC of log(1 + score) {in_sentence(scores.log_icc)}{beside}."]


def _at_cuts(report: Report) -> list[TextTable]:
    found = report.cuts
    if found is None or not any(at.n for at in found.at):
        return []
    units = wording.units("patient", report.levels["patient"])
    cells = [
        [at.event, f"{at.positives} of {at.n}", *(_or_dash(at.figures[name]) for name in AT_CUTS)]
        for at in found.at if at.n
    ]  # fmt: skip
    columns = ["score", units, "sensitivity", "specificity", "AUROC"]
    return [TextTable("At each cut; in brackets 95 % intervals", columns, cells)]


def _or_dash(figure: Figure) -> str:
    return "-" if figure.value is None else in_sentence(figure)


def _notes_at_cuts(found: Cuts | None) -> list[str]:
    """Why figures are missing."""
    if found is None or not found.n:
        return ["No cut was looked at (report.cuts)." if found is None else "Nobody was tested."]
    notes: dict[str, list[str]] = {}
    for at in found.at:
        figures = [at.figures[name] for name in AT_CUTS if at.n]
        note = next((one.note for one in figures if one.value is None and one.note), at.note if not at.n else None)
        if note:
            notes.setdefault(note, []).append(at.event)
    return [f"Score {' and '.join(events)}: {note}." for note, events in notes.items()]


def _against(report: Report) -> list[str]:
    external = report.external.internal if report.external else None
    published = report.published if isinstance(report.published, Published) else None
    absent = [f"No other reader was compared: {report.readers.note}."] if isinstance(report.readers, Absent) else []
    inside = []
    if isinstance(external, InternalTest):
        accuracy = external.compared.figures["accuracy"]
        inside = [
            f"In the cross-validation accuracy was {number(accuracy.reference, 2)}; here it is "
            f"{number(accuracy.other, 2)}, difference {in_sentence(accuracy)}, of other patients."
        ]
    elsewhere = [
        f"Published ({one.title}; other data): accuracy {number(one.figures['accuracy'].value, 2)} of {one.n} "
        f"{one.level}s."
        for one in [published] if one
    ]  # fmt: skip
    gain = _gain(report) if absent else []
    untrained = reader_parts.untrained(report)
    return [*gain, *reader_parts.trusted(report), *[untrained] * bool(untrained), *absent, *inside, *elsewhere]


def _readers(found: Readers | Absent) -> list[TextTable]:
    """Every other way to a category on the same patients."""
    if isinstance(found, Absent):
        return []
    own = next(reader for reader in found.readers if reader.compared is None)
    n = own.levels["patient"].n
    cells = [[own.name, f"{reader_parts.right(own)} of {n}", ""]]
    cells += [
        [reader.name if reader.key != "largest" else f"always the {reader.name}",
         f"{reader_parts.right(reader)} of {n}", in_sentence(reader.compared.levels["patient"].figures["accuracy"])]
        for reader in found.readers if reader.compared
    ]  # fmt: skip
    columns = ["way to a category", "right", "difference of accuracy"]
    caption = f"On the same patients; difference: the {own.name} less the other, in brackets 95 % intervals"
    return [TextTable(caption, columns, cells)]


def _gain(report: Report) -> list[str]:
    """Against always guessing the largest category."""
    pooled = report.levels["patient"].pooled
    if not pooled.n or pooled.majority_category is None:
        return []
    most, name = pooled.support[pooled.majority_category], report.categories[pooled.majority_category].name
    gain = pooled.figures["gain_over_majority"]
    return [
        f"Always guessing the largest category ({name}) is right in {most} of {pooled.n} "
        f"({number(most / pooled.n, 2)}); the {wording.model(report)} is {level_parts.against(gain.value or 0, 2)} "
        f"that{_between(gain)}."
    ]


def _between(figure: Figure) -> str:
    if figure.low is None:
        return ""
    return f", 95 % interval of the difference {number(figure.low, 2)} to {number(figure.high, 2)}"


def _of_folds(report: Report) -> list[str]:
    """How much the folds differ."""
    folds = report.levels["patient"].folds
    values = [one for fold in folds if (one := fold.figures["accuracy"].value) is not None]
    if len(values) < 2:
        return []
    return [f"Accuracy of single folds: {number(min(values), 2)} to {number(max(values), 2)} ({len(values)} folds)."]


def _not_for(report: Report) -> Iterator[str]:
    """The weakest category, those that are too small, and who is not among the patients."""
    pooled, names = report.levels["patient"].pooled, wording.category_names(report)
    known = [(one.figures["recall"], names[one.category]) for one in pooled.categories]
    judged = [(figure, name) for figure, name in known if figure.value is not None and figure.n >= FEW]
    if judged:
        figure, name = min(judged, key=lambda one: one[0].value or 0)
        right = round((figure.value or 0) * figure.n)
        perfect = figure.value == 1
        every = "Each category of at least 10 was always right; with the fewest"
        yield (
            f"{every if perfect else 'Least often right is the category'} {name}: {right} of {figure.n}, "
            f"recall {in_sentence(figure)}."
        )
    small = [f"{name} ({count})" for name, count in zip(names, pooled.support, strict=True) if count < FEW]
    if small and pooled.n:
        yield f"Too few to judge, fewer than {FEW}: {', '.join(small)}."
    yield from _unused(report)
    if report.external and isinstance(split := report.external.by_range, RangeSplit):
        yield (
            f"Outside of the range of the training studies: {split.outside.right} of {split.outside.patients} patients "
            "in the right category."
        )


def _unused(report: Report) -> Iterator[str]:
    """Studies that were found and not used, by reason."""
    studies = report.cohort.intake["studies"]
    reasons = {"without a label": studies["without_label"], **studies["refused"]}
    lost = [f"{name.replace('_', ' ')} {count}" for name, count in reasons.items() if count]
    if lost:
        number_lost = studies["found"] - studies["used"]
        yield f"Left out: {number_lost} of {studies['found']} studies that were found ({', '.join(lost)})."
