"""Text that means something to a spreadsheet, to Markdown or to HTML means nothing in what people open."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cac_hpc
from cac_hpc.cluster import circumstances, monitor, task_logs
from cac_hpc.report import aggregation, consistency, markdown, pages, tables
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.run import disk, escaping, ledger, logs, paths
from cac_hpc.run.causes import Cause
from cac_hpc.run.task_states import TaskState
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig
from tests.support.reports import make_run, report_of
from tests.support.runs import job_here, pack, prepare, write_scans

PACKAGE = Path(cac_hpc.__file__).parent
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
    assert consistency.contradictions(run, stored_settings.load(run.config), report_of(run)) == []
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
    shown = job_here("report.py", run.root)
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


# what commands a terminal, or makes people read what is not there
HIDDEN = (
    "\x1b\x07\x9b\x00\x7f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200b\u200d\u200e\u2060\ufeff\u061c"
)
ENDS = "\n\r\v\f\x1c\x85\u2028\u2029"


@pytest.mark.parametrize("sign", [*HIDDEN, "\U000e0041"])
def test_what_is_shown_has_no_control_or_format_character(sign):
    assert logs.harmless(f"a{sign}b\tc\nd") == "ab\tc\nd"
    assert escaping.markdown(f"a{sign}b") == logs.line(f"a{sign}b") == "ab"


@pytest.mark.parametrize("sign", ENDS)
def test_part_of_a_line_ends_none(sign):
    assert logs.line(f"a{sign}b") == "a b"
    assert escaping.code(f"a{sign}b") == "`a b`"


def test_half_a_surrogate_pair_can_be_printed_and_other_scripts_stay():
    assert logs.harmless("a\ud800b") == "a\ufffdb"
    for text in ("é e\u0301 漢字 العربية \u00a0|", "", "a  b"):
        assert logs.harmless(text) == logs.line(text) == text


def test_log_lines_and_errors_are_harmless_and_no_message_makes_two(capsys):
    code = (
        "import logging\nfrom cac_hpc.run import exit_codes, logs\nfrom cac_hpc.settings.errors import InputError\n"
        "logs.setup()\nbad = 'x\\x1b[2J\\u202e\\n12:00:00 forged'\nlogs.log.info('said %s', bad)\n"
        "logging.getLogger('other').warning(bad)\n"
        "def fail(): raise InputError(bad)\nassert exit_codes.exit_code(fail) == 2\n"
        "def gone(): raise FileNotFoundError(2, 'gone', bad)\nassert exit_codes.exit_code(gone) == 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert [line[9:] for line in lines[:2]] == ["said x[2J 12:00:00 forged", "x[2J 12:00:00 forged"]
    assert lines[2:] == ["error: x[2J", "12:00:00 forged", "error: x[2J", "12:00:00 forged: gone"]


def test_a_ledger_and_a_log_of_others_are_harmless_where_they_are_read(tmp_path):
    bad = "x\x1b[2J\u202e\nfolds 0: done"
    ledger.record(tmp_path / "ledger.jsonl", "folds", 0, "ended", ok=False, reason=bad, node="n\x9b1")
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write("[" * 100_000 + "\n")
    (event,) = ledger.read(tmp_path / "ledger.jsonl")
    assert (event["cause"].detail, event["node"]) == ("x[2J folds 0: done", "n1")
    (tmp_path / "a.log").write_text(f"one\n{bad}\n", encoding="utf-8")
    assert task_logs.tail(tmp_path / "a.log") == "one\nx[2J\nfolds 0: done"


def test_what_others_say_of_a_task_stays_one_harmless_line_and_its_command_another():
    state = TaskState(
        "folds", 0, "failed", cause=Cause("text", detail="x\x1b[2J\u202e\nfolds 1: done"), command="y\x9b\u2028z"
    )
    assert monitor.notes([state]) == ["folds 0: x[2J folds 1: done", "    y z"]
    assert monitor.change(state, None)[1] == "folds 0: failed, x[2J folds 1: done\n    y z"


def test_the_pages_of_a_report_hide_nothing(tmp_path):
    run = make_run(tmp_path, {(str(number), number % 6): [number % 6] for number in range(12)}, report={"draws": 200})
    ledger.record(run.ledger, "folds", 1, "planned")
    run.fold(1).predictions.unlink()
    ledger.record(run.ledger, "folds", 1, "ended", ok=False, reason="x\x1b[2J\u202e <b>\ny")
    assert not aggregation.aggregate(run.root)
    summary = disk.read_json(run.report_json)
    assert summary["missing_folds"][0]["reason"] == "the run's ledger says why"
    summary["missing_folds"][0]["reason"] = "x\x1b\u202e <b>\n# y"
    summary["categories"][0]["name"] = "n\x9b\u2067\n&"
    report = from_json(summary, Report)
    found = from_json(disk.read_json(run.report / circumstances.FILE), circumstances.Circumstances)
    window_hu = stored_settings.load(run.config).report.window_hu
    html = pages.html(run.report, report, found, window_hu, pages.Appendix([], []), True)
    latex = "".join(tables.latex(report).values())
    for text in (html, markdown.text(report), latex):
        assert not set(text) & set(HIDDEN + ENDS) - {"\n"}
    assert "\n# y" not in markdown.text(report)


def test_nothing_prints_but_through_the_filter():
    """print is called by what has filtered its text, and where nobody else's text is printed."""
    users = {
        path.stem for path in PACKAGE.rglob("*.py") if re.search(r"(?<![.\w])print\(", path.read_text(encoding="utf-8"))
    }
    users -= {path.stem for path in (PACKAGE / "benchmark").glob("*.py")}  # numbers of our own
    assert users <= {"launch_command", "logs", "monitor", "trial_progress"}  # what scripts read


def test_control_characters_in_titles_and_category_names_are_refused():
    with pytest.raises(InputError, match=r"report\.title is 'A \\x1b.*', but must be text without control characters"):
        ReportConfig(title=ESCAPES)
    with pytest.raises(InputError, match=r"labels\.names is '\\x9b', but must be text without control characters"):
        LabelsConfig(sheet="a.csv", edges=(0.0,), names=("a", "\x9b"))
