"""Signs of life and the pace of a fold: what the status view shows, and how ranks notice that one of them is lost.

Every rank writes its pulse to a file each second and reads those of the others, in a thread of its own. Waiting in a
collective operation, a rank cannot tell which other one it waits for; here it learns it, with node and cause.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import platform
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from cac_hpc.machine import processes
from cac_hpc.run import causes, disk
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import FoldPaths
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.train.fencing import Fence, Fenced

PERIOD_S = 1.0  # between two pulses
SILENT_S = 15.0  # without a pulse: stopped, or its node is lost
GRACE_S = 5.0  # for others to end by themselves after one has failed
START_S = 600.0  # without a step, before steps were measured
LEAST_S, STEPS = 30.0, 20  # without a step: so many times the slowest one, at least so long
PHASES = (
    "starting",
    "loading",
    "saving",
    "reading",
    "training",
    "validating",
    "testing",
    "publishing",
)  # who is behind whom
DONE = "done"
STEPPING = ("reading", "training", "validating", "testing")  # where nothing takes longer than a step
RECENT = 5  # epochs that the pace is taken from


@dataclass(frozen=True)
class Pulse:
    """What a rank says of itself.

    group: the same for all ranks of one start. started: of the process. beat: counts the pulses. moves: counts what it
    has done. end: "" while it works, "done", or why it failed.
    """

    group: str
    rank: int
    node: str
    pid: int
    started: int | None
    beat: int = 0
    moves: int = 0
    phase: str = "starting"
    epoch: int = 0
    step: int = 0
    steps: int = 0
    val_loss: float | None = None
    slices_per_second: float | None = None
    end: str = ""

    @property
    def place(self) -> str:
        """What the rank is at, in words."""
        step = f"step {self.step} of {self.steps}" if self.steps else f"step {self.step}"
        return f"epoch {self.epoch} {step} ({self.phase})" if self.epoch else self.phase

    @property
    def progress(self) -> tuple[int, int, int]:
        return self.epoch, PHASES.index(self.phase), self.step


@dataclass(frozen=True)
class Peer:
    """Another rank as this one knows it; times are of this rank's own clock. pulse: None before the first."""

    rank: int
    pulse: Pulse | None
    heard_s: float
    moved_s: float


def read_pulses(files: FoldPaths) -> list[Pulse]:
    """The newest pulse of every rank that ever wrote one, by rank."""
    return sorted(filter(None, map(read, files.heartbeats.glob("rank-*.json"))), key=lambda pulse: pulse.rank)


class LostRank(WorkError):
    """Another rank died, hangs or has lost its node: not the fold's fault, it may go on elsewhere."""

    lost = True


def verdict(
    own: Pulse, moved_s: float, peers: Sequence[Peer], now_s: float, patience_s: float, grace_s: float = GRACE_S
) -> Cause | None:
    """Which rank is lost, if that is known, and why, from what is known of the others; None as long as all is well.

    Args:
        moved_s: when this rank last moved. now_s: by the same clock. patience_s: how long nothing may move.
        grace_s: for others to end by themselves after one has failed.
    """
    for peer in peers:
        if cause := _loss(own, peer, now_s - peer.heard_s, grace_s):
            return cause
    return _standstill(own, moved_s, [peer for peer in peers if peer.pulse and not peer.pulse.end], now_s, patience_s)


def _loss(own: Pulse, peer: Peer, silent_s: float, grace_s: float) -> Cause | None:
    """Why a rank is lost."""
    pulse = peer.pulse
    if pulse is None:
        return Cause("rank_not_started", rank=peer.rank, seconds=START_S) if silent_s > START_S else None
    cause = Cause("rank_died", node=pulse.node, rank=pulse.rank, process=pulse.pid, place=pulse.place)
    if pulse.end:
        failed = replace(cause, code="rank_failed", detail=pulse.end)
        return failed if pulse.end != DONE and silent_s > grace_s else None
    if pulse.node == own.node and processes.start_time(pulse.pid) != pulse.started:
        return cause
    return replace(cause, code="rank_silent", seconds=silent_s) if silent_s > SILENT_S else None


