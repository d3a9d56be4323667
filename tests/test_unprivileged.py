"""Tests that behave differently without root pass without it, too: users of a cluster have none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import sshd
from tests.support.runs import REPO
from tests.support.slurm import unavailable

USER, NUMBER = "somebody", 54321
DIFFERENT = (  # they signal what an sshd has started
    "test_a_cut_line_leaves_no_archive_and_the_second_try_goes_on",
    "test_who_leaves_leaves_nothing_running_and_no_archive[2]",
    "test_a_silent_line_is_given_up",
)
CUT = """
import os, signal, subprocess, sys
from pathlib import Path
from tests.support import sshd
with sshd.serve(Path.home(), *sshd.programs()) as server:
    command = ["ssh", "cluster", "id -un; exec sleep 60"]
    line = subprocess.Popen(command, env={**os.environ, "PATH": server.path}, stdout=subprocess.PIPE, text=True)
    print(line.stdout.readline().strip())
    server.signal_sessions(signal.SIGKILL)
    print(line.wait(20))
"""
READS = "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"  # an environment in root's home


@pytest.fixture
def somebody() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs a command as a user who has no rights but to read all, and of whom it alone knows. His home is new."""
    if os.getuid() != 0:
        pytest.skip("without root already: the tests themselves show it")
    if sshd.programs() is None:
        unavailable("no sshd for this test: install openssh-server and openssh-client")
    with tempfile.TemporaryDirectory(prefix="cac-", dir="/tmp") as made:  # everybody can reach it; tmp_path is root's
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        os.chown(folder / "home", NUMBER, NUMBER)
        users = Path("/etc/passwd").read_text(encoding="utf-8")
        users += f"{USER}:x:{NUMBER}:{NUMBER}::{folder / 'home'}:/bin/sh\n"
        (folder / "passwd").write_text(users, encoding="utf-8")
        become = ["setpriv", f"--reuid={NUMBER}", f"--regid={NUMBER}", "--clear-groups", *READS]
        known = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/passwd && shift && exec "$@"', "sh"]
        home = str(folder / "home")
        env = {"HOME": home, "TMPDIR": home, "USER": USER, "LOGNAME": USER, "PYTHONPATH": str(REPO)}

        def run(*command: str | Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
            line: list[Any] = [*known, folder / "passwd", *become, *command]
            return subprocess.run(
                line, env=os.environ | env, cwd=REPO, capture_output=True, text=True, timeout=timeout_s
            )

        if run("true").returncode:
            unavailable(f"root may not become another user here: {run('true').stderr.strip()}")
        yield run


def test_the_sessions_of_a_users_own_sshd_are_cut(somebody):
    done = somebody(sys.executable, "-c", CUT)
    assert done.stdout.split() == [USER, "255"], done.stderr


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_reports_are_fetched_from_a_users_own_sshd(somebody):
    chosen = [f"{REPO / 'tests' / 'test_retrieval.py'}::{name}" for name in DIFFERENT]
    done = somebody(sys.executable, "-m", "pytest", *chosen, "-p", "no:cacheprovider", "-q", timeout_s=800)
    assert re.search(rf"^{len(DIFFERENT)} passed", done.stdout, re.M), done.stdout + done.stderr
