"""Checklists of a report: a yes leads to the number that shows it, and a run with a fault loses the right items."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from cac_hpc.appendix import checklists, rules
from cac_hpc.appendix.checklist_items import LISTS
from cac_hpc.evaluation import questions
from cac_hpc.report import aggregation
from cac_hpc.results.audits import Audit
from cac_hpc.results.examples import ShownLesions
from cac_hpc.results.figures import Absent, Difference, Figure
from cac_hpc.results.groups import Subgroup, SubgroupFact, Subgroups, UnseenGroup, UnseenGroups
from cac_hpc.run import disk
from cac_hpc.transfer import selection
from tests.support.reports import check_report, external_report, make_run, typed_report_of
from tests.support.runs import job_here

TRIPOD_NUMBERS = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c "
    "18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
STARD_NUMBERS = (
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15a 15b 15c 15d 16a 16b 16c 17a 17b 18 19 20 21 22 23 24 25 26a 26b 27 28 29 30 "
    "31 32 33 34 35 36 37 38 39 40a 40b"
)
NUMBERS = {
    "claim": [str(number) for number in range(1, 45)],
    "tripod": TRIPOD_NUMBERS.split(" "),
    "stard": STARD_NUMBERS.split(" "),
    "metrics": [str(number) for number in range(1, 31)],
}
PROVENANCE = {"version": "1.0", "python": "3.11", "packages": {"torch": "2.9"}, "code_sha256": "ab"}
TABLES = ("figures", "cuts", "decision_curves", "patients", "confusion_patient")
ALL_TABLES = frozenset(f"tables/{name}.csv" for name in TABLES)


def patients(n=60):
    """Patients whose slices are predicted a category off now and then, and their scores."""
    rng = np.random.default_rng(0)
    category = rng.integers(0, 6, n)
    said = np.clip(category[:, None] + rng.integers(-1, 2, (n, 4)), 0, 5)
    names = [f"s{number:02d}" for number in range(n)]
    predicted = {(name, int(one)): row.tolist() for name, one, row in zip(names, category, said, strict=True)}
    return predicted, dict(zip(names, (np.array([0, 5, 50, 200, 700, 2000])[category]).tolist(), strict=True))


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checklists")
    answers = folder / "answers.yaml"
    answers.write_text("funding: A foundation, with <b>no</b> part | in it\ndesign: retrospective\nethics:\n")
    report = {"draws": 200, "figure_dpi": 50, "checklist": str(answers)}
    predicted, score = patients()
    run = make_run(folder, predicted, score=score, report=report)
    disk.write_json(run.provenance, PROVENANCE)
    assert aggregation.aggregate(run.root)
    return run


def filled(report, tables=ALL_TABLES, provenance=PROVENANCE):
    """Answers by list and number."""
    documents = {"report.json": report, "circumstances.json": {"provenance": provenance}}
    found = checklists.fill(report, documents, tables)
    return {(one.of.key, entry.item.number): entry for one in found for entry in one.entries}


def answers(report, **more):
    return {key: entry.answer for key, entry in filled(report, **more).items()}


def lost(before, after):
    """Items that were evident and are not any more, by list."""
    gone = [
        key for key, answer in before.items() if answer in checklists.EVIDENT and after[key] not in checklists.EVIDENT
    ]
    return {one.key: [number for key, number in gone if key == one.key] for one in LISTS}


@pytest.mark.parametrize("of", LISTS, ids=lambda of: of.key)
def test_items_have_the_numbers_of_their_lists_and_something_that_answers_each(of):
    assert [item.number for item in of.items] == NUMBERS[of.key]
    for item in of.items:
        assert item.rule or item.question, item
        assert item.rule is None or item.rule in rules.RULES, item
        assert item.question is None or item.question in questions.QUESTIONS, item


def test_every_rule_and_every_question_is_asked_by_an_item():
    items = [item for of in LISTS for item in of.items]
    assert {item.rule for item in items} - {None} == set(rules.RULES)
    assert {item.question for item in items} - {None} == set(questions.QUESTIONS)


def test_every_yes_leads_to_what_shows_it(reported):
    check_report(reported)
    rows = pd.read_csv(reported.report / "checklist.csv", keep_default_na=False)
    evident = rows[rows["answer"].isin(checklists.EVIDENT)]
    assert len(evident) > 70
    for row in evident.itertuples():
        assert row.shown_at, row
        for place in row.shown_at.split("; "):
            name, _, keys = place.partition("#")
            assert (reported.report / name).is_file(), place
            found = disk.read_json(reported.report / name) if keys else len(pd.read_csv(reported.report / name))
            for key in keys.split("/")[1:]:
                found = found[int(key)] if isinstance(found, list) else found[key]
            assert found is not None, place
            assert found is not False, place
            assert found not in ("", [], {}), place
    assert not (rows[~rows["answer"].isin(checklists.EVIDENT)]["shown_at"] != "").any()
    accuracy = typed_report_of(reported).levels["patient"].pooled.figures["accuracy"]
    row = rows[(rows["list"] == "CLAIM 2024") & (rows["item"] == "29")].iloc[0]
    assert row["answer"] == "yes"
    assert row["value"].startswith(f"{accuracy.low:.3g}; wilson")


def test_page_text_and_table_say_the_same_and_load_nothing(reported):
    page, text, report = (
        (reported.report / name).read_text() for name in ("checklist.html", "checklist.md", "report.html")
    )
    rows = pd.read_csv(reported.report / "checklist.csv", keep_default_na=False)
    assert not re.search(r"<script|<link rel=\"style|src=\"http|href=\"http", page)
    for of in LISTS:
        counts = rows[rows["list"] == of.name]["answer"].value_counts()
        said = f"{counts['yes']} of {len(of.items)} items shown by this run, {counts['in part']} in part"
        for shown in (page, text, report):
            assert said in shown, of.key
        assert of.source in page
        assert of.source in text
    assert 'href="checklist.html"' in report
    assert "Methods, for a paper" in report
    assert page.count('<p class="number">') == len(rows) == 174


def test_answers_are_shown_as_said_by_the_authors_and_mean_nothing_else(reported):
    rows = pd.read_csv(reported.report / "checklist.csv", keep_default_na=False).set_index(["list", "item"])
    for key in (("CLAIM 2024", "44"), ("TRIPOD+AI", "18a"), ("STARD-AI", "38")):
        assert rows.loc[key, "answer"] == "said by the authors"
        assert rows.loc[key, "said_by_the_authors"] == "A foundation, with <b>no</b> part | in it"
        assert rows.loc[key, "shown_at"] == ""
    assert rows.loc[("CLAIM 2024", "5"), "answer"] == "said by the authors"
    assert rows.loc[("TRIPOD+AI", "17"), "answer"] == "for people"  # its answer is blank
    page, text = ((reported.report / name).read_text() for name in ("checklist.html", "checklist.md"))
    assert "A foundation, with &lt;b&gt;no&lt;/b&gt; part | in it" in page
    assert r"A foundation, with \<b\>no\</b\> part \| in it" in text


def test_a_yes_that_leads_to_nothing_is_found_out(reported):
    path = reported.report / "report.json"
    kept = path.read_text()
    assert not list(checklists.contradictions(reported.report))
    summary = disk.read_json(path)
    summary["levels"]["patient"]["pooled"]["figures"]["accuracy"]["low"] = None
    (reported.report / "tables" / "cuts.csv").rename(reported.root / "cuts.csv")
    disk.write_json(path, summary)
    try:
        found = list(checklists.contradictions(reported.report))
        done = job_here("check_table.py", path)
    finally:
        path.write_text(kept)
        (reported.root / "cuts.csv").rename(reported.report / "tables" / "cuts.csv")
    nothing = "but nothing is at report.json#/levels/patient/pooled/figures/accuracy/low"
    assert f"checklist.csv: CLAIM 2024 item 29 is answered yes, {nothing}" in found
    assert "checklist.csv: STARD-AI item 31 is answered yes, but nothing is at tables/cuts.csv" in found
    assert done.returncode == 1
    assert nothing in done.stdout


def test_a_table_of_answers_that_was_edited_is_found_out(reported):
    path = reported.report / "checklist.csv"
    kept = path.read_text()
    for text, said in (
        ("a,b\n1,2\n", "checklist.csv: not a table of answers"),
        ("", "checklist.csv: not a table of answers"),
        (
            kept.replace("report.json#/levels/patient/pooled/n;", "report.json#/title/upper;"),
            "checklist.csv: CLAIM 2024 item 32 is answered yes, but nothing is at report.json#/title/upper",
        ),
    ):
        path.write_text(text)
        found = list(checklists.contradictions(reported.report))
        path.write_text(kept)
        assert said in found


def test_patients_in_two_parts_of_a_fold_lose_the_items_that_say_otherwise_and_all_results(reported):
    report = typed_report_of(reported)
    before = answers(report)
    audits = [Audit(one.name, False if one.name == "patients" else one.passed, one.note) for one in report.audits]
    gone = lost(before, answers(dataclasses.replace(report, audits=audits)))
    assert {"20", "28", "29", "32", "37", "38", "39"} <= set(gone["claim"])
    assert {"12e", "23a"} <= set(gone["tripod"])
    assert {"17a", "18", "30", "31"} <= set(gone["stard"])
    assert {"18", "20", "21", "22", "26"} <= set(gone["metrics"])
    assert not {"7", "9", "19", "22", "23", "25", "35"} & set(gone["claim"])


def test_a_run_that_leaks_on_purpose_shows_no_results_and_nothing_disjoint(reported):
    report = typed_report_of(reported)
    leaks = dataclasses.replace(report, banner="LEAKS BY DESIGN")
    found = filled(leaks)
    for key in (("claim", "20"), ("claim", "38"), ("stard", "17a"), ("metrics", "18")):
        assert found[key].answer == "not shown by this run"
        assert "leaks by design" in found[key].note
    assert found[("claim", "19")].answer == "yes"


def test_a_partial_report_shows_how_but_not_how_good(reported):
    report = typed_report_of(reported)
    gone = lost(answers(report), answers(dataclasses.replace(report, status="PARTIAL")))
    assert gone["claim"] == ["21", "28", "29", "30", "32", "37", "38", "39"]
    assert "17a" not in gone["stard"]
    assert "18" not in gone["metrics"]


def without_intervals(report):
    """The same; too few patients for any interval."""

    def bare(figures):
        return {name: dataclasses.replace(one, low=None, high=None, interval=None) for name, one in figures.items()}

    patient = report.levels["patient"]
    pooled = dataclasses.replace(patient.pooled, figures=bare(patient.pooled.figures))
    cuts = dataclasses.replace(
        report.cuts, at=[dataclasses.replace(at, figures=bare(at.figures)) for at in report.cuts.at]
    )
    levels = {**report.levels, "patient": dataclasses.replace(patient, pooled=pooled)}
    return dataclasses.replace(report, levels=levels, cuts=cuts, how_many=None)


def test_without_intervals_uncertainty_is_not_shown(reported):
    report = typed_report_of(reported)
    gone = lost(answers(report), answers(without_intervals(report)))
    assert gone["claim"] == ["21", "29", "37", "38"]
    assert gone["tripod"] == ["10", "12e", "23a"]
    assert gone["stard"] == ["18", "22", "31"]
    assert gone["metrics"] == ["21"]


def test_without_probabilities_calibration_is_not_shown(reported):
    report = typed_report_of(reported)
    patient = dataclasses.replace(report.levels["patient"], calibration=Absent("none"))
    changed = dataclasses.replace(report, levels={**report.levels, "patient": patient})
    assert lost(answers(report), answers(changed))["metrics"] == ["22"]


def test_no_external_test_is_not_shown_and_nothing_that_people_say_makes_it_so(reported):
    found = filled(dataclasses.replace(typed_report_of(reported), answers=dict.fromkeys(questions.QUESTIONS, "yes")))
    for key in (("claim", "33"), ("tripod", "20c"), ("stard", "29"), ("metrics", "27")):
        assert found[key].answer == "not shown by this run", key
        assert found[key].note.startswith("there is no external test")


def test_without_provenance_no_versions_are_shown(reported):
    report = typed_report_of(reported)
    gone = lost(answers(report), answers(report, provenance=None))
    assert gone == {"claim": ["23", "43"], "tripod": ["18f"], "stard": ["13", "40a"], "metrics": ["29"]}


def test_a_table_without_rows_shows_nothing(reported):
    report = typed_report_of(reported)
    gone = lost(answers(report), answers(report, tables=ALL_TABLES - {"tables/confusion_patient.csv"}))
    assert gone == {"claim": [], "tripod": [], "stard": ["30"], "metrics": []}


def test_settings_decide_what_does_not_apply(reported):
    report = typed_report_of(reported)
    assert answers(report)[("metrics", "14")] == "not applicable"  # a network that sees pixels
    assert answers(report)[("claim", "27")] == "not applicable"
    train = {**report.settings["train"], "class_weight": "none"}
    unweighted = dataclasses.replace(report, settings={**report.settings, "train": train})
    assert answers(report)[("tripod", "13")] == "yes"
    assert answers(unweighted)[("tripod", "13")] == "not applicable"


def figure(value=0.8):
    return Figure(value, 30, 0.6, 0.9, "wilson", None)


LESS = {"accuracy": Difference(0.8, 0.7, -0.1, -0.3, 0.1, "mover", None)}  # of a group that is compared with others


def test_groups_of_patients_show_what_is_asked_about_them(reported):
    report = typed_report_of(reported)
    women = Subgroup("F", 30, True, {"accuracy": figure()}, LESS)
    few = Subgroup("GE", 5, False, {}, {})
    facts = [SubgroupFact("sex", [women], 0, 0, 0), SubgroupFact("scanner", [few], 0, 0, 0)]
    subgroups = Subgroups("patient", 10, facts, 1, 0, 0.05)
    before, after = answers(report), answers(dataclasses.replace(report, subgroups=subgroups))
    for key in (("tripod", "23a"), ("stard", "23"), ("stard", "21"), ("claim", "30"), ("stard", "13")):
        assert before[key] != "yes", key
        assert after[key] == "yes", key
    assert after[("tripod", "12d")] == "not shown by this run"  # no scanner has enough patients
    judged = dataclasses.replace(few, judged=True, figures={"accuracy": figure()}, differences=LESS)
    facts[1] = dataclasses.replace(facts[1], groups=[judged])
    assert answers(dataclasses.replace(report, subgroups=subgroups))[("tripod", "12d")] == "yes"


def test_facts_that_divide_nobody_show_no_difference_and_take_nothing_away(reported):
    """A single group of all patients, and facts that are withheld or unknown of everybody."""
    report = typed_report_of(reported)
    everybody = Subgroup("about 120 kVp", 60, True, {"accuracy": figure()}, {})
    women = Subgroup("F", 30, True, {"accuracy": figure()}, LESS)
    facts = [SubgroupFact("kvp", [everybody], 0, 0, 0), SubgroupFact("scanner", [], 0, 0, 60)]
    facts += [SubgroupFact("body_size", [], 0, 60, 0)]
    before = answers(report)
    assert answers(dataclasses.replace(report, subgroups=Subgroups("patient", 10, facts, 0, 0, 0))) == before
    facts += [SubgroupFact("sex", [women], 0, 0, 0)]
    found = filled(dataclasses.replace(report, subgroups=Subgroups("patient", 10, facts, 1, 0, 0.05)))
    for key in (("claim", "36"), ("tripod", "20b"), ("stard", "25")):
        assert before[key] == found[key].answer == "in part", key
        assert "report.json#/subgroups/facts/3/groups" in [place.at for place in found[key].places], key


def test_a_lesion_model_of_a_single_network_combines_none(reported):
    report = dataclasses.replace(typed_report_of(reported), lesions=ShownLesions(None, "", [], 10, 5))
    assert answers(report)[("claim", "27")] == "not applicable"
    model = {**report.settings["model"], "members": 3}
    several = dataclasses.replace(report, settings={**report.settings, "model": model})
    assert answers(several)[("claim", "27")] == "yes"


def test_several_cohorts_are_counted_as_centres(reported):
    report = typed_report_of(reported)
    cohorts = {"east": {"studies": {"used": 30}}, "west": {"studies": {"used": 30}}}
    cohort = dataclasses.replace(report.cohort, intake={**report.cohort.intake, "cohorts": cohorts})
    entry = filled(dataclasses.replace(report, cohort=cohort))[("tripod", "6a")]
    assert entry.answer == "in part"
    assert [(place.at, place.value) for place in entry.places] == [("report.json#/cohort/intake/cohorts", "2 entries")]


def test_sites_that_the_model_never_saw_show_clusters_but_are_no_external_test(reported):
    groups = [UnseenGroup("A", 30, 0, 30, {"accuracy": figure()}), UnseenGroup("B", 3, None, None, {})]
    changed = dataclasses.replace(typed_report_of(reported), unseen=UnseenGroups("site", 10, groups))
    found = filled(changed)
    assert [place.at for place in found[("tripod", "23b")].places] == [
        "report.json#/unseen/groups/0/figures/accuracy/value"
    ]
    assert found[("metrics", "4")].answer == "in part"
    assert found[("claim", "33")].answer == "not shown by this run"


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    return external_report(tmp_path_factory.mktemp("external"), answers={"ethics": "Approved"})


def test_an_external_test_shows_itself_and_not_how_the_model_was_made(tested):
    tables = {"tables/figures.csv", "tables/cuts.csv", "tables/confusion_patient.csv", "tables/patients.csv"}
    found = filled(tested, tables=tables, provenance=None)
    assert found[("claim", "33")].answer == "in part"
    assert "trained on these patients is not known" in found[("claim", "33")].note
    assert found[("claim", "20")].answer == "not shown by this run"
    assert found[("claim", "38")].answer == "yes"
    assert found[("stard", "30")].answer == "yes"
    for number in ("9", "22", "25", "26", "31"):
        assert found[("claim", number)].answer == "not shown by this run", number
    assert found[("tripod", "12c")].answer == "not applicable"
    assert found[("tripod", "27b")].answer == "not applicable"
    assert found[("metrics", "22")].answer == "not shown by this run"  # there are no probabilities
    assert found[("stard", "6")].answer == "said by the authors"


def test_studies_that_the_model_was_trained_on_make_an_external_test_worthless(tested):
    known = dataclasses.replace(tested.external, known="counted", known_studies=3)
    audits = [dataclasses.replace(one, passed=False) for one in tested.audits]
    found = answers(dataclasses.replace(tested, external=known, audits=audits))
    for key in (("claim", "33"), ("claim", "38"), ("metrics", "27"), ("stard", "31")):
        assert found[key] == "not shown by this run", key


def test_answers_of_an_external_test_are_checked_before_anything_is_written(tmp_path):
    table = "study,score\n1,5\n2,500\n"
    for name, text in {"labels.csv": table, "ours.csv": table, "answers.yaml": "fonding: nobody"}.items():
        (tmp_path / name).write_text(text)
    out, answered = tmp_path / "out", tmp_path / "answers.yaml"
    done = job_here(
        "evaluate.py", tmp_path / "ours.csv", "--labels", tmp_path / "labels.csv", "--out", out, "--checklist", answered
    )
    assert done.returncode == 2
    assert "found an answer to 'fonding', which is no question; perhaps funding is meant" in done.stderr
    assert not out.exists()


def test_the_checklists_are_in_the_archive_and_hold_no_path(reported):
    offer = selection.survey(reported.root, selection.Selection())
    names = {item.name for item in offer.items}
    for name in ("checklist.html", "checklist.md", "checklist.csv", "methods.md", "tables/methods.tex"):
        assert f"report/{name}" in names
        text = (reported.report / name).read_text()
        assert str(reported.root) not in text
        assert "answers.yaml" not in text


def test_questions_are_printed_as_a_file_that_is_read_back(reported, tmp_path):
    done = job_here("report.py", reported.root, "--questions")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "again.yaml"
    file.write_text(done.stdout)
    assert questions.read_answers(file, "report.checklist") == typed_report_of(reported).answers
    assert done.stdout.count("\nfunding: ") == 1
    assert "(CLAIM 2024 44; TRIPOD+AI 18a; STARD-AI 38)" in " ".join(done.stdout.replace("#", "").split())
    refused = job_here("report.py", reported.root, "--questions", "--open")
    assert refused.returncode == 2
    assert "--questions: found open with it, wanted RUN --questions alone" in refused.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fundnig: nobody", "found an answer to 'fundnig', which is no question; perhaps funding is meant"),
        ("colour: red", "found an answer to 'colour', which is no question; python jobs/report.py RUN --questions"),
        ("funding: [a, b]", "found a list as answer to funding, wanted text; put it in quotes"),
        ("- funding", "found no question with its answer, wanted a YAML file of answers"),
        ("funding: nobody\nfunding: me", "(line 2"),
        ("funding: 'a", "(line "),
        (f"funding: {'a' * 1001}", "the answer to funding has 1001 characters, wanted 1000 at most"),
        ('funding: "a\\u001b[2J"', r"the answer to funding has '\x1b' in it, wanted text without control characters"),
    ],
)
def test_answers_that_cannot_be_are_refused_in_one_line(tmp_path, text, said):
    file = tmp_path / "answers.yaml"
    file.write_text(text)
    with pytest.raises(questions.InputError) as error:
        questions.read_answers(file, "report.checklist")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_answers_that_is_not_there_is_named(tmp_path):
    with pytest.raises(questions.InputError, match=r"--checklist is '.*gone.yaml': No such file or directory; "):
        questions.read_answers(tmp_path / "gone.yaml", "--checklist")
