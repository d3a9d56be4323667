"""The score sheet: what every cell means, which folder a row belongs to, and how every fault is named."""

import csv
import datetime
import re
from decimal import Decimal, InvalidOperation

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cac_hpc.labels import labels
from cac_hpc.labels.labels import Label, categories, read_score
from cac_hpc.labels.matching import match_labels
from cac_hpc.labels.sheets import Cell
from cac_hpc.labels.spelling import by_spelling, near_miss, normalised
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig

EDGES = LabelsConfig.edges
NUMBER = "wanted a number such as 12.5, or >1000"
COMMA = "where a comma may part thousands or decimals; wanted 1234 or 12.5"
OPEN = "which leaves the category open; wanted a number, or > from 1000 on"

HIGH = "digits, a number of 20000 or more, as the serial number of a date is; wanted a score below 20000"

# what stands in the cell of a workbook; the text of a CSV cell where it differs; (score, category) or what is wrong
CELLS = [
    (0, None, (0.0, 0)),
    ("0", None, (0.0, 0)),
    ("0.0", None, (0.0, 0)),
    ("000", None, (0.0, 0)),
    (0.5, None, (0.5, 1)),
    (1, None, (1.0, 1)),
    (10, None, (10.0, 1)),
    (10.0, "10.0", (10.0, 1)),
    ("10.00", None, (10.0, 1)),
    (10.5, None, (10.5, 2)),
    ("0012", None, (12.0, 2)),
    (99.9, None, (99.9, 2)),
    (100, None, (100.0, 2)),
    (100.5, None, (100.5, 3)),
    (" 101 ", None, (101.0, 3)),
    ("\u00a0250.25\u00a0", None, (250.25, 3)),
    (400, None, (400.0, 3)),
    (400.5, None, (400.5, 4)),
    (957.8, None, (957.8, 4)),
    (1000, None, (1000.0, 4)),
    (1000.5, None, (1000.5, 5)),
    ("1001", None, (1001.0, 5)),
    (19999, None, (19999.0, 5)),
    (20000, None, HIGH),
    (43831, None, HIGH),
    (43831.5, None, HIGH),
    ("43831", None, HIGH),
    (">43831", None, HIGH),
    ("43,831", None, "digits, " + COMMA),
    (">1000", None, (None, 5)),
    ("> 1000", None, (None, 5)),
    (" >1000.0 ", None, (None, 5)),
    (">2500", None, (None, 5)),
    (">400", None, "'>400', " + OPEN),
    (">999.9", None, "'>999.9', " + OPEN),
    (">0", None, "'>0', " + OPEN),
    (">=1000", None, "'>=1000', " + NUMBER),
    ("≥1001", None, "'≥1001', " + NUMBER),
    ("<1", None, "'<1', " + NUMBER),
    (">", None, "'>', " + NUMBER),
    ("1,234", None, "'1,234', " + COMMA),
    ("1.234,5", None, "'1.234,5', " + COMMA),
    ("12,5", None, "'12,5', " + COMMA),
    (None, None, "blank, " + NUMBER),
    ("   ", None, "blank, " + NUMBER),
    ("NA", None, "text, " + NUMBER),
    ("n/a", None, "'n/a', " + NUMBER),
    ("nan", None, "text, " + NUMBER),
    ("inf", None, "text, " + NUMBER),
    (-5, None, "'-5', wanted 0 or more"),
    ("-0.5", None, "'-0.5', wanted 0 or more"),
    ("+5", None, "'+5', " + NUMBER),
    ("1e3", None, "text, " + NUMBER),
    ("1E5", None, "text, " + NUMBER),
    ("1_000", None, "digits, " + NUMBER),
    ("1 000", None, "'1 000', " + NUMBER),
    ("1.234.567", None, "digits, " + NUMBER),
    ("１２", None, "digits, " + NUMBER),
    ("١٢", None, "digits, " + NUMBER),
    (".5", None, "'.5', " + NUMBER),
    ("5.", None, "'5.', " + NUMBER),
    ("0x10", None, "text, " + NUMBER),
    ("12 HU", None, "text, " + NUMBER),
    ("12 Jan", None, "text, " + NUMBER),
    ("1-100", None, "digits, " + NUMBER),
    ("400/1000", None, "digits, " + NUMBER),
    ("zero", None, "text, " + NUMBER),
    ("\u200b12", None, "digits, " + NUMBER),
    ("9" * 400, None, HIGH),
    ("=6*2", None, "a formula, " + NUMBER),
]
# cells of a workbook that a CSV file has as a text: what is said of them in either
TYPED = [
    (datetime.date(2020, 1, 12), "2020-01-12", "a date", "digits"),
    (datetime.time(12, 30), "12:30:00", "a time", "digits"),
    (True, "TRUE", "a logical value", "text"),
    ("#N/A", "#N/A", "the error #N/A", "'#N/A'"),
]


