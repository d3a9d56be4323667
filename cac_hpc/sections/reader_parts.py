"""What a report says of readers of the same patients: which one to trust, their figures side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cac_hpc.results.figures import Absent, Difference
from cac_hpc.results.readers import Reader, Readers
from cac_hpc.results.report import Report
from cac_hpc.run.logs import amount
from cac_hpc.sections import formatting, level_parts, wording
from cac_hpc.sections.formatting import brief, signed, with_interval
from cac_hpc.sections.section import Section, TextTable

HEADING = "Which reader to trust"
SIDE_BY_SIDE = ("accuracy", "kappa_quadratic", "two_or_more_off")


def sections(report: Report) -> list[Section]:
    """The section, which every report has."""
    return [Section("readers", HEADING, _lines(report), _tables(report))]


def short(report: Report) -> list[TextTable]:
    """Accuracies: what eighty columns are enough for."""
    if not isinstance(report.readers, Readers):
        return []
    cells = [
        [reader.name, with_interval(reader.levels["patient"].figures["accuracy"]),
         brief(reader.compared.levels["patient"].figures["accuracy"]) if reader.compared else ""]
        for reader in report.readers.readers
    ]  # fmt: skip
    return [TextTable("Readers of the same patients", ["", "accuracy", "model less reader"], cells)]


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
        f"{_tested(reader)}, the {chosen.name} in {_off(chosen)}, and the 95 % interval of the "
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
    tested = _tested(own)
    if said.reason == "few":
        return f"Which reader to trust cannot be said: {amount(own.levels['patient'].patients, 'patient')} are too few."
    if chosen is None:
        return (
            f"Trust none of the readers: on these {tested} none is significantly better than always guessing the "
            f"largest category (the {own.name} is right in {right(own)})."
        )
    who = "they are" if chosen.name.startswith("predictions ") else "it is"
    begin = f"Trust the {chosen.name}: {who} right in {right(chosen)} of {tested}"
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


def _tested(reader: Reader) -> str:
    """So many patients, or tests of them where some were tested several times."""
    found = reader.levels["patient"]
    return (
        amount(found.n, "patient")
        if found.n == found.patients
        else f"{found.n} tests of {amount(found.patients, 'patient')}"
    )


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
    return f"difference of accuracy {formatting.in_sentence(reader.compared.levels['patient'].figures['accuracy'])}"


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


def _lines(report: Report) -> list[str]:
    """What the readers are, which one to trust, and by which rule."""
    found = report.readers
    if isinstance(found, Absent):
        return [f"No other reader is compared with the {wording.model(report)}: {found.note}."]
    own = next(reader for reader in found.readers if reader.compared is None)
    lacks = "a reader says nothing" if report.external else "the rule has no score"
    lost = found.left_out.studies
    left_out = f" Left out, for {lacks} of them: {amount(lost, 'study')}." * bool(lost)
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


def _tables(report: Report) -> list[TextTable]:
    """The readers' figures, agreement of their scores, their matrices, and what slices cannot show."""
    found, names = report.readers, wording.category_names(report)
    if not isinstance(found, Readers):
        return []
    empty = [
        [name, str(row.studies), str(row.slices), str(row.empty), formatting.interval(row.share, row.low, row.high)]
        for name, row in zip(names, found.empty_slices, strict=bool(found.empty_slices))
    ]
    matrices = [reader for reader in found.readers if reader.key != "largest" and reader.compared]
    return [
        *(
            _side_by_side(level, found.readers) for level in ("patient", "slice")
            if level in report.levels and (level == "patient" or not wording.of_lesions(report))
        ),
        *_agreements(found.readers),
        *(
            TextTable(
                f"Confusion matrix, {reader.name}, patient level, rows true, columns predicted",
                ["true \\ predicted", *names],
                level_parts.matrix(names, reader.levels["patient"]),
            )
            for reader in matrices
        ),
        *(
            TextTable(
                "Slices without any voxel of 130 HU where the rule counts: what nobody can read from a slice alone",
                ["category", "studies", "slices", "without", "share [95 % interval]"],
                empty,
            )
            for _ in [None] if empty
        ),
    ]  # fmt: skip


def _side_by_side(level: str, found: Sequence[Reader]) -> TextTable:
    """A row for each reader at a level; what decides comes first, for the rest may not fit on the screen."""
    cells = []
    for reader in found:
        first, *others = (with_interval(reader.levels[level].figures[name]) for name in SIDE_BY_SIDE)
        test = reader.compared.sign_test if reader.compared else None
        less = reader.compared and brief(reader.compared.levels[level].figures["accuracy"])
        chance = "" if test is None or test.p_value is None else formatting.chance(test.p_value)
        cells.append([reader.name, first, less or "", *[chance] * (level == "patient"), *others])
    first, *others = (formatting.heading(name) for name in SIDE_BY_SIDE)
    columns = ["reader", first, "model less reader", *["paired test"] * (level == "patient"), *others]
    of = f"{found[0].levels[level].n} tests; difference of accuracies; in brackets 95 % intervals"
    caption = f"Readers side by side, {level} level, {of}"
    return TextTable(caption, columns, cells)


def _agreements(found: Sequence[Reader]) -> list[TextTable]:
    """Bland and Altman's limits, and ICC, of every reader that has a score."""
    cells = [
        [reader.name, str(one.n), signed(one.bias, one.low, one.high),
         signed(one.log_bias, one.log_low, one.log_high),
         with_interval(one.log_mean_absolute), with_interval(one.log_icc)]
        for reader in found if (one := reader.scores) and one.bias is not None
    ]  # fmt: skip
    columns = ["reader", "n", "mean [95 % limits]", "of log(1 + score)", "mean absolute", "ICC(2,1)"]
    caption = "Score less the reported score, with 95 % limits of agreement; mean absolute and ICC of log(1 + score)"
    return [TextTable(caption, columns, cells)] if cells else []
