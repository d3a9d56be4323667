"""A study that is one volume in a NIfTI or NRRD file: its slices meet the same checks as those of DICOM files.

What such a file does not say of the acquisition is unknown. Axes: A, B, C of the array in the file; Z, H, W of it as
slices, rows and columns, in whatever direction they run.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import dicom_study, header, images, pixels
from cac_hpc.volumes.acquisition import Subject
from cac_hpc.volumes.dicom_study import Listing
from cac_hpc.volumes.files import ENDINGS, Entry
from cac_hpc.volumes.header import Header
from cac_hpc.volumes.images import Image, Own
from cac_hpc.volumes.placement import Placement
from cac_hpc.volumes.study import Keep, Read, ReadSeries, Study
from cac_hpc.volumes.volume_header import VolumeHeader

WARNINGS = {  # code to what it means; codes stand in studies.csv, scores.csv and predictions.csv
    "unknown_acquisition": "a NIfTI or NRRD file says nothing of tube voltage, kernel, gating and slice thickness",
    "unknown_unit": "the file does not say in which unit its lengths are; they were taken for mm",
    "rounded_hu": "voxels were not whole HU; each was rounded to the nearest",
    "eight_bits": "a voxel has 8 bits, too few for HU",
    "normalised": "all values are from -1 to 1: those of a normalised image, not HU",
    "nothing_below_0": "no value is below 0, where air is -1000 HU: values may lack an intercept of -1024",
}
NO_HU = ("implausible_hu", "impossible_values")
SUSPECT = ("eight_bits", "normalised", "nothing_below_0")  # why HU may be implausible
WHOLE = 0.01  # HU: what is nearer to a whole number is one, as a float holds it
PERPENDICULAR = 1e-3  # the cosine between two axes, at most
INT16 = np.iinfo(np.int16)
QUOTED = re.compile(r"""b?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")  # text from a file, in a message
NOBODY = Subject(("",) * 4, ("",) * 2)


@dataclass
class Volume:
    """A file with a volume, as far as it was read.

    name: of the file, below its study; never to be written. axes: of the array, those of slices, rows and columns.
    stamp: what tells that the file is still the same.
    hu_ZHW: (Z, H, W) int16, HU as stored; None until it is wanted.
    """

    path: Path
    name: str
    found: VolumeHeader
    axes: tuple[int, int, int]
    stamp: tuple[int, ...]
    warnings: list[str] = field(default_factory=list)
    hu_ZHW: np.ndarray | None = None

    def hu(self, image: Image, scratch: bytearray) -> np.ndarray:
        """A slice (H, W), int16 HU.

        Raises: Refused for what is wrong with the file or the values.
        """
        if self.hu_ZHW is None:
            hu_ABC, found = to_hu(_values(self))
            self.warnings += [*found, *(["eight_bits"] if self.found.bits == 8 else [])]
            self.hu_ZHW = hu_ABC.transpose(self.axes)
        into_HW = np.frombuffer(scratch, np.int16).reshape(image.header.rows, image.header.columns)
        into_HW[:] = self.hu_ZHW[image.frame]
        return pixels.pixels_to_hu(into_HW, image.header)


def claims(entries: Sequence[Entry]) -> bool:
    """Whether a volume is among the files of a study."""
    return any(entry.volume_format and not entry.refused for entry in entries)


def open_study(entries: Sequence[Entry]) -> ReadSeries:
    """What reads the volume of a study; see `study.Reader`."""
    return partial(_read, entries)


def by_headers(entries: Sequence[Entry], cfg: PackConfig) -> tuple[int, list[Refused]]:
    """How many slices the volume has, and why other files are not it, by headers alone."""
    return dicom_study.count(listed(entries, cfg)[0], cfg)


def _read(entries: Sequence[Entry], cfg: PackConfig, left_out: Mapping[int, Refused], keep: Keep) -> Read:
    listing, volume = listed(entries, cfg)
    if volume is None:
        return Read(Study(len(entries), listing.refusals, None, frozenset(), False))
    read = dicom_study.read_series(listing, volume.hu, cfg, left_out, keep)
    return replace(read, study=_said(read.study, volume, listing.found[0][0] + 1))


