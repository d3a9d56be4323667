"""Groups of patients in a report: for whom it is worse, and the same numbers on page, in text, tables and figure."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cac_hpc.report import aggregation, tables
from cac_hpc.sections import subgroup_parts
from tests.support.reports import check_report, make_run, typed_report_of

NUM = 72
WORSE, WARD = "GE WORSE <CT>", "*Ward*"


def make(folder):
    """Patients of four scanners, of one of which most are put two categories too low; one patient has two studies."""
    rng = np.random.default_rng(3)
    names, label = [f"s{number:02d}" for number in range(NUM)], np.arange(NUM) % 6
    scanner = np.array([WORSE, "Siemens B", "Siemens B", "Canon C"])[np.arange(NUM) // 6 % 4]
    scanner[:8] = "Rare D"
    off = np.where(scanner == WORSE, -2, 0) * (rng.random(NUM) < 0.8)
    said = np.clip(label + off, 0, 5)
    score = np.array([0, 5, 50, 200, 700, 2000.0])[label]
    sex = np.array(["female", "male"])[np.arange(NUM) % 2]
    ward = np.where(np.arange(NUM) < 5, "withheld", np.where(np.arange(NUM) < 30, WARD, "West"))
    facts = {"scanner": scanner, "sex": sex, "kernel": ["B35f"] * NUM, "kernel_class": ["soft to medium"] * NUM,
             "group_hospital": ward}  # fmt: skip
    patient = dict(zip(names, names, strict=True)) | {names[-1]: names[-2]}
    told = {(name, int(one)): [int(guess)] * 3 for name, one, guess in zip(names, label, said, strict=True)}
    return make_run(
        folder, told, patient, score=dict(zip(names, score, strict=True)),
        facts={name: dict(zip(names, values, strict=True)) for name, values in facts.items()},
        report={"draws": 200, "figure_dpi": 50},
        data={"subgroups": ["sex", "scanner", "kernel", "age_group"]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make(tmp_path_factory.mktemp("subgroups"))
    assert aggregation.aggregate(run.root)
    return run


def test_the_group_for_which_the_model_is_worse_is_named_first_and_how_many_could_not_be_judged(reported):
    check_report(reported)
    report = typed_report_of(reported)
    (sentence,) = subgroup_parts.verdict(report)
    found = re.match(
        r"Worse than for the others: \*\*scanner GE WORSE <CT>\*\* \((.*) (\S+) against (\S+), n = 12\)", sentence
    )
    assert found, sentence
    assert float(found[2]) < float(found[3])
    assert f"Of {report.subgroups.comparisons} comparisons {report.subgroups.by_chance:.1f} would" in sentence
    assert "could not be judged" in sentence
    page, text = ((reported.report / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert text.count("by chance alone") == 2  # on the first screen, and in the section: not twice there
    assert subgroup_parts.WITHHELD in text
    assert "<strong>scanner GE WORSE &lt;CT&gt;</strong>" in page
    assert r"**scanner GE WORSE \<CT\>**" in text
    assert page.index("Worse than for the others") < page.index('id="cuts"')


def test_numbers_are_those_of_the_patients_and_the_same_everywhere(reported):
    report, table = typed_report_of(reported), pd.read_csv(reported.report / "tables" / "subgroups.csv")
    studies = pd.read_csv(reported.dataset(None).studies, keep_default_na=False)
    by_fact = {fact.fact: fact for fact in report.subgroups.facts}
    assert list(by_fact) == ["sex", "scanner", "kernel", "age_group", "hospital"]
    scanner = by_fact["scanner"]
    assert [(one.group, one.judged) for one in scanner.groups] == [
        ("Canon C", True), (WORSE, True), ("Rare D", False), ("Siemens B", True)
    ]  # fmt: skip
    assert sum(one.patients for one in scanner.groups) == studies["patient"].nunique()
    assert by_fact["sex"].several == 1  # both sexes are said of the patient with two studies
    assert by_fact["age_group"].unknown == NUM - 1
    assert by_fact["hospital"].withheld == 5
    error = scanner.groups[1].differences["category_error"]
    row = table[(table["group"] == WORSE) & (table["figure"] == "category_error")].iloc[0]
    assert (row["difference"], row["difference_low"]) == pytest.approx((error.difference, error.low))
    assert error.high < 0
    text = (reported.report / "report.md").read_text(encoding="utf-8")
    assert f"{error.difference:+.1f} [" in text  # two digits, as people read them
    assert r"\*Ward\*" in text
    assert "By kernel there are no groups: all 71 patients of whom it is known are B35f (soft to medium)." in text
    assert "By age in years there are no groups: unknown 71." in text
    assert "subgroups.tex" in {path.name for path in (reported.report / "tables").iterdir()}


def test_the_figure_is_drawn_and_on_the_page(reported):
    assert (reported.report / "figures" / "subgroups.png").stat().st_size > 5000
    page = (reported.report / "report.html").read_text(encoding="utf-8")
    assert 'id="subgroups"' in page
    assert "figures/subgroups.png" in page


def test_without_a_sure_difference_no_group_is_called_worse(reported):
    report = typed_report_of(reported)

    def unsure(group):
        wide = {name: replace(one, low=-1.0, high=1.0) for name, one in group.differences.items()}
        return replace(group, differences=wide)

    facts = [replace(fact, groups=list(map(unsure, fact.groups))) for fact in report.subgroups.facts]
    none = replace(report, subgroups=replace(report.subgroups, facts=facts))
    (sentence,) = subgroup_parts.verdict(none)
    assert sentence.startswith("No group of patients was found worse than the others (7 groups judged). 2 groups could")


def test_a_report_of_a_run_without_groups_says_nothing_of_them(reported, tmp_path):
    content = json.loads((reported.report / "report.json").read_text())
    report = typed_report_of(reported)
    assert "subgroups" in content
    none = type(report)(**{**vars(report), "subgroups": None})
    assert subgroup_parts.verdict(none) == subgroup_parts.sections(none) == subgroup_parts.latex(none) == []
    assert "subgroups.csv" not in tables.csv(none)
    subgroup_parts.draw(tmp_path / "subgroups", none, "", 50)
    assert not list(tmp_path.iterdir())
