"""Text that means something to a spreadsheet, to Markdown or to HTML means nothing in what people open."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from cac_hpc.data import escaping
from cac_hpc.report import aggregation, consistency
from cac_hpc.run import logs, paths, settings
from cac_hpc.run.config import InputError, LabelsConfig, ReportConfig
from tests.runs import job, pack, prepare, write_scans
from tests.test_aggregation import make_run, report_of

LIVE = [
    "=1+1",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " =1",
    '=HYPERLINK("http://x","y")',
    "＝1+1",
    "-",
    "+49 89 1",
]
DEAD = ["", "7", "-7", "+7", "-0.5", "1e-3", "-1E+3", "a-7", "1-12", "0 / >0", "<=100", "Low/Moderate", "'=1"]


@pytest.mark.parametrize("text", LIVE)
def test_what_a_spreadsheet_would_calculate_begins_with_an_apostrophe(text):
    table = pd.DataFrame({text: [text, "b"], "n": [-1, -2]})
    names, first, second = csv.reader(io.StringIO(escaping.csv_text(table), newline=""))
    said = "'" + text.replace("\r", " ")
    assert names == [said, "n"]
    assert first == [said, "-1"]
    assert second == ["b", "-2"]


@pytest.mark.parametrize("text", DEAD)
def test_numbers_and_all_other_texts_stay_as_they_are(text):
    assert not escaping.is_formula(text)
    assert escaping.csv_text(pd.DataFrame({"a": [text, "b\rc"], "b": [1, 2]})) == f"a,b\n{text},1\nb c,2\n"


def test_numbers_of_a_table_are_written_as_before_and_names_may_stand_there_twice():
    table = pd.DataFrame([[-0.1, np.nan, 3, "=x"]], columns=["a", "a", "b", "a"]).astype({"b": "Int64"})
    assert escaping.csv_text(table) == "a,a,b,a\n-0.1,,3,'=x\n"
    assert escaping.csv_text(table.iloc[:, :3]) == table.iloc[:, :3].to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a|b", r"a\|b"), ("<b>x</b>", r"\<b\>x\</b\>"), ("two\nlines", "two lines"), ("*_`[x](y)", r"\*\_\`\[x\](y)"),
     ("a\\|b", r"a\\\|b"), ("Low/Moderate (10-100)", "Low/Moderate (10-100)")],
)  # fmt: skip
def test_marks_of_markdown_are_read_as_they_are(text, said):
    assert escaping.markdown(text) == said


NAMES = ("=HYPERLINK(1)", "@SUM(1)", "+1+1", "-2+3", "a|b", "<b>*x*</b>\n| 1 |")


def test_hostile_category_names_and_titles_are_only_text_in_the_report(tmp_path):
    predicted = {(f"s{index:02d}", index % 6): [index % 6, 0] for index in range(12)}
    title = "=cmd|' /C calc'!A0\n\n| <script> |"
    run = make_run(tmp_path, predicted, labels={"names": list(NAMES)}, report={"draws": 200, "title": title})
    assert aggregation.aggregate(run.root)
    assert consistency.contradictions(run, settings.load(run.config), report_of(run)) == []
    assert report_of(run)["categories"][4]["name"] == "a|b"  # scripts read what was set
    tables = sorted((run.report / "tables").glob("*.csv"))
    assert len(tables) > 8
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            assert not [cell for row in csv.reader(file) for cell in row if escaping.is_formula(cell)], path
    text = (run.report / "report.md").read_text(encoding="utf-8")
    assert text.startswith(r"# =cmd\|' /C calc'!A0 \| \<script\> \|" + "\n\n")
    widths, table = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append(len(line.replace("\\\\", "").replace("\\|", "").split("|")))
        elif table:
            widths.append(set(table))
            table = []
    assert len(widths) > 6
    assert all(len(width) == 1 for width in widths)  # every row has as many cells as its head
    shown = job("report.py", run.root)
    assert shown.returncode == 0
    assert "a|b" in shown.stdout


def hostile_sheet(scans):
    """Studies whose numbers a spreadsheet would calculate, each with a valid row but for the first."""
    names = ["=HYPERLINK(1)", "@SUM(1)", "+1+1", "-2+3", "-70"]
    sheet = scans / "labels.csv"
    text = sheet.read_text(encoding="utf-8")
    for index, name in enumerate(names):
        (scans / f"{index:03d}").rename(scans / name)
        text = text.replace(f"\n{index:03d},", f"\n{name},")
    sheet.write_text(text, encoding="utf-8")
    return sheet


def test_studies_whose_numbers_are_formulas_are_refused_by_name_before_anything_is_read(tmp_path):
    scans = write_scans(tmp_path / "scans")
    hostile_sheet(scans)
    with pytest.raises(InputError) as refused:
        prepare(tmp_path, scans)
    wanted = "wanted one that does not begin with = + - @ or a tab"
    for name in ("@SUM(1)", "+1+1", "-2+3"):
        assert f"study {name!r}: spreadsheets take its name for a formula, {wanted}" in str(refused.value)
    assert "A2 is a formula, wanted a study" in str(refused.value)
    assert "'-70'" not in str(refused.value)


def test_skipped_studies_whose_numbers_are_formulas_are_text_in_rejected_csv(tmp_path):
    scans = write_scans(tmp_path / "scans")
    sheet = hostile_sheet(scans)
    run = prepare(tmp_path, scans, labels={"unmatched": "skip", "sheet": str(sheet)})
    pack(run)
    dataset = paths.RunPaths(run).dataset(None)
    with dataset.rejected.open(encoding="utf-8", newline="") as file:
        found = {row["study"] for row in csv.DictReader(file)}
    assert found == {"'=HYPERLINK(1)", "'@SUM(1)", "'+1+1", "'-2+3"}
    used = pd.read_csv(dataset.studies, dtype={"study": str})
    assert "-70" in set(used["study"])
    assert len(used) == 14


ESCAPES = "A \x1b]0;pwned\x07\x1b[2J\x9b2J title"


def test_nothing_that_is_printed_commands_the_terminal(capsys):
    screen = logs.console()
    screen.print(ESCAPES, style="bold", markup=False)
    screen.print(logs.table(ESCAPES, [ESCAPES], [[ESCAPES]]))
    screen.print(logs.with_lines(ESCAPES, logs.table("", [""], []), [ESCAPES]))
    shown = capsys.readouterr().out
    assert shown.count("A ]0;pwned[2J2J title") == 6
    assert not set(shown) & set("\x1b\x07\x9b")


def test_control_characters_in_titles_and_category_names_are_refused():
    with pytest.raises(InputError, match=r"report\.title is 'A \\x1b.*', but must be text without control characters"):
        ReportConfig(title=ESCAPES)
    with pytest.raises(InputError, match=r"labels\.names is '\\x9b', but must be text without control characters"):
        LabelsConfig(sheet="a.csv", edges=(0.0,), names=("a", "\x9b"))
