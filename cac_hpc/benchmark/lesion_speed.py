"""What the lesion model takes beside the slice network, in processor time: training, and candidates while packing.

Each part runs as a process of its own and counts user and system time of all its threads after start-up, so whatever
else the machine does hardly matters. ``python -m cac_hpc.benchmark.lesion_speed PART ...`` is such a process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.benchmark import costs, inputs, screen
from cac_hpc.benchmark.screen import Goal
from cac_hpc.run import logs
from cac_hpc.settings import launch_command
from cac_hpc.settings.checks import require

FOLDS_S, FASTER, EXAM_S = 20.0, 200.0, 1.0  # the goals: see _goals
EXAMS, EXAM_SLICES = 3, 60  # studies in which candidates are looked for
EASY: dict[str, Any] = {"slices": 12, "matrix": 128, "field_of_view_mm": 160.0, "easy": True}  # as docs/phantom.md has
CONFIGS = {"demo": EASY["slices"], "paper": EXAM_SLICES}  # of slice networks, and slices of a study
LEGEND = (
    "s: processor time of the five folds, start-up left out. x: that as a multiple\n"
    "of the lesion model's. demo.yaml, paper.yaml: slice networks, extrapolated\n"
    "from some steps to the training slices of all epochs, without validation and\n"
    "test. exams: {exams} of {slices} slices of 512 x 512, the median; heart: its region alone;\n"
    "candidates: with features; views: pictures that are kept. Reading not counted."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """hard: whether the cohort is one of full size, as difficult as real exams, in place of the demo's."""

    studies: int = 68
    hard: bool = False
    steps: int = 3
    batch: int = 4
    repeats: int = 3
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.studies >= 12, "--studies", self.studies, "12 or more")
        require(self.steps >= 1, "--steps", self.steps, "1 or more")
        require(self.batch >= 2, "--batch", self.batch, "2 or more")
        require(self.repeats >= 1, "--repeats", self.repeats, "1 or more")


@dataclass(frozen=True)
class Network:
    """A slice network, and what its five folds would take. slices: that are learned from, of all folds and epochs."""

    name: str
    slices: int
    slice_s: float

    @property
    def seconds(self) -> float:
        return self.slices * self.slice_s


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--studies N] [--hard] [--steps N] [--batch N] [--repeats N] [--keep DIR]``."""
    parser.add_argument("--hard", action="store_true", help="studies of full size, as difficult as real exams")
    costs.add_options(
        parser,
        Asked,
        {
            "studies": "in the cohort",
            "steps": "of a slice network that are measured",
            "batch": "slices of such a step",
            "repeats": "of every measurement",
        },
    )


def measure(asked: Asked, code: Path) -> None:
    """Measure everything and print it.

    Args:
        code: the checkout whose settings and jobs are measured.
    """
    found: dict[str, list[dict[str, Any]]] = {"folds": [], "demo": [], "paper": [], "exams": []}
    with costs.work_folder(asked.keep) as folder:
        names = [str(number) for number in range(asked.repeats)]
        runs = [prepared(folder, name, asked.studies, code, asked.hard) for name in names]
        exams_of = inputs.phantom(folder / "exams", studies=EXAMS, slices=EXAM_SLICES, hard=True)
        with logs.progress("measured", asked.repeats * len(found)) as advance:
            for run in runs:
                parts = {
                    "folds": ["folds", str(run)],
                    **{name: ["steps", name, *map(str, (asked.steps, asked.batch, code))] for name in CONFIGS},
                    "exams": ["exams", str(exams_of)],
                }
                for name, command in parts.items():
                    found[name].append(_part(command, folder / "log", code))
                    advance()
    _show(found, asked)


def prepared(
    folder: Path, name: str, studies: int, code: Path, hard: bool = False, more: Mapping[str, object] | None = None
) -> Path:
    """A run of configs/lesions.yaml that is ready to be trained; the first packs, the others take what it packed.

    Args:
        studies: in the cohort. hard: see `Asked`. more: further options of the launcher.
    """
    kind: dict[str, Any] = {"hard": True} if hard else EASY
    source, run = inputs.phantom(folder / "scans", studies=studies, **kind), folder / f"run-{name}"
    options = {
        "config": code / "configs" / "lesions.yaml", "run": run, "data.dicom_root": source,
        "labels.sheet": source / "labels.csv", "data.packed_dir": folder / "packed",
        "cluster.pack.cpus": len(os.sched_getaffinity(0)), **(more or {}),
    }  # fmt: skip
    costs.call(code, inputs.job(code, "launch_cv.py", "--dry_run", **options), folder / "log")
    costs.call(code, inputs.job(code, "pack.py", "--run", run), folder / "log")
    return run


def _part(command: Sequence[str], log: Path, code: Path) -> dict[str, Any]:
    """What a process of its own says of itself."""
    env = {**costs.environment(code), "CAC_DICOM_ROOT": ".", "CAC_LABELS": "labels.csv"}
    costs.run([sys.executable, "-m", "cac_hpc.benchmark.lesion_speed", *command], log, env)
    return costs.last_json(log)


def folds(run: Path) -> dict[str, float]:
    """Train all folds of a run, one after the other: seconds of processor time of all, start-up left out."""
    from cac_hpc.dataset import splits
    from cac_hpc.run.paths import RunPaths
    from cac_hpc.train import training

    count, started = len(splits.read_splits(RunPaths(run).splits)), time.process_time()
    for fold in range(count):
        training.train_fold(run, fold)
    return {"seconds": time.process_time() - started}


def network_steps(name: str, steps: int, batch: int, code: Path) -> dict[str, float]:
    """Train a slice network on noise: seconds of processor time per slice, after a first step, and its settings."""
    import torch

    from cac_hpc.benchmark import noise_steps
    from cac_hpc.train import steps as training_steps

    config = str(code / "configs" / f"{name}.yaml")
    cfg, _ = launch_command.parse_launch(None, ["--config", config, "--train.device=cpu", "--train.precision=fp32"])
    training_steps.fix_arithmetic(cfg)
    step, started = noise_steps.stepper(cfg, torch.device("cpu"), batch), 0.0
    for number in range(steps + 1):
        started = time.process_time() if number == 1 else started
        step()
    slice_s = (time.process_time() - started) / (steps * batch)
    learned = 1 - 1 / cfg.split.folds - cfg.split.val_fraction  # share of the studies
    epochs = cfg.train.epochs
    return {"slice_s": slice_s, "size": cfg.pack.size, "epochs": epochs, "passes": cfg.split.folds * epochs * learned}


def exams(folder: Path) -> dict[str, list[float]]:
    """Seconds of processor time of the heart's region, the candidates and the views of each study."""
    from cac_hpc.calcium import candidates, heart, views
    from cac_hpc.dataset import intake
    from cac_hpc.settings.pack import PackConfig
    from cac_hpc.volumes import files

    found: dict[str, list[float]] = {"heart": [], "candidates": [], "views": []}
    for study in sorted(path for path in folder.iterdir() if path.is_dir()):
        volume = intake.read_chest(files.list_files(study), PackConfig())  # warms up, too
        hu_ZHW, spacing_mm = volume.hu_ZHW, volume.study.spacing_mm
        times = [time.process_time()]
        there = heart.find(hu_ZHW, spacing_mm)
        times.append(time.process_time())
        lesions = candidates.find(hu_ZHW, spacing_mm, there)
        times.append(time.process_time())
        views.make(hu_ZHW, spacing_mm, there, lesions)
        times.append(time.process_time())
        for name, before, after in zip(found, times, times[1:], strict=False):
            found[name].append(after - before)
    return found


