"""The coronary arteries: courses, painting, where calcium is coronary, and plaques placed until a score is reached.

Axes: Z slices, H rows, W columns; P points along a course or of a deposit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import erf

from cac_hpc.calcium import agatston
from cac_hpc.phantom.canvas import Box, Canvas, Grid, resample, smooth_line, tube
from cac_hpc.phantom.chambers import Heart
from cac_hpc.phantom.formation import as_stored
from cac_hpc.phantom.habitus import BLOOD_HU, Body

GROOVE_MM, MASK_MM = 4.5, 5.0  # fat around a vessel; how far from its middle calcium is its own
LEAST_GROOVE = 0.4  # of that fat, in the leanest
PLAQUE_HU = 25.0  # a voxel is a plaque's where it adds so much
EDGE_SHARES = {"LM": 0.12, "LAD": 0.36, "D1": 0.09, "LCx": 0.14, "OM": 0.07, "RCA": 0.20, "PDA": 0.02}
ABOVE_MM = 2.2  # the middle of a vessel above the heart's muscle
STEP_MM = 1.0  # between the points of a course
# radius at both ends, whether it lies on the heart's surface, and its course in an average heart
Course = tuple[tuple[float, float], bool, tuple[tuple[float, float, float], ...]]
ARTERIES: dict[str, Course] = {
    "LM": ((2.3, 2.2), False, ((9, -6, 22), (16, -6, 22), (23, -8, 21))),
    "LAD": ((1.9, 1.0), True, ((24, -9, 21), (34, -21, 12), (43, -33, -4), (51, -40, -20), (58, -38, -36))),
    "D1": ((1.2, 0.8), True, ((34, -21, 12), (48, -19, 4), (60, -14, -10), (66, -8, -22))),
    "LCx": ((1.8, 1.0), True, ((24, -8, 21), (36, 8, 17), (43, 22, 6), (38, 36, -8), (26, 44, -20))),
    "OM": ((1.2, 0.8), True, ((42, 20, 8), (54, 22, -6), (56, 20, -22))),
    "RCA": (
        (2.0, 1.3),
        True,
        ((-16, -20, 19), (-29, -34, 10), (-36, -38, -6), (-36, -34, -22), (-26, -20, -38), (-8, 6, -44), (8, 22, -42)),
    ),
    "PDA": ((1.2, 0.8), True, ((-6, 8, -44), (10, 4, -47), (26, -2, -50), (40, -8, -48))),
}
LEFT_DOMINANT = {  # the posterior descending artery comes from the circumflex, the right one is short
    "LCx": (*ARTERIES["LCx"][2], (12, 34, -34), (2, 18, -44)),
    "RCA": ARTERIES["RCA"][2][:4],
}
SHARES = {"LM": 0.08, "LAD": 0.36, "D1": 0.06, "LCx": 0.18, "OM": 0.03, "RCA": 0.25, "PDA": 0.04}  # of the plaques
SMALLEST_MM, LARGEST_MM = 0.1, 2.6  # radius
NUM_POINTS, SWAY = 13, np.linspace(-0.5, 0.5, 5)
CLOSE_ENOUGH = 0.07  # of the target
MOST_PLAQUES = 120
GOLDEN = 0.618034


def draw_courses(rng: np.random.Generator, body: Body, heart: Heart, variety: float) -> dict[str, np.ndarray]:
    """The middle line (P, 3) of each artery, points about 1 mm apart."""
    courses = {}
    for name, (_, on_surface, average) in ARTERIES.items():
        knots = LEFT_DOMINANT.get(name, average) if body.anatomy.left_dominant else average
        moved = _raised(name, body.anatomy.moved(knots), body.takeoff_mm) + variety * rng.normal(
            0, 1.6, (len(knots), 3)
        )
        points_P3 = smooth_line(body.in_heart(moved), STEP_MM)
        if on_surface:
            points_P3 = heart.onto_surface(points_P3, ABOVE_MM)
            points_P3 = ndimage.gaussian_filter1d(points_P3, 3, axis=0, mode="nearest")
        courses[name] = resample(points_P3, STEP_MM)
    return courses


def _raised(name: str, knots_K3: np.ndarray, takeoff_mm: float) -> np.ndarray:
    """The first knots of the arteries that come from the aorta or the left main artery, raised with their origin."""
    share = {"LM": (1.0, 1.0, 1.0), "LAD": (1.0, 0.5), "LCx": (1.0, 0.5), "RCA": (1.0, 0.5)}.get(name, ())
    raised = knots_K3.copy()
    raised[: len(share), 2] += takeoff_mm * np.array(share)
    return raised


def paint_arteries(canvas: Canvas, body: Body, courses: dict[str, np.ndarray]) -> None:
    """Fat in the groove first, then the vessels, without calcium."""
    tubes = {name: tube(canvas.grid, course_P3, radius_mm(name, len(course_P3))) for name, course_P3 in courses.items()}
    for shape in tubes.values():
        canvas.paint(shape, body.fat_hu, inset_mm=-(GROOVE_MM - 2) * max(LEAST_GROOVE, body.fat))
    for shape in tubes.values():
        canvas.paint(shape, BLOOD_HU + body.tissue_hu, soft_mm=body.motion_mm)


def radius_mm(name: str, num_points: int) -> np.ndarray:
    """Radius of an artery at each point of its course, (P,)."""
    return np.linspace(*ARTERIES[name][0], num_points)


def masks(grid: Grid, courses: dict[str, np.ndarray]) -> np.ndarray:
    """The artery that calcium in a voxel belongs to, uint8 (Z, H, W): 0 none, then as in ``ARTERIES``, the nearest."""
    artery_ZHW = np.zeros(grid.shape, np.uint8)
    nearest_ZHW = np.full(grid.shape, MASK_MM, np.float16)
    for number, name in enumerate(ARTERIES, start=1):
        shape = tube(grid, courses[name], 0.0, reach_mm=MASK_MM)
        nearer = shape.distance_mm < nearest_ZHW[shape.box]
        np.copyto(artery_ZHW[shape.box], np.uint8(number), where=nearer)
        np.copyto(nearest_ZHW[shape.box], shape.distance_mm, where=nearer, casting="same_kind")
    return artery_ZHW


@dataclass(frozen=True)
class Deposit:
    """A piece of calcium along a line: a rod with round ends.

    course_P3: of the artery, from which it takes a piece. along_mm: of its middle on that course. slender: length over
    diameter. density_hu: of a voxel full of it. offset_mm, motion_mm: x, y, z, from the artery's middle line, and the
    way it moved while it was scanned.
    """

    artery: str
    course_P3: np.ndarray
    along_mm: float
    slender: float
    density_hu: float
    offset_mm: np.ndarray
    motion_mm: np.ndarray
    radius_mm: float

    def points(self) -> np.ndarray:
        """Middle line, and where it was while it moved: (P, 3)."""
        course_mm = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(self.course_P3, axis=0), axis=1))])
        at_mm = self.along_mm + np.linspace(-1, 1, NUM_POINTS) * self.slender * self.radius_mm
        line_P3 = np.stack([np.interp(at_mm, course_mm, axis) for axis in self.course_P3.T], axis=1)
        moved = (line_P3 + self.offset_mm)[:, None] + SWAY[:, None] * self.motion_mm
        return np.asarray(moved.reshape(-1, 3))


@dataclass(frozen=True)
class Region:
    """Where plaques may be: float32 HU, the artery of each voxel (uint8, 0 none), the voxels, the scanner's blur.

    plaques_only: the score counts the voxels of plaques alone, for other things there reach 130 HU, too.
    """

    hu_ZHW: np.ndarray
    artery_ZHW: np.ndarray
    grid: Grid
    spacing_mm: float
    blur_mm: float
    plaques_only: bool = False

    @property
    def least(self) -> float:
        """The least score that a lesion can have."""
        return max(1.0, self.grid.pixel_mm**2) * self.spacing_mm / agatston.REFERENCE_SPACING_MM

    def score(self, added_ZHW: np.ndarray | float = 0.0, box: Box = (slice(None),) * 3) -> float:
        """The Agatston score of what would be stored."""
        stored_ZHW = as_stored(self.hu_ZHW[box] + added_ZHW)
        inside = self.artery_ZHW[box] > 0
        if self.plaques_only:
            inside &= added_ZHW >= PLAQUE_HU
        return agatston.score_volume(stored_ZHW, inside, self.grid.pixel_mm, self.spacing_mm)


def added_hu(deposit: Deposit, grid: Grid, blur_mm: float) -> tuple[Box, np.ndarray]:
    """HU that a deposit adds to a box of voxels.

    Each point holds its part of the deposit's volume, spread as a normal distribution by the deposit's thickness and
    the scanner's blur, and over the thickness of a slice: small deposits fill voxels in part. What is full stays full.
    """
    points_P3, radius = deposit.points(), deposit.radius_mm
    flat_mm, tall_mm = np.hypot(radius / 2, blur_mm), np.hypot(radius / 2, 0.35)
    reach = np.array((3 * flat_mm, 3 * flat_mm, 2.5 * tall_mm))
    box = grid.box(points_P3.min(0) - reach, points_P3.max(0) + reach)
    inner = grid.crop(box)
    x_P, y_P, z_P = points_P3.T[:, :, None]
    volume_mm3 = 2 * np.pi * radius**3 * deposit.slender / len(points_P3)
    half = grid.thickness_mm / 2
    up, down = (erf((inner.z_mm - z_P + end) / (np.sqrt(2) * tall_mm)) for end in (half, -half))
    rows, columns = (
        np.exp(-((axis - at_P) ** 2) / (2 * flat_mm**2)) for axis, at_P in ((inner.y_mm, y_P), (inner.x_mm, x_P))
    )
    amount = deposit.density_hu * volume_mm3 / (2 * np.pi * flat_mm**2 * grid.thickness_mm)
    planes = ((up - down) / 2)[:, :, None] * rows[:, None, :] * amount
    added_ZHW = np.tensordot(planes, columns, axes=(0, 0))
    full = deposit.density_hu
    return box, (full * np.tanh(added_ZHW / full)).astype(np.float32)


def place_plaques(
    rng: np.random.Generator,
    region: Region,
    courses: Mapping[str, np.ndarray],
    target: float,
    motion_mm: float,
    even: bool = False,
    at_edge: bool = False,
) -> tuple[np.ndarray, list[Deposit]]:
    """Place plaques until the score of the region reaches a target, each worth its part.

    Args:
        even: spread them over the height of the heart and make many, so that most slices show some.
        at_edge: more of them near the origins and in the branches at the side.
    Returns: HU (Z, H, W) that they add to the region's voxels, and the plaques.
    """
    added_ZHW = np.zeros(region.grid.shape, np.float32)
    deposits: list[Deposit] = []
    usual = target / ((2.2 * target**0.45) if even else (2.8 * target**0.25))
    spread, start, score = 0.25 if even else 1.3, rng.uniform(), 0.0
    for attempt in range(MOST_PLAQUES):
        missing = target - score
        if missing < max(CLOSE_ENOUGH * target, region.least / 2):
            break
        share = usual * float(np.exp(rng.normal(0, spread) - spread**2 / 2))
        worth = max(region.least, missing if missing < 1.4 * share or missing < 0.15 * target else share)
        height = (start + attempt * GOLDEN) % 1 if even else None
        found = _fit(region, added_ZHW, _draw_plaque(rng, courses, motion_mm, height, at_edge), worth)
        if found is None:
            continue
        deposit, box, more = found
        slices = (box[0], slice(None), slice(None))  # the others score as before
        score -= region.score(added_ZHW[slices], slices)
        added_ZHW[box] += more
        score += region.score(added_ZHW[slices], slices)
        deposits.append(deposit)
    return added_ZHW, deposits


def _fit(
    region: Region, added_ZHW: np.ndarray, deposit: Deposit, worth: float
) -> tuple[Deposit, Box, np.ndarray] | None:
    """The deposit as large as makes the score higher by ``worth``, or a little less; None if it adds nothing."""
    smallest, largest, best = SMALLEST_MM, LARGEST_MM, None
    before: dict[tuple[tuple[int, int], ...], float] = {}  # the score of a box without the deposit
    for _ in range(11):  # halve the interval
        radius = (smallest + largest) / 2
        sized = Deposit(**{**vars(deposit), "radius_mm": radius})
        box, more = added_hu(sized, region.grid, region.blur_mm)
        if 0 in more.shape:
            return None
        corners = tuple((ends.start, ends.stop) for ends in box)
        if corners not in before:
            before[corners] = region.score(added_ZHW[box], box)
        gain = region.score(added_ZHW[box] + more, box) - before[corners]
        if gain <= 1.05 * worth:
            smallest = radius
            best = (sized, box, more) if gain > 0 else best
            if gain >= 0.95 * worth:
                break
        else:
            largest = radius
    return best


def _draw_plaque(
    rng: np.random.Generator,
    courses: Mapping[str, np.ndarray],
    motion_mm: float,
    height: float | None,
    at_edge: bool = False,
) -> Deposit:
    """A plaque on the wall of an artery, more often near its origin; or anywhere at a height, 0 to 1, of the heart."""
    shares = EDGE_SHARES if at_edge else SHARES
    artery = str(rng.choice(list(shares), p=list(shares.values())))
    share = rng.beta(1.1, 3.2 if at_edge else 2.2)
    if height is not None:
        artery, share = _at_height(rng, courses, height)
    course_P3 = courses[artery]
    length_mm = float(np.linalg.norm(np.diff(course_P3, axis=0), axis=1).sum())
    offset_mm = rng.normal(0, 0.7, 3)
    offset_mm *= min(1.0, 2 / float(np.linalg.norm(offset_mm)))  # no further than the wall
    moved = motion_mm * (1.6 if artery in ("RCA", "LCx") else 0.7) * rng.normal(0, 1, 3) * (1, 1, 0.3)
    return Deposit(
        artery=artery,
        course_P3=course_P3,
        along_mm=share * length_mm,
        slender=float(np.exp(rng.normal(0.35, 0.55))),
        density_hu=float(np.clip(np.exp(rng.normal(6.65, 0.45)), 250, 1900)),
        offset_mm=offset_mm,
        motion_mm=moved,
        radius_mm=SMALLEST_MM,
    )


def _at_height(rng: np.random.Generator, courses: Mapping[str, np.ndarray], height: float) -> tuple[str, float]:
    """An artery that passes at this height, and how far along its course."""
    all_z_mm = np.concatenate([course_P3[:, 2] for course_P3 in courses.values()])
    lowest, highest = float(all_z_mm.min()), float(all_z_mm.max())
    z_mm = lowest + height * (highest - lowest)
    passing = [name for name, course_P3 in courses.items() if np.abs(course_P3[:, 2] - z_mm).min() < 2]
    shares = np.array([SHARES[name] for name in passing])
    artery = str(rng.choice(passing, p=shares / shares.sum()))
    return artery, float(np.abs(courses[artery][:, 2] - z_mm).argmin()) / (len(courses[artery]) - 1)
