"""Columns of a sheet by which patients form groups: few values, and nothing that tells who somebody is."""

import pytest
from openpyxl import Workbook

from cac_hpc.labels import group_values
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import match_labels
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig


def groups_of(tmp_path, values, column="hospital"):
    path = tmp_path / "labels.csv"
    lines = [f'{number},{number},"{value}"' for number, value in enumerate(values)]
    path.write_text("\n".join([f"study,score,{column}", *lines]) + "\n", encoding="utf-8")
    cfg = LabelsConfig(sheet=str(path), group_columns=(column,))
    labels = match_labels(cfg, [str(number) for number in range(len(values))], "scans").labels
    return [label.groups.get(column) for label in labels.values()]


def test_spellings_that_differ_in_case_and_blanks_are_one_group_and_words_for_nothing_none(tmp_path):
    found = groups_of(tmp_path, ["North", "north", "North ", "South Gate", "n/a", "unknown", "", "1"])
    assert found == ["North", "North", "North", "South Gate", None, None, None, "1"]


@pytest.mark.parametrize(
    ("value", "why"),
    {
        "Doe^John": "looks like one of names", "Doe, John": "looks like one of names",
        "1958-06-04": "looks like one of dates", "04.06.1958": "looks like one of dates", "19580604": "of dates",
        "1958": "of dates", "1234567": "numbers of records", "MRN 88231": "numbers of records",
        "j@x.org": "telephone numbers or addresses", "+yes": "cannot name a group", "withheld": "cannot name a group",
        "a" * 41: "has 41 signs",
    }.items(),
)  # fmt: skip
def test_what_may_identify_somebody_is_refused_with_its_cell_and_not_quoted(tmp_path, value, why):
    with pytest.raises(InputError, match=why) as told:
        groups_of(tmp_path, ["North", "South", value])
    assert "cell C4" in str(told.value)
    assert "column 'hospital' of labels.group_columns" in str(told.value)
    assert value not in str(told.value) or value == "withheld"
    assert "\n" not in str(told.value)


def test_a_column_of_many_values_or_of_ages_makes_no_groups(tmp_path):
    with pytest.raises(InputError, match=r"found 21 different values, wanted 20 at most; labels.group_columns names"):
        groups_of(tmp_path, [f"ward {number}" for number in range(21)])
    with pytest.raises(InputError, match=r"exact ages or years, wanted groups such as 60-69, or data.subgroups"):
        groups_of(tmp_path, ["61", "62"], "Age at scan")
    assert groups_of(tmp_path, ["60-69", "70-79"], "Age at scan") == ["60-69", "70-79"]


def test_a_column_in_which_no_value_occurs_twice_names_people_and_no_groups(tmp_path):
    with pytest.raises(InputError, match=r"column 'hospital' .*: no value occurs twice, wanted groups") as told:
        groups_of(tmp_path, ["Ann Smith", "Bo Doe", "Cy Poe", ""])
    assert "Smith" not in str(told.value)
    assert groups_of(tmp_path, ["North", "South"]) == ["North", "South"]


def test_cohorts_together_have_no_more_values_than_one():
    labels = {f"s{number}": Label(f"s{number}", "p", 0, 0, {}, {"ward": f"w{number}"}) for number in range(21)}
    with pytest.raises(InputError, match=r"column 'ward' .*: all cohorts have 21 values, wanted 20 at most"):
        group_values.one_spelling(labels)
    few = dict(list(labels.items())[:20])
    assert group_values.one_spelling(few) == few


def test_a_faulty_cell_is_named(tmp_path):
    book = Workbook()
    for row in (("study", "score", "hospital"), ("1", 5, "North"), ("2", 7, "#REF!")):
        book.active.append(row)
    book.active["C3"].data_type = "e"
    book.save(tmp_path / "labels.xlsx")
    cfg = LabelsConfig(sheet=str(tmp_path / "labels.xlsx"), group_columns=("hospital",))
    with pytest.raises(InputError, match=r"cell C3 is .*, wanted text or a blank cell"):
        match_labels(cfg, ["1", "2"], "scans")


def test_a_column_may_not_have_the_name_of_a_fact():
    with pytest.raises(InputError, match=r"labels.group_columns is .*Sex.* columns of other names than sex"):
        LabelsConfig(sheet="a.csv", group_columns=("Sex",))
