"""The methods of a report as text: they say what its settings and facts say, and change with them."""

import dataclasses
import re

import pytest

from cac_hpc.appendix import methods_text
from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.report import aggregation
from cac_hpc.results.audits import ShownBefore
from cac_hpc.results.examples import ShownLesions
from cac_hpc.results.figures import Absent, Difference, Figure
from cac_hpc.results.groups import Subgroup, SubgroupFact, Subgroups
from cac_hpc.results.report import MissingFold
from cac_hpc.results.serialization import to_json
from cac_hpc.results.trials import Trials
from cac_hpc.run import disk
from tests.support.reports import external_report, make_run, printed_predictions, typed_report_of

PROVENANCE = {"version": "1.0", "python": "3.11", "packages": {"torch": "2.9", "numpy": "2.1"}}
CIRCUMSTANCES = Circumstances("2026-01-01T00:00:00+00:00", PROVENANCE, [], [], [])


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make_run(
        tmp_path_factory.mktemp("methods"), printed_predictions(), report={"draws": 200, "title": "50 % & more_or_less"}
    )
    disk.write_json(run.provenance, PROVENANCE)
    assert aggregation.aggregate(run.root)
    return run


@pytest.fixture(scope="module")
def report(reported):
    return typed_report_of(reported)


def text(report, circumstances=CIRCUMSTANCES):
    return " ".join(f"{one.heading}: {one.text}" for one in methods_text.paragraphs(report, circumstances))


def with_settings(report, section, **values):
    """The report of a run with other settings in a section."""
    return dataclasses.replace(report, settings={**report.settings, section: {**report.settings[section], **values}})


def test_every_number_of_the_division_the_model_and_the_training_is_named(report):
    found = text(report)
    split, model, train, pack = (report.settings[name] for name in ("split", "model", "train", "pack"))
    assert f"Of {report.cohort.studies_found} studies" in found
    assert f"{report.cohort.studies} studies of {report.cohort.patients} patients were used" in found
    assert f"into {split['folds']} folds" in found
    assert f"{split['val_fraction']:.0%} of all patients served for validation" in found
    for number in (*model["filters"], model["dense"], model["dropout"], train["epochs"], train["batch_size"]):
        assert f" {number}" in found, number
    assert f"{pack['size']} x {pack['size']} pixels" in found
    assert f"{report.statistics.draws} draws of patients" in found
    assert "416 parameters" in found
    assert "cac_hpc 1.0 with Python 3.11, torch 2.9 and numpy 2.1" in found
    assert "cpu (2 processes, fp32)" in found


def test_categories_are_named_with_their_ends(report):
    assert "Very Low (up to 0), Low (above 0 and up to 10)" in text(report)
    assert "and High (above 1000)" in text(report)


def test_what_was_left_out_is_named_with_its_reason(report):
    studies = {**report.cohort.intake["studies"], "without_label": 2, "refused": {"contrast_agent": 3, "no_heart": 1}}
    cohort = dataclasses.replace(
        report.cohort, studies_found=36, rejected_files=7, intake={**report.cohort.intake, "studies": studies}
    )
    found = text(dataclasses.replace(report, cohort=cohort))
    assert "2 without a label, 3 refused for contrast agent and 1 refused for no heart were left out;" in found
    assert "7 files were not used" in found
    assert "none was left out" in text(report)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scheme": "holdout", "test_fraction": 0.3}, "5 times, 30% of the patients were drawn for test"),
        ({"unit": "slice"}, "This run divides slices, not patients, on purpose"),
        ({"val_fraction": 0.125}, "12.5% of all patients served for validation"),
        ({"scheme": "another"}, "by the scheme another into 5 folds"),
        ({"scheme": "leave_one_out", "group": "site"}, "21% of the patients of the other groups served for validation"),
        ({"group": "site"}, "into 5 folds, balanced over the categories and over groups by site;"),
        ({"scheme": "holdout", "group": "site"}, "balanced over the categories and over groups by site, and"),
    ],
)
def test_the_division_changes_with_its_settings(report, change, said):
    assert said not in text(report)
    assert said in text(dataclasses.replace(report, split=dataclasses.replace(report.split, **change)))


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("pack", {"crop": "heart"}, "Slices were cut to a square around the heart with a margin of 10 mm"),
        ("train", {"class_weight": "none"}, "The loss was unweighted cross-entropy."),
        ("train", {"evaluate": "last"}, "The epoch that was tested is the last;"),
        ("train", {"optimizer": "adamw"}, "the optimizer adamw (Loshchilov and Hutter 2019)"),
        ("train", {"augment": {"rotation_deg": 5.0, "shift": 0.0}}, "Training slices were augmented (rotation deg)."),
        ("labels", {"source": "sr"}, "was read from structured reports beside the scans"),
        ("model", {"kind": "row_means"}, "The model was of the kind row_means"),
    ],
)
def test_the_rest_changes_with_its_settings(report, section, change, said):
    assert said not in text(report)
    assert said in text(with_settings(report, section, **change))


