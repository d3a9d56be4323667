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
from cac_hpc.run.config import Checks, InputError, PackConfig, SeriesRule
from cac_hpc.run.reasons import Refused
from cac_hpc.volumes import dicom, files, images
from tests import poison
from tests.poison import (
    ALL,
    FIRST,
    LAST,
    MIDDLE,
    Poison,
    Reading,
    add,
    another,
    both,
    moved,
    on,
    other_series,
    packed,
    raw,
    read,
    rows,
    swap,
    text,
    tilted,
    without,
    write_chest,
)
from tests.runs import pack, prepare

RLE, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"
MPEG = "1.2.840.10008.1.2.4.100"
POSITION = b"\x20\0\x32\0DS"

POISONS = [
    Poison("D1", "slope missing", on(LAST, RescaleSlope=None), "no_rescale", 0),
    Poison("D1", "slope missing in the middle", on(MIDDLE, RescaleSlope=None), "no_rescale", 0),
    Poison("D1", "slope missing everywhere", on(ALL, RescaleSlope=None), "no_rescale", 0),
    Poison("D1", "slope empty", on(LAST, RescaleSlope=""), "no_rescale", 0),
    Poison("D1", "slope zero", on(LAST, RescaleSlope=0), "no_rescale", 0),
    Poison("D1", "slope not a number", text(LAST, "RescaleSlope", "nan"), "no_rescale", 0),
    Poison("D1", "slope infinite", text(LAST, "RescaleSlope", "1e999"), "no_rescale", 0),
    Poison("D1", "slope with a comma", text(LAST, "RescaleSlope", "1,0"), "no_rescale", 0),
    Poison("D1", "intercept missing", on(LAST, RescaleIntercept=None), "no_rescale", 0),
    Poison("D1", "not in Hounsfield units", on(LAST, RescaleType="US"), "no_rescale", 0),
    Poison("D1", "one slice with another intercept", on(MIDDLE, RescaleIntercept=-1000), "mixed_rescale", 0),
    Poison("D1", "one slice with another slope", on(LAST, RescaleSlope=2), "mixed_rescale", 0),
    Poison("D1", "intercept forgotten everywhere", on(ALL, RescaleIntercept=0), "implausible_hu", 0),
    Poison("D1", "slope a thousand times too large", on(ALL, RescaleSlope=1000), "impossible_values", 0),
    Poison("D2", "numbers run down", poison.renumbered(range(99, 0, -1)), None, 12),
    Poison("D2", "numbers repeat", poison.renumbered([1] * 12), None, 12),
    Poison("D2", "no numbers", on(ALL, InstanceNumber=None, SliceLocation=None), None, 12),
    Poison("D2", "files named in no order", poison.shuffled_names, None, 12),
    Poison("D3", "position missing", on(LAST, ImagePositionPatient=None), "no_geometry", 0),
    Poison("D3", "position short", text(LAST, "ImagePositionPatient", "1\\2"), "no_geometry", 0),
    Poison("D3", "position not a number", text(LAST, "ImagePositionPatient", "1\\2\\nan"), "no_geometry", 0),
    Poison("D3", "position beyond the moon", text(LAST, "ImagePositionPatient", "1\\2\\4e8"), "no_geometry", 0),
    Poison("D3", "orientation missing", on(LAST, ImageOrientationPatient=None), "no_geometry", 0),
    Poison("D3", "orientation short", text(LAST, "ImageOrientationPatient", "1\\0\\0"), "no_geometry", 0),
    Poison("D3", "orientation too long", on(LAST, ImageOrientationPatient=[2, 0, 0, 0, 1, 0]), "no_geometry", 0),
    Poison("D3", "orientation not upright", on(LAST, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "no_geometry", 0),
    Poison("D3", "spacing missing", on(LAST, PixelSpacing=None), "no_geometry", 0),
    Poison("D3", "spacing zero", on(LAST, PixelSpacing=[0, 0]), "no_geometry", 0),
    Poison("D3", "spacing of kilometres", on(ALL, PixelSpacing=["1e308", "1e308"]), "no_geometry", 0),
    Poison("D3", "no rows", on(LAST, Rows=0), "no_geometry", 0),
    Poison("D4", "localizer", another("scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer", 12),
    Poison("D4", "dose report", another("dose", SOPClassUID=poison.DOSE_REPORT, PixelData=None), "not_ct_image", 12),
    Poison("D4", "secondary capture", another("page", SOPClassUID=poison.SECONDARY_CAPTURE), "not_ct_image", 12),
    Poison("D4", "colour page that says CT", poison.colour_page, "bad_pixel_format", 12),
    Poison("D4", "smaller series", other_series(11), "other_series", 12),
    Poison("D4", "larger derived series", other_series(20, ImageType=["DERIVED", "SECONDARY"]), "other_series", 12),
    Poison("D4", "thin series with more slices", other_series(20, SliceThickness=0.6), "other_series", 12),
    Poison("D4", "series of a few slices", other_series(3, ImageType=["DERIVED", "SECONDARY"]), "too_few_slices", 12),
    Poison("D4", "larger coronal series", poison.coronal(30), "not_axial", 12),
    Poison("D4", "another series asked for", other_series(11, SeriesDescription="thin"), "other_series", 12,
           {"series": SeriesRule(description="^casc")}),
    Poison("D4", "no UIDs", poison.no_uids, None, 12),
    Poison("D4", "no UIDs, two series in two folders", both(other_series(11), poison.no_uids), "other_series", 12),
    Poison("D4", "invalid UIDs", on(ALL, SeriesInstanceUID="no.uid..at all"), None, 12),
    Poison("D4", "names of blanks, quotes, percent, line breaks", poison.hostile_names, None, 12),
    Poison("D5", "copy of a file", another("copy"), "duplicate", 12),
    Poison("D5", "copy of all files", poison.all_twice, "duplicate", 12),
    Poison("D5", "copy under another UID", another("copy", SOPInstanceUID="1.2.3"), "duplicate", 12),
    Poison("D5", "another slice at the same place", poison.other_pixels, "conflicting_duplicates", 0),
    Poison("D5", "another slice, forgiven", poison.other_pixels, "conflicting_duplicates", 12,
           {"checks": Checks(conflicting_duplicates="warn")}),
    Poison("D6", "a slice missing", without(5), "missing_slices", 0),
    Poison("D6", "every other slice missing", without(1, 3, 5, 7, 9, 11), "missing_slices", 0, {"min_slices": 5}),
    Poison("D6", "missing, forgiven", without(5), None, 11, {"checks": Checks(missing_slices="warn")}),
    Poison("D6", "a slice too high", moved(MIDDLE, z_mm=0.2), "uneven_spacing", 0),
    Poison("D6", "a slice too far left", moved(MIDDLE, x_mm=0.2), "uneven_spacing", 0),
    Poison("D7", "tilt of 0.2 degrees", tilted(0.2), "gantry_tilt", 0),
    Poison("D7", "tilt of 5 degrees", tilted(5), "gantry_tilt", 0),
    Poison("D7", "tilt of 20 degrees", tilted(20), "gantry_tilt", 0),
    Poison("D7", "tilt beside an upright series", both(tilted(20), other_series(11)), "other_series", 11),
    Poison("D7", "oblique reformat", poison.oblique, "not_axial", 0),
    Poison("D8", "two phases", poison.phases("NominalPercentageOfCardiacPhase", [70, 75]), "other_phase", 12),
    Poison("D8", "two trigger times", poison.phases("TriggerTime", [560, 600]), "other_phase", 12),
    Poison("D8", "two acquisitions", poison.phases("AcquisitionNumber", [2, 10]), "other_phase", 12),
    Poison("D8", "two phases that look the same", poison.phases("KVP", [120, 120]), "conflicting_duplicates", 0),
    Poison("D8", "one slice of another phase", on(MIDDLE, NominalPercentageOfCardiacPhase=40), "mixed_acquisition", 0),
    Poison("D8", "two slabs that overlap", poison.slabs, "conflicting_duplicates", 0),
    Poison("D9", "one slice", without(*range(11)), "too_few_slices", 0),
    Poison("D9", "five slices", without(*range(7)), "too_few_slices", 0),
    Poison("D9", "too many slices", another("x"), "too_many_slices", 0, {"max_slices": 11}),
    Poison("D9", "an empty folder", without(*range(12)), None, 0),
    Poison("D10", "a syntax that nothing decodes", poison.named_syntax(MPEG), "unsupported_compression", 0),
    Poison("D10", "a syntax that does not exist", poison.named_syntax("1.2.3.4", LAST), "unsupported_compression", 0),
    Poison("D10", "RLE", poison.compressed(RLE), None, 12),
    Poison("D10", "JPEG 2000", poison.compressed(JPEG_2000), None, 12),
    Poison("D10", "big endian", poison.in_syntax(poison.BIG_ENDIAN), None, 12),
    Poison("D10", "deflated", poison.in_syntax(poison.DEFLATED), None, 12),
    Poison("D10", "implicit", poison.in_syntax(poison.IMPLICIT), None, 12),
    Poison("D10", "several syntaxes in one series", poison.mixed_syntaxes, None, 12),
    Poison("D11", "8 bit", on(LAST, BitsAllocated=8, BitsStored=8, HighBit=7), "bad_pixel_format", 11),
    Poison("D11", "compressed with loss", on(ALL, LossyImageCompression="01"), "lossy_compression", 0),
    Poison("D11", "JPEG 2000 that may be lossy", poison.said_lossy, "lossy_compression", 0),
    Poison("D11", "an 8-bit codestream", poison.eight_bit_codestream, "bad_pixel_format", 0),
    Poison("D12", "padding in one slice only", on(MIDDLE, PixelPaddingValue=None), "mixed_acquisition", 0),
    Poison("D12", "padding of 40 HU", on(ALL, PixelPaddingValue=1064), "padding_in_tissue", 0),
    Poison("D12", "padding of 40 HU in one slice", on(MIDDLE, PixelPaddingValue=1064), "mixed_acquisition", 0),
    Poison("D12", "padding from air to tissue", on(ALL, PixelPaddingRangeLimit=("US", 1064)), "padding_in_tissue", 0),
    Poison("D12", "padding that no pixel has", on(ALL, PixelPaddingValue=5000), None, 12),
    Poison("D13", "too few bits stored", on(ALL, BitsStored=10, HighBit=9), "impossible_values", 0),
    Poison("D13", "too few bits, compressed", poison.few_bits_compressed, "impossible_values", 0),
    Poison("D13", "other bits in one slice", on(MIDDLE, BitsStored=12, HighBit=11), "mixed_acquisition", 0),
    Poison("D13", "high bit elsewhere", on(LAST, HighBit=14), "bad_pixel_format", 11),
    Poison("D13", "another sign in one slice", on(MIDDLE, PixelRepresentation=1), "mixed_acquisition", 0),
    Poison("D13", "32 bits", on(LAST, BitsAllocated=32, BitsStored=32, HighBit=31), "bad_pixel_format", 11),
    Poison("D14", "pixels cut short", raw(LAST, lambda data: data[:-1]), "wrong_length", 0),
    Poison("D14", "header cut short", raw(LAST, lambda data: data[:700]), "unreadable_header", 11),
    Poison("D14", "pixels in excess", on(LAST, PixelData=bytes(2 * 32 * 32 + 2)), "wrong_length", 0),
    Poison("D14", "rows halved", on(LAST, Rows=16), "wrong_length", 0),
    Poison("D14", "a second frame", on(LAST, NumberOfFrames=2, PixelData=bytes(4 * 32 * 32)), "bad_pixel_format", 11),
    Poison("D14", "no pixels", on(LAST, PixelData=None), "wrong_length", 0),
    Poison("D14", "compressed pixels cut short", poison.codestream_cut_short, "wrong_length", 0),
    Poison("D14", "pixels all zero", poison.zeroed, "impossible_values", 0),
    Poison("D15", "a VR that does not exist", swap(LAST, POSITION, b"\x20\0\x32\0Q?"), "unreadable_header", 11),
    Poison("D15", "elements out of order", swap(LAST, b"\x28\0\x10\0US", b"\x08\0\x10\0US"), "unreadable_header", 11),
    Poison("D15", "a length beyond the file", swap(LAST, b"DS\x12\0", b"DS\xfe\xff"), "unreadable_header", 11),
    Poison("D16", "another series UID in the middle", on(MIDDLE, SeriesInstanceUID="1.2.3"), "missing_slices", 0),
    Poison("D16", "another series UID at the end", on(LAST, SeriesInstanceUID="1.2.3"), "mixed_acquisition", 0),
    Poison("D16", "another spacing at the end", on(LAST, PixelSpacing=[0.5, 0.6]), "mixed_acquisition", 0),
    Poison("D16", "another kVp", on(MIDDLE, KVP=100), "mixed_acquisition", 0),
    Poison("D16", "another kernel", on(MIDDLE, ConvolutionKernel="Br64"), "mixed_acquisition", 0),
    Poison("D16", "another field of view", on(MIDDLE, ReconstructionDiameter=17), "mixed_acquisition", 0),
    Poison("D16", "another thickness", on(MIDDLE, SliceThickness=2.5), "mixed_thickness", 0),
    Poison("D17", "deflated bomb", poison.deflated_bomb, "too_large", 12),
    Poison("D17", "bomb of rows and columns", on(LAST, Rows=65535, Columns=65535), "too_large", 11),
    Poison("D17", "bomb of frames", poison.enhanced_with(NumberOfFrames=2**31 - 1), "unreadable_header", 0),
    Poison("D17", "JPEG 2000 bomb", poison.jpeg2000_bomb, "wrong_length", 0),
    Poison("D17", "RLE bomb", poison.rle_bomb, "wrong_length", 0),
    Poison("D18", "sequences 20 deep", poison.sequences(20), None, 12),
    Poison("D18", "sequences 50 deep", poison.sequences(50), "unreadable_header", 11),
    Poison("D18", "sequences 5000 deep", poison.sequences(5000), "unreadable_header", 11),
    Poison("D18", "sequences 5000 deep, big endian", poison.sequences_big_endian(5000), "unreadable_header", 11),
    Poison("D20", "links", poison.links, "symlink", 12),
    Poison("D20", "pipe and socket", poison.pipe_and_socket, "not_a_file", 12),
    Poison("D20", "folders without end", poison.endless_folders, "unreadable_file", 12),
    Poison("D20", "directory of a CD", poison.dicomdir, "not_ct_image", 12),
    Poison("D20", "archive with a name that leads out", poison.zip_file, "not_dicom", 12),
    Poison("D21", "text", add("notes.txt", b"Read me: " + b"text " * 100), "not_dicom", 12),
    Poison("D21", "nothing", add("empty", b""), "not_dicom", 12),
    Poison("D21", "picture", add("photo.jpg", poison.JPEG), "not_dicom", 12),
    Poison("D21", "preamble and no more", add("short", bytes(128) + b"DICM"), "not_dicom", 12),
    Poison("D21", "zeros", add("zeros", bytes(5000)), "not_dicom", 12),
    Poison("D22", "text in the image", another("page", BurnedInAnnotation="YES"), "burned_in", 12),
    Poison("D28", "enhanced CT", poison.write_enhanced, None, 12),
    Poison("D28", "enhanced CT of two series", poison.enhanced_of_two, "mixed_acquisition", 0, {"min_slices": 2}),
    Poison("D28", "enhanced CT without its end", poison.enhanced_cut_short, "wrong_length", 0),
    Poison("D28", "enhanced CT beside its single files", poison.enhanced_too, "duplicate", 12),
    Poison("D29", "unknown character set", on(ALL, SpecificCharacterSet="KLINGON", PatientName="a^b"), None, 12),
    Poison("D29", "text that is no text", swap(ALL, b"Maker ", b"\xff\xfe\x1b$B!"), None, 12),
    Poison("D29", "every VR unknown", poison.all_unknown, None, 12),
    Poison("D30", "thick slices", on(ALL, SliceThickness=10), "other_series", 0),
    Poison("D33", "a program in the preamble", raw(ALL, lambda data: b"MZ" + data[2:]), None, 12),
]  # fmt: skip


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
    monkeypatch.setattr(dicom, "_plugin", lambda syntax: None)
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
    return np.stack([images.read_stored(image, bytearray(image.header.num_bytes)).copy() for image in found])


def without_element(data: bytes, tag: int) -> bytes:
    """A file without one element of its explicit data set or group 2, taken out of the bytes."""
    key = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    at = data.index(key, 132 if tag >> 16 == 2 else data.index(b"\x08\0\x08\0CS"))
    long = data[at + 4 : at + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
    head = 12 if long else 8
    return data[:at] + data[at + head + length :]