def _networks(found: dict[str, list[dict[str, Any]]], asked: Asked) -> list[Network]:
    networks = []
    for name, per_study in CONFIGS.items():
        facts = found[name][0]
        title = f"{name}.yaml, {per_study} slices of {facts['size']}, {facts['epochs']} epochs"
        slice_s = statistics.median(one["slice_s"] for one in found[name])
        networks.append(Network(title, round(asked.studies * per_study * facts["passes"]), slice_s))
    return networks


def _show(found: dict[str, list[dict[str, Any]]], asked: Asked) -> None:
    seconds = statistics.median(one["seconds"] for one in found["folds"])
    networks = _networks(found, asked)
    kind = "--hard" if asked.hard else "demo"
    rows = [[f"lesion model, {asked.studies} studies ({kind})", f"{seconds:.1f}", "1"]]
    rows += [[one.name, f"{one.seconds:.0f}", f"{one.seconds / seconds:.0f}"] for one in networks]
    times = {name: [s for one in found["exams"] for s in one[name]] for name in ("heart", "candidates", "views")}
    rows += [[f"exams: {name}", f"{statistics.median(of_part):.2f}", "-"] for name, of_part in times.items()]
    load = os.getloadavg()[0]
    title = f"{screen.machine('cpu')}: {asked.repeats} repeats, medians; load of the machine {load:.1f}"
    legend = LEGEND.format(exams=EXAMS, slices=EXAM_SLICES)
    screen.show(title, ("", "s", "x"), rows, legend, _goals(seconds, networks[-1].seconds, times))


def _goals(seconds: float, network_s: float, times: dict[str, list[float]]) -> Iterator[Goal]:
    """What is wanted, what was found and whether that will do."""
    yield f"five folds in {FOLDS_S:g} s of processor time", f"{seconds:.1f}", seconds <= FOLDS_S
    ratio = network_s / seconds
    yield f"{FASTER:g} times as fast as the study's slice network", f"{ratio:.0f}", ratio >= FASTER
    both = [heart + found for heart, found in zip(times["heart"], times["candidates"], strict=True)]
    exam_s = statistics.median(both)
    yield f"region, candidates and features of an exam in {EXAM_S:g} s", f"{exam_s:.2f}", exam_s <= EXAM_S


def main(part: str, *arguments: str) -> None:
    if part == "folds":
        found: dict[str, Any] = folds(Path(arguments[0]))
    elif part == "steps":
        name, steps, batch, code = arguments
        found = network_steps(name, int(steps), int(batch), Path(code))
    else:
        found = exams(Path(arguments[0]))
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
