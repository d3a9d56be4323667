"""A synthetic chest as non-contrast cardiac CT shows it, and plaques of calcium along its coronaries.

In-plane positions p are complex numbers in mm, x + iy from the middle of the slice: x to the patient's left, y to the
back. z runs to the head, 0 is the middle of the heart. Shapes are signed distances in mm, negative inside. Sizes are
those of an average adult, rounded. Axes: Z slices, H rows (y), W columns (x), P points along a tube.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cac_hpc.config import PhantomConfig

HEART_SPAN_MM = 96.0  # covered by the slices at least
MIN_SPACING_MM = 2.5
SKIN_HU, TISSUE_HU, BLOOD_HU, FAT_HU, LUNG_HU, AIR_HU = 10.0, 50.0, 40.0, -92.0, -840.0, -1024.0
VESSEL_RADIUS_MM, GROOVE_RADIUS_MM, MASK_RADIUS_MM = 1.7, 4.0, 5.0  # lumen, fat around it, where calcium is coronary
# share of the plaques, then the course: height (1 is 60 mm above the middle of the heart), angle on the heart's outline
# (degrees, 0 is the patient's left, 90 the back), depth (1 is on the surface)
VESSELS: dict[str, tuple[float, tuple[tuple[float, float, float], ...]]] = {
    "LM": (0.06, ((0.72, -100, 0.4), (0.70, -75, 0.7), (0.66, -50, 1.0))),
    "LAD": (0.36, ((0.66, -50, 1.0), (0.35, -68, 1.0), (0.0, -66, 1.0), (-0.4, -56, 1.0), (-0.85, -40, 1.0))),
    "D1": (0.08, ((0.35, -68, 1.0), (0.15, -46, 1.0), (-0.15, -26, 1.0), (-0.4, -14, 1.0))),
    "LCx": (0.22, ((0.66, -50, 1.0), (0.5, -10, 1.0), (0.2, 25, 1.0), (-0.2, 44, 1.0), (-0.55, 55, 1.0))),
    "RCA": (0.28, ((0.66, -112, 0.6), (0.6, -124, 1.0), (0.1, -155, 1.0), (-0.45, -185, 1.0), (-0.8, -240, 1.0))),
}

PLAQUE_RADIUS_MM, PLAQUE_HU, DENSEST_HU = 1.0, 700.0, 960.0  # of a plaque of size 1
POINT_MM = 0.8  # about, between the points of a course

Box = tuple[slice, slice, slice]
Plaque = tuple[Box, np.ndarray]  # the voxels around it, and their distances to its middle line in mm
Paint = Callable[[np.ndarray, float | np.ndarray], None]


@dataclass(frozen=True)
class Grid:
    """Where the voxels are."""

    z_mm: np.ndarray
    y_mm: np.ndarray
    x_mm: np.ndarray
    pixel_mm: float
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.z_mm), len(self.y_mm), len(self.x_mm)

    def crop(self, box: Box) -> Grid:
        return Grid(self.z_mm[box[0]], self.y_mm[box[1]], self.x_mm[box[2]], self.pixel_mm, self.spacing_mm)

    def around(self, points_P3: np.ndarray, reach_mm: float) -> tuple[Box, np.ndarray]:
        """The voxels within reach of some points (x, y, z) as a box, and their distances to the nearest point."""
        axes = (self.z_mm, self.y_mm, self.x_mm)
        low, high = points_P3.min(0)[::-1] - reach_mm, points_P3.max(0)[::-1] + reach_mm
        z, y, x = (slice(*np.searchsorted(axis, ends).tolist()) for axis, *ends in zip(axes, low, high, strict=True))
        box = self.crop((z, y, x))
        squares = (box.z_mm[:, None] - points_P3[:, 2])[:, None, None] ** 2
        squares = squares + (box.y_mm[:, None] - points_P3[:, 1])[:, None] ** 2
        squares = squares + (box.x_mm[:, None] - points_P3[:, 0]) ** 2
        return (z, y, x), np.sqrt(squares.min(-1))


@dataclass(frozen=True, kw_only=True)
class Body:
    """What differs between patients, the calcium apart."""

    scale: float
    depth_mm: float  # of the chest, half
    fat_mm: float  # under the skin
    rim_mm: float  # of fat around the heart
    heart_mm: float  # mean radius
    heart: complex  # middle
    tilt: complex  # shift of the heart's middle per mm towards the feet
    waves: tuple[complex, ...]  # departures of the heart's outline from a circle, 2, 3, 4 per turn
    bone: float  # density, relative
    rib_phase: float
    disc_phase: float
    rib_slope_mm: float  # fall of a rib towards the front, per radian
    tissue_hu: float  # added to blood and muscle
    noise_hu: float

    @property
    def spine(self) -> complex:
        return complex(-20, self.depth_mm - 12)

    @property
    def chest(self) -> complex:
        return complex(-20, 4)

    def heart_at(self, z_mm: float) -> tuple[complex, float]:
        """Middle and mean radius of the heart on a slice; radius 0 beyond its ends."""
        height = z_mm / (54 if z_mm > 0 else 68) / self.scale
        return self.heart - self.tilt * z_mm, self.heart_mm * max(0.0, 1 - abs(height) ** 2.6) ** 0.5

    def bulge(self, unit: np.ndarray) -> np.ndarray:
        """Radius of the heart's outline in some directions, relative to its mean."""
        return np.asarray(1 + sum((wave * unit**turns).real for turns, wave in enumerate(self.waves, start=2)))


