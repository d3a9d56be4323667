"""What is seen of a study's candidates: its views with outlines of what counted and of what was rejected.

A panel is drawn twice, from the same geometry: as SVG for the page, whose lines stay sharp on any screen, and as a part
of a figure. Axes: N views, S row and column of a view, C candidates, P corners of an outline.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import scipy

from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.calcium.views import PROJECTION, Views
from cac_hpc.plots.panels import Outline, Panel, png
from cac_hpc.run import disk
from cac_hpc.sections import formatting

GAP = 2.5  # pixels of a view between calcium and its outline
MOST_COUNTED, MOST_SLICES, FEWEST_SLICES = 3, 5, 2  # slices of a patient that are shown, see `chosen`
NEAR = 0.01  # p, or share in the heart's region, from which on a rejected candidate has a label
REGION_SHARE = NAMES.index("region_share")
TEXT = 9.0  # height of letters in pixels of a view
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Verdict:
    """What was decided of a candidate; listed: it has a number in the table, which the picture shows."""

    probability: float
    counted: bool
    listed: bool


def panels(views: Views, found: Candidates, verdicts: Mapping[int, Verdict]) -> list[Panel]:
    """The projection, and the slices with the most of what counted, then of what was rejected.

    Args:
        views: of a study. found: its candidates. verdicts: by their numbers, from 1.
    """
    share_C = found.feature_CF[:, REGION_SHARE].astype(float)
    counted_C = np.array([verdicts[number].counted for number in range(1, len(found) + 1)], bool)
    near_C = np.maximum(share_C, [verdicts[number].probability for number in range(1, len(found) + 1)])
    num_slices = 1 + max(found.slice_L.max(initial=0), views.slice_N.max(initial=0))
    counted_Z, near_Z, rejected_Z = (
        np.bincount(found.slice_L, found.agatston_L * weight_C[found.candidate_L], num_slices)
        for weight_C in (counted_C.astype(float), ~counted_C * near_C, (~counted_C).astype(float))
    )
    made = []
    for index in chosen(views.slice_N, counted_Z, near_Z, rejected_Z):
        number = int(views.slice_N[index])
        name, text = "projection", f"projection of all slices: counted {formatting.short(counted_Z.sum())}"
        if number != PROJECTION:
            name, text = f"slice-{number:03d}", f"slice {number}: counted {formatting.short(counted_Z[number])}"
        made.append(Panel(name, text, views.image_NSS[index], _outlines(views, number, found, verdicts)))
    return made


def chosen(slice_N: np.ndarray, counted_Z: np.ndarray, near_Z: np.ndarray, rejected_Z: np.ndarray) -> list[int]:
    """The views that are shown, as indices in ascending order, the projection first.

    Of slices those MOST_COUNTED on which most counted, then those on which the rejected came nearest to it, then, while
    these are fewer than FEWEST_SLICES, those on which most was rejected; MOST_SLICES at most.
    """
    left = [index for index, number in enumerate(slice_N.tolist()) if number != PROJECTION]
    shown: list[int] = []
    for score_Z, most in ((counted_Z, MOST_COUNTED), (near_Z, MOST_SLICES), (rejected_Z, FEWEST_SLICES)):
        order = sorted(left, key=lambda index: (-score_Z[slice_N[index]], index))
        shown += [index for index in order if score_Z[slice_N[index]] >= 0.5][: max(0, most - len(shown))]
        left = [index for index in left if index not in shown]
    return [*np.flatnonzero(slice_N == PROJECTION).tolist(), *sorted(shown)]


def _outlines(views: Views, number: int, found: Candidates, verdicts: Mapping[int, Verdict]) -> list[Outline]:
    """Around every candidate that a view shows, those that counted last, so that they lie above."""
    top, bottom, left, right = views.box
    size = views.image_NSS.shape[1]
    scale = np.array([size / (right - left), size / (bottom - top)])
    taken: list[Box] = []
    made = []
    order = sorted(range(len(found)), key=lambda one: (verdicts[one + 1].counted, verdicts[one + 1].listed))
    for index in reversed(order):  # labels of what counted are placed first
        voxel_V3 = found.voxel_V3[found.start_C1[index] : found.start_C1[index + 1]].astype(int)
        place_V2 = voxel_V3[:, 1:][(voxel_V3[:, 0] == number) | (number == PROJECTION)]
        inside = ((place_V2 >= (top, left)) & (place_V2 < (bottom, right))).all(axis=1)
        if inside.any():
            lines = [line * scale for line in _around(place_V2[inside] - (top, left), GAP / scale.mean())]
            label = _label(index, found, verdicts[index + 1], number == PROJECTION)
            at = _place(np.concatenate(lines), label, size, taken)
            made.append(Outline(verdicts[index + 1].counted, lines, label, at))
    return made[::-1]


def _label(index: int, found: Candidates, verdict: Verdict, short: bool) -> str:
    near = max(verdict.probability, float(found.feature_CF[index, REGION_SHARE]))
    if not verdict.listed or not (verdict.counted or near >= NEAR):
        return ""
    if short:
        return f"{index + 1}"
    return f"{index + 1}: {formatting.short(float(found.agatston_C[index]))}, p {verdict.probability:.2f}"


def _place(corner_P2: np.ndarray, label: str, size: int, taken: list[Box]) -> tuple[float, float]:
    """Where a label begins: right of the outline, left, above or below, the first place that nothing else takes."""
    width = 0.56 * TEXT * len(label)
    (left, top), (right, bottom) = corner_P2.min(axis=0).tolist(), corner_P2.max(axis=0).tolist()
    taken.append((left, top, right, bottom))
    middle = (top + bottom + 0.7 * TEXT) / 2
    places = [(right + 2, middle), (left - 2 - width, middle), (left, top - 2), (left, bottom + TEXT)]
    places += [(x, middle + shift * TEXT) for shift in (-1.1, 1.1, -2.2, 2.2) for x in (right + 2, left - 2 - width)]
    places = [(min(max(x, 1.0), size - width - 1), min(max(y, TEXT), size - TEXT - 3)) for x, y in places]
    boxes = [(x, y - 0.8 * TEXT, x + width, y + 0.2 * TEXT) for x, y in places]
    free = (index for index, box in enumerate(boxes) if not any(_overlap(box, one) for one in taken))
    first = next(free, 0)
    if label:
        taken.append(boxes[first])
    return places[first]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _around(place_V2: np.ndarray, gap: float) -> Iterator[np.ndarray]:
    """Closed lines around pixels, some way off, as x and y of their corners (P, 2).

    Args:
        place_V2: rows and columns. gap: in pixels.
    """
    rim = int(np.ceil(gap)) + 2
    first = place_V2.min(axis=0) - rim
    mask = np.ones(place_V2.max(axis=0) - first + 1 + rim, bool)
    mask[tuple((place_V2 - first).T)] = False
    near = scipy.ndimage.distance_transform_edt(mask) <= gap
    for corners in _traced(scipy.ndimage.binary_fill_holes(near)):
        yield np.array(corners, float) + first[::-1]


def _traced(mask: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Corners (x, y) along the edges of the pieces of a mask, which touches no side of its array."""
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in np.argwhere(mask).tolist():
        sides = (((-1, 0), (x, y), (x + 1, y)), ((0, 1), (x + 1, y), (x + 1, y + 1)),
                 ((1, 0), (x + 1, y + 1), (x, y + 1)), ((0, -1), (x, y + 1), (x, y)))  # fmt: skip
        for (down, across), start, end in sides:
            if not mask[y + down, x + across]:
                following.setdefault(start, []).append(end)
    while following:
        begin = at = next(iter(following))
        corners = []
        while at in following:
            corners.append(at)
            ends = following[at]
            at = ends.pop()
            if not ends:
                del following[corners[-1]]
            if at == begin:
                break
        yield corners