def _standstill(own: Pulse, moved_s: float, peers: Sequence[Peer], now_s: float, patience_s: float) -> Cause | None:
    """Who holds up everybody else, all of whom live."""
    pulses = [own, *(peer.pulse for peer in peers if peer.pulse)]
    patience_s = patience_s if all(pulse.phase in STEPPING for pulse in pulses) else START_S
    if not peers or now_s - max(moved_s, *(peer.moved_s for peer in peers)) <= patience_s:
        return None
    last, first = (choose(pulses, key=lambda pulse: pulse.progress) for choose in (min, max))
    if last.progress < first.progress:
        return Cause("rank_hangs", node=last.node, rank=last.rank, place=last.place, seconds=patience_s)
    return Cause("standstill", place=own.place, seconds=patience_s)


class Heartbeat:
    """This rank's pulse, and its ear for the others; used as a context around the work.

    Args:
        lost: called with the cause when another rank is lost while this one cannot move, or a newer start of the fold
            has taken over, and with the rank that is killed for it, if any; the process ends after it.
    """

    def __init__(
        self, files: FoldPaths, fence: Fence, rank: int, size: int, lost: Callable[[Cause, int | None], None]
    ) -> None:
        self._files, self._fence, self._lost = files, fence, lost
        self._own = Pulse(str(fence.number), rank, platform.node(), os.getpid(), processes.start_time(os.getpid()))
        self._peers = [Peer(other, None, 0.0, 0.0) for other in range(size) if other != rank]
        self._beats, self._clock_s, self._moved_s, self._slowest_s = 0, 0.0, 0.0, 0.0
        self._asked_by_file = self._explaining = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        done = kind is None or kind is processes.Stopped
        self._own = replace(self._own, end=DONE if done else f"{kind.__name__}: {error}"[:500])  # type: ignore[union-attr]
        with contextlib.suppress(OSError):
            self._beat()

    @property
    def stop_asked_by(self) -> Cause | None:
        """The signal or file that asked this rank to stop; None if nothing did."""
        if signal_name := processes.heard():
            return Cause("stopped", signal=signal_name)
        return Cause("stopped", file=str(self._files.stop)) if self._asked_by_file else None

    def moved(self, phase: str, **facts: Any) -> None:
        """Tell what is done now; ``facts`` are other fields of the pulse."""
        self._own = replace(self._own, moves=self._own.moves + 1, phase=phase, **facts)

    def measured(self, step_s: float) -> None:
        """Tell how long a step has taken: what is hanging follows from it."""
        self._slowest_s = max(self._slowest_s, step_s)

    def explain(self) -> Cause | None:
        """Which rank is lost, asked after an operation with the others has failed; None if all of them are well."""
        self._explaining = True
        deadline = time.monotonic() + GRACE_S
        while (found := self._listen(grace_s=0.0)) is None and time.monotonic() < deadline:
            time.sleep(PERIOD_S / 10)
        return found

    @property
    def _patience_s(self) -> float:
        return max(LEAST_S, STEPS * self._slowest_s) if self._slowest_s else START_S

    def _live(self) -> None:
        """Until the end of the work. The clock stands still while this process is stopped or its disk does not answer:
        then it is not the others who were silent."""
        before, moves = time.monotonic(), 0
        while not self._over.wait(PERIOD_S):
            with contextlib.suppress(OSError, InputError):
                self._beat()
                self._asked_by_file = self._asked_by_file or self._files.stop.exists()
            self._clock_s += min(time.monotonic() - before, 2 * PERIOD_S)
            before = time.monotonic()
            if self._own.moves != moves:
                moves, self._moved_s = self._own.moves, self._clock_s
            if processes.supervisor_is_gone():
                os._exit(1)
            self._leave_if_replaced()
            if not self._explaining and (found := self._listen()):
                self._give_up(found)

    def _leave_if_replaced(self) -> None:
        """A node that was thought dead: end before anything is written that a newer start also writes."""
        try:
            self._fence.check()
        except Fenced as why:
            self._lost(causes.of(why), None)
            os._exit(1)
        except OSError:
            pass  # the disk does not answer: it takes no writes either

    def _listen(self, grace_s: float = GRACE_S) -> Cause | None:
        self._peers = [self._hear(peer) for peer in self._peers]
        return verdict(self._own, self._moved_s, self._peers, self._clock_s, self._patience_s, grace_s)

    def _hear(self, peer: Peer) -> Peer:
        pulse = read(self._files.heartbeat(peer.rank))
        if pulse is None or pulse.group != self._own.group or pulse == peer.pulse:
            return peer
        moved = peer.pulse is None or pulse.moves != peer.pulse.moves
        return Peer(peer.rank, pulse, self._clock_s, self._clock_s if moved else peer.moved_s)

    def _beat(self) -> None:
        self._beats += 1
        path = self._files.heartbeat(self._own.rank)
        scratch = path.with_name(f".{path.name}.tmp")  # not forced to the disk: it is old in a second
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with disk.open_own(scratch, "w") as file:
            file.write(json.dumps(asdict(replace(self._own, beat=self._beats))))
        scratch.replace(path)

    def _give_up(self, found: Cause) -> None:
        """End this process, and the lost one if it is still there: stopped, it would not hear torchrun."""
        pulses = [peer.pulse for peer in self._peers if peer.rank == found.rank and peer.pulse]
        there = [pulse for pulse in pulses if pulse.node == self._own.node]
        alive = [pulse for pulse in there if processes.start_time(pulse.pid) == pulse.started]
        self._lost(found, found.rank if alive else None)
        for pulse in alive:
            with contextlib.suppress(OSError):
                os.kill(pulse.pid, signal.SIGKILL)
        os._exit(1)


