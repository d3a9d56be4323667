"""Damaged Segmentations, structure sets and contours: each gives a mask or one line, within time and memory."""

import re
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from pydicom.uid import RLELossless

from cac_hpc.masks import mask_formats
from cac_hpc.settings.errors import InputError
from tests.support.coca_lists import SQUARE, empty, roi, write
from tests.support.damage import LONGEST, MUTANTS, SLOWEST_S, damaged
from tests.support.dicom_mask_writers import in_mm, write_segmentation, write_structure_set
from tests.support.small_studies import SHAPE, target, write_study

MEASURED = 5  # the memory of every fifth: it takes its time
MOST_BYTES = 20 << 20
REFUSED = {"Segmentation": 0.4, "label map, RLE": 0.4, "structure set": 0.8, "COCA": 0.95}  # or more; 0.49 to 0.99
NAMES = ("LAD", "RCA")
PREAMBLE = 132
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[1:4, 3:8, 5:11], LABEL[5, 10:19, 2:4] = 1, 2


def binary(folder, images):
    return write_segmentation(folder / "mask.dcm", images, LABEL, "BINARY", NAMES)


def compressed(folder, images):
    return write_segmentation(folder / "mask", images, LABEL, "LABELMAP", NAMES, transfer_syntax_uid=RLELossless)


def structure_set(folder, images):
    corners = np.array([(3, 5), (3, 10), (7, 10), (7, 5)], float)
    drawn = {name: [("CLOSED_PLANAR", in_mm(images[z], corners + z)) for z in (1, 2, 4)] for name in NAMES}
    return write_structure_set(folder / "mask.dcm", images[0], drawn)


def contours(folder, images):
    return write(folder, {z: [roi(images, z, SQUARE + z), empty(images)] for z in (1, 2, 4)})


BASES = {"Segmentation": binary, "label map, RLE": compressed, "structure set": structure_set, "COCA": contours}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("small") / "study")


def outcome(path, study):
    """A mask, or what is said of it."""
    try:
        return mask_formats.read(path, study)
    except InputError as why:
        return str(why)


@pytest.mark.parametrize("base", BASES)
def test_a_damaged_mask_is_a_mask_or_one_line(base, images, tmp_path):
    path, rng, study = BASES[base](tmp_path, images), np.random.default_rng(len(base)), target(images)
    whole, right, seen = path.read_bytes(), outcome(path, study), Counter[str]()
    for number in range(MUTANTS):
        start = int(rng.integers(PREAMBLE if base != "COCA" else 0, len(whole)))
        path.write_bytes(whole[:start] + damaged(whole[start:], rng))
        started, peak = time.perf_counter(), 0
        if number % MEASURED:
            found = outcome(path, study)
        else:
            tracemalloc.start()
            found, peak = outcome(path, study), tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert (time.perf_counter() - started < SLOWEST_S, peak < MOST_BYTES) == (True, True), (number, peak)
        if isinstance(found, str):
            line = found.removeprefix(str(path))
            assert (" wanted " in line, line.isprintable(), len(line) < LONGEST) == (True,) * 3, found
            assert not re.search(r"\d+(\.\d+){5}", line), found  # no UID
            seen["refused"] += 1
        else:
            assert found.part_ZHW.shape == SHAPE
            seen["same" if (found.part_ZHW == right.part_ZHW).all() else "another"] += 1
    assert seen["refused"] >= REFUSED[base] * MUTANTS


@pytest.mark.parametrize("base", BASES)
def test_a_mask_that_is_cut_short_does_not_pass_for_another(base, images, tmp_path):
    path, study = BASES[base](tmp_path, images), target(images)
    whole, right, refused = path.read_bytes(), outcome(path, study), 0
    for end in np.linspace(0, len(whole) - 1, 61).astype(int).tolist():
        path.write_bytes(whole[:end])
        found = outcome(path, study)
        refused += isinstance(found, str)
        if not isinstance(found, str):  # what was lost holds nothing
            np.testing.assert_array_equal(found.part_ZHW, right.part_ZHW)
    assert refused >= 60
