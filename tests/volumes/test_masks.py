"""Masks: parts are chosen by number or name, placed by their geometry, and refused where they do not cover a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cac_hpc.run.config import InputError
from cac_hpc.volumes import masks, placement
from cac_hpc.volumes.frame import AS_STORED
from cac_hpc.volumes.masks import Target

FILE = Path("heart.nii.gz")
SUPINE = (1, 0, 0, 0, 1, 0)


def at(first_mm=(-10.0, -20.0, 50.0)):
    last_mm = (*first_mm[:2], first_mm[2] + 9)
    return placement.of_slices(first_mm, last_mm, 4, SUPINE, (6, 8), (0.5, 0.5), AS_STORED)


TARGET = Target(at(), (3.0, 0.5, 0.5), np.zeros((4, 6, 8), np.int16), AS_STORED)


def label():
    values = np.zeros((4, 6, 8), np.int64)
    values[1, 2:4, 3:6], values[2, 0, 0] = 51, 7
    return values


def test_parts_are_numbered_in_the_order_of_their_values_and_chosen_by_number_or_name():
    mask = masks.place(label(), at(), TARGET, FILE, {51: "heart"})
    assert (mask.names, mask.values, mask.warnings) == (("part 7", "heart"), (7, 51), ())
    np.testing.assert_array_equal(mask.part_ZHW, np.searchsorted([0, 7, 51], label()))
    for wanted in (["51"], ["heart"]):
        chosen = masks.choose(mask, wanted, FILE)
        assert chosen.names == ("heart",)
        np.testing.assert_array_equal(chosen.part_ZHW, label() == 51)
    both = masks.choose(mask, ["heart", "7"], FILE)
    assert (both.names, both.part_ZHW[1, 2, 3], both.part_ZHW[2, 0, 0]) == (("heart", "part 7"), 1, 2)
    with pytest.raises(InputError, match=r"heart\.nii\.gz: found 0 parts 'aorta', wanted one of 7 part 7, 51 heart"):
        masks.choose(mask, ["aorta"], FILE)


def test_a_mask_that_does_not_cover_the_study_is_refused_with_both_geometries():
    with pytest.raises(InputError, match=r"z 53\.0 to 62\.0; the study has .* z 50\.0 to 59\.0"):
        masks.place(label(), at((-10.0, -20.0, 53.0)), TARGET, FILE, {})
    with pytest.raises(InputError, match="do not say where"):
        masks.place(label(), at(), replace(TARGET, placement=None), FILE, {})
    with pytest.raises(InputError, match="found 1 values from -3"):
        masks.place(-3 * (label() > 0), at(), TARGET, FILE, {})


def test_a_part_is_named_behind_a_colon(tmp_path):
    assert masks.split_choice("a/heart.nii.gz:51") == ("a/heart.nii.gz", ("51",))
    assert masks.split_choice("a/vessels.nrrd:LAD, RCA") == ("a/vessels.nrrd", ("LAD", "RCA"))
    assert masks.split_choice("a:b/heart.nrrd") == ("a:b/heart.nrrd", ())
    odd = tmp_path / "at 12:30.nrrd"
    odd.touch()
    assert masks.split_choice(str(odd)) == (str(odd), ())