def test_cohorts_and_groups_that_were_left_out_are_named(report):
    cohorts = {"east": {"studies": {"used": 20}}, "west": {"studies": {"used": 10}}}
    cohort = dataclasses.replace(report.cohort, intake={**report.cohort.intake, "cohorts": cohorts})
    split = dataclasses.replace(report.split, scheme="leave_one_out", group="site", smallest_group=10)
    found = text(dataclasses.replace(report, cohort=cohort, split=split))
    assert "They come from 2 cohorts: east (20 used) and west (10 used)." in found
    assert "Patients form groups by site; each group of 10 patients or more was tested by a model" in found


def test_what_could_not_be_judged_is_not_said_to_be_given(report):
    """Cuts and groups of too few patients."""
    of, nothing = Figure(0.8, 30, 0.7, 0.9, "wilson", None), Figure(None, 30, None, None, None, "few")
    few = [
        dataclasses.replace(one, figures=dict.fromkeys(one.figures, nothing), decisions=Absent("few"))
        for one in report.cuts.at
    ]
    assert "AUROC" in text(report)
    assert "AUROC" not in text(dataclasses.replace(report, cuts=dataclasses.replace(report.cuts, at=few)))
    one = few[1]
    judged = dataclasses.replace(one, figures={**one.figures, "auroc": of, "auroc_delong": of, "sensitivity": of})
    found = text(dataclasses.replace(report, cuts=dataclasses.replace(report.cuts, at=[few[0], judged])))
    given = "AUROC, its interval by DeLong (DeLong 1988) and sensitivity and specificity are given."
    assert f"For a score {one.event}, {given}" in found
    assert "Vickers" not in found
    less = {"accuracy": Difference(0.8, 0.7, -0.1, -0.3, 0.1, "mover", None)}
    facts = [SubgroupFact("kvp", [Subgroup("120", 30, True, {"accuracy": of}, {})], 0, 0, 0)]
    assert "Figures are also given" not in text(with_groups(report, facts))
    facts += [SubgroupFact("age_group", [Subgroup("60-69", 30, True, {"accuracy": of}, less)], 0, 0, 0)]
    assert "Figures are also given by age group, of groups of 10 patients or more" in text(with_groups(report, facts))


def with_groups(report, facts):
    return dataclasses.replace(report, subgroups=Subgroups("patient", 10, facts, 1, 0, 0.05))


def test_prediction_sets_are_described_where_there_are_some(report):
    said = "is to name the true one in 90% of patients (conformal prediction, Vovk 2012)"
    assert said in text(report)
    assert said not in text(dataclasses.replace(report, prediction_sets=None))


