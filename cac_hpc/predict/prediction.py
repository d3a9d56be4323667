"""Studies in, predictions out: several workers, and results in parts, so that the same command goes on later."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from cac_hpc.dataset import study_folders, whole_volumes
from cac_hpc.machine.workers import GIB, Lost, Worker
from cac_hpc.predict import bundle_files, parts, prediction_jobs, prediction_pages, prediction_tables, study_prediction
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.parts import Plan
from cac_hpc.predict.study_prediction import Also, StudyTask
from cac_hpc.run import disk, logs
from cac_hpc.run.logs import amount
from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.predict_command import PredictConfig
from cac_hpc.train.models import MODELS

LISTED = 40  # studies that the terminal shows
MODEL_BYTES = 2 * GIB  # that a worker may take for a batch of slices, beside what reading a study may take
NO_LIMIT = 1 << 46  # bytes: a GPU's driver reserves more addresses than there is memory


class Report(Protocol):
    """What is made of the results, when all are there."""

    def check(self, studies: Collection[str], bundle: Bundle) -> None:
        """Raises: InputError if it could not be made of these studies: before anything is predicted."""

    def __call__(self, out: Path, bundle: Bundle) -> None: ...


def predict(cfg: PredictConfig, code: Path, also: Also | None = None, report: Report | None = None) -> int:
    """Predict every study, or have SLURM do it; what is done already stays.

    Args:
        code: the checkout whose jobs SLURM runs. also: done with each study that is predicted, in a worker. report:
            made when all is done.
    Returns: exit code, 1 if a study has no prediction.
    Raises: InputError if the bundle or the studies cannot be used, or the folder of results is that of others.
    """
    with prediction_jobs.told(cfg):
        return _predict(cfg, code, also, report)


def _predict(cfg: PredictConfig, code: Path, also: Also | None, report: Report | None) -> int:
    out, bundle = given_paths.out_folder(cfg.out), bundle_files.read(Path(cfg.bundle))
    folders = study_folders.below(cfg.folder, cfg.single, cfg.format)
    if cfg.shard is not None or cfg.gather:
        plan = parts.read_plan(out)
        if plan.bundle != bundle.digest:
            raise InputError(f"{cfg.bundle}: found another bundle than when {out} was begun")
    else:
        plan = parts.make(bundle.digest, _settings(cfg, bundle, also), folders)
        if report:
            report.check(plan.studies, bundle)
        parts.settle(out, plan)
    waiting = parts.missing(out, plan)
    if cfg.cluster and prediction_jobs.submitted(cfg, code, plan, waiting):
        return 0
    if not cfg.gather:
        mine = waiting if cfg.shard is None else [index for index in waiting if index % (cfg.shards or 1) == cfg.shard]
        _work(_Work(cfg, folders, out, plan, bundle, also), mine)
    if cfg.shard is not None:
        return 0
    return _finish(cfg, out, plan, bundle, report)


def _settings(cfg: PredictConfig, bundle: Bundle, also: Also | None) -> dict[str, Any]:
    """On what results depend, beside the bundle and the studies."""
    made = None if also is None else also.__module__.rpartition(".")[2]
    return {"gate": cfg.gate, "pictures": cfg.pictures, "device": _device(cfg, bundle), "also": made,
            "mass_factor": cfg.mass_factor, **({"format": cfg.format} if cfg.format != "auto" else {})}  # fmt: skip


def _device(cfg: PredictConfig, bundle: Bundle) -> str:
    """What computes: a GPU is no use to a lesion model, and jobs of --cluster compute where their settings say.

    Raises: InputError if a GPU is asked for and none is there.
    """
    import torch

    if MODELS[bundle.kind].row == "candidate":
        return "cpu"
    there = torch.cuda.is_available()
    if cfg.device == "cuda" and not there and not cfg.cluster:
        raise InputError("--device is 'cuda', but no GPU is visible; wanted auto or cpu")
    if cfg.device == "auto":
        return "cuda" if there and not cfg.cluster else "cpu"
    return cfg.device


@dataclass(frozen=True)
class _Work:
    """All that the work on parts needs."""

    cfg: PredictConfig
    folders: Mapping[str, Path]
    out: Path
    plan: Plan
    bundle: Bundle
    also: Also | None

    def task(self, study: str) -> StudyTask:
        cfg, folder = self.cfg, self.folders.get(study, Path(self.cfg.folder) / study)
        return StudyTask(
            study,
            folder.absolute(),
            self.plan.studies[study],
            Path(cfg.bundle).absolute(),
            self.plan.bundle,
            parts.study_folder(self.out.absolute(), study),
            self.plan.settings["gate"],
            self.plan.settings["pictures"],
            self.plan.settings["device"],
            self.also,
            self.plan.settings.get("format", "auto"),
        )

    def worker(self, give_up: threading.Event) -> Worker:
        limits = self.bundle.pack.limits
        room = int(limits.memory_gb * GIB) + MODEL_BYTES + 2 * _num_bytes(self.bundle)
        most = NO_LIMIT if self.plan.settings["device"] == "cuda" else room
        return Worker(study_prediction.predict_study, limits.minutes * 60, most, give_up, whole_volumes.IMPORTS)


def _num_bytes(bundle: Bundle) -> int:
    return sum(one.numel() * one.element_size() for weights in bundle.weights for one in weights.values())


class _Open:
    """The parts at work: each is written when its last study is done, from whatever thread."""

    def __init__(self, work: _Work, waiting: Sequence[int]) -> None:
        self._work, self._lock = work, threading.Lock()
        self._parts = work.plan.parts
        self._next = ((index, study) for index in waiting for study in self._parts[index])
        self._done: dict[int, dict[str, Mapping[str, Any]]] = {}

    def take(self) -> tuple[int, str] | None:
        with self._lock:
            return next(self._next, None)

    def put(self, index: int, study: str, outcome: Mapping[str, Any]) -> None:
        with self._lock:
            done = self._done.setdefault(index, {})
            done[study] = outcome
            whole = len(done) == len(self._parts[index])
        if whole:
            parts.write(self._work.out, index, self._work.plan, [done[name] for name in self._parts[index]])
            del self._done[index]


def _work(work: _Work, waiting: Sequence[int]) -> None:
    """Predict the studies of the parts, as many at once as there are workers."""
    studies = sum(len(work.plan.parts[index]) for index in waiting)
    open_parts, give_up = _Open(work, waiting), threading.Event()

    def one_worker(advance: Callable[[], None]) -> None:
        with contextlib.closing(work.worker(give_up)) as worker:
            while not give_up.is_set() and (item := open_parts.take()):
                open_parts.put(*item, _outcome(work, worker, item[1]))
                advance()

    count = min(work.cfg.workers or len(os.sched_getaffinity(0)), max(studies, 1))
    with logs.progress("studies predicted", studies) as advance, ThreadPoolExecutor(count) as pool:
        try:
            for done in as_completed([pool.submit(one_worker, advance) for _ in range(count if studies else 0)]):
                done.result()
        except BaseException:  # Ctrl-C above all: the others stop, too
            give_up.set()
            raise


def _outcome(work: _Work, worker: Worker, study: str) -> Mapping[str, Any]:
    """What becomes of a study; not predicted if a worker is lost on it twice: once may be the machine's fault."""
    task = work.task(study)
    for again in ("trying once more", "leaving it out"):
        try:
            with disk.named(task.folder):
                found: Mapping[str, Any] = worker.run(task, lambda said: None)
            return found
        except Lost as error:
            why = error
            logs.log.warning("study %r: predicting it failed (%s); %s", study, why, again)
    return asdict(study_prediction.refused(task, str(why), work.bundle))


