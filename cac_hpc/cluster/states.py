"""What every state of SLURM 22.05 to 26.05 means for a task: one table."""

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
    "EXPEDITING": Meaning("queued", "gone", "SLURM looks whether to start it again at once"),  # from 25.11 on
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
