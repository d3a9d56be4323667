"""Bodies without a heart, of simple solids: abdomen, pelvis, head, neck, legs, what lies above and below a heart.

Axes and units are those of `chests`: Z slices from the feet up, H rows to the back, W columns to the patient's left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tests.support.chests import SPACING_MM

AIR, FAT, MUSCLE, BONE, LUNG = -1000.0, -95.0, 50.0, 600.0, -840.0
Place = tuple[float, ...]


@dataclass(frozen=True)
class Field:
    """A field of view that is drawn into, mm from its middle: z (Z, 1, 1), y (H, 1), x (W,); and HU, (Z, H, W)."""

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    hu: np.ndarray

    def ellipse(self, middle: Place, half: Place) -> np.ndarray:
        """An upright cylinder: y, x of its middle, its half axes in y, x."""
        flat = np.hypot((self.y - middle[0]) / half[0], (self.x - middle[1]) / half[1]) <= 1
        return np.broadcast_to(flat, self.hu.shape)

    def ball(self, middle: Place, half: Place) -> np.ndarray:
        """An ellipsoid: z, y, x of its middle, its half axes in z, y, x."""
        z, y, x = ((axis - at) / size for axis, at, size in zip((self.z, self.y, self.x), middle, half, strict=True))
        return np.asarray(z**2 + y**2 + x**2 <= 1)

    def bone(self, middle: Place, half: Place) -> None:
        """An upright bone with its marrow."""
        self.hu[self.ellipse(middle, half)] = BONE
        self.hu[self.ellipse(middle, tuple(size - 2.5 for size in half))] = 180

    def scanned(self, seed: int, noise_hu: float = 18.0) -> np.ndarray:
        """As stored: blurred, with noise."""
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(self.hu.shape), (0, 0.7, 0.7))
        hu = ndimage.gaussian_filter(self.hu, (0, 0.8, 0.8)) + noise * noise_hu / noise.std()
        return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def field(view_mm: float, num_slices: int) -> Field:
    """Air."""
    half = np.arange(-view_mm / 2, view_mm / 2, SPACING_MM[1])
    z = ((np.arange(num_slices) - num_slices / 2) * SPACING_MM[0])[:, None, None]
    return Field(z, half[:, None], half, np.full((num_slices, len(half), len(half)), AIR))


def trunk(view_mm: float, num_slices: int) -> Field:
    """Skin, fat, wall and spine, and fat in between."""
    drawn = field(view_mm, num_slices)
    drawn.hu[drawn.ellipse((0, 0), (118, 165))] = FAT
    drawn.hu[drawn.ellipse((0, 0), (100, 143))] = MUSCLE
    drawn.hu[drawn.ellipse((-4, 0), (84, 128))] = FAT
    drawn.bone((72, 0), (16, 20))
    drawn.hu[drawn.ellipse((52, 18), (9, 9))] = 42  # aorta
    return drawn


def abdomen(
    view_mm: float = 360.0,
    num_slices: int = 50,
    seed: int = 0,
    gas_hu: float = -1000.0,
    gas_mm: float = 26.0,
    recess_slices: int = 0,
) -> np.ndarray:
    """Liver, spleen, kidneys, stomach and bowel with gas.

    Args:
        gas_hu: -1000 is gas alone, less dark where there is stool in it. gas_mm: half the width of the loops.
        recess_slices: uppermost slices that show the lungs' lower ends, behind on both sides.
    """
    drawn, rng = trunk(view_mm, num_slices), np.random.default_rng(seed)
    for middle, half, hu in (
        ((30, -6, -62), (110, 72, 62), 58),
        ((50, 30, 88), (50, 40, 30), 50),
        ((-20, 42, -62), (50, 24, 26), 32),
        ((-20, 42, 62), (50, 24, 26), 32),
        ((30, -24, 40), (60, 44, 52), 40),
    ):
        drawn.hu[drawn.ball(middle, half)] = hu
    for x in np.linspace(-90, 90, 4) + rng.normal(0, 6, 4):
        z, y = rng.uniform(-70, 10), rng.uniform(-50, -20)
        drawn.hu[drawn.ball((z, y, x), (60, gas_mm + 3, gas_mm + 3))] = 40
        drawn.hu[drawn.ball((z, y, x), (57, gas_mm, gas_mm))] = gas_hu
    drawn.hu[drawn.ball((40, -46, 50), (40, 22, 26))] = -1000  # in the stomach
    if recess_slices:
        paint_recess(drawn, recess_slices)
    return drawn.scanned(seed)


def paint_recess(drawn: Field, num_slices: int) -> None:
    """The lungs' lower ends: sickles along the wall behind and beside, that grow upwards."""
    outer = drawn.ellipse((-4, 0), (86, 130))
    for step in range(num_slices):
        inner = drawn.ellipse((-14 - step, 0), (84 - 0.6 * step, 128 - 0.8 * step))[0]
        sickle = outer[0] & ~inner & (drawn.y > 0) & (np.abs(drawn.x) > 24)
        drawn.hu[len(drawn.hu) - num_slices + step, sickle] = LUNG


def liver_dome(view_mm: float = 360.0, num_slices: int = 24, seed: int = 0) -> np.ndarray:
    """The lungs' bases with the domes of liver, stomach and spleen in them, below the heart."""
    drawn = trunk(view_mm, num_slices)
    cavity, far = drawn.ellipse((-4, 0), (86, 130)), 3.0 * num_slices
    right, left = drawn.ball((-far, -8, -58), (2.2 * far, 86, 76)), drawn.ball((-far, -8, 58), (2.0 * far, 84, 74))
    middle = drawn.ball((-far, -30, 0), (2.6 * far, 56, 70))
    drawn.hu[cavity & (drawn.hu == FAT) & (np.abs(drawn.x) > 20)] = LUNG
    drawn.hu[(right | middle) & cavity], drawn.hu[left & cavity & ~right & ~middle] = 58, 45
    drawn.hu[drawn.ball((-far / 2, -40, 56), (far / 2, 20, 24))] = -1000
    drawn.bone((72, 0), (16, 20))
    return drawn.scanned(seed)