def read(path: Path) -> Pulse | None:
    """The newest pulse in a rank's file; None if there is none that can be read."""
    try:
        return Pulse(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


@dataclass(frozen=True)
class Pace:
    """Whole epochs, and what the last of them showed; None where there is none yet. train_s, val_s: of an epoch."""

    epochs: int = 0
    val_loss: float | None = None
    slices_per_second: float | None = None
    train_s: float | None = None
    val_s: float | None = None

    def remaining_s(self, epochs: int, phase: str = "", step: int = 0, steps: int = 0) -> float | None:
        """Until all ``epochs`` are done and the test part is, which takes about as long as validating.

        Args:
            phase, step, steps: what the fold is at in the epoch after the whole ones.
        """
        if self.train_s is None or self.val_s is None:
            return None
        if phase in ("testing", "publishing"):
            return self.val_s if phase == "testing" else 0.0
        done_s = self.train_s * min(1.0, step / steps) if phase == "training" and steps else 0.0
        done_s = self.train_s if phase == "validating" else done_s
        return max(0.0, (epochs - self.epochs) * (self.train_s + self.val_s) - done_s) + self.val_s


def read_pace(files: FoldPaths) -> Pace:
    """The pace of the last epochs, as far as the tables can be read."""
    history, speed = _rows(files.history), _rows(files.speed)[-RECENT:]
    last = history[-1] if history else {}
    return Pace(
        int(_number(last, "epoch") or 0),
        _number(last, "val_loss"),
        _number(speed[-1], "slices_per_second") if speed else None,
        _middle(speed, "train_seconds"),
        _middle(speed, "val_seconds"),
    )


def wanted_epochs(config: Path) -> int | None:
    """train.epochs of a run's config.yaml, without reading the rest of it: the status view has half a second."""
    try:
        text = config.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^train:\n(?:  .*\n)*?  epochs: (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError, csv.Error):
        return []


def _number(row: dict[str, str], name: str) -> float | None:
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError):
        return None


def _middle(rows: Sequence[dict[str, str]], name: str) -> float | None:
    """The median."""
    numbers = sorted(number for row in rows if (number := _number(row, name)) is not None)
    middle = len(numbers) // 2
    return (numbers[middle] + numbers[~middle]) / 2 if numbers else None
