"""Labels as people have them: in several sheets, by vessel, and under numbers that are not quite the folders'."""

import csv

import openpyxl
import pytest

from cac_hpc.dataset import plan
from cac_hpc.labels import affixes
from cac_hpc.labels.label_rows import content
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import match_labels
from cac_hpc.settings import evaluate_command, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from tests.support.runs import SCORES, write_config

VESSELS = ("LM", "LAD", "LCX", "RCA")


def write(path, *rows, worksheet=None):
    """A sheet; of a workbook the worksheet of that name, behind another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return str(path)
    book = openpyxl.Workbook()
    sheet = book.active
    if worksheet:
        sheet.append(["notes"])
        sheet = book.create_sheet(worksheet)
    for row in rows:
        sheet.append(row)
    book.save(path)
    return f"{path}#{worksheet}" if worksheet else str(path)


def faults(cfg, studies):
    with pytest.raises(InputError) as error:
        match_labels(cfg, studies, "scans")
    return str(error.value).split("\n  ")


def scores(matched):
    return {study: label.score for study, label in matched.labels.items()}


def test_a_sheet_for_each_year_may_be_of_either_kind(tmp_path):
    old = write(tmp_path / "2019.csv", ("study", "score"), ("1", 5), ("2", 50))
    new = write(tmp_path / "2020.xlsx", ("study", "score"), ("2", 50), ("3", 700), worksheet="CAC scores")
    matched = match_labels(LabelsConfig(sheet=(old, new)), ["1", "2", "3"], "scans")
    assert scores(matched) == {"1": 5, "2": 50, "3": 700}
    assert matched.warnings == [
        "in several sheets with the same score: A3 of 2019.csv '2' and A2 of 2020.xlsx#CAC scores '2'"
    ]


def test_two_sheets_that_contradict_each_other_are_named_with_both_addresses(tmp_path):
    one = write(tmp_path / "2019" / "s.csv", ("study", "score", "who"), ("1", 5, "a"), ("2", 50, "b"), ("3", "x", "c"))
    two = write(tmp_path / "2020" / "s.csv", ("study", "score", "who"), ("1", 6, "a"), ("2", 50, "d"), ("3", 7, "c"))
    head, *lines = faults(LabelsConfig(sheet=(one, two), patient_column="who"), ["1", "2", "3"])
    assert head.startswith(f"{one}, {two}: 3 faults")
    different = "name the same study with different scores or patients"
    assert lines == [
        f"study '1': A2 of {one} '1' and A2 of {two} '1' {different}",
        f"study '2': A3 of {one} '2' and A3 of {two} '2' {different}",
        f"study '3': A4 of {one} '3' and A4 of {two} '3' {different}; B4 of {one} is text, wanted a number such as "
        "12.5, or >1000",
    ]


def test_one_sheet_may_not_say_a_study_twice_though_another_agrees(tmp_path):
    one = write(tmp_path / "a.csv", ("study", "score"), ("1", 5), ("1", 5))
    two = write(tmp_path / "b.csv", ("study", "score"), ("1", 5))
    assert "name the same study" in faults(LabelsConfig(sheet=(one, two)), ["1"])[1]


def test_hidden_rows_of_each_sheet_are_named(tmp_path):
    one = write(tmp_path / "a.csv", ("study", "score"), ("1", 5))
    book = openpyxl.Workbook()
    for row in (("study", "score"), ("2", 5), ("3", 5)):
        book.active.append(row)
    book.active.row_dimensions[3].hidden = book.active.column_dimensions["B"].hidden = True
    book.save(tmp_path / "b.xlsx")
    matched = match_labels(LabelsConfig(sheet=(one, str(tmp_path / "b.xlsx"))), ["1", "2"], "scans")
    assert matched.hidden == [
        "row 3 is hidden in b.xlsx, and left out (labels.hidden_rows: use reads it)",
        "column B (labels.score_column) is hidden in b.xlsx, and read",
    ]


def test_a_worksheet_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    path = write(tmp_path / "a.xlsx", ("study", "score"), ("1", 5), worksheet="Scores")
    assert scores(match_labels(LabelsConfig(sheet=path), ["1"], "scans")) == {"1": 5}
    cfg = LabelsConfig(sheet=f"{tmp_path / 'a.xlsx'}#2020")
    with pytest.raises(InputError, match=r"found worksheets 'Sheet', 'Scores', wanted one named '2020'"):
        match_labels(cfg, ["1"], "scans")
    odd = write(tmp_path / "no#2.csv", ("study", "score"), ("1", 6))
    assert scores(match_labels(LabelsConfig(sheet=odd), ["1"], "scans")) == {"1": 6}


@pytest.mark.parametrize("name", ["filename ", " 'filename '", '"Filename"', "FILENAME"])
def test_a_column_is_found_whatever_blanks_quotes_and_case(tmp_path, name):
    path = write(tmp_path / "a.csv", (name, "score"), ("1", 5))
    assert scores(match_labels(LabelsConfig(sheet=path, study_column="filename"), ["1"], "scans")) == {"1": 5}


def test_of_columns_that_differ_in_case_the_exact_one_is_read_or_none(tmp_path):
    path = write(tmp_path / "a.csv", ("study", "Score", "score"), ("1", 5, 6))
    assert scores(match_labels(LabelsConfig(sheet=path), ["1"], "scans")) == {"1": 6}
    with pytest.raises(InputError, match=r"wanted also 'SCORE'"):
        match_labels(LabelsConfig(sheet=path, score_column="SCORE"), ["1"], "scans")
    with pytest.raises(InputError, match="are spellings of one; wanted the exact names"):
        match_labels(LabelsConfig(sheet=path, study_column="Study", score_column="study"), ["1"], "scans")


def vessel_cfg(tmp_path, *rows, **values):
    head = ("study", *([values.get("score_column", "score")] if values.get("score_column", "score") else []), *VESSELS)
    path = write(tmp_path / "vessels.csv", head, *rows)
    return LabelsConfig(sheet=path, vessel_columns=VESSELS, **values)


def test_a_score_is_the_sum_of_its_vessels(tmp_path):
    cfg = vessel_cfg(tmp_path, ("1", 0.1, 0.2, 0, 0), ("2", 0, 100, 0, 0.5), score_column=None)
    assert match_labels(cfg, ["1", "2"], "scans").labels == {
        "1": Label("1", "1", 0.3, 1, {"LM": 0.1, "LAD": 0.2, "LCX": 0, "RCA": 0}),
        "2": Label("2", "2", 100.5, 3, {"LM": 0, "LAD": 100, "LCX": 0, "RCA": 0.5}),
    }


def test_a_total_beside_its_vessels_must_be_their_sum_but_for_rounding(tmp_path):
    rows = [
        ("1", 12, 1, 2, 3, 6),
        ("2", 14, 1.4, 2.4, 3.4, 6.4),
        ("3", 13, "", "", "", ""),
        ("4", ">1000", 900, 200, 0, 0),
    ]
    wrong = [
        ("5", 15, 1.1, 2, 3.1, 6),
        ("6", ">1000", 900, 50, 0, 0),
        ("7", 12, 3, 3, "", 6),
        ("8", 900, ">1000", 0, 0, 0),
    ]
    cfg = vessel_cfg(tmp_path, *rows, *wrong, unmatched="skip")
    matched = match_labels(cfg, list("12345678"), "scans")
    assert scores(matched) == {"1": 12, "2": 14, "3": 13, "4": 1100}
    assert matched.labels["3"].vessels == {}
    assert matched.unlabelled == {
        "5": "B6 is '15', but C6 to F6 add up to 12.2; wanted equal within 1.6, which rounding can make",
        "6": "B7 is '>1000', but C7 to F7 add up to 950; wanted more",
        "7": "E8 is blank, wanted a number such as 12.5, or >1000",
        "8": "C9 is '>1000', which cannot be added up; wanted a number",
    }


def test_vessels_that_are_all_blank_are_no_score(tmp_path):
    cfg = vessel_cfg(tmp_path, ("1", "", "", "", ""), ("2", 0, 0, 0, 0), score_column=None, unmatched="skip")
    assert match_labels(cfg, ["1", "2"], "scans").unlabelled == {
        "1": "B2 to E2 are blank, wanted the score of each vessel"
    }


def test_a_sheet_without_the_left_main_artery_has_three_columns_in_the_settings(tmp_path):
    path = write(tmp_path / "a.csv", ("study", "LAD", "LCX", "RCA"), ("1", 1, 2, 3))
    three = LabelsConfig(sheet=path, score_column=None, vessel_columns=VESSELS[1:])
    assert scores(match_labels(three, ["1"], "scans")) == {"1": 6}
    with pytest.raises(InputError, match=r"wanted also 'LM'; set .* labels.vessel_columns or .* to the sheet"):
        match_labels(LabelsConfig(sheet=path, score_column=None, vessel_columns=VESSELS), ["1"], "scans")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "labels.sheet is not set, but must be the path of a .csv or .xlsx sheet, or a list of paths"),
        ({"sheet": ()}, "labels.sheet is "),
        ({"sheet": ("a.csv", "a.csv")}, "different sheets"),
        ({"sheet": "a.csv", "score_column": None}, "labels.score_column is not set, but must be a column"),
        ({"sheet": "a.csv", "vessel_columns": ("LAD",)}, "two columns or more"),
        ({"sheet": "a.csv", "vessel_columns": ("LAD", "score")}, "different columns"),
        ({"source": "sr", "patient_column": "who"}, "only a sheet names patients"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, said):
    with pytest.raises(InputError, match=said):
        LabelsConfig(**values).check_source()


def test_a_suffix_is_dropped_where_the_settings_say_so_and_shown(tmp_path):
    path = write(tmp_path / "a.csv", ("filename ", "total"), *((f"{number}A", number) for number in range(1, 7)))
    cfg = LabelsConfig(sheet=path, study_column="filename", score_column="total", id_suffix="A")
    matched = match_labels(cfg, list("123456"), "scans")
    assert scores(matched) == {str(number): number for number in range(1, 7)}
    assert matched.warnings == [
        "labels.id_suffix A: A2 '1A' is study '1', A3 '2A' is study '2', A4 '3A' is study '3' and 3 more"
    ]


def test_a_suffix_that_would_do_is_proposed_and_never_taken(tmp_path):
    path = write(tmp_path / "a.csv", ("study", "score"), *((f"{number}A", number) for number in range(1, 7)))
    head, *lines = faults(LabelsConfig(sheet=path), list("123456"))
    assert head.endswith("; 6 rows would be studies, as A2 '1A' is '1', with --labels.id_suffix A")
    assert lines[0] == "study '1': no row"
    skipped = LabelsConfig(
        sheet=write(tmp_path / "b.csv", ("study", "score"), ("1A", 1), ("2A", 1), ("3", 1)), unmatched="skip"
    )
    matched = match_labels(skipped, ["1", "2", "3"], "scans")
    assert scores(matched) == {"3": 1}
    assert matched.warnings == ["2 rows would be studies, as A2 '1A' is '1', with --labels.id_suffix A"]


def test_a_prefix_of_the_folders_is_found_and_dropped_as_well(tmp_path):
    path = write(tmp_path / "a.csv", ("study", "score"), ("1", 1), ("2", 2), ("30", 3))
    folders = ["CACS_001", "CACS_002", "CACS_030"]
    assert faults(LabelsConfig(sheet=path), folders)[0].endswith(
        "3 rows would be studies, as A2 '1' is 'CACS_001', with --labels.id_prefix CACS_"
    )
    assert scores(match_labels(LabelsConfig(sheet=path, id_prefix="cacs_"), folders, "scans")) == dict(
        zip(folders, [1, 2, 3], strict=True)
    )


def test_names_that_a_suffix_makes_one_are_refused(tmp_path):
    path = write(tmp_path / "a.csv", ("study", "score"), ("1", 1), ("1A", 2), ("2A", 3))
    lines = faults(LabelsConfig(sheet=path, id_suffix="A"), ["1", "2", "2A"])
    assert lines[1:] == [
        "study '1': A2 '1' and A3 '1A' name the same study",
        "study '2': folders '2' and '2A' are the same study",
        "study '2A': folders '2' and '2A' are the same study",
    ]


@pytest.mark.parametrize(
    ("rows", "studies", "found"),
    [
        (["1a", "2a", "3a"], ["1", "2", "3"], (affixes.SUFFIX, "a", 3)),
        (["1", "2"], ["pat-1", "pat-2"], (affixes.PREFIX, "pat-", 2)),
        (["pat 1", "pat 2", "pat 13"], ["1", "2", "13"], (affixes.PREFIX, "pat", 3)),
        (["1a"], ["1"], None),  # one pair may be by chance
        (["11", "12", "13"], ["1", "2", "3"], None),  # no number is cut in two
        (["1a", "2b", "3c"], ["1", "2", "3"], None),
        (["1a", "2a", *map(str, range(50, 60))], ["1", "2", *map(str, range(80, 90))], None),  # two of twelve
        (["1a", "2a", *map(str, range(50, 60))], ["1", "2"], (affixes.SUFFIX, "a", 2)),
        ([], [], None),
    ],
)
def test_only_what_most_names_lack_is_proposed(rows, studies, found):
    proposal = affixes.propose(rows, studies)
    assert (proposal and (proposal.setting, proposal.text, len(proposal.pairs))) == found


@pytest.mark.parametrize(
    ("name", "prefix", "suffix", "key"),
    [
        ("1A", None, "a", "1"),
        ("A", None, "A", "a"),
        ("case 007", "Case", None, "7"),
        ("CASE_007_cac", "case_", "_CAC", "7"),
        ("x01", None, "01", "x"),
        ("1B", None, "A", "1b"),
    ],
)
def test_a_name_is_compared_without_what_the_settings_drop(name, prefix, suffix, key):
    assert affixes.compared(name, prefix, suffix) == key


def test_several_sheets_and_suffixes_make_the_plan_that_one_sheet_makes(tmp_path, scans):
    rows = [(f"{index:03d}A", SCORES[index % len(SCORES)]) for index in range(18)]
    one = write(tmp_path / "one.csv", ("study", "score"), *rows[:10])
    two = write(tmp_path / "two.xlsx", ("study", "score"), *rows[10:], worksheet="B")
    sections = [{}, {"sheet": [one, two], "id_suffix": "A"}]
    cfgs = [
        stored_settings.load(write_config(tmp_path / "s.yaml", scans, tmp_path / "run", labels=one)) for one in sections
    ]
    plans = [plan.make_plan(cfg) for cfg in cfgs]
    assert plans[0].labels == plans[1].labels
    assert plans[0].sha256 != plans[1].sha256
    assert any("labels.id_suffix A: A2 of one.csv '000A' is study '000'" in line for line in plans[1].warnings)
    write(tmp_path / "two.xlsx", ("study", "score"), *rows[10:], ("x", 1), worksheet="B")
    assert content(cfgs[1].labels) != plans[1].sha256
    assert (
        plan.make_plan(stored_settings.load(write_config(tmp_path / "s.yaml", scans, tmp_path / "run"))).sha256
        == plans[0].sha256
    )


def test_an_external_test_takes_the_same_settings():
    words = ["p.csv", "--out", "o", "--labels", "a.csv", "--labels", "b.xlsx#B", "--labels.id_suffix", "A"]
    words += ["--labels.score_column", "null", "--labels.vessel_columns", *VESSELS]
    cfg = evaluate_command.parse_evaluate(None, words).labels
    assert (cfg.sheets, cfg.id_suffix) == (("a.csv", "b.xlsx#B"), "A")
    assert (cfg.score_column, cfg.vessel_columns) == (None, VESSELS)
    again = evaluate_command.label_arguments(cfg)
    assert evaluate_command.parse_evaluate(None, ["p.csv", "--out", "o", *again]).labels.vessel_columns == VESSELS
    assert again[:2] == ["--labels", again[1]]
    assert again.count("--labels") == 2


def test_columns_of_groups_are_read_as_text_and_a_blank_cell_is_no_group(tmp_path):
    path = write(tmp_path / "a.csv", ("study", "score", "hospital"), ("1", 5, "North"), ("2", 7, " "))
    labels = match_labels(LabelsConfig(sheet=path, group_columns=("hospital",)), ["1", "2"], "scans").labels
    assert {study: dict(one.groups) for study, one in labels.items()} == {"1": {"hospital": "North"}, "2": {}}
