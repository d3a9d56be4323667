"""How a scanner turns what is there into an image: blur, noise with the grain of its kernel, streaks.

All in the frequencies of a slice, f in 1/mm: one transform there, two back. Axes: Z slices, H rows, W columns; F rows
and G columns of frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from cac_hpc.phantom.canvas import Grid

DRAWN_MM = 0.65  # pixels finer than this are drawn twice as coarse; blur reaches further
MARGIN = 8  # pixels around a slice: what is periodic here is cut off


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A reconstruction kernel.

    blur_mm: SD of the point spread in a slice. sharpening: overshoot at edges, 0 is none. grain: frequency in 1/mm
    around which the noise lies. noise_hu: least and largest SD in the heart, between which a patient's is drawn.
    """

    blur_mm: float
    sharpening: float
    grain: float
    noise_hu: tuple[float, float]


@dataclass(frozen=True)
class Raster:
    """The grid of an image, and the one that it is drawn on: as fine or twice as coarse, with a margin."""

    image: Grid
    drawn: Grid
    factor: int

    @property
    def size(self) -> int:
        """Pixels per side of an image with its margin."""
        return self.image.shape[1] + 2 * MARGIN


def make_raster(
    z_mm: np.ndarray, matrix: int, pixel_mm: float, thickness_mm: float, corner_mm: float, down_mm: float = 0.0
) -> Raster:
    """Slices of square pixels; ``corner_mm`` is x and y of the first pixel's middle, ``down_mm`` is added to y."""
    factor = 2 if pixel_mm < DRAWN_MM and matrix % 2 == 0 else 1
    axis_mm = (corner_mm + (np.arange(-MARGIN, matrix + MARGIN)) * pixel_mm).astype(np.float32)
    z_mm, inner, coarse = z_mm.astype(np.float32), axis_mm[MARGIN:-MARGIN], axis_mm[::factor]
    down = np.float32(down_mm)
    image = Grid(z_mm, inner + down, inner, pixel_mm, thickness_mm)
    return Raster(image, Grid(z_mm, coarse + down, coarse, pixel_mm * factor, thickness_mm), factor)


def scan(
    rng: np.random.Generator,
    drawn_ZHW: np.ndarray,
    raster: Raster,
    kernel: Kernel,
    noise_hu_HW: np.ndarray,
    overlapping: bool = False,
) -> np.ndarray:
    """Image what was drawn.

    Args:
        drawn_ZHW: float32 HU on ``raster.drawn``.
        noise_hu_HW: SD of the noise in each pixel, float32.
        overlapping: neighbouring slices share half of their thickness, and with it of their noise.
    Returns: float32 HU on ``raster.image``.
    """
    transfer_FG, grain_FG = _transfer(raster, kernel), _grain(raster, kernel)
    inner = slice(MARGIN, raster.size - MARGIN)
    hu_ZHW = np.empty(raster.image.shape, np.float32)
    lower = _noise(rng, grain_FG, raster.size) if overlapping else None
    for hu_HW, drawn_HW in zip(hu_ZHW, drawn_ZHW, strict=True):
        sharp_HW = _upsample(fft.rfft2(drawn_HW), transfer_FG, raster)
        noise = _noise(rng, grain_FG, raster.size)
        if lower is not None:
            noise, lower = (noise + lower) / np.float32(np.sqrt(2)), noise
        hu_HW[:] = sharp_HW[inner, inner] + noise_hu_HW * noise[inner, inner]
    return hu_ZHW


def as_stored(hu_ZHW: np.ndarray) -> np.ndarray:
    """HU as a scanner stores them: int16, -1024 to 3071."""
    return np.asarray(np.clip(np.rint(hu_ZHW), -1024, 3071).astype(np.int16))


def metal_streaks(rng: np.random.Generator, grid: Grid, at_mm: tuple[float, float], strength_hu: float) -> np.ndarray:
    """Rays (H, W) out of a piece of metal, bright and dark, fading with distance."""
    x, y = grid.x_mm - at_mm[0], (grid.y_mm - at_mm[1])[:, None]
    turn, away_mm = np.arctan2(y, x), np.sqrt(x**2 + y**2)
    rays = np.zeros(turn.shape, np.float32)
    for count in range(3, 23, 2):
        phase, strength = (float(drawn) for drawn in rng.uniform((0, 0.3), (6.3, 1)))
        rays += np.cos(count * turn + phase) * strength
    return np.asarray(rays * np.float32(strength_hu / 3) * np.exp(-away_mm / 18) / (1 + away_mm / 6), np.float32)


def _frequencies(raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies along the rows and columns of an image, the latter without the negative ones."""
    pixel_mm = raster.image.pixel_mm
    return fft.fftfreq(raster.size, pixel_mm)[:, None], fft.rfftfreq(raster.size, pixel_mm)


def _transfer(raster: Raster, kernel: Kernel) -> np.ndarray:
    """What blur leaves of each frequency (F, G); drawn voxels have blurred a little already."""
    down, across = _frequencies(raster)
    square = down**2 + across**2
    blur = np.exp(-2 * np.pi**2 * kernel.blur_mm**2 * square)
    return np.asarray(blur * (1 + kernel.sharpening * square / (0.2 + square)), np.float32)


def _grain(raster: Raster, kernel: Kernel) -> np.ndarray:
    """Share of each frequency (F, G) in noise of SD 1: the ramp of filtered back projection, cut by the kernel.

    What runs across the body, where most is absorbed, has more noise: it makes fine lines from side to side.
    """
    down, across = _frequencies(raster)
    square = down**2 + across**2 + 1e-9
    upright = down**2 / square
    power = np.sqrt(square) * np.exp(-square / kernel.grain**2) * (1 + 0.9 * upright**3)
    power += 0.015 * np.exp(-square / 0.05**2)  # what beam hardening and scatter leave
    both_sides = np.where((across == 0) | (across == across.max()), 1.0, 2.0)
    return np.asarray(np.sqrt(power / (power * both_sides).sum()), np.complex64)


def _noise(rng: np.random.Generator, grain_FG: np.ndarray, size: int) -> np.ndarray:
    """Noise (H, W) of SD 1 with that grain."""
    highest = int(np.flatnonzero(np.abs(grain_FG[0]) > 1e-3 * np.abs(grain_FG[0]).max())[-1]) + 1
    rows = np.r_[:highest, size - highest : size]  # beyond lies next to nothing
    white = rng.standard_normal((len(rows), 2 * highest), dtype=np.float32).view(np.complex64)
    spectrum = np.zeros(grain_FG.shape, np.complex64)
    spectrum[rows, :highest] = white * grain_FG[rows, :highest]
    return np.asarray(fft.irfft2(spectrum, s=(size, size))) * np.float32(size**2 / np.sqrt(2))


def _upsample(drawn_FG: np.ndarray, transfer_FG: np.ndarray, raster: Raster) -> np.ndarray:
    """A slice (H, W) with the image's pixels out of the frequencies of the drawn one."""
    if raster.factor == 1:
        return np.asarray(fft.irfft2(drawn_FG * transfer_FG, s=(raster.size, raster.size)))
    half, columns = drawn_FG.shape[0] // 2, drawn_FG.shape[1] - 1
    spectrum = np.zeros(transfer_FG.shape, np.complex64)
    spectrum[:half, :columns] = drawn_FG[:half, :columns] * transfer_FG[:half, :columns]
    spectrum[-half + 1 :, :columns] = drawn_FG[half + 1 :, :columns] * transfer_FG[-half + 1 :, :columns]
    return np.asarray(fft.irfft2(spectrum, s=(raster.size, raster.size))) * np.float32(raster.factor**2)