def cfg_of(tmp_path, rows, kind="csv", **settings):
    path = tmp_path / f"labels.{kind}"
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    else:
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    return LabelsConfig(sheet=str(path), **settings)


def sheet(tmp_path, text, **settings):
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    return LabelsConfig(sheet=str(tmp_path / "labels.csv"), **settings)


def hidden_cfg(tmp_path, rows, hidden, columns=(), **settings):
    """A workbook of which a filter hides rows."""
    book = openpyxl.Workbook()
    for row in [("study", "score"), *rows]:
        book.active.append(row)
    for number in hidden:
        book.active.row_dimensions[number].hidden = True
    for letter in columns:
        book.active.column_dimensions[letter].hidden = True
    book.save(tmp_path / "labels.xlsx")
    return LabelsConfig(sheet=str(tmp_path / "labels.xlsx"), **settings)


def faults(cfg, studies):
    """The lines below the first, which counts them."""
    with pytest.raises(InputError) as error:
        match_labels(cfg, studies, "scans")
    first, *lines = str(error.value).split("\n  ")
    assert first.startswith(f"{cfg.sheet}: {len(lines)} fault")
    assert "each folder in scans" in first
    return lines


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_every_score_cell_has_its_verdict_at_its_address(tmp_path, kind):
    cells = CELLS + [(value, text, f"{both[kind == 'csv']}, {NUMBER}") for value, text, *both in TYPED]
    assert len(cells) >= 60
    rows = [
        (f"s{number}", value if kind == "xlsx" or text is None else text)
        for number, (value, text, _) in enumerate(cells, 2)
    ]
    cfg = cfg_of(tmp_path, [("study", "score"), *rows], kind, unmatched="skip")
    matched = match_labels(cfg, [study for study, _ in rows], "scans")
    for number, (_, _, verdict) in enumerate(cells, start=2):
        study = f"s{number}"
        if isinstance(verdict, tuple):
            assert matched.labels[study] == Label(study, study, *verdict)
        else:
            assert matched.unlabelled[study] == f"B{number} is {verdict}"
    assert len(matched.labels) + len(matched.unlabelled) == len(cells)
    assert matched.rows_without_study == []


def test_an_edge_belongs_to_the_category_that_ends_there():
    scores = [0, 0.5, 10, 10.5, 100, 100.5, 400, 1000, 1000.5]
    assert categories(scores, EDGES).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 5]
    assert [read_score(str(score), EDGES)[1] for score in scores] == [0, 1, 1, 2, 2, 3, 3, 4, 5]


def test_another_scheme_has_another_last_edge():
    assert read_score(">400", (0, 100, 400)) == (None, 3)
    with pytest.raises(ValueError, match="> from 400 on"):
        read_score(">399", (0, 100, 400))


@settings(deadline=None)
@given(st.decimals(0, 5000, places=2) | st.integers(0, 5000).map(Decimal) | st.sampled_from([*map(Decimal, EDGES)]))
def test_an_accepted_score_is_the_number_that_it_spells(number):
    score, category = read_score(f" {number:f}\u00a0", EDGES)
    assert score == float(number)
    if number == 0:
        assert category == 0
    elif number <= 10:
        assert category == 1
    elif number <= 100:
        assert category == 2
    elif number <= 400:
        assert category == 3
    elif number <= 1000:
        assert category == 4
    else:
        assert category == 5


