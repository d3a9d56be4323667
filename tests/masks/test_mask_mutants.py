"""Damaged masks: each gives a mask or one line that names the file; nothing crashes, hangs or takes much memory."""

import bz2
import gzip
import re
import time
import tracemalloc

import nibabel as nib
import nrrd
import numpy as np
import pytest

from cac_hpc.masks import mask_formats
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import streams
from tests.support import mask_writers
from tests.support.damage import LONGEST, MUTANTS, SLOWEST_S, damaged
from tests.support.mask_targets import TARGET
from tests.support.mask_writers import Drawing, nifti, numpy, slicer, slicer_segments

MOST_BYTES = 20 << 20
BASES = {
    "NIfTI": nifti("RAS", ".nii"),
    "NIfTI-2": nifti("LPS", ".nii", nib.Nifti2Image),
    "NIfTI, gzip": nifti("RAS"),
    "NRRD": slicer("LPS", "left-posterior-superior", encoding="raw"),
    "NRRD, detached header": slicer("RAS", "right-anterior-superior", ".nhdr", "bzip2"),
    "3D Slicer": slicer_segments,
    "NumPy": numpy("patient"),
}


@pytest.fixture
def drawing():
    part_ZHW = np.zeros(TARGET.hu_ZHW.shape, np.uint8)
    part_ZHW[1, 2:4, 3:6], part_ZHW[2, 0, 0] = 1, 2
    first_mm = np.array(TARGET.placement.first_mm)
    return Drawing(part_ZHW, ("LAD", "RCA"), None, TARGET.turn, first_mm, np.array(TARGET.spacing_mm[::-1]))


def fault(path) -> str:
    """What is said of a mask; nothing if it can be read, and fits the study."""
    try:
        found = mask_formats.read(path, TARGET)
    except InputError as why:
        return str(why)
    assert found.part_ZHW.shape == TARGET.hu_ZHW.shape
    return ""


@pytest.mark.parametrize("base", BASES)
def test_a_damaged_mask_is_a_mask_or_one_line(base, drawing, tmp_path):
    path, rng, said = BASES[base](tmp_path, drawing), np.random.default_rng(len(base)), list[str]()
    whole = re.sub(rb"\n# on [^\n]*", b"", path.read_bytes())  # pynrrd writes the time
    path.write_bytes(whole)
    assert not fault(path)
    for number in range(MUTANTS):
        inside = path.name.endswith(".gz") and number % 2
        path.write_bytes(gzip.compress(damaged(gzip.decompress(whole), rng), 1) if inside else damaged(whole, rng))
        tracemalloc.start()
        started = time.perf_counter()
        said.append(fault(path))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (time.perf_counter() - started < SLOWEST_S, peak < MOST_BYTES) == (True, True), number
    lines = [line.removeprefix(str(tmp_path)) for line in said if line]
    assert len(lines) > MUTANTS / 4
    for line in lines:
        assert (line.startswith("/"), " wanted " in line, line.isprintable(), len(line) < LONGEST) == (True,) * 4, line


def test_a_header_that_promises_more_than_there_is_is_refused_at_once(drawing, tmp_path):
    path = nifti("LPS", ".nii")(tmp_path, drawing)
    data = bytearray(path.read_bytes())
    data[42:48] = np.array([1024, 1024, 256], "<i2").tobytes()
    path.write_bytes(data)
    with pytest.raises(InputError, match="found only 192 bytes of voxels, wanted the 268435456 that its header"):
        mask_formats.read(path, TARGET)
    data[42:48] = np.array([1024, 1024, 257], "<i2").tobytes()
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"its header says 1024 x 1024 x 257 voxels, wanted 1 to 268435456"):
        mask_formats.read(path, TARGET)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_what_inflates_to_more_than_the_header_promises_is_not_inflated(pack, drawing, tmp_path):
    path = slicer("LPS", "left-posterior-superior")(tmp_path, drawing)
    head = path.read_bytes().partition(b"\n\n")[0]
    path.write_bytes(head + b"\n\n" + pack(bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(InputError, match="found more bytes of voxels, wanted the 192"):
        mask_formats.read(path, TARGET)
    assert tracemalloc.get_traced_memory()[1] < 2 * streams.CHUNK + MOST_BYTES
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((b"space: left-posterior-superior\n", b"space: scanner-xyz\n"), "found space 'scanner-xyz'"),
        (
            (b"space: left-posterior-superior\n", b"space dimension: 3\n"),
            "found space 'none' in 'mm', wanted left-post",
        ),
        ((b"encoding: raw\n", b"encoding: hex\n"), "found encoding 'hex'"),
        ((b"encoding: raw\n", b"encoding: raw\nbyte skip: -1\n"), "wanted raw, gzip, gz, bzip2, bz2 without line skip"),
        ((b"encoding: raw\n", b"encoding: raw\ndata file: ../mask.raw\n"), "found data file '../mask.raw', wanted one"),
        ((b"encoding: raw\n", b"encoding: raw\ndata file: /etc/hostname\n"), "wanted one file in the same folder"),
        ((b"encoding: raw\n", b"encoding: raw\ndata file: LIST\n"), "found data file 'LIST'"),
        (
            (b"encoding: raw\n", b"encoding: raw\ndata file: gone.raw\n"),
            "gone.raw: found no such file, wanted the voxels",
        ),
        ((b"encoding: raw\n", b'encoding: raw\nspace units: "m" "m" "m"\n'), "in 'm m m', wanted"),
    ],
)
def test_what_an_nrrd_file_may_say_and_is_not_read_is_told(change, said, drawing, tmp_path):
    path = slicer("LPS", "left-posterior-superior", encoding="raw")(tmp_path, drawing)
    path.write_bytes(path.read_bytes().replace(*change))
    with pytest.raises(InputError, match=said):
        mask_formats.read(path, TARGET)


