"""What shows that a report answers an item about its results."""

from __future__ import annotations

from collections.abc import Collection

from cac_hpc.appendix.evidence import (
    ACCURACY,
    CLUSTERS,
    ELSEWHERE,
    NO_EXTERNAL,
    NO_GROUPS,
    PEOPLE,
    TABLES,
    Evidence,
    Lacking,
    NotApplicable,
    Rule,
    Shown,
    always,
    in_report,
)
from cac_hpc.results.external import InternalTest, RangeSplit
from cac_hpc.results.figures import Absent
from cac_hpc.results.readers import Readers
from cac_hpc.results.report import Report
from cac_hpc.sections import wording

ACCURATE = "accuracy"  # of the figures of a group
DECISIONS = ("sensitivity", "specificity")


def _cut(report: Report, *figures: str) -> str | None:
    """The first cut at which decisions have intervals, and these figures values, as the beginning of a place."""
    for number, one in enumerate(report.cuts.at if report.cuts else ()):
        decided = all(name in one.figures and one.figures[name].low is not None for name in DECISIONS)
        if decided and all(one.figures[name].value is not None for name in figures):
            return f"cuts/at/{number}"
    return None


def _groups(report: Report, facts: Collection[str] = ()) -> tuple[str, ...]:
    """Where a figure of a group of patients has an interval: the first of each fact that divides them.

    Args:
        facts: that count; none: all of them.
    """
    found = report.subgroups.facts if report.subgroups else []
    places = []
    for number, fact in enumerate(found):
        judged = [at for at, one in enumerate(fact.groups) if one.differences and ACCURATE in one.figures]
        if judged and (not facts or fact.fact in facts):
            places.append(f"subgroups/facts/{number}/groups/{judged[0]}/figures/{ACCURATE}/low")
    return in_report(*places)


def _unseen(report: Report) -> tuple[str, ...]:
    """Where figures of groups are that the model never saw."""
    groups = report.unseen.groups if report.unseen else []
    tested = [at for at, one in enumerate(groups) if one.fold is not None and ACCURATE in one.figures]
    return in_report(*(f"unseen/groups/{at}/figures/{ACCURATE}/value" for at in tested))


def _with_groups(*keys: str, facts: Collection[str] = ()) -> Rule:
    """The rule that these places show an item in part, and figures of groups of patients the rest of it."""

    def rule(report: Report) -> Evidence:
        groups = _groups(report, facts)
        return Shown(in_report(*keys) + groups, None if groups else NO_GROUPS)

    return rule


def _clusters(report: Report) -> Evidence:
    found = _unseen(report) or _groups(report, CLUSTERS)
    return Shown(found) if found else Lacking(NO_GROUPS)


def _sample_size(report: Report) -> Evidence:
    if report.how_many is None:
        return Lacking("no figure has an interval, so nothing is known of how many patients would settle it")
    return Shown(in_report("how_many/patients", "how_many/widths"), "whether a number was planned is for people to say")


def _metrics(report: Report) -> Evidence:
    cut = _cut(report, "auroc")
    at_cut = (f"{cut}/figures/auroc/value", f"{cut}/figures/sensitivity/value") if cut else ()
    kappa = "levels/patient/pooled/figures/kappa_quadratic/value"
    return Shown((*in_report(f"{ACCURACY}/value", kappa, *at_cut), f"{TABLES}figures.csv"))


def _robustness(report: Report) -> Evidence:
    if groups := _unseen(report) or _groups(report):
        return Shown(groups)
    if report.external:
        found = isinstance(report.external.by_range, RangeSplit)
        return Shown(in_report("external/by_range/differences"), NO_GROUPS) if found else Lacking(NO_GROUPS)
    if isinstance(report.occlusion, Absent) and not report.levels["patient"].other_rules:
        return Lacking(NO_GROUPS)
    if isinstance(report.occlusion, Absent):
        return Shown(in_report("levels/patient/other_rules/0/accuracy/value"), NO_GROUPS)
    return Shown(_occluded(), NO_GROUPS)


def _occluded() -> tuple[str, ...]:
    where = "levels/patient/figures/accuracy/difference"
    return in_report(*(f"occlusion/views/{view}/{where}" for view in ("heart", "rim")))


def _explanation(report: Report) -> Evidence:
    if wording.of_lesions(report):
        return Shown((*in_report("lesions/candidates", "lesions/counted"), f"{TABLES}lesions.csv"))
    if report.external or isinstance(report.occlusion, Absent):
        return Lacking(report.occlusion.note if isinstance(report.occlusion, Absent) else ELSEWHERE)
    return Shown(_occluded())


