"""Views with outlines, as whoever draws them takes them; slices as PNG. Axes: S row and column, P corners.

The owner of Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

COUNTED, REJECTED = "#ffb000", "#6cc7ff"  # of outlines, on grey


@dataclass(frozen=True)
class Outline:
    """Around a candidate, (P, 2) x and y of closed lines in pixels of the view; label: empty if it has none."""

    counted: bool
    lines: Sequence[np.ndarray]
    label: str
    at: tuple[float, float]  # where the label begins, its base line

    @property
    def colour(self) -> str:
        return COUNTED if self.counted else REJECTED


@dataclass(frozen=True)
class Panel:
    """A view with its outlines. name: as it ends the name of its file. text: what it is, in words."""

    name: str
    text: str
    image_SS: np.ndarray
    outlines: Sequence[Outline]


def png(image_SS: np.ndarray) -> bytes:
    """A slice (S, S) uint8, pixel by pixel, as the bytes of a PNG."""
    made = io.BytesIO()
    Image.fromarray(image_SS).save(made, format="PNG", optimize=True)
    return made.getvalue()
