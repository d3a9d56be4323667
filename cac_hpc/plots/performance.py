"""Figures of how well categories are predicted: confusion, reliability, folds, other readers, scores."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cac_hpc.plots import canvas
from cac_hpc.plots.canvas import COLOURS, COLUMN, PAGE
from cac_hpc.results.calibration import Bin
from cac_hpc.results.levels import Level
from cac_hpc.results.readers import Reader


def draw_confusion(stem: Path, matrix: np.ndarray, names: Sequence[str], title: str, unit: str, dpi: int) -> None:
    """Draw a confusion matrix: counts, coloured by their share of the true category.

    Args:
        stem: path without suffix. matrix: (K, K) counts, rows true, columns predicted. unit: what is counted.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with canvas.figure(stem, 1.35 * COLUMN, 1.2 * COLUMN, dpi) as made:
        axes = made.add_subplot()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*matrix.shape):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour)
        labels = [textwrap.fill(canvas.shortened(name, 40), 18) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), labels)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set(xlabel="predicted category", ylabel="true category")
        canvas.titled(axes, canvas.wrapped(title, made))
        made.colorbar(image, ax=axes, label=f"share of the true category's {unit}", shrink=0.85)


def draw_reliability(stem: Path, bins: Sequence[Bin], title: str, unit: str, dpi: int) -> None:
    """Draw the accuracy of predictions over their probability, with intervals, and how many there are."""
    known = [row for row in bins if row.n]
    with canvas.figure(stem, COLUMN, 1.15 * COLUMN, dpi) as made:
        axes, counts = made.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", label="perfectly calibrated")
        x, y = [row.confidence for row in known], [row.accuracy for row in known]
        for row in known:
            if row.low is not None:
                axes.plot([row.confidence] * 2, [row.low, row.high], color=COLOURS[0], linewidth=1)
        observed = {"label": "observed, 95 % interval", "clip_on": False}  # a mark at 1 is whole
        axes.plot(x, y, color=COLOURS[0], marker="o", markersize=3.5, linewidth=1, **observed)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        canvas.titled(axes, canvas.wrapped(title, made))
        axes.legend(loc="lower right")
        for row in bins:
            counts.bar(row.above, row.n, row.up_to - row.above, align="edge", color="0.75", edgecolor="w")
        counts.set(xlabel="highest probability", ylabel=unit)


def draw_folds(stem: Path, levels: Mapping[str, Level], names: Mapping[int, str], title: str, dpi: int) -> None:
    """Draw the accuracy of each fold, the pooled one with its interval, and the largest category's share.

    Args:
        names: of folds that are called by what they test.
    """
    with canvas.figure(stem, PAGE, 0.32 * PAGE, dpi) as made:
        for axes, (level, found) in zip(made.subplots(1, len(levels), squeeze=False)[0], levels.items(), strict=True):
            values = {fold.fold: fold.figures["accuracy"].value for fold in found.folds}
            folds = {fold: value for fold, value in values.items() if value is not None}
            pooled, majority = (found.pooled.figures[name] for name in ("accuracy", "majority_accuracy"))
            axes.plot(list(folds.values()), range(len(folds)), "o", color=COLOURS[0], markersize=4, clip_on=False)
            bottom = len(folds)
            canvas.add_interval(axes, pooled.low, pooled.high, bottom, "black", 1.2)
            axes.plot([pooled.value], [bottom], "D", color="black", markersize=5, clip_on=False)
            axes.axvline(majority.value, color=COLOURS[1], linestyle="--", linewidth=1)
            axes.annotate(
                "always the largest category", (majority.value, 1), (2, 2), textcoords="offset points",
                xycoords=("data", "axes fraction"), color=COLOURS[1], fontsize=7,
            )  # fmt: skip
            called = [names.get(fold, f"fold {fold}") for fold in folds]
            axes.set_yticks([*range(len(folds)), bottom], [*called, "pooled [95 %]"])
            axes.invert_yaxis()
            axes.set(xlim=(0, 1), xlabel=f"accuracy, {level} level")
        canvas.headed(made, title)


def draw_readers(stem: Path, found: Sequence[Reader], title: str, dpi: int) -> None:
    """Draw the accuracy of patients of each reader with its 95 % interval."""
    with canvas.figure(stem, PAGE, 0.9 + 0.28 * len(found), dpi) as made:
        axes = made.add_subplot()
        for row, reader in enumerate(found):
            accuracy, colour = reader.levels["patient"].figures["accuracy"], COLOURS[0 if reader.compared else 1]
            canvas.add_interval(axes, accuracy.low, accuracy.high, row, colour)
            mark = "D" if reader.compared is None else "o"
            axes.plot([accuracy.value or 0], [row], mark, color=colour, markersize=5, clip_on=False)
        axes.set_yticks(range(len(found)), [reader.name for reader in found])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="accuracy of patients, 95 % interval", title=canvas.wrapped(title, made))


def draw_scores(
    stem: Path, reported: np.ndarray, read: Mapping[str, np.ndarray], edges: Sequence[float], title: str, dpi: int
) -> None:
    """Draw the scores of readers over the reported ones, on axes that show 0; the grid is the categories'.

    Args:
        reported: (N,) scores, and those of each reader by its name. edges: between the categories.
    """
    top = 1.5 * max([edges[-1], *reported, *(score for scores in read.values() for score in scores)])
    ticks = sorted({0, *edges})
    with canvas.figure(stem, max(COLUMN, 0.66 * COLUMN * len(read)), COLUMN, dpi) as made:
        for axes, (name, scores) in zip(made.subplots(1, len(read), squeeze=False)[0], read.items(), strict=True):
            axes.plot([0, top], [0, top], color="0.6", linewidth=0.8)
            for edge in edges:
                axes.axvline(edge, color="0.85", linewidth=0.6, zorder=0)
                axes.axhline(edge, color="0.85", linewidth=0.6, zorder=0)
            axes.plot(reported, scores, "o", color=COLOURS[0], markersize=3, alpha=0.7, markeredgewidth=0)
            for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
                set_scale("symlog", linthresh=1)
                axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
                canvas.no_small_ticks(axis)
            axes.tick_params(axis="x", labelrotation=45)  # 400 and 1000 are close
            axes.set(xlim=(-0.2, top), ylim=(-0.2, top), xlabel="reported score", ylabel="score")
            canvas.titled(axes, textwrap.fill(name, 30))
        canvas.headed(made, title)
