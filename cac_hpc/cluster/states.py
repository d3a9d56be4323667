"""What every state of SLURM's, and every reason for waiting, means for a task: one table of each.

In commands RUN stands for the run folder, JOB for the job, FIELD for the stage's part of the cluster settings.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal[
    "planned",  # not in the queue yet
    "queued",
    "held",  # in the queue, but it does not start before somebody acts
    "running",
    "suspended",
    "stopped",  # ended without harm, can go on
    "done",
    "failed",
    "gone",  # left the queue without a result, and nobody knows why
    "unknown",  # nobody answers now
]
OPEN: tuple[State, ...] = ("queued", "held", "running", "suspended", "unknown")  # a job may still work on it
RESUME = "python jobs/launch_cv.py --resume RUN"
CANCEL_AND_RESUME = f"python jobs/cancel.py RUN && {RESUME}"
RELEASE = "scontrol release JOB"


class Meaning(NamedTuple):
    """Of a state of SLURM's: for a job in the queue, for one that has left it without a result, and in words."""

    queued: State
    left: State
    words: str


STATES = {
    "BOOT_FAIL": Meaning("queued", "failed", "its node did not boot"),
    "CANCELLED": Meaning("running", "failed", "cancelled"),
    "COMPLETED": Meaning("running", "gone", "SLURM calls it completed, but its result is not there"),
    "COMPLETING": Meaning("running", "gone", "is ending"),
    "CONFIGURING": Meaning("queued", "gone", "its nodes are being made ready"),
    "DEADLINE": Meaning("running", "failed", "not done by its deadline"),
    "FAILED": Meaning("running", "failed", "failed"),
    "NODE_FAIL": Meaning("queued", "failed", "its node failed"),
    "OUT_OF_MEMORY": Meaning("running", "failed", "out of memory"),
    "PENDING": Meaning("queued", "gone", "waits"),
    "PREEMPTED": Meaning("queued", "failed", "preempted by a job of higher priority"),
    "REQUEUED": Meaning("queued", "gone", "starts again"),
    "REQUEUE_FED": Meaning("queued", "gone", "starts again on a cluster of the federation"),
    "REQUEUE_HOLD": Meaning("held", "gone", "put back into the queue and held"),
    "RESIZING": Meaning("running", "gone", "is changing its size"),
    "RESV_DEL_HOLD": Meaning("held", "gone", "held, because its reservation was deleted"),
    "REVOKED": Meaning("unknown", "gone", "another cluster of the federation has taken it"),
    "RUNNING": Meaning("running", "gone", "runs"),
    "SIGNALING": Meaning("running", "gone", "is being signalled"),
    "SPECIAL_EXIT": Meaning("held", "gone", "put back into the queue and held, because of its exit code"),
    "STAGE_OUT": Meaning("running", "gone", "is writing back its files"),
    "STOPPED": Meaning("suspended", "gone", "stopped by a signal"),
    "SUSPENDED": Meaning("suspended", "gone", "suspended"),
    "TIMEOUT": Meaning("running", "failed", "over its time limit"),
}
FINAL = frozenset(state for state, meaning in STATES.items() if meaning.left == "failed" or state == "COMPLETED")
WAITS: tuple[tuple[str, State, str, str | None], ...] = (  # why a job is pending, by the first pattern that fits
    (r"JobHeldUser", "held", "held by its owner", RELEASE),
    (r"JobHeldAdmin", "held", "held by an administrator", f"{RELEASE} (as an administrator)"),
    (r"launch failed requeued held", "held", "held: its launch failed, perhaps of a bad node", RELEASE),
    (r"requeued.* held|JobHoldMaxRequeue", "held", "put back into the queue and held", RELEASE),
    (r"DependencyNeverSatisfied", "held", "never starts: what it waits for did not end well", CANCEL_AND_RESUME),
    (
        r"PartitionTimeLimit|MaxWallDuration",
        "held",
        "never starts: asks for more time than is allowed",
        f"{CANCEL_AND_RESUME} --cluster.FIELD.time_min LESS",
    ),
    (
        r"PartitionNodeLimit|PerJob|MaxMemPerLimit|BadConstraints|NotAllowed|Invalid(Account|QOS)|PartitionConfig",
        "held",
        "never starts: asks for what it does not get here",
        f"{CANCEL_AND_RESUME} with other --cluster settings",
    ),
    (r"Dependency", "queued", "waits for the stage before", None),
    (r"BeginTime", "queued", "starts again in a moment", None),
    (r"Priority|Resources|None", "queued", "waits for its turn", None),
    (r"JobArrayTaskLimit", "queued", "waits for other tasks of its array (cluster.array_parallelism)", None),
    (r"ReqNodeNotAvail|DOWN|Partition(Down|Inactive)", "queued", "the nodes it could use are down", "sinfo -R"),
    (r"Limit|QOS|Assoc", "queued", "waits for a limit of the site", None),
)
