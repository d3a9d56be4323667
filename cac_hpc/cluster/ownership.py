"""Which jobs are a run's own: by the names that they bear and by whose they are, in SLURM's words alone.

A number proves nothing: a site's wrapper may print another job's, and numbers start again when a controller is set up
anew. So no job is recorded, waited for, signalled, started again or cancelled before SLURM has said that it is ours.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from cac_hpc.cluster.records import Queued
from cac_hpc.run import paths
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES

STAGE_NAMES = "|".join(stage.name for stage in STAGES)
NAME = re.compile(rf"cac-({STAGE_NAMES})(?:-([0-9a-f]{{8}}))?")


@dataclass(frozen=True)
class Owner:
    """What a run's jobs are known by.

    token: of the run, in the names of the jobs that its launcher submits; None of a run that has none.
    users: whose jobs they may be: of who asks, and of whose run it is.
    """

    token: str | None
    users: frozenset[int]

    def submitted(self, job: Queued) -> bool:
        """Whether it is a job that the run's launcher has submitted."""
        named = NAME.fullmatch(job.name)
        return self._is_of_user(job) and bool(named and self.token and named[2] == self.token)

    def may_act_on(self, job: Queued) -> bool:
        """Whether it is a job of the run, also one that was submitted by hand with the scripts of slurm/.

        Those have the stage in their names and no run: the caller has to know the number from the job itself.
        """
        named = NAME.fullmatch(job.name)
        return self._is_of_user(job) and bool(named and named[2] in (None, self.token))

    def _is_of_user(self, job: Queued) -> bool:
        return job.user in {str(user) for user in self.users}


def owner_of(run: RunPaths) -> Owner:
    return Owner(token_of(run), frozenset({os.getuid(), run.ledger.stat().st_uid}))


def stage_of(job: Queued) -> str:
    """The stage that a job of a run does, by its name."""
    return job.name.split("-")[1]


def token_of(run: RunPaths) -> str | None:
    """What the run's jobs have in their names; None of a run that has none."""
    try:
        found = paths.read_json(run.provenance).get("run_id")
    except (OSError, ValueError, AttributeError):
        return None
    return str(found) if found else None


def job_name(run: RunPaths, stage: str) -> str:
    """What the job of a stage is called, when the launcher submits it."""
    return f"cac-{stage}-{token_of(run)}"
