"""Reports brought home: from this machine, over a real ssh, from archives and other sides that mean harm."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from cac_hpc.machine import processes
from cac_hpc.report import checksums
from cac_hpc.run import digests, ledger
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.report_command import ReportOptions, parse_report
from cac_hpc.transfer import archive, fetching, remote, retrieval, selection
from cac_hpc.transfer.remote import RemoteFolder
from tests.support.runs import REPO, job, job_here
from tests.support.waiting import wait_for

ODD = """a run of 70% "now" 'then' $HOME; #1"""
LABEL = "a_run_of_70_now_then_HOME_1"
MB = 1_000_000


@pytest.fixture(scope="module")
def home(tmp_path_factory, finished_run):
    """A finished run in a folder whose name shells would misread, with weights of some size; read-only."""
    folder = tmp_path_factory.mktemp("site") / ODD
    shutil.copytree(finished_run, folder)
    for index in range(3):
        (folder / "folds" / f"fold-{index}" / "model.pt").write_bytes(os.urandom(4 * MB))
    (folder / "report" / "figures" / "slices_0.png").write_bytes(b"a slice")
    (folder / "report" / "figures" / "misclassified_fold-0.svg").write_bytes(b"another")
    with (folder / "report" / checksums.FILE).open("a", encoding="utf-8") as listed:
        for name in ("figures/slices_0.png", "figures/misclassified_fold-0.svg"):
            listed.write(f"{digests.file_sha256(folder / 'report' / name)}  {name}\n")
    (folder / "report" / "figures" / "by hand.png").write_bytes(b"nobody asked for")
    (folder / "report" / "notes.txt").write_text("nor for this", encoding="utf-8")
    (folder / "report" / "tables" / "patients.csv").write_text("study,name\n", encoding="utf-8")
    (folder / "report" / "figures" / "mine.svg").write_text("<svg/>", encoding="utf-8")
    return folder


@pytest.fixture
def ours(home, tmp_path):
    """A copy to be changed, without what is large."""
    return Path(shutil.copytree(home, tmp_path / "run", ignore=shutil.ignore_patterns("model.pt", "dataset")))


def fetch(server, *arguments: object) -> subprocess.CompletedProcess[str]:
    return job_here("report.py", *arguments, env={**os.environ, "PATH": server.path})