@settings(deadline=None)
@given(st.text("0123456789.,>-+eE_ naif\u00a0１", max_size=8))
def test_whatever_else_is_accepted_is_digits_with_one_point(text):
    try:
        score, category = read_score(text, EDGES)
    except ValueError:
        return
    bare = text.strip()
    if score is None:
        assert bare[0] == ">"
        assert Decimal(bare[1:].strip()) >= 1000
        assert category == 5
    else:
        assert set(bare) <= set("0123456789.")
        assert bare.count(".") <= 1
        assert score == float(Decimal(bare))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (" 007", "7"),
        ("01A", "1a"),
        ("Case  3 ", "case 3"),
        ("7\u00a0b", "7 B"),
        ("００7", "7"),
        ("Mu\u0308ller", "M\u00fcller"),
        ("0", "000"),
        ("00.5", "0.5"),
    ],
)
def test_spellings_of_one_name_are_equal(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("A07", "A7"), ("7", "70"), ("1.05", "1.5"), ("1-1", "11"), ("7a", "7 a")])
def test_names_that_may_be_two_stay_apart(one, other):
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_rows_find_their_folders_whatever_blanks_case_and_zeros(tmp_path, kind):
    rows = [("filename ", "score"), (7, 0), (" 1a", 5.5), ("012", 50), ("Pro Gated 70%", 500)]
    cfg = cfg_of(tmp_path, rows, kind, study_column="filename")
    matched = match_labels(cfg, ["007", "012", "1A", "pro gated 70%"], "scans")
    assert list(matched.labels.values()) == [
        Label("007", "007", 0.0, 0),
        Label("012", "012", 50.0, 2),
        Label("1A", "1A", 5.5, 1),
        Label("pro gated 70%", "pro gated 70%", 500.0, 4),
    ]
    assert matched.warnings == [
        "A2 '7' is study '007'",
        "A3 '1a' is study '1A'",
        "A5 'Pro Gated 70%' is study 'pro gated 70%'",
    ]
    assert (matched.unlabelled, matched.rows_without_study) == ({}, [])


def test_all_faults_of_both_directions_are_listed_at_once(tmp_path):
    text = "study,score\na,x\nb,1\nB ,2\nA07,3\n,4\nzzzz,>10\n9,1\n5,5\n"
    assert faults(sheet(tmp_path, text), ["5", "a", "A7", "b", "gone", "09", "9"]) == [
        f"study 'a': B2 is text, {NUMBER}",
        "study 'A7': no row; did you mean A5 'A07'?",
        "study 'b': A3 'b' and A4 'B' name the same study",
        "study 'gone': no row",
        "study '09': folders '09' and '9' are the same study",
        "study '9': folders '09' and '9' are the same study",
        "A6 is blank, wanted a study",
        "A5 'A07': no folder; did you mean folder 'A7'?",
        f"A7 'zzzz': no folder; B7 is '>10', {OPEN}",
    ]


def test_a_hundred_faults_are_a_hundred_lines(tmp_path):
    text = "study,score\n" + "".join(f"r{number},1\n" for number in range(60))
    assert len(faults(sheet(tmp_path, text), [f"f{number}" for number in range(40)])) == 100


def test_near_misses_are_found_among_thousands_of_rows(tmp_path):
    text = "study,score\n" + "".join(f"S{number},1\n" for number in range(3000))
    lines = faults(sheet(tmp_path, text), [f"S-{number:04d}" for number in range(3000)])
    assert lines[12] == "study 'S-0012': no row; did you mean A14 'S12'?"


def test_a_typing_error_is_a_near_miss(tmp_path):
    assert faults(sheet(tmp_path, "study,score\ncase_O12,1\n"), ["case_012"]) == [
        "study 'case_012': no row; did you mean A2 'case_O12'?",
        "A2 'case_O12': no folder; did you mean folder 'case_012'?",
    ]


