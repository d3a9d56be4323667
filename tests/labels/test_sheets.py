"""Sheets in both formats: which text stands in which cell, and which files are no sheet."""

import datetime
import warnings
import zipfile

import openpyxl
import pytest

from cac_hpc.labels import workbook
from cac_hpc.labels.sheets import Cell, ColumnError, SheetError, read_sheet


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


def worksheet(tmp_path, content, part="xl/worksheets/sheet1.xml", head=b""):
    """A workbook whose worksheet, or another part, is written by hand."""
    path = xlsx_file(tmp_path, [["a"]])
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    main = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, data in (parts | {part: head + main + content + b"</worksheet>"}).items():
            book.writestr(name, data)
    return path


def text_cell(text, attributes=b""):
    return b'<c t="inlineStr"%b><is><t>%b</t></is></c>' % (attributes, text)


def refusal(path):
    with pytest.raises(SheetError) as error:
        read_sheet(path, ["a"])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250
    return str(error.value)


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
        (43842, "yyyy", "a date"),
        (43842, r"dd\-mmm", "a date"),
        (43842, '[$-411]ggge"年"m"月"d"日"', "a date"),
        (43842, '[$-411]gge"年"', "a date"),  # from here on openpyxl sees a number
        (43842, "[$-D07041E]bbbb", "a date"),
        (43842, '[=0]"";yyyy\\-mm\\-dd', "a date"),
        (datetime.time(8), "h:mm", "a time"),
        (0.12, "0.0%", "a percentage"),
        (1234567890123456789, "0", "a number of more than 15 digits, of which a spreadsheet keeps 15"),
    ],
)
def test_a_cell_that_is_no_text_and_no_number_says_what_it_is(tmp_path, value, number_format, fault):
    path = xlsx_file(tmp_path, [["a"], [value]], [("A2", number_format)])
    assert read_sheet(path, ["a"]) == [(Cell("", "A2", fault),)]


@pytest.mark.parametrize(
    "number_format",
    ["0.0E+00", '0" days"', r"0\ \d\a\y\s", "[Red]0", "#,##0 [$kr.-41D]", "_d0_s", "General;General"],
)
def test_letters_that_only_decorate_a_number_make_it_no_date(tmp_path, number_format):
    assert texts(xlsx_file(tmp_path, [["a"], [12]], [("A2", number_format)]), "a") == [("12",)]


@pytest.mark.parametrize("number", [27, 36, 50, 58, 71, 81])
def test_a_number_format_that_east_asian_programs_build_in_is_a_date(tmp_path, number):
    path = xlsx_file(tmp_path, [["a"], [43842]], [("A2", "0.00")])
    rewrite(path, b'<xf numFmtId="2" ', b'<xf numFmtId="%d" ' % number)
    assert read_sheet(path, ["a"])[0][0].fault == "a date"


def test_the_code_of_an_error_is_shown_only_if_it_is_one(tmp_path):
    path = worksheet(
        tmp_path, b"<sheetData><row>%b</row><row><c t='e'><v>Li</v></c></row></sheetData>" % text_cell(b"a")
    )
    assert read_sheet(path, ["a"])[0][0].fault == "an error"


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
    with pytest.raises(ColumnError, match=r"'a' in worksheet 'Now', the first of 'Now', 'Notes', wanted .*'b'"):
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
        ("number,points\n1,2\n", r"found columns 'number', 'points', wanted also 'study', 'score'"),
        ("study,score,score \na,1,2\n", r"columns 'score' twice"),
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


@pytest.mark.parametrize(
    ("attributes", "hidden"),
    [
        (b'hidden="1"', True),
        (b'hidden="true"', True),
        (b'ht="0" customHeight="1"', True),
        (b'r="2" outlineLevel="1" hidden="1"', True),
        (b'hidden="0"', False),
        (b'ht="12.5" collapsed="1"', False),
    ],
)
def test_a_row_that_nobody_sees_is_marked_whatever_hides_it(tmp_path, attributes, hidden):
    rows = b"<row>%b</row><row %b>%b</row>" % (text_cell(b"a"), attributes, text_cell(b"7"))
    path = worksheet(tmp_path, b"<sheetData>%b</sheetData>" % rows)
    assert read_sheet(path, ["a"]) == [(Cell("7", "A2", in_hidden_row=hidden),)]