def only_file(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {name.partition("/")[2]: tar.extractfile(name).read() for name in tar.getnames()}


# here


def test_a_report_becomes_one_archive_of_what_is_listed_and_nothing_else(home, tmp_path):
    done = job("report.py", home, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    made = only_file(tmp_path / "out")
    assert re.fullmatch(LABEL + r"_report_\d{4}-\d\d-\d\d_\d{6}\.tar", made.name)
    assert "Patient level: accuracy" in " ".join(done.stdout.split())
    found = members(made)
    assert f"one archive, {len(found) - 1} files, {made.stat().st_size / 1e6:.1f} MB: {made}\n" in done.stdout
    there = {f"report/tables/{path.name}" for path in (home / "report" / "tables").glob("*.*")}
    tables = there - {"report/tables/patients.csv"}
    assert tables == {name for name in found if name.startswith("report/tables/")}
    assert {name.partition("/")[0] for name in found} == {"SHA256SUMS", "provenance.json", "report", "folds"}
    for name in ("report/report.md", "report/tables/confusion_patient.csv", "report/figures/slices_0.png",
                 "folds/fold-2/predictions.csv", "folds/fold-0/metrics.json", "folds/fold-1/history.csv"):  # fmt: skip
        assert name in found
    assert not [
        name for name in found if re.search(r"model|checkpoint|config|code|log|speed|hand|notes|patients|mine", name)
    ]


def test_sha256sum_agrees_with_the_list(home, tmp_path):
    job_here("report.py", home, "--out", tmp_path)
    subprocess.run(["tar", "xf", only_file(tmp_path), "--strip-components=1", "-C", tmp_path], check=True)
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    listed = (tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert checked.stdout.count(": OK\n") == len(listed) > 20


def test_nothing_in_it_tells_of_the_place_where_it_was_made(home, finished_run, tmp_path):
    job_here("report.py", home, "--out", tmp_path)
    found = members(only_file(tmp_path))
    told = json.loads(found["provenance.json"])
    assert told["packages"]["torch"]
    assert told["left_out"] == ["code_files", "command", "folder", "git_diff", "host", "inode"]
    for content in found.values():
        assert str(finished_run.parent).encode() not in content
        assert str(home.parent).encode() not in content
        assert f'"{platform.node()}"'.encode() not in content


def test_the_same_run_gives_the_same_bytes_and_dates_them_by_the_report(home, tmp_path):
    for name in ("one", "two"):
        os.utime(home / "report" / "report.md")  # only the time of report.json counts
        job_here("report.py", home, "--out", tmp_path / name)
    one, two = only_file(tmp_path / "one"), only_file(tmp_path / "two")
    assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())
    with tarfile.open(one) as tar:
        made = {(member.mtime, member.uid, member.uname, member.mode) for member in tar}
    assert made == {(int((home / "report" / "report.json").stat().st_mtime), 0, "", 0o644)}


def test_a_partial_report_says_so_in_its_name_and_exit_code(ours, tmp_path):
    stored = ours / "report" / "report.json"
    summary = json.loads(stored.read_text(encoding="utf-8"))
    summary |= {"status": "PARTIAL", "missing_folds": [{"fold": 2, "at_work": False, "reason": "it never started"}]}
    stored.write_text(json.dumps(summary), encoding="utf-8")
    done = job_here("report.py", ours, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert only_file(tmp_path / "out").name.endswith("_PARTIAL.tar")


def test_a_link_in_the_report_is_refused_wherever_it_leads(ours, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.csv").write_text("secret", encoding="utf-8")
    shutil.rmtree(ours / "report" / "tables")
    (ours / "report" / "tables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"report/tables: is a link"):
        retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path / "out")))


def test_what_is_not_as_the_report_wrote_it_does_not_go_out(ours, tmp_path):
    table = ours / "report" / "tables" / "figures.csv"
    table.write_text(table.read_text(encoding="utf-8") + "study,name\n", encoding="utf-8")
    again = rf"python jobs/aggregate\.py --run {ours} makes the report again$"
    with pytest.raises(InputError, match=rf"report/tables/figures\.csv: is not as the report wrote it.* {again}"):
        retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path / "out")))
    (ours / "report" / checksums.FILE).unlink()
    with pytest.raises(InputError, match=rf"report/SHA256SUMS: not there, wanted the list .* {again}"):
        retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_while_it_is_read_leaves_no_archive(ours, tmp_path):
    choice = selection.Selection()
    offer = selection.survey(ours, choice)
    (ours / "report" / "report.md").write_text("made again", encoding="utf-8")
    with pytest.raises(WorkError, match=r"report/report\.md: changed while it was read"):
        archive.write(tmp_path / "out", offer, {item.name: ours / item.name for item in offer.items}, choice)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_page_is_opened_and_the_text_while_there_is_none(ours, tmp_path, monkeypatch):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/opened"\n', encoding="utf-8")
    browser.chmod(0o755)
    env = {**os.environ, "BROWSER": str(browser)}
    assert job("report.py", ours, "--open", env=env).returncode == 0
    for page in (ours / "report").glob("*.html"):
        page.unlink()
    assert job("report.py", ours, "--open", env=env).returncode == 0
    opened = (tmp_path / "opened").read_text(encoding="utf-8").splitlines()
    assert opened == [(ours / "report" / name).as_uri() for name in ("report.html", "report.md")]