@pytest.mark.parametrize(
    ("row", "folders", "meant"),
    [
        ("1.0", ["1", "10"], "1"),
        ("1.00", ["10", "100", "1"], "1"),
        ("01.0", ["10", "1"], "1"),
        ("1.0", ["10", "11"], None),
        ("10.0", ["1", "10", "100"], "10"),
        ("１.０", ["10", "1"], "1"),
        ("1,0", ["10", "1"], "1"),
        ("1.", ["10", "1"], "1"),
        ("1.5", ["15", "1", "5"], None),
        ("1,5", ["15", "1.5"], "1.5"),
        (".5", ["5"], None),
        ("½", ["12"], None),
        ("1·5", ["15"], None),
        ("1,000", ["1", "1000"], None),
        ("1.000.000", ["1", "1000000"], None),
        ("1.0.0", ["1", "10", "100"], None),
        ("-1", ["1"], None),
        ("12", ["1", "2", "21", "123", "112"], None),
        ("1-05", ["15"], None),
        ("2020-7", ["20207", "2020_007"], "2020_007"),
        ("12-34", ["1234", "12345"], "1234"),
        ("A1.0", ["A10", "A1"], "A1"),
        ("A12", ["A13", "A2", "A112"], None),
        ("case 12", ["case 13", "csae-012"], "csae-012"),
    ],
)
def test_a_number_hints_only_at_the_same_number(tmp_path, row, folders, meant):
    cfg = cfg_of(tmp_path, [("study", "score"), (row, 1)])
    hint = f"; did you mean folder {meant!r}?" if meant else ""
    assert faults(cfg, folders)[-1] == f"A2 {row!r}: no folder{hint}"


@settings(deadline=None)
@given(
    st.text("0123456789.,-_ '０１", min_size=1, max_size=6),
    st.lists(st.integers(0, 2000).map(str), min_size=1, unique=True),
)
def test_no_spelling_of_a_number_hints_at_another_number(row, folders):
    hint = near_miss(row, by_spelling({folder: folder for folder in folders}), search=True)
    try:
        number = Decimal(row.replace("_", "x"))
    except InvalidOperation:
        return
    assert not hint or Decimal(hint.removeprefix("; did you mean ").removesuffix("?")) == number


@pytest.mark.parametrize("fault", ["stop", "skip"])
def test_a_row_that_a_filter_hides_gives_no_label_and_is_named(tmp_path, fault):
    cfg = hidden_cfg(tmp_path, [("1", 0), ("2", 50), ("3", 800)], [4], unmatched=fault)
    why = "row 4 is hidden in the sheet (labels.hidden_rows: use reads it)"
    if fault == "stop":
        assert faults(cfg, ["1", "2", "3"]) == [f"study '3': {why}"]
        return
    matched = match_labels(cfg, ["1", "2", "3"], "scans")
    assert list(matched.labels) == ["1", "2"]
    assert matched.unlabelled == {"3": why}
    assert matched.warnings == ["row 4 is hidden in the sheet, and left out (labels.hidden_rows: use reads it)"]


def test_a_hidden_row_without_a_folder_or_beside_a_visible_one_is_a_warning(tmp_path):
    cfg = hidden_cfg(tmp_path, [("1", 0), ("2", 50), ("2", 800), ("gone", "x"), (None, 3)], [4, 5, 6])
    matched = match_labels(cfg, ["1", "2"], "scans")
    assert [label.score for label in matched.labels.values()] == [0, 50]
    assert matched.warnings == ["rows 4-6 are hidden in the sheet, and left out (labels.hidden_rows: use reads them)"]


def test_hidden_rows_are_read_where_the_settings_say_so_and_named_in_short(tmp_path):
    rows = [(str(number), number) for number in range(2, 12)]
    cfg = hidden_cfg(tmp_path, rows, [3, 5, 6, 7, 9], hidden_rows="use")
    matched = match_labels(cfg, [study for study, _ in rows], "scans")
    assert len(matched.labels) == 10
    assert matched.hidden == matched.warnings
    assert matched.warnings == [
        "rows 3, 5-7, 9 are hidden in the sheet, and read (labels.hidden_rows: leave_out leaves them out)"
    ]
    with pytest.raises(InputError, match="A2 '2' and A3 '2' name the same study"):
        match_labels(hidden_cfg(tmp_path, [("2", 1), ("2", 5)], [3], hidden_rows="use"), ["2"], "scans")


def test_a_sheet_of_which_all_rows_are_hidden_is_refused(tmp_path):
    assert "hidden" in faults(hidden_cfg(tmp_path, [("1", 0)], [2], unmatched="skip"), ["1"])[0]


