"""The passes over a fold's slices, on one rank: training, and evaluation.

Axes: N slice, U unit (see `slices`), H row, W column, K category.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from cac_hpc.train import (
    attempts,
    augment_candidates,
    augment_slices,
    distributed,
    lesion_model,
    lesion_results,
    networks,
    slices,
    steps,
)
from cac_hpc.train.attempts import Attempt, FoldData
from cac_hpc.train.lesion_model import Bags
from cac_hpc.train.steps import Share


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
            attempts.look_at_losses(attempt)
            if not train.compile:  # else a step may take as long as compiling
                attempt.heart.measured(time.perf_counter() - before)
            attempts.carry_out(attempt, attempt.agreement.later(attempts.requested(attempt)))
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
