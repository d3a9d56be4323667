"""Figures of the report, as PNG and SVG; same numbers, same bytes. The owner of matplotlib and Pillow.

One column of a paper is 89 mm wide, two are 183 mm; letters are 7 to 8 points there. Colours: Okabe and Ito, which
the colour-blind distinguish; shares of a whole in one hue from light to dark.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter
from PIL import Image

from cac_hpc.results.calibration import Bin
from cac_hpc.results.levels import Level
from cac_hpc.results.readers import Reader
from cac_hpc.results.training import Layer
from cac_hpc.results.trials import SettingImportance, TrialRow
from cac_hpc.run import disk

COLUMN, PAGE = 89 / 25.4, 183 / 25.4  # inches
IN_A_ROW = 4  # names of a legend
CAPTION = 24  # characters in a line, a sixth of a page wide
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar sign in a name begins no formula
    "svg.fonttype": "path",  # looks the same on machines without the font
}


class Outline(Protocol):
    """A line around something in a picture, see `lesions.Outline`."""

    @property
    def counted(self) -> bool: ...
    @property
    def lines(self) -> Sequence[np.ndarray]: ...
    @property
    def label(self) -> str: ...
    @property
    def at(self) -> tuple[float, float]: ...


class Value(Protocol):
    """A number with its interval, see `Figure`."""

    @property
    def value(self) -> float | None: ...
    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


@dataclass(frozen=True)
class Limits:
    """A value and its interval."""

    value: float | None
    low: float | None
    high: float | None


class Panel(Protocol):
    """A picture with such lines, see `lesions.Panel`."""

    @property
    def text(self) -> str: ...
    @property
    def image_SS(self) -> np.ndarray: ...
    @property
    def outlines(self) -> Sequence[Outline]: ...


@dataclass(frozen=True)
class Line:
    """A line or point of a panel. colour: its place in COLOURS, None: grey. band: below and above it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int | None
    mark: str = "-"
    band: tuple[Sequence[float], Sequence[float]] | None = None


@dataclass(frozen=True)
class Lines:
    """A panel of lines."""

    title: str
    lines: Sequence[Line]
    height: tuple[float, float]  # of the axis


