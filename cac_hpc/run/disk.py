"""How files come to the disk: each is whole under its final name, a full disk says so, and no link leads elsewhere."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from cac_hpc.settings.errors import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it


def no_check() -> None:
    """Nothing stands in the way of a file's final name."""


@contextmanager
def atomic(path: Path, check: Callable[[], None] = no_check) -> Iterator[Path]:
    """Yield a scratch name beside ``path``; when the block ends well, its file is on disk under the final name.

    The scratch name is new each time, so the left-overs of a killed attempt are never in the way.

    Args:
        check: called when the file is whole, right before it gets its name; what it raises prevents that.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            sync(scratch)
            check()
            scratch.replace(path)
            sync(path.parent)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the operating system refuses in the block is told with this path where it has none; a full disk with what
    to do, also where a library has told of it in words of its own."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        cause = _cause(error) if type(error) in (RuntimeError, ValueError) else error
        if not isinstance(cause, OSError) or (cause is not error and cause.errno not in FULL):
            raise
        if cause.errno in FULL:
            raise OSError(cause.errno, no_space(cause.errno), str(cause.filename or path)) from error
        if cause.filename is None:
            raise OSError(cause.errno or errno.EIO, cause.strerror or str(cause), str(path)) from error
        raise


def no_space(code: int) -> str:
    """What a full disk, or a used quota, means to the user."""
    return f"{os.strerror(code)}; make room there, then start this again: nothing that is done is lost"


def _cause(error: BaseException) -> BaseException | None:
    """The operating system's error that an exception of a library followed from."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def open_own(path: Path, mode: str, buffering: int = -1) -> IO[Any]:
    """Open a file under a name that others know, to write into it: the file itself, never what a link leads to.

    Args:
        mode, buffering: as `open` takes them.
    Raises: InputError if it is a link, a pipe or anything else but a plain file.
    """

    def opener(name: str, flags: int) -> int:
        if path.is_symlink():
            raise _not_own(path, "a link")
        try:  # a link that came just now is not followed, and a pipe that nobody reads does not wait
            opened = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _not_own(path, "a pipe or socket") if error.errno == errno.ENXIO else error from None
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise _not_own(path, "a pipe, folder or device")
        return opened

    file: IO[Any] = open(path, mode, buffering, None if "b" in mode else "utf-8", opener=opener)  # noqa: SIM115
    return file


def _not_own(path: Path, found: str) -> InputError:
    return InputError(f"{path}: found {found}, wanted a plain file; remove it, then start the same command again")


def write_bytes(path: Path, content: bytes, check: Callable[[], None] = no_check) -> None:
    with atomic(path, check) as scratch, scratch.open("xb") as file:
        file.write(content)


def write_text(path: Path, text: str, check: Callable[[], None] = no_check) -> None:
    write_bytes(path, text.encode("utf-8"), check)


def write_json(path: Path, content: Any, check: Callable[[], None] = no_check) -> None:
    """Write strict JSON (no NaN), readable by people."""
    write_text(path, json_text(content), check)


def json_text(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises: OSError; ValueError if it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("lists or objects in each other without end") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where it cannot be read."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sync(path: Path) -> None:
    """Have a file or folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
