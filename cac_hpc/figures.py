"""Figures of the report, as PNG and SVG; same numbers, same bytes. The owner of matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from cac_hpc import paths


def draw_confusion(stem: Path, matrix: np.ndarray, names: Sequence[str], title: str, unit: str, dpi: int) -> None:
    """Draw a confusion matrix: counts, coloured by their share of the true category.

    Args:
        stem: path without suffix. matrix: (K, K) counts, rows true, columns predicted. unit: what is counted.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        axes.text(
            column,
            row,
            f"{matrix[row, column]}",
            ha="center",
            va="center",
            fontsize=11,
            color="white" if share[row, column] > 0.5 else "black",
        )
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted category")
    axes.set_ylabel("true category")
    axes.set_title(title, fontsize=11)
    figure.colorbar(image, ax=axes, label=f"share of the true category's {unit}", shrink=0.85)
    _save(figure, stem, dpi)


def draw_history(stem: Path, histories: dict[int, dict[str, np.ndarray]], title: str, dpi: int) -> None:
    """Draw training and validation loss over the epochs, one colour per fold.

    Args:
        histories: of each fold the columns epoch, train_loss, val_loss of its history.csv.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for fold, history in histories.items():
        axes.plot(history["epoch"], history["train_loss"], color=f"C{fold}", linestyle=":")
        axes.plot(history["epoch"], history["val_loss"], color=f"C{fold}", label=f"fold {fold}")
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy")
    axes.set_title(title, fontsize=11)
    axes.legend(fontsize=9)
    _save(figure, stem, dpi)


def _save(figure: Figure, stem: Path, dpi: int) -> None:
    with mpl.rc_context({"svg.hashsalt": stem.name, "svg.fonttype": "none"}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            with paths.atomic(stem.with_suffix(f".{kind}")) as scratch:
                figure.savefig(scratch, format=kind, dpi=dpi, metadata=metadata)
