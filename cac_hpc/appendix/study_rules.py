"""What shows that a report answers an item about its study: patients, scans, reference, division into parts."""

from __future__ import annotations

from cac_hpc.appendix import model_rules
from cac_hpc.appendix.evidence import (
    CLUSTERS,
    ELSEWHERE,
    NO_EXTERNAL,
    PEOPLE,
    TABLES,
    Evidence,
    Lacking,
    NotApplicable,
    Rule,
    Shown,
    always,
    in_audit,
    in_report,
    of_run,
)
from cac_hpc.results.figures import Absent
from cac_hpc.results.report import Report
from cac_hpc.sections import wording

OTHER_FACTS = "other facts about patients are for people to say"


def _fact(report: Report, name: str) -> tuple[str, ...]:
    """Where the groups of patients by a fact are named; nowhere if it is withheld, or unknown, of everybody."""
    facts = [one.fact if one.groups else None for one in report.subgroups.facts] if report.subgroups else []
    return in_report(f"subgroups/facts/{facts.index(name)}/groups") if name in facts else ()


def _centres(report: Report) -> Evidence:
    by_site = report.unseen is not None and report.unseen.fact == "site"
    cohorts = in_report("cohort/intake/cohorts") if report.cohort.intake.get("cohorts") else ()
    found = cohorts or _fact(report, "site") or (in_report("unseen/groups") if by_site else ())
    return Shown(found, "where they are is for people to say") if found else Lacking("the run knows of no centres")


def _characteristics(report: Report) -> Evidence:
    facts = tuple(place for fact in (*PEOPLE, *CLUSTERS) for place in _fact(report, fact))
    if report.external:
        return Shown(facts, OTHER_FACTS) if facts else Lacking("of patients the report knows the category alone")
    part = OTHER_FACTS if facts else "of patients the run knows the category alone"
    return Shown(in_report("cohort/folds") + facts, part)


def _devices(report: Report) -> Evidence:
    scanners = _fact(report, "scanner")
    return Shown(model_rules.software(report).places + scanners, None if scanners else "scanners are for people to say")


def _eligibility(report: Report) -> Evidence:
    part = "criteria for patients are for people to say"
    if report.external:
        return Shown(in_report("cohort/studies_found", "cohort/studies"), part)
    keys = ("settings/pack/series", "settings/pack/checks", "cohort/intake/studies/found", "cohort/intake/studies/used")
    return Shown(in_report(*keys), part)


