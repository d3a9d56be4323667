"""A real sshd on loopback, with keys and settings of its own, and an ssh that knows them."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.machine import processes
from tests.support.waiting import wait_for

PRIVILEGE_SEPARATION = Path("/run/sshd")  # an sshd of root wants it
THROTTLE = """
import os, socket, sys, threading, time
line = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 1 << 16):
        line.sendall(data)
    line.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := line.recv(1 << 15):
    os.write(1, data)
    time.sleep(0.005)
os._exit(0)
"""


@dataclass(frozen=True)
class Sshd:
    """A running server: ``cluster``, ``slow`` (some MB/s) and ``[::1]`` are hosts that lead to it."""

    folder: Path
    pid: int

    @property
    def path(self) -> str:
        """PATH with the ssh that knows the server first."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    @property
    def num_logins(self) -> int:
        return (self.folder / "log").read_text(encoding="utf-8").count("Accepted publickey")

    def signal_sessions(self, number: signal.Signals) -> None:
        """Send a signal to what serves the connections that are open."""
        serving = list(_sessions(self.pid))
        assert serving
        for session in serving:
            with contextlib.suppress(ProcessLookupError):  # it ends with the one before it
                os.kill(session, number)


@contextlib.contextmanager
def serve(folder: Path, server: str, client: str) -> Iterator[Sshd]:
    """Start a server in the foreground, end it with its sessions."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _write_settings(folder, client, port)
    made = os.getuid() == 0 and not PRIVILEGE_SEPARATION.exists()
    if made:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    sshd = Sshd(folder, process.pid)
    try:
        wait_for(lambda: "Server listening" in (folder / "log").read_text(), 20, "sshd listens")
        yield sshd
    finally:
        with contextlib.suppress(AssertionError):
            sshd.signal_sessions(signal.SIGKILL)
        process.terminate()
        process.wait(20)
        if made:
            PRIVILEGE_SEPARATION.rmdir()


def programs() -> tuple[str, str] | None:
    """The server and the client, if both are installed."""
    server, client = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin"), shutil.which("ssh")
    return (server, client) if server and client else None


def _sessions(pid: int) -> Iterator[int]:
    """The processes of sshd below one: of root's login there is one, of others' a monitor and, below it, who serves."""
    for child in processes.children(pid):
        with contextlib.suppress(OSError):  # it may have ended
            if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").startswith("sshd"):
                yield child
                yield from _sessions(child)


def _write_settings(folder: Path, client: str, port: int) -> None:
    for name in ("host_key", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    addresses = ["127.0.0.1"] + (["::1"] if _has_ipv6() else [])
    host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"cluster {host_key}\n")
    (folder / "sshd_config").write_text(
        "\n".join([f"Port {port}", *(f"ListenAddress {address}" for address in addresses),
                   f"HostKey {folder}/host_key", f"AuthorizedKeysFile {folder}/key.pub", "StrictModes no", "UsePAM no",
                   "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes",
                   "PidFile none", "LogLevel VERBOSE", ""])
    )  # fmt: skip
    (folder / "throttle.py").write_text(THROTTLE)
    (folder / "ssh_config").write_text(
        "\n".join(["Host cluster slow", "HostName 127.0.0.1",
                   "Host slow", f"ProxyCommand {sys.executable} {folder}/throttle.py %h %p",
                   "Host *", f"Port {port}", f"User {getpass.getuser()}", f"IdentityFile {folder}/key",
                   "IdentitiesOnly yes", "IdentityAgent none", f"UserKnownHostsFile {folder}/known_hosts",
                   "GlobalKnownHostsFile none", "HostKeyAlias cluster", "BatchMode yes", "LogLevel ERROR", ""])
    )  # fmt: skip
    (folder / "bin").mkdir()
    (folder / "bin" / "ssh").write_text(f'#!/bin/sh\nexec {client} -F {shlex.quote(f"{folder}/ssh_config")} "$@"\n')
    (folder / "bin" / "ssh").chmod(0o755)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
