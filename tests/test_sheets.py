"""Sheets in both formats: which text stands in which cell, and which files are no sheet."""

import datetime
import warnings
import zipfile

import openpyxl
import pytest

from cac_hpc.data.sheets import Cell, ColumnError, SheetError, read_sheet


def csv_file(tmp_path, data):
    path = tmp_path / "sheet.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def xlsx_file(tmp_path, rows, formats=()):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for address, number_format in formats:
        book.active[address].number_format = number_format
    book.save(tmp_path / "sheet.xlsx")
    return tmp_path / "sheet.xlsx"


def rewrite(path, old, new):
    """What openpyxl does not write but other programs do."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    assert sum(part.count(old) for part in parts.values()) == 1
    with zipfile.ZipFile(path, "w") as book:
        for name, part in parts.items():
            book.writestr(name, part.replace(old, new))


def texts(path, *wanted):
    return [tuple(cell.text for cell in row) for row in read_sheet(path, wanted)]


def test_cells_have_the_addresses_that_a_spreadsheet_program_shows(tmp_path):
    path = csv_file(tmp_path, '\nname,"study\n",score\nx," 007 ",1\n\n,,\n"y\nz",8\n')
    assert read_sheet(path, ["score", "study"]) == [
        (Cell("1", "C3"), Cell("007", "B3")),
        (Cell("", "C6"), Cell("8", "B6")),  # a short row: its end is blank
    ]
    path = xlsx_file(tmp_path, [[], ["name", " study\n", "score"], ["x", " 007\u00a0", 1], [], [" "], ["y\nz", 8]])
    assert read_sheet(path, ["score", "study"]) == [
        (Cell("1", "C3"), Cell("007", "B3")),
        (Cell("", "C6"), Cell("8", "B6")),
    ]


@pytest.mark.parametrize(
    ("value", "number_format", "said"),
    [
        (7, "General", "7"),
        (7, "000", "007"),
        (1234, "000", "1234"),
        (12.0, "General", "12"),
        (12.0, "0.00", "12"),
        (1234.5, "#,##0", "1234.5"),
        (0.3, "General", "0.3"),
        (0.00001, "General", "0.00001"),
        (-3, "000", "-3"),
        (" 1E5 ", "General", "1E5"),
        ("#0'1", "General", "#0'1"),
    ],
)
def test_a_workbook_shows_numbers_as_people_write_them_and_text_as_it_is(tmp_path, value, number_format, said):
    path = xlsx_file(tmp_path, [["a"], [value]], [("A2", number_format)])
    assert read_sheet(path, ["a"]) == [(Cell(said, "A2"),)]


@pytest.mark.parametrize(
    ("value", "number_format", "fault"),
    [
        ("=1+1", "General", "a formula"),
        ("#DIV/0!", "General", "the error #DIV/0!"),
        (True, "General", "a logical value"),
        (datetime.date(2020, 1, 12), "d mmm", "a date"),
        (datetime.datetime(2020, 1, 12, 8), "d.m.yy h:mm", "a date"),
        (43842, "dd/mm/yyyy", "a date"),
        (datetime.time(8), "h:mm", "a time"),
        (0.12, "0.0%", "a percentage"),
        (1234567890123456789, "0", "a number of more than 15 digits, of which a spreadsheet keeps 15"),
    ],
)
def test_a_cell_that_is_no_text_and_no_number_says_what_it_is(tmp_path, value, number_format, fault):
    path = xlsx_file(tmp_path, [["a"], [value]], [("A2", number_format)])
    assert read_sheet(path, ["a"]) == [(Cell("", "A2", fault),)]


def test_a_formula_in_a_csv_file_is_not_its_text(tmp_path):
    assert read_sheet(csv_file(tmp_path, 'a\n"=""007"""\n'), ["a"]) == [(Cell("", "A2", "a formula"),)]


@pytest.mark.parametrize(
    "data",
    [
        "study,score\nä,12.5\n",
        "study;score\r\nä;12.5\r\n",
        "study\tscore\rä\t12.5\r",
        b"\xef\xbb\xbfstudy,score\n\xc3\xa4,12.5\n",
        '"study","score"\n"ä","12.5"',
        ",study,score,\n0,ä,12.5,\n",  # an index without a name
    ],
)
def test_csv_files_of_many_programs_say_the_same(tmp_path, data):
    assert texts(csv_file(tmp_path, data), "study", "score") == [("ä", "12.5")]


