"""Whose a job is: by the run's name for it and by its user, or by the script and folder that it was submitted with.

A number proves nothing: a site's wrapper may print another job's, and numbers start again when a controller is set up
anew. So no job is recorded, waited for, signalled, started again or cancelled before SLURM has said that it is ours.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cac_hpc.cluster.queue_records import Accounted, Queued
from cac_hpc.run import disk, provenance
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES

STAGE_NAMES = "|".join(stage.name for stage in STAGES)
NAME = re.compile(rf"cac-({STAGE_NAMES})(?:-([0-9a-f]{{8}}))?")
TOKEN = re.compile(r"[0-9a-f]{8}")
OLDER = timedelta(hours=2)  # than what we know: a job of the same number from before


@dataclass(frozen=True)
class Owner:
    """What a run's jobs are known by.

    root: the run folder. token: of the run, in the names of the jobs that its launcher submits; None of a run that has
    none, and of a folder that was copied from that of another run. users: whose jobs they may be: of who asks, and of
    whose run it is.
    """

    root: Path
    token: str | None
    users: frozenset[int]

    def submitted(self, job: Queued) -> bool:
        """Whether it is a job that the run's launcher has submitted."""
        named = NAME.fullmatch(job.name)
        return self._is_of_user(job) and bool(named and self.token and named[2] == self.token)

    def may_act_on(self, job: Queued) -> bool:
        """Whether it is a job of the run, also one that was submitted by hand with the scripts of slurm/.

        Those have the stage alone in their names; the run is the argument of their script.
        """
        named = NAME.fullmatch(job.name)
        by_hand = named is not None and named[2] is None and self._is_of_user(job) and self._is_argument_of(job)
        return self.submitted(job) or by_hand

    def _is_argument_of(self, job: Queued) -> bool:
        """Whether the script of a job was given this run folder."""
        _, found, argument = job.command.partition(".sbatch ")
        return bool(found) and os.path.realpath(Path(job.folder, argument)) == os.path.realpath(self.root)

    def _is_of_user(self, job: Queued) -> bool:
        return job.user in {str(user) for user in self.users}


def owner_of(run: RunPaths) -> Owner:
    return Owner(run.root.absolute(), token_of(run), frozenset({os.getuid(), run.ledger.stat().st_uid}))


def claim(run: RunPaths) -> str | None:
    """Have the jobs of this run folder known by names of its own; returns what to say if they were not."""
    known = disk.read_object(run.provenance)
    if token_of(run) is None:
        disk.write_json(run.provenance, known | provenance.identity(run.root, run.root))
        why = f"is a copy of {known['folder']}" if known.get("folder") else "had no valid run_id"
        return f"{run.root} {why}: its jobs have names of their own from now on"
    if known.get("folder") != str(run.root):  # moved
        disk.write_json(run.provenance, known | {"folder": str(run.root)})
    return None


def token_of(run: RunPaths) -> str | None:
    """What the run's jobs have in their names; None of a run that has none, or whose folder is a copy of another's."""
    known = disk.read_object(run.provenance)
    token, folder = known.get("run_id"), known.get("folder")
    if not isinstance(token, str) or TOKEN.fullmatch(token) is None:
        return None
    is_here = folder is None or os.path.realpath(str(folder)) == os.path.realpath(run.root)
    return token if is_here or known.get("inode") == run.root.stat().st_ino else None


def stage_of(job: Queued) -> str:
    """The stage that a job of a run does, by its name."""
    return job.name.split("-")[1]


def job_name(run: RunPaths, stage: str) -> str:
    """What the job of a stage is called, when the launcher submits it."""
    return f"cac-{stage}-{token_of(run)}"


def is_ours(record: Queued | Accounted, token: str | None, since: str | None) -> bool:
    """Whether a record is of our job, not of one that had the same number before.

    Args:
        token: that the run's jobs have in their names. since: when we submitted it, in UTC.
    """
    named = re.fullmatch(r"cac-\w+-([0-9a-f]{8})", record.name)
    if named and named[1] != token:
        return False
    with suppress(ValueError, OverflowError, OSError):  # a time that cannot be read proves nothing
        submitted = datetime.fromisoformat(record.submitted).astimezone(timezone.utc)
        return submitted > datetime.fromisoformat(since or "").astimezone(timezone.utc) - OLDER
    return True
