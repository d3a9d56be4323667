"""Charts of any numbers: lines, boxes, stacks of shares, values in pairs, differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cac_hpc.plots import canvas
from cac_hpc.plots.canvas import COLOURS, COLUMN, IN_A_ROW, PAGE
from cac_hpc.results.figures import Difference, Figure

if TYPE_CHECKING:
    from matplotlib import figure
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


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
    names = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    height, below = 0.36 * PAGE, 0.46 + 0.16 * -(-len(names) // IN_A_ROW)
    with canvas.figure(stem, PAGE, height, dpi, layout=None) as made:
        grid = _side_by_side(made, len(panels), height, below, len({panel.height for panel in panels}) == 1)
        handles: dict[str, Line2D] = {}
        for axes, panel in zip(grid, panels, strict=True):
            for line in panel.lines:
                handles.setdefault(line.label, _draw_line(axes, line))
            axes.set(xlim=(0, 1), ylim=panel.height, xlabel=labels[0])
            canvas.titled(axes, panel.title, 7 if len(panels) < 4 else 5)
            canvas.ticks_at(axes.yaxis, 4)
        grid[0].set_ylabel(labels[1])
        legend = [canvas.shortened(name, 36) for name in names]
        made.legend([handles[name] for name in names], legend, loc="lower center", ncols=IN_A_ROW)
        canvas.headed(made, title)


def _draw_line(axes: Axes, line: Line) -> Line2D:
    grey = line.colour is None
    colour = "0.55" if line.colour is None else COLOURS[line.colour % len(COLOURS)]
    if line.band:
        axes.fill_between(line.x, *line.band, color=colour, alpha=0.15, linewidth=0)
    point, width = line.mark == "D", 0.9 if grey else 1.3
    return axes.plot(line.x, line.y, line.mark, color=colour, markersize=4.5, linewidth=width, clip_on=not point)[0]


def _side_by_side(made: figure.Figure, count: int, height: float, below: float, alike: bool) -> list[Axes]:
    """Panels over 0 to 1, placed by hand.

    Args:
        height, below: of the figure, and of what is below its panels, inches. alike: of one axis, which is drawn once.
    """
    grid = made.subplots(1, count, squeeze=False, sharey=alike)[0]
    made.subplots_adjust(0.075, below / height, 0.985, 1 - 0.55 / height, wspace=0.1 if alike else 0.25)
    for axes in grid:
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    return list(grid)


def draw_boxes(stem: Path, panels: Mapping[str, Sequence[tuple[str, Sequence[float]]]], title: str, dpi: int) -> None:
    """Draw boxes by category: median, quarters, and 5th and 95th percentile, in panels side by side.

    Args:
        panels: by what is on their axis the boxes, each with its name and its five percentiles in rising order.
    """
    if not panels:
        return
    height = 0.9 + 0.28 * max(map(len, panels.values()))
    with canvas.figure(stem, PAGE, height, dpi, layout=None) as made:
        grid = _side_by_side(made, len(panels), height, 0.5, alike=True)
        made.subplots_adjust(left=0.24, top=1 - 0.3 / height)
        for axes, (label, boxes) in zip(grid, panels.items(), strict=True):
            keys = ("whislo", "q1", "med", "q3", "whishi")
            drawn = [dict(zip(keys, ends, strict=True)) for _, ends in boxes]
            axes.bxp(
                drawn, orientation="horizontal", widths=0.6, patch_artist=True, showfliers=False,
                boxprops={"facecolor": COLOURS[5], "edgecolor": COLOURS[0]}, medianprops={"color": "black"},
            )  # fmt: skip
            axes.set(xlim=(0, 1), xlabel=label)
        grid[0].set_yticks(range(1, len(boxes) + 1), [canvas.shortened(name) for name, _ in boxes])
        canvas.headed(made, title)


def draw_stacks(
    stem: Path, stacks: Sequence[tuple[str, Sequence[int]]], names: Sequence[str], label: str, title: str, dpi: int
) -> None:
    """Draw a stack of shares in each row, from light to dark.

    Args:
        stacks: the name of each row and its counts, one of them above 0. names: of what is counted. label: of the axis.
    """
    with canvas.figure(stem, 1.35 * COLUMN, 0.9 + 0.28 * len(stacks), dpi) as made:
        axes = made.add_subplot()
        left = np.zeros(len(stacks))
        shares = np.array([counts for _, counts in stacks]) / np.array([[sum(counts)] for _, counts in stacks])
        for at, name in enumerate(names):
            colour = canvas.shade(0.15 + 0.8 * at / max(len(names) - 1, 1))
            axes.barh(range(len(stacks)), shares[:, at], 0.7, left, color=colour, edgecolor="white", label=name)
            left = left + shares[:, at]
        axes.set_yticks(range(len(stacks)), [canvas.shortened(name) for name, _ in stacks])
        axes.set(xlim=(0, 1), xlabel=label, title=canvas.wrapped(title, made))
        axes.invert_yaxis()
        made.legend(loc="outside lower center", ncols=IN_A_ROW)


def draw_pairs(
    stem: Path, pairs: Mapping[str, tuple[Figure, Figure]], sides: tuple[str, str], title: str, dpi: int
) -> None:
    """Draw figures of two groups of patients, each with its 95 % interval.

    Args:
        pairs: both values by the figure's name, undefined ones are left out. sides: names of the groups.
    """
    with canvas.figure(stem, PAGE, 0.9 + 0.34 * len(pairs), dpi) as made:
        axes = made.add_subplot()
        for side, (name, colour, mark) in enumerate(zip(sides, COLOURS, ("o", "D"), strict=False)):
            for row, pair in enumerate(pairs.values()):
                one, height = pair[side], row + (side - 0.5) * 0.3
                canvas.add_interval(axes, one.low, one.high, height, colour)
                if one.value is not None:
                    axes.plot([one.value], [height], mark, color=colour, markersize=4.5, clip_on=False)
            axes.plot([], [], mark, linestyle="-", color=colour, markersize=4.5, label=name)
        axes.set_yticks(range(len(pairs)), list(pairs))
        axes.invert_yaxis()
        axes.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(xlim=(None, 1), xlabel="value, 95 % interval", title=canvas.wrapped(title, made))
        made.legend(loc="outside lower center", ncols=2)


def draw_forest(
    stem: Path, rows: Sequence[tuple[str, Sequence[Difference]]], panels: Sequence[str], title: str, dpi: int
) -> None:
    """Draw differences with their 95 % intervals, a panel for each figure; a row without values is a heading.

    Args:
        rows: name of each, and its difference in each panel.
    """
    with canvas.figure(stem, PAGE, 0.9 + 0.19 * len(rows), dpi) as made:
        grid = made.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for place, (axes, name) in enumerate(zip(grid, panels, strict=True)):
            axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
            for row, one in ((row, values[place]) for row, (_, values) in enumerate(rows) if values):
                sure = one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
                canvas.add_interval(axes, one.low, one.high, row, COLOURS[sure])
                if one.difference is not None:
                    axes.plot([one.difference], [row], "D" if sure else "o", color=COLOURS[sure], markersize=4)
            axes.set(xlabel=f"difference of\n{name}")
            canvas.ticks_at(axes.xaxis, 4)
        grid[0].set_yticks(range(len(rows)), [name for name, _ in rows])
        for label, (_, values) in zip(grid[0].get_yticklabels(), rows, strict=True):
            label.set_fontweight("normal" if values else "bold")
        grid[0].set_ylim(len(rows) - 0.5, -0.7)
        canvas.headed(made, title)
