"""Masks in NumPy files: values are parts, names may stand beside them, and what does not fit is refused."""

import zipfile

import numpy as np
import pytest

from cac_hpc.masks import mask_formats
from cac_hpc.settings.errors import InputError
from tests.support.mask_targets import SHAPE, UNPLACED


@pytest.fixture
def mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 3], mask[2, 4] = 1, 3
    return mask


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_mask_is_a_region_whose_values_are_parts(suffix, mask, tmp_path):
    path = tmp_path / f"mask{suffix}"
    for array in (mask, np.asfortranarray(mask), mask.astype(">i8")):
        (np.save if suffix == ".npy" else np.savez_compressed)(path, array)
        found = mask_formats.read(path, UNPLACED)
        assert (found.names, found.values) == (("part 1", "part 3"), (1, 3))
        np.testing.assert_array_equal(found.part_ZHW, np.searchsorted([0, 1, 3], mask))
    assert (mask_formats.read(path, UNPLACED, ["3"]).part_ZHW == (mask == 3)).all()


def test_parts_of_a_mask_may_have_names_whether_they_occur_or_not(mask, tmp_path):
    path = tmp_path / "mask.npz"
    np.savez_compressed(path, artery=mask, arteries=np.array(["LM", "LAD"]), pixel_mm=0.4)
    assert mask_formats.read(path, UNPLACED).names == ("LM", "LAD", "part 3")
    assert not mask_formats.read(path, UNPLACED, ["LAD"]).part_ZHW.any()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 20, 30), bool), r"found bool \(4, 20, 30\), wanted one array .* \(5, 20, 30\)"),
        (np.zeros(SHAPE), "found float64"),
        (np.full(SHAPE, -1), "found values -1 to -1, wanted 0 outside"),
        (np.arange(np.prod(SHAPE)).reshape(SHAPE), "found 2999 values other than 0, wanted at most 255"),
        (np.array([{}]), "wanted a NumPy array"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(array, said, tmp_path):
    np.save(tmp_path / "mask.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=r"mask\.npy: .*" + said):
        mask_formats.read(tmp_path / "mask.npy", UNPLACED)


def test_a_header_that_promises_more_than_there_is_costs_nothing(tmp_path):
    for shape, said in (((2**20, 2**20, 2**10), "of at most"), ((2**9, 2**9, 2**9), "found only 6 bytes")):
        np.lib.format.write_array_header_1_0(
            file := (tmp_path / "mask.npy").open("wb"), {"shape": shape, "fortran_order": False, "descr": "|u1"}
        )
        file.write(bytes(6))
        file.close()
        with pytest.raises(InputError, match=said):
            mask_formats.read(tmp_path / "mask.npy", UNPLACED)
        with zipfile.ZipFile(tmp_path / "mask.npz", "w") as packed:
            packed.write(tmp_path / "mask.npy", "mask.npy")
        with pytest.raises(InputError, match=said):
            mask_formats.read(tmp_path / "mask.npz", UNPLACED)
