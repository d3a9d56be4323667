"""Debian's packages of SLURM: on this machine, or those of another release in a root folder of its own.

A release's root has its own /usr, /etc, /var and /run; every other folder of this machine is seen in it under the same
path, so a checkout, runs and clusters are where they always are. What is mounted for that is seen only by the commands
that run there: nothing stays mounted when they have ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from failures import UserError, require

RELEASES = ("bookworm", "trixie", "sid")  # SLURM 22.05, 24.11 and, at the end of 2026, 26.05
CACHE = Path("/var/cache/cac_hpc")
VARIABLE = "CAC_HPC_DEBIAN"  # in the environment of what runs in a root: its release
MIRROR = "http://deb.debian.org/debian"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "munged", "mariadbd", "mariadb-install-db")
TOOLS = ("ca-certificates", "git", "make", "procps", "python3-venv")  # what `make` needs in a root
APT_SETTINGS = ("Acquire::http", "Acquire::Check-", "Acquire::Retries")  # proxies and the like; http: https, too
OWN = {"bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "run", "sbin", "usr", "var"}  # a root's
COPIED = ("/etc/hosts", "/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")  # as they are now
CLONE_NEWNS = 0x00020000

# From 11.8.9 on libmariadb3 refuses the first query of slurmdbd ("Number of columns in result set exceeds maximum"): it
# ends with status 1, seen with 24.11.5 and 26.05.5. Bookworm's library, kept for slurmdbd alone, serves both.
FIRST_BAD_CLIENT = "1:11.8.9"
CLIENT = CACHE / "libmariadb3"


def install() -> None:
    """Install what is missing with apt; no daemon of the packages is started."""
    if not missing_programs() and (older_client() or not needs_older_client()):
        print("everything is installed")
        return
    require(shutil.which("apt-get") is not None, "apt-get not found: install SLURM, munge and MariaDB by hand")
    with daemons_denied():
        apt("update")
        apt("install", "--yes", "--no-install-recommends", *PACKAGES, *(TOOLS if VARIABLE in os.environ else ()))
    require(not missing_programs(), f"the installed packages lack {', '.join(missing_programs())}")
    if needs_older_client() and not older_client():
        fetch_older_client()
    if Path("/run/systemd/system").exists() and VARIABLE not in os.environ:
        print("munge and mariadb would start at the next boot; to prevent it: systemctl disable munge mariadb")


def apt(action: str, *arguments: str, folder: Path | None = None) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    status = subprocess.run(["apt-get", action, *arguments], env=env, cwd=folder).returncode
    require(status == 0, f"apt-get {action} failed; its messages above say why")


def missing_programs() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program, path=SYSTEM_PATH) is None]


@contextlib.contextmanager
def daemons_denied() -> Iterator[None]:
    """Keep package scripts from starting daemons: Debian asks /usr/sbin/policy-rc.d, where 101 means no."""
    policy, saved = Path("/usr/sbin/policy-rc.d"), Path("/usr/sbin/policy-rc.d.before-cac")
    if policy.exists():
        policy.rename(saved)
    try:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)
        if saved.exists():
            saved.rename(policy)


def needs_older_client() -> bool:
    """Whether slurmdbd would end at once under the client library of the system."""
    if shutil.which("dpkg-query") is None:
        return False
    asked = ["dpkg-query", "--show", "--showformat=${Version}", "libmariadb3"]
    version = subprocess.run(asked, capture_output=True, text=True).stdout
    compare = ["dpkg", "--compare-versions", version, "ge", FIRST_BAD_CLIENT]
    return version != "" and subprocess.run(compare).returncode == 0


def older_client() -> Path | None:
    """The folder with the client library that was put aside for slurmdbd."""
    return next((file.parent for file in CLIENT.glob("usr/lib/*/libmariadb.so.3")), None)


def fetch_older_client() -> None:
    """Put bookworm's client library aside; apt's own lists and the system's library stay as they are."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "lists" / "partial").mkdir(parents=True)
        (scratch / "sources").write_text(f"deb [signed-by={KEYS}] {mirror()} bookworm main\n")
        settings = (
            f"Dir::Etc::SourceList={scratch}/sources", "Dir::Etc::SourceParts=-", f"Dir::State::Lists={scratch}/lists",
            "Dir::Cache::PkgCache=", "Dir::Cache::SrcPkgCache=", "APT::Sandbox::User=root",
        )  # fmt: skip
        options = [word for setting in settings for word in ("-o", setting)]
        apt("update", *options)
        apt("download", *options, "libmariadb3/bookworm", folder=scratch)
        CLIENT.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "--extract", next(scratch.glob("*.deb")), CLIENT], check=True)


