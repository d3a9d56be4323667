"""The passes over a fold's slices, on one rank; between two steps all ranks agree on saving and stopping.

Axes: N slice, U unit (see `slices`), H row, W column, K category.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cac_hpc.machine.processes import Stopped
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import FoldPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import WorkError
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import (
    augment_candidates,
    augment_slices,
    checkpoint,
    distributed,
    lesion_model,
    lesion_results,
    networks,
    slices,
    steps,
)
from cac_hpc.train.bags import BagData
from cac_hpc.train.checkpoint import TrainingState
from cac_hpc.train.distributed import Agreement, World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat
from cac_hpc.train.lesion_model import Bags
from cac_hpc.train.residency import Loaded
from cac_hpc.train.slices import Units
from cac_hpc.train.steps import Share

GENERATIONS = 2  # checkpoints that are kept
LOOK_STEPS = {"cpu": 1, "cuda": 32}  # between two looks at the losses: a GPU waits for them
NOT_FINITE = 5  # losses in a row that end the fold
GO_ON, SAVE, STOP = range(3)  # what a rank may request at a step boundary; the highest of all ranks is done


@dataclass(frozen=True)
class FoldData:
    """Rows, the units made of them, and which units are the fold's three parts."""

    loaded: Loaded
    units: Units
    label_U: Tensor  # of all units, on the device
    weight_K: Tensor  # of each category, on the device
    box_N4: np.ndarray  # the heart on each slice, all 0 where it was not found
    train: np.ndarray  # numbers of units, as the two below
    val: np.ndarray
    test: np.ndarray
    bags: BagData | None = None  # where the rows are candidates
    seal: str = ""  # digest of the dataset's seal

    def num_slices(self, unit_U: np.ndarray) -> int:
        """Slices of these units, whatever of them the model is given."""
        return int((self.bags.slices[unit_U] if self.bags else self.units.counts(unit_U)).sum())

    def steps(self, cfg: TrainConfig, epochs: int) -> int:
        """Steps that so many whole epochs take."""
        each = -(-len(self.train) // cfg.batch_size)
        return epochs * each if cfg.steps is None else round(cfg.steps * epochs / cfg.epochs)

    def batches(self, cfg: TrainConfig, fold: int, epoch: int) -> list[np.ndarray]:
        """Units of the global training batches of an epoch."""
        if cfg.steps is not None:
            chosen = range(self.steps(cfg, epoch - 1), self.steps(cfg, epoch))
            return list(slices.running_batches(self.train, cfg.batch_size, cfg.seed, fold, chosen, cfg.shuffle_window))
        return list(slices.training_batches(self.train, cfg.batch_size, cfg.seed, fold, epoch, cfg.shuffle_window))


@dataclass
class Attempt:
    """One start of a fold, on one rank: what stays the same until the process ends, and when it saved last."""

    files: FoldPaths
    fence: Fence
    fold: int
    cfg: Config
    world: World
    data: FoldData
    state: TrainingState
    heart: Heartbeat
    agreement: Agreement
    belongs_to: dict[str, Any]
    made_with: dict[str, Any]
    parallel: nn.Module
    saved_s: float


def train_pass(attempt: Attempt) -> tuple[float, int]:
    """Take the training units of the epoch that were not taken yet.

    Returns: the seconds waited for their slices, and the number of these on all ranks.
    """
    state, world, data = attempt.state, attempt.world, attempt.data
    train, epoch, first, waited = attempt.cfg.train, state.epochs + 1, state.step, 0.0
    done, total = data.steps(train, epoch - 1), data.steps(train, train.epochs)
    batches = data.batches(train, attempt.fold, epoch)
    attempt.parallel.train()
    before = time.perf_counter()
    own_rows = [data.units.rows(batch[world.rank :: world.size]) for batch in batches]
    share_of = (_bag_collator if data.bags else _collator)(attempt, batches, own_rows)
    rows = data.loaded.rows.batches(own_rows[first:])
    with contextlib.closing(rows):
        for step, row_N in enumerate(rows, start=first):
            waited += time.perf_counter() - before
            attempt.heart.moved("training", epoch=epoch, step=step + 1, steps=len(batches))
            share = share_of(step, row_N)
            loss = steps.train_step(
                attempt.parallel, state.optimizer, state.scaler, share, data.weight_K, world.size, train
            )
            state.parts.append(loss)
            state.end_step()
            lesion_model.advance(state.model, (done + step + 1) / total)
            _look_at_losses(attempt)
            if not train.compile:  # else a step may take as long as compiling
                attempt.heart.measured(time.perf_counter() - before)
            carry_out(attempt, attempt.agreement.later(requested(attempt)))
            attempt.heart.moved("reading", epoch=epoch, step=step + 2)
            before = time.perf_counter()
    return waited, sum(map(data.num_slices, batches[first:]))


def _collator(
    attempt: Attempt, batches: Sequence[np.ndarray], own_rows: Sequence[np.ndarray]
) -> Callable[[int, Tensor], Share]:
    """What makes this rank's share of a step: of the number of the step in the epoch, and the slices of that share.

    Args:
        batches: units of each global batch. own_rows: rows of the slices of this rank's units of it.
    """
    state, cfg, world, data = attempt.state, attempt.cfg, attempt.world, attempt.data
    epoch, mine = state.epochs + 1, slice(world.rank, None, world.size)
    seed = augment_slices.epoch_seed(cfg.train.seed, attempt.fold, epoch)
    random, num_features = torch.Generator(world.device), networks.num_features(state.model)
    units, rows = _on_device(batches, world.device), _on_device(own_rows, world.device)
    counts = None
    if data.units.kind != "slice":
        counts = _on_device([data.units.counts(batch[mine]) for batch in batches], world.device)

    def share_of(step: int, hu_NHW: Tensor) -> Share:
        unit_U, keep_UF = units[step], None
        if cfg.train.augment.active:
            hu_NHW = augment_slices.augment(hu_NHW, rows[step], seed, cfg.train.augment)
        if cfg.model.dropout > 0:  # of the global batch: a unit has the same whichever rank computes it
            random.manual_seed(slices.step_seed(cfg.train.seed, attempt.fold, epoch, step))
            keep_UF = networks.dropout_factors(random, len(unit_U), num_features, cfg.model.dropout)[mine]
        weight_sum = data.weight_K[data.label_U[unit_U]].sum()
        return Share(hu_NHW, data.label_U[unit_U[mine]], keep_UF, weight_sum, None if counts is None else counts[step])

    return share_of


def _bag_collator(
    attempt: Attempt, batches: Sequence[np.ndarray], own_rows: Sequence[np.ndarray]
) -> Callable[[int, Tensor], Bags]:
    """As `_collator`, of the features of candidates."""
    cfg, world, data = attempt.cfg.train, attempt.world, attempt.data
    assert data.bags is not None
    epoch, mine = attempt.state.epochs + 1, slice(world.rank, None, world.size)
    done, total = data.steps(cfg, epoch - 1), data.steps(cfg, cfg.epochs)
    units, rows = _on_device(batches, world.device), _on_device(own_rows, world.device)
    counts = _on_device([data.units.counts(batch[mine]) for batch in batches], world.device)
    weight_sums = [data.weight_K[data.label_U[unit_U]].sum() for unit_U in units]
    agatston_N, low_U, high_U = data.bags.tensors(world.device)
    moves = augment_candidates.draw(cfg.seed, attempt.fold, epoch, len(batches), cfg.batch_size, cfg.anatomy)
    turn_SU33, shift_SU3 = (part.to(world.device) for part in (moves.turn_SU33, moves.shift_SU3))

    def share_of(step: int, feature_NF: Tensor) -> Bags:
        unit_U, count_U = units[step][mine], counts[step]
        if cfg.anatomy.active:
            of_batch = slice(world.rank, len(units[step]), world.size)
            feature_NF = augment_candidates.move(
                feature_NF, count_U, turn_SU33[step, of_batch], shift_SU3[step, of_batch]
            )
        return Bags(
            feature_NF, agatston_N[rows[step]], count_U, low_U[unit_U], high_U[unit_U], data.label_U[unit_U],
            weight_sums[step], (done + step) / total,
        )  # fmt: skip

    return share_of


def _on_device(parts: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, ...]:
    """Arrays of integers on the device, moved there together."""
    return torch.split(torch.from_numpy(np.concatenate(parts)).to(device), list(map(len, parts)))


def _look_at_losses(attempt: Attempt) -> None:
    """Every now and then, look whether this rank's newest losses are finite; a GPU waits for it.

    Raises: WorkError if they are not.
    """
    state, look = attempt.state, LOOK_STEPS[attempt.world.device.type]
    if state.step % look == 0:
        newest = torch.stack(state.parts[-(look + NOT_FINITE) :]).tolist()
        check_losses(attempt, newest, state.step - len(newest))


def check_losses(attempt: Attempt, losses: Sequence[float], first: int) -> None:
    """Refuse a loss that is not finite, or several in a row where fp16 skips such steps.

    Args:
        losses: of steps from the epoch's step ``first`` on, counted from 0.
    Raises: WorkError naming the first of these steps and its studies.
    """
    cfg, data = attempt.cfg, attempt.data
    limit = 1
    if cfg.train.precision == "fp16":
        limit = min(NOT_FINITE, len(data.batches(cfg.train, attempt.fold, attempt.state.epochs + 1)))
    row = 0
    for step, loss in enumerate(losses, start=first):
        row = 0 if math.isfinite(loss) else row + 1
        if row == limit:
            epoch, step = attempt.state.epochs + 1, step - limit + 1
            studies = sorted(set(data.units.study[data.batches(cfg.train, attempt.fold, epoch)[step]]))
            cause = Cause(
                "loss_not_finite", task=attempt.fold, epoch=epoch, step=step + 1, value=str(losses[step - first]),
                words="several in a row" if limit > 1 else None, studies=", ".join(studies), advice=remedy(cfg),
            )  # fmt: skip
            raise WorkError(cause)


def remedy(cfg: Config) -> str:
    return f"lower train.learning_rate from {cfg.train.learning_rate:g}, or set train.precision fp32"


def requested(attempt: Attempt) -> int:
    """What this rank requests at the next step boundary."""
    if attempt.heart.stop_asked_by:
        return STOP
    due = time.monotonic() - attempt.saved_s >= 60 * attempt.cfg.train.checkpoint_minutes
    return SAVE if attempt.world.is_main and due else GO_ON


def carry_out(attempt: Attempt, decision: int) -> None:
    """Do what all ranks agreed on.

    Raises: Stopped after saving, if that was it.
    """
    if decision == GO_ON:
        return
    state, files = attempt.state, attempt.files
    state.share_losses(attempt.world)
    check_losses(attempt, state.losses, 0)
    if attempt.world.is_main:
        attempt.heart.moved("saving")
        _save(attempt)
    distributed.gather(None, attempt.world)  # the checkpoint is whole before anybody goes on
    attempt.saved_s = time.monotonic()
    if decision == STOP and state.epochs < attempt.cfg.train.epochs:
        files.stop.unlink(missing_ok=True)
        asked = attempt.heart.stop_asked_by or Cause("stopped")
        cause = replace(asked, epoch=state.epochs, step=state.step)
        log.info("saved and %s", cause)
        raise Stopped(cause)


def _save(attempt: Attempt) -> None:
    """Write a checkpoint and drop those that are too old."""
    state, files = attempt.state, attempt.files
    saved = state.to_plain() | {"belongs_to": attempt.belongs_to, "made_with": attempt.made_with}
    checkpoint.save(files.checkpoint(state.epochs, state.step), saved, attempt.fence.check)
    for path in files.checkpoints()[:-GENERATIONS]:
        checkpoint.remove(path)


def evaluate(
    attempt: Attempt, unit_U: np.ndarray, phase: str, seen: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate every unit once; every rank gets all probabilities and losses (U,).

    The batches are the same whatever the number of ranks that share them, so a unit's numbers are, too.

    Args:
        seen: heart or rim, if the other one is to be blank.
    Returns: probabilities of the categories (U, K); where the rows are candidates, those of all candidates (N,), one
    unit after the other.
    """
    cfg, world, data = attempt.cfg, attempt.world, attempt.data
    positions = np.split(np.arange(len(unit_U)), range(cfg.train.batch_size, len(unit_U), cfg.train.batch_size))
    mine = positions[world.rank :: world.size]

    model, own_units = attempt.state.model.eval(), [unit_U[batch] for batch in mine]
    if data.bags:
        probability, losses = lesion_model.evaluate(model, _bag_batches(attempt, own_units, phase), cfg.train)
    else:
        batches = _slice_batches(attempt, own_units, phase, seen)
        probability, losses = steps.evaluate(model, batches, len(cfg.labels.names), cfg.train)
    own = np.concatenate([np.zeros(0, np.int64), *mine])
    of_unit = np.repeat(own, data.units.counts(unit_U[own])) if data.bags else own
    parts = distributed.gather((own, of_unit, probability, losses), world)
    where, of_unit, probability, losses = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert np.array_equal(np.sort(where), np.arange(len(unit_U))), "a unit was evaluated by no rank or by two"
    return probability[np.argsort(of_unit, kind="stable")], losses[np.argsort(where)]


def accuracy(data: FoldData, unit_U: np.ndarray, probability: np.ndarray) -> float:
    """Share of these units whose category is predicted, from what `evaluate` returns."""
    if data.bags:
        predicted_U = data.bags.category(data.bags.scores(lesion_results.counted(probability), unit_U))
    else:
        predicted_U = probability.argmax(axis=1)
    return float((predicted_U == data.units.label[unit_U]).mean())


def _slice_batches(
    attempt: Attempt, own: Sequence[np.ndarray], phase: str, seen: str | None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """The slices of this rank's batches of units, their labels and, of studies, how many slices they have."""
    cfg, world, data = attempt.cfg, attempt.world, attempt.data
    rows = list(map(data.units.rows, own))
    for step, (row_N, hu_NHW) in enumerate(zip(rows, data.loaded.rows.batches(rows), strict=True)):
        attempt.heart.moved(phase, epoch=_epoch(attempt, phase), step=step, steps=len(own))
        if seen is not None:
            box_N4 = torch.from_numpy(data.box_N4[row_N]).to(world.device)
            hu_NHW = augment_slices.blank(hu_NHW, box_N4, seen == "rim", cfg.train.window_hu[0])
        count_U = None
        if data.units.kind != "slice":
            count_U = torch.from_numpy(data.units.counts(own[step])).to(world.device)
        yield hu_NHW, data.label_U[torch.from_numpy(own[step]).to(world.device)], count_U


def _bag_batches(attempt: Attempt, own: Sequence[np.ndarray], phase: str) -> Iterator[Bags]:
    """This rank's batches of studies as bags of candidates."""
    world, data = attempt.world, attempt.data
    assert data.bags is not None
    rows, tensors = list(map(data.units.rows, own)), data.bags.tensors(world.device)
    for step, (row_N, feature_NF) in enumerate(zip(rows, data.loaded.rows.batches(rows), strict=True)):
        attempt.heart.moved(phase, epoch=_epoch(attempt, phase), step=step, steps=len(own))
        unit_U = torch.from_numpy(own[step]).to(world.device)
        agatston_N, low_U, high_U = tensors
        yield Bags(
            feature_NF, agatston_N[torch.from_numpy(row_N).to(world.device)],
            torch.from_numpy(data.units.counts(own[step])).to(world.device), low_U[unit_U], high_U[unit_U],
            data.label_U[unit_U], torch.ones((), device=world.device),
        )  # fmt: skip


def _epoch(attempt: Attempt, phase: str) -> int:
    """The epoch that is evaluated in a phase."""
    return attempt.state.epochs + (phase == "validating")
