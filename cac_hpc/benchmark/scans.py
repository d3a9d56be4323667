"""CT studies that are quick to make, with headers as long as those of a scanner; uncompressed or compressed.

They are noise in a body. What a header costs to read depends on its elements. Axes: Z slice, H row, W column.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

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
