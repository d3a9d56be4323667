"""Volumes and masks in NRRD files (.nrrd, .seg.nrrd, .nhdr): arrays, and where their voxels are. The owner of pynrrd.

Axes: A, B, C of the array, as the file has them, the first one the fastest; L layer, of a mask whose parts overlap.
"""

from __future__ import annotations

import warnings
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import nrrd
import numpy as np

from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import streams
from cac_hpc.volumes.placement import Placement
from cac_hpc.volumes.volume_header import VolumeHeader

MAGIC = "NRRD"
WANTED = "an NRRD file (.nrrd, .seg.nrrd, .nhdr)"
TYPES = {  # of NumPy, and what NRRD calls them
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
TYPE_OF = {name: kind for kind, names in TYPES.items() for name in names.split(", ")}
LAYERS = {"list", "none", "???"}  # kinds of an axis that counts volumes at one place; others are times or colours
ORDERS = {"little": "<", "big": ">"}
PLAIN, COMPRESSED = ("raw",), ("gzip", "gz", "bzip2", "bz2")  # encodings
OWN_WORDS = (  # fields of the format that hold numbers or words of it
    "type", "dimension", "space", "space dimension", "sizes", "space directions", "space origin", "space units",
    "kinds", "endian", "encoding", "spacings", "thicknesses", "centerings", "data file", "datafile",
)  # fmt: skip
TO_LPS = {  # signs that turn positions in a space into those to the patient's left, back and head
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip


def read_nrrd(path: Path) -> tuple[np.ndarray, Placement]:
    """The values of a file of one volume, and where they are.

    Returns: (A, B, C) as stored; and its placement.
    Raises: InputError naming the file, what was found and what was wanted.
    """
    layers, at, _ = read_layers(path)
    if len(layers) != 1:
        raise InputError(f"{path}: found {len(layers)} volumes in it, wanted one")
    return layers[0], at


def read_layers(path: Path) -> tuple[np.ndarray, Placement, dict[str, str]]:
    """The volumes of a file that are at the same place, where that is, and what else its header says.

    Returns: (L, A, B, C) as stored, mostly of one layer; the placement of each; the header's own keys, with their
        texts, which are not of the format: of 3D Slicer the names of the parts.
    Raises: InputError naming the file, what was found and what was wanted.
    """
    with streams.opened(path, WANTED) as file:
        header = _header(_lines(file), path)
        shape, list_axis, at = _geometry(header, path)
        dtype = _type(header, path)
        num_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if (data_path := _detached(header, path)) is None:
            data = _data(file, num_bytes, header, path)
        else:
            with streams.opened(data_path, f"the voxels of {path.name}") as other:
                data = _data(other, num_bytes, header, data_path)
    values = np.frombuffer(data, dtype).reshape(shape, order="F")
    layers = values[None] if list_axis is None else np.moveaxis(values, list_axis, 0)
    return layers, at, {key: value for key, value in header.items() if isinstance(value, str)}


def read_header(path: Path) -> VolumeHeader:
    """What the header of a file says.

    Raises: InputError as `read_nrrd`.
    """
    with streams.opened(path, WANTED) as file:
        header = _header(_lines(file), path)
    shape, list_axis, at = _geometry(header, path)
    if list_axis is not None and shape[list_axis] != 1:
        raise InputError(f"{path}: found {shape[list_axis]} volumes in it, wanted one")
    texts = (text for key, value in header.items() if key not in OWN_WORDS for text in (key, str(value)))
    in_mm, bits = bool(header.get("space units")), 8 * _type(header, path).itemsize
    return VolumeHeader(at, at.spacing_mm, in_mm, bits, frozenset(texts), _detached(header, path))


def _lines(file: IO[bytes]) -> list[str]:
    """The lines of the header, up to the empty one that ends it; the file is then where its voxels begin."""
    lines, left = list[str](), streams.MAX_HEADER
    while left > 0 and (line := file.readline(left)).strip():
        lines.append(line.decode("utf-8", "replace"))
        left -= len(line)
    return lines


def _header(lines: list[str], path: Path) -> dict[str, Any]:
    """The header by its fields, of which pynrrd knows the types.

    Raises: InputError if it is none.
    """
    if not lines or not lines[0].startswith(MAGIC):
        raise InputError(f"{path}: found no header of NRRD, wanted {WANTED}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(nrrd.read_header(lines))
    except (nrrd.NRRDError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: its header cannot be read ({str(error)[:80]!a}), wanted {WANTED}") from None


def _geometry(header: dict[str, Any], path: Path) -> tuple[tuple[int, ...], int | None, Placement]:
    """The shape of what is stored, which of its axes counts layers, if one does, and where a layer is.

    Raises: InputError if that is no volume at a known place.
    """
    space, units = str(header.get("space")).lower(), header.get("space units", ["mm"])
    if space not in TO_LPS or any(unit not in ("mm", "") for unit in units):
        raise InputError(f"{path}: found space {space[:40]!a} in {' '.join(units)[:40]!a}, wanted left-posterior-"
                         "superior, right-anterior-superior or left-anterior-superior in mm")  # fmt: skip
    shape = tuple(int(size) for size in header.get("sizes", ()))
    streams.check_size(shape, path)
    steps = np.asarray(header.get("space directions", np.nan), float)
    first = np.asarray(header.get("space origin", np.nan), float)
    if len(shape) not in (3, 4) or steps.shape != (len(shape), 3) or first.shape != (3,):
        raise InputError(f"{path}: found {len(shape)} axes, space directions {steps.tolist()} and space origin "
                         f"{first.tolist()}, wanted three numbers for each of 3 axes and for the origin")  # fmt: skip
    lists = np.flatnonzero(np.isnan(steps).all(1)).tolist()
    axes = [axis for axis in range(len(shape)) if axis not in lists]
    kinds = [str(header["kinds"][axis])[:40] for axis in lists if axis < len(header.get("kinds", ()))]
    if any(shape[axis] > 1 for axis in lists) and set(kinds) - LAYERS:
        raise InputError(f"{path}: found an axis of kind {kinds[0]!a}, wanted a volume of 3 axes, or layers (list)")
    signs = np.array(TO_LPS[space])
    steps, first = steps[axes] * signs, (first * signs).tolist()
    at = Placement(tuple(shape[axis] for axis in axes), tuple(first), tuple(tuple(step) for step in steps.tolist()))  # type: ignore[arg-type]
    if len(axes) != 3 or not at.is_regular:
        raise InputError(f"{path}: found space directions {steps.tolist()} and space origin {first}, wanted those of a "
                         "volume")  # fmt: skip
    return shape, lists[0] if lists else None, at


def _type(header: dict[str, Any], path: Path) -> np.dtype:
    kind, order = TYPE_OF.get(str(header.get("type"))), ORDERS.get(str(header.get("endian", "little")))
    if kind is None or order is None or (header.get("endian") is None and kind[1] != "1"):
        found = f"type {str(header.get('type'))[:40]!a}, endian {str(header.get('endian'))[:40]!a}"
        raise InputError(f"{path}: found {found}, wanted integers or floats, little or big")
    return np.dtype(order + kind)


def _data(file: BufferedReader, num_bytes: int, header: dict[str, Any], path: Path) -> bytearray:
    """The bytes of the voxels, from where the file is."""
    encoding = str(header.get("encoding")).lower()
    skips = [header.get(name) for name in ("line skip", "lineskip", "byte skip", "byteskip")]
    if encoding not in PLAIN + COMPRESSED or any(skips):
        wanted, skipped = f"{', '.join(PLAIN + COMPRESSED)} without line skip or byte skip", " with a skip" * any(skips)
        raise InputError(f"{path}: found encoding {encoding[:40]!a}{skipped}, wanted {wanted}")
    return streams.exactly(file if encoding in PLAIN else streams.inflated(file), num_bytes, path)


def _detached(header: dict[str, Any], path: Path) -> Path | None:
    """The file of the voxels of a detached header, in its folder or below; None if they are in the file itself.

    Raises: InputError if it is said to be elsewhere, or several.
    """
    name: str | None = header.get("data file", header.get("datafile"))
    if name is None:
        return None
    elsewhere = Path(name).is_absolute() or ".." in Path(name).parts
    if elsewhere or not name or not name.isprintable() or name.startswith("LIST") or "%" in name:
        raise InputError(f"{path}: found data file {name[:80]!a}, wanted one file in the same folder or below it")
    return path.parent / name
