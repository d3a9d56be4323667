"""One training of a trial, from one look at its validation patients to the next; no test patient is asked.

It is trained as the fold itself would be, by the same functions, in one process: with the fold's own seed and division
it ends with the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cac_hpc.dataset import trial_studies
from cac_hpc.dataset.trial_studies import TrialStudies
from cac_hpc.run import causes, disk, ledger
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import WorkError
from cac_hpc.statistics import pooling
from cac_hpc.statistics.pooling import Units
from cac_hpc.train import checkpoint, distributed, epochs, lesion_results, networks, passes, setup, steps
from cac_hpc.train.attempts import Attempt, FoldData
from cac_hpc.train.distributed import World
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat
from cac_hpc.train.lesion_results import Scores
from cac_hpc.train.predictions import Predictions
from cac_hpc.trials import plan, space
from cac_hpc.trials.plan import Plan, Rung

FAILURES = ("loss_not_finite", "validation_loss_not_finite")  # causes that lie in a trial's own settings
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # of torch, in a RuntimeError


@dataclass(frozen=True)
class Part:
    """One training of a trial; settings: of the trial, by dotted name."""

    trial: int
    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Session:
    """What a process keeps ready for all the trainings of one fold's trials.

    settled: what it has found for settings that the run leaves open, once for all trainings that it begins.
    """

    run: RunPaths
    fold: int
    worker: int
    cfg: Config
    plan: Plan
    world: World
    studies: TrialStudies
    data: FoldData
    settled: Mapping[str, Any]

    def rung(self, part: Part, rung: int) -> Path:
        """What a part has predicted at a rung."""
        return self.run.trials(self.fold).rung(part.trial, part.number, rung)


@contextmanager
def session(run: RunPaths, fold: int, worker: int, cfg: Config, of_all: Plan) -> Iterator[Session]:
    """Read and verify once what every training of the fold's trials needs.

    Raises: InputError if the data are damaged; WorkError if there is no GPU and one is wanted.
    """
    cfg = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, occlusion=False))  # that is for testing
    steps.fix_arithmetic(cfg)
    try:
        with distributed.process_group(cfg.train.device) as world:
            studies = trial_studies.read(run, fold, cfg)
            data = setup.load(run.dataset(cfg.data.packed_dir), studies.studies, cfg, world)
            yield Session(run, fold, worker, cfg, of_all, world, studies, data, _settled(cfg, world))
    except distributed.NoDevice as error:
        raise WorkError(str(error)) from None


def _settled(cfg: Config, world: World) -> dict[str, Any]:
    """What this machine has for a precision that is left open: asked once, for it is measured."""
    return {"precision": setup.choose_precision(cfg, world.device)} if cfg.train.precision == "auto" else {}


def train(at: Session, part: Part, rung: int, fence: Fence, goes_on: Callable[[int], bool]) -> None:
    """Train up to a rung, and on while it is known that the trial goes on; nothing if the rung has been reached.

    Args:
        goes_on: asked after each rung but the last.
    Raises: Stopped when it was asked to stop and has saved; Fenced if another process has taken over.
    """
    files = at.run.trials(at.fold).part(part.trial, part.number)

    def lost(cause: Cause, _: int | None) -> None:
        log.error("%s", cause)
        ledger.record(at.run.ledger, "trials", at.worker, "ended", cause, ok=False, lost=True)

    with Heartbeat(files, fence, 0, 1, lost) as heart:
        if plan.read_rung(at.rung(part, rung), part.settings):
            return  # by another process, since this one looked
        try:
            attempt = _start(at, part, files, fence, heart)
            if (attempt.state.epochs, attempt.state.step) > (_end(at, attempt, rung), 0):  # its rung was damaged since
                for path in files.checkpoints():
                    checkpoint.remove(path)
                attempt = _start(at, part, files, fence, heart)
            while _reach(at, part, attempt, rung) and goes_on(rung):
                rung += 1
        except WorkError as error:
            cause = causes.of(error)
            if cause.code not in FAILURES:
                raise
            _fail(at, part, rung, fence, causes.sentence(cause))
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and NO_MEMORY not in str(error):
                raise
            _fail(at, part, rung, fence, "it does not fit into the memory")


def _start(at: Session, part: Part, files: FoldPaths, fence: Fence, heart: Heartbeat) -> Attempt:
    cfg, seed = space.checked(at.cfg, part.settings), part.number % at.plan.seeds
    cfg = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, seed=cfg.train.seed + seed))
    data = setup.divide(at.data, at.studies.divisions[part.number // at.plan.seeds], cfg, at.world)
    belongs_to = {"fold": at.fold, "trial": part.trial, "part": part.number, "studies": at.studies.digest}
    return setup.start(files, fence, data, belongs_to, cfg, at.world, heart, at.settled)


def _reach(at: Session, part: Part, attempt: Attempt, rung: int) -> bool:
    """Train up to a rung and publish what is predicted there; returns whether there are further rungs."""
    last = rung == len(at.plan.rungs) - 1
    state, check = attempt.state, attempt.fence.check
    epochs.train(attempt, _end(at, attempt, rung), lambda row, speed: None, keep=not last)
    done = at.plan.rungs[rung - 1] if rung else 0
    tested, names, units = _look(at, attempt)
    history = pd.DataFrame(state.history).to_csv(index=False, lineterminator="\n")
    disk.write_text(attempt.files.history, history, check)
    found = Rung(
        fold=at.fold, trial=part.trial, part=part.number, rung=rung, settings=part.settings, epochs=state.epochs,
        tested_epoch=tested, patient=names, label=tuple(units.label.tolist()),
        predicted=tuple(units.predicted.tolist()), parameters=networks.num_parameters(state.model),
        seconds=round(sum((row["train_seconds"] or 0) + (row["val_seconds"] or 0) for row in state.speed[done:]), 3),
    )  # fmt: skip
    plan.write_rung(at.rung(part, rung), found, check)
    return not last


def _end(at: Session, attempt: Attempt, rung: int) -> int:
    """The epochs after which a training is at a rung."""
    wanted = at.plan.rungs[rung]
    return attempt.cfg.train.epochs if wanted is None else wanted


def _fail(at: Session, part: Part, rung: int, fence: Fence, why: str) -> None:
    """Publish that a training cannot go on."""
    log.warning("trial %d of fold %d: %s", part.trial, at.fold, why)
    found = Rung(at.fold, part.trial, part.number, rung, part.settings, failure=why)
    plan.write_rung(at.rung(part, rung), found, fence.check)


def _look(at: Session, attempt: Attempt) -> tuple[int, tuple[str, ...], Units]:
    """The epoch whose weights would be tested now, and what they say of the patients that are looked at."""
    state, cfg, data = attempt.state, attempt.cfg, attempt.data
    unit_U = data.test if cfg.trials.select_on == "test" else data.val
    tested = state.best_epoch if cfg.train.evaluate == "best" else state.epochs
    newest = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    if tested != state.epochs:
        state.model.load_state_dict(state.best)
    probability, _ = passes.evaluate(attempt, unit_U, "validating")
    if tested != state.epochs:
        state.model.load_state_dict(newest)
    return tested, *_patients(at, data, unit_U, probability)


def _patients(
    at: Session, data: FoldData, unit_U: np.ndarray, probability: np.ndarray
) -> tuple[tuple[str, ...], Units]:
    """What is predicted of each patient, as the report pools it; the patients' names in the same order."""
    cfg, studies, names = at.cfg, at.studies.studies, data.units.study[unit_U]
    if data.bags:
        score_U = data.bags.scores(lesion_results.counted(probability), unit_U)
        none_UK = np.zeros((len(unit_U), len(cfg.labels.names)))
        scores = Scores(names, data.units.label[unit_U], score_U, score_U, none_UK)
        units, _ = pooling.scored_patients({at.fold: scores}, studies, cfg.labels.edges)
    else:
        table, rows = data.loaded.table, data.units.rows(unit_U)
        of_slices = np.repeat(probability, data.units.counts(unit_U), axis=0)
        study, number_N = np.unique(table.study[rows], return_inverse=True)
        found = Predictions(study, number_N, table.number[rows], table.label[rows], of_slices)
        rule = pooling.pooling_rules(cfg.report.top_k)[cfg.report.patient_rule]
        units = pooling.patient_units(pooling.slice_units({at.fold: found}, studies, len(cfg.labels.names)), rule)
    patients = np.unique(studies.set_index("study")["patient"].loc[names].to_numpy(str))
    return tuple(patients[units.patient].tolist()), units
