"""Why a task stands where it stands: codes with fields, and from them the sentence and the command for people.

Everybody else decides by codes and fields. What leaves the run (a report, an archive) is made of `shareable` causes.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import re
import shlex
import traceback
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cac_hpc.machine import processes
from cac_hpc.run import disk
from cac_hpc.run.cause_sentences import SENTENCES
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import slurm_notation

RESUME = "python jobs/launch_cv.py --resume {run}"
NEW_RUN = "python jobs/launch_cv.py --config {run}/config.yaml --run {run}_2"
PACK = "python jobs/pack.py --run {run}"
CANCEL_AND_RESUME = f"python jobs/cancel.py {{run}} && {RESUME}"
RELEASE = "scontrol release {array}"
LOG_AND_RESUME = f"python jobs/status.py {{run}} --log {{stage}}, then {RESUME}"
COMMANDS = {  # that help, where it is not RESUME
    "host_out_of_memory": f"{RESUME} --cluster.{{section}}.mem_gb {{more}}",
    "slurm_out_of_memory": f"{RESUME} --cluster.{{section}}.mem_gb {{more}}",
    "time_limit": f"{RESUME}{{longer}}",
    "no_log_folder": f"make {{run}}/slurm writable on the nodes, then {RESUME}",
    "node_kept": f"rm {{excluded}}, then {RESUME}",
    "job_failed": LOG_AND_RESUME,
    "unknown_end": LOG_AND_RESUME,
    "job_completed": LOG_AND_RESUME,
    "late_accounting": LOG_AND_RESUME,
}
# of the cluster settings, where a stage asks for memory and time
SECTIONS = {"pack": "pack", "trials": "fold", "folds": "fold"}
SHARED = (  # fields that may leave the run; of node, user and file only that there was one, or a name of ours
    "code", "stage", "task", "rank", "program", "place", "signal", "exit_code", "kind", "errno", "line", "device",
    "epoch", "step", "start", "count", "value", "seconds", "elapsed", "limit_bytes", "peak_bytes", "advice", "words",
)  # fmt: skip
A_NODE, A_USER, A_FILE = "a node", "a user", "a file"
MOST = 500  # characters of a free text
KILLS = ("rank_killed", "process_killed")  # by a signal: what others see of it follows from that
MAYBE_MEMORY = ("text", "rank_killed", "rank_died", "rank_silent")
_NAME, _PART = re.compile(r"\{(\w+)\}"), re.compile(r"\[([^\[\]]*\{[^\[\]]*)\]")


@dataclass(frozen=True)
class Cause:
    """Why a task stands where it stands; as text it is the sentence, with what to do where the cause brings that."""

    code: str  # of SENTENCES
    stage: str | None = None
    task: int | None = None
    job: str | None = None  # as SLURM numbers it
    node: str | None = None
    rank: int | None = None
    process: int | None = None  # its number
    program: str | None = None  # what was started
    place: str | None = None  # what the work was at, as "epoch 2 step 7 of 19 (training)"
    signal: str | None = None  # its name
    exit_code: int | None = None  # as Python has it, of a signal its negative number
    kind: str | None = None  # class of the exception
    errno: int | None = None
    line: str | None = None  # of code, as "training.py:33"
    device: str | None = None  # name of the GPU or processor
    file: str | None = None
    user: str | None = None
    epoch: int | None = None
    step: int | None = None
    start: int | None = None  # of the fold, counted from 1
    count: int | None = None  # of what the sentence says
    value: str | None = None  # that was found
    seconds: float | None = None
    elapsed: str | None = None  # as SLURM writes times
    limit_bytes: float | None = None  # that were asked for
    peak_bytes: float | None = None
    studies: str | None = None
    advice: str | None = None  # our own text: what to change
    words: str | None = None  # our own text: what SLURM's word means, what was found
    slurm: str | None = None  # SLURM's own word
    help: str | None = None  # the command that helps, {run} in it for the run folder
    detail: str | None = None  # text of others: it may hold anything
    after: Cause | None = None  # the cause that this one followed from

    def __str__(self) -> str:
        return f"{sentence(self)}; to go on: {self.help.replace('{run}', 'RUN')}" if self.help else sentence(self)

    @property
    def may_be_memory(self) -> bool:
        """Whether the kernel may have ended a process because the memory was used up, as accounting may know."""
        killed = self.code in MAYBE_MEMORY or self.exit_code in (-9, 137) or "SIGKILL" in (self.signal or "")
        return killed or (self.after is not None and self.after.may_be_memory)


def sentence(cause: Cause) -> str:
    """The cause for people."""
    words = _words(cause)

    def part(found: re.Match[str]) -> str:
        wanted, _, otherwise = found[1].partition("|")
        return wanted if all(words.get(name) for name in _NAME.findall(wanted)) else otherwise

    template = _PART.sub(part, SENTENCES[cause.code])
    return _NAME.sub(lambda found: words.get(found[1], "?"), template)


def command(cause: Cause, root: Path) -> str:
    """The command that helps, with the folder of the run in it."""
    places = {"run": root, "excluded": RunPaths(root).excluded}
    words = _words(cause) | {name: shlex.quote(str(path)) for name, path in places.items()}
    return _NAME.sub(lambda found: words.get(found[1], found[0]), cause.help or COMMANDS.get(cause.code, RESUME))


@contextmanager
def in_run(root: Path, **where: Any) -> Iterator[None]:
    """Have the commands of errors that leave the block name the folder of the run.

    Args:
        where: further fields of their causes, as stage and task.
    """
    try:
        yield
    except Exception as error:
        if error.args and isinstance(error.args[0], Cause) and error.args[0].help:
            helps = command(replace(error.args[0], **where), root)
            error.args = (replace(error.args[0], help=helps), *error.args[1:])
        raise


def shareable(cause: Cause, root: Path) -> Cause:
    """The cause as it may leave the run: without nodes, users, processes, folders, and free text of others.

    Args:
        root: the run folder: files in it have names of ours.
    """
    return Cause(
        **{name: getattr(cause, name) for name in SHARED},
        node=cause.node and A_NODE,
        user=cause.user and A_USER,
        file=None if cause.code.startswith("contrast") or not cause.file else _name(cause, root),
        detail=_refusal(cause.errno) if cause.errno else None,
        after=cause.after and shareable(cause.after, root),
    )


def _refusal(code: int) -> str:
    """What the operating system's error means, in its words; with advice, where the disk is full."""
    return disk.no_space(code) if code in disk.FULL else os.strerror(code) if code in errno.errorcode else "refused"


