"""Where a result comes from: version, commit, uncommitted changes, packages, command, host."""

from __future__ import annotations

import platform
import secrets
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import cac_hpc
from cac_hpc.run import digests

# what says nothing about the place where the run was made: no command, host or path, and no text of uncommitted changes
SHAREABLE = ("run_id", "version", "git_commit", "code_sha256", "python", "packages", "created")


def collect(source: Path, folder: Path, made: Path) -> dict[str, Any]:
    """What another person needs to repeat the run.

    Args:
        source: the checkout that was started; without git, commit and changes are None. folder: of the run. made: where
            it is made, until it gets this name.
    """
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
    return {"run_id": secrets.token_hex(4), "folder": str(folder), "inode": made.stat().st_ino}


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