def apices(view_mm: float = 360.0, num_slices: int = 40, seed: int = 0, arch: bool = True) -> np.ndarray:
    """The upper chest: lungs that end in tips, windpipe, fat between them with the vessels of the neck or the arch."""
    drawn = trunk(view_mm, num_slices)
    drawn.hu[drawn.ellipse((-4, 0), (84, 128))] = MUSCLE
    for side in (-1, 1):
        drawn.hu[drawn.ball((-70, 0, side * 62), (115, 76, 52))] = LUNG
        drawn.bone((10, side * 140), (18, 20))  # shoulders
        drawn.hu[drawn.ellipse((-20, side * 20), (6, 6))] = 45
    drawn.hu[drawn.ellipse((-10, 0), (56, 14))] = FAT
    if arch:
        drawn.hu[drawn.ball((-60, 0, 4), (40, 44, 15))] = 42
    drawn.hu[drawn.ellipse((20, 0), (9, 9))] = -1000
    return drawn.scanned(seed)


def pelvis(view_mm: float = 360.0, num_slices: int = 40, seed: int = 0) -> np.ndarray:
    """Hip bones, bladder, muscles, rectum and loops with gas."""
    drawn = trunk(view_mm, num_slices)
    for side in (-1, 1):
        drawn.bone((20, side * 105), (40, 14))
        drawn.hu[drawn.ellipse((60, side * 70), (34, 44))] = 55
    drawn.hu[drawn.ball((0, -20, 0), (40, 40, 48))] = 8
    for middle in ((0, -50, 60), (0, -50, -60), (10, 40, 0)):
        drawn.hu[drawn.ball(middle, (50, 24, 28))] = -960
    return drawn.scanned(seed)


def head(view_mm: float = 240.0, num_slices: int = 50, seed: int = 0) -> np.ndarray:
    """Skull, brain and sinuses."""
    drawn = field(view_mm, num_slices)
    for size, hu in ((0, 40.0), (6, 1100.0), (13, 34.0)):
        drawn.hu[drawn.ball((0, 0, 0), (90 - size, 96 - size, 76 - size))] = hu
    for side in (-1, 1):
        drawn.hu[drawn.ball((-50, -60, side * 24), (20, 20, 16))] = -900
        drawn.hu[drawn.ball((-50, 30, side * 52), (14, 14, 10))] = -700
    return drawn.scanned(seed)


def legs(view_mm: float = 360.0, num_slices: int = 40, seed: int = 0) -> np.ndarray:
    """Two thighs."""
    drawn = field(view_mm, num_slices)
    for side in (-1, 1):
        drawn.hu[drawn.ellipse((0, side * 85), (80, 78))] = FAT
        drawn.hu[drawn.ellipse((0, side * 85), (66, 64))] = 55
        drawn.bone((0, side * 85), (14, 14))
    return drawn.scanned(seed)


def cylinder(view_mm: float = 300.0, num_slices: int = 30, seed: int = 0, foam_hu: float = -800.0) -> np.ndarray:
    """A phantom of water with rods of foam, bone and acrylic."""
    drawn = field(view_mm, num_slices)
    drawn.hu[drawn.ellipse((0, 0), (105, 105))] = 0
    for middle, hu in (((-60, 0), foam_hu), ((60, 0), foam_hu), ((0, -60), 900), ((0, 60), 120)):
        drawn.hu[drawn.ellipse(middle, (26, 26))] = hu
    return drawn.scanned(seed)


def colon(view_mm: float = 360.0, num_slices: int = 50, seed: int = 0, gas_hu: float = -1000.0) -> np.ndarray:
    """Ascending and descending colon, full of gas or dry stool, on both sides of the other bowel: worst of all."""
    drawn = trunk(view_mm, num_slices)
    drawn.hu[drawn.ball((0, -24, 0), (120, 52, 66))] = 40
    for side in (-1, 1):
        drawn.hu[drawn.ellipse((-10, side * 92), (44, 34))] = 42
        drawn.hu[drawn.ellipse((-10, side * 92), (40, 30))] = gas_hu
    return drawn.scanned(seed)


KINDS: dict[str, Callable[[], np.ndarray]] = {
    "abdomen": abdomen,
    "abdomen with little gas": lambda: abdomen(gas_mm=14),
    "abdomen with much gas": lambda: abdomen(gas_mm=38, seed=1),
    "abdomen with stool and gas": lambda: abdomen(gas_mm=38, gas_hu=-800, seed=2),
    "abdomen with the lungs' recesses": lambda: abdomen(recess_slices=14, seed=3),
    "abdomen with the lungs' recesses and gas": lambda: abdomen(recess_slices=26, gas_mm=36, gas_hu=-850, seed=4),
    "abdomen in a narrow view": lambda: abdomen(view_mm=200, gas_mm=38, gas_hu=-900, seed=5),
    "colon full of gas": colon,
    "colon full of stool": lambda: colon(gas_hu=-780),
    "liver dome": liver_dome,
    "liver dome on many slices": lambda: liver_dome(num_slices=56, seed=6),
    "liver dome in a narrow view": lambda: liver_dome(view_mm=220, seed=7),
    "tips of the lungs": lambda: apices(arch=False),
    "aortic arch": apices,
    "pelvis": pelvis,
    "head": head,
    "legs": legs,
    "phantom of water": cylinder,
}