@dataclass(frozen=True)
class Chest:
    """One patient: float32 HU with noise, where calcium is coronary (bool), and the coronaries' centre lines (P, 3)."""

    hu_ZHW: np.ndarray
    mask_ZHW: np.ndarray
    grid: Grid
    courses: dict[str, np.ndarray]

    def around_coronaries(self) -> Chest:
        """The smallest box that holds the mask; its voxels are the chest's own, not copies."""
        box: Box = ndimage.find_objects(self.mask_ZHW.view(np.uint8))[0]
        return Chest(self.hu_ZHW[box], self.mask_ZHW[box], self.grid.crop(box), self.courses)


def slice_spacing_mm(settings: PhantomConfig) -> float:
    """Distance of slices that lets them span the heart, however few they are."""
    return max(MIN_SPACING_MM, round(HEART_SPAN_MM / settings.slices, 2))


def draw_chest(rng: np.random.Generator, settings: PhantomConfig) -> Chest:
    """Draw a patient without calcium and scan him."""
    grid = _draw_grid(rng, settings)
    body = _draw_body(rng)
    courses = {name: _course(rng, body, knots) for name, (_, knots) in VESSELS.items()}
    hu_ZHW = np.stack([_anatomy(body, grid, float(z_mm)) for z_mm in grid.z_mm])
    mask_ZHW = np.zeros(grid.shape, bool)
    _add_lung_vessels(rng, hu_ZHW, grid, body)
    for points_P3 in courses.values():
        _add_coronary(hu_ZHW, mask_ZHW, grid, points_P3)
    hu_ZHW += _noise(rng, grid) * np.float32(body.noise_hu)
    return Chest(hu_ZHW, mask_ZHW, grid, courses)


def as_stored(hu_ZHW: np.ndarray) -> np.ndarray:
    """HU as a scanner stores them, int16."""
    return np.asarray(np.clip(np.rint(hu_ZHW), AIR_HU, 3071).astype(np.int16))


