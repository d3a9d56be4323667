"""Which jobs are a run's own: by the names that they bear and by whose they are, in SLURM's words alone.

A number proves nothing: a site's wrapper may print another job's, and numbers start again when a controller is set up
anew. So no job is recorded, waited for, signalled, started again or cancelled before SLURM has said that it is ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.cluster.records import Queued
from cac_hpc.run import paths, provenance
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES

STAGE_NAMES = "|".join(stage.name for stage in STAGES)
NAME = re.compile(rf"cac-({STAGE_NAMES})(?:-([0-9a-f]{{8}}))?")


@dataclass(frozen=True)
class Owner:
    """What a run's jobs are known by.

    token: of the run, in the names of the jobs that its launcher submits; None of a run that has none.
    users: whose jobs they may be: of who asks, and of whose run it is.
    is_copy: whether its folder is a copy of that of another run, whose jobs its ledger names.
    """

    token: str | None
    users: frozenset[int]
    is_copy: bool = False

    def submitted(self, job: Queued) -> bool:
        """Whether it is a job that the run's launcher has submitted."""
        named = NAME.fullmatch(job.name)
        return self._is_of_user(job) and bool(named and self.token and named[2] == self.token)

    def may_act_on(self, job: Queued) -> bool:
        """Whether it is a job of the run, also one that was submitted by hand with the scripts of slurm/.

        Those have the stage in their names and no run: the caller has to know the number from the job itself.
        """
        named = NAME.fullmatch(job.name)
        return self._is_of_user(job) and not self.is_copy and bool(named and named[2] in (None, self.token))

    def _is_of_user(self, job: Queued) -> bool:
        return job.user in {str(user) for user in self.users}


def owner_of(run: RunPaths) -> Owner:
    known = _known(run)
    is_copy = _original(run, known) is not None
    token = None if is_copy else known.get("run_id")
    return Owner(token, frozenset({os.getuid(), run.ledger.stat().st_uid}), is_copy)


def claim(run: RunPaths) -> str | None:
    """Have the jobs of this run folder known by names of its own, if it is a copy of a run that is still there.

    Returns: what to say of it.
    """
    known = _known(run)
    original = _original(run, known)
    if original is not None:
        paths.write_json(run.provenance, known | provenance.identity(run.root))
        return f"{run.root} is a copy of {original}: its jobs have names of their own from now on"
    if known.get("run_id") and known.get("folder") != str(run.root):  # moved
        paths.write_json(run.provenance, known | {"folder": str(run.root)})
    return None


def _original(run: RunPaths, known: Mapping[str, Any]) -> Path | None:
    """The run folder that this one was copied from, if it is still there; a folder that was moved has none."""
    folder = Path(known.get("folder") or run.root)
    with suppress(OSError):
        if folder.samefile(run.root):
            return None
    same = known.get("run_id") and _known(RunPaths(folder)).get("run_id") == known.get("run_id")
    return folder if same else None


def _known(run: RunPaths) -> dict[str, Any]:
    """What the run's provenance says; nothing where it cannot be read."""
    try:
        found = paths.read_json(run.provenance)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def stage_of(job: Queued) -> str:
    """The stage that a job of a run does, by its name."""
    return job.name.split("-")[1]


def token_of(run: RunPaths) -> str | None:
    """What the run's jobs have in their names; None of a run that has none, or of a copy of another."""
    return owner_of(run).token


def job_name(run: RunPaths, stage: str) -> str:
    """What the job of a stage is called, when the launcher submits it."""
    return f"cac-{stage}-{token_of(run)}"