def test_a_column_that_nobody_sees_is_marked(tmp_path):
    cells = b"".join(map(text_cell, (b"a", b"b", b"c")))
    columns = b'<cols><col min="2" max="2" hidden="1"/><col min="3" max="16384" width="0"/></cols>'
    path = worksheet(tmp_path, columns + b"<sheetData>" + b"<row>%b</row>" % cells * 2 + b"</sheetData>")
    ((a, b, c),) = read_sheet(path, ["a", "b", "c"])
    assert [cell.in_hidden_column for cell in (a, b, c)] == [False, True, True]
    assert not a.in_hidden_row


@pytest.mark.parametrize("address", ["XFD1048576", "ALM2", "A200001", "XFD2", "A1048576", "ZZZZZZ2"])
def test_a_filled_cell_far_from_the_table_is_named_before_openpyxl_reads_on(tmp_path, address, monkeypatch):
    monkeypatch.setattr("cac_hpc.labels.sheets._worksheet_rows", None)
    number = address.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ").encode()
    far = b'<row r="%b"><c r="%b"><v>5</v></c></row>' % (number, address.encode())
    path = worksheet(tmp_path, b"<sheetData><row>%b</row>%b</sheetData>" % (text_cell(b"a"), far))
    assert refusal(path) == (
        f"its cells go on to {address}, wanted at most 200,000 rows and 1,000 columns; "
        "delete what lies far from the table"
    )


def test_cells_without_addresses_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MOST_COLUMNS", 2)
    monkeypatch.setattr(workbook, "MOST_ROWS", 3)
    cell = b"<c><v>1</v></c>"
    path = worksheet(tmp_path, b"<sheetData><row>%b</row></sheetData>" % (3 * cell))
    assert "its cells go on to C1, wanted at most 3 rows and 2 columns" in refusal(path)
    path = worksheet(tmp_path, b"<sheetData><row r='3'/><row>%b</row></sheetData>" % cell)
    assert "its cells go on to A4," in refusal(path)


def test_formatted_blank_cells_far_out_change_nothing(tmp_path):
    cells = text_cell(b"a") + b'<c r="XFD1" s="0"/>'
    rows = b'<row r="1">%b</row><row r="2"><c><v>7</v></c><c r="XFC2" t="str"><v> </v></c></row>' % cells
    far = b'<row r="1048576"><c r="XFD1048576" s="0"/></row>'
    path = worksheet(tmp_path, b"<sheetData>%b%b</sheetData>" % (rows, far))
    assert texts(path, "a") == [("7",)]


def test_another_worksheet_may_be_large(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MOST_ROWS", 2)
    book = openpyxl.Workbook()
    for name, rows in (("Sheet", 2), ("Raw", 5)):
        sheet = book[name] if name in book.sheetnames else book.create_sheet(name)
        for number in range(rows):
            sheet.append(["a" if number == 0 else number])
    book.save(tmp_path / "sheet.xlsx")
    assert texts(tmp_path / "sheet.xlsx", "a") == [("1",)]


def test_rows_out_of_order_of_which_openpyxl_would_lose_some_are_refused(tmp_path):
    rows = b"<row r='1'>%b</row><row r='3'/><row r='2'><c><v>1</v></c></row>" % text_cell(b"a")
    assert "row 2 follows row 3, wanted rows in order" in refusal(
        worksheet(tmp_path, b"<sheetData>%b</sheetData>" % rows)
    )


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "docProps/core.xml"])
def test_a_workbook_that_unpacks_to_more_than_any_score_sheet_is_refused_unread(tmp_path, monkeypatch, part):
    path = worksheet(tmp_path, b" " * 3 * 2**20, part)
    monkeypatch.setattr(workbook, "MOST_BYTES", 2 * 2**20)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert refusal(path) == "unpacked it is 4 MB, wanted at most 2 MB; save the columns of scores alone as .csv"