def draw_plaques(rng: np.random.Generator, chest: Chest, num_plaques: int, length_mm: float) -> list[Plaque]:
    """Choose pieces of the coronaries that calcify, spread evenly over the height of the heart."""
    grid, courses = chest.grid, chest.courses
    lowest, highest = (end([end(course_P3[:, 2]) for course_P3 in courses.values()]) for end in (np.min, np.max))
    heights = (rng.uniform() + 0.618034 * np.arange(num_plaques)) % 1  # golden section: no two close by
    plaques = []
    for z_mm in lowest + heights * (highest - lowest):
        passing = [name for name, course_P3 in courses.items() if np.abs(course_P3[:, 2] - z_mm).min() < 2]
        shares = np.array([VESSELS[name][0] for name in passing])
        course_P3 = courses[str(rng.choice(passing, p=shares / shares.sum()))]
        num_points = max(2, round(rng.uniform(0.7, 1.3) * length_mm / POINT_MM))
        start = max(0, int(np.abs(course_P3[:, 2] - z_mm).argmin()) - num_points // 2)
        middle_P3 = course_P3[start : start + num_points] + rng.normal(0, 0.4, 3)
        box, distance_mm = grid.around(middle_P3, MASK_RADIUS_MM)
        plaques.append((box, distance_mm + rng.uniform(-0.2, 0.2)))
    return plaques


def calcium_hu(plaques: Sequence[Plaque], size: float, grid: Grid) -> np.ndarray:
    """HU (Z, H, W) that the plaques add; they grow in thickness and density with their common size."""
    added_ZHW = np.zeros(grid.shape, np.float32)
    for box, distance_mm in plaques:
        added = _fill(distance_mm, size * PLAQUE_RADIUS_MM, grid.pixel_mm) * min(DENSEST_HU, size * PLAQUE_HU)
        np.maximum(added_ZHW[box], added, out=added_ZHW[box])
    return added_ZHW


def _draw_grid(rng: np.random.Generator, settings: PhantomConfig) -> Grid:
    """Pixels around the middle of the heart; the number of slices varies by a sixteenth."""
    vary = settings.slices // 16
    num_slices = settings.slices + int(rng.integers(-vary, vary + 1))
    pixel_mm, spacing_mm = settings.field_of_view_mm / settings.matrix, slice_spacing_mm(settings)
    axis_mm = ((np.arange(settings.matrix) - (settings.matrix - 1) / 2) * pixel_mm).astype(np.float32)
    z_mm = (np.arange(num_slices) - (num_slices - 1) / 2) * spacing_mm
    return Grid(z_mm, axis_mm, axis_mm, pixel_mm, spacing_mm)


def _draw_body(rng: np.random.Generator) -> Body:
    """Patients that differ less than real ones do, so that a few dozen suffice to learn from."""
    scale = rng.uniform(0.985, 1.015)
    return Body(
        scale=scale,
        depth_mm=rng.uniform(81, 84) * scale,
        fat_mm=rng.uniform(12, 18),
        rim_mm=rng.uniform(5.5, 7.5),
        heart_mm=rng.uniform(46, 48) * scale,
        heart=complex(rng.normal(2, 0.8), rng.normal(-8, 0.8)),
        tilt=complex(rng.uniform(0.12, 0.16), rng.uniform(-0.05, -0.03)),
        waves=tuple(
            complex(rng.normal(size, 0.006) * np.exp(1j * np.radians(turn + rng.normal(0, 3))))
            for size, turn in ((0.13, 70), (0.04, 100), (0.01, 0))
        ),
        bone=rng.uniform(0.9, 1.1),
        rib_phase=rng.uniform(0.4, 0.6),
        disc_phase=rng.uniform(0.35, 0.65),
        rib_slope_mm=rng.uniform(31, 33),
        tissue_hu=rng.normal(0, 2),
        noise_hu=rng.uniform(12, 18),
    )


def _noise(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Noise of SD 1 with the grain of a medium-soft kernel: neighbours correlate over about a millimetre."""
    sigma = max(0.6, 0.55 / grid.pixel_mm)
    white_ZHW = rng.standard_normal(grid.shape, dtype=np.float32)
    noise_ZHW: np.ndarray = ndimage.gaussian_filter(white_ZHW, (0, sigma, sigma), truncate=3)
    return np.asarray(noise_ZHW / noise_ZHW.std())


def _anatomy(body: Body, grid: Grid, z_mm: float) -> np.ndarray:
    """One slice (H, W) without noise and coronaries, painted from the outside in."""
    p_HW = grid.x_mm + 1j * grid.y_mm[:, None]
    hu_HW = np.full(p_HW.shape, AIR_HU, np.float32)
    soft_mm = max(1.0, grid.pixel_mm)

    def paint(shape_mm: np.ndarray, hu: float | np.ndarray) -> None:
        hu_HW[:] += np.clip(0.5 - shape_mm / soft_mm, 0, 1) * (hu - hu_HW)

    lungs_mm = _ellipse(p_HW - body.chest, 116 * body.scale, body.depth_mm)
    trunk_mm = _ellipse(p_HW - body.chest - 2j, 138 * body.scale, body.depth_mm + 23)
    paint(trunk_mm - body.fat_mm, SKIN_HU)
    paint(trunk_mm - body.fat_mm + 2, FAT_HU)
    paint(trunk_mm, TISSUE_HU + body.tissue_hu)
    paint(np.abs(lungs_mm - 11) - 1.5, FAT_HU * 0.7)  # fat between muscle and ribs
    paint(lungs_mm, LUNG_HU)
    _paint_ribs(paint, body, p_HW - body.chest, lungs_mm, z_mm)
    paint(_ellipse(p_HW - body.chest - complex(5, 6), 27 * body.scale, body.depth_mm - 1), FAT_HU)
    _paint_abdomen(paint, body, p_HW, z_mm)
    _paint_heart(paint, body, p_HW, z_mm)
    _paint_sternum(paint, body, p_HW - body.chest + 1j * (body.depth_mm + 6), z_mm)
    _paint_spine(paint, body, p_HW - body.spine, z_mm)
    return hu_HW


def _ellipse(p: np.ndarray, width_mm: float, depth_mm: float) -> np.ndarray:
    """Signed distance to an ellipse with these half axes, right to first order near its edge."""
    inside = np.hypot(p.real / width_mm, p.imag / depth_mm)
    return np.asarray(inside * (inside - 1) / (np.hypot(p.real / width_mm**2, p.imag / depth_mm**2) + 1e-9))


def _bar(p: np.ndarray, half_width_mm: float, half_depth_mm: float, radius_mm: float) -> np.ndarray:
    """Signed distance to a rectangle with a rounded border of some radius around it."""
    beside, before = np.maximum(np.abs(p.real) - half_width_mm, 0), np.maximum(np.abs(p.imag) - half_depth_mm, 0)
    return np.asarray(np.hypot(beside, before) - radius_mm)


def _paint_abdomen(paint: Paint, body: Body, p_HW: np.ndarray, z_mm: float) -> None:
    """Liver and stomach under the two domes of the diaphragm."""
    for middle, width_mm, depth_mm, top_mm, hu in ((-80 + 12j, 78, 74, -28, 55), (60 + 26j, 66, 58, -44, 35)):
        drop = 1 - ((z_mm - (top_mm - 75)) / 75) ** 2 if z_mm > top_mm - 75 else 1.0
        if drop > 0:
            paint(_ellipse(p_HW - middle, width_mm * drop**0.5, depth_mm * drop**0.5), hu + body.tissue_hu)


def _paint_heart(paint: Paint, body: Body, p_HW: np.ndarray, z_mm: float) -> None:
    """The heart in its fat, the great vessels above it, the aorta and the oesophagus behind it."""
    middle, radius_mm = body.heart_at(z_mm)
    blood_hu = BLOOD_HU + body.tissue_hu
    if radius_mm > 5:
        distance = np.abs(p_HW - middle) + 1e-6
        surface_mm = distance - radius_mm * body.bulge((p_HW - middle) / distance)
        paint(surface_mm - body.rim_mm, FAT_HU)
        paint(surface_mm, blood_hu)
    for at, round_mm in ((-22 - 14j, 15.5), (6 - 26j, 13.5), (-44 - 4j, 9)):  # ascending aorta, pulmonary trunk, cava
        grown = min(1.0, max(0.0, (z_mm - 22) / 12))
        paint(np.abs(p_HW - body.heart - at * body.scale) - round_mm * body.scale * grown, blood_hu)
    paint(np.abs(p_HW - body.spine - complex(24, -15) * body.scale) - 12 * body.scale, blood_hu)  # descending aorta
    paint(np.abs(p_HW - body.spine - complex(5, -24) * body.scale) - 6, 30.0)  # oesophagus


def _paint_ribs(paint: Paint, body: Body, p_HW: np.ndarray, lungs_mm: np.ndarray, z_mm: float) -> None:
    """Slanting ribs around the lungs, cartilage in front."""
    from_back = np.abs(np.arctan2(p_HW.real, p_HW.imag))
    pitch_mm = 27 * body.scale
    turn = (z_mm + body.rib_slope_mm * from_back) / pitch_mm + body.rib_phase
    along_mm = (np.abs(turn % 1 - 0.5) * pitch_mm - 5.5) * 2.5  # a rib is cut at a slant
    rib_mm = np.maximum(np.abs(lungs_mm - 5.5) - 4, along_mm)
    cartilage = from_back > 2.35
    paint(np.where(from_back < 2.8, rib_mm, 9.0), np.where(cartilage, 90, 420 * body.bone))
    paint(rib_mm + 1.8, np.where(cartilage, 90, 140 * body.bone))


def _paint_sternum(paint: Paint, body: Body, p_HW: np.ndarray, z_mm: float) -> None:
    bone_mm = _bar(p_HW, 13 if z_mm > -35 else 4, 0, 5.5)
    paint(bone_mm, 300 * body.bone)
    paint(bone_mm + 1.8, 110 * body.bone)


def _paint_spine(paint: Paint, body: Body, p_HW: np.ndarray, z_mm: float) -> None:
    """A vertebra with its arch, canal and processes, or the disc between two."""
    from_disc_mm = abs((z_mm / 29 + body.disc_phase) % 1 - 0.5) * 29
    if from_disc_mm > 5:
        paint(_bar(p_HW - 19j, 24, 0, 4), 230 * body.bone)  # transverse processes
    paint(_bar(p_HW - 36j, 0, 9, 3), 280 * body.bone)  # spinous process
    paint(_ellipse(p_HW - 21j, 14, 12), 300 * body.bone)  # arch
    vertebra_mm = _ellipse(p_HW, 18, 14.5)
    paint(vertebra_mm, 330 * body.bone if from_disc_mm > 3 else 85.0)
    paint(vertebra_mm + 2, 160 * body.bone if from_disc_mm > 3 else 85.0)
    paint(_ellipse(p_HW - 20j, 9, 7.5), 25.0)  # canal


def _course(rng: np.random.Generator, body: Body, knots: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Centre line (P, 3) of a coronary on the heart's surface, about 0.8 mm from point to point."""
    along = np.linspace(0, 1, 150)
    height, degrees, depth = np.array(
        [np.interp(along, np.linspace(0, 1, len(knots)), at) for at in zip(*knots, strict=True)]
    )
    sway = rng.normal(0, 2.5) * np.sin(np.pi * along) + rng.normal(0, 1.5) * np.sin(3 * np.pi * along)
    unit = np.exp(1j * np.radians(ndimage.gaussian_filter1d(degrees, 12, mode="nearest") + sway))
    z_mm = ndimage.gaussian_filter1d(height, 12, mode="nearest") * 60 * body.scale
    middle, radius_mm = (np.array(values) for values in zip(*(body.heart_at(z) for z in z_mm), strict=True))
    p = middle + unit * depth * (radius_mm * body.bulge(unit) + 1.0)
    return np.stack([p.real, p.imag, z_mm], axis=1)


def _pieces(points_P3: np.ndarray, num_points: int = 8) -> Iterator[np.ndarray]:
    """Overlapping pieces of a centre line: short ones have small boxes around them."""
    for start in range(0, len(points_P3) - 1, num_points - 1):
        yield points_P3[start : start + num_points]


def _fill(distance_mm: np.ndarray, radius_mm: float, pixel_mm: float) -> np.ndarray:
    """How much of a voxel a tube fills: 1 inside, falling to 0 over the blur of the scanner or a pixel."""
    blur_mm = max(0.45, 0.3 * pixel_mm)
    return np.asarray(1 / (1 + np.exp((distance_mm - radius_mm) / blur_mm)))


def _add_coronary(hu_ZHW: np.ndarray, mask_ZHW: np.ndarray, grid: Grid, points_P3: np.ndarray) -> None:
    for radius_mm, hu in ((GROOVE_RADIUS_MM, FAT_HU), (VESSEL_RADIUS_MM, BLOOD_HU)):
        for piece in _pieces(points_P3):
            box, distance_mm = grid.around(piece, MASK_RADIUS_MM)
            hu_ZHW[box] += _fill(distance_mm, radius_mm, grid.pixel_mm) * (hu - hu_ZHW[box])
            mask_ZHW[box] |= distance_mm <= MASK_RADIUS_MM


def _add_lung_vessels(rng: np.random.Generator, hu_ZHW: np.ndarray, grid: Grid, body: Body) -> None:
    """Straight tubes from both hila outwards, painted where there is lung."""
    for tube in range(36):
        side = 1 if tube % 2 else -1
        start = np.array([body.chest.real + side * 32, 12, rng.normal(10, 12)])
        way = rng.normal(0, 1, 3) * (0.5, 1, 1) + (side * 1.1, 0, 0)
        along_mm = np.arange(0, rng.uniform(40, 75), 2.0)
        points_P3 = start + along_mm[:, None] * way / np.linalg.norm(way)
        for piece in _pieces(points_P3):
            radius_mm = rng.uniform(0.9, 2.4)
            box, distance_mm = grid.around(piece, radius_mm + 2)
            filled = _fill(distance_mm, radius_mm, grid.pixel_mm) * (hu_ZHW[box] < -500)
            hu_ZHW[box] += filled * (BLOOD_HU - hu_ZHW[box])
