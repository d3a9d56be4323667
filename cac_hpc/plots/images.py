"""Figures of scans: slices, and views with outlines of calcium. Axes: N slices, S row and column, P corners."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cac_hpc.plots import canvas
from cac_hpc.plots.canvas import HALO, PAGE
from cac_hpc.plots.panels import COUNTED, REJECTED, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CAPTION = 24  # characters in a line, a sixth of a page wide
LEGEND = {"counted (solid outline)": COUNTED, "rejected (dashed outline)": REJECTED}


def draw_panels(stem: Path, panels: Sequence[Panel], texts: Sequence[str], dpi: int) -> None:
    """Draw the panels of a study as PNG, three in a row, with outlines of what counted and of what did not.

    Args:
        texts: above the panels, the first in bold.
    """
    columns = min(3, max(len(panels), 1))
    rows = max(1, -(-len(panels) // columns))
    head = 0.18 * (len(texts) + 2)
    with canvas.figure(stem, PAGE, PAGE / columns * rows + head, dpi, layout=None, kinds=("png",)) as made:
        height = made.get_figheight()
        for at, text in enumerate(texts):
            weight = "normal" if at else "bold"
            made.text(0.01, 1 - (0.1 + 0.17 * at) / height, text, va="top", fontsize=8, fontweight=weight)
        _draw_legend(made, 1 - (0.06 + 0.17 * len(texts)) / height)
        for at, panel in enumerate(panels):
            row, column = divmod(at, columns)
            side = (height - head) / height / rows
            axes = made.add_axes((column / columns, (rows - 1 - row) * side, 0.995 / columns, 0.99 * side))
            _draw_panel(axes, panel)


def _draw_legend(made: Figure, top: float) -> None:
    dashes = {COUNTED: "-", REJECTED: "--"}
    styles = {name: {"color": colour, "linestyle": dashes[colour]} for name, colour in LEGEND.items()}
    box = made.legend(handles=canvas.handles(styles), loc="upper left", bbox_to_anchor=(0, top), ncols=2, frameon=True)
    box.get_frame().set(facecolor="0.25", edgecolor="none")
    for label in box.get_texts():
        label.set_color("white")


def _draw_panel(axes: Axes, panel: Panel) -> None:
    size = len(panel.image_SS)
    axes.imshow(panel.image_SS, cmap="gray", vmin=0, vmax=255, extent=(0, size, size, 0), interpolation="antialiased")
    for one in panel.outlines:
        for corners in one.lines:
            canvas.add_outline(axes, corners, one.colour, solid=one.counted)
        if one.label:
            axes.text(*one.at, one.label, color=one.colour, fontsize=5.5, path_effects=HALO)
    axes.text(3, size - 4, panel.text, color="white", fontsize=6.5, path_effects=HALO)
    axes.axis("off")


def draw_slices(stem: Path, slices_NSS: np.ndarray, captions: Sequence[str], title: str, dpi: int) -> None:
    """Draw slices, six in a row, each with its caption.

    Args:
        slices_NSS: (N, S, S) uint8, at least one.
    """
    columns = min(6, len(slices_NSS))
    rows = -(-len(slices_NSS) // columns)
    captions = ["\n".join(textwrap.fill(line, CAPTION) for line in caption.splitlines()) for caption in captions]
    lines = 1 + max(caption.count("\n") for caption in captions)
    cell = PAGE / 6
    with canvas.figure(stem, cell * columns, (cell + 0.11 * lines) * rows + 0.3, dpi) as made:
        every = made.subplots(rows, columns, squeeze=False).ravel()
        for axes in every:
            axes.axis("off")
        for axes, slice_SS, caption in zip(every, slices_NSS, captions, strict=False):
            axes.imshow(slice_SS, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            axes.set_title(caption, fontsize=6, loc="left")
        canvas.headed(made, title)