def draw_lines(stem: Path, panels: Sequence[Lines], labels: tuple[str, str], title: str, dpi: int) -> None:
    """Draw panels of lines side by side, over 0 to 1, with one legend; nothing where there is none."""
    if not panels:
        return
    with mpl.rc_context(STYLE):
        names = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
        below = 0.46 + 0.16 * -(-len(names) // IN_A_ROW)
        figure, grid = _side_by_side(len(panels), 0.36 * PAGE, below, len({panel.height for panel in panels}) == 1)
        handles: dict[str, Line2D] = {}
        for axes, panel in zip(grid, panels, strict=True):
            for line in panel.lines:
                handles.setdefault(line.label, _draw_line(axes, line))
            axes.set(xlim=(0, 1), ylim=panel.height, xlabel=labels[0])
            axes.set_title(panel.title, fontsize=7 if len(panels) < 4 else 5)
            axes.yaxis.set_major_locator(MaxNLocator(4))
        grid[0].set_ylabel(labels[1])
        legend = [textwrap.shorten(name, 36, placeholder=" ...") for name in names]
        figure.legend([handles[name] for name in names], legend, loc="lower center", ncols=IN_A_ROW)
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def _draw_line(axes: Axes, line: Line) -> Line2D:
    grey = line.colour is None
    colour = "0.55" if line.colour is None else COLOURS[line.colour % len(COLOURS)]
    if line.band:
        axes.fill_between(line.x, *line.band, color=colour, alpha=0.15, linewidth=0)
    point, width = line.mark == "D", 0.9 if grey else 1.3
    return axes.plot(line.x, line.y, line.mark, color=colour, markersize=4.5, linewidth=width, clip_on=not point)[0]


def _side_by_side(count: int, height: float, below: float, alike: bool) -> tuple[Figure, Sequence[Axes]]:
    """Panels over 0 to 1, placed by hand, which takes half the time.

    Args:
        height, below: of the figure, and of what is below its panels, inches. alike: of one axis, which is drawn once.
    """
    figure = Figure(figsize=(PAGE, height))
    grid = figure.subplots(1, count, squeeze=False, sharey=alike)[0]
    figure.subplots_adjust(0.075, below / height, 0.985, 1 - 0.55 / height, wspace=0.1 if alike else 0.25)
    for axes in grid:
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    return figure, list(grid)


def draw_boxes(stem: Path, panels: Mapping[str, Sequence[tuple[str, Sequence[float]]]], title: str, dpi: int) -> None:
    """Draw boxes by category: median, quarters, and 5th and 95th percentile, in panels side by side.

    Args:
        panels: by what is on their axis the boxes, each with its name and its five percentiles in rising order.
    """
    if not panels:
        return
    with mpl.rc_context(STYLE):
        height = 0.9 + 0.28 * max(map(len, panels.values()))
        figure, grid = _side_by_side(len(panels), height, 0.5, alike=True)
        figure.subplots_adjust(left=0.24, top=1 - 0.3 / height)
        for axes, (label, boxes) in zip(grid, panels.items(), strict=True):
            keys = ("whislo", "q1", "med", "q3", "whishi")
            drawn = [dict(zip(keys, ends, strict=True)) for _, ends in boxes]
            axes.bxp(
                drawn, orientation="horizontal", widths=0.6, patch_artist=True, showfliers=False,
                boxprops={"facecolor": COLOURS[5], "edgecolor": COLOURS[0]}, medianprops={"color": "black"},
            )  # fmt: skip
            axes.set(xlim=(0, 1), xlabel=label)
        grid[0].set_yticks(
            range(1, len(boxes) + 1), [textwrap.shorten(name, 34, placeholder=" ...") for name, _ in boxes]
        )
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_stacks(
    stem: Path, stacks: Sequence[tuple[str, Sequence[int]]], names: Sequence[str], label: str, title: str, dpi: int
) -> None:
    """Draw a stack of shares in each row, from light to dark.

    Args:
        stacks: the name of each row and its counts, one of them above 0. names: of what is counted. label: of the axis.
    """
    with mpl.rc_context(STYLE):
        height = 0.9 + 0.28 * len(stacks)
        figure, axes = _one(1.35 * COLUMN, height)
        left = np.zeros(len(stacks))
        shares = np.array([counts for _, counts in stacks]) / np.array([[sum(counts)] for _, counts in stacks])
        for at, name in enumerate(names):
            colour = mpl.colormaps["Blues"](0.15 + 0.8 * at / max(len(names) - 1, 1))
            axes.barh(range(len(stacks)), shares[:, at], 0.7, left, color=colour, edgecolor="white", label=name)
            left = left + shares[:, at]
        rows = [textwrap.shorten(name, 34, placeholder=" ...") for name, _ in stacks]
        axes.set_yticks(range(len(stacks)), rows)
        axes.set(xlim=(0, 1), xlabel=label, title=_wrapped(title, figure))
        axes.invert_yaxis()
        figure.legend(loc="outside lower center", ncols=IN_A_ROW)
        _save(figure, stem, dpi)


def draw_confusion(stem: Path, matrix: np.ndarray, names: Sequence[str], title: str, unit: str, dpi: int) -> None:
    """Draw a confusion matrix: counts, coloured by their share of the true category.

    Args:
        stem: path without suffix. matrix: (K, K) counts, rows true, columns predicted. unit: what is counted.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with mpl.rc_context(STYLE):
        figure, axes = _one(1.35 * COLUMN, 1.2 * COLUMN)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*matrix.shape):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour)
        labels = [textwrap.fill(textwrap.shorten(name, 40, placeholder=" ..."), 18) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), labels)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set(xlabel="predicted category", ylabel="true category", title=_wrapped(title, figure))
        figure.colorbar(image, ax=axes, label=f"share of the true category's {unit}", shrink=0.85)
        _save(figure, stem, dpi)


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
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.38 * PAGE), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(1, 3), parts.items(), strict=True):
            for fold, history in histories.items():
                colour, dashes = COLOURS[fold % len(COLOURS)], DASHES[(fold // len(COLOURS) + fold) % len(DASHES)]
                axes.plot(history["epoch"], history[name], dashes, label=f"fold {fold}", color=colour, linewidth=1.1)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[:12], labels[:12], loc="outside lower center", ncols=6)
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_reliability(stem: Path, bins: Sequence[Bin], title: str, unit: str, dpi: int) -> None:
    """Draw the accuracy of predictions over their probability, with intervals, and how many there are."""
    known = [row for row in bins if row.n]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 1.15 * COLUMN), layout="constrained")
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", label="perfectly calibrated")
        x, y = [row.confidence for row in known], [row.accuracy for row in known]
        for row in known:
            if row.low is not None:
                axes.plot([row.confidence] * 2, [row.low, row.high], color=COLOURS[0], linewidth=1)
        observed = {"label": "observed, 95 % interval", "clip_on": False}  # a mark at 1 is whole
        axes.plot(x, y, color=COLOURS[0], marker="o", markersize=3.5, linewidth=1, **observed)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=_wrapped(title, figure))
        axes.legend(loc="lower right")
        for row in bins:
            counts.bar(row.above, row.n, row.up_to - row.above, align="edge", color="0.75", edgecolor="w")
        counts.set(xlabel="highest probability", ylabel=unit)
        _save(figure, stem, dpi)


def draw_scores(
    stem: Path, reported: np.ndarray, read: Mapping[str, np.ndarray], edges: Sequence[float], title: str, dpi: int
) -> None:
    """Draw the scores of readers over the reported ones, on axes that show 0; the grid is the categories'.

    Args:
        reported: (N,) scores, and those of each reader by its name. edges: between the categories.
    """
    top = 1.5 * max([edges[-1], *reported, *(score for scores in read.values() for score in scores)])
    ticks = sorted({0, *edges})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(COLUMN, 0.66 * COLUMN * len(read)), COLUMN), layout="constrained")
        for axes, (name, scores) in zip(figure.subplots(1, len(read), squeeze=False)[0], read.items(), strict=True):
            axes.plot([0, top], [0, top], color="0.6", linewidth=0.8)
            for edge in edges:
                axes.axvline(edge, color="0.85", linewidth=0.6, zorder=0)
                axes.axhline(edge, color="0.85", linewidth=0.6, zorder=0)
            axes.plot(reported, scores, "o", color=COLOURS[0], markersize=3, alpha=0.7, markeredgewidth=0)
            for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
                set_scale("symlog", linthresh=1)
                axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
                axis.set_minor_locator(NullLocator())
            axes.tick_params(axis="x", labelrotation=45)  # 400 and 1000 are close
            axes.set(xlim=(-0.2, top), ylim=(-0.2, top), xlabel="reported score", ylabel="score")
            axes.set_title(textwrap.fill(name, 30))
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_readers(stem: Path, found: Sequence[Reader], title: str, dpi: int) -> None:
    """Draw the accuracy of patients of each reader with its 95 % interval."""
    with mpl.rc_context(STYLE):
        figure, axes = _one(PAGE, (0.9 + 0.28 * len(found)))
        for row, reader in enumerate(found):
            accuracy, colour = reader.levels["patient"].figures["accuracy"], COLOURS[0 if reader.compared else 1]
            if accuracy.low is not None and accuracy.high is not None:
                axes.plot([accuracy.low, accuracy.high], [row, row], color=colour, linewidth=1.4)
            mark = "D" if reader.compared is None else "o"
            axes.plot([accuracy.value or 0], [row], mark, color=colour, markersize=5, clip_on=False)
        axes.set_yticks(range(len(found)), [reader.name for reader in found])
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="accuracy of patients, 95 % interval", title=_wrapped(title, figure))
        _save(figure, stem, dpi)


def draw_pairs(
    stem: Path, pairs: Mapping[str, tuple[Value, Value]], sides: tuple[str, str], title: str, dpi: int
) -> None:
    """Draw figures of two groups of patients, each with its 95 % interval.

    Args:
        pairs: both values by the figure's name, undefined ones are left out. sides: names of the groups.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _one(PAGE, 0.9 + 0.34 * len(pairs))
        for side, (name, colour, mark) in enumerate(zip(sides, COLOURS, ("o", "D"), strict=False)):
            for row, pair in enumerate(pairs.values()):
                one, height = pair[side], row + (side - 0.5) * 0.3
                if one.low is not None and one.high is not None:
                    axes.plot([one.low, one.high], [height, height], color=colour, linewidth=1.4)
                if one.value is not None:
                    axes.plot([one.value], [height], mark, color=colour, markersize=4.5, clip_on=False)
            axes.plot([], [], mark, linestyle="-", color=colour, markersize=4.5, label=name)
        axes.set_yticks(range(len(pairs)), list(pairs))
        axes.invert_yaxis()
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(xlim=(None, 1), xlabel="value, 95 % interval", title=_wrapped(title, figure))
        figure.legend(loc="outside lower center", ncols=2)
        _save(figure, stem, dpi)


def draw_forest(
    stem: Path, rows: Sequence[tuple[str, Sequence[Value]]], panels: Sequence[str], title: str, dpi: int
) -> None:
    """Draw differences with their 95 % intervals, a panel for each figure; a row without values is a heading.

    Args:
        rows: name of each, and its value in each panel.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.9 + 0.19 * len(rows)), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for place, (axes, name) in enumerate(zip(grid, panels, strict=True)):
            axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
            for row, (_, values) in enumerate(rows):
                one = values[place] if values else Limits(None, None, None)
                known = one.low is not None and one.high is not None
                sure = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
                if known:
                    axes.plot([one.low, one.high], [row, row], color=COLOURS[sure], linewidth=1.4)
                if one.value is not None:
                    axes.plot([one.value], [row], "D" if sure else "o", color=COLOURS[sure], markersize=4)
            axes.set(xlabel=f"difference of\n{name}")
            axes.xaxis.set_major_locator(MaxNLocator(4))
        grid[0].set_yticks(range(len(rows)), [name for name, _ in rows])
        for label, (_, values) in zip(grid[0].get_yticklabels(), rows, strict=True):
            label.set_fontweight("normal" if values else "bold")
        grid[0].set_ylim(len(rows) - 0.5, -0.7)
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_lesions(
    path: Path,
    panels: Sequence[Panel],
    texts: Sequence[str],
    legend: Mapping[bool, str],
    colours: Mapping[bool, str],
    dpi: int,
) -> None:
    """Draw the panels of a study, three in a row, with outlines of what counted and of what did not.

    Args:
        texts: above the panels, the first in bold. legend, colours: of what counted, and of what did not.
    """
    columns = min(3, max(len(panels), 1))
    rows = max(1, -(-len(panels) // columns))
    head = 0.18 * (len(texts) + 2)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, PAGE / columns * rows + head))
        height = figure.get_figheight()
        for at, text in enumerate(texts):
            weight = "normal" if at else "bold"
            figure.text(0.01, 1 - (0.1 + 0.17 * at) / height, text, va="top", fontsize=8, fontweight=weight)
        handles = [
            Line2D([], [], color=colours[key], linestyle="-" if key else "--", label=legend[key]) for key in legend
        ]
        below = 1 - (0.06 + 0.17 * len(texts)) / height
        box = figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, below), ncols=2, frameon=True)
        box.get_frame().set(facecolor="0.25", edgecolor="none")
        for label in box.get_texts():
            label.set_color("white")
        for at, panel in enumerate(panels):
            row, column = divmod(at, columns)
            side = (height - head) / height / rows
            axes = figure.add_axes((column / columns, (rows - 1 - row) * side, 0.995 / columns, 0.99 * side))
            _draw_panel(axes, panel, colours)
        with disk.atomic(path) as scratch:
            figure.savefig(scratch, format="png", dpi=dpi, metadata={"Software": None})


def _draw_panel(axes: Axes, panel: Panel, colours: Mapping[bool, str]) -> None:
    size, halo = len(panel.image_SS), [Stroke(linewidth=1.6, foreground="black"), Normal()]
    axes.imshow(panel.image_SS, cmap="gray", vmin=0, vmax=255, extent=(0, size, size, 0), interpolation="antialiased")
    for one in panel.outlines:
        for corners in one.lines:
            dash = "-" if one.counted else (0, (2.5, 1.5))
            axes.add_patch(Polygon(corners, fill=False, edgecolor=colours[one.counted], linewidth=0.9, linestyle=dash))
        if one.label:
            axes.text(*one.at, one.label, color=colours[one.counted], fontsize=5.5, path_effects=halo)
    axes.text(3, size - 4, panel.text, color="white", fontsize=6.5, path_effects=halo)
    axes.axis("off")


def draw_folds(stem: Path, levels: Mapping[str, Level], names: Mapping[int, str], title: str, dpi: int) -> None:
    """Draw the accuracy of each fold, the pooled one with its interval, and the largest category's share.

    Args:
        names: of folds that are called by what they test.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.32 * PAGE), layout="constrained")
        for axes, (level, found) in zip(figure.subplots(1, len(levels), squeeze=False)[0], levels.items(), strict=True):
            values = {fold.fold: fold.figures["accuracy"].value for fold in found.folds}
            folds = {fold: value for fold, value in values.items() if value is not None}
            pooled, majority = (found.pooled.figures[name] for name in ("accuracy", "majority_accuracy"))
            axes.plot(list(folds.values()), range(len(folds)), "o", color=COLOURS[0], markersize=4, clip_on=False)
            bottom = len(folds)
            if pooled.low is not None:
                axes.plot([pooled.low, pooled.high], [bottom] * 2, color="black", linewidth=1.2)
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
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_trials(
    stem: Path, trials: Mapping[str, Sequence[TrialRow]], chosen: Mapping[str, int], label: str, title: str, dpi: int
) -> None:
    """Draw the figure of each trial of a fold in the order of their numbers, and the highest so far.

    Args:
        trials: of each fold, by its name. chosen: the number of the trial that each fold chose. label: of the figure.
    """
    with mpl.rc_context(STYLE):
        figure, panels = _by_fold(trials, label, "trial", title)
        for axes, (name, rows) in zip(panels, trials.items(), strict=True):
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
        kinds: dict[str, Any] = {
            "trained to its end": {"marker": "o", "color": COLOURS[0], "linestyle": "", "markersize": 3},
            "highest so far": {"color": COLOURS[0], "linewidth": 1.2},
            "chosen": {"marker": "D", "color": COLOURS[1], "linestyle": "", "markersize": 4.5},
        }
        if any(row.ended == "pruned" for rows in trials.values() for row in rows):
            hollow = {"markerfacecolor": "none", "markersize": 3, "linestyle": ""}
            kinds["pruned, at its last look"] = {"marker": "o", "color": "0.6", **hollow}
        handles = [Line2D([], [], label=name, **style) for name, style in kinds.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        _save(figure, stem, dpi)


def draw_rungs(
    stem: Path, trials: Mapping[str, Sequence[TrialRow]], chosen: Mapping[str, int], label: str, title: str, dpi: int
) -> None:
    """Draw the figure of each trial over the epochs at which it was looked at; arguments are those of `draw_trials`."""
    kinds: dict[str, Any] = {
        "pruned": {"color": "0.7", "linewidth": 0.6, "marker": "o", "markersize": 1.8, "zorder": 1},
        "trained": {"color": COLOURS[0], "linewidth": 0.8, "marker": "o", "markersize": 2, "zorder": 2},
        "chosen": {"color": COLOURS[1], "linewidth": 1.6, "marker": "D", "markersize": 3.5, "zorder": 3},
    }
    with mpl.rc_context(STYLE):
        figure, panels = _by_fold(trials, label, "epochs trained", title)
        for axes, (name, rows) in zip(panels, trials.items(), strict=True):
            for row in rows:
                kind = "chosen" if row.trial == chosen.get(name) else row.ended
                values = [np.nan if value is None else value for value in row.figures]
                if kind in kinds:
                    axes.plot(row.epochs, values, **kinds[kind])
            axes.set_xscale("log")
            ends = sorted({epochs for row in rows if row.ended in kinds for epochs in row.epochs})
            axes.set_xticks(ends[:: max(1, len(ends) // 4)], [f"{end}" for end in ends[:: max(1, len(ends) // 4)]])
            axes.xaxis.set_minor_locator(NullLocator())
        names = {"pruned": "pruned", "trained": "trained to its end", "chosen": "chosen"}
        handles = [Line2D([], [], label=names[kind], **style) for kind, style in kinds.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        _save(figure, stem, dpi)


def draw_importance(stem: Path, found: Sequence[SettingImportance], title: str, dpi: int) -> None:
    """Draw the importance of settings: the mean over the folds as a bar, each fold as a point."""
    with mpl.rc_context(STYLE):
        figure, axes = _one(PAGE, 0.9 + 0.28 * len(found))
        for row, one in enumerate(found):
            axes.barh([row], [one.mean], 0.55, color=COLOURS[5], alpha=0.6)
            values = list(one.of_folds.values())
            axes.plot(values, [row] * len(values), "o", color=COLOURS[0], markersize=3, clip_on=False, alpha=0.8)
        axes.set_yticks(range(len(found)), [one.setting for one in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        label = "share in how much the figures of a fold's trials differ; bar: mean, point: a fold"
        axes.set(xlim=(0, 1), xlabel=label, title=_wrapped(title, figure))
        _save(figure, stem, dpi)


def draw_network(stem: Path, layers: Sequence[Layer], title: str, dpi: int) -> None:
    """Draw the network: a block for every layer that computes, as high as its image and as wide as it has channels."""
    with mpl.rc_context(STYLE):
        figure, axes = _one(PAGE, 0.36 * PAGE)
        left = 0.0
        for layer, labels in _blocks(layers):
            shape = layer.output
            height = np.log2(shape[-1]) if len(shape) == 3 else 0.75 * np.log2(max(shape[0], 2))
            width = 0.28 * np.log2(shape[0] + 1) if len(shape) == 3 else 0.3
            colour = COLOURS[0] if len(shape) == 3 else COLOURS[4]
            alpha = 0.25 if not layer.parameters else 0.75
            axes.add_patch(Rectangle((left, -height / 2), width, height, facecolor=colour, alpha=alpha, edgecolor="k"))
            middle = left + width / 2
            axes.text(middle, height / 2 + 0.2, " x ".join(map(str, shape)), ha="center", va="bottom", fontsize=6)
            axes.text(middle, -height / 2 - 0.2, "\n".join(labels), ha="center", va="top", fontsize=6)
            left += width + max(0.5, 2.6 - width)
        axes.set(xlim=(-1.3, left - 0.6), ylim=(-6.2, 5.2), title=_wrapped(title, figure))
        axes.axis("off")
        _save(figure, stem, dpi)


def draw_slices(stem: Path, slices_NSS: np.ndarray, captions: Sequence[str], title: str, dpi: int) -> None:
    """Draw slices, six in a row, each with its caption.

    Args:
        slices_NSS: (N, S, S) uint8, at least one.
    """
    columns = min(6, len(slices_NSS))
    rows = -(-len(slices_NSS) // columns)
    captions = ["\n".join(textwrap.fill(line, CAPTION) for line in caption.splitlines()) for caption in captions]
    lines = 1 + max(caption.count("\n") for caption in captions)
    with mpl.rc_context(STYLE):
        cell = PAGE / 6
        figure = Figure(figsize=(cell * columns, (cell + 0.11 * lines) * rows + 0.3), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in every:
            axes.axis("off")
        for axes, slice_SS, caption in zip(every, slices_NSS, captions, strict=False):
            axes.imshow(slice_SS, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            axes.set_title(caption, fontsize=6, loc="left")
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def save_slice(path: Path, slice_SS: np.ndarray) -> None:
    """Write one slice (S, S) uint8 as PNG, pixel by pixel."""
    with disk.atomic(path) as scratch:
        Image.fromarray(slice_SS).save(scratch, format="PNG", optimize=True)


def png(image_SS: np.ndarray) -> bytes:
    """One slice (S, S) uint8 as the bytes of a PNG."""
    made = io.BytesIO()
    Image.fromarray(image_SS).save(made, format="PNG", optimize=True)
    return made.getvalue()


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


def _by_fold(folds: Mapping[str, Any], label: str, below: str, title: str) -> tuple[Figure, Sequence[Axes]]:
    """A panel for each fold, five in a row, with the same axis of the figure."""
    columns = min(5, max(len(folds), 1))
    rows = -(-max(len(folds), 1) // columns)
    width = PAGE if columns > 2 else 0.6 * PAGE
    figure = Figure(figsize=(width, 0.9 + 1.6 * rows), layout="constrained")
    every = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for at, axes in enumerate(every.ravel()):
        axes.set_visible(at < len(folds))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(below)
    figure.supylabel(label, fontsize=8)
    panels = list(every.ravel()[: len(folds)])
    for axes, name in zip(panels, folds, strict=True):
        axes.set_title(name)
    figure.suptitle(_wrapped(title, figure), fontsize=8)
    return figure, panels


def _one(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _wrapped(title: str, figure: Figure) -> str:
    """A title in lines that the figure is wide enough for."""
    return textwrap.fill(title, int(13 * figure.get_figwidth()))


def _save(figure: Figure, stem: Path, dpi: int) -> None:
    with mpl.rc_context({"svg.hashsalt": stem.name}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            with disk.atomic(stem.with_suffix(f".{kind}")) as scratch:
                figure.savefig(scratch, format=kind, dpi=dpi, metadata=metadata)
            figure.set_layout_engine("none")  # it is laid out now, for the second format, too
