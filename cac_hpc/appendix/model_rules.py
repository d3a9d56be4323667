"""What shows that a report answers an item about its model: how it was built and trained, by which software."""

from __future__ import annotations

from cac_hpc.appendix.evidence import (
    CIRCUMSTANCES,
    ELSEWHERE,
    Evidence,
    Lacking,
    NotApplicable,
    Rule,
    Shown,
    in_report,
    of_run,
)
from cac_hpc.results.external import External
from cac_hpc.results.report import Report
from cac_hpc.results.trials import Trials
from cac_hpc.sections import wording

MODEL = ("training/0/layers", "training/0/parameters", "settings/model")


def _selection(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    trials = ("trials/select_by", "trials/choices") if isinstance(report.trials, Trials) else ()
    return Shown(in_report("settings/train/evaluate", "training/0/tested_epoch", *trials))


def _ensemble(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    if wording.of_lesions(report) and "members" in report.settings["model"]:  # otherwise a single one
        return Shown(in_report("settings/model/members"))
    return NotApplicable("each patient is predicted by one network, that of the fold that tests him")


def _calculation(report: Report) -> Evidence:
    if report.external:
        return Shown(in_report("external/source", "external/digests/predictions_sha256"))
    return Shown(in_report("levels/patient/unit", "training/0/parameters"))


def _imbalance(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    if report.settings.get("train", {}).get("class_weight") == "none" or wording.of_lesions(report):
        return NotApplicable("no category was given more weight, and none was drawn more often")
    return Shown(in_report("settings/train/class_weight"))


def _no_judgement(report: Report) -> Evidence:
    if isinstance(report.external, External):
        return Lacking(ELSEWHERE)
    return NotApplicable("the model is given what a program has read out of the scan, and nobody's judgement")


def _building(report: Report) -> Evidence:
    if report.external:
        return Lacking(ELSEWHERE)
    tuned = ("trials/sampler", "trials/number") if isinstance(report.trials, Trials) else ()
    return Shown(in_report("training/0/layers", "settings/train", "split/scheme", "cohort/folds", *tuned))


def _of_features(otherwise: Evidence) -> Rule:
    """Of a model that is given measured features; else it learns from pixels."""

    def rule(report: Report) -> Evidence:
        if report.external:
            return Lacking(ELSEWHERE)
        return otherwise if wording.of_lesions(report) else NotApplicable("the network is given pixels and no features")

    return rule


def software(report: Report) -> Shown:
    keys = ("version", "python", "packages/torch")
    return Shown(tuple(f"{CIRCUMSTANCES}#/provenance/{key}" for key in keys))


def _code_version(report: Report) -> Evidence:
    part = "where code, model and data can be had is for people to say"
    return Shown(tuple(f"{CIRCUMSTANCES}#/provenance/{key}" for key in ("version", "code_sha256")), part)


RULES: dict[str, Rule] = {
    "building": _building,
    "calculation": _calculation,
    "code_version": _code_version,
    "ensemble": _ensemble,
    "feature_choice": _of_features(Lacking("features were not chosen by any test")),
    "feature_number": _of_features(Lacking("whether so many features fit so many patients is for people to judge")),
    "features": _of_features(Lacking("the report does not list the features; the documentation does")),
    "imbalance": _imbalance,
    "inputs": of_run("settings/pack/series", "training/0/layers"),
    "model": of_run(*MODEL),
    "no_judgement": _no_judgement,
    "output": of_run("settings/labels/edges", "settings/labels/names", "levels/patient/unit"),
    "selection": _selection,
    "software": software,
    "standard_features": _of_features(Lacking("features are measured by this program, not by a standardised one")),
    "start": of_run("settings/train/seed", part="from which distribution they are drawn is for people to say"),
    "training": of_run("settings/train/epochs", "settings/train/learning_rate", "training/0/epochs"),
    "whole_model": of_run(*MODEL, part="whether its weights can be had, as a bundle, is for people to say"),
}
