"""What differs between patients and between protocols, except calcium. Lengths in mm for an average adult."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cac_hpc.phantom.anatomy import AVERAGE, Anatomy, draw_anatomy
from cac_hpc.phantom.formation import Kernel
from cac_hpc.settings.phantom_command import SCANNERS, PhantomConfig

BLOOD_HU, MUSCLE_HU, HEART_MUSCLE_HU = 40.0, 52.0, 43.0  # without contrast, blood and muscle can hardly be told apart
AIR_HU = -1024.0
CARDIAC_PHASE = 75.0  # percent of the heart's cycle at which the exam is taken
LEAN, LEAN_RIM_MM = (0.005, 0.18), (0.2, 1.2)  # body.fat and body.rim_mm, from the leanest to the usual
NOBODY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Body:
    """One patient. Positions are x, y, z in mm from the middle of the heart."""

    width_mm: float  # of the chest's cavity, half
    depth_mm: float  # the same from front to back
    skin_fat_mm: float  # under the skin
    muscle_mm: float  # on the ribs
    rim_mm: float  # fat on the heart
    heart: float  # size, 1 is average
    lying: float  # degrees: how far the heart lies on its side, as on a high diaphragm
    swing: float  # degrees: turn of the heart about the body's axis
    aorta_mm: float  # radius of the ascending aorta
    kyphosis_mm: float  # shift of the spine to the back or front
    diaphragm_mm: float  # height of the right dome
    bone: float  # density, 1 is average
    cartilage: float  # how far the rib cartilages have calcified, 0 to 1
    rib_phase: float
    disc_phase: float
    rib_fall_mm: float
    lung_hu: float
    fat_hu: float
    tissue_hu: float  # added to blood and muscle
    motion_mm: float  # of the heart while it was scanned
    lead: bool  # a pacemaker's
    pitch: float = 0.0  # degrees: turn of the heart about the axis from right to left
    fat: float = 1.0  # thickness of the fat around heart and vessels
    front_mm: float = -63.5  # front of the chest's cavity
    takeoff_mm: float = 0.0  # by which the coronary arteries come higher from the aorta
    anatomy: Anatomy = AVERAGE

    @property
    def midline_mm(self) -> float:
        return -20.0

    @property
    def cavity_mm(self) -> np.ndarray:
        """Middle of the chest's cavity."""
        return np.array((self.midline_mm, self.depth_mm + self.front_mm, -30.0))

    @property
    def spine_mm(self) -> np.ndarray:
        """Middle of the column of vertebral bodies."""
        return np.array((self.midline_mm, 2 * self.depth_mm + (self.front_mm - 27.5) + self.kyphosis_mm, 0.0))

    def heart_turn(self) -> np.ndarray:
        """The rotation from the average heart to this one's."""
        lying, swing = np.radians((self.lying, self.swing))
        about_y = np.array([[np.cos(lying), 0, -np.sin(lying)], [0, 1, 0], [np.sin(lying), 0, np.cos(lying)]])
        about_z = np.array([[np.cos(swing), -np.sin(swing), 0], [np.sin(swing), np.cos(swing), 0], [0, 0, 1]])
        turn = about_z @ about_y
        if self.pitch:
            pitch = np.radians(self.pitch)
            turn = turn @ np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        return np.asarray(turn)

    def in_heart(self, points: object) -> np.ndarray:
        """Positions in the average heart, taken to this one."""
        return np.asarray(np.asarray(points, float) @ self.heart_turn().T * self.heart)


def draw_body(rng: np.random.Generator, variety: float) -> Body:
    """Draw a patient.

    Args:
        variety: how much patients differ; 1 as real ones do, 0 not at all.
    """

    def between(low: float, high: float) -> float:
        return float((low + high) / 2 + variety * rng.uniform(-0.5, 0.5) * (high - low))

    scale, weight = between(0.92, 1.08), between(0.0, 1.0)
    return Body(
        width_mm=between(112, 126) * scale,
        depth_mm=between(80, 88) * scale,
        skin_fat_mm=6 + 34 * weight**1.5,
        muscle_mm=between(8, 18) * scale,
        rim_mm=3.0 + 5.5 * weight * between(0.7, 1.3),
        heart=scale * between(0.92, 1.06),
        lying=between(-8, 6) + 8 * weight,
        swing=between(-8, 8),
        aorta_mm=between(13.5, 18.5) * scale,
        kyphosis_mm=between(-4, 5),
        diaphragm_mm=between(-46, -28) + 4 * weight,
        bone=between(0.75, 1.25),
        cartilage=max(0.0, between(-0.6, 1.0)),
        rib_phase=between(0, 1),
        disc_phase=between(0, 1),
        rib_fall_mm=between(62, 84),
        lung_hu=between(-866, -806),
        fat_hu=between(-106, -91),
        tissue_hu=between(-4, 4),
        motion_mm=max(0.0, between(-1.2, 2.2)),
        lead=bool(rng.uniform() < 0.06 and variety > 0.5),
    )


def vary_body(body: Body, streams: Mapping[str, np.random.Generator], anatomy_seed: int) -> Body:
    """The patient with what the settings of difficulty change of him; each has its stream, or is off."""
    if rng := streams.get("lean_patients"):
        share = float(rng.uniform())
        fat, rim_mm = (low + share * (high - low) for low, high in (LEAN, LEAN_RIM_MM))
        body = dataclasses.replace(body, fat=fat, rim_mm=rim_mm)
    if rng := streams.get("calcified_cartilage"):
        body = dataclasses.replace(body, cartilage=float(rng.choice((0.0, 1.0)) * rng.uniform(0.3, 1.6)))
    if rng := streams.get("edge_calcium"):
        body = dataclasses.replace(body, takeoff_mm=float(rng.uniform(0, 12)))
    if rng := streams.get("varied_anatomy"):
        body = dataclasses.replace(
            body,
            heart=body.heart * float(rng.uniform(0.88, 1.12)),
            lying=body.lying + float(rng.uniform(-12, 12)),
            swing=body.swing + float(rng.uniform(-14, 14)),
            pitch=float(rng.uniform(-10, 10)),
            diaphragm_mm=body.diaphragm_mm + float(rng.uniform(-10, 10)),
            front_mm=body.front_mm + float(rng.uniform(-4, 4)),
            anatomy=draw_anatomy(rng, anatomy_seed),
        )
    return body


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


# of a scanner that is degraded: a sharp kernel, and noise as in exams of too little dose
DEGRADED = Kernel(blur_mm=0.36, sharpening=0.9, grain=0.42, noise_hu=(36.0, 52.0))


def protocol_of(number: int, settings: PhantomConfig) -> Protocol | None:
    """The scanner of a study where scanners take turns; None where it is drawn.

    Args:
        number: of the study in its cohort, from 1.
    """
    if settings.scanners is None:
        return None
    turn = (number - 1) % settings.scanners
    if settings.degraded == SCANNERS[turn]:
        return dataclasses.replace(PROTOCOLS[turn], kernel=DEGRADED)
    return PROTOCOLS[turn]


def draw_protocol(rng: np.random.Generator) -> Protocol:
    shares = [protocol.share for protocol in PROTOCOLS]
    return PROTOCOLS[int(rng.choice(len(PROTOCOLS), p=shares))]


def person(rng: np.random.Generator) -> dict[str, object]:
    """Sex and age of a made-up patient, as headers say them; like patients of calcium scores, 40 to 84 years old."""
    return {"PatientSex": str(rng.choice(["F", "M"])), "PatientAge": f"{int(rng.triangular(40, 62, 85)):03d}Y"}


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
