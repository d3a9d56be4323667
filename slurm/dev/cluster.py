#!/usr/bin/env python3
"""A real SLURM on one machine, for development and tests: four nodes with two pretended GPUs each.

    sudo python3 slurm/dev/cluster.py install    # once: SLURM, munge and MariaDB, from the packages of this Debian
    sudo python3 slurm/dev/cluster.py start      # takes 5 s; prints the line that points sbatch, squeue, ... at it
    sudo python3 slurm/dev/cluster.py stop       # leaves no process, port, mount or file behind

Other versions of SLURM, each with the Python of its own Debian, in a root folder of their own in /var/cache/cac_hpc:

    sudo python3 slurm/dev/cluster.py install --release trixie    # bookworm: SLURM 22.05, trixie: 24.11, sid: newer
    sudo python3 slurm/dev/cluster.py start --release trixie      # stop and status find the release by themselves
    sudo python3 slurm/dev/cluster.py run --release trixie -- bash    # any command in there, as sbatch or make
    sudo python3 slurm/dev/cluster.py remove --release trixie     # deletes the root folder

The daemons are the real ones, so queueing, arrays, dependencies, time limits, preemption and requeueing behave as on a
real cluster. Nodes n1 to n4 have 4 CPUs and 2 GPUs each, which are plain files: SLURM hands them out, but nothing can
compute on them. Jobs in partition `urgent` preempt those in `dev`.

Everything lives in one folder (--dir), with ports, sockets and keys of its own: several clusters can run side by side,
and a SLURM, munge or MariaDB of the system is never touched. Three choices copy what real sites differ in:

    --accounting off      a site without a database, where sacct fails
    --proctrack cgroup    as in production: signals reach only the first process of a step, and memory limits are
                          enforced; with linuxproc (the default) a signal reaches every process of the step
    --set KEY=VALUE       a line of slurm.conf, in the place of those of the same key; may be given several times, as
                          --set SlurmctldParameters=preempt_send_user_signal --set KillWait=30
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cgroups
import debian
from failures import ClusterError, UserError, require

START_LIMIT_S = 60
STOP_LIMIT_S = 10  # for the jobs, and for each turn of daemons before SIGKILL; longer than KillWait below
TOOL_LIMIT_S = 10
POLL_S = 0.1
NODES = ("n1", "n2", "n3", "n4")
PORTS = range(20000, 32000)  # below those that Linux gives to outgoing connections
MAX_FOLDER_LENGTH = 80  # the path of a socket is limited to 107 bytes
COMMAND = f"python3 {sys.argv[0]}"
# Which daemons end first; whatever is left of the jobs by then has survived SLURM's own SIGKILL: no more waiting
JOBS_TURN = 1
STOP_TURNS = {"slurmctld": 0, "slurmd": 0, "slurmstepd": JOBS_TURN, "slurmdbd": 2, "mariadbd": 3, "munged": 4}

NOTE = "release"  # a file: in which root the cluster runs
MARK = "# Written by slurm/dev/cluster.py\n"  # start and stop clear no folder without it
SLURM_CONF = (
    MARK
    + """\
ClusterName=dev
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
{binding}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/run/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
MailProg=/bin/true

# Short times: a drill should take seconds
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdTimeout=20
KillWait=5
MinJobAge=600
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1500
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{proctrack}
{accounting}

