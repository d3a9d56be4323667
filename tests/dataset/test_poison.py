"""Every fault of the input that we know of, provoked, and the code with which its file or study must end.

D19, decoders that crash or hang, is in test_packing.py; D22, identity, in test_identity.py; D26 and D27, labels, in
test_labels.py.
"""

import csv
import os
import re
import shutil
import struct
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cac_hpc.dataset import intake
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import dicom, files, images, pixels
from tests.support import poison
from tests.support.poison import (
    FIRST,
    Reading,
    packed,
    raw,
    read,
    rows,
    write_chest,
)
from tests.support.poisons import JPEG_2000, POISONS, RLE
from tests.support.runs import pack, prepare


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The series as it is before anything is wrong with it, read-only."""
    write_chest(folder := tmp_path_factory.mktemp("chest") / "study")
    return folder


@pytest.fixture(scope="module")
def good(chest: Path) -> Reading:
    return read(chest)


@pytest.mark.parametrize("case", POISONS, ids=lambda case: case.id)
def test_a_poisoned_study_ends_with_its_code_and_what_is_used_of_it_is_right(case, chest, good, tmp_path):
    folder = shutil.copytree(chest, tmp_path / "study")
    with poison.quiet():
        case.make(folder)
    found = read(folder, **case.settings)
    assert len(found.slices) == case.used, found.reasons
    assert set(found.slices) <= set(good.slices)
    assert case.code in found.codes or (case.code is None and not found.codes), found.reasons


# what each attribute is needed for: everything that is not named here may be missing from every slice
NEEDED = {
    "SOPClassUID": None,  # group 2 names it, too
    "ImagePositionPatient": "no_geometry",
    "ImageOrientationPatient": "no_geometry",
    "PixelSpacing": "no_geometry",
    "Rows": "no_geometry",
    "Columns": "no_geometry",
    "SamplesPerPixel": "bad_pixel_format",
    "PhotometricInterpretation": "bad_pixel_format",
    "BitsAllocated": "bad_pixel_format",
    "BitsStored": "bad_pixel_format",
    "HighBit": "bad_pixel_format",
    "PixelRepresentation": "bad_pixel_format",
    "RescaleSlope": "no_rescale",
    "RescaleIntercept": "no_rescale",
    "PixelData": "wrong_length",
}


def test_a_study_whose_slices_all_lack_one_attribute_is_used_or_refused_as_the_table_says(chest, good, tmp_path):
    """D31: anonymised files lack this and that."""
    template = pydicom.dcmread(chest / "IM0001.dcm")
    for tag in [*template.keys(), *template.file_meta.keys()]:
        folder = tmp_path / str(tag)
        shutil.copytree(chest, folder)
        for path in poison.slices_of(folder):
            path.write_bytes(without_element(path.read_bytes(), tag))
        found, code = read(folder), NEEDED.get(pydicom.datadict.keyword_for_tag(tag))
        assert found.codes == ({code} if code else set()), tag
        assert found.slices == ([] if code else good.slices), tag


def test_without_a_transfer_syntax_and_group_2_a_slice_is_read_where_there_is_one_way_to_read_it(chest, good, tmp_path):
    for name, syntax in (("explicit", poison.EXPLICIT), ("implicit", poison.IMPLICIT)):
        folder = shutil.copytree(chest, tmp_path / name)
        poison.in_syntax(syntax)(folder)
        for path in poison.slices_of(folder):
            data = path.read_bytes()
            path.write_bytes(data[data.index(b"\x08\0\x08\0") :])
            path.rename(path.with_suffix(""))
        found = read(folder)
        assert (found.slices, found.codes) == (good.slices, set())


def test_compressed_pixels_without_a_transfer_syntax_are_not_guessed_at(chest, tmp_path):
    folder = shutil.copytree(chest, tmp_path / "study")
    poison.compressed(RLE)(folder)
    for path in poison.slices_of(folder):
        data = path.read_bytes()
        path.write_bytes(data[data.index(b"\x08\0\x08\0") :])
    assert read(folder).codes == {"unsupported_compression"}


SYNTAXES: dict[str, poison.Make] = {
    "explicit": raw(FIRST, bytes),
    "implicit": poison.in_syntax(poison.IMPLICIT, FIRST),
    "deflated": poison.in_syntax(poison.DEFLATED, FIRST),
    "big endian": poison.in_syntax(poison.BIG_ENDIAN, FIRST),
    "RLE": poison.compressed(RLE, FIRST),
    "JPEG 2000": poison.compressed(JPEG_2000, FIRST),
    "enhanced": poison.write_enhanced,
}


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_file_cut_short_at_any_offset_is_refused_or_decodes_to_the_same(name, chest, tmp_path):
    """D14."""
    folder = shutil.copytree(chest, tmp_path / "study")
    SYNTAXES[name](folder)
    path = min(folder.iterdir())
    data, whole = path.read_bytes(), stored(path)
    refused = 0
    for end in np.random.default_rng(0).choice(len(data), 250, replace=False):
        path.write_bytes(data[:end])
        try:
            np.testing.assert_array_equal(stored(path), whole)
        except Refused:
            refused += 1
    assert refused >= 247


@pytest.mark.parametrize("seed", range(30))
def test_slices_missing_at_random_are_noticed(seed, tmp_path_factory, tmp_path):
    """D6; where only ends are missing the series is shorter, but right."""
    every = tmp_path_factory.getbasetemp() / "every"
    if not every.exists():
        write_chest(every, 24)
    rng = np.random.default_rng(seed)
    gone = set(rng.choice(np.arange(1, 23), rng.integers(1, 14), replace=False).tolist())
    for index, path in enumerate(poison.slices_of(every)):
        if index not in gone:
            os.link(path, tmp_path / path.name)
    assert read(tmp_path).codes == {"missing_slices"}


@pytest.mark.parametrize("bomb", ["deflated_bomb", "jpeg2000_bomb", "rle_bomb"])
def test_a_bomb_is_refused_at_once_and_takes_no_memory(bomb, chest, tmp_path):
    """D17."""
    folder = shutil.copytree(chest, tmp_path / "study")
    getattr(poison, bomb)(folder)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts at what is there now
    before, start = memory_kb("VmRSS"), time.monotonic()
    read(folder)
    assert time.monotonic() - start < 5
    assert memory_kb("VmHWM") - before < 250_000


def memory_kb(name):
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1])


def test_without_a_decoder_a_compressed_study_is_refused_by_that_name(chest, tmp_path, monkeypatch):
    """D10: the plugins are not installed on this node."""
    folder = shutil.copytree(chest, tmp_path / "study")
    poison.compressed(JPEG_2000)(folder)
    monkeypatch.setattr(dicom, "_plugins", lambda syntax: ())
    assert read(folder).codes == {"unsupported_compression"}


def test_two_thousand_files_that_are_none_of_ours_are_told_apart_in_a_second(chest, good, tmp_path):
    """D32."""
    folder = shutil.copytree(chest, tmp_path / "study")
    for number in range(2000):
        (folder / f"note-{number}").write_bytes(b"a line of text\n" * (number % 50))
    start = time.monotonic()
    found = read(folder)
    assert time.monotonic() - start < 5
    assert found.slices == good.slices
    assert Counter(found.reasons.values()) == {"not_dicom": 2000}


def replace_by_another(path):
    new = path.with_suffix(".new")
    shutil.copy(path.with_name("IM0001.dcm"), new)
    new.replace(path)


CHANGES = {
    "grows": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "shrinks": lambda path: path.write_bytes(path.read_bytes()[:-8]),
    "is written again": lambda path: path.write_bytes(path.read_bytes()),
    "is replaced": replace_by_another,
    "goes": Path.unlink,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_study_in_which_a_file_changes_while_it_is_read_is_refused(change, chest, tmp_path):
    """D34."""
    folder = shutil.copytree(chest, tmp_path / "study")
    entries = files.list_files(folder)

    def keep(hu_HW, position_mm):
        if position_mm == poison.FIRST_MM:
            CHANGES[change](folder / "IM0009.dcm")

    study = intake.read_slices(entries, PackConfig(size=32), keep)
    assert study.facts is None
    reasons = {refusal.file: refusal.reason for refusal in study.refusals}
    assert reasons.pop(9) == ("unreadable_file" if change == "goes" else "changed_while_read")
    assert set(reasons.values()) == {"study_refused"}


ODD_NAMES = ["100 %d", 'a "b"', "ü\n心", "it's; $(rm) `x`", "x -rf", "1e5"]
UNLABELLED = ["twin", "Twin", "no row", "bad score"]  # D23, D24, D25


@pytest.fixture(scope="module")
def everything(chest, tmp_path_factory):
    """A run over all poisons as studies of one cohort, beside good ones of odd names and some that the sheet lacks."""
    scans = tmp_path_factory.mktemp("everything") / "scans"
    table = [("twin", 1), ("bad score", "1,234"), ("no folder", 5), *((name, 7) for name in ODD_NAMES)]
    for number, case in enumerate(POISONS):
        folder = shutil.copytree(chest, scans / f"study {number:03d}")
        with poison.quiet():
            case.make(folder)
        table.append((folder.name, number % 6 * 300))
    for name in UNLABELLED + ODD_NAMES:
        shutil.copytree(chest, scans / name)
    (scans / "stray.txt").write_text("beside the studies", encoding="utf-8")
    with (scans / "labels.csv").open("w", encoding="utf-8", newline="") as sheet:
        csv.writer(sheet).writerows([("study", "score"), *table])
    settings = {"min_slices": 10, "studies_per_shard": 30, "limits": {"rejected_studies": 1.0}}
    run = prepare(scans.parent, scans, pack=settings, labels={"unmatched": "skip"}, split={"folds": 2})
    with pytest.raises(
        InputError, match="equal pixel by pixel"
    ):  # packed and sealed; only folds cannot be made of copies
        pack(run)
    return scans, run


def test_every_study_of_a_cohort_of_faults_ends_as_it_does_alone(everything, good):
    _, run = everything
    kept, rejected = packed(run), rows(run / "dataset" / "rejected.csv")
    for number, case in enumerate(POISONS):
        study = f"study {number:03d}"
        codes = {row["reason"] for row in rejected if row["study"] == study}
        assert set(kept[study]) <= set(good.slices), case.id
        if not case.settings:
            assert len(kept[study]) == case.used, case.id
            assert case.code in codes or (case.code is None and not codes), case.id
    for name in ODD_NAMES:
        assert kept[name] == good.slices, name


def test_every_file_of_a_cohort_of_faults_is_in_exactly_one_place(everything):
    scans, run = everything
    kept, rejected = packed(run), rows(run / "dataset" / "rejected.csv")
    assert set(Counter((row["study"], row["file"]) for row in rejected).values()) == {1}
    for study in scans.iterdir():
        if study.is_dir():
            entries = files.list_files(study)
            used = len(entries) - sum(row["study"] == study.name for row in rejected)
            enhanced = any(entry.name == b"./enhanced" for entry in entries)
            assert used == (min(len(kept[study.name]), 1) if enhanced else len(kept[study.name])), study.name
    assert {row["reason"] for row in rejected if row["study"] in UNLABELLED} == {"no_label"}
    assert [row["reason"] for row in rejected if row["study"] == ""] == ["outside_study"]


# what these tests use


def stored(path: Path) -> np.ndarray:
    """All stored values of a file, (N, H, W)."""
    found = images.read_images(path)
    return np.stack([pixels.read_stored(image, bytearray(image.header.num_bytes)).copy() for image in found])


def without_element(data: bytes, tag: int) -> bytes:
    """A file without one element of its explicit data set or group 2, taken out of the bytes."""
    key = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    at = data.index(key, 132 if tag >> 16 == 2 else data.index(b"\x08\0\x08\0CS"))
    long = data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
    head = 12 if long else 8
    return data[:at] + data[at + head + length :]