def test_pictures_do_not_count(tmp_path, monkeypatch):
    path = xlsx_file(tmp_path, [["a"], [7]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as book:
        for name in ("xl/media/image1.png", "xl/drawings/drawing1.xml", "xl/pivotCache/records1.xml"):
            book.writestr(name, b" " * 3 * 2**20)
    monkeypatch.setattr(workbook, "MOST_BYTES", 2**20)
    assert texts(path, "a") == [("7",)]


def test_a_part_that_states_a_smaller_size_than_it_has_is_refused(tmp_path):
    path = worksheet(tmp_path, b" " * 2**20)
    with zipfile.ZipFile(path) as book:
        size = book.getinfo("xl/worksheets/sheet1.xml").file_size.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (100).to_bytes(4, "little")))
    assert "cannot be read as a workbook (BadZipFile)" in refusal(path)


@pytest.mark.parametrize(
    ("limit", "value", "content", "said"),
    [
        ("MOST_TAGS", 100, b"<x/>" * 200, "it has more than 100 XML tags"),
        ("MOST_DEPTH", 5, b"<x>" * 9 + b"</x>" * 9, "its XML is nested more than 5 deep"),
        ("MOST_TEXT", 9, b"<x>0123456789</x>", "a text in it has more than 9 characters"),
        ("MOST_CELLS_IN_ROW", 3, b"<sheetData><row><c/><c/><c/><c/></row></sheetData>", "row 1 has more than 3 cells"),
        ("MOST_CELLS", 1, b"<sheetData><row><c/><c><v>1</v></c></row></sheetData>", "found 1 rows and 2 columns"),
    ],
)
def test_a_worksheet_that_would_cost_much_to_read_is_refused(tmp_path, monkeypatch, limit, value, content, said):
    path = worksheet(tmp_path, content)
    monkeypatch.setattr(workbook, limit, value)
    assert said in refusal(path)


def test_a_worksheet_with_a_document_type_is_refused(tmp_path):
    path = worksheet(tmp_path, b"<sheetData><row>&a;</row></sheetData>", head=b'<!DOCTYPE x [<!ENTITY a "b">]>')
    assert "its XML declares a document type" in refusal(path)


@pytest.mark.parametrize(
    ("limit", "value", "data", "said"),
    [
        ("MOST_BYTES", 2**20, "a\n" * 2**20, "it is 2 MB, wanted at most 1 MB"),
        ("MOST_ROWS", 3, "a\n1\n2\n3\n", "its cells go on to A4, wanted at most 3 rows"),
        ("MOST_COLUMNS", 3, "a,b,c,d\n", "its cells go on to D1,"),
        ("MOST_COLUMNS", 1000, "a" + "," * 100_000, "its cells go on to EQXE1,"),
        ("MOST_CELLS", 3, "a,b\n1,2\n", "found 2 rows and 2 columns, wanted 3 cells at most"),
        (
            "MOST_TEXT",
            9,
            "a\n" + "Jane" * 100_000,
            "line 2 cannot be read as CSV (field larger than field limit (131072))",
        ),
    ],
)
def test_a_csv_file_larger_than_any_score_sheet_is_refused(tmp_path, monkeypatch, limit, value, data, said):
    monkeypatch.setattr(workbook, limit, value)
    assert refusal(csv_file(tmp_path, data)).startswith(said)


def test_a_refusal_is_short_however_many_and_long_the_columns_are(tmp_path):
    names = ",".join([f"{number}{'x' * 500}" for number in range(500)])
    with pytest.raises(SheetError, match="and 470 more") as error:
        read_sheet(csv_file(tmp_path, names + "\n"), ["a"])
    assert len(str(error.value)) < 2000
    assert " and 490 more; wanted none there" in refusal(csv_file(tmp_path, "a\n1" + ",1" * 500))