def _said(study: Study, volume: Volume, number: int) -> Study:
    """The study with what a volume's header does not say, and what its values look like.

    Args:
        number: of the volume's file, from 1.
    """
    study = replace(study, slice_files=())  # its slices are of no DICOM files
    if study.facts is not None:
        codes = [*study.facts["warnings"].split(), *volume.warnings]
        return replace(study, facts=study.facts | {"warnings": " ".join(dict.fromkeys(codes))})
    looks = "".join(f"; {WARNINGS[code]}" for code in volume.warnings if code in SUSPECT)
    refused = {
        one.file: replace(one, detail=one.detail + looks) if one.reason in NO_HU else one for one in study.refusals
    }
    apart = (other for other in range(1, study.num_files + 1) if other not in refused)  # its voxels
    refused |= {other: replace(refused[number], file=other) for other in apart}
    return replace(study, refusals=[refused[other] for other in sorted(refused)])


def listed(entries: Sequence[Entry], cfg: PackConfig) -> tuple[Listing, Volume | None]:
    """The slices of a study's volume, and the volume; None if there is none to be used, and every file has a reason."""
    listing = Listing([entry.folder for entry in entries])
    listing.refused |= {number: entry.refused for number, entry in enumerate(entries) if entry.refused}
    try:
        number = _chosen(entries, listing.refused, cfg)
        volume = _opened(entries[number], entries)
        found = _images(volume)
    except Refused as why:
        kept = (other for other in range(len(entries)) if other not in listing.refused)
        listing.refused |= dict.fromkeys(kept, why)
        return listing, None
    others = (
        other
        for other, entry in enumerate(entries)
        if other not in (number, *listing.refused) and entry.path != volume.found.detached
    )
    listing.refused |= dict.fromkeys(others, Refused("not_volume", "the study is a volume in another file"))
    listing.found += [(number, image) for image in found]
    return listing, volume


def _chosen(entries: Sequence[Entry], refused: dict[int, Refused], cfg: PackConfig) -> int:
    """The number of the one volume; why other volumes are not it goes to ``refused``.

    Raises: Refused if there are several, or DICOM slices too.
    """
    volumes, rule = [], cfg.series.description
    for number, entry in enumerate(entries):
        if number in refused:
            continue
        if not entry.volume_format:
            if _is_slice(entry.path):
                raise Refused("several_formats", "found a NIfTI or NRRD file and DICOM slices, data.format is auto")
        elif rule is not None and not re.search(rule, _name(entry), re.IGNORECASE):
            refused[number] = Refused("other_series", "its name does not match pack.series.description")
        else:
            volumes.append(number)
    if len(volumes) != 1:
        raise Refused("several_volumes" if volumes else "not_volume", f"found {len(volumes)} volumes, wanted one")
    return volumes[0]


def _is_slice(path: Path) -> bool:
    """Whether a file is a CT slice in DICOM."""
    try:
        return bool(images.read_images(path))
    except Refused as why:
        return why.series is not None


def _name(entry: Entry) -> str:
    """Of a file, below its study; never to be written."""
    return os.fsdecode(entry.name).removeprefix("./")


def _opened(entry: Entry, entries: Sequence[Entry]) -> Volume:
    """A volume whose header is read.

    Raises: Refused if it cannot be used.
    """
    from cac_hpc.volumes import nifti, nrrd

    path = entry.path
    read = nifti.read_header if path.name.lower().endswith(ENDINGS["nifti"]) else nrrd.read_header
    try:
        with images.opened(path) as (_, stamp):
            found = read(path)
    except InputError as error:
        raise Refused("bad_volume", _detail(error, path)) from None
    except OSError as error:
        raise images.unreadable(error, "bad_volume") from error
    if found.detached and found.detached not in [other.path for other in entries if not other.refused]:
        raise Refused("bad_volume", "its voxels are in another file, which is not in the study")
    warnings = ["unknown_acquisition"] + ["unknown_unit"] * (not found.in_mm)
    return Volume(path, _name(entry), found, _axes(found.at), stamp, warnings)


def _detail(error: InputError, path: Path, detached: Path | None = None) -> str:
    """What a message about a file says without its name, that of the file with its voxels, and any text from them."""
    text = str(error).replace(f"{path}: ", "").replace(str(path), "it").replace(path.name, "its header")
    return QUOTED.sub("...", text.replace(f"{detached}: ", "its voxels: ") if detached else text)