def test_a_lesion_model_is_described_by_candidates_and_not_by_slices(report):
    lesions = ShownLesions(None, "", [], 10, 5)
    changed = with_settings(report, "model", kind="lesions", members=3, hidden=[8, 4])
    found = text(dataclasses.replace(changed, lesions=lesions))
    assert "A perceptron with hidden layers of 8 and 4 units" in found
    assert "The answers of 3 networks were averaged." in found
    assert "connected pieces of at least 130 HU" in found
    assert "McCullagh P." in found
    assert "pixels" not in found
    assert "cross-entropy" not in found


def test_pseudonyms_looks_and_missing_folds_are_told(report):
    assert "pseudonyms" not in text(report)
    changed = dataclasses.replace(
        report,
        cohort=dataclasses.replace(report.cohort, pseudonyms=True),
        shown_before=ShownBefore(2, ["a"]),
        missing_folds=[MissingFold(3, False, "killed")],
    )
    found = text(changed)
    assert "Study numbers were replaced by pseudonyms." in found
    assert "had been shown 2 times before" in found
    assert "Fold 3 has no result" in found


def test_trials_are_described_and_a_choice_by_test_patients_is_not_hidden(report):
    tried = Trials("kappa_quadratic", "validation", "tpe", 12, 1, 2, None, 1.0, [], None, Absent("few"), [])
    found = text(dataclasses.replace(report, trials=tried))
    assert "12 configurations" in found
    assert "drawn by tpe" in found
    assert "highest quadratic kappa was chosen by validation patients; test patients were not looked at" in found
    assert "Each was trained with 2 seeds." in found
    on_test = dataclasses.replace(report, trials=dataclasses.replace(tried, select_on="test"))
    assert "TEST patients, on purpose" in text(on_test)


def test_an_external_test_is_described_by_what_was_predicted_and_left_out(tmp_path):
    found = text(external_report(tmp_path), dataclasses.replace(CIRCUMSTANCES, provenance=None))
    assert "30 studies were predicted, for an external test of the predictions of ours; none was left out;" in found
    assert "Whether the model was trained on these patients is not known." in found
    assert "30 studies of 30 patients were tested." in found
    for absent in ("Training", "folds", "Software"):
        assert absent not in found


def test_only_sources_that_are_used_are_listed(report):
    found = {one.heading: one.text for one in methods_text.paragraphs(report, CIRCUMSTANCES)}
    assert "Wilson EB" in found["Sources"]
    assert "McCullagh" not in found["Sources"]
    for name in re.findall(r"[(;,] ?((?:[A-Z]\w+ and )?[A-Z]\w+ (?:19|20)\d\d)\)", text(report)):
        assert name in methods_text.SOURCES, name


def test_files_hold_the_same_text_and_latex_is_escaped(reported, report):
    plain, latex = ((reported.report / name).read_text() for name in ("methods.md", "tables/methods.tex"))
    for one in methods_text.paragraphs(report, CIRCUMSTANCES):
        assert f"**{one.heading}.**" in plain
        assert rf"\paragraph{{{one.heading}.}}" in latex
    assert r"cac\_hpc 1.0" in latex
    assert r"\textgreater{}" in latex
    assert not re.search(r"(?<!\\)[%&#_]", latex)


def test_names_of_categories_command_neither_latex_nor_markdown(report):
    hostile = ["a & b", "# % $ _ { } ~ ^ \\", "<10", "*star*", r"\input{/etc/passwd}", "![x](y)"]
    named = [dataclasses.replace(one, name=name) for one, name in zip(report.categories, hostile, strict=True)]
    changed = dataclasses.replace(report, categories=named)
    found = methods_text.paragraphs(changed, CIRCUMSTANCES)
    latex, plain = methods_text.latex(found, changed), methods_text.markdown(found, changed)
    assert r"a \& b" in latex
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert r"\input" not in latex
    assert r"\*star\*" in plain
    assert r"!\[x\]" in plain


def test_nothing_of_a_machine_is_in_it(reported, report):
    assert "made" in to_json(CIRCUMSTANCES)
    assert "2026-01-01" not in text(report)
    assert str(reported.root) not in text(report)
