"""One synthetic patient: a chest drawn, scanned, and calcified until its score reaches a target.

x, y, z in mm from the middle of the heart: to the patient's left, to the back, to the head. Axes: Z slices, H rows (y),
W columns (x).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cac_hpc.calcium import agatston
from cac_hpc.phantom import chambers, contents, coronaries, distractors, formation, habitus, objects, specks, thorax
from cac_hpc.phantom.canvas import Canvas, Grid
from cac_hpc.phantom.habitus import Protocol
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.phantom_command import KNOBS, PhantomConfig

HEART_SPAN_MM = 84.0  # covered by the slices at least
HEART_MIDDLE_Z_MM = -13.0
EASY = 0.06  # variety of the patients where the cohort is to be easy
ATTEMPTS = 20
HEART_TOP_MM, BELOW_MM = 46.0, (30.0, 60.0)  # covered at least; below the heart's middle third, where abdomen is seen
ABDOMEN, OVERLAPPING, STERNUM = 7 / 11, 0.25, 0.6  # of the patients, of the fields, of the narrow fields
VIEW_MM, NARROW_MM, SLIVER_MM = (160.0, 260.0), 190.0, (0.8, 2.4)  # fields; narrow ones; sternum inside these

Streams = Mapping[str, np.random.Generator]  # of each setting of difficulty that is on


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
    down_mm: float = 0.0  # added to y
    overlapping: bool = False  # slices are twice as thick as they are apart

    @property
    def thickness_mm(self) -> float:
        return min(3.0, self.spacing_mm * (2 if self.overlapping else 1))

    def raster(self) -> formation.Raster:
        z_mm = self.first_z_mm + np.arange(self.num_slices) * self.spacing_mm
        return formation.make_raster(z_mm, self.matrix, self.pixel_mm, self.thickness_mm, self.corner_mm, self.down_mm)


@dataclass(frozen=True)
class Study:
    """A patient as stored.

    hu_ZHW: int16, slices in ascending z. artery_ZHW: uint8, the artery that calcium in a voxel belongs to, 0 where it
    is not coronary; of plaques alone where other things may reach 130 HU. score: the Agatston rule on these voxels.
    deposits: the plaques that were placed. inventory: what else is dense. vessel_ZHW: uint8, the artery that is nearer
    than 5 mm. ventricle_mm: x, y, z of the middle of the left ventricle.
    """

    hu_ZHW: np.ndarray
    artery_ZHW: np.ndarray
    frame: Frame
    score: float
    deposits: list[coronaries.Deposit]
    inventory: objects.Inventory
    vessel_ZHW: np.ndarray
    ventricle_mm: np.ndarray

    @property
    def mask_ZHW(self) -> np.ndarray:
        """Where calcium is coronary, bool."""
        return self.artery_ZHW > 0


@dataclass(frozen=True)
class Chest:
    """A patient without calcium in the coronary arteries, scanned: float32 HU, artery of each voxel, courses."""

    hu_ZHW: np.ndarray
    artery_ZHW: np.ndarray
    frame: Frame
    grid: Grid
    courses: dict[str, np.ndarray]
    motion_mm: float
    inventory: objects.Inventory
    ventricle_mm: np.ndarray


def draw_frame(
    rng: np.random.Generator,
    settings: PhantomConfig,
    streams: Streams | None = None,
    protocol: Protocol | None = None,
) -> Frame:
    """Draw a scanner, unless it is known, and its slices; what the settings name is as they say."""
    streams = streams or {}
    drawn = habitus.PROTOCOLS[0] if settings.easy else habitus.draw_protocol(rng)
    protocol = protocol or drawn
    drawn_slices = int(rng.integers(protocol.slices[0], protocol.slices[1] + 1))
    drawn_view_mm = round(float(rng.uniform(*protocol.field_of_view_mm)))
    num_slices = settings.slices or drawn_slices
    view_mm = settings.field_of_view_mm or float(drawn_view_mm)
    pixel_mm = round(view_mm / settings.matrix, 6)  # as the header says it
    spacing_mm = max(protocol.spacing_mm, round(HEART_SPAN_MM / num_slices, 2))
    shift_mm = (0.0, 0.0) if settings.easy else rng.normal(0, 3, 2)
    first_z_mm = HEART_MIDDLE_Z_MM + float(shift_mm[0]) - spacing_mm * (num_slices - 1) / 2
    frame = Frame(
        protocol=protocol,
        num_slices=num_slices,
        matrix=settings.matrix,
        field_of_view_mm=view_mm,
        pixel_mm=pixel_mm,
        spacing_mm=spacing_mm,
        first_z_mm=round(first_z_mm, 3),
        corner_mm=-pixel_mm * (settings.matrix - 1) / 2 + float(shift_mm[1]),
    )
    return _vary_frame(frame, settings, streams)


def _vary_frame(frame: Frame, settings: PhantomConfig, streams: Streams) -> Frame:
    """The frame with other fields and slices, and with the upper abdomen, where that is wanted."""
    if rng := streams.get("varied_fields"):
        view_mm = settings.field_of_view_mm or float(round(rng.uniform(*VIEW_MM)))
        pixel_mm = round(view_mm / settings.matrix, 6)
        shift_mm = frame.corner_mm + frame.pixel_mm * (settings.matrix - 1) / 2
        corner_mm = -pixel_mm * (settings.matrix - 1) / 2 + shift_mm
        frame = dataclasses.replace(frame, field_of_view_mm=view_mm, pixel_mm=pixel_mm, corner_mm=corner_mm)
        if rng.uniform() < OVERLAPPING and settings.slices is None and frame.spacing_mm == 3.0:
            frame = dataclasses.replace(frame, num_slices=2 * frame.num_slices, spacing_mm=1.5, overlapping=True)
    if (rng := streams.get("upper_abdomen")) and rng.uniform() < ABDOMEN:
        height_mm = frame.spacing_mm * (frame.num_slices - 1)
        first_z_mm = max(HEART_MIDDLE_Z_MM - HEART_SPAN_MM / 2 - rng.uniform(*BELOW_MM), HEART_TOP_MM - height_mm)
        frame = dataclasses.replace(frame, first_z_mm=round(min(frame.first_z_mm, float(first_z_mm)), 3))
    return frame


def _with_sternum(frame: Frame, body: habitus.Body, rng: np.random.Generator) -> Frame:
    """A narrow field moved to the back until its front cuts off all of the sternum but a thin piece, in some."""
    if rng.uniform() > STERNUM or frame.field_of_view_mm > NARROW_MM:
        return frame
    front_mm = thorax.behind_sternum_mm(body) - float(rng.uniform(*SLIVER_MM))
    return dataclasses.replace(frame, down_mm=front_mm - frame.corner_mm)


def render(
    rng: np.random.Generator,
    settings: PhantomConfig,
    target: tuple[float, float],
    protocol: Protocol | None = None,
) -> Study:
    """Make one patient; nothing but calcium in the coronary arteries depends on the target.

    Args:
        target: least and largest score, between which one is drawn; both 0 for no calcium.
        protocol: of the scanner; None draws one.
    Raises: InputError if voxels are too coarse for a score that low; WorkError if noise scores again and again.
    """
    streams = dict(zip(KNOBS, rng.spawn(len(KNOBS)), strict=True))
    streams = {name: streams[name] for name in settings.active}
    frame = draw_frame(rng, settings, streams, protocol)
    chest = _draw_clean_chest(rng, frame, settings, streams)
    frame, vessel_ZHW = chest.frame, chest.artery_ZHW
    artery_ZHW = np.zeros_like(vessel_ZHW) if streams else vessel_ZHW
    deposits: list[coronaries.Deposit] = []
    if target[1] > 0:
        deposits = _calcify(rng, chest, artery_ZHW, target, settings)
    stored_ZHW = formation.as_stored(chest.hu_ZHW)
    score = _score(stored_ZHW, artery_ZHW, frame)
    return Study(stored_ZHW, artery_ZHW, frame, score, deposits, chest.inventory, vessel_ZHW, chest.ventricle_mm)


def _draw_clean_chest(rng: np.random.Generator, frame: Frame, settings: PhantomConfig, streams: Streams) -> Chest:
    """A chest in which noise alone does not score, by drawing another where it does, which is rare.

    With a setting of difficulty the first chest is taken: the score of record counts the voxels of plaques.
    """
    for _ in range(ATTEMPTS):
        chest = draw_chest(rng, frame, EASY if settings.easy else 1.0, streams, settings.anatomy_seed)
        if streams or _score(formation.as_stored(chest.hu_ZHW), chest.artery_ZHW, frame) == 0:
            return chest
    raise WorkError(
        f"noise alone scores in {ATTEMPTS} chests in turn, wanted one where it does not: take another --seed"
    )


def _score(stored_ZHW: np.ndarray, artery_ZHW: np.ndarray, frame: Frame) -> float:
    return agatston.score_volume(stored_ZHW, artery_ZHW > 0, frame.pixel_mm, frame.spacing_mm)


def draw_chest(
    rng: np.random.Generator, frame: Frame, variety: float, streams: Streams | None = None, anatomy_seed: int = 0
) -> Chest:
    """Draw a patient without coronary calcium and scan him."""
    streams = streams or {}
    body = habitus.vary_body(habitus.draw_body(rng, variety), streams, anatomy_seed)
    if "calcified_cartilage" in streams:
        frame = _with_sternum(frame, body, streams["calcified_cartilage"])
    raster, kernel = frame.raster(), frame.protocol.kernel
    inventory = objects.Inventory([], np.zeros(raster.image.shape, np.uint8))
    canvas = thorax.paint_chest(rng, raster.drawn, body, inventory.items)
    inventory.mark_drawn("bone or cartilage", raster, canvas.hu_ZHW >= objects.DENSE_HU)
    if "upper_abdomen" in streams:
        _fill_abdomen(streams["upper_abdomen"], canvas, body, raster, inventory)
    heart = chambers.place_heart(body)
    chambers.paint_heart(canvas, body, heart)
    courses = coronaries.draw_courses(rng, body, heart, variety)
    coronaries.paint_arteries(canvas, body, courses)
    lead_P3 = chambers.paint_lead(canvas, body) if body.lead else None
    noise_hu_HW = _noise_hu(rng, frame, raster.image)
    hu_ZHW = formation.scan(rng, canvas.hu_ZHW, raster, kernel, noise_hu_HW, frame.overlapping)
    if variety > 0.5:
        near = streams.get("noncoronary_calcium")
        distractors.add_distractors(rng, hu_ZHW, raster.image, body, courses, kernel.blur_mm, inventory, near)
    if lead_P3 is not None:
        distractors.add_lead_streaks(rng, hu_ZHW, raster.image, lead_P3, inventory)
    if "noise_groups" in streams:
        arteries_P3 = np.concatenate(list(courses.values()))
        specks.add_groups(streams["noise_groups"], hu_ZHW, raster.image, body, arteries_P3, inventory)
    artery_ZHW, ventricle_mm = coronaries.masks(raster.image, courses), heart.chambers["left ventricle"][0]
    return Chest(hu_ZHW, artery_ZHW, frame, raster.image, courses, body.motion_mm, inventory, ventricle_mm)


def _fill_abdomen(
    rng: np.random.Generator, canvas: Canvas, body: habitus.Body, raster: formation.Raster, inventory: objects.Inventory
) -> None:
    """Paint the contents of stomach and bowel, and mark what is dense and was not before."""
    before = canvas.hu_ZHW < objects.DENSE_HU
    inventory.items.extend(contents.paint_contents(rng, canvas, body))
    inventory.mark_drawn("gastrointestinal contents", raster, before & (canvas.hu_ZHW >= objects.DENSE_HU))


def _noise_hu(rng: np.random.Generator, frame: Frame, grid: Grid) -> np.ndarray:
    """SD of the noise in each pixel (H, W): highest in the middle of the body."""
    most = rng.uniform(*frame.protocol.kernel.noise_hu)
    square = grid.x_mm**2 + grid.y_mm[:, None] ** 2
    return np.asarray(most * np.clip(1.04 - 0.35 * square / 130**2, 0.45, None), np.float32)


def _calcify(
    rng: np.random.Generator,
    chest: Chest,
    artery_ZHW: np.ndarray,
    target: tuple[float, float],
    settings: PhantomConfig,
) -> list[coronaries.Deposit]:
    """Put plaques into a chest, in place, that bring its score between the least and the largest.

    Args:
        artery_ZHW: of the chest, or zeros: then the voxels of plaques are marked in it.
    """
    box, frame = ndimage.find_objects((chest.artery_ZHW > 0).view(np.uint8))[0], chest.frame
    spacing_mm, blur_mm, plaques_only = frame.spacing_mm, frame.protocol.kernel.blur_mm, bool(settings.active)
    part_ZHW, at_edge = chest.artery_ZHW[box], "edge_calcium" in settings.active
    region = coronaries.Region(chest.hu_ZHW[box], part_ZHW, chest.grid.crop(box), spacing_mm, blur_mm, plaques_only)
    for _ in range(ATTEMPTS):
        wanted = float(np.exp(rng.uniform(*np.log(target))))
        added_ZHW, deposits = coronaries.place_plaques(
            rng, region, chest.courses, wanted, chest.motion_mm, settings.easy, at_edge
        )
        if target[0] <= region.score(added_ZHW) <= target[1]:
            inside = part_ZHW > 0
            region.hu_ZHW[inside] += added_ZHW[inside]
            if plaques_only:
                artery_ZHW[box] = np.where(added_ZHW >= coronaries.PLAQUE_HU, part_ZHW, 0)
            return deposits
    raise InputError(
        f"--matrix and --slices give voxels of {frame.pixel_mm:.2f} x {frame.pixel_mm:.2f} x {frame.spacing_mm:g} mm, "
        f"too coarse for a score of {target[0]:g} to {target[1]:g}: ask for more of either"
    )