def mirror() -> str:
    """Where this machine's apt finds Debian; its usual place on a machine of another distribution."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian"]
    found = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    return found[0].rstrip("/") if found else MIRROR


def make_root(release: str) -> None:
    """Install a release into a root folder of its own, with debootstrap; unfinished ones are made anew."""
    root = root_of(release)
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked():
        if root.exists():
            print(f"Debian {release} is installed in {root}")
            return
        if shutil.which("debootstrap", path=SYSTEM_PATH) is None:
            require(shutil.which("apt-get") is not None, "debootstrap not found: install it by hand")
            apt("update")
            apt("install", "--yes", "--no-install-recommends", "debootstrap", "debian-archive-keyring")
        made = CACHE / f"{release}.partial"
        if made.exists():
            shutil.rmtree(made)
        bootstrap(release, made)
        command = ["/usr/bin/python3", str(Path(sys.argv[0]).absolute()), "install"]
        moved = functools.partial(move_into, made)
        status = subprocess.run(command, env=environment(release), preexec_fn=moved).returncode
        require(status == 0, f"SLURM of Debian {release} could not be installed; the messages above say why")
        made.rename(root)


def bootstrap(release: str, root: Path) -> None:
    """Make the smallest system of a release, which reaches Debian's packages as this machine does."""
    settings = apt_settings()
    proxy = {"http_proxy": settings["Acquire::http::Proxy"]} if "Acquire::http::Proxy" in settings else {}
    command = ["debootstrap", "--variant=minbase", "--include=python3", f"--keyring={KEYS}", release, str(root)]
    status = subprocess.run([*command, mirror()], env=proxy | os.environ | {"PATH": SYSTEM_PATH}).returncode
    require(status == 0, f"debootstrap failed; {root}/debootstrap/debootstrap.log says why")
    lines = "".join(f'{key} "{value}";\n' for key, value in settings.items())
    (root / "etc" / "apt" / "apt.conf.d" / "00this-machine").write_text(lines)


def apt_settings() -> dict[str, str]:
    """How this machine's apt reaches its mirror."""
    found = subprocess.run(["apt-config", "dump", "--no-empty"], capture_output=True, text=True).stdout.splitlines()
    pairs = (line.removesuffix(";").split(" ", 1) for line in found if line.startswith(APT_SETTINGS))
    return {key: value.strip('"') for key, value in pairs}


def remove_root(release: str) -> None:
    """Delete a release's root folder, unless something runs in it."""
    for root in (root_of(release), CACHE / f"{release}.partial"):
        if root.exists():
            with locked():
                running = inside(root)
                require(not running, f"processes {running} run in {root}: end them first, as with stop")
                shutil.rmtree(root)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Keep two from making the same root; whoever comes second waits."""
    handle = os.open(CACHE, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def root_of(release: str) -> Path:
    return CACHE / release


def inside(root: Path) -> list[int]:
    """The processes that run in a root."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            if (entry / "root").readlink() == root:
                found.append(int(entry.name))
    return sorted(found)


def is_here(release: str) -> bool:
    """Whether commands of this process are those of the release: it is the machine's own, or we are in its root."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE] == release
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("VERSION_CODENAME") == release
    return False


def enter(release: str, command: Sequence[str]) -> NoReturn:
    """Become a command that runs in a release's root; here, if the release is the machine's own."""
    env = dict(os.environ)
    if not is_here(release):
        root, inner = root_of(release), os.environ.get(VARIABLE)
        require(inner is None, f"this runs in the root of Debian {inner}: leave it first")
        install_it = f"python3 {sys.argv[0]} install --release {release}"
        require(root.is_dir(), f"Debian {release} is not installed here: run `{install_it}` first")
        require(is_seen_inside(Path.cwd()), f"{Path.cwd()} is not seen in {root}: work below /home, /srv or the like")
        move_into(root)
        env = environment(release)
    try:
        os.execvpe(command[0], list(command), env)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be started ({error.strerror}) under Debian {release}") from None


def is_seen_inside(path: Path) -> bool:
    """Whether a folder of this machine is at the same path in every root."""
    return len(path.parts) > 1 and path.parts[1] not in OWN


def environment(release: str) -> dict[str, str]:
    """The caller's environment without what names programs of this machine's release."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "VIRTUAL_ENV")}
    return kept | {"PATH": SYSTEM_PATH, VARIABLE: release}


def move_into(root: Path) -> None:
    """Move this process into a root, where it sees the folders of this machine beside those of the release."""
    here = Path.cwd()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mounts of one's own for Debian's root (unshare)")
    subprocess.run(["mount", "--make-rslave", "/"], check=True)
    for folder in Path("/").iterdir():
        if folder.name not in OWN and folder.is_dir():
            (root / folder.name).mkdir(exist_ok=True)
            subprocess.run(["mount", "--rbind", folder, root / folder.name], check=True)
    for name in COPIED:
        if Path(name).is_file():
            copy = root / name.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)  # it may be a link to nowhere
            shutil.copy(name, copy)
    os.chroot(root)
    os.chdir(here)