NodeName=DEFAULT CPUs=4 CoresPerSocket=4 RealMemory=6000 Gres=gpu:2
{nodes}
PartitionName=dev Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""
)
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
PROCTRACK = {
    "linuxproc": "ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none",
    "cgroup": "ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup",
}
ACCOUNTING = {
    "on": """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd_port}
AccountingStoragePass={folder}/run/munge.socket
AccountingStorageTRES=gres/gpu""",
    "off": "AccountingStorageType=accounting_storage/none",
}
GRES_CONF = """\
AutoDetect=off
Name=gpu File={folder}/dev/nvidia[0-1]
"""
SLURMDBD_CONF = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd_port}
{binding}
SlurmUser=root
AuthInfo={folder}/run/munge.socket
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
"""
MY_CNF = """\
[mysqld]
user=root
datadir={folder}/database
tmpdir={folder}/run
socket={folder}/run/mariadb.socket
pid-file={folder}/run/mariadbd.pid
skip-networking
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
"""
SETTING = re.compile(r"(?!NodeName|PartitionName)[A-Za-z]+=.+", re.IGNORECASE)
FILES = {  # slurm.conf first: its mark lets `stop` clear the folder whatever happens afterwards
    "slurm.conf": SLURM_CONF,
    "gres.conf": GRES_CONF,
    "cgroup.conf": cgroups.CONF[cgroups.here() or 1],
    "slurmdbd.conf": SLURMDBD_CONF,
    "my.cnf": MY_CNF,
}


def start(folder: Path, accounting: str, proctrack: str, settings: Sequence[str]) -> None:
    """Start a cluster in ``folder``; if it does not come up, nothing of it stays behind."""
    missing = debian.missing_programs()
    require(not missing, f"{', '.join(missing)} not found: run `{COMMAND} install` first")
    require_usable(folder)
    require_possible(accounting, proctrack)
    for line in settings:
        wanted = "KEY=VALUE, not of nodes or partitions"
        require(SETTING.fullmatch(line) is not None, f"--set is {line}, but must be {wanted}")
    folder.mkdir(parents=True, exist_ok=True)
    lock(folder)
    require(not processes(folder), f"a cluster already runs in {folder}: stop it first, or give another --dir")
    clear(folder)
    try:
        with reserved_ports(2 + len(NODES)) as ports:
            write_files(folder, accounting, proctrack, ports, settings)
            start_daemons(folder, accounting, proctrack)
    except BaseException:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave half of it running
        shut_down(folder)
        clear(folder)
        folder.rmdir()
        raise
    if release := release_of(folder):
        print(f"# its commands: {COMMAND} run --release {release} -- bash")
    print(f"# to stop it: {COMMAND} stop --dir {folder}\nexport SLURM_CONF={folder}/slurm.conf")


def require_usable(folder: Path) -> None:
    """Refuse a folder whose name SLURM's files cannot hold, or that holds anything but an earlier cluster."""
    require(
        re.fullmatch(r"[A-Za-z0-9/._-]+", str(folder)) is not None and len(str(folder)) <= MAX_FOLDER_LENGTH,
        f"--dir is {folder}, but must be at most {MAX_FOLDER_LENGTH} of the characters A-Z a-z 0-9 . _ - /",
    )
    if folder.exists():
        require(folder.is_dir() and folder.stat().st_uid == 0, f"--dir is {folder}, but must be a folder of root")
        require(is_cluster(folder) or not any(folder.iterdir()), f"{folder} holds other files: give another --dir")


def require_possible(accounting: str, proctrack: str) -> None:
    """Refuse accounting where slurmdbd would end at once, and control groups that count no memory."""
    if accounting == "on" and debian.needs_older_client():
        found = debian.older_client()
        bad = f"slurmdbd ends under libmariadb3 {debian.FIRST_BAD_CLIENT} and later"
        require(found is not None, f"{bad}: run `{COMMAND} install` for an older one, or start with --accounting off")
        print(f"# {bad}: it gets the older one in {found}", file=sys.stderr)
    if proctrack == "cgroup":
        found_version = cgroups.here()
        require(found_version is not None, f"{cgroups.MISSING}: use --proctrack linuxproc")
        print(f"# control groups of version {found_version}, the only ones here that limit memory", file=sys.stderr)


def is_cluster(folder: Path) -> bool:
    conf = folder / "slurm.conf"
    return conf.is_file() and conf.read_text().startswith(MARK)


def lock(folder: Path) -> None:
    """Refuse a second start or stop in the same folder until this command ends, which releases the lock."""
    try:
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another start or stop is at work in {folder}: wait for it") from None


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Hold free ports until the daemons listen there, so that no cluster started meanwhile takes them."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.sample(PORTS, len(PORTS)):
            holder = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                holder.bind(("", port))
                # Set only now: the daemons, which set it before they bind, may share the port; other holders may not
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                ports.append(port)
            if len(ports) == count:
                yield ports
                return
    raise ClusterError(f"fewer than {count} ports are free between {PORTS.start} and {PORTS.stop}")


