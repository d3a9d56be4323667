"""Figures of how a model came about: its network, its training, the trials from which its settings were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cac_hpc.plots import canvas
from cac_hpc.plots.canvas import COLOURS, DASHES, PAGE
from cac_hpc.results.training import Layer
from cac_hpc.results.trials import SettingImportance, TrialRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOLDS_IN_A_ROW = 5


def draw_history(stem: Path, histories: Mapping[int, Mapping[str, np.ndarray]], title: str, dpi: int) -> None:
    """Draw training and validation loss and the learning rate over the epochs, one line per fold.

    Args:
        histories: of each fold the columns epoch, train_loss, val_loss and learning_rate of its history.csv.
    """
    parts = {
        "train_loss": "training loss\n(class-weighted)",
        "val_loss": "validation loss",
        "learning_rate": "learning rate",
    }
    with canvas.figure(stem, PAGE, 0.38 * PAGE, dpi) as made:
        for axes, (name, label) in zip(made.subplots(1, 3), parts.items(), strict=True):
            for fold, history in histories.items():
                colour, dashes = COLOURS[fold % len(COLOURS)], DASHES[(fold // len(COLOURS) + fold) % len(DASHES)]
                axes.plot(history["epoch"], history[name], dashes, label=f"fold {fold}", color=colour, linewidth=1.1)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        canvas.log_of_numbers(axes)
        handles, labels = axes.get_legend_handles_labels()
        made.legend(handles[:12], labels[:12], loc="outside lower center", ncols=6)
        canvas.headed(made, title)


def draw_network(stem: Path, layers: Sequence[Layer], title: str, dpi: int) -> None:
    """Draw the network: a block for every layer that computes, as high as its image and as wide as it has channels."""
    with canvas.figure(stem, PAGE, 0.36 * PAGE, dpi) as made:
        axes = made.add_subplot()
        left = 0.0
        for layer, labels in _blocks(layers):
            shape = layer.output
            height = np.log2(shape[-1]) if len(shape) == 3 else 0.75 * np.log2(max(shape[0], 2))
            width = 0.28 * np.log2(shape[0] + 1) if len(shape) == 3 else 0.3
            colour = COLOURS[0] if len(shape) == 3 else COLOURS[4]
            canvas.add_block(axes, left, width, height, colour, 0.25 if not layer.parameters else 0.75)
            middle = left + width / 2
            axes.text(middle, height / 2 + 0.2, " x ".join(map(str, shape)), ha="center", va="bottom", fontsize=6)
            axes.text(middle, -height / 2 - 0.2, "\n".join(labels), ha="center", va="top", fontsize=6)
            left += width + max(0.5, 2.6 - width)
        axes.set(xlim=(-1.3, left - 0.6), ylim=(-6.2, 5.2), title=canvas.wrapped(title, made))
        axes.axis("off")


def _blocks(layers: Sequence[Layer]) -> list[tuple[Layer, list[str]]]:
    """The input and the layers with weights, with what stands below: their own label, those of layers that follow."""
    blocks: list[tuple[Layer, list[str]]] = []
    for layer in layers:
        label = f"{layer.layer} {layer.detail}".rstrip()
        if layer.parameters or not blocks or layer.layer == "Flatten":
            blocks.append((layer, [label]))
        else:
            blocks[-1][1].append(label)
    return blocks


def draw_trials(
    stem: Path, trials: Mapping[str, Sequence[TrialRow]], chosen: Mapping[str, int], label: str, title: str, dpi: int
) -> None:
    """Draw the figure of each trial of a fold in the order of their numbers, and the highest so far.

    Args:
        trials: of each fold, by its name. chosen: the number of the trial that each fold chose. label: of the figure.
    """
    with canvas.figure(stem, *_size(trials), dpi) as made:
        for axes, (name, rows) in zip(_by_fold(made, trials, label, "trial", title), trials.items(), strict=True):
            known = [(row.trial, row.figures[-1], row.ended) for row in rows if row.figures]
            whole = [(at, value) for at, value, ended in known if ended == "trained" and value is not None]
            cut = [(at, value) for at, value, ended in known if ended == "pruned" and value is not None]
            if whole:
                at_T, value_T = np.array(whole).T
                axes.step(at_T, np.maximum.accumulate(value_T), color=COLOURS[0], where="post", linewidth=1.2)
                axes.plot(at_T, value_T, "o", color=COLOURS[0], markersize=2.5, markeredgewidth=0)
            for at, value in cut:
                axes.plot([at], [value], "o", color="0.6", markersize=2.5, markerfacecolor="none", markeredgewidth=0.6)
            for at, value in whole:
                if at == chosen.get(name):
                    axes.plot([at], [value], "D", color=COLOURS[1], markersize=4.5)
        kinds: dict[str, dict[str, Any]] = {
            "trained to its end": {"marker": "o", "color": COLOURS[0], "linestyle": "", "markersize": 3},
            "highest so far": {"color": COLOURS[0], "linewidth": 1.2},
            "chosen": {"marker": "D", "color": COLOURS[1], "linestyle": "", "markersize": 4.5},
        }
        if any(row.ended == "pruned" for rows in trials.values() for row in rows):
            hollow = {"markerfacecolor": "none", "markersize": 3, "linestyle": ""}
            kinds["pruned, at its last look"] = {"marker": "o", "color": "0.6", **hollow}
        made.legend(handles=canvas.handles(kinds), loc="outside lower center", ncols=4)


def draw_rungs(
    stem: Path, trials: Mapping[str, Sequence[TrialRow]], chosen: Mapping[str, int], label: str, title: str, dpi: int
) -> None:
    """Draw the figure of each trial over the epochs at which it was looked at; arguments are those of `draw_trials`."""
    kinds: dict[str, dict[str, Any]] = {
        "pruned": {"color": "0.7", "linewidth": 0.6, "marker": "o", "markersize": 1.8, "zorder": 1},
        "trained": {"color": COLOURS[0], "linewidth": 0.8, "marker": "o", "markersize": 2, "zorder": 2},
        "chosen": {"color": COLOURS[1], "linewidth": 1.6, "marker": "D", "markersize": 3.5, "zorder": 3},
    }
    with canvas.figure(stem, *_size(trials), dpi) as made:
        panels = _by_fold(made, trials, label, "epochs trained", title)
        for axes, (name, rows) in zip(panels, trials.items(), strict=True):
            for row in rows:
                kind = "chosen" if row.trial == chosen.get(name) else row.ended
                values = [np.nan if value is None else value for value in row.figures]
                if kind in kinds:
                    axes.plot(row.epochs, values, **kinds[kind])
            axes.set_xscale("log")
            ends = sorted({epochs for row in rows if row.ended in kinds for epochs in row.epochs})
            axes.set_xticks(ends[:: max(1, len(ends) // 4)], [f"{end}" for end in ends[:: max(1, len(ends) // 4)]])
            canvas.no_small_ticks(axes.xaxis)
        names = {"pruned": "pruned", "trained": "trained to its end", "chosen": "chosen"}
        handles = canvas.handles({names[kind]: style for kind, style in kinds.items()})
        made.legend(handles=handles, loc="outside lower center", ncols=3)


def _size(folds: Mapping[str, Any]) -> tuple[float, float]:
    """Width and height of a figure with a panel for each fold, inches."""
    rows = -(-max(len(folds), 1) // FOLDS_IN_A_ROW)
    return PAGE if len(folds) > 2 else 0.6 * PAGE, 0.9 + 1.6 * rows


def _by_fold(made: Figure, folds: Mapping[str, Any], label: str, below: str, title: str) -> list[Axes]:
    """A panel for each fold, with the same axis of the figure."""
    columns = min(FOLDS_IN_A_ROW, max(len(folds), 1))
    every = made.subplots(-(-max(len(folds), 1) // columns), columns, sharey=True, squeeze=False)
    for at, axes in enumerate(every.ravel()):
        axes.set_visible(at < len(folds))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(below)
    made.supylabel(label, fontsize=8)
    panels = list(every.ravel()[: len(folds)])
    for axes, name in zip(panels, folds, strict=True):
        axes.set_title(name)
    canvas.headed(made, title)
    return panels


def draw_importance(stem: Path, found: Sequence[SettingImportance], title: str, dpi: int) -> None:
    """Draw the importance of settings: the mean over the folds as a bar, each fold as a point."""
    with canvas.figure(stem, PAGE, 0.9 + 0.28 * len(found), dpi) as made:
        axes = made.add_subplot()
        for row, one in enumerate(found):
            axes.barh([row], [one.mean], 0.55, color=COLOURS[5], alpha=0.6)
            values = list(one.of_folds.values())
            axes.plot(values, [row] * len(values), "o", color=COLOURS[0], markersize=3, clip_on=False, alpha=0.8)
        axes.set_yticks(range(len(found)), [one.setting for one in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        label = "share in how much the figures of a fold's trials differ; bar: mean, point: a fold"
        axes.set(xlim=(0, 1), xlabel=label, title=canvas.wrapped(title, made))