def _axes(at: Placement) -> tuple[int, int, int]:
    """The axes of an array along which slices, rows and columns follow each other: those nearest to the patient's."""
    cosine = np.abs(np.array(at.steps_mm)) / np.array(at.spacing_mm)[:, None]
    slices, rows, columns = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(cosine[axis, to] for axis, to in zip(axes, (2, 1, 0), strict=True)),
    )
    return slices, rows, columns


def _images(volume: Volume) -> list[Image]:
    """The slices of a volume, their values not read yet.

    Raises: Refused if no CT has such a geometry.
    """
    at, spacing_mm = volume.found.at, volume.found.spacing_mm
    slices, rows, columns = volume.axes
    along_slices, down, across = (np.array(at.steps_mm[axis]) / at.spacing_mm[axis] for axis in volume.axes)
    if (cosine := abs(float(down @ across))) > PERPENDICULAR:
        apart = math.degrees(math.acos(min(cosine, 1)))
        raise Refused("no_geometry", f"rows and columns are {apart:.1f} degrees apart, wanted 90")
    said = _header(volume, (*across.tolist(), *down.tolist()), (spacing_mm[rows], spacing_mm[columns]))
    header.check_size(said.rows, said.columns)
    header.check_spacing(said.spacing)
    found = []
    for number in range(at.shape[slices]):
        position = (np.array(at.first_mm) + along_slices * (spacing_mm[slices] * number)).tolist()
        header.check_position(position)
        own = Own(tuple(position), math.nan, "")
        found.append(Image(volume.path, said, own, volume.stamp, 0, number, at.shape[slices]))
    return found


def _header(volume: Volume, orientation: tuple[float, ...], spacing_mm: tuple[float, float]) -> Header:
    """What would be a slice's header, were it DICOM; nothing is known of the acquisition."""
    _, rows, columns = (volume.found.at.shape[axis] for axis in volume.axes)
    return Header(
        transfer_syntax="",
        image_type=(),
        description=volume.name,
        rows=rows,
        columns=columns,
        bits_allocated=16,
        bits_stored=16,
        signed=True,
        slope=1.0,
        intercept=0.0,
        padding=None,
        orientation=orientation,
        spacing=spacing_mm,
        subject=NOBODY,
        identity=volume.found.texts,
        private=False,
    )


def _values(volume: Volume) -> np.ndarray:
    """The values of a file, slope and intercept applied.

    Raises: Refused if it has changed or cannot be read.
    """
    from cac_hpc.volumes import nifti, nrrd

    path = volume.path
    read = nifti.read_nifti if path.name.lower().endswith(ENDINGS["nifti"]) else nrrd.read_nrrd
    try:
        with images.opened(path) as (file, now):
            values, _ = read(path)
            if volume.stamp != now or images.stamp_of(file) != now:
                raise Refused("changed_while_read", "its size or time changed")
    except InputError as error:
        raise Refused("bad_volume", _detail(error, path, volume.found.detached)) from None
    except OSError as error:
        raise images.unreadable(error, "bad_volume") from error
    return values


def to_hu(values_ABC: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Whole HU, and the codes of `WARNINGS` that its values earn.

    Args:
        values_ABC: (A, B, C) integers or floats.
    Returns: (A, B, C) int16.
    Raises: Refused if a value is no number or beyond 16 bits.
    """
    lowest, highest = float(values_ABC.min()), float(values_ABC.max())
    if math.isnan(lowest):
        raise Refused("impossible_values", "voxels that are no numbers, wanted HU")
    if lowest < INT16.min or highest > INT16.max:
        raise Refused("impossible_values", f"{lowest:.4g} to {highest:.4g}, wanted HU of 16 bits")
    warnings = []
    if values_ABC.dtype.kind == "f":
        hu_ABC, off = np.empty(values_ABC.shape, np.int16, order="F"), 0.0
        for number in range(values_ABC.shape[2]):  # a part at a time, as floats take much memory
            part_AB = values_ABC[:, :, number]
            hu_ABC[:, :, number] = whole_AB = np.rint(part_AB)
            off = max(off, float(np.abs(whole_AB - part_AB).max()))
        warnings += ["rounded_hu"] * (off > WHOLE)
    else:
        hu_ABC = values_ABC.astype(np.int16, copy=False)
    if lowest >= -1 and highest <= 1:
        warnings.append("normalised")
    elif lowest >= 0:
        warnings.append("nothing_below_0")
    return hu_ABC, warnings
