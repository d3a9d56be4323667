"""The scanners of a synthetic cohort: how they take and store a gated calcium-scoring exam, what headers say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cac_hpc.phantom.formation import Kernel

CARDIAC_PHASE = 75.0  # percent of the heart's cycle at which the exam is taken


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A scanner and its exam. slices: least and most. intercept_hu: of the stored values."""

    maker: str
    model: str
    kernel_name: str
    description: str
    kernel: Kernel
    spacing_mm: float
    slices: tuple[int, int]
    field_of_view_mm: tuple[float, float]
    intercept_hu: int
    share: float  # of the studies


# Kernels of medium softness; ranges as of the studies that are imitated and of public gated exams.
PROTOCOLS = (
    Protocol(
        maker="GE MEDICAL SYSTEMS", model="Discovery NM/CT 570c", kernel_name="STANDARD",
        description="CALCIUM SCORE GATED 75%",
        kernel=Kernel(blur_mm=0.46, sharpening=0.25, grain=0.25, noise_hu=(12.0, 20.0)),
        spacing_mm=2.5, slices=(56, 96), field_of_view_mm=(200.0, 260.0), intercept_hu=-1024, share=0.5,
    ),
    Protocol(
        maker="SIEMENS", model="SOMATOM Definition", kernel_name="B35f", description="CaSc 3.0 B35f 75%",
        kernel=Kernel(blur_mm=0.50, sharpening=0.15, grain=0.30, noise_hu=(11.5, 18.0)),
        spacing_mm=3.0, slices=(46, 57), field_of_view_mm=(165.0, 220.0), intercept_hu=-1000, share=0.3,
    ),
    Protocol(
        maker="TOSHIBA", model="Aquilion ONE", kernel_name="FC12", description="Calcium Score 3.0 FC12 75%",
        kernel=Kernel(blur_mm=0.55, sharpening=0.0, grain=0.282, noise_hu=(11.5, 17.0)),
        spacing_mm=3.0, slices=(46, 54), field_of_view_mm=(180.0, 240.0), intercept_hu=0, share=0.2,
    ),
)  # fmt: skip
NOBODY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def draw_protocol(rng: np.random.Generator) -> Protocol:
    shares = [protocol.share for protocol in PROTOCOLS]
    return PROTOCOLS[int(rng.choice(len(PROTOCOLS), p=shares))]


def attributes(
    rng: np.random.Generator, protocol: Protocol, field_of_view_mm: float, thickness_mm: float
) -> dict[str, object]:
    """What the header of an exam says besides geometry, by DICOM keyword: no patient, no dates."""
    heart_rate = int(rng.integers(52, 76))
    interval_ms = round(60_000 / heart_rate)
    return dict.fromkeys(NOBODY, "") | {
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "synthetic, there is no patient",
        "BurnedInAnnotation": "NO",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": protocol.maker,
        "ManufacturerModelName": protocol.model,
        "SeriesDescription": protocol.description,
        "BodyPartExamined": "HEART",
        "PatientPosition": "HFS",
        "KVP": 120,
        "XRayTubeCurrent": int(rng.integers(35, 56)) * 10,
        "ExposureTime": 350,
        "ConvolutionKernel": protocol.kernel_name,
        "SliceThickness": thickness_mm,
        "ReconstructionDiameter": field_of_view_mm,
        "GantryDetectorTilt": 0,
        "CardiacSynchronizationTechnique": "PROSPECTIVE",
        "CardiacSignalSource": "ECG",
        "TriggerSourceOrType": "EKG",
        "HeartRate": heart_rate,
        "NominalInterval": interval_ms,
        "TriggerTime": round(interval_ms * CARDIAC_PHASE / 100, 1),
        "NominalPercentageOfCardiacPhase": CARDIAC_PHASE,
    }
