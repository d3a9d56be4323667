"""Masks: parts are chosen by number or name, placed by their geometry, and refused where they do not cover a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cac_hpc.dataset import intake
from cac_hpc.masks import mask_formats, masks
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import Checks, PackConfig
from cac_hpc.volumes import files
from tests.support.mask_targets import TARGET, at
from tests.support.poison import without, write_chest

FILE = Path("heart.nii.gz")


def label():
    values = np.zeros((4, 6, 8), np.int64)
    values[1, 2:4, 3:6], values[2, 0, 0] = 51, 7
    return values


def test_parts_are_numbered_in_the_order_of_their_values_and_chosen_by_number_or_name():
    mask = masks.place(label(), at(), TARGET, FILE, {51: "heart"})
    assert (mask.names, mask.values, mask.warnings) == (("part 7", "heart"), (7, 51), ())
    np.testing.assert_array_equal(mask.part_ZHW, np.searchsorted([0, 7, 51], label()))
    for wanted in (["51"], ["heart"]):
        chosen = masks.merge([mask], wanted, FILE)
        assert chosen.names == ("heart",)
        np.testing.assert_array_equal(chosen.part_ZHW, label() == 51)
    both = masks.merge([mask], ["heart", "7"], FILE)
    assert (both.names, both.part_ZHW[1, 2, 3], both.part_ZHW[2, 0, 0]) == (("heart", "part 7"), 1, 2)
    with pytest.raises(InputError, match=r"heart\.nii\.gz: found 0 parts 'aorta', wanted one of 7 part 7, 51 heart"):
        masks.merge([mask], ["aorta"], FILE)


def test_a_mask_that_does_not_cover_the_study_is_refused_with_both_geometries():
    with pytest.raises(InputError, match=r"z 53\.0 to 62\.0; the study has .* z 50\.0 to 59\.0"):
        masks.place(label(), at((-10.0, -20.0, 53.0)), TARGET, FILE, {})
    with pytest.raises(InputError, match="do not say where"):
        masks.place(label(), at(), replace(TARGET, placement=None), FILE, {})
    with pytest.raises(InputError, match="found values -3 to 0"):
        masks.place(-3 * (label() > 0), at(), TARGET, FILE, {})


def test_a_study_with_a_gap_that_is_forgiven_has_no_place_for_a_mask(tmp_path):
    write_chest(tmp_path / "chest")
    cfg = PackConfig(checks=Checks(missing_slices="warn"))
    whole = intake.read_chest(files.list_files(tmp_path / "chest"), cfg)
    without(5)(tmp_path / "chest")
    gap = intake.read_chest(files.list_files(tmp_path / "chest"), cfg)
    assert (whole.study.placement.shape, gap.study.placement) == (whole.hu_ZHW.shape, None)
    with pytest.raises(InputError, match="slices are uneven, or its files do not say"):
        masks.place(np.ones(whole.hu_ZHW.shape, int), whole.study.placement, gap.target(), FILE, {})


def test_a_part_is_named_behind_a_colon(tmp_path):
    assert mask_formats.split_choice("a/heart.nii.gz:51") == ("a/heart.nii.gz", ("51",))
    assert mask_formats.split_choice("a/vessels.nrrd:LAD, RCA") == ("a/vessels.nrrd", ("LAD", "RCA"))
    assert mask_formats.split_choice("a:b/heart.nrrd") == ("a:b/heart.nrrd", ())
    odd = tmp_path / "at 12:30.nrrd"
    odd.touch()
    assert mask_formats.split_choice(str(odd)) == (str(odd), ())
