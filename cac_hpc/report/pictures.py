"""Every picture of a report, by the name of its file: a new one goes here. Axes: N slice, S row and column."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.dataset import shards
from cac_hpc.evaluation import examples
from cac_hpc.machine import workers
from cac_hpc.machine.workers import Lost, Worker
from cac_hpc.report import figures, tables
from cac_hpc.run import logs, paths
from cac_hpc.run.config import Config
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths, RunPaths

PATIENCE_S = 600.0  # for one shard's slices

Summary = dict[str, Any]


def draw(run: RunPaths, cfg: Config, summary: Summary) -> None:
    """Draw what the summary holds, the curves of its folds and the slices that it names."""
    folder = run.report / "figures"
    where = _where(summary)
    for level, results in summary["levels"].items():
        title = f"{level.capitalize()} level, {where}, {tables.counted(level, results)}"
        _draw_level(folder, level, results, title, cfg)
    _draw_rule(folder, summary, where, cfg)
    if accuracies := _accuracies(summary):
        figures.draw_folds(folder / "folds", accuracies, f"Accuracy by fold, {where}", cfg.report.figure_dpi)
    if histories := _histories(run, summary):
        title = f"Loss and learning rate by epoch, {where}"
        figures.draw_history(folder / "history", histories, title, cfg.report.figure_dpi)
    if layers := network(summary):
        parameters = f"The network: {sum(layer['parameters'] for layer in layers):,} parameters"
        title = ", ".join([parameters, *_marks(summary)])
        figures.draw_network(folder / "network", layers, title, cfg.report.figure_dpi)
    _draw_slices(run, cfg, summary)


def network(summary: Summary) -> list[dict[str, Any]]:
    """The layers that every fold has trained, empty where nobody knows."""
    training = summary["training"]
    return training[0].get("layers") or [] if training else []


def window_name(cfg: Config) -> str:
    """The contrast window of the slices, as radiologists say it."""
    low, high = cfg.report.window_hu
    return f"window width {high - low:g} HU, level {(high + low) / 2:g} HU"


def _draw_level(folder: Path, level: str, results: dict[str, Any], title: str, cfg: Config) -> None:
    matrix, dpi = np.array(results["pooled"]["confusion_matrix"]), cfg.report.figure_dpi
    figures.draw_confusion(
        folder / f"confusion_{level}", matrix, cfg.labels.names, title, tables.units(level, results), dpi
    )
    bins = results["calibration"]["reliability"]
    figures.draw_reliability(folder / f"reliability_{level}", bins, title, tables.units(level, results), dpi)


def _draw_rule(folder: Path, summary: Summary, where: str, cfg: Config) -> None:
    """What the Agatston rule says of the same units."""
    found, dpi = summary["rule"], cfg.report.figure_dpi
    for level, results in found.get("levels", {}).items():
        matrix = np.array(results["matrices"]["reference"]["confusion_matrix"])
        unit = tables.units(level, summary["levels"][level])
        title = f"The Agatston rule, {level} level, {where}, {results['n']['reference']} {unit}"
        figures.draw_confusion(folder / f"confusion_{level}_rule", matrix, cfg.labels.names, title, unit, dpi)
    if said := found.get("patients"):
        known = [index for index, score in enumerate(said["score"]) if score is not None]
        reported, rule = (np.array([said[name][index] for index in known], float) for name in ("score", "rule_score"))
        title = f"Agatston score, by the rule and as reported, {where}, n = {len(known)}"
        figures.draw_scores(folder / "scores", reported, rule, cfg.labels.edges, title, dpi)


def _where(summary: Summary) -> str:
    return ", ".join([f"{summary['folds_found']} of {summary['split']['folds']} folds", *_marks(summary)])


def _marks(summary: Summary) -> list[str]:
    mark = tables.status_mark(summary)
    return [mark] if mark else []


def _accuracies(summary: Summary) -> dict[str, dict[str, Any]]:
    found = {}
    for level, results in summary["levels"].items():
        accuracy = results["pooled"]["figures"]["accuracy"]
        if accuracy["value"] is not None:
            found[level] = {
                "folds": {fold["fold"]: fold["figures"]["accuracy"]["value"] for fold in results["folds"]},
                "pooled": accuracy["value"],
                "low": accuracy["low"],
                "high": accuracy["high"],
                "majority": results["pooled"]["figures"]["majority_accuracy"]["value"],
            }
    return found


def _histories(run: RunPaths, summary: Summary) -> dict[int, dict[str, np.ndarray]]:
    """The epochs of every fold whose history can be read."""
    tables = {facts["fold"]: _history(run.fold(facts["fold"]).history) for facts in summary["training"]}
    return {fold: table for fold, table in tables.items() if table}


def _history(path: Path) -> dict[str, np.ndarray]:
    """Columns of history.csv; empty where it is not there, or damaged, which is said."""
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path)
        columns = {name: table[name].to_numpy(float) for name in ("epoch", "train_loss", "val_loss", "learning_rate")}
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s: cannot be read, its fold is left out of the curves (%s)", path, error)
        return {}
    return columns if len(table) else {}


def _draw_slices(run: RunPaths, cfg: Config, summary: Summary) -> None:
    """Each slice as a picture of its own, and all of a kind as one figure."""
    folder, wanted = run.report / "figures", dict(examples.shown(summary))
    pixels = _read_slices(run.dataset(cfg.data.packed_dir), list(wanted.values())) if wanted else None
    if pixels is None:
        return
    shown = dict(zip(wanted, _grey(pixels, cfg.report.window_hu), strict=True))
    for stem, slice_SS in shown.items():
        figures.save_slice(folder / f"{stem}.png", slice_SS)
    titles = {"slices": "Sample slices", "misclassified": "Misclassified slices"}
    for kind, title in titles.items():
        mine = {stem: wanted[stem] for stem in shown if stem.startswith(f"{kind}_")}
        if mine:
            captions = [logs.harmless(_caption(example, summary)) for example in mine.values()]
            stack = np.stack([shown[stem] for stem in mine])
            title = ", ".join([title, window_name(cfg), *_marks(summary)])
            figures.draw_slices(folder / f"{kind}_all", stack, captions, title, cfg.report.figure_dpi)


def _caption(example: Mapping[str, Any], summary: Summary) -> str:
    names = [category["name"] for category in summary["categories"]]
    return (
        f"study {example['study']}, slice {example['slice']}\ntrue: {names[example['true']]}\n"
        f"predicted: {names[example['predicted']]} ({example['probability']:.2f})"
    )


def _grey(hu_NSS: np.ndarray, window_hu: Sequence[float]) -> np.ndarray:
    """HU as uint8, black at the window's lower edge and below, white at its upper edge and above."""
    low, high = window_hu
    return np.asarray((np.clip((hu_NSS - low) / (high - low), 0, 1) * 255).round(), np.uint8)


def _read_slices(dataset: DatasetPaths, wanted: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """HU of slices (N, S, S) int16; None if a shard is not there any more, or damaged."""
    sealed = shards.read_checked(dataset.seal).get("shards", [])
    keys = [(example["study"], example["slice"]) for example in wanted]
    found: dict[tuple[str, int], np.ndarray] = {}
    worker = Worker(_read, PATIENCE_S, workers.GIB * 4, threading.Event())  # damaged HDF5 may end its process
    try:
        for studies, shard in zip(paths.read_json(dataset.plan)["shards"], sealed, strict=False):
            if mine := [key for key in keys if key[0] in set(studies)]:
                found |= worker.run((dataset.root / shard["file"], mine), lambda said: None)
    except (Lost, OSError):
        return None
    finally:
        worker.close()
    return np.stack([found[key] for key in keys]) if set(keys) <= set(found) else None


def _read(task: tuple[Path, list[tuple[str, int]]], say: workers.Say) -> Any:
    """In the worker: slices of one shard."""
    return shards.read_slices(*task)
