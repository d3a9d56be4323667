"""Masks in NumPy files: arrays without geometry, whose frame must be stated.

Axes: Z slice in ascending z, H row, W column, as the frame counts them.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from cac_hpc.masks import masks
from cac_hpc.masks.masks import Mask, Target
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import streams

WANTED = "a NumPy array"
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path, target: Target) -> list[Mask]:
    """The mask in a .npy file, whose values are its parts.

    Raises: InputError naming the file, what was found and what was wanted.
    """
    with streams.opened(path, WANTED) as file:
        return [_mask({"mask": _array(file, path)}, target, path)]


def read_npz(path: Path, target: Target) -> list[Mask]:
    """The mask in a .npz file; an array of texts names its parts from 1 on, one called ``frame`` states its frame.

    Raises: InputError naming the file, what was found and what was wanted.
    """
    try:
        with streams.opened(path, WANTED) as file, zipfile.ZipFile(file) as packed:
            found = {}
            for member in packed.infolist():
                with packed.open(member) as stream:
                    found[member.filename.removesuffix(".npy")] = _array(stream, path)
    except InputError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: cannot be unpacked ({str(error)[:80]!a}), wanted {WANTED}") from None
    return [_mask(found, target, path)]


def _array(stream: IO[bytes], path: Path) -> np.ndarray:
    """One array, of numbers or texts, allocated as its bytes come in."""
    try:
        shape, by_columns, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    except (OSError, EOFError, zlib.error):
        raise
    except Exception as error:  # NumPy has Python's own parser read it
        raise InputError(f"{path}: its header cannot be read ({type(error).__name__}), wanted {WANTED}") from None
    if dtype.hasobject or dtype.fields or dtype.itemsize > 1024 or math.prod(shape) > streams.MAX_VOXELS:
        raise InputError(f"{path}: found {dtype} {shape}, wanted {WANTED} of numbers, of at most {streams.MAX_VOXELS}")
    data = streams.exactly(stream, math.prod(shape) * dtype.itemsize, path)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _mask(found: Mapping[str, np.ndarray], target: Target, path: Path) -> Mask:
    stated = str(found["frame"]) if "frame" in found else None
    frame, shape = masks.without_geometry(path, target, stated)
    volumes = [array for array in found.values() if array.ndim == 3]
    if len(volumes) != 1 or volumes[0].dtype.kind not in "biu" or volumes[0].shape != shape:
        listed = ", ".join(f"{array.dtype} {array.shape}" for array in found.values()) or "nothing"
        raise InputError(f"{path}: found {listed}, wanted one array of bool or integers of the study's shape {shape}")
    named = next((list(map(str, array)) for array in found.values() if array.ndim == 1 and array.dtype.kind == "U"), [])
    part_ZHW, parts = masks.numbered(volumes[0], dict(enumerate(named, start=1)), path)
    return Mask(masks.of_frame(part_ZHW, frame, target), tuple(parts.values()), tuple(parts))