def _internal_test(report: Report) -> Evidence:
    if report.external is None:
        return Shown(in_report("levels/patient/pooled/n", "split/scheme"))
    if isinstance(report.external.internal, InternalTest):
        return Shown(in_report("external/internal/compared/n/reference", "external/internal/source"))
    return Lacking(report.external.internal.note)


def _external_test(report: Report) -> Evidence:
    if report.external is None:
        return Lacking(NO_EXTERNAL)
    part = (
        "whether the model was trained on these patients is not known" if report.external.known == "unknown" else None
    )
    return Shown(in_report("levels/patient/pooled/n", "external/source", "external/known"), part)


def _updating(report: Report) -> Evidence:
    if report.external is None:
        return Lacking(f"{NO_EXTERNAL}, after which a model may be updated")
    return Shown(in_report("external/recalibration/method", "external/recalibration/intercept/value"))


def _all_measures(report: Report) -> Evidence:
    cut = _cut(report, "auroc", "calibration_slope")
    if cut is None:
        return Lacking("at no cut of the score are discrimination, calibration and worth shown together")
    names = ("figures/auroc/value", "figures/calibration_slope/value", "decisions/thresholds")
    return Shown((*in_report(*(f"{cut}/{name}" for name in names)), f"{TABLES}decision_curves.csv"))


def _calibration(report: Report) -> Evidence:
    cut = _cut(report, "calibration_slope")
    slope = (f"{cut}/figures/calibration_slope/value",) if cut else ()
    return Shown(in_report("levels/patient/calibration/brier/value", *slope))


def _accuracy(report: Report) -> Evidence:
    cut = _cut(report, "auroc")
    if cut is None:
        return Lacking("no cut of the score has figures with intervals")
    names = ("sensitivity/low", "specificity/low", "auroc/value")
    return Shown((*in_report(*(f"{cut}/figures/{name}" for name in names)), f"{TABLES}cuts.csv"))


def _variability(report: Report) -> Evidence:
    if groups := _unseen(report) or _groups(report):
        return Shown(groups)
    if report.external:
        return Lacking(NO_GROUPS)
    return Shown(in_report("levels/patient/over_folds/accuracy/sd"), NO_GROUPS)


def _network_robustness(report: Report) -> Evidence:
    if wording.of_lesions(report):
        return NotApplicable("the model is given features and is no end-to-end network")
    return _robustness(report)


def _other_ways(report: Report) -> Evidence:
    if isinstance(report.readers, Absent):
        return Lacking(report.readers.note)
    return _compared(report.readers, "rule", "the Agatston rule had no scores to compare with")


def _simple_model(report: Report) -> Evidence:
    if isinstance(report.readers, Absent):
        return Lacking(report.readers.note)
    return _compared(report.readers, "largest", "nothing simpler is compared")


def _compared(found: Readers, key: str, otherwise: str) -> Evidence:
    """Where the difference between the model and another reader is."""
    at = next((number for number, reader in enumerate(found.readers) if reader.key == key), None)
    where = f"readers/readers/{at}/compared/levels/patient/figures/accuracy"
    return Lacking(otherwise) if at is None else Shown(in_report(f"{where}/difference", f"{where}/low"))


def _failures(report: Report) -> Evidence:
    return Shown(
        in_report("examples/patients/wrong", "examples/patients/rule", "levels/patient/pooled/confusion_matrix")
    )


def _performance(report: Report) -> Evidence:
    folds = () if report.external else ("levels/patient/folds/0/figures/accuracy/value",)
    return Shown(in_report(f"{ACCURACY}/value", f"{ACCURACY}/low", f"{ACCURACY}/high", *folds))


RULES: dict[str, Rule] = {
    "accuracy": _accuracy,
    "all_measures": _all_measures,
    "calibration": _calibration,
    "clusters": _clusters,
    "cross_table": lambda report: Shown(
        (*in_report("levels/patient/pooled/confusion_matrix"), f"{TABLES}confusion_patient.csv")
    ),
    "errors_by_group": _with_groups("examples/patients/wrong", "examples/patients/rule", facts=PEOPLE),
    "explanation": _explanation,
    "external_test": _external_test,
    "failures": _failures,
    "group_performance": _with_groups(f"{ACCURACY}/low", f"{ACCURACY}/high", facts=PEOPLE),
    "internal_test": _internal_test,
    "metrics": _metrics,
    "network_robustness": _network_robustness,
    "other_ways": _other_ways,
    "performance": _performance,
    "robustness": _robustness,
    "sample_size": _sample_size,
    "simple_model": _simple_model,
    "uncertainty": always(f"{ACCURACY}/low", f"{ACCURACY}/interval", "statistics/draws", "statistics/seed"),
    "updating": _updating,
    "variability": _variability,
}
