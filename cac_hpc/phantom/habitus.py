"""What differs between patients, the calcium apart. Lengths in mm for an average adult times a scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOOD_HU, MUSCLE_HU, HEART_MUSCLE_HU = 40.0, 52.0, 43.0  # without contrast, blood and muscle can hardly be told apart
AIR_HU = -1024.0


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

    @property
    def midline_mm(self) -> float:
        return -20.0

    @property
    def cavity_mm(self) -> np.ndarray:
        """Middle of the chest's cavity."""
        return np.array((self.midline_mm, self.depth_mm - 63.5, -30.0))

    @property
    def spine_mm(self) -> np.ndarray:
        """Middle of the column of vertebral bodies."""
        return np.array((self.midline_mm, 2 * self.depth_mm - 91.0 + self.kyphosis_mm, 0.0))

    def heart_turn(self) -> np.ndarray:
        """The rotation from the average heart to this one's."""
        lying, swing = np.radians((self.lying, self.swing))
        about_y = np.array([[np.cos(lying), 0, -np.sin(lying)], [0, 1, 0], [np.sin(lying), 0, np.cos(lying)]])
        about_z = np.array([[np.cos(swing), -np.sin(swing), 0], [np.sin(swing), np.cos(swing), 0], [0, 0, 1]])
        return np.asarray(about_z @ about_y)

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