def test_without_a_browser_the_page_is_named(ours):
    env = {name: value for name, value in os.environ.items() if name not in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")}
    done = job("report.py", ours, "--open", env={**env, "PATH": "/nowhere"})
    assert done.returncode == 1
    assert re.search(r"error: .*report\.html: no browser was found here", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["h:run"], "found no --out, wanted --out DIR"),
        (["run", "--weights"], "--weights: found no --out"),
        (["run", "--without_images"], "--without_images: found no --out"),
        (["/there/is/h:nothing"], "found no config.yaml there"),
        (["-o@h:run", "--out", "x"], None),
        (["@h:run", "--out", "x"], "found no host and folder"),
        (["h:a\nb", "--out", "x"], "found no host and folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    if message is None:  # argparse, by itself
        with pytest.raises(SystemExit):
            parse_report(None, arguments)
        return
    with pytest.raises(InputError, match=message):
        retrieval.retrieve(parse_report(None, arguments))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("h:run", RemoteFolder("h", "run")),
        ("me@h.site.org:/a b/70%", RemoteFolder("me@h.site.org", "/a b/70%")),
        ("me@[fe80::1%eth0]:run", RemoteFolder("me@fe80::1%eth0", "run")),
        ("[::1]:~/run", RemoteFolder("::1", "run")),
        ("h:", RemoteFolder("h", "")),
        ("h:a:b", RemoteFolder("h", "a:b")),
        ("./h:run", None),
        ("/runs/h:run", None),
        ("run", None),
    ],
)
def test_places_are_read_as_scp_reads_them(text, place):
    assert remote.parse(text) == place


def test_a_host_that_looks_like_an_option_is_refused():
    with pytest.raises(InputError, match="found no host"):
        remote.parse("-oProxyCommand=x:run")


# over ssh


def test_ssh_brings_the_same_bytes_in_one_connection(home, server, tmp_path):
    before = server.num_logins
    away = fetch(server, f"cluster:{home}", "--out", tmp_path / "away")
    assert away.returncode == 0, away.stderr
    assert server.num_logins == before + 1
    assert "Patient level: accuracy" in " ".join(away.stdout.split())
    assert (
        job_here("report.py", home, "--out", tmp_path / "here").stdout.splitlines()[:-1]
        == away.stdout.splitlines()[:-1]
    )
    one, two = only_file(tmp_path / "away"), only_file(tmp_path / "here")
    assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())


def looks_at(run: Path) -> list[str]:
    return [event["how"] for event in ledger.read(run / "ledger.jsonl") if event["event"] == "shown"]


def test_a_report_that_is_fetched_is_a_look_in_the_ledger_there(ours, server, tmp_path):
    kept, before = (ours / "ledger.jsonl").read_bytes(), looks_at(ours)
    assert fetch(server, f"cluster:{ours}", "--out", tmp_path / "out").returncode == 0
    assert looks_at(ours) == [*before, "ssh"]
    assert (ours / "ledger.jsonl").read_bytes().startswith(kept)
    archive_here = only_file(tmp_path / "out")
    assert job_here("report.py", archive_here, "--out", tmp_path / "unpacked").returncode == 0
    assert looks_at(ours) == [*before, "ssh"]  # an archive is away from its run
    (ours / "ledger.jsonl").rename(tmp_path / "kept")
    (ours / "ledger.jsonl").symlink_to(tmp_path / "kept")  # as a ledger that may not be written
    assert fetch(server, f"cluster:{ours}", "--out", tmp_path / "again").returncode == 0
    assert looks_at(ours) == [*before, "ssh"]


def test_what_was_asked_for_and_did_not_come_is_no_look(ours, server, tmp_path, monkeypatch):
    before = looks_at(ours)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    done = fetch(server, f"cluster:{ours}", "--out", tmp_path / "out")
    assert "0 MB are free" in done.stderr
    assert looks_at(ours) == before


def test_weights_come_where_they_are_asked_for_and_slices_stay_where_they_are_not(home, server, tmp_path):
    options = ("--weights", "--without_images")
    assert fetch(server, f"cluster:{home}", "--out", tmp_path / "away", *options).returncode == 0
    job_here("report.py", home, "--out", tmp_path / "here", *options)
    made = only_file(tmp_path / "away")
    assert made.name.endswith("_with_weights_without_images.tar")
    assert made.read_bytes() == only_file(tmp_path / "here").read_bytes()
    found = members(made)
    assert found["folds/fold-1/model.pt"] == (home / "folds" / "fold-1" / "model.pt").read_bytes()
    assert not [name for name in found if "slices_" in name or "misclassified" in name]
    assert "report/figures/confusion_slice.png" in found