def _preprocessing(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    of_slices = () if wording.of_lesions(report) else ("settings/pack/size", "settings/train/window_hu")
    return Shown(in_report("settings/pack/series/thickness_mm", "settings/pack/checks", *of_slices))


def _missing(report: Report) -> Evidence:
    part = "whether anything else was missing is for people to say"
    if report.external:
        return Shown(in_report("cohort/studies_found", "cohort/studies"), part)
    return Shown(in_report("settings/labels/unmatched", "cohort/intake/studies/without_label"), part)


def _acquisition(report: Report) -> Evidence:
    if report.external:
        return Shown(in_report("external/cohorts"), "scanner and protocol are for people to say")
    facts = ("slice_thickness_mm/median", "slice_spacing_mm/median", "kvp/median", "kernel")
    known = [name for name in facts if name.partition("/")[0] in report.cohort.intake["acquisition"]]
    places = in_report(*(f"cohort/intake/acquisition/{name}" for name in known))
    return Shown(places, "scanner and protocol are for people to say") if known else Lacking("headers say nothing")


def _cohorts(report: Report) -> Evidence:
    if report.external is None:
        return Lacking(NO_EXTERNAL)
    both = [
        number
        for number, fact in enumerate(report.external.cohorts)
        if not isinstance(fact.internal, Absent) and not isinstance(fact.external, Absent)
    ]
    if not both:
        return Lacking("facts of both cohorts are not known")
    return Shown(in_report(f"external/cohorts/{both[0]}/internal/n", f"external/cohorts/{both[0]}/external/n"))


def _data_differences(report: Report) -> Evidence:
    return _cohorts(report) if report.external else Shown(in_report("split/scheme", "split/unit"))


def _cut_offs(report: Report) -> Evidence:
    if report.shown_before:
        part = "test figures of these patients had been shown before, so that cut-offs may have been chosen by them"
        return Shown(in_report("settings/labels/edges", "cuts/at/0/cut"), part)
    return Shown(in_report("settings/labels/edges", "cuts/at/0/cut"))


def _indeterminate(report: Report) -> Evidence:
    if report.external:
        return Shown(in_report("cohort/studies_found", "cohort/studies"))
    return Shown(in_audit(report, "results") + in_report("cohort/intake/studies/without_label"))


def _numbers(report: Report) -> Evidence:
    return Shown(in_report("levels/patient/pooled/support", *(() if report.external else ("cohort/folds",))))


def _partition(report: Report) -> Evidence:
    if report.external:
        return Lacking(f"all patients are tested; {ELSEWHERE}")
    return Shown(in_report("split/scheme", "split/folds", "split/seed", "cohort/folds"))


def _disjoint(report: Report) -> Evidence:
    if report.external:
        left_out = report.external.known == "left_out"
        unknown = "nothing tells whether the model was trained on these patients"
        return Shown(in_report("external/known", "audits/0/passed")) if left_out else Lacking(unknown)
    if report.banner:
        return Lacking("the report leaks by design")
    checked = any(audit.name == "pixels" and audit.passed is not None for audit in report.audits)
    places = in_report("split/unit") + in_audit(report, "patients") + (in_audit(report, "pixels") if checked else ())
    return Shown(places, None if checked else "whether a scan is there under two numbers could not be checked")


def _segmentation(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    pack = report.settings["pack"]
    if "regions" in pack:
        return Shown(in_report("settings/pack/regions"), "who drew them, and how, is for people to say")
    if wording.of_lesions(report) or pack["crop"] == "heart":
        return Shown(in_report("settings/pack/crop", "cohort/intake/no_heart"))
    return NotApplicable("the network is given whole slices")


def _segmentation_method(report: Report) -> Evidence:
    found = _segmentation(report)
    if isinstance(found, Shown) and found.part is None:
        return Shown(found.places, "how the heart is found is in the documentation, not in the report")
    return found


def _segmentation_test(report: Report) -> Evidence:
    found = _segmentation(report)
    if isinstance(found, Shown):
        return Lacking("the heart that is found is not compared with one that people have drawn")
    return found


def _deidentified(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    return Shown(in_report("cohort/intake/identity"), "how the data came to be so is for people to say")


def _flow(report: Report) -> Evidence:
    counts = in_report("cohort/studies_found", "cohort/studies", "cohort/patients", "cohort/studies_per_category")
    return Shown(counts + (() if report.external else in_report("cohort/intake/files/found", "cohort/rejected_files")))


RULES: dict[str, Rule] = {
    "acquisition": _acquisition,
    "centres": _centres,
    "characteristics": _characteristics,
    "cohorts": _cohorts,
    "cut_offs": _cut_offs,
    "data_differences": _data_differences,
    "deidentified": _deidentified,
    "devices": _devices,
    "disjoint": _disjoint,
    "eligibility": _eligibility,
    "flow": _flow,
    "indeterminate": _indeterminate,
    "kept_outputs": lambda report: Shown((*in_report("readers/patients/patient"), f"{TABLES}patients.csv")),
    "missing": _missing,
    "numbers": _numbers,
    "one_imaging": of_run("settings/pack/checks/contrast_agent", "cohort/intake/studies/used"),
    "partition": _partition,
    "preprocessing": _preprocessing,
    "reference": always("settings/labels/edges", part="how the reported scores were made is for people to say"),
    "reference_cut_offs": always("settings/labels/edges", "settings/labels/names"),
    "segmentation": _segmentation,
    "segmentation_method": _segmentation_method,
    "segmentation_test": _segmentation_test,
    "severity": always("cohort/studies_per_category"),
    "subsets": of_run("settings/pack/crop", "settings/pack/series"),
}
