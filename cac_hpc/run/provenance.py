"""Where a result comes from: version, packages, command, host, and the run's own copy of the code.

The copy is made with the run, so that later edits do not reach its jobs. A file that is missing ends a job; one that
was edited does not, for somebody may have corrected an error, but is noted.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cac_hpc
from cac_hpc.run import digests, disk, ledger, looks
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError

# what says nothing about the place where the run was made: no command, host or path, and no text of uncommitted changes
SHAREABLE = ("run_id", "version", "git_commit", "code_sha256", "python", "packages", "created", looks.KEY)
COPIED = ("jobs", "slurm")
SITES_OWN = "slurm/env.sh"  # what a site's jobs need before Python starts: may change while a run is under way
SHOWN = 3  # files that a message names


def collect(source: Path, folder: Path, made: Path) -> dict[str, Any]:
    """What another person needs to repeat the run.

    Args:
        source: the checkout that was started; without git, commit and changes are None. folder: of the run. made: where
            it is made, until it gets this name.
    """
    from importlib import metadata  # not for a status, whose start it would be a sixteenth of

    return {
        **identity(folder, made),
        "version": cac_hpc.__version__,
        "git_commit": _git(source, "rev-parse", "HEAD"),
        "git_diff": _git(source, "diff", "HEAD"),
        "command": shlex.join([sys.executable, *sys.argv]),
        "host": platform.node(),
        "python": platform.python_version(),
        "packages": {found.name: found.version for found in sorted(metadata.distributions(), key=lambda x: x.name)},
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def identity(folder: Path, made: Path) -> dict[str, Any]:
    """By what the jobs of a run are known in the queue, and the folder that this is valid for, by name and inode.

    A folder that was moved keeps one of them, mostly; a copy has neither.
    """
    return {"run_id": os.urandom(4).hex(), "folder": str(folder), "inode": made.stat().st_ino}


def shareable(collected: dict[str, Any]) -> dict[str, Any]:
    """What may leave the site, and the names of what was left out; of uncommitted changes a digest stays."""
    kept = {key: collected[key] for key in SHAREABLE if key in collected}
    changes = collected.get("git_diff")
    return {
        **kept,
        "git_diff_sha256": digests.bytes_sha256(changes.encode()) if changes else None,
        "left_out": sorted(set(collected) - set(kept)),
    }


def _git(source: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def take(source: Path, target: Path) -> dict[str, Any]:
    """Copy the package that is running and the scripts of the checkout, so that later edits do not reach the jobs.

    Returns: a digest of all that was copied, and those of the files.
    """
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "dev")
    shutil.copytree(Path(cac_hpc.__file__).parent, target / "cac_hpc", ignore=skipped)
    for name in COPIED:
        shutil.copytree(source / name, target / name, ignore=skipped)
    files = _files(target)
    return {"code_sha256": digests.content_sha256(files), "code_files": files}


def check_complete(root: Path) -> None:
    """No file of the run's code is missing.

    Raises: InputError naming those that are, and what to do.
    """
    if fault := incomplete(RunPaths(root)):
        raise InputError(fault)


def incomplete(run: RunPaths) -> str | None:
    """Which files of the run's code are missing, and what to do; None if none is."""
    if not (missing := _missing(run)):
        return None
    return (
        f"{run.code}: {_listed(missing)} missing, as where a scratch file system is purged; "
        f"python jobs/launch_cv.py --resume {shlex.quote(str(run.root))} puts back what the same version still has"
    )


def restore(run: RunPaths, source: Path) -> list[str]:
    """Put back missing files of the run's code, as they were; returns their names.

    Raises: InputError if the package that is running, or the checkout, has others.
    """
    wanted, missing = _recorded(run), _missing(run)
    origin = {name: _origin(source, name) for name in missing}
    others = [name for name, path in origin.items() if not path.is_file() or digests.file_sha256(path) != wanted[name]]
    if others:
        commit = disk.read_json(run.provenance).get("git_commit")
        version = f"commit {commit}" if commit else "the version that made the run (provenance.json)"
        raise InputError(
            f"{run.code}: {_listed(missing)} missing, and another version of {', '.join(others[:SHOWN])} runs here; "
            f"check out {version}, and run this from there"
        )
    for name, path in origin.items():
        disk.write_bytes(run.code / name, path.read_bytes())
    return missing


def note_changes(run: RunPaths) -> list[str]:
    """Files of the run's code that were edited or added since it was copied; each change is noted once in the run.

    Somebody may have mended an error: that is allowed, and must show.
    """
    wanted = _recorded(run)
    found = _files(run.code) if wanted else {}
    changed = {name: digest for name, digest in found.items() if wanted.get(name) != digest and name != SITES_OWN}
    noted = {(line.get("file"), line.get("sha256")) for line in _noted(run)}
    for name, digest in changed.items():
        if (name, digest) not in noted:
            ledger.append(run.code_changes, file=name, sha256=digest, job=ledger.whereabouts()["job"])
    return sorted(changed)


def changes(run: RunPaths) -> list[str]:
    """Files of the run's code that were noticed to be changed while jobs ran or were started."""
    return sorted({str(line.get("file")) for line in _noted(run)})


def shareable_code(run: RunPaths) -> dict[str, str]:
    """What a report says of such files; names that people have given to others stay at the site."""
    ours = [name for name in changes(run) if name in _recorded(run)]
    others = len(changes(run)) - len(ours)
    listed = ", ".join([*ours, *([f"{others} added"] if others else [])])
    return {"code_changed": listed} if listed else {}


def told(changed: Sequence[str]) -> str:
    """A sentence on files that were changed."""
    return f"{_listed(changed)} not as copied when the run was made; results may come of it (code_changes.jsonl)"


def check_origin(root: Path) -> None:
    """A script of the run's code works with the package beside it, not with one that is installed or on PYTHONPATH.

    Raises: InputError naming the package that would run.
    """
    script, package = Path(sys.argv[0]).resolve(), Path(cac_hpc.__file__).resolve().parent
    own = (RunPaths(root).code / "cac_hpc").resolve()
    if script.is_relative_to(own.parent) and package != own:
        raise InputError(f"{script}: runs with the package {package}, wanted {own}; look for a .pth file that loads it")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} {'is' if len(names) == 1 else 'are'}"


def _files(code: Path) -> dict[str, str]:
    """Digests of the files of a copy, by their names; what Python keeps beside them is none."""
    found = sorted(path for path in code.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(code)): digests.file_sha256(path) for path in found}


def _recorded(run: RunPaths) -> dict[str, str]:
    """The files as they were copied; none of a run of an earlier version."""
    try:
        found = dict(disk.read_json(run.provenance).get("code_files") or {})
        return {name: digest for name, digest in found.items() if ".." not in Path(name).parts and name[:1] != "/"}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _missing(run: RunPaths) -> list[str]:
    return [name for name in _recorded(run) if not (run.code / name).is_file()]


def _origin(source: Path, name: str) -> Path:
    """Where `take` has a file from."""
    return (Path(cac_hpc.__file__).parents[1] if name.startswith("cac_hpc/") else source) / name


def _noted(run: RunPaths) -> list[dict[str, Any]]:
    return [line for line in ledger.lines(run.code_changes) if isinstance(line, dict)]
