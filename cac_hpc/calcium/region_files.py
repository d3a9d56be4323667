"""Where calcium is coronary, as people say it: discs and polygons in a YAML file, or a mask in a file.

Axes: Z slices, H rows, W columns. Slices, rows and columns are counted from 0, slices in ascending z, rows and columns
in the frame that the file states: the patient's, from front to back and from his right to his left, or as stored in the
DICOM files, as viewers show them. Pixel 0 has its centre at 0. docs/calcium.md shows an example.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.run import yaml_documents
from cac_hpc.run.config import Frame, InputError

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


@dataclass(frozen=True)
class Drawn:
    """A region: (Z, H, W) integers, 0 outside, and the name of each value from 1 on."""

    region_ZHW: np.ndarray
    names: tuple[str, ...]


def stated_frame(path: Path) -> Frame | None:
    """The frame whose rows and columns a file counts, by its key ``frame``; None if it does not say so.

    Raises: InputError if it states another one, or the file cannot be read.
    """
    suffix = path.suffix.lower()
    stated = MASKS[suffix](path).get("frame") if suffix in MASKS else _content(path).get("frame")
    found = str(stated) if isinstance(stated, np.ndarray) else stated
    if found in (None, "patient", "stored"):
        return found  # type: ignore[return-value]
    raise InputError(f"{path}: frame is {found!r}, wanted patient or stored")


def draw(path: Path, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> Drawn:
    """Make the region that a file describes; where shapes overlap the first one counts.

    Args:
        path: .yaml with discs and polygons, or a file of MASKS with one array (Z, H, W) of bool or integers.
        shape: (Z, H, W) of the study. spacing_mm: between its slices, rows and columns; both in the file's frame.
    Raises: InputError naming the file and what is wrong with it.
    """
    if path.suffix.lower() in MASKS:
        return _mask(path, shape)
    shapes = read_shapes(path)
    region_ZHW = np.zeros(shape, np.int16)
    for number, item in reversed(list(enumerate(shapes, start=1))):
        first, last = item.slices or (0, shape[0] - 1)
        if last >= shape[0]:
            raise InputError(f"{path}: {item.name} goes to slice {last}, but the study has {shape[0]} slices from 0")
        region_ZHW[first : last + 1, _inside(item, shape[1:], spacing_mm[1:])] = number
    return Drawn(region_ZHW, tuple(item.name for item in shapes))


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
        found = sorted(map(str, item)) if isinstance(item, Mapping) else item
        raise InputError(f"{where} has {found}, wanted {', '.join(sorted(wanted))}; name and slices may be left out")
    slices = _numbers(item["slices"], 2, f"{where}, slices") if "slices" in item else None
    if slices and not (0 <= slices[0] <= slices[1] and all(value.is_integer() for value in slices)):
        raise InputError(f"{where}, slices: found {item['slices']}, wanted [first, last], counted from 0")
    range_ = (int(slices[0]), int(slices[1])) if slices else None
    name = str(item.get("name") or where.rpartition(": ")[2])
    if kind == "discs":
        row, column, diameter = _numbers([item[key] for key in ("row", "column", "diameter_mm")], 3, where)
        if diameter <= 0:
            raise InputError(f"{where}, diameter_mm: found {diameter:g}, wanted more than 0")
        return Shape(name, range_, ((row, column),), diameter)
    points = item["points"]
    if not isinstance(points, list) or len(points) < 3:
        raise InputError(f"{where}, points: found {points}, wanted three or more [row, column]")
    row_columns = [_numbers(point, 2, f"{where}, points") for point in points]
    return Shape(name, range_, tuple((row, column) for row, column in row_columns), None)


def _numbers(values: Any, count: int, where: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or isinstance(values, str) or not np.isfinite(numbers).all():
        raise InputError(f"{where}: found {values}, wanted {count} numbers")
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


def _mask(path: Path, shape: tuple[int, ...]) -> Drawn:
    """A region from an array; its values are its parts. A file may name them, in an array of texts."""
    arrays = list(MASKS[path.suffix.lower()](path).values())
    masks = [array for array in arrays if array.ndim == 3]
    if len(masks) != 1 or masks[0].dtype.kind not in "biu" or masks[0].shape != tuple(shape):
        found = ", ".join(f"{array.dtype} {array.shape}" for array in arrays) or "nothing"
        raise InputError(f"{path}: found {found}, wanted one array of bool or integers of the study's shape {shape}")
    lowest, highest = int(masks[0].min(initial=0)), int(masks[0].max(initial=0))
    if lowest < 0 or highest > 255:
        raise InputError(f"{path}: found values {lowest} to {highest}, wanted 0 outside and 1 to 255 inside")
    named = next((list(map(str, array)) for array in arrays if array.ndim == 1 and array.dtype.kind == "U"), [])
    names = [*named, *(f"part {value}" for value in range(len(named) + 1, highest + 1))]
    return Drawn(masks[0].astype(np.int16), tuple(names))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a NumPy file by their names; that of a .npy file has none."""
    try:
        loaded = np.load(path, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: {error}, wanted a NumPy array") from None


MASKS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {  # arrays by their names, by the ending of the file
    ".npy": _arrays,
    ".npz": _arrays,
}
SUFFIXES = (".yaml", ".yml", *MASKS)