def test_the_first_worksheet_that_is_not_hidden_counts(tmp_path):
    book = openpyxl.Workbook()
    book.active.sheet_state = "hidden"
    book.active.append(["a"])
    book.active.append(["old"])
    for title, value in (("Now", "new"), ("Notes", "other")):
        book.create_sheet(title).append(["a"])
        book[title].append([value])
    book.active = 1
    book.save(tmp_path / "sheet.xlsx")
    assert texts(tmp_path / "sheet.xlsx", "a") == [("new",)]
    with pytest.raises(ColumnError, match=r"\['a'\] in worksheet 'Now', the first of \['Now', 'Notes'\], wanted .*'b'"):
        read_sheet(tmp_path / "sheet.xlsx", ["b"])


def test_rows_beyond_the_size_that_a_workbook_states_are_read(tmp_path):
    path = xlsx_file(tmp_path, [["a", "b"], [1, 2], [3, 4]])
    rewrite(path, b'<dimension ref="A1:B3"', b'<dimension ref="A1"')
    assert texts(path, "b") == [("2",), ("4",)]


def test_a_calculated_number_has_the_digits_that_a_spreadsheet_program_shows(tmp_path):
    path = xlsx_file(tmp_path, [["a"], [12.5]])
    rewrite(path, b"<v>12.5</v>", b"<v>10.000000000000002</v>")
    assert texts(path, "a") == [("10",)]


def test_column_names_match_whatever_blanks_are_around_them(tmp_path):
    assert texts(csv_file(tmp_path, "filename ,Agatston  score\nx,1\n"), " filename", "Agatston score") == [("x", "1")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "no cell is filled"),
        ("\n , \n", "no cell is filled"),
        ("number,points\n1,2\n", r"found columns \['number', 'points'\], wanted also \['study', 'score'\]"),
        ("study,score,score \na,1,2\n", r"columns \['score'\] twice"),
        ("study,score\na,1\nb,1,234\nc,1,2,3\n", r"beyond the last column name, in C3, C4, D4;"),
        ("study,score\na,1,\n", "in C2;"),  # perhaps 1,234 beside an empty cell
        ("study,score,\na,1,234\n", "in C2;"),
        ('study,score\n"a,1\n', "line 2 cannot be read as CSV"),
        ('study,score\n"a"b,1\n', "line 2 cannot be read as CSV"),
        (b"study,score\n1,2\nM\xfcller,3\n", "line 3 is not UTF-8 text; save the sheet as CSV UTF-8"),
        ("study,score\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
    ],
)
def test_a_csv_file_that_can_be_read_in_no_or_two_ways_is_refused(tmp_path, data, said):
    with pytest.raises(SheetError, match=said) as error:
        read_sheet(csv_file(tmp_path, data), ["study", "score"])
    assert "\n" not in str(error.value)


def test_cells_beyond_the_column_names_of_a_workbook_are_named(tmp_path):
    path = xlsx_file(tmp_path, [["study", "score"], ["a", 1], ["b", 1, None, "Jane Doe"]], [("F9", "000")])
    with pytest.raises(SheetError, match=r"in D3;") as error:
        read_sheet(path, ["study", "score"])
    assert "Doe" not in str(error.value)


def test_a_file_that_is_no_sheet_is_refused(tmp_path):
    (tmp_path / "broken.xlsx").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "sheet.ods").write_bytes(b"")
    for name, said in (("broken.xlsx", "as a workbook"), ("sheet.ods", "'.ods', wanted"), ("no.csv", "no such file")):
        with pytest.raises(SheetError, match=said):
            read_sheet(tmp_path / name, ["a"])


def test_what_openpyxl_cannot_show_raises_no_warning(tmp_path):
    path = xlsx_file(tmp_path, [["a"], [99999999]], [("A2", "yyyy")])  # beyond the last date
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_sheet(path, ["a"])[0][0].fault == "the error #VALUE!"
