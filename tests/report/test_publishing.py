"""A report comes to its place: people's files stay, links are refused, what killed processes have left is tidied up."""

import errno
import json
import os
import platform
import signal
import subprocess
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cac_hpc.report import checksums, publishing
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError

MINE = ("tables/my_notes.csv", "figures/my_figure.png", "figures/slices_for_talk.png", "notes/talk/plan.txt", ".hidden")
REPLACED = "tables/figures.csv"  # the report's own, edited


@pytest.fixture(params=["exchanged", "taken away and put"])
def way(request, monkeypatch):
    """How a report comes to its place: what this file system can, or what every one can."""
    if request.param != "exchanged":
        monkeypatch.setattr(publishing, "_exchange", lambda one, other: False)


def write(report, name, num_slices=2):
    """What stands for a report of that name."""
    for part in (REPLACED, *(f"figures/slices_{number}.png" for number in range(num_slices))):
        (report / part).parent.mkdir(exist_ok=True)
        (report / part).write_text(name, encoding="utf-8")
    checksums.write(report)
    (report / "report.json").write_text(json.dumps({"status": "COMPLETE", "name": name}), encoding="utf-8")


def publish(run, name, **facts):
    with publishing.elsewhere(run.report) as made:
        write(made, name, **facts)
        assert publishing.publish(made, run.report)


def add_mine(run, names=MINE):
    for name in names:
        (run.report / name).parent.mkdir(parents=True, exist_ok=True)
        (run.report / name).write_text("mine", encoding="utf-8")


def holds(run, name, *mine):
    """Whether the report of that name is there with people's files and no other, and nothing is left beside it."""
    files = [path for path in run.report.rglob("*") if path.is_file()]
    there = {path.relative_to(run.report).as_posix(): path.read_text(encoding="utf-8") for path in files}
    told, listed = json.loads(there.pop("report.json")), checksums.read(run.report)
    del there[checksums.FILE]
    assert [path.name for path in run.root.iterdir()] == ["report"]
    return told["name"] == name and there == dict.fromkeys(listed, name) | dict.fromkeys(mine, "mine")


def test_what_people_put_beside_a_report_stays_and_the_reports_own_files_are_new(tmp_path, way):
    run = RunPaths(tmp_path)
    publish(run, "old", num_slices=3)
    add_mine(run, (*MINE, REPLACED))
    (run.report / "link").symlink_to("/nowhere")
    publish(run, "new")
    assert (run.report / "link").is_symlink()
    assert holds(run, "new", *MINE)
    publish(run, "newer")
    assert holds(run, "newer", *MINE)


def test_a_folder_of_people_alone_is_kept(tmp_path, way):
    run = RunPaths(tmp_path)
    add_mine(run)
    publish(run, "new")
    assert holds(run, "new", *MINE)


def test_of_many_at_once_none_loses_what_people_put_there(tmp_path, way):
    run = RunPaths(tmp_path)
    publish(run, "old")
    add_mine(run)
    names = "abcd"
    threads = [threading.Thread(target=lambda name=name: [publish(run, name) for _ in range(20)]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holds(run, json.loads((run.report / "report.json").read_text())["name"], *MINE)


def test_a_final_report_that_comes_right_before_stays(tmp_path, way):
    run = RunPaths(tmp_path)
    publish(run, "old")
    add_mine(run)
    keeps, asked = publishing.stays(run.report), []

    def look(folder):
        if not asked:
            publish(run, "final")
        asked.append(folder)
        return len(asked) > 1 and keeps(folder)  # it was not seen at the first look

    with publishing.elsewhere(run.report) as made:
        write(made, "provisional")
        assert not publishing.publish(made, run.report, look)
    assert holds(run, "final", *MINE)


def test_a_link_in_its_place_is_refused_before_anything_is_made(tmp_path):
    run = RunPaths(tmp_path)
    (tmp_path / "scratch").mkdir()
    run.report.symlink_to(tmp_path / "scratch")
    with pytest.raises(InputError, match=r"report: is a link, .* put the real file or folder in its place"):
        publish(run, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "scratch"]


def killed(run, function, after):
    """Publish in a process that ends by SIGKILL after so many calls of a function of the module; whether it did."""
    child = os.fork()
    if not child:
        calls, real = 0, getattr(publishing, function)

        def counted(*arguments):
            nonlocal calls
            calls += 1
            if calls > after:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        setattr(publishing, function, counted)
        try:
            publish(run, "new")
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("function", "after"),
    [("_put", 0), ("_moved", 0), ("_discard", 0), *(("_carry_over", number) for number in range(len(MINE)))],
)
def test_killed_while_it_comes_to_its_place_a_report_is_there_again_and_nothing_is_lost(
    function, after, tmp_path, monkeypatch
):
    run = RunPaths(tmp_path)
    publish(run, "old")
    add_mine(run)
    if function == "_moved":
        monkeypatch.setattr(publishing, "_exchange", lambda one, other: False)
    assert killed(run, function, after)
    assert run.report.exists() == (function != "_moved")
    publishing.tidy(run.report)
    assert holds(run, "old" if function == "_put" else "new", *MINE)


def test_what_others_are_at_is_left_to_them_until_it_is_a_day_old(tmp_path, monkeypatch):
    run = RunPaths(tmp_path)
    for name in (f"another.{os.getpid()}", f"{platform.node()}.{os.getpid()}"):
        (tmp_path / f".report.made.{name}-01234567.tmp").mkdir()
    publish(run, "new")
    assert len(list(tmp_path.glob(".report.*"))) == 2
    monkeypatch.setattr(publishing, "LEFT_AFTER_S", -1.0)
    publishing.tidy(run.report)
    assert holds(run, "new")


def as_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", bytes(1 << 21))


WRITERS = {
    "bytes": lambda path: path.write_bytes(bytes(1 << 21)),
    "table": lambda path: pd.DataFrame({"x": range(300_000)}).to_csv(path),
    "zip": as_zip,
    "picture": lambda path: Image.fromarray(np.zeros((1500, 1500), np.uint8)).save(path, "BMP"),
    "figure": lambda path: Figure().savefig(path, format="tiff", dpi=400),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_told_with_the_folder_whoever_writes(tmp_path, kind):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", disk], capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        full = pytest.raises(OSError, match="No space left on device; make room there")
        with full as told, publishing.elsewhere(disk / "report") as made:
            WRITERS[kind](made / "file")
        assert told.value.errno == errno.ENOSPC
        assert str(told.value.filename).startswith(str(disk))
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)
