"""Volumes and masks in NIfTI files (.nii, .nii.gz): the array, and where its voxels are. The owner of nibabel.

Axes: A, B, C of the array, as the file has them, the first one the fastest. NIfTI counts mm to the patient's right, to
his front and to his head; a `Placement` to his left, to his back and to his head.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError

from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import streams
from cac_hpc.volumes.placement import Placement
from cac_hpc.volumes.volume_header import VolumeHeader

HEADERS = {348: Nifti1Header, 540: Nifti2Header}  # by the number that each begins with: its length
MAGIC = (b"n+1", b"n+2")  # header and voxels in one file
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM = 2  # code of the unit
IN_MM = (0, MM)  # 0: none is told
OF_PATIENT = (1, 2)  # codes of an sform or qform that lead to the scanner or another scan; others lead to a template
TEXTS = ("descrip", "aux_file", "db_name", "intent_name")  # which may hold anything, names too
PERPENDICULAR = 1e-3  # cosine between two axes, at most
EXACT = 14  # characters of a number that is no product of rounding, at most
SAME_SPACING = 1e-4  # of a spacing: so far what a header prints and what its axes give may differ
AGREE = 0.1  # of a voxel: so far the two statements of a file may differ
WANTED = "a NIfTI file (.nii, .nii.gz)"


def read_nifti(path: Path) -> tuple[np.ndarray, Placement]:
    """The values of a file, slope and intercept applied, and where they are.

    Returns: (A, B, C) integers as stored where the file states no scaling, else floats; and its placement.
    Raises: InputError naming the file, what was found and what was wanted.
    """
    with streams.opened(path, WANTED) as file:
        stream = streams.inflated(file)
        header, length = _header(stream, path)
        shape, dtype = _array_of(header, path)
        _skip(stream, float(header["vox_offset"]) - length, path)
        data = streams.exactly(stream, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, path)
    stored = np.frombuffer(data, dtype).reshape(shape, order="F")
    return _scaled(stored, header, path), _placement(header, shape, path)


def read_header(path: Path) -> VolumeHeader:
    """What the header of a file says.

    Raises: InputError as `read_nifti`, and if the spacings that it prints are not those of its axes.
    """
    with streams.opened(path, WANTED) as file:
        header, _ = _header(streams.inflated(file), path)
    shape, dtype = _array_of(header, path)
    at = _placement(header, shape, path)
    spacing_mm = tuple(map(_as_printed, header["pixdim"][1:4]))
    if not all(abs(one - other) <= SAME_SPACING * other for one, other in zip(spacing_mm, at.spacing_mm, strict=True)):
        printed, found = (" x ".join(f"{value:.6g}" for value in values) for values in (spacing_mm, at.spacing_mm))
        raise InputError(f"{path}: pixdim says {printed} mm, its axes {found} mm, wanted the same spacings")
    texts = (bytes(header[name]).split(b"\0")[0].decode("utf-8", "replace") for name in TEXTS if name in header)
    in_mm = int(header["xyzt_units"]) & 7 == MM
    return VolumeHeader(at, spacing_mm, in_mm, 8 * dtype.itemsize, frozenset(filter(None, texts)))


def _as_printed(value: np.floating) -> float:
    """A length as it was before it was stored in 32 bits: 0.8, and 0.451171875, which is a quotient of 512."""
    exact = abs(float(value))
    return exact if len(repr(exact)) <= EXACT else float(str(abs(value)))


def _header(stream: IO[bytes], path: Path) -> tuple[Nifti1Header, int]:
    """The header at the beginning of a stream, and its length."""
    start = stream.read(4)
    length = next((size for size in HEADERS for order in ("little", "big") if start == size.to_bytes(4, order)), 0)
    if not length:
        raise InputError(f"{path}: found no header of NIfTI, wanted {WANTED}")
    try:
        header = HEADERS[length](start + stream.read(length - 4), check=False)
    except (WrapStructError, HeaderDataError, ValueError) as error:
        raise InputError(f"{path}: {str(error)!r}, wanted {WANTED}") from None
    if bytes(header["magic"])[:3] not in MAGIC:
        raise InputError(f"{path}: found magic {bytes(header['magic'])!r}, wanted {WANTED}, header and voxels in one")
    return header, length


def _array_of(header: Nifti1Header, path: Path) -> tuple[tuple[int, int, int], np.dtype]:
    """Shape and type of what is stored; further axes of one voxel are none.

    Raises: InputError if that is no volume of numbers.
    """
    num_axes = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : num_axes + 1]] if 1 <= num_axes <= 7 else []
    streams.check_size(tuple(sizes), path)
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        raise InputError(f"{path}: found {len(sizes)} axes of {' x '.join(map(str, sizes))}, wanted one volume of 3")
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):  # of some unknown codes nibabel knows a name, of others none
        raise InputError(f"{path}: found datatype {int(header['datatype'])}, wanted integers or floats") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or int(header["bitpix"]) != 8 * dtype.itemsize:
        found = f"datatype {int(header['datatype'])} of {int(header['bitpix'])} bits"
        raise InputError(f"{path}: found {found}, wanted integers or floats of at most 64")
    return (sizes[0], sizes[1], sizes[2]), dtype


def _skip(stream: IO[bytes], num_bytes: float, path: Path) -> None:
    """Pass over what lies between header and voxels: extensions, which say nothing of these."""
    if not 0 <= num_bytes <= streams.MAX_HEADER:
        raise InputError(f"{path}: its voxels begin {num_bytes:g} bytes behind its header, wanted 0 to "
                         f"{streams.MAX_HEADER}")  # fmt: skip
    stream.read(int(num_bytes))


def _scaled(stored: np.ndarray, header: Nifti1Header, path: Path) -> np.ndarray:
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path}: {str(error)!r}, wanted finite scl_slope and scl_inter") from None
    with np.errstate(over="ignore", invalid="ignore"):  # who needs whole or finite numbers looks for them
        return np.asarray(apply_read_scaling(stored, slope, intercept))


def _placement(header: Nifti1Header, shape: tuple[int, int, int], path: Path) -> Placement:
    """Where the voxels are: by the sform, or else the qform.

    Raises: InputError if the file states neither, or two different ones.
    """
    if int(header["xyzt_units"]) & 7 not in IN_MM:
        raise InputError(f"{path}: its unit of length has code {int(header['xyzt_units']) & 7}, wanted 2, mm")
    try:
        stated = [affine for affine in (_sform(header), _qform(header)) if affine is not None]
    except (HeaderDataError, ValueError) as error:
        raise InputError(f"{path}: {str(error)!r}, wanted a qform that is a rotation") from None
    if not stated:
        found = f"sform_code {int(header['sform_code'])} and qform_code {int(header['qform_code'])}"
        raise InputError(f"{path}: states no position in the patient ({found}), wanted code 1 or 2 for one of them; 3 "
                         "to 5 lead to a template: take the file from before it was registered to that")  # fmt: skip
    affine = TO_LPS @ stated[0]
    (x, y, z), *steps = affine[:3, [3, 0, 1, 2]].T.tolist()
    at = Placement(shape, (x, y, z), tuple(tuple(step) for step in steps))
    if not at.is_regular:
        raise InputError(f"{path}: found {affine[:3].tolist()} as its affine, wanted one of a volume")
    corners = np.array([(0, 0, 0, 1), *np.column_stack([np.diag(np.array(shape) - 1), np.ones(3)])])
    off_mm = 0.0 if _is_sheared(at) else np.abs(corners @ (stated[0] - stated[-1])[:3].T).max()
    if not off_mm <= AGREE * min(at.spacing_mm):
        raise InputError(f"{path}: sform and qform state positions up to {off_mm:.4g} mm apart, wanted the same ones")
    return at


def _is_sheared(at: Placement) -> bool:
    """Whether axes are not perpendicular, as after a gantry tilt; no qform can say so."""
    steps = np.array(at.steps_mm) / np.array(at.spacing_mm)[:, None]
    return bool(np.abs(steps @ steps.T - np.eye(3)).max() > PERPENDICULAR)


def _sform(header: Nifti1Header) -> np.ndarray | None:
    return header.get_sform() if int(header["sform_code"]) in OF_PATIENT else None


def _qform(header: Nifti1Header) -> np.ndarray | None:
    return header.get_qform() if int(header["qform_code"]) in OF_PATIENT else None
