"""How hearts differ in shape: a generator of shapes for a cohort, and each patient's departure from it.

Positions are x, y, z in mm in an average heart, from its middle. Axes: P points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LONG_AXIS, BASE_MM = np.array((0.72, -0.56, -0.42)), np.array((2.0, -6.0, 4.0))  # of the ventricles; a point on it
LEFT_DOMINANT = 0.2  # of the patients


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """How a heart departs from the average.

    tree_turn: degrees by which coronary arteries, aortic root and pulmonary trunk are turned about the long axis of the
    ventricles, and tree_shift_mm how far they are moved against the chambers. wave_mm, wave_phase: amplitude and phase
    (3, 3) of a slow wave that bends their courses. stretch: of each chamber's half axes, (5, 3). chamber_shift_mm: of
    their middles, (5, 3). left_dominant: the posterior descending artery comes from the circumflex.
    """

    tree_turn: float = 0.0
    tree_shift_mm: np.ndarray
    wave_mm: float = 0.0
    wave_phase: np.ndarray
    stretch: np.ndarray
    chamber_shift_mm: np.ndarray
    left_dominant: bool = False

    def moved(self, points: object) -> np.ndarray:
        """Points of the coronary tree or of the aortic root, (P, 3) or (3,), where this heart has them."""
        points_P3 = np.asarray(points, float)
        if self is AVERAGE:
            return points_P3
        turn = _about(LONG_AXIS, self.tree_turn)
        turned = (points_P3 - BASE_MM) @ turn.T + BASE_MM + self.tree_shift_mm
        wave = np.sin(points_P3[..., None, :] * (2 * np.pi / 110) + self.wave_phase).sum(-1) / np.sqrt(1.5)
        return np.asarray(turned + self.wave_mm * wave)


AVERAGE = Anatomy(
    tree_shift_mm=np.zeros(3), wave_phase=np.zeros((3, 3)), stretch=np.ones((5, 3)), chamber_shift_mm=np.zeros((5, 3))
)


def draw_anatomy(rng: np.random.Generator, generator: int) -> Anatomy:
    """A patient's heart: the shape of its generator, and half as much again of the patient's own.

    Args:
        generator: number of the generator of shapes; each has its own coronary tree, chambers and share of dominance.
    """
    shape = np.random.default_rng([generator, 88])
    common, own = _departure(shape, 0.8), _departure(rng, 0.45)
    return Anatomy(
        tree_turn=common.tree_turn + own.tree_turn,
        tree_shift_mm=common.tree_shift_mm + own.tree_shift_mm,
        wave_mm=common.wave_mm + own.wave_mm,
        wave_phase=common.wave_phase + 0.5 * own.wave_phase,
        stretch=common.stretch * own.stretch,
        chamber_shift_mm=common.chamber_shift_mm + own.chamber_shift_mm,
        left_dominant=bool(rng.uniform() < LEFT_DOMINANT),
    )


def _departure(rng: np.random.Generator, amount: float) -> Anatomy:
    return Anatomy(
        tree_turn=amount * rng.uniform(-14, 14),
        tree_shift_mm=amount * rng.uniform(-5, 5, 3),
        wave_mm=amount * rng.uniform(0, 2.5),
        wave_phase=rng.uniform(-np.pi, np.pi, (3, 3)),
        stretch=1 + amount * rng.uniform(-0.09, 0.09, (5, 3)),
        chamber_shift_mm=amount * rng.uniform(-3, 3, (5, 3)),
    )


def _about(axis: np.ndarray, degrees: float) -> np.ndarray:
    """The rotation about an axis (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
