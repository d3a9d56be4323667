"""Where calcium is coronary, as people say it: discs and polygons in a YAML file.

Axes: Z slices, H rows, W columns. Slices, rows and columns are counted from 0, slices in ascending z, rows and columns
in the frame that the file states: the patient's, from front to back and from his right to his left, or as stored in the
DICOM files, as viewers show them. Pixel 0 has its centre at 0. docs/masks.md shows an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.masks import masks
from cac_hpc.masks.masks import Mask, Target
from cac_hpc.run.logs import amount
from cac_hpc.settings import yaml_documents
from cac_hpc.settings.checks import shown
from cac_hpc.settings.errors import InputError

DISC, POLYGON = {"name", "slices", "row", "column", "diameter_mm"}, {"name", "slices", "points"}


@dataclass(frozen=True)
class Shape:
    """A disc or a polygon on some slices.

    slices: first and last, None for all. points: (row, column) of the middle of a disc, or of a polygon's corners.
    diameter_mm: of a disc; None of a polygon.
    """

    name: str
    slices: tuple[int, int] | None
    points: tuple[tuple[float, float], ...]
    diameter_mm: float | None


def read_mask(path: Path, target: Target) -> list[Mask]:
    """The region that a file describes; a shape that meets one before it is in a further layer.

    Raises: InputError naming the file and what is wrong with it.
    """
    frame, shape = masks.without_geometry(path, target, _content(path).get("frame"))
    spacing_mm = target.turn.pair(target.spacing_mm[1:]) if frame == "stored" else target.spacing_mm[1:]
    layers = list[tuple[np.ndarray, list[int]]]()
    found = read_shapes(path)
    for number, item in enumerate(found, start=1):
        first, last = item.slices or (0, shape[0] - 1)
        if last >= shape[0]:
            raise InputError(f"{path}: {item.name} goes to slice {last}, but the study has {shape[0]} slices from 0")
        there = slice(first, last + 1), _inside(item, shape[1:], spacing_mm)
        free = next((layer for layer in layers if not layer[0][there].any()), None)
        if free is None:
            free = np.zeros(shape, np.int16), []
            layers.append(free)
        free[1].append(number)
        free[0][there] = len(free[1])
    return [Mask(masks.of_frame(part_ZHW, frame, target), tuple(found[number - 1].name for number in numbers),
                 tuple(numbers)) for part_ZHW, numbers in layers]  # fmt: skip


def read_shapes(path: Path) -> list[Shape]:
    """The discs and polygons of a YAML file, in its order, discs first.

    Raises: InputError naming the file, the shape and the value.
    """
    content = _content(path)
    items = [(kind, item) for kind in ("discs", "polygons") for item in _listed(content.get(kind, []), path, kind)]
    return [_shape(kind, item, f"{path}: {kind[:-1]} {number}") for number, (kind, item) in enumerate(items, start=1)]


def _content(path: Path) -> dict[str, Any]:
    """What a YAML file holds.

    Raises: InputError if that is no shapes.
    """
    try:
        content = yaml_documents.read_texts(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: {error}, wanted YAML with discs or polygons") from None
    known = isinstance(content, dict) and not set(content) - {"discs", "polygons", "frame"}
    if not known or not set(content) - {"frame"}:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path}: found {found or 'nothing'}, wanted discs, polygons or both, and frame if need be")
    return dict(content)


def _listed(value: Any, path: Path, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{path}: {key} is no list, wanted one entry for each")
    return value


def _shape(kind: str, item: Any, where: str) -> Shape:
    """One shape out of texts. where: names file and shape in what is raised."""
    wanted = DISC if kind == "discs" else POLYGON
    if not isinstance(item, Mapping) or set(item) - wanted or wanted - {"name", "slices"} - set(item):
        found = shown(sorted(map(str, item)) if isinstance(item, Mapping) else item)
        raise InputError(f"{where} has {found}, wanted {', '.join(sorted(wanted))}; name and slices may be left out")
    slices = _numbers(item["slices"], 2, f"{where}, slices") if "slices" in item else None
    if slices and not (0 <= slices[0] <= slices[1] and all(value.is_integer() for value in slices)):
        raise InputError(f"{where}, slices: found {shown(item['slices'])}, wanted [first, last], counted from 0")
    range_ = (int(slices[0]), int(slices[1])) if slices else None
    name = str(item.get("name") or where.rpartition(": ")[2])
    if kind == "discs":
        row, column, diameter = _numbers([item[key] for key in ("row", "column", "diameter_mm")], 3, where)
        if diameter <= 0:
            raise InputError(f"{where}, diameter_mm: found {diameter:g}, wanted more than 0")
        return Shape(name, range_, ((row, column),), diameter)
    points = item["points"]
    if not isinstance(points, list) or len(points) < 3:
        found = amount(len(points), "point") if isinstance(points, list) else shown(points)
        raise InputError(f"{where}, points: found {found}, wanted three or more [row, column]")
    row_columns = [_numbers(point, 2, f"{where}, points") for point in points]
    return Shape(name, range_, tuple((row, column) for row, column in row_columns), None)


def _numbers(values: Any, count: int, where: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or isinstance(values, str) or not np.isfinite(numbers).all():
        raise InputError(f"{where}: found {shown(values)}, wanted {count} numbers")
    return numbers


def _inside(item: Shape, shape_HW: Sequence[int], spacing_mm: Sequence[float]) -> np.ndarray:
    """(H, W) bool: pixels whose centres are in the shape; on the rim of a disc is inside."""
    row, column = np.arange(shape_HW[0])[:, None], np.arange(shape_HW[1])
    if item.diameter_mm is not None:
        (middle,) = item.points
        squares = ((row - middle[0]) * spacing_mm[0]) ** 2 + ((column - middle[1]) * spacing_mm[1]) ** 2
        return np.asarray(squares <= (item.diameter_mm / 2) ** 2)
    inside = np.zeros(tuple(shape_HW), bool)
    for (y, x), (next_y, next_x) in zip(item.points, item.points[1:] + item.points[:1], strict=True):
        if y != next_y:  # each edge that passes to the right of a pixel turns it over
            inside ^= ((y > row) != (next_y > row)) & (column < (next_x - x) * (row - y) / (next_y - y) + x)
    return inside
