"""What shows that a report answers an item of a checklist: rules, each from a report to places in its files.

A place is the name of a file of the report and, of a JSON file, the keys to a value in it (RFC 6901):
``report.json#/levels/patient/pooled/n``. A place where nothing is, or None, False or an empty list, shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from cac_hpc.results.external import External, InternalTest, RangeSplit
from cac_hpc.results.figures import Absent, Category
from cac_hpc.results.readers import Readers
from cac_hpc.results.report import Report
from cac_hpc.results.trials import Trials

SUMMARY, CIRCUMSTANCES, TABLES = "report.json", "circumstances.json", "tables/"
MODEL = ("training/0/layers", "training/0/parameters", "settings/model")
ACCURACY = "levels/patient/pooled/figures/accuracy"
ELSEWHERE = "the model was made elsewhere, and the report of its run shows it"
NO_EXTERNAL = "there is no external test"
DECISIONS = ("sensitivity", "specificity")
ACCURATE = "accuracy"  # of the figures of a group
PEOPLE, CLUSTERS = ("sex", "age_group", "body_size"), ("site", "scanner")  # facts by which patients form groups
OTHER_FACTS = "other facts about patients are for people to say"
NO_GROUPS = "differences between groups of people, scanners or sites are not part of this report"


@dataclass(frozen=True)
class Shown:
    """Places that show an item; part: what they do not show of it."""

    places: tuple[str, ...]
    part: str | None = None


@dataclass(frozen=True)
class Lacking:
    """Why nothing shows it."""

    why: str


@dataclass(frozen=True)
class NotApplicable:
    """Why it does not ask anything of this report."""

    why: str


Evidence = Shown | Lacking | NotApplicable
Rule = Callable[[Report], Evidence]


def find(rule: str, report: Report) -> Evidence:
    """What shows an item by a rule of `RULES`; of results nothing does where they must not be believed."""
    if rule in RESULTS and (doubt := _doubt(report)):
        return Lacking(doubt)
    return RULES[rule](report)


def value_at(place: str, documents: Mapping[str, object], tables: Collection[str]) -> object:
    """What is at a place; None if nothing is.

    Args:
        documents: what JSON files hold, plain or typed, by their names. tables: names of the tables that have rows.
    """
    name, _, keys = place.partition("#")
    if name.startswith(TABLES):
        return name if name in tables else None
    found: Any = documents.get(name)
    for key in keys.split("/")[1:]:
        if isinstance(found, Category):
            found = found.figures.get(key)
        elif isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list | tuple):
            found = found[int(key)] if key.isdecimal() and int(key) < len(found) else None
        else:
            found = getattr(found, key, None) if is_dataclass(found) else None
    return found


def shows(value: object) -> bool:
    """Whether a value says anything; a number does, 0 too."""
    if isinstance(value, Absent) or value is None or value is False:
        return False
    return not isinstance(value, str | list | tuple | dict) or bool(value)


def _at(*keys: str) -> tuple[str, ...]:
    """Places in report.json."""
    return tuple(f"{SUMMARY}#/{key}" for key in keys)


def _doubt(report: Report) -> str | None:
    """Why results must not be believed, if so."""
    if report.banner:
        return "the report leaks by design: its figures must not be reported as performance"
    if report.status not in ("COMPLETE", "EXTERNAL"):
        missing = ", ".join(str(fold.fold) for fold in report.missing_folds)
        return f"the report is {report.status}: it lacks fold {missing}"
    failed = [audit.name for audit in report.audits if audit.passed is False]
    return f"the check of {', '.join(failed)} did not pass" if failed else None


def _audit(report: Report, name: str) -> tuple[str, ...]:
    """Where it is written that a check has passed; a place where nothing is if it was not made."""
    names = [audit.name for audit in report.audits]
    return _at(f"audits/{names.index(name)}/passed" if name in names else f"audits/{name}")


def _of_run(*keys: str, part: str | None = None) -> Rule:
    """The rule that these places of a run show an item."""
    return lambda report: Lacking(ELSEWHERE) if report.external else Shown(_at(*keys), part)


def _always(*keys: str, part: str | None = None) -> Rule:
    return lambda report: Shown(_at(*keys), part)


def _has_lesions(report: Report) -> bool:
    return report.lesions is not None


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
    return _at(*places)


def _fact(report: Report, name: str) -> tuple[str, ...]:
    """Where the groups of patients by a fact are named; nowhere if it is withheld, or unknown, of everybody."""
    facts = [one.fact if one.groups else None for one in report.subgroups.facts] if report.subgroups else []
    return _at(f"subgroups/facts/{facts.index(name)}/groups") if name in facts else ()


def _unseen(report: Report) -> tuple[str, ...]:
    """Where figures of groups are that the model never saw."""
    groups = report.unseen.groups if report.unseen else []
    tested = [at for at, one in enumerate(groups) if one.fold is not None and ACCURATE in one.figures]
    return _at(*(f"unseen/groups/{at}/figures/{ACCURATE}/value" for at in tested))


def _with_groups(*keys: str, facts: Collection[str] = ()) -> Rule:
    """The rule that these places show an item in part, and figures of groups of patients the rest of it."""

    def rule(report: Report) -> Evidence:
        groups = _groups(report, facts)
        return Shown(_at(*keys) + groups, None if groups else NO_GROUPS)

    return rule


def _clusters(report: Report) -> Evidence:
    found = _unseen(report) or _groups(report, CLUSTERS)
    return Shown(found) if found else Lacking(NO_GROUPS)


def _centres(report: Report) -> Evidence:
    by_site = report.unseen is not None and report.unseen.fact == "site"
    cohorts = _at("cohort/intake/cohorts") if report.cohort.intake.get("cohorts") else ()
    found = cohorts or _fact(report, "site") or (_at("unseen/groups") if by_site else ())
    return Shown(found, "where they are is for people to say") if found else Lacking("the run knows of no centres")


def _characteristics(report: Report) -> Evidence:
    facts = tuple(place for fact in (*PEOPLE, *CLUSTERS) for place in _fact(report, fact))
    if report.external:
        return Shown(facts, OTHER_FACTS) if facts else Lacking("of patients the report knows the category alone")
    part = OTHER_FACTS if facts else "of patients the run knows the category alone"
    return Shown(_at("cohort/folds") + facts, part)


def _devices(report: Report) -> Evidence:
    scanners = _fact(report, "scanner")
    return Shown(_software(report).places + scanners, None if scanners else "scanners are for people to say")


def _eligibility(report: Report) -> Evidence:
    part = "criteria for patients are for people to say"
    if report.external:
        return Shown(_at("cohort/studies_found", "cohort/studies"), part)
    keys = ("settings/pack/series", "settings/pack/checks", "cohort/intake/studies/found", "cohort/intake/studies/used")
    return Shown(_at(*keys), part)


def _preprocessing(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    of_slices = () if _has_lesions(report) else ("settings/pack/size", "settings/train/window_hu")
    return Shown(_at("settings/pack/series/thickness_mm", "settings/pack/checks", *of_slices))


def _missing(report: Report) -> Evidence:
    part = "whether anything else was missing is for people to say"
    if report.external:
        return Shown(_at("cohort/studies_found", "cohort/studies"), part)
    return Shown(_at("settings/labels/unmatched", "cohort/intake/studies/without_label"), part)


def _acquisition(report: Report) -> Evidence:
    if report.external:
        return Shown(_at("external/cohorts"), "scanner and protocol are for people to say")
    facts = ("slice_thickness_mm/median", "slice_spacing_mm/median", "kvp/median", "kernel")
    known = [name for name in facts if name.partition("/")[0] in report.cohort.intake["acquisition"]]
    places = _at(*(f"cohort/intake/acquisition/{name}" for name in known))
    return Shown(places, "scanner and protocol are for people to say") if known else Lacking("headers say nothing")


def _sample_size(report: Report) -> Evidence:
    if report.how_many is None:
        return Lacking("no figure has an interval, so nothing is known of how many patients would settle it")
    return Shown(_at("how_many/patients", "how_many/widths"), "whether a number was planned is for people to say")


def _selection(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    trials = ("trials/select_by", "trials/choices") if isinstance(report.trials, Trials) else ()
    return Shown(_at("settings/train/evaluate", "training/0/tested_epoch", *trials))


def _ensemble(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    if _has_lesions(report) and "members" in report.settings["model"]:  # otherwise a single one
        return Shown(_at("settings/model/members"))
    return NotApplicable("each patient is predicted by one network, that of the fold that tests him")


def _metrics(report: Report) -> Evidence:
    cut = _cut(report, "auroc")
    at_cut = (f"{cut}/figures/auroc/value", f"{cut}/figures/sensitivity/value") if cut else ()
    kappa = "levels/patient/pooled/figures/kappa_quadratic/value"
    return Shown((*_at(f"{ACCURACY}/value", kappa, *at_cut), f"{TABLES}figures.csv"))


def _robustness(report: Report) -> Evidence:
    if groups := _unseen(report) or _groups(report):
        return Shown(groups)
    if report.external:
        found = isinstance(report.external.by_range, RangeSplit)
        return Shown(_at("external/by_range/differences"), NO_GROUPS) if found else Lacking(NO_GROUPS)
    if isinstance(report.occlusion, Absent) and not report.levels["patient"].other_rules:
        return Lacking(NO_GROUPS)
    if isinstance(report.occlusion, Absent):
        return Shown(_at("levels/patient/other_rules/0/accuracy/value"), NO_GROUPS)
    return Shown(_occluded(), NO_GROUPS)


def _occluded() -> tuple[str, ...]:
    where = "levels/patient/figures/accuracy/difference"
    return _at(*(f"occlusion/views/{view}/{where}" for view in ("heart", "rim")))


def _explanation(report: Report) -> Evidence:
    if _has_lesions(report):
        return Shown((*_at("lesions/candidates", "lesions/counted"), f"{TABLES}lesions.csv"))
    if report.external or isinstance(report.occlusion, Absent):
        return Lacking(report.occlusion.note if isinstance(report.occlusion, Absent) else ELSEWHERE)
    return Shown(_occluded())


def _internal_test(report: Report) -> Evidence:
    if report.external is None:
        return Shown(_at("levels/patient/pooled/n", "split/scheme"))
    if isinstance(report.external.internal, InternalTest):
        return Shown(_at("external/internal/compared/n/reference", "external/internal/source"))
    return Lacking(report.external.internal.note)


def _external_test(report: Report) -> Evidence:
    if report.external is None:
        return Lacking(NO_EXTERNAL)
    part = (
        "whether the model was trained on these patients is not known" if report.external.known == "unknown" else None
    )
    return Shown(_at("levels/patient/pooled/n", "external/source", "external/known"), part)


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
    return Shown(_at(f"external/cohorts/{both[0]}/internal/n", f"external/cohorts/{both[0]}/external/n"))


def _updating(report: Report) -> Evidence:
    if report.external is None:
        return Lacking(f"{NO_EXTERNAL}, after which a model may be updated")
    return Shown(_at("external/recalibration/method", "external/recalibration/intercept/value"))


def _calculation(report: Report) -> Evidence:
    if report.external:
        return Shown(_at("external/source", "external/digests/predictions_sha256"))
    return Shown(_at("levels/patient/unit", "training/0/parameters"))


def _imbalance(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    if report.settings.get("train", {}).get("class_weight") == "none" or _has_lesions(report):
        return NotApplicable("no category was given more weight, and none was drawn more often")
    return Shown(_at("settings/train/class_weight"))


def _data_differences(report: Report) -> Evidence:
    return _cohorts(report) if report.external else Shown(_at("split/scheme", "split/unit"))


def _no_judgement(report: Report) -> Evidence:
    if isinstance(report.external, External):
        return Lacking(ELSEWHERE)
    return NotApplicable("the model is given what a program has read out of the scan, and nobody's judgement")


def _building(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    tuned = ("trials/sampler", "trials/number") if isinstance(report.trials, Trials) else ()
    return Shown(_at("training/0/layers", "settings/train", "split/scheme", "cohort/folds", *tuned))


def _all_measures(report: Report) -> Evidence:
    cut = _cut(report, "auroc", "calibration_slope")
    if cut is None:
        return Lacking("at no cut of the score are discrimination, calibration and worth shown together")
    names = ("figures/auroc/value", "figures/calibration_slope/value", "decisions/thresholds")
    return Shown((*_at(*(f"{cut}/{name}" for name in names)), f"{TABLES}decision_curves.csv"))


def _calibration(report: Report) -> Evidence:
    cut = _cut(report, "calibration_slope")
    slope = (f"{cut}/figures/calibration_slope/value",) if cut else ()
    return Shown(_at("levels/patient/calibration/brier/value", *slope))


def _cut_offs(report: Report) -> Evidence:
    if report.shown_before:
        part = "test figures of these patients had been shown before, so that cut-offs may have been chosen by them"
        return Shown(_at("settings/labels/edges", "cuts/at/0/cut"), part)
    return Shown(_at("settings/labels/edges", "cuts/at/0/cut"))


def _accuracy(report: Report) -> Evidence:
    cut = _cut(report, "auroc")
    if cut is None:
        return Lacking("no cut of the score has figures with intervals")
    names = ("sensitivity/low", "specificity/low", "auroc/value")
    return Shown((*_at(*(f"{cut}/figures/{name}" for name in names)), f"{TABLES}cuts.csv"))


def _variability(report: Report) -> Evidence:
    if groups := _unseen(report) or _groups(report):
        return Shown(groups)
    if report.external:
        return Lacking(NO_GROUPS)
    return Shown(_at("levels/patient/over_folds/accuracy/sd"), NO_GROUPS)


def _indeterminate(report: Report) -> Evidence:
    if report.external:
        return Shown(_at("cohort/studies_found", "cohort/studies"))
    return Shown(_audit(report, "results") + _at("cohort/intake/studies/without_label"))


def _numbers(report: Report) -> Evidence:
    return Shown(_at("levels/patient/pooled/support", *(() if report.external else ("cohort/folds",))))


def _partition(report: Report) -> Evidence:
    if report.external:
        return Lacking(f"all patients are tested; {ELSEWHERE}")
    return Shown(_at("split/scheme", "split/folds", "split/seed", "cohort/folds"))


def _disjoint(report: Report) -> Evidence:
    if report.external:
        left_out = report.external.known == "left_out"
        unknown = "nothing tells whether the model was trained on these patients"
        return Shown(_at("external/known", "audits/0/passed")) if left_out else Lacking(unknown)
    if report.banner:
        return Lacking("the report leaks by design")
    checked = any(audit.name == "pixels" and audit.passed is not None for audit in report.audits)
    places = _at("split/unit") + _audit(report, "patients") + (_audit(report, "pixels") if checked else ())
    return Shown(places, None if checked else "whether a scan is there under two numbers could not be checked")


def _segmentation(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    pack = report.settings["pack"]
    if "regions" in pack:
        return Shown(_at("settings/pack/regions"), "who drew them, and how, is for people to say")
    if _has_lesions(report) or pack["crop"] == "heart":
        return Shown(_at("settings/pack/crop", "cohort/intake/no_heart"))
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


def _of_features(otherwise: Evidence) -> Rule:
    """Of a model that is given measured features; else it learns from pixels."""

    def rule(report: Report) -> Evidence:
        if report.external:
            return Lacking(ELSEWHERE)
        return otherwise if _has_lesions(report) else NotApplicable("the network is given pixels and no features")

    return rule


def _network_robustness(report: Report) -> Evidence:
    if _has_lesions(report):
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
    return Lacking(otherwise) if at is None else Shown(_at(f"{where}/difference", f"{where}/low"))


def _deidentified(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    return Shown(_at("cohort/intake/identity"), "how the data came to be so is for people to say")


def _failures(report: Report) -> Evidence:
    return Shown(_at("examples/patients/wrong", "examples/patients/rule", "levels/patient/pooled/confusion_matrix"))


def _performance(report: Report) -> Evidence:
    folds = () if report.external else ("levels/patient/folds/0/figures/accuracy/value",)
    return Shown(_at(f"{ACCURACY}/value", f"{ACCURACY}/low", f"{ACCURACY}/high", *folds))


def _software(report: Report) -> Shown:
    keys = ("version", "python", "packages/torch")
    return Shown(tuple(f"{CIRCUMSTANCES}#/provenance/{key}" for key in keys))


def _code_version(report: Report) -> Evidence:
    part = "where code, model and data can be had is for people to say"
    return Shown(tuple(f"{CIRCUMSTANCES}#/provenance/{key}" for key in ("version", "code_sha256")), part)


def _flow(report: Report) -> Evidence:
    counts = _at("cohort/studies_found", "cohort/studies", "cohort/patients", "cohort/studies_per_category")
    return Shown(counts + (() if report.external else _at("cohort/intake/files/found", "cohort/rejected_files")))


RULES: dict[str, Rule] = {
    "accuracy": _accuracy,
    "acquisition": _acquisition,
    "all_measures": _all_measures,
    "building": _building,
    "calculation": _calculation,
    "calibration": _calibration,
    "centres": _centres,
    "characteristics": _characteristics,
    "clusters": _clusters,
    "code_version": _code_version,
    "cohorts": _cohorts,
    "cross_table": lambda report: Shown(
        (*_at("levels/patient/pooled/confusion_matrix"), f"{TABLES}confusion_patient.csv")
    ),
    "cut_offs": _cut_offs,
    "data_differences": _data_differences,
    "deidentified": _deidentified,
    "devices": _devices,
    "disjoint": _disjoint,
    "eligibility": _eligibility,
    "ensemble": _ensemble,
    "errors_by_group": _with_groups("examples/patients/wrong", "examples/patients/rule", facts=PEOPLE),
    "explanation": _explanation,
    "external_test": _external_test,
    "failures": _failures,
    "feature_choice": _of_features(Lacking("features were not chosen by any test")),
    "feature_number": _of_features(Lacking("whether so many features fit so many patients is for people to judge")),
    "features": _of_features(Lacking("the report does not list the features; the documentation does")),
    "flow": _flow,
    "group_performance": _with_groups(f"{ACCURACY}/low", f"{ACCURACY}/high", facts=PEOPLE),
    "imbalance": _imbalance,
    "indeterminate": _indeterminate,
    "inputs": _of_run("settings/pack/series", "training/0/layers"),
    "internal_test": _internal_test,
    "kept_outputs": lambda report: Shown((*_at("readers/patients/patient"), f"{TABLES}patients.csv")),
    "metrics": _metrics,
    "missing": _missing,
    "model": _of_run(*MODEL),
    "network_robustness": _network_robustness,
    "no_judgement": _no_judgement,
    "numbers": _numbers,
    "one_imaging": _of_run("settings/pack/checks/contrast_agent", "cohort/intake/studies/used"),
    "other_ways": _other_ways,
    "output": _of_run("settings/labels/edges", "settings/labels/names", "levels/patient/unit"),
    "partition": _partition,
    "performance": _performance,
    "preprocessing": _preprocessing,
    "reference": _always("settings/labels/edges", part="how the reported scores were made is for people to say"),
    "reference_cut_offs": _always("settings/labels/edges", "settings/labels/names"),
    "robustness": _robustness,
    "sample_size": _sample_size,
    "segmentation": _segmentation,
    "segmentation_method": _segmentation_method,
    "segmentation_test": _segmentation_test,
    "selection": _selection,
    "severity": _always("cohort/studies_per_category"),
    "simple_model": _simple_model,
    "software": _software,
    "standard_features": _of_features(Lacking("features are measured by this program, not by a standardised one")),
    "start": _of_run("settings/train/seed", part="from which distribution they are drawn is for people to say"),
    "subsets": _of_run("settings/pack/crop", "settings/pack/series"),
    "training": _of_run("settings/train/epochs", "settings/train/learning_rate", "training/0/epochs"),
    "uncertainty": _always(f"{ACCURACY}/low", f"{ACCURACY}/interval", "statistics/draws", "statistics/seed"),
    "updating": _updating,
    "variability": _variability,
    "whole_model": _of_run(*MODEL, part="whether its weights can be had, as a bundle, is for people to say"),
}
RESULTS = {  # rules of results, which show nothing where these must not be believed
    "accuracy", "all_measures", "calibration", "clusters", "cross_table", "errors_by_group", "explanation",
    "external_test", "failures", "group_performance", "internal_test", "metrics", "network_robustness", "other_ways",
    "performance", "robustness", "sample_size", "simple_model", "uncertainty", "updating", "variability",
}  # fmt: skip