def _finish(cfg: PredictConfig, out: Path, plan: Plan, bundle: Bundle, report: Report | None) -> int:
    """Make the tables of all parts, and say what came out."""
    if missing := parts.missing(out, plan):
        raise WorkError(
            f"{out}: {len(missing)} of {len(plan.parts)} parts are missing, so there are no tables yet; run the same "
            "command again, which does what is missing"
        )
    found = prediction_tables.gather(out, plan, bundle)
    if report:
        report(out, bundle)
    counts = found["counts"]
    if cfg.json:
        logs.say(disk.json_text({**found, "out": str(out)}).rstrip())
    else:
        _show(out, plan, bundle, counts)
    return int(counts["refused"] > 0)


def _show(out: Path, plan: Plan, bundle: Bundle, counts: Mapping[str, Any]) -> None:
    """A table of the first studies, then what there is of all."""
    screen = logs.console()
    rows = [_shown(outcome["row"], bundle) for outcome in _first(out, plan)]
    named = [] if bundle.sets is None else [f"{bundle.sets.coverage:.0%} set"]
    columns = ["study", "category", "p", *named, "score", "folds agree", "rule", "notes"]
    only = f", the first {LISTED}" if len(rows) < counts["studies"] else ""
    title = f"Predicted by {amount(len(bundle.weights), 'fold')}{only}"
    screen.print(logs.table(title, columns, rows, numbers=True, tight=True))
    for outcome in _first(out, plan):
        row = outcome["row"]
        for why in (row["fault"], row["out_of_range"] if not row["fault"] else ""):
            if why:
                screen.print(f"{row['study']}: {why}", markup=False, soft_wrap=True)
    logs.say(f"{counts['predicted']} of {counts['studies']} studies predicted, {counts['known']} known from training, "
             f"{counts['out_of_range']} out of range: {out / 'index.html'}")  # fmt: skip
    if bundle.sets is None:
        logs.say("no prediction sets: the bundle was made before they were; export its run again for them")


def _first(out: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    for _, outcome in zip(range(LISTED), parts.outcomes(out, plan), strict=False):
        yield outcome


def _shown(row: Mapping[str, Any], bundle: Bundle) -> list[object]:
    noted = [name for name, key in (("known", "known"), ("range", "out_of_range"), ("warning", "warnings")) if row[key]]
    if row["fault"]:
        unknown = [None] * (4 if bundle.sets is None else 5)
        return [row["study"], None, *unknown, " ".join([*noted, "no prediction"])]
    score, by_rule = (None if row[name] is None else f"{row[name]:.1f}" for name in ("score", "rule_score"))
    chance = f"{row['p' + str(row['category_index'])]:.2f}"
    named = [] if bundle.sets is None else [prediction_pages.set_of_row(row, bundle)]
    notes = " ".join(noted)
    return [row["study"], row["category"], chance, *named, score, row["folds_agreeing"], by_rule, notes]
