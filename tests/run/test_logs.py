"""Tables as people see them, in a terminal or a pipe of eighty columns."""

import io

import pytest
from rich.console import Console

from cac_hpc.cluster import usage
from cac_hpc.run import logs


def printed(table, width=80):
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    return screen.file.getvalue()


USED = [("pack", 4, 4, "0.34/30", "0.073/2", "0.02", "24%", 0, "0.083"),
        ("aggregate", 1, 2, "0.35/30", "0.18/2", "0.0039", "34%", 0, "0.18")]  # fmt: skip
FINDINGS = [("it saved", "1 s after the warning: stopped by SIGUSR2 after epoch 2, step 2 of the next"),
            ("conflicting_duplicates", "files of one slice whose pixels differ, in 12 of the 30 studies")]  # fmt: skip


def test_one_thing_is_not_several():
    assert [logs.amount(count, "study") for count in (0, 1, 2345)] == ["0 studies", "1 study", "2345 studies"]
    assert [logs.amount(2, what) for what in ("day", "trial")] == ["2 days", "2 trials"]
    assert logs.amount(2, "process", "processes") == "2 processes"


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize(("columns", "rows"), [(usage.COLUMNS, USED), (("", "found"), FINDINGS)])
def test_no_word_is_broken_where_all_words_fit(columns, rows, numbers):
    shown = printed(logs.table("title", columns, rows, numbers=numbers))
    assert {word for row in rows for cell in row for word in str(cell).split()} <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


def test_what_is_longer_than_any_word_is_broken_and_nothing_of_it_is_lost():
    path = "/scratch/" + "a_long_name/" * 20
    lines = printed(logs.table("", ("what", "where"), [("disk needed", path), ("notes", "short")])).splitlines()
    assert max(map(len, lines)) <= 80
    assert path in "".join(line.split()[-1] for line in lines if "_" in line or "name" in line or "/" in line)


def test_no_word_is_cut_off_where_two_columns_must_be_narrowed(monkeypatch):
    """Rich cuts off what is at the right, without a sign: findings/rich_min_width.sh."""
    monkeypatch.setenv("COLUMNS", "80")
    columns = ["trial", "settings", "figure", "epochs", "parts", "s", "state"]
    settings = "hidden=8, members=3, learning_rate=0.001273, weight_decay=0.001644"
    shown = printed(logs.table("", columns, [["1", settings, "1.000", "1", "3", "1.25", "pruned, behind 1 of 1"]]))
    assert max(map(len, shown.splitlines())) <= 80
    words = shown.split()
    assert {*columns, *settings.split(), "1.000", "1.25", "pruned,", "behind", "of"} <= set(words)
