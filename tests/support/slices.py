"""Slices as headers tell of them, without files: for tests of what is chosen among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cache

from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import acquisition, header, series
from cac_hpc.volumes.header import Header
from cac_hpc.volumes.images import Own
from cac_hpc.volumes.series import Choice, NoSeries
from cac_hpc.volumes.stacks import SliceEntry

VALUES: dict[str, acquisition.Value] = {
    "SOPClassUID": header.CT_IMAGE, "ImageType": "ORIGINAL\\PRIMARY\\AXIAL", "SeriesInstanceUID": "1.2.3",
    "SeriesNumber": "2", "SliceThickness": "3", "KVP": "120", "ConvolutionKernel": "Qr36d", "PixelSpacing": "0.5\\0.5",
    "ImageOrientationPatient": "1\\0\\0\\0\\1\\0", "Rows": 64, "Columns": 64, "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
    "PixelRepresentation": 0, "RescaleSlope": "1", "RescaleIntercept": "-1024", "RescaleType": "HU",
}  # fmt: skip

Each = Callable[[int], Mapping[str, acquisition.Value]]


@cache
def parsed(**values: acquisition.Value) -> Header:
    """The header of a usual slice, with other values by DICOM keyword; an empty one is not there.

    As from files, slices that say the same share one.
    """
    return header.parse({key: value for key, value in (VALUES | values).items() if value != ""})


def run(
    num_slices: int, first_mm: float = 0.0, step_mm: float = 3.0, each: Each = lambda _: {}, **values: acquisition.Value
) -> list[SliceEntry]:
    """Slices on each other, numbered from 1; each: values of a slice for itself, by its number from 0."""
    slices = []
    for index in range(num_slices):
        said = {**values, **each(index)}
        number, acquired = said.pop("InstanceNumber", index + 1), str(said.pop("AcquisitionTime", ""))
        own = Own((-16.0, -16.0, round(first_mm + index * step_mm, 4)), float(number), acquired)
        slices.append(SliceEntry(0, parsed(**said), own, b"."))
    return slices


def together(*runs: list[SliceEntry]) -> list[SliceEntry]:
    """The slices of a study, one run after the other."""
    every = [candidate for slices in runs for candidate in slices]
    return [dataclasses.replace(candidate, index=index) for index, candidate in enumerate(every)]


def choose(*runs: list[SliceEntry], **settings: object) -> Choice:
    return series.choose(together(*runs), PackConfig(**settings), {})  # type: ignore[arg-type]


def ends(*runs: list[SliceEntry], **settings: object) -> str | list[int]:
    """The code why there is no series, or how many slices of each run are taken."""
    try:
        taken = {candidate.index for candidate in choose(*runs, **settings).slices}
    except NoSeries as none:
        return none.reason
    counts, first = [], 0
    for slices in runs:
        counts.append(len(taken & set(range(first, first + len(slices)))))
        first += len(slices)
    return counts