def test_relative_folders_start_at_home_and_ipv6_works(home, server, tmp_path):
    away = os.path.relpath(home, Path("~").expanduser())
    assert fetch(server, f"cluster:~/{away}", "--out", tmp_path / "home").returncode == 0
    done = fetch(server, f"[::1]:{away}", "--out", tmp_path / "six")
    if "::1" not in (server.folder / "sshd_config").read_text():
        pytest.skip("this machine has no IPv6")
    assert done.returncode == 0, done.stderr
    assert only_file(tmp_path / "home").read_bytes() == only_file(tmp_path / "six").read_bytes()


def test_open_unpacks_what_was_fetched(home, server, tmp_path):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{tmp_path}/opened"\n', encoding="utf-8")
    browser.chmod(0o755)
    for _ in range(2):  # what is there already is the same
        env = {**os.environ, "PATH": server.path, "BROWSER": str(browser)}
        done = job("report.py", f"cluster:{home}", "--out", tmp_path / "out", "--open", env=env)
        assert done.returncode == 0, done.stderr
    folder = next(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert (tmp_path / "opened").read_text(encoding="utf-8").strip() == (folder / "report" / "report.html").as_uri()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("/no/such/folder", "there is no such folder, wanted the folder of a run"),
        ("/etc", "found no config.yaml there"),
        ("{run}", "there is no report yet; python jobs/status.py {run}, started there"),
    ],
)
def test_a_wrong_folder_is_named(folder, message, prepared_run, server, tmp_path):
    done = fetch(server, f"cluster:{folder.format(run=prepared_run)}", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert message.format(run=prepared_run) in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_link_on_the_other_side_is_refused(ours, server, tmp_path):
    (ours / "report" / "tables" / "x.csv").symlink_to("/etc/passwd")
    done = fetch(server, f"cluster:{ours}", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "report/tables/x.csv: is a link" in done.stderr


def test_what_is_not_as_the_report_wrote_it_does_not_go_out_from_the_other_side(ours, server, tmp_path):
    table = ours / "report" / "tables" / "figures.csv"
    table.write_text(table.read_text(encoding="utf-8") + "study,name\n", encoding="utf-8")
    done = fetch(server, f"cluster:{ours}", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "report/tables/figures.csv: is not as the report wrote it" in done.stderr
    (ours / "report" / checksums.FILE).unlink()
    done = fetch(server, f"cluster:{ours}", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "report/SHA256SUMS: not there, wanted the list" in done.stderr
    assert f"; python jobs/aggregate.py --run {ours}, started there, makes the report again" in done.stderr


def test_a_wrong_host_is_named(server, tmp_path):
    done = fetch(server, "nobody@no-such-host.invalid:run", "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "nobody@no-such-host.invalid: no connection (ssh ended with 255" in done.stderr
    assert not (tmp_path / "out").exists()


def cut(server, store: Path, number: signal.Signals, num_bytes: int = 5 * MB) -> threading.Thread:
    """Signal the sessions as soon as so many bytes have come."""

    def act() -> None:
        wait_for(lambda: sum(path.stat().st_size for path in store.glob("*")) > num_bytes, 60, "bytes come")
        server.signal_sessions(number)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_a_cut_line_leaves_no_archive_and_the_second_try_goes_on(home, server, tmp_path):
    out = tmp_path / "out"
    watcher = cut(server, out / f".{LABEL}_report.part", signal.SIGKILL)
    done = fetch(server, f"slow:{home}", "--out", out, "--weights")
    watcher.join()
    assert done.returncode == 1
    assert "slow: the line was cut; the same command goes on with what has come" in done.stderr
    store = only_file(out)
    assert store.name == f".{LABEL}_report.part"
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    there = sum(path.stat().st_size for path in store.iterdir())
    again = fetch(server, f"slow:{home}", "--out", out, "--weights")
    assert again.returncode == 0, again.stderr
    first = float(re.search(r": ([\d.]+) of [\d.]+ MB", again.stderr)[1])
    assert there > 5 * MB
    assert first >= round(there / MB, 1)  # of 12 MB; what was there did not come again
    job_here("report.py", home, "--out", tmp_path / "here", "--weights")
    assert only_file(out).read_bytes() == only_file(tmp_path / "here").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_leaves_leaves_nothing_running_and_no_archive(number, home, server, tmp_path):
    store = tmp_path / f".{LABEL}_report.part"
    command = [sys.executable, REPO / "jobs" / "report.py", f"slow:{home}", "--out", tmp_path, "--weights"]
    with subprocess.Popen(command, env={**os.environ, "PATH": server.path}, stderr=subprocess.DEVNULL) as left:
        wait_for(lambda: sum(path.stat().st_size for path in store.glob("*")) > MB, 60, "bytes come")
        left.send_signal(number)
    assert left.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: not processes.children(server.pid), 20, "the other side has ended")
    assert only_file(tmp_path) == store


def test_a_silent_line_is_given_up(home, server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "SILENCE_S", 1.0)
    monkeypatch.setenv("PATH", server.path)
    watcher = cut(server, tmp_path / f".{LABEL}_report.part", signal.SIGSTOP)
    with pytest.raises(WorkError, match="the line was silent for 1 s; the same command goes on"):
        retrieval.retrieve(ReportOptions(source=f"slow:{home}", out=str(tmp_path), weights=True))
    watcher.join()
    server.signal_sessions(signal.SIGKILL)


def test_a_store_that_was_damaged_is_mended(home, server, tmp_path):
    store = tmp_path / f".{LABEL}_report.part"
    store.mkdir()
    weights = home / "folds" / "fold-0" / "model.pt"
    (store / digests.file_sha256(weights)).write_bytes(bytes(weights.stat().st_size))  # as long, and wrong
    (store / digests.file_sha256(home / "folds" / "fold-1" / "model.pt")).write_bytes(b"wrong")
    first = fetch(server, f"cluster:{home}", "--out", tmp_path, "--weights")
    assert first.returncode == 1
    assert "folds/fold-1/model.pt: is not what was offered" in first.stderr
    assert fetch(server, f"cluster:{home}", "--out", tmp_path, "--weights").returncode == 0
    assert only_file(tmp_path).suffix == ".tar"


def test_two_at_once_do_not_meet(home, server, tmp_path):
    with fetching._store(tmp_path / f".{LABEL}_report.part"):
        done = fetch(server, f"cluster:{home}", "--out", tmp_path)
    assert done.returncode == 1
    assert "another process is fetching this report to here" in done.stderr


# other sides


def fake_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """An ssh of a few lines of Python: script is what it was told, mark what it is to begin with."""
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(
        f"#!{sys.executable}\nimport os, re, subprocess, sys\n"
        "script = ''.join(iter(sys.stdin.readline, '}\\n')) + '}\\n'\n"
        "mark = re.search('[0-9a-f]{32}', script)[0]\n"
        f"def say(text): sys.stdout.write(text); sys.stdout.flush()\n{body}\n",
        encoding="utf-8",
    )
    (folder / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)


SHELLS = [
    shell.split(" ", 2)
    for shell in ("dash -s", "bash -s", "ksh -s", "zsh -s", "busybox sh -s",
                  "bash -c exec sh -s", "tcsh -c exec sh -s", "fish -c exec sh -s", "zsh -c exec sh -s")
    if shutil.which(shell.split()[0])
]  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_any_shell_will_do_and_its_greeting_is_passed_over(shell, ours, tmp_path, monkeypatch):
    fake_ssh(tmp_path, monkeypatch, (
        "say('Welcome!\\n' * 1000 + 'no newline')\n"
        f"line = subprocess.Popen({shell!r}, stdin=subprocess.PIPE, cwd='/')\n"
        "line.stdin.write(script.encode()); line.stdin.flush()\n"
        "line.stdin.write(sys.stdin.read().encode()); line.stdin.close(); line.wait()"
    ))  # fmt: skip
    assert retrieval.retrieve(ReportOptions(source=f"h:{ours}", out=str(tmp_path / "away"))) == 0
    retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path / "here")))
    assert only_file(tmp_path / "away").read_bytes() == only_file(tmp_path / "here").read_bytes()


@pytest.mark.parametrize(
    "name",
    ["../../.bashrc", "/etc/passwd", "report/../../x", "report/tables/../../x.csv", "report/tables/a b.csv",
     "report/tables/.hidden.csv", "folds/fold-0/model.pt", "config.yaml", "report/tables/x.csv/y.csv"],
)  # fmt: skip
def test_only_files_of_a_report_can_come(name, tmp_path, monkeypatch):
    listed = f"run r\\nmade 1\\nfile 3 {'0' * 64} {name}\\nend\\n"
    fake_ssh(tmp_path, monkeypatch, f"say(mark + '\\n{listed}')")
    with pytest.raises(WorkError, match="wanted files of a report only; nothing was fetched"):
        retrieval.retrieve(ReportOptions(source="h:run", out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ("{}more\n", "sent more than it had announced"),
        ("[]", "is not what was offered"),
        ("{", "the line was cut"),
        ("{}" + "x" * 5000, "a line of more than 4096 bytes"),
    ],
)
def test_only_as_much_as_was_announced_can_come(sent, message, tmp_path, monkeypatch):
    listed = f"run r\\nmade 1\\nfile 2 {digests.bytes_sha256(b'{}')} report/report.json\\nend\\n"
    fake_ssh(tmp_path, monkeypatch, f"say(mark + '\\n{listed}'); sys.stdin.read(); say({sent!r})")
    with pytest.raises(WorkError, match=message):
        retrieval.retrieve(ReportOptions(source="h:run", out=str(tmp_path / "out")))
    assert not list((tmp_path / "out").glob("*.tar"))


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ("run r\\nmade \\nend\\n", WorkError, "its date has no -r"),
        ("run r\\nmade 1\\nrubbish\\nend\\n", WorkError, "offers 'rubbish'"),
        (
            "run r\\nmade 1\\nfile 999999999999999 " + "0" * 64 + " report/report.json\\nend\\n",
            WorkError,
            "MB are free",
        ),
        ("no tool\\n", InputError, "neither sha256sum nor shasum"),
    ],
)
def test_a_list_that_is_none_is_refused(said, error, message, tmp_path, monkeypatch):
    fake_ssh(tmp_path, monkeypatch, f"say(mark + '\\n{said}')")
    with pytest.raises(error, match=message):
        retrieval.retrieve(ReportOptions(source="h:run", out=str(tmp_path / "out")))


