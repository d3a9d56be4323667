"""What a program takes: wall clock, processor time and memory, its own and that of all processes it starts.

The CT studies that it is given are noise in a body, made fast, in files with as many elements as a scanner's: what a
header costs to read depends on its elements. Axes: Z slice, H row, W column.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LOOK_S = 0.02  # between two looks at the memory
PEAK = re.compile(r"VmHWM:\s*(\d+) kB")
SPACING_MM, FIELD_OF_VIEW_MM = 3.0, 210.0
AIR_HU, TISSUE_HU, NOISE_HU = -1000, 40, 20
MAKER_GROUPS = (0x0043, 0x0045)  # between the last public element and the pixels
MAKER_VALUES = ((b"SS", b"\1\0"), (b"DS", b"1.250000"), (b"LO", b"CARDIAC AXIAL "), (b"SL", bytes(4)))

EXAM: dict[str, object] = {
    "SpecificCharacterSet": "ISO_IR 100", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "InstanceCreationDate": "20200102", "InstanceCreationTime": "101112", "StudyDate": "20200102",
    "SeriesDate": "20200102", "AcquisitionDate": "20200102", "ContentDate": "20200102", "StudyTime": "101010",
    "SeriesTime": "101011", "AcquisitionTime": "101112.125", "ContentTime": "101113.250", "AccessionNumber": "",
    "Manufacturer": "MAKER OF SCANNERS", "InstitutionName": "", "ReferringPhysicianName": "", "StationName": "CT1",
    "StudyDescription": "CT CALCIUM SCORE", "SeriesDescription": "CALCIUM SCORE GATED 75%",
    "InstitutionalDepartmentName": "", "PerformingPhysicianName": "", "OperatorsName": "",
    "ManufacturerModelName": "MODEL 64", "PatientName": "", "PatientID": "", "IssuerOfPatientID": "",
    "PatientBirthDate": "", "PatientSex": "", "PatientAge": "", "PatientSize": "", "PatientWeight": "",
    "AdditionalPatientHistory": "", "PatientComments": "", "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "synthetic, there is no patient", "BodyPartExamined": "HEART",
    "ScanOptions": "AXIAL MODE", "SliceThickness": SPACING_MM, "KVP": 120, "SpacingBetweenSlices": SPACING_MM,
    "DataCollectionDiameter": 320, "DeviceSerialNumber": "0001", "SoftwareVersions": "scanner.1",
    "ProtocolName": "1.1 CALCIUM SCORE", "TriggerTime": 750, "NominalInterval": 1000, "LowRRValue": 990,
    "HighRRValue": 1010, "IntervalsAcquired": 8, "IntervalsRejected": 0, "HeartRate": 60,
    "ReconstructionDiameter": FIELD_OF_VIEW_MM, "DistanceSourceToDetector": 949.075, "DistanceSourceToPatient": 541,
    "GantryDetectorTilt": 0, "TableHeight": 140.5, "RotationDirection": "CW", "ExposureTime": 350,
    "XRayTubeCurrent": 430, "Exposure": 150, "FilterType": "CARDIAC", "GeneratorPower": 51600,
    "FocalSpots": [0.7, 0.7], "DateOfLastCalibration": "20200101", "TimeOfLastCalibration": "060000",
    "ConvolutionKernel": "STANDARD", "PatientPosition": "HFS", "RevolutionTime": 0.35,
    "SingleCollimationWidth": 0.625, "TotalCollimationWidth": 40.0, "DataCollectionCenterPatient": [0.0, 0.0, 0.0],
    "ReconstructionTargetCenterPatient": [0.0, 0.0, 0.0], "ExposureModulationType": "NONE", "CTDIvol": 5.25,
    "StudyID": "1", "AcquisitionNumber": 1, "ImagesInAcquisition": 48, "PositionReferenceIndicator": "SN",
    "ImageComments": "", "SmallestImagePixelValue": 0, "LargestImagePixelValue": 4095, "WindowCenter": [40, 300],
    "WindowWidth": [400, 1500], "WindowCenterWidthExplanation": ["NORMAL", "BONE"], "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00", "RequestingPhysician": "", "RequestedProcedureDescription": "CT HEART",
    "PerformedStationAETitle": "CT1", "PerformedStationName": "CT1", "PerformedProcedureStepStartDate": "20200102",
    "PerformedProcedureStepStartTime": "101010", "PerformedProcedureStepEndDate": "20200102",
    "PerformedProcedureStepEndTime": "101210", "PerformedProcedureStepID": "1",
    "PerformedProcedureStepDescription": "CT HEART", "RequestedProcedureID": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """peak_bytes: the most that each process had in memory, summed over those that ran at the same time."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Cost:
    """Run a program to its end.

    Args:
        log: what it prints. env: variables to be set for it.
    Raises: RuntimeError with the end of what it printed if it fails.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True
        )
        try:
            peak_bytes = _watch(process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        seconds = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-2000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_bytes)


def last_json(log: Path) -> dict[str, Any]:
    """The object that a program has printed last."""
    printed = log.read_text(encoding="utf-8").splitlines()
    found: dict[str, Any] = json.loads(next(line for line in reversed(printed) if line.startswith("{")))
    return found


def _watch(pid: int) -> int:
    """Wait for the end of a session's first process; returns its peak memory, of which ru_maxrss knows no sum.

    What only one look sees is left out: a process about to start another one shows twice for a moment.
    """
    peak, before, ended = 0, 0, os.pidfd_open(pid)
    try:
        while not select.select([ended], [], [], LOOK_S)[0]:
            now = _memory_bytes(pid)
            peak, before = max(peak, min(before, now)), now
    finally:
        os.close(ended)
    return peak


def _memory_bytes(session: int) -> int:
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if os.getsid(int(process.name)) == session and (peak := PEAK.search((process / "status").read_text())):
                total += int(peak[1]) << 10
    return total


def add_numbers(parser: argparse.ArgumentParser, asked: type, texts: Mapping[str, str]) -> None:
    """Options of a measurement that are numbers.

    Args:
        asked: its settings, which have the defaults. texts: of each option what it means.
    """
    for name, text in texts.items():
        default = getattr(asked, name)
        help_text = f"{text} (default {default})"
        parser.add_argument(f"--{name}", type=type(default), default=default, metavar="N", help=help_text)


@contextlib.contextmanager
def work_folder(keep: str | None) -> Iterator[Path]:
    """Where a measurement works: a folder that stays if it was named, else one that goes."""
    if keep:
        Path(keep).mkdir(parents=True)
        yield Path(keep).absolute()
        return
    with tempfile.TemporaryDirectory(prefix="cac_hpc-benchmark-") as folder:
        yield Path(folder)


def write_studies(root: Path, num_studies: int, num_slices: int, matrix: int) -> None:
    """Write ``root/NNN/IM*.dcm``, uncompressed (explicit little endian), unsigned 16 bit, HU + 1024."""
    from cac_hpc.volumes import dicom  # here: it takes half a second, which --help has not

    volume_ZHW = _body(num_slices, matrix)
    private = _private_elements()
    for index in range(num_studies):
        dicom.write_series(
            root / f"{index:03d}",
            np.roll(volume_ZHW, (index, index), axis=(0, 2)),  # no two patients share a slice
            pixel_spacing_mm=FIELD_OF_VIEW_MM / matrix,
            slice_spacing_mm=SPACING_MM,
            first_z_mm=-SPACING_MM * (num_slices - 1) / 2,
            uid_entropy=["cac_hpc scanner", str(num_slices), str(matrix), str(index)],
            attributes=EXAM,
        )
        for path in (root / f"{index:03d}").iterdir():
            data = path.read_bytes()
            pixels = len(data) - 12 - 2 * matrix * matrix  # tag, VR and length of the pixels are 12 bytes
            path.write_bytes(data[:pixels] + private + data[pixels:])


def _body(num_slices: int, matrix: int) -> np.ndarray:
    """HU of noisy tissue in an ellipse, air around it."""
    y, x = np.ogrid[-1 : 1 : matrix * 1j, -1 : 1 : matrix * 1j]
    tissue_ZHW = np.random.default_rng(0).normal(TISSUE_HU, NOISE_HU, (num_slices, matrix, matrix)).astype(np.int16)
    return np.where(x**2 + (1.4 * y) ** 2 < 0.8, tissue_ZHW, np.int16(AIR_HU))


def _private_elements() -> bytes:
    """Two blocks of a maker's own elements: numbers, texts and a table."""
    elements = []
    for group in MAKER_GROUPS:
        elements.append(_element(group, 0x0010, b"LO", b"MAKER_PARMS "))
        for number in range(18):
            elements.append(_element(group, 0x1001 + number, *MAKER_VALUES[number % len(MAKER_VALUES)]))
        elements.append(_element(group, 0x1060, b"OB\0\0", bytes(1024)))
    return b"".join(elements)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """An element of explicit little endian; the length of a two-byte VR has two bytes, of others four."""
    return struct.pack("<HH", group, number) + vr + len(value).to_bytes(len(vr), "little") + value