def test_a_column_that_is_read_although_it_is_hidden_is_named(tmp_path):
    matched = match_labels(hidden_cfg(tmp_path, [("1", 0)], [], ["B"]), ["1"], "scans")
    assert matched.warnings == ["column B (labels.score_column) is hidden in the sheet, and read"]


@pytest.mark.parametrize(
    "text",
    [
        *["Li", "An", "李明", "Øst", "김", "O'Neil", "Doe, Jane", "J.", "MRN 55", "A1234", "x1", "1a", "ⅷ", "e\u0301"],
        *["01.02.1950", "1950-02-01", "01/02/50", "1.2.50", "01 02 50", "12-3456", "123456789", "12345-6", "19500201"],
        *["१२.०२.५०", "１９５０", "43831,5", "43.831,5", "123 456", "1/2", "5;6", "12:30", "\u200b", "@", "()"],
    ],
)
def test_a_refused_score_that_may_be_about_a_patient_is_not_quoted(tmp_path, text):
    (line,) = faults(cfg_of(tmp_path, [("study", "score"), ("s", text)]), ["s"])
    assert line.startswith(("study 's': B2 is text, ", "study 's': B2 is digits, "))
    assert line.split(", ", 1)[1] in (NUMBER, COMMA, HIGH.split(", ", 1)[1])


SAFE = set("0123456789.,<>=~≤≥+-% ")


@settings(deadline=None)
@given(st.text(max_size=12) | st.text("0123456789.,<>=~-+/% :e", max_size=12))
def test_of_a_refused_score_only_short_numbers_and_words_for_no_value_are_shown(text):
    shown = labels.shown_score(Cell(text.strip(), "B2"))
    if shown in ("blank", "text", "digits"):
        return
    said = shown[1:-1]
    assert said == text.strip()
    assert labels.NO_VALUE.fullmatch(said) or set(said) <= SAFE
    digits = [sign for sign in said if sign.isdigit()]
    assert labels.NO_VALUE.fullmatch(said) or len(digits) <= 5
    assert len([sign for sign in said if sign in ".,"]) <= 2
    assert not re.search(r"[0-9]-|[0-9]/", said)


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (datetime.date(2020, 1, 12), "A3 is a date, wanted a study"),
        ("=A2", "A3 is a formula, wanted a study"),
        (12345678901234567, "A3 is a number of more than 15 digits, of which a spreadsheet keeps 15, wanted a study"),
        (None, "A3 is blank, wanted a study"),
    ],
)
def test_a_study_cell_that_no_longer_says_what_was_typed_is_refused(tmp_path, study, said):
    cfg = cfg_of(tmp_path, [("study", "score"), ("a", 1), (study, 2)], "xlsx")
    assert faults(cfg, ["a"]) == [said]


def test_with_skip_the_valid_rest_is_used_and_all_else_is_told(tmp_path):
    text = "study,score\na,1\nb,n/a\nc,2\nC,3\nextra,4\n,5\n"
    cfg = sheet(tmp_path, text, unmatched="skip")
    matched = match_labels(cfg, ["b", "c", "a", "d"], "scans")
    assert list(matched.labels) == ["a"]
    assert matched.unlabelled == {
        "b": f"B3 is 'n/a', {NUMBER}",
        "c": "A4 'c' and A5 'C' name the same study",
        "d": "no row",
    }
    assert matched.rows_without_study == ["A7 is blank, wanted a study", "A6 'extra': no folder"]


def test_skip_does_not_go_on_with_nothing(tmp_path):
    cfg = sheet(tmp_path, "study,score\na,x\n", unmatched="skip")
    assert faults(cfg, ["a", "b"]) == [f"study 'a': B2 is text, {NUMBER}", "study 'b': no row"]