def test_a_greeting_without_end_is_refused(tmp_path, monkeypatch):
    fake_ssh(tmp_path, monkeypatch, "while True: say('y\\n' * 10000)")
    with pytest.raises(WorkError, match="prints without end"):
        retrieval.retrieve(ReportOptions(source="h:run", out=str(tmp_path / "out")))


def test_what_the_other_side_says_commands_no_terminal(tmp_path, monkeypatch, capsys):
    bad = "x\\x1b[2J\\u202ey"
    fake_ssh(tmp_path, monkeypatch, f"sys.stderr.write('{bad}\\n'); say(mark + '\\nno link {bad}\\n')")
    told = ReportOptions(source="h:run", out=str(tmp_path / "out"))
    assert exit_code(lambda: retrieval.retrieve(told)) == 2
    said = capsys.readouterr().err
    assert said.startswith("x[2Jy\nerror: h:run/x[2Jy: is a link")
    assert not set(said) & set("\x1b\u202e")


def test_without_ssh_its_installation_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WorkError, match="install the OpenSSH client"):
        retrieval.retrieve(ReportOptions(source="h:run", out=str(tmp_path / "out")))


# archives


def test_a_report_of_another_version_is_kept_and_not_misread(ours, tmp_path, capsys):
    for content, status in (({"format_version": 99, "status": "COMPLETE"}, 0), ({"format_version": 99}, 1)):
        (ours / "report" / "report.json").write_text(json.dumps(content), encoding="utf-8")
        assert retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path / "out"))) == status
        assert "made by another version of cac_hpc" in capsys.readouterr().out
    (ours / "report" / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(WorkError, match=r"report/report\.json: is damaged"):
        retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path / "out")))