def of(error: BaseException, **where: Any) -> Cause:
    """The cause that an exception carries, or says.

    Args:
        where: fields of the rank that met with it, for exceptions that do not say it themselves.
    """
    own = type(error).__module__.startswith("cac_hpc.")
    frames = traceback.extract_tb(error.__traceback__)
    line = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "nowhere"
    facts: dict[str, Any] = {"kind": type(error).__name__[:60], "line": line}
    if error.args and isinstance(error.args[0], Cause):
        carried: Cause = error.args[0]
        return replace(carried, **facts) if carried.code == "error" else carried
    if own:
        return Cause("error", detail=_text(error), **facts)
    if isinstance(error, OSError) and error.errno and error.strerror:
        code = "disk_full" if error.errno in disk.FULL else "os_error"
        file = None if error.filename is None else str(error.filename)[:MOST]
        return Cause(code, errno=error.errno, detail=str(error.strerror)[:MOST], file=file, **facts, **where)
    return Cause("exception", detail=_text(error) or None, **facts, **where)


def _text(error: BaseException) -> str:
    """What an exception says of itself; that it cannot, if not even that works."""
    try:
        return str(error)[:MOST]
    except Exception:
        return "it does not say why"


def error(detail: str, helps: str) -> Cause:
    """What an error of ours says, and the command that helps, {run} in it for the run folder."""
    return Cause("error", detail=detail, help=helps)


def to_json(cause: Cause) -> dict[str, Any]:
    """Code and fields as plain values; without what it has not."""
    known = {field.name: getattr(cause, field.name) for field in fields(Cause)}
    plain = {name: to_json(value) if isinstance(value, Cause) else value for name, value in known.items()}
    return {name: value for name, value in plain.items() if value is not None}