def test_scans_of_one_patient_share_a_number_and_no_name_is_written(tmp_path):
    text = "study,score,who\n1,0,Zoe  Roe\n2,1,anna-lee\n3,2,zoe roe\n4,3,Anna Lee\n5,4,012\n"
    matched = match_labels(sheet(tmp_path, text, patient_column="who"), ["1", "2", "3", "4", "5"], "scans")
    assert [label.patient for label in matched.labels.values()] == ["P0004", "P0003", "P0004", "P0002", "P0001"]
    assert matched.warnings == [
        "C2 and C4 differ, but are one patient, P0004",
        "C3 (P0003) and C5 (P0002) differ little, but are different patients",
    ]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_row_without_a_patient_is_refused_and_no_other_cell_quoted(tmp_path, kind):
    rows = [("note", "study", "score", "who"), ("Doe", "a", "x", None), ("Doe", "b", 1, "=A1"), ("Doe", "c", 1, "Roe")]
    lines = faults(cfg_of(tmp_path, rows, kind, patient_column="who"), ["a", "b"])
    assert lines == [
        f"study 'a': C2 is text, {NUMBER}; D2 is blank, wanted a patient",
        "study 'b': D3 is a formula, wanted a patient",
        "B4 'c': no folder",
    ]


def test_points_that_may_part_thousands_are_told(tmp_path):
    warned = match_labels(sheet(tmp_path, "study,score\na,1.234\nb,12\nc,2.500\n"), ["a", "b", "c"], "scans").warnings
    assert warned == ["B2 '1.234' and 1 more: points are read as decimal points, not between thousands"]
    certain = sheet(tmp_path, "study,score\na,1.234\nb,12.5\n")
    assert match_labels(certain, ["a", "b"], "scans").warnings == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "number,score\n1,2\n",
            r"found columns 'number', 'score', wanted also 'study'; set labels.study_column",
        ),
        ("study,score\na,1\nb,2,3\n", "labels.sheet is '.*labels.csv': found cells beyond .* in C3"),
        ("study,score\n\n", "found no row below the column names"),
    ],
)
@pytest.mark.parametrize("unmatched", ["stop", "skip"])
def test_a_sheet_without_its_columns_or_rows_is_refused_on_one_line(tmp_path, text, said, unmatched):
    with pytest.raises(InputError, match=said) as error:
        match_labels(sheet(tmp_path, text, unmatched=unmatched), ["a"], "scans")
    assert "\n" not in str(error.value)


def test_a_missing_sheet_is_named(tmp_path):
    with pytest.raises(InputError, match=r"labels.sheet is '.*nowhere.csv': there is no such file"):
        match_labels(LabelsConfig(sheet=str(tmp_path / "nowhere.csv")), ["a"], "scans")
    (tmp_path / "scores.xlsx").touch()
    with pytest.raises(InputError, match=r"did you mean '.*/scores.xlsx'\?$"):
        match_labels(LabelsConfig(sheet=str(tmp_path / "score.xlsx")), ["a"], "scans")
    (tmp_path / "wast.csv").touch()
    (tmp_path / "west.xlsx").touch()  # another ending is likelier than another name
    with pytest.raises(InputError, match=r"did you mean '.*/west.xlsx'\?$"):
        match_labels(LabelsConfig(sheet=str(tmp_path / "west.csv")), ["a"], "scans")


def test_one_column_cannot_be_two_things():
    with pytest.raises(InputError, match="different columns"):
        LabelsConfig(sheet="labels.csv", study_column="score")


def test_a_sheet_of_which_nothing_matches_is_not_advised_to_be_skipped(tmp_path):
    sheet = tmp_path / "labels.csv"
    sheet.write_text("study,score\n" + "".join(f"x{number},5\n" for number in range(30)), encoding="utf-8")
    folders = [f"CT{number}" for number in range(30)]
    for unmatched in ("stop", "skip"):
        with pytest.raises(InputError) as refused:
            match_labels(LabelsConfig(sheet=str(sheet), unmatched=unmatched), folders, "scans")
        head, *listed = str(refused.value).splitlines()
        assert "60 faults" in head
        assert "no row names a folder: is it the sheet of these studies, and 'study', as labels.study_column" in head
        assert "skip" not in head
        assert len(listed) == 60
    sheet.write_text("study,score\nCT1,n/a\n", encoding="utf-8")
    with pytest.raises(InputError, match="no folder has one, so nothing would be left without the others"):
        match_labels(LabelsConfig(sheet=str(sheet), unmatched="skip"), ["CT1"], "scans")