@pytest.mark.parametrize(("kind", "place"), [("time", 3), ("RGB-color", 0), ("vector", 3)])
def test_times_and_colours_are_no_layers(kind, place, drawing, tmp_path):
    values, steps, first = mask_writers.placed(drawing, "LPS")
    directions, kinds = list(steps), ["domain"] * 3
    directions.insert(place, np.full(3, np.nan))
    kinds.insert(place, kind)
    header = {"space": "left-posterior-superior", "space directions": directions, "space origin": first, "kinds": kinds}
    nrrd.write(str(tmp_path / "mask.nrrd"), np.stack([values] * 3, place), header)
    with pytest.raises(InputError, match=f"found an axis of kind '{kind}', wanted a volume of 3 axes"):
        mask_formats.read(tmp_path / "mask.nrrd", TARGET)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sform_code": 0, "qform_code": 0}, "states no position"),
        ({"sform_code": 4}, "states no position in the patient .sform_code 4 and qform_code 0., wanted code 1 or 2"),
        ({"xyzt_units": 3}, "its unit of length has code 3, wanted 2, mm"),
        ({"qform_code": 1, "qoffset_x": 25.0}, "sform and qform state positions up to .* mm apart, wanted the same"),
        ({"srow_x": np.nan}, "as its affine, wanted one of a volume"),
        ({"srow_x": [0, 0.5, 0, 10]}, "as its affine, wanted one of a volume"),
        ({"scl_slope": 0.5, "scl_inter": 0.1}, "found the value 0.1, wanted whole numbers, 0 outside: save it as int"),
        ({"scl_slope": 1, "scl_inter": -2}, "found values -2 to 0, wanted 0 outside"),
        ({"datatype": 128, "bitpix": 24}, "found datatype 128 of 24 bits"),
        ({"magic": b"ni1"}, "wanted a NIfTI file .* header and voxels in one"),
    ],
)
def test_what_a_nifti_file_may_say_and_is_not_read_is_told(change, said, drawing, tmp_path):
    path = nifti("LPS", ".nii")(tmp_path, drawing)
    header = nib.Nifti1Header(path.read_bytes()[:348], check=False)
    for name, value in change.items():
        header[name] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[348:])
    with pytest.raises(InputError, match=said):
        mask_formats.read(path, TARGET)


def test_a_time_axis_of_one_and_no_mm_stated_are_no_obstacle(drawing, tmp_path):
    values, steps, first = mask_writers.placed(drawing, "LPS")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps.T, first
    nib.save(nib.Nifti1Image(values[..., None], np.diag([-1, -1, 1, 1]) @ affine), tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask_formats.read(tmp_path / "mask.nii.gz", TARGET).part_ZHW, drawing.part_ZHW)
    nib.save(nib.Nifti1Image(np.stack([values, values], 3), affine), tmp_path / "two.nii.gz")
    with pytest.raises(InputError, match="found 4 axes of 8 x 6 x 4 x 2, wanted one volume of 3"):
        mask_formats.read(tmp_path / "two.nii.gz", TARGET)
