"""Noise and body size, of volumes in which both are known."""

import math

import numpy as np
import pytest

from cac_hpc.calcium import chest, measures
from cac_hpc.calcium.chest import Grid
from cac_hpc.calcium.heart import Heart, Surroundings

PIXEL_MM, SLICE_MM = 0.8, 3.0


def disc_of(shape, radii_mm, middle_mm=(0.0, 0.0), pixel_mm=PIXEL_MM):
    row, column = np.ogrid[: shape[0], : shape[1]]
    down, across = ((at - (size - 1) / 2) * pixel_mm - away
                    for at, size, away in zip((row, column), shape, middle_mm, strict=True))  # fmt: skip
    return (down / radii_mm[0]) ** 2 + (across / radii_mm[1]) ** 2 <= 1


def scan(size=480, radii_mm=(110, 160), middle_mm=(0.0, 0.0), noise=0.0, table=False):
    """A chest with a heart of 45 HU in it, and what is found of that."""
    body, core = disc_of((size, size), radii_mm, middle_mm), disc_of((size, size), (35, 35), middle_mm)
    hu = np.where(body, np.where(core, 45, -850), -1000).astype(float)
    hu[disc_of((size, size), radii_mm, middle_mm) & ~disc_of((size, size), np.array(radii_mm) - 15, middle_mm)] = 50
    if table:
        hu[-30:-25] = 0  # below the patient, 4 mm thick
    hu_ZHW = np.clip(hu + np.random.default_rng(0).normal(0, noise, (6, size, size)), -1024, 3000).astype(np.int16)
    grid = chest.shrink(hu_ZHW, (SLICE_MM, PIXEL_MM, PIXEL_MM))
    inside = np.broadcast_to(disc_of(grid.hu.shape[1:], (30, 30), middle_mm, grid.spacing_mm[1]), grid.hu.shape)
    nothing = np.zeros(grid.hu.shape, bool)
    around = Surroundings(grid, nothing, nothing, nothing, nothing, inside, nothing, nothing)
    return hu_ZHW, Heart(nothing, (0, 0, 0, 0), 45.0, around)


@pytest.mark.parametrize("noise", [5.0, 15.0, 40.0])
def test_noise_is_the_standard_deviation_that_was_added(noise):
    assert measures.noise_hu(*scan(noise=noise)) == pytest.approx(noise, rel=0.05)


def test_calcium_and_fat_in_the_heart_are_no_noise():
    hu_ZHW, found = scan(noise=15.0)
    hu_ZHW[:, 200:290:12, 200:290:12] = 700
    hu_ZHW[:, 220:224] = -90
    assert measures.noise_hu(hu_ZHW, found) == pytest.approx(15, rel=0.1)


def test_the_noise_of_a_heart_of_few_squares_is_not_told():
    hu_ZHW, found = scan(noise=15.0)
    found.chest.__dict__["core"] = found.chest.core & disc_of(found.chest.core.shape[1:], (8, 8), pixel_mm=1.6)
    assert math.isnan(measures.noise_hu(hu_ZHW, found))


@pytest.mark.parametrize("table", [False, True])
def test_the_effective_diameter_is_that_of_the_circle_of_the_same_area(table):
    _, found = scan(noise=15.0, table=table)
    assert measures.effective_diameter_mm(found) == pytest.approx(2 * math.sqrt(110 * 160), rel=0.02)


@pytest.mark.parametrize("options", [{"size": 300}, {"middle_mm": (0.0, 40.0)}, {"radii_mm": (189, 120)}])
def test_a_chest_that_the_field_of_view_cuts_has_no_size(options):
    assert math.isnan(measures.effective_diameter_mm(scan(**options)[1]))


def test_a_chest_that_a_round_field_of_view_cuts_has_no_size_though_padding_surrounds_it():
    hu_ZHW, found = scan(size=300, noise=10.0)
    hu_ZHW[:, ~disc_of((300, 300), (119, 119))] = -2000
    grid = chest.shrink(hu_ZHW, (SLICE_MM, PIXEL_MM, PIXEL_MM))
    assert isinstance(grid, Grid)
    found.chest.__dict__["grid"] = grid
    assert math.isnan(measures.effective_diameter_mm(found))
