"""Damaged NIfTI and NRRD files: each is refused in one line, or read as without the damage; nothing crashes or hangs.

Neither format has a checksum; gzip has one. Damage to voxels that are not compressed, and to a slope or intercept,
gives other values: ``values``. What is read at another place or of another size is ``elsewhere``: NIfTI states its
geometry twice, NRRD once, in digits.
"""

import gzip
import itertools
import math
import random
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from cac_hpc.dataset import intake
from cac_hpc.settings.pack import Checks, PackConfig
from cac_hpc.volumes import files
from tests.support import volume_files
from tests.support.damage import MUTATIONS
from tests.support.volume_files import small, stored, write_nrrd

CFG = PackConfig(min_slices=10, baseline=False, candidates=False, checks=Checks(implausible_hu="warn"), size=36)
SLOWEST_S, MOST_BYTES = 10.0, 64 << 20
NEAR_MM = 0.1  # of a corner: a seventh of a pixel
HU = small(rows=36, columns=36)


def nifti_plain(path):
    return volume_files.nifti(path / "1.nii", stored(HU))


def nifti_gz(path):
    return volume_files.nifti(path / "1.nii.gz", stored(HU))


def nrrd_plain(path):
    return write_nrrd(path / "1.nrrd", stored(HU), encoding="raw")


def nrrd_gz(path):
    return write_nrrd(path / "1.nrrd", stored(HU))


def read(path):
    """Facts without warnings, slices and placement; or the one reason."""
    kept = []
    study = intake.read_study(files.list_files(path), CFG, lambda hu_HW, mm: kept.append((hu_HW.copy(), mm)))
    if study.facts is None:
        ((reason, detail),) = {(one.reason, one.detail) for one in study.refusals}
        assert detail, reason
        assert "\n" not in detail, detail
        return reason
    facts = {name: value for name, value in study.facts.items() if name != "warnings"}
    return facts, [mm for _, mm in kept], study.placement, np.array([hu_HW for hu_HW, _ in kept])


def outcome(whole, found):
    if isinstance(found, str):
        return "refused"
    facts, positions_mm, placement, hu_ZHW = found
    apart_mm = np.abs(corners(placement) - corners(whole[2])).max() if placement.shape == whole[2].shape else np.inf
    same = (
        math.isclose(facts[name], value, rel_tol=1e-3) if isinstance(value, float) else facts[name] == value
        for name, value in whole[0].items()
    )
    if not all(same) or apart_mm > NEAR_MM or np.abs(np.subtract(positions_mm, whole[1])).max() > NEAR_MM:
        return "elsewhere"
    return "identical" if (hu_ZHW == whole[3]).all() else "values"


def corners(placement):
    return placement.at(np.array(list(itertools.product(*((0, size - 1) for size in placement.shape)))))


def header_end(data, name):
    return data.index(b"\n\n") + 2 if name.startswith("nrrd") else 352


def survey(make, number, folder):
    """Damage a file that many times, each time anew; outcomes by where the damage is."""
    path = make(folder)
    content, whole, rng, counts = path.read_bytes(), read(path), random.Random(make.__name__), Counter()
    inner = gzip.decompress(content) if path.suffix == ".gz" else content
    for turn in range(number):
        in_header = turn % 5 > 0  # four of five
        data = bytearray(inner if in_header else content)
        end = header_end(inner, make.__name__)
        at = rng.randrange(end) if in_header else rng.randrange(end if len(content) > 2 * end else 10, len(content))
        rng.choice(MUTATIONS)(rng, data, at, end if in_header else len(data))
        path.write_bytes(gzip.compress(bytes(data), 1) if in_header and path.suffix == ".gz" else data)
        tracemalloc.start()
        started = time.monotonic()
        found = outcome(whole, read(path))
        assert time.monotonic() - started < SLOWEST_S
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
        tracemalloc.stop()
        counts["header" if in_header else "voxels", found] += 1
    return counts


@pytest.mark.parametrize("make", [nifti_plain, nifti_gz, nrrd_plain, nrrd_gz])
def test_damage_is_refused_or_changes_nothing_but_what_nothing_protects(make, tmp_path):
    counts = survey(make, 250, tmp_path)
    assert counts["header", "refused"] > 50
    assert counts["header", "identical"] > 20
    if make in (nifti_plain, nifti_gz):
        assert not counts["header", "elsewhere"] + counts["voxels", "elsewhere"], counts
    if make in (nifti_gz, nrrd_gz):
        assert not counts["voxels", "values"] + counts["voxels", "elsewhere"], counts
