"""One synthetic patient: a chest drawn, scanned, and calcified until its score reaches a target.

x, y, z in mm from the middle of the heart: to the patient's left, to the back, to the head. Axes: Z slices, H rows (y),
W columns (x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cac_hpc.calcium import agatston
from cac_hpc.phantom import chambers, coronaries, distractors, formation, habitus, thorax
from cac_hpc.phantom.canvas import Grid
from cac_hpc.phantom.habitus import Protocol
from cac_hpc.run.commands import PhantomConfig
from cac_hpc.run.config import InputError, WorkError

HEART_SPAN_MM = 84.0  # covered by the slices at least
HEART_MIDDLE_Z_MM = -13.0
EASY = 0.06  # variety of the patients where the cohort is to be easy
ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class Frame:
    """How a patient is scanned: where the slices lie and what a pixel is."""

    protocol: Protocol
    num_slices: int
    matrix: int
    field_of_view_mm: float
    pixel_mm: float
    spacing_mm: float
    first_z_mm: float
    corner_mm: float  # x and y of the first pixel's middle

    @property
    def thickness_mm(self) -> float:
        return min(3.0, self.spacing_mm)

    def raster(self) -> formation.Raster:
        z_mm = self.first_z_mm + np.arange(self.num_slices) * self.spacing_mm
        return formation.make_raster(z_mm, self.matrix, self.pixel_mm, self.thickness_mm, self.corner_mm)


@dataclass(frozen=True)
class Study:
    """A patient as stored.

    hu_ZHW: int16, slices in ascending z. artery_ZHW: uint8, the artery that calcium in a voxel belongs to, 0 where it
    is not coronary. score: the Agatston rule on these voxels. deposits: the plaques that were placed.
    """

    hu_ZHW: np.ndarray
    artery_ZHW: np.ndarray
    frame: Frame
    score: float
    deposits: list[coronaries.Deposit]

    @property
    def mask_ZHW(self) -> np.ndarray:
        """Where calcium is coronary, bool."""
        return self.artery_ZHW > 0


@dataclass(frozen=True)
class Chest:
    """A patient without calcium in the coronary arteries, scanned: float32 HU, artery of each voxel, courses."""

    hu_ZHW: np.ndarray
    artery_ZHW: np.ndarray
    grid: Grid
    courses: dict[str, np.ndarray]
    motion_mm: float


def draw_frame(rng: np.random.Generator, settings: PhantomConfig) -> Frame:
    """Draw a scanner and its slices; what the settings name is as they say."""
    protocol = habitus.PROTOCOLS[0] if settings.easy else habitus.draw_protocol(rng)
    drawn_slices = int(rng.integers(protocol.slices[0], protocol.slices[1] + 1))
    drawn_view_mm = round(float(rng.uniform(*protocol.field_of_view_mm)))
    num_slices = settings.slices or drawn_slices
    view_mm = settings.field_of_view_mm or float(drawn_view_mm)
    pixel_mm = round(view_mm / settings.matrix, 6)  # as the header says it
    spacing_mm = max(protocol.spacing_mm, round(HEART_SPAN_MM / num_slices, 2))
    shift_mm = (0.0, 0.0) if settings.easy else rng.normal(0, 3, 2)
    first_z_mm = HEART_MIDDLE_Z_MM + float(shift_mm[0]) - spacing_mm * (num_slices - 1) / 2
    return Frame(
        protocol=protocol,
        num_slices=num_slices,
        matrix=settings.matrix,
        field_of_view_mm=view_mm,
        pixel_mm=pixel_mm,
        spacing_mm=spacing_mm,
        first_z_mm=round(first_z_mm, 3),
        corner_mm=-pixel_mm * (settings.matrix - 1) / 2 + float(shift_mm[1]),
    )


def render(rng: np.random.Generator, settings: PhantomConfig, target: tuple[float, float]) -> Study:
    """Make one patient; nothing but calcium in the coronary arteries depends on the target.

    Args:
        target: least and largest score, between which one is drawn; both 0 for no calcium.
    Raises: InputError if voxels are too coarse for a score that low; WorkError if noise scores again and again.
    """
    frame = draw_frame(rng, settings)
    chest = _draw_clean_chest(rng, frame, settings)
    deposits = _calcify(rng, chest, frame, target, settings.easy) if target[1] > 0 else []
    stored_ZHW = formation.as_stored(chest.hu_ZHW)
    score = _score(stored_ZHW, chest.artery_ZHW, frame)
    return Study(stored_ZHW, chest.artery_ZHW, frame, score, deposits)


def _draw_clean_chest(rng: np.random.Generator, frame: Frame, settings: PhantomConfig) -> Chest:
    """A chest in which noise alone does not score; where it does, which is rare, another is drawn."""
    for _ in range(ATTEMPTS):
        chest = draw_chest(rng, frame, EASY if settings.easy else 1.0)
        if _score(formation.as_stored(chest.hu_ZHW), chest.artery_ZHW, frame) == 0:
            return chest
    raise WorkError(
        f"noise alone scores in {ATTEMPTS} chests in turn, wanted one where it does not: take another --seed"
    )


def _score(stored_ZHW: np.ndarray, artery_ZHW: np.ndarray, frame: Frame) -> float:
    return agatston.score_volume(stored_ZHW, artery_ZHW > 0, frame.pixel_mm, frame.spacing_mm)


def draw_chest(rng: np.random.Generator, frame: Frame, variety: float) -> Chest:
    """Draw a patient without coronary calcium and scan him."""
    raster, kernel = frame.raster(), frame.protocol.kernel
    body = habitus.draw_body(rng, variety)
    canvas = thorax.paint_chest(rng, raster.drawn, body)
    heart = chambers.place_heart(body)
    chambers.paint_heart(canvas, body, heart)
    courses = coronaries.draw_courses(rng, body, heart, variety)
    coronaries.paint_arteries(canvas, body, courses)
    lead_P3 = chambers.paint_lead(canvas, body) if body.lead else None
    hu_ZHW = formation.scan(rng, canvas.hu_ZHW, raster, kernel, _noise_hu(rng, frame, raster.image))
    if variety > 0.5:
        distractors.add_distractors(rng, hu_ZHW, raster.image, body, courses, kernel.blur_mm)
    if lead_P3 is not None:
        distractors.add_lead_streaks(rng, hu_ZHW, raster.image, lead_P3)
    return Chest(hu_ZHW, coronaries.masks(raster.image, courses), raster.image, courses, body.motion_mm)


def _noise_hu(rng: np.random.Generator, frame: Frame, grid: Grid) -> np.ndarray:
    """SD of the noise in each pixel (H, W): highest in the middle of the body."""
    most = rng.uniform(*frame.protocol.kernel.noise_hu)
    square = grid.x_mm**2 + grid.y_mm[:, None] ** 2
    return np.asarray(most * np.clip(1.04 - 0.35 * square / 130**2, 0.45, None), np.float32)


def _calcify(
    rng: np.random.Generator, chest: Chest, frame: Frame, target: tuple[float, float], easy: bool
) -> list[coronaries.Deposit]:
    """Put plaques into a chest, in place, that bring its score between the least and the largest."""
    box = ndimage.find_objects((chest.artery_ZHW > 0).view(np.uint8))[0]
    region = coronaries.Region(
        chest.hu_ZHW[box], chest.artery_ZHW[box], chest.grid.crop(box), frame.spacing_mm, frame.protocol.kernel.blur_mm
    )
    for _ in range(ATTEMPTS):
        wanted = float(np.exp(rng.uniform(*np.log(target))))
        added_ZHW, deposits = coronaries.place_plaques(rng, region, chest.courses, wanted, chest.motion_mm, easy)
        if target[0] <= region.score(added_ZHW) <= target[1]:
            inside = region.artery_ZHW > 0
            region.hu_ZHW[inside] += added_ZHW[inside]
            return deposits
    raise InputError(
        f"--matrix and --slices give voxels of {frame.pixel_mm:.2f} x {frame.pixel_mm:.2f} x {frame.spacing_mm:g} mm, "
        f"too coarse for a score of {target[0]:g} to {target[1]:g}: ask for more of either"
    )