def write_files(folder: Path, accounting: str, proctrack: str, ports: list[int], settings: Sequence[str]) -> None:
    """Write the settings of all daemons, munge's key and the files that stand for GPUs."""
    slurmctld_port, slurmdbd_port, *node_ports = ports
    values = {
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "binding": binding(),
        "slurmctld_port": slurmctld_port,
        "slurmdbd_port": slurmdbd_port,
        "proctrack": PROCTRACK[proctrack],
    }
    lines = (NODE.format(name=name, port=port, **values) for name, port in zip(NODES, node_ports, strict=True))
    values["nodes"] = "\n".join(lines)
    values["accounting"] = ACCOUNTING[accounting].format(**values)
    for name, template in FILES.items():
        (folder / name).write_text(template.format(**values))
    (folder / "slurm.conf").write_text(with_settings((folder / "slurm.conf").read_text(), settings))
    (folder / NOTE).write_text(os.environ.get(debian.VARIABLE, ""))
    (folder / "slurmdbd.conf").chmod(0o600)  # slurmdbd refuses any other mode
    (folder / "munge.key").touch(mode=0o600)
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    for name in ("cgroup", "database", "dev", "hierarchy", "log", "run", "spool", "state"):
        (folder / name).mkdir()
    for name in ("nvidia0", "nvidia1"):
        (folder / "dev" / name).touch()


def with_settings(conf: str, settings: Sequence[str]) -> str:
    """slurm.conf with further lines; earlier ones of the same keys, which SLURM compares without case, are left out."""
    keys = {line.split("=")[0].lower() for line in settings}
    kept = [line for line in conf.splitlines() if line.split("=")[0].lower() not in keys]
    return "\n".join([*kept, *settings]) + "\n"


def binding() -> str:
    """The line that keeps SLURM to the loopback network; SLURM can only listen where the host's name points."""
    host = socket.gethostname()
    with contextlib.suppress(OSError):
        if socket.gethostbyname(host) == "127.0.0.1":
            return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    print(f"listening on all interfaces (munge keeps strangers out): {host} is not 127.0.0.1 here", file=sys.stderr)
    return ""


def start_daemons(folder: Path, accounting: str, proctrack: str) -> None:
    """Start the daemons in the order they need each other, each as soon as the one before answers."""
    if proctrack == "cgroup":
        cgroups.mount(folder, cgroups.here() or 1)
    startup = Startup(folder)
    start_munge(startup)
    if accounting == "on":
        start_database(startup)
    startup.launch("slurmctld", "slurmctld", "-D", "-c")
    startup.wait_for("slurmctld", lambda: startup.asked("scontrol", "ping").returncode == 0)
    for name in NODES:
        startup.launch(name, "slurmd", "-D", "-N", name)
    nodes = ("sinfo", "--noheader", "--Node", "--format=%T")
    startup.wait_for("n1", lambda: set(startup.asked(*nodes).stdout.split()) == {"idle"})


def start_munge(startup: Startup) -> None:
    run = startup.folder / "run"
    files = [f"--{kind}-file={run}/munged.{kind}" for kind in ("pid", "seed", "log")]
    files += [f"--key-file={startup.folder}/munge.key", f"--socket={run}/munge.socket"]
    # --force: munged refuses a folder inside a private one, which would only keep other users out
    startup.launch("munged", "munged", "--foreground", "--force", "--origin=127.0.0.1", *files)
    startup.wait_for("munged", (run / "munge.socket").is_socket)


