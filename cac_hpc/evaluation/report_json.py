"""report.json: every number of a report, from which its page, tables and figures are made."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cac_hpc.results.report import FORMAT_VERSION, Report
from cac_hpc.results.serialization import Damaged, to_json
from cac_hpc.run import disk, escaping
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError, WorkError

MAX_BYTES = 1 << 29  # a hundred times what a hundred thousand patients take
FAULTS = (  # how what is not there, or otherwise than it was written, shows where it is used
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


def write(path: Path, report: Report) -> None:
    """Write report.json, after everything else: it also says that the report is complete."""
    disk.write_json(path, to_json(report))


def read(root: Path) -> dict[str, Any]:
    """What is in the report.json of a run, of whatever version.

    Raises: InputError if the run has no report yet, or what is there is none.
    """
    run = RunPaths(root)
    if not run.report_json.is_file():
        where = f"python jobs/status.py {shlex.quote(str(root))} says where the run stands"
        raise InputError(f"{run.report_json}: there is no report yet; {where}")
    with sound(root):
        return load(run.report_json)


def load(path: Path) -> dict[str, Any]:
    """The object in a report.json, wherever it comes from.

    Raises: OSError; Damaged if it is no strict JSON, holds no object, or more than a report can.
    """
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Damaged(f"has {size} bytes, wanted at most {MAX_BYTES}")
    try:
        found = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_once, parse_constant=_number, parse_float=_number
        )
    except RecursionError:
        raise Damaged("has lists or objects in each other without end, wanted the JSON of a report") from None
    except ValueError as error:
        raise Damaged(f"is no JSON of a report ({error})") from None
    if not isinstance(found, dict):
        raise Damaged(f"holds a {type(found).__name__}, wanted the object of a report")
    return found


@contextmanager
def believed() -> Iterator[None]:
    """Take what cannot be made of a summary in the block for a fault of the summary.

    Raises: Damaged saying what was looked for.
    """
    try:
        yield
    except (InputError, WorkError, Damaged):
        raise
    except FAULTS as error:
        raise Damaged(f"is not as a report is ({type(error).__name__}: {str(error)[:200]})") from error


@contextmanager
def sound(*runs: Path) -> Iterator[None]:
    """The same, of the reports of these runs.

    Raises: InputError naming them, and what makes them again.
    """
    try:
        with believed():
            yield
    except Damaged as error:
        names = " or ".join(str(RunPaths(run).report_json) for run in runs)
        raise InputError(f"{names}: {error}; {' and '.join(map(remake, runs))} makes it again") from error


def remake(root: Path) -> str:
    """The command that makes the report of a run again."""
    return f"python jobs/aggregate.py --run {shlex.quote(str(root))}"


def other_version(content: dict[str, Any]) -> str | None:
    """Which format version a report.json is of, in words, if it is not this one."""
    found = content.get("format_version")
    if found == FORMAT_VERSION:
        return None
    return f"format version {escaping.short(found)}" if "format_version" in content else "no format version"


def _once(pairs: list[tuple[str, object]]) -> object:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"found the number {text[:40]}, wanted finite ones")
    return number