def from_json(content: Any, depth: int = 20) -> Cause | None:
    """What `to_json` gave, also of a later version that knows more; None if it is no such thing.

    Args:
        depth: how many causes may follow from each other.
    """
    if not depth or not isinstance(content, dict) or not isinstance(content.get("code"), str):
        return None
    known = {name: content[name] for name in _types() if name in content}
    if "after" in known:
        known["after"] = from_json(known["after"], depth - 1) or known["after"]  # damaged, it has the wrong type
    if not all(isinstance(value, _types()[name]) and _is_sane(value) for name, value in known.items()):
        return None
    return Cause(**known) if known["code"] in SENTENCES else Cause("text", detail=f"cause {known['code']}")


def _is_sane(value: object) -> bool:
    """Whether a number is one that can be, and no truth value."""
    return not isinstance(value, bool) and not (isinstance(value, int | float) and not abs(value) < 2**60)


@functools.cache
def _types() -> Mapping[str, Any]:
    """The types of the fields; whole numbers are numbers."""
    hints = typing.get_type_hints(Cause)
    return {name: hint | int if hint == float | None else hint for name, hint in hints.items()}


def _name(cause: Cause, root: Path) -> str:
    """A file by a name that is ours: below the run folder, or of a packed dataset."""
    path, dataset = Path(str(cause.file)), DatasetPaths(root)
    if path.is_relative_to(root) and path != root:
        return str(path.relative_to(root))
    tables = {dataset.plan.name, dataset.seal.name, *(table.name for table in dataset.tables)}
    if path.name in tables or re.fullmatch(r"shard-\d{5}\.(h5|json)", path.name):
        return path.name
    return A_FILE if path.is_absolute() or ".." in path.parts or cause.errno else str(path)


def _words(cause: Cause) -> dict[str, str]:
    """What the templates may name: the fields there are, and phrases made of them."""
    found = {name: str(value) for name, value in to_json(cause).items()}
    found |= {"after": sentence(cause.after)} if cause.after else {}
    found |= {"on_node": f" on {cause.node}"} if cause.node else {}
    if cause.rank is not None:
        found["who"] = f"rank {cause.rank}{found.get('on_node', '')}"
    if cause.exit_code is not None:
        found["ended"] = processes.how_it_ended(cause.exit_code)
    if cause.errno is not None:
        found["refused"] = f"[Errno {cause.errno}] {cause.detail}"
    if cause.seconds is not None:
        found["seconds"] = f"{cause.seconds:.0f}"
    found["the_node"] = A_NODE if cause.node in (None, A_NODE) else f"node {cause.node}"
    found["by"] = cause.signal or (f"the file {cause.file}" if cause.file else "another rank")
    found["by_user"] = f" by {cause.user}" if cause.user else " (SLURM does not say by whom)"
    found["array"] = (cause.job or "?").split("_")[0]
    found["section"] = section = SECTIONS.get(cause.stage or "", "aggregate")
    found["cpus"] = "cpus_per_rank" if section == "fold" else f"{section}.cpus"
    found["longer"] = "" if section == "fold" else f" --cluster.{section}.time_min {_twice(cause.elapsed)}"
    found["limit"] = "an unknown amount" if cause.limit_bytes is None else f"{_gb(cause.limit_bytes)} GB"
    found["more"] = "MORE" if cause.limit_bytes is None else _gb(2 * cause.limit_bytes)
    if cause.peak_bytes is not None:
        found |= {"peak": f"{_gb(cause.peak_bytes)} GB", "used": f"{cause.peak_bytes / 1e6:.0f}"}
    return found


def _twice(elapsed: str | None) -> str:
    """Twice a time as SLURM writes it, in whole minutes."""
    known = slurm_notation.minutes(elapsed or "")
    return f"{math.ceil(2 * known)}" if known and math.isfinite(known) else "MORE"


def _gb(size: float) -> str:
    gb = size / 1024**3
    return f"{gb:.3g}" if gb < 100 else f"{gb:g}"
