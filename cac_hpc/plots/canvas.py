"""What figures are drawn on: sizes, colours, files; same numbers, same bytes. The owner of matplotlib.

One column of a paper is 89 mm wide, two are 183 mm; letters are 7 to 8 points there. Colours: Okabe and Ito, which
the colour-blind distinguish; shares of a whole in one hue from light to dark.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from cac_hpc.run import disk

COLUMN, PAGE = 89 / 25.4, 183 / 25.4  # inches
IN_A_ROW = 4  # names of a legend
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
HALO = (Stroke(linewidth=1.6, foreground="black"), Normal())  # of letters on a picture
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


@contextmanager
def figure(
    stem: Path,
    width: float,
    height: float,
    dpi: int,
    layout: Literal["constrained"] | None = "constrained",
    kinds: Sequence[str] = ("png", "svg"),
) -> Iterator[Figure]:
    """Yield a figure to draw on, which is saved afterwards.

    Args:
        stem: path of its files without suffix. width, height: inches. dpi: of PNG.
        layout: None: whoever draws places the axes, which takes half the time. kinds: of files.
    """
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(width, height), dpi=dpi, layout=layout)
        yield made
        save(made, stem, dpi, kinds)


def save(made: Figure, stem: Path, dpi: int, kinds: Sequence[str]) -> None:
    """Write the files of a figure."""
    no_dates: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}}
    if engine := made.get_layout_engine():
        engine.execute(made)  # once, or every format does it again, and draws twice
        made.set_layout_engine(None)
    for kind in kinds:
        salt: dict[Any, Any] = {"svg.hashsalt": stem.name} if kind == "svg" else {}  # one called none would be no salt
        with mpl.rc_context(salt), disk.atomic(stem.with_name(f"{stem.name}.{kind}")) as scratch:
            made.savefig(scratch, format=kind, dpi=dpi, metadata=no_dates[kind])


def wrapped(title: str, made: Figure) -> str:
    """A title in lines that the figure is wide enough for."""
    return textwrap.fill(title, int(13 * made.get_figwidth()))


def titled(axes: Axes, title: str, size: float = 8) -> None:
    """Put a title above axes whose numbers need no power of ten there, for which each drawing would look again."""
    axes.set_title(title, fontsize=size, y=1)


def headed(made: Figure, title: str) -> None:
    """Put a title above all axes of a figure."""
    made.suptitle(wrapped(title, made), fontsize=8)


def shortened(name: str, most: int = 34) -> str:
    """A name of at most so many characters."""
    return textwrap.shorten(name, most, placeholder=" ...")


def shade(share: float) -> tuple[float, ...]:
    """The colour of a share of a whole, from light to dark."""
    return tuple(mpl.colormaps["Blues"](share))


def handles(styles: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    """What a legend shows, by names.

    Args:
        styles: of lines, as matplotlib takes them.
    """
    return [Line2D([], [], label=name, **style) for name, style in styles.items()]


def add_interval(axes: Axes, low: float | None, high: float | None, at: float, colour: str, width: float = 1.4) -> None:
    """Draw an interval as a horizontal line; nothing where there is none."""
    if low is not None and high is not None:
        axes.plot([low, high], [at, at], color=colour, linewidth=width)


def add_outline(axes: Axes, corners: np.ndarray, colour: str, solid: bool) -> None:
    """Draw a closed line through corners (P, 2)."""
    dash: Any = "-" if solid else (0, (2.5, 1.5))
    line = Polygon(corners, fill=False, edgecolor=colour, linewidth=0.9, linestyle=dash)
    axes.add_artist(line)  # add_patch would work out its extent, too, of which axes with a picture have no need


def add_block(axes: Axes, left: float, width: float, height: float, colour: str, alpha: float) -> None:
    """Draw a block whose middle is at the height 0."""
    block = Rectangle((left, -height / 2), width, height, facecolor=colour, alpha=alpha, edgecolor="k")
    axes.add_patch(block)


def ticks_at(axis: Axis, most: int) -> None:
    """Have so many ticks at most, at round numbers."""
    axis.set_major_locator(MaxNLocator(most))


def no_small_ticks(axis: Axis) -> None:
    """Have ticks only where there are numbers."""
    axis.set_minor_locator(NullLocator())


def log_of_numbers(axes: Axes) -> None:
    """Make the upright axis logarithmic, with numbers and no powers of ten at its ticks."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