def test_an_archive_is_unpacked_verified_and_shown(home, tmp_path):
    job_here("report.py", home, "--out", tmp_path / "out")
    made = only_file(tmp_path / "out")
    done = job_here("report.py", made, "--out", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    folder = only_file(tmp_path / "there")
    assert folder.name == made.stem
    assert "Patient level: accuracy" in " ".join(done.stdout.split())
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True)
    (folder / "report" / "report.md").write_text("mine", encoding="utf-8")
    again = job_here("report.py", made, "--out", tmp_path / "there")
    assert again.returncode == 2
    assert "is there already and holds something else" in again.stderr


def member(name: str, content: bytes = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.size = len(content)
    for key, value in changes.items():
        setattr(made, key, value)
    return made, content


TABLE = "report/tables/x.csv"
LISTED = f"{digests.bytes_sha256(b'good')}  {TABLE}\n".encode()
HOSTILE = {
    "a link": ([member(f"r/{TABLE}", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "is a link"),
    "a hard link": ([member(f"r/{TABLE}", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "is a link"),
    "a device": ([member(f"r/{TABLE}", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "is a link, device"),
    "a pipe": ([member(f"r/{TABLE}", type=tarfile.FIFOTYPE)], "is a link, device"),
    "a folder": ([member("r/report", type=tarfile.DIRTYPE)], "is a link, device, folder"),
    "..": ([member("r/../../escaped", b"good")], "is not in SHA256SUMS"),
    "absolute": ([member("/tmp/escaped", b"good")], "is not in SHA256SUMS"),
    "another folder": ([member(f"q/{TABLE}", b"good")], "is not in SHA256SUMS"),
    "not listed": ([member("r/report/report.md", b"good")], "is not in SHA256SUMS"),
    "twice": ([member(f"r/{TABLE}", b"good")] * 2, "twice"),
    "another list": ([member("r/SHA256SUMS", LISTED), member(f"r/{TABLE}", b"good")], "is not in SHA256SUMS"),
    "damaged": ([member(f"r/{TABLE}", b"evil")], "is damaged"),
    "longer than listed": ([member(f"r/{TABLE}", b"good and more")], "is damaged"),
    "missing": ([], "missing of what SHA256SUMS names"),
    "sparse": ([member(f"r/{TABLE}", b"good", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999999"})],
               "sparse"),
}  # fmt: skip


def write_archive(path: Path, *parts: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in parts:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(case, tmp_path):
    parts, message = HOSTILE[case]
    made = write_archive(tmp_path / "x.tar", member("r/SHA256SUMS", LISTED), *parts)
    with pytest.raises(InputError, match=message):
        archive.unpack(made, tmp_path / "out" / "in")
    assert [path for path in tmp_path.rglob("*") if path.name not in ("x.tar", "out", "in")] == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r/report/report.json", b"{}", "does not begin with SHA256SUMS"),
        ("../SHA256SUMS", LISTED, "does not begin with SHA256SUMS"),
        ("SHA256SUMS", LISTED, "does not begin with SHA256SUMS"),
        ("r/SHA256SUMS", f"{'0' * 64}  ../../x\n".encode(), "has the line"),
        ("r/SHA256SUMS", f"{'0' * 64}  config.yaml\n".encode(), "has the line"),
        ("r/SHA256SUMS", LISTED * 2, "has the line"),
        ("r/SHA256SUMS", b"\xff\xfe", "has the line"),
        ("r/SHA256SUMS", bytes(5_000_000), "wanted at most"),
    ],
)
def test_an_archive_of_something_else_is_refused(name, content, message, tmp_path):
    made = write_archive(tmp_path / "x.tar", member(name, content))
    with pytest.raises(InputError, match=message):
        archive.unpack(made, tmp_path / "out")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_half_an_archive_is_refused(share, ours, tmp_path):
    retrieval.retrieve(ReportOptions(source=str(ours), out=str(tmp_path)))
    made = next(tmp_path.glob("*.tar"))
    made.write_bytes(made.read_bytes()[: int(made.stat().st_size * share)])
    with pytest.raises(InputError, match=r"damaged|missing|does not begin"):
        archive.unpack(made, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