def svg(panel: Panel) -> str:
    """A panel as a file that needs no other."""
    size = len(panel.image_SS)
    image = base64.b64encode(png(panel.image_SS)).decode("ascii")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" width="{3 * size}" height="{3 * size}">',
        f"<title>{escape(panel.text)}</title>",
        f'<image width="{size}" height="{size}" href="data:image/png;base64,{image}"/>',
        f'<g fill="none" font-family="sans-serif" font-size="{TEXT:g}" stroke-linejoin="round">',
    ]
    for one in panel.outlines:
        line = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners.tolist()) + "Z" for corners in one.lines)
        colour, dash = one.colour, "" if one.counted else ' stroke-dasharray="2 1.5"'
        if one.counted:
            parts.append(f'<path d="{line}" stroke="#000" stroke-opacity=".55" stroke-width="1.9"/>')
        parts.append(f'<path d="{line}" stroke="{colour}" stroke-width="1"{dash}/>')
    for one in panel.outlines:
        if one.label:
            parts.append(_text(one.label, *one.at, one.colour))
    return "\n".join([*parts, _text(panel.text, 3, size - 4, "#fff"), "</g>", "</svg>"]) + "\n"


def _text(text: str, x: float, y: float, colour: str) -> str:
    style = f'fill="{colour}" stroke="#000" stroke-width="2" paint-order="stroke"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def draw(folder: Path, name: str, made: Sequence[Panel], texts: Sequence[str], dpi: int) -> None:
    """Write the panels of a study, and all of them as one figure.

    Args:
        name: how the names of its files begin. texts: above the figure, a line each.
    """
    from cac_hpc.plots import images  # and with it matplotlib, which an SVG does without

    for at, panel in enumerate(made):
        disk.write_text(folder / f"{name}-{at}-{panel.name}.svg", svg(panel))
    images.draw_panels(folder / name, made, texts, dpi)