def start_database(startup: Startup) -> None:
    """Start MariaDB and slurmdbd, and make the cluster known there: sacct answers from then on."""
    settings = f"--defaults-file={startup.folder}/my.cnf"
    installation = startup.launch("database", "mariadb-install-db", settings)
    startup.wait_for("database", lambda: installation.poll() == 0)
    startup.launch("mariadbd", "mariadbd", settings)
    startup.wait_for("mariadbd", (startup.folder / "run" / "mariadbd.pid").is_file)
    client = debian.older_client()
    library = ("env", f"LD_LIBRARY_PATH={client}") if client else ()
    startup.launch("slurmdbd", *library, "slurmdbd", "-D")
    add = ("sacctmgr", "--immediate", "add", "cluster", "dev")
    startup.wait_for("slurmdbd", lambda: startup.asked(*add).returncode == 0)


class Startup:
    """The daemons started so far, and the moment by which the last must answer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.deadline = time.monotonic() + START_LIMIT_S
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.last_answer = ""

    def launch(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a daemon in a session of its own, so that it outlives this command."""
        with (self.folder / "log" / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                env=environment(self.folder),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.daemons[name]

    def asked(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one of SLURM's tools, and keep what it said for a report of failure."""
        done = ask(self.folder, *command)
        self.last_answer = done.stderr + done.stdout
        return done

    def wait_for(self, name: str, is_ready: Callable[[], bool]) -> None:
        """Wait until a daemon is ready.

        Raises: ClusterError with the end of its log, if any daemon ended by itself or the time is over.
        """
        while not is_ready():
            for other, daemon in self.daemons.items():
                if daemon.poll() not in (None, 0):
                    raise ClusterError(f"{other} ended with status {daemon.returncode}\n{self.log_tail(other)}")
            if time.monotonic() > self.deadline:
                raise ClusterError(f"{name} was not ready {START_LIMIT_S} s after the start\n{self.log_tail(name)}")
            time.sleep(POLL_S)

    def log_tail(self, name: str) -> str:
        lines = (self.folder / "log" / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join([*lines[-15:], self.last_answer]).strip()


def environment(folder: Path) -> dict[str, str]:
    """The environment of all daemons and tools: nothing of the caller's, which may belong to another cluster."""
    return {
        "PATH": debian.SYSTEM_PATH,
        "LC_ALL": "C.UTF-8",
        "MYSQL_UNIX_PORT": f"{folder}/run/mariadb.socket",  # slurmdbd.conf cannot name the database's socket
        "SLURM_CONF": f"{folder}/slurm.conf",  # last: a slurmstepd writes its title over the first ones
    }


def ask(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=TOOL_LIMIT_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} got no answer in {TOOL_LIMIT_S} s")


def processes(folder: Path) -> dict[int, str]:
    """Every living process of the cluster, with its name: the daemons, and whatever its jobs left behind.

    They are known by the SLURM_CONF in their environment or by their cgroup, so a daemon restarted by hand counts too,
    and a stranger with a dead daemon's pid does not. A shell from which jobs are submitted has no SLURMD_NODENAME.
    """
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look
            name = (entry / "comm").read_text().strip()
            variables = (entry / "environ").read_bytes().split(b"\0")
            is_ours = f"SLURM_CONF={folder}/slurm.conf".encode() in variables
            in_job = any(variable.startswith(b"SLURMD_NODENAME=") for variable in variables)
            in_cgroup = cgroups.holds(folder, (entry / "cgroup").read_text())
            if in_cgroup or (is_ours and (in_job or name in STOP_TURNS)):
                found[int(entry.name)] = name
    return found


def stop(folder: Path, keep: bool) -> None:
    """End the cluster in ``folder`` and remove the folder; with ``keep``, its logs and slurm.conf stay."""
    if not folder.is_dir() or not is_cluster(folder):
        print(f"no cluster in {folder}")
        return
    lock(folder)
    shut_down(folder)
    clear(folder, keep=("log", "slurm.conf") if keep else ())
    if not keep:
        folder.rmdir()


def shut_down(folder: Path) -> None:
    """Cancel the jobs, then end all processes, the daemons that others need last."""
    if "slurmctld" in processes(folder).values():
        cancel_jobs(folder)
    for turn in sorted(set(STOP_TURNS.values())):
        end_turn(folder, turn)


def cancel_jobs(folder: Path) -> None:
    """Cancel all jobs and give them their time to end."""
    query = ("squeue", "--noheader", "--states=PD,R,S,CF,CG", "--format=%A")
    deadline = time.monotonic() + STOP_LIMIT_S
    ask(folder, "scancel", "--quiet", *ask(folder, *query).stdout.split())
    while ask(folder, *query).stdout and time.monotonic() < deadline:
        time.sleep(POLL_S)


def end_turn(folder: Path, turn: int) -> None:
    """Send SIGTERM to the processes of one turn, SIGKILL after a while, and return when all are gone."""
    begun = time.monotonic()
    told: set[int] = set()
    while left := {pid for pid, name in processes(folder).items() if STOP_TURNS.get(name, JOBS_TURN) == turn}:
        waited_s = time.monotonic() - begun
        if waited_s > 2 * STOP_LIMIT_S:
            raise ClusterError(f"processes {sorted(left)} of {folder} outlive SIGKILL")
        kill = turn == JOBS_TURN or waited_s > STOP_LIMIT_S
        for pid in left if kill else left - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)
        told |= left
        time.sleep(POLL_S)


def clear(folder: Path, keep: tuple[str, ...] = ()) -> None:
    """Unmount and delete what a cluster wrote into its folder."""
    cgroups.unmount(folder)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "slurm.conf"):  # the mark goes last
        if path.name in keep:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def status(folder: Path) -> None:
    """Print the cluster's processes and nodes.

    Raises: ClusterError if none runs there.
    """
    found = processes(folder)
    if not found:
        raise ClusterError(f"no cluster runs in {folder}")
    print("\n".join(f"{pid:8} {name}" for pid, name in sorted(found.items())))
    print(ask(folder, "sinfo").stdout, end="")


def release_of(folder: Path) -> str | None:
    """The release whose root a cluster was started in; None where it was this machine's own SLURM, or there is none."""
    noted = folder / NOTE
    return noted.read_text().strip() or None if noted.is_file() and is_cluster(folder) else None


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """What the command line asks for, and the command after ``--``, if any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("install", "start", "stop", "status", "run", "remove"))
    parser.add_argument("--release", choices=debian.RELEASES, help="of Debian (default: this machine's own SLURM)")
    default = Path(tempfile.gettempdir()) / "cac-dev-slurm"
    parser.add_argument("--dir", type=Path, default=default, help="the cluster's folder (default: %(default)s)")
    parser.add_argument("--accounting", choices=tuple(ACCOUNTING), default="on")
    parser.add_argument("--proctrack", choices=tuple(PROCTRACK), default="linuxproc")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a line of slurm.conf")
    parser.add_argument("--keep", action="store_true", help="stop: keep the logs and slurm.conf")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments, command = parser.parse_args(words[:end]), words[end + 1 :]
    named = arguments.release is not None or arguments.action not in ("run", "remove")
    if not named or (arguments.action == "run") != bool(command):
        parser.error("wanted: run --release NAME -- COMMAND, or remove --release NAME")
    return arguments, command


def act(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    """Do what is asked; what concerns a release is done in its root, by this script started there."""
    folder: Path = arguments.dir.resolve()
    release = arguments.release or (release_of(folder) if arguments.action in ("stop", "status") else None)
    elsewhere = release is not None and not debian.is_here(release)
    match arguments.action:
        case "remove":
            debian.remove_root(arguments.release)
        case "install" if elsewhere:
            debian.make_root(arguments.release)
        case "run":
            debian.enter(arguments.release, command)
        case _ if elsewhere:
            require(debian.is_seen_inside(folder), f"--dir is {folder}, which is not seen in the root of {release}")
            debian.enter(str(release), ["/usr/bin/python3", *sys.argv])
        case "install":
            debian.install()
        case "start":
            start(folder, arguments.accounting, arguments.proctrack, arguments.set)
        case "stop":
            stop(folder, arguments.keep)
        case _:
            status(folder)


def main() -> int:
    arguments, command = parse_arguments()
    os.umask(0o022)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a start that is told to end cleans up first
    try:
        require(os.geteuid() == 0, "the daemons and their packages need root: run this with sudo")
        act(arguments, command)
    except (UserError, ClusterError) as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
