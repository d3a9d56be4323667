"""Reporting checklists as data: of each item its number, what it asks in our words, what may show it, whom to ask.

Numbers are those of the lists; the words are ours and shorter, so that the list itself decides what an item means. Each
list says from what it was taken. ``rule`` is a name of `rules.RULES`; ``question`` one of `questions.QUESTIONS`. An
item has one of them at least: what no rule shows only people can answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Item:
    """An item of a list; of: development or evaluation of a model, where the list has it for one of them alone."""

    number: str
    text: str
    rule: str | None
    question: str | None = None
    of: Literal["development", "evaluation"] | None = None


@dataclass(frozen=True)
class ReportingList:
    """A list; taken: from what its items were taken."""

    key: str
    name: str
    source: str
    taken: str
    items: Sequence[Item]


NOT_READ = "The journal's own page could not be read from where this was written."
D: Final = "development"
E: Final = "evaluation"
# fmt: off
CLAIM = ReportingList(
    "claim", "CLAIM 2024",
    "Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300, doi 10.1148/ryai.240300",
    "Numbers and subjects from a checklist that authors of a public repository had filled in by the 44 items of 2024; "
    f"a summary in another agrees with it, and parts of two more do, as far as they go (items 28 to 37). {NOT_READ}",
    (
        Item("1", "title or abstract names the kind of AI method", None, "title"),
        Item("2", "structured abstract", None, "abstract"),
        Item("3", "background, intended use and role of the method", None, "background"),
        Item("4", "aims and hypotheses", None, "objectives"),
        Item("5", "prospective or retrospective", None, "design"),
        Item("6", "goal of the study", None, "purpose"),
        Item("7", "sources of the data", None, "data_source"),
        Item("8", "who and what was included or excluded", "eligibility", "eligibility"),
        Item("9", "preprocessing of the images", "preprocessing"),
        Item("10", "parts of the data or images that were selected", "subsets"),
        Item("11", "how data were made anonymous", "deidentified", "deidentification"),
        Item("12", "what was done about missing data", "missing", "missing_data"),
        Item("13", "how the images were acquired", "acquisition", "scanning"),
        Item("14", "how the reference standard was obtained", "reference", "reference"),
        Item("15", "why this reference standard", None, "reference_rationale"),
        Item("16", "who made the reference, and by which training", None, "annotators"),
        Item("17", "how the reference of the test data was made", None, "test_annotation"),
        Item("18", "how far annotators differ from each other and from themselves", None, "rater_variability"),
        Item("19", "how data were assigned to training, tuning and test", "partition"),
        Item("20", "at which level these parts share nothing", "disjoint"),
        Item("21", "size of the test data, and how it was determined", "sample_size", "sample_size"),
        Item("22", "the model, in all detail", "model"),
        Item("23", "software with versions", "software"),
        Item("24", "where the parameters start", "start"),
        Item("25", "how the model was trained", "training"),
        Item("26", "how the final model was selected", "selection"),
        Item("27", "how several models were combined", "ensemble"),
        Item("28", "measures of performance", "metrics"),
        Item("29", "measures of uncertainty and significance", "uncertainty"),
        Item("30", "robustness or sensitivity", "robustness"),
        Item("31", "how decisions are explained", "explanation"),
        Item("32", "evaluation on internal data", "internal_test"),
        Item("33", "test on external data", "external_test"),
        Item("34", "registration, if it is a clinical trial", None, "registration"),
        Item("35", "numbers of patients or examinations included and excluded", "flow"),
        Item("36", "what the patients of each part were like", "characteristics", "characteristics"),
        Item("37", "performance of the final model in each part, with its uncertainty", "performance"),
        Item("38", "diagnostic accuracy with its precision", "accuracy"),
        Item("39", "analysis of failures", "failures"),
        Item("40", "limitations", None, "limitations"),
        Item("41", "consequences for practice", None, "implications"),
        Item("42", "full protocol, or further technical details", None, "protocol"),
        Item("43", "availability of software, model and data", "code_version", "code_availability"),
        Item("44", "funding", None, "funding"),
    ),
)
TRIPOD = ReportingList(
    "tripod", "TRIPOD+AI", "Collins et al., BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378",
    "Its 27 items have 52 parts. Numbers, subjects and what is asked of development or evaluation alone from a copy of "
    "the statement's table in a public repository, compared with a second checklist that other authors had filled in. "
    f"{NOT_READ}",
    (
        Item("1", "title names model, patients and outcome", None, "title"),
        Item("2", "abstract by the list for abstracts", None, "abstract"),
        Item("3a", "healthcare context and other models", None, "background"),
        Item("3b", "intended patients, purpose and users", None, "purpose"),
        Item("3c", "known inequalities between groups of people", None, "inequalities"),
        Item("4", "aims, and whether a model is developed, evaluated or both", None, "objectives"),
        Item("5a", "sources of the data, for development and evaluation", None, "data_source"),
        Item("5b", "dates between which patients were included", None, "dates"),
        Item("6a", "setting, number and place of centres", "centres", "setting"),
        Item("6b", "eligibility of patients", "eligibility", "eligibility"),
        Item("6c", "treatments", None, "treatments"),
        Item("7", "preparation and quality checks of the data", "preprocessing"),
        Item("8a", "what is predicted, how and when it was assessed", "reference", "reference"),
        Item("8b", "who assessed the outcome", None, "annotators"),
        Item("8c", "blinding of that assessment", None, "blinding"),
        Item("9a", "choice of what the model is given", "inputs", None, D),
        Item("9b", "definition of what the model is given", "inputs"),
        Item("9c", "who assessed it, where that needs judgement", "no_judgement"),
        Item("10", "number of patients, and why so many", "sample_size", "sample_size"),
        Item("11", "missing data", "missing", "missing_data"),
        Item("12a", "how data were used and divided", "partition", None, D),
        Item("12b", "how what the model is given was transformed", "preprocessing", None, D),
        Item("12c", "model, all steps of building and tuning it, internal validation", "building", None, D),
        Item("12d", "differences of performance between clusters, how they were measured", "clusters"),
        Item("12e", "all measures and plots of performance", "all_measures"),
        Item("12f", "updating of the model, as recalibration", "updating", None, E),
        Item("12g", "how predictions were calculated", "calculation", None, E),
        Item("13", "what was done about rare categories", "imbalance"),
        Item("14", "what was done for fairness", None, "fairness"),
        Item("15", "what the model puts out, and by which thresholds", "output", None, D),
        Item("16", "differences between development and evaluation data", "data_differences"),
        Item("17", "ethics committee and consent", None, "ethics"),
        Item("18a", "funding", None, "funding"),
        Item("18b", "conflicts of interest", None, "conflicts"),
        Item("18c", "protocol", None, "protocol"),
        Item("18d", "registration", None, "registration"),
        Item("18e", "availability of the data", None, "data_availability"),
        Item("18f", "availability of the code", "code_version", "code_availability"),
        Item("19", "part of patients and the public", None, "involvement"),
        Item("20a", "flow of patients, with and without the outcome", "flow"),
        Item("20b", "what the patients were like, overall and by source", "characteristics", "characteristics"),
        Item("20c", "comparison of the evaluation data with the development data", "cohorts", None, E),
        Item("21", "patients and outcomes in each analysis", "numbers"),
        Item("22", "the whole model, so that others can use it", "whole_model", "model_availability", D),
        Item("23a", "performance with intervals, also of groups of people", "group_performance"),
        Item("23b", "results by cluster", "clusters"),
        Item("24", "results of updating the model", "updating", None, E),
        Item("25", "interpretation, fairness included", None, "interpretation"),
        Item("26", "limitations", None, "limitations"),
        Item("27a", "handling of poor or missing input", None, "poor_input", D),
        Item("27b", "what users must do and know", None, "users", D),
        Item("27c", "next steps", None, "next_steps"),
    ),
)
STARD = ReportingList(
    "stard", "STARD-AI", "Sounderajah et al., Nature Medicine 2025;31:3283-3289, doi 10.1038/s41591-025-03953-8",
    "Its 40 items have 48 parts. Numbers and subjects from a copy of the statement's table 2 in a public repository, "
    "which says how it was compared with the original, and from a second checklist that other authors had filled in. "
    f"{NOT_READ}",
    (
        Item("1", "title or abstract names AI and a measure of accuracy", None, "title"),
        Item("2", "structured abstract", None, "abstract"),
        Item("3", "background, intended use, place in the workflow", None, "purpose"),
        Item("4", "aims and hypotheses", None, "objectives"),
        Item("5", "prospective or retrospective", None, "design"),
        Item("6", "ethics committee", None, "ethics"),
        Item("7", "inclusion and exclusion, of patients and of data, in order", "eligibility", "eligibility"),
        Item("8", "on which grounds patients were identified", None, "recruitment"),
        Item("9", "where and when", None, "dates"),
        Item("10", "consecutive, random or convenience series", None, "recruitment"),
        Item("11", "source of the data, and for what they were collected", None, "data_source"),
        Item("12", "who annotated the data, and how", None, "annotators"),
        Item("13", "devices, and software with versions", "devices", "scanning"),
        Item("14", "acquisition and preprocessing", "acquisition", "scanning"),
        Item("15a", "the index test, so that it can be repeated", "model"),
        Item("15b", "how the index test was developed, with sizes of the parts", "building"),
        Item("15c", "cut-offs of the index test, and whether they were set before", "cut_offs"),
        Item("15d", "who is to use it", None, "users"),
        Item("16a", "the reference standard, so that it can be repeated", "reference", "reference"),
        Item("16b", "why this reference standard", None, "reference_rationale"),
        Item("16c", "cut-offs of the reference standard", "reference_cut_offs"),
        Item("17a", "what the index test knew of the reference", "disjoint"),
        Item("17b", "what the assessors of the reference knew of the index test", None, "blinding"),
        Item("18", "statistical methods", "uncertainty"),
        Item("19", "indeterminate results", "indeterminate"),
        Item("20", "missing data", "missing", "missing_data"),
        Item("21", "variability of accuracy", "variability"),
        Item("22", "sample size", "sample_size", "sample_size"),
        Item("23", "analysis of errors, of bias and fairness", "errors_by_group", "fairness"),
        Item("24", "flow of patients", "flow"),
        Item("25", "what patients and scans were like in each part", "characteristics", "characteristics"),
        Item("26a", "severity in those with the condition", "severity"),
        Item("26b", "other diagnoses in those without it", None, "other_diagnoses"),
        Item("27", "time and treatment between index test and reference", None, "interval"),
        Item("28", "whether the data are like the patients for whom it is intended", None, "representativeness"),
        Item("29", "how external data differ", "cohorts"),
        Item("30", "results against the reference, as a table", "cross_table"),
        Item("31", "accuracy with its precision", "accuracy"),
        Item("32", "adverse events", None, "adverse_events"),
        Item("33", "limitations", None, "limitations"),
        Item("34", "consequences for practice", None, "implications"),
        Item("35", "ethics of its use, fairness", None, "fairness"),
        Item("36", "registration", None, "registration"),
        Item("37", "protocol", None, "protocol"),
        Item("38", "funding", None, "funding"),
        Item("39", "commercial interests", None, "conflicts"),
        Item("40a", "availability of data and code", "code_version", "code_availability"),
        Item("40b", "whether outputs are kept and can be audited", "kept_outputs"),
    ),
)
METRICS = ReportingList(
    "metrics", "METRICS", "Kocak et al., Insights into Imaging 2024;15:8, doi 10.1186/s13244-023-01572-w",
    "Numbers and subjects from table 1 of the article and the page of its explanation (METRICS-E3); its five "
    "conditions are applied by their wording. No score is worked out: judging quality is for people.",
    (
        Item("1", "a guideline or checklist was followed", None, "guideline"),
        Item("2", "eligibility that gives a representative population", "eligibility", "eligibility"),
        Item("3", "a good reference standard, clearly defined", "reference", "reference"),
        Item("4", "several centres", "centres", "setting"),
        Item("5", "imaging as it is used in practice", None, "scanning"),
        Item("6", "imaging protocol", "acquisition", "scanning"),
        Item("7", "time between imaging and reference", None, "interval"),
        Item("8", "how regions were segmented", "segmentation_method"),
        Item("9", "evaluation of automatic segmentation", "segmentation_test"),
        Item("10", "regions of test data from one reader or program", "segmentation"),
        Item("11", "preprocessing of the images", "preprocessing"),
        Item("12", "features from standardised software", "standard_features"),
        Item("13", "parameters of the features", "features"),
        Item("14", "features that are not robust removed", "feature_choice"),
        Item("15", "redundant features removed", "feature_choice"),
        Item("16", "number of features fits the number of patients", "feature_number"),
        Item("17", "robustness of an end-to-end network", "network_robustness"),
        Item("18", "proper division of the data", "disjoint"),
        Item("19", "confounding factors", None, "confounders"),
        Item("20", "fitting measures of performance", "metrics"),
        Item("21", "uncertainty", "uncertainty"),
        Item("22", "calibration", "calibration"),
        Item("23", "one kind of imaging, or proof that it is inferior", "one_imaging"),
        Item("24", "comparison with what needs no such model", "other_ways"),
        Item("25", "comparison with a simple statistical model", "simple_model"),
        Item("26", "internal test", "internal_test"),
        Item("27", "external test", "external_test"),
        Item("28", "data available", None, "data_availability"),
        Item("29", "code available", "code_version", "code_availability"),
        Item("30", "model available", None, "model_availability"),
    ),
)
# fmt: on
LISTS = (CLAIM, TRIPOD, STARD, METRICS)
