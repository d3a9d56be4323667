"""Reading studies: real scans, and what becomes of the values of a small one."""

import os
import subprocess
from collections import Counter

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from cac_hpc.dataset import intake
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import Checks, PackConfig, SeriesRule
from cac_hpc.volumes import dicom, files, images, pixels
from cac_hpc.volumes.pixels import AIR_HU
from tests.support import chests, poison
from tests.support.poison import ALL, LAST, NUM_SLICES, SIZE, edit, on, read, slices_of, write_chest


def hu_of(path, frame=0):
    """A slice in HU, as it would be packed at its own size."""
    image = images.read_images(path)[frame]
    return pixels.pixels_to_hu(pixels.read_stored(image, bytearray(image.header.num_bytes)), image.header)


def volume(folder, **settings):
    """The packed slices of a study, (N, S, S), and the study."""
    slices = []
    study = intake.read_study(
        files.list_files(folder), PackConfig(**{"size": SIZE, **settings}), lambda hu, _: slices.append(hu.copy())
    )
    return (np.stack(slices) if study.facts else None), study


def end_of(path):
    """How a file by itself ends: read, or the code why it is not."""
    try:
        hu_of(path)
    except Refused as why:
        return why.reason
    return "read"


@pytest.fixture
def chest(tmp_path):
    write_chest(tmp_path / "study")
    return tmp_path / "study"


def test_the_thorax_phantom_reads_as_47_ascending_slices(shared_data):
    found = read(shared_data / "qrm_phantom" / "study_001", size=512)
    assert found.reasons == {}
    assert np.diff([position for position, _ in found.slices]).round(3).tolist() == [3.0] * 46
    facts = found.study.facts
    assert (facts["slices"], facts["rows"], facts["columns"], facts["slice_spacing_mm"]) == (47, 512, 512, 3.0)
    assert (facts["row_spacing_mm"], facts["kvp"], facts["kernel"], facts["warnings"]) == (0.488, 120, "FC12", "")


def test_what_lies_outside_the_scan_circle_is_air(shared_data):
    hu, _ = volume(shared_data / "qrm_phantom" / "study_001", size=512)
    assert (hu.min(), hu.max()) == (AIR_HU, 1275)  # stored -2048, and no PixelPaddingValue says so


def test_the_philips_head_reads_as_28_slices_and_names_all_other_files(shared_data):
    found = read(shared_data / "philips_cd" / "S21570", size=512)
    assert (len(found.slices), found.study.facts["slice_spacing_mm"]) == (28, 5.0)
    assert found.reasons.pop("S1000/I10") == "localizer"
    others = {name: code for name, code in found.reasons.items() if name != "S1000/I10"}
    assert set(others.values()) == {"not_ct_image"}  # dose and patient pages, index files
    assert all(name.startswith("S4010/") or name.endswith("DIRFILE") for name in others)
    assert found.study.num_files == 28 + len(found.reasons)


def test_a_gantry_tilt_is_refused_by_name_or_used_with_a_warning(shared_data):
    folder = shared_data / "philips_cd" / "S21610"
    assert Counter(read(folder, size=512).reasons.values())["gantry_tilt"] == 58
    found = read(folder, size=512, checks=Checks(gantry_tilt="warn"))
    assert (len(found.slices), found.study.facts["warnings"]) == (58, "gantry_tilt")


ODD_CT = {
    "01_same_slice_all_transfer_syntaxes/CTImage__BigEndianExplicit.dcm": "read",
    "01_same_slice_all_transfer_syntaxes/CTImage__JPEG2000LosslessOnly.dcm": "read",
    "01_same_slice_all_transfer_syntaxes/CTImage__JPEGLSLossless.dcm": "read",
    "01_same_slice_all_transfer_syntaxes/CTImage__JPEGProcess10_12.dcm": "unsupported_compression",
    "01_same_slice_all_transfer_syntaxes/CTImage__JPEGProcess14SV1.dcm": "read",
    "01_same_slice_all_transfer_syntaxes/CTImage__LittleEndianExplicit.dcm": "read",
    "01_same_slice_all_transfer_syntaxes/CTImage__LittleEndianImplicit.dcm": "read",
    "01_same_slice_all_transfer_syntaxes/CTImage__RLELossless.dcm": "read",
    "03_encapsulation/J2K_pixelrep_mismatch.dcm": "read",
    "03_encapsulation/JPEGLossless_bad.dcm": "impossible_values",  # decodes without an error
    "03_encapsulation/MAROTECH_CT_JP2Lossy.dcm": "localizer",
    "04_header/CT_small_128.dcm": "read",
    "04_header/TINY_ALPHA_IM000000_no_pixels": "bad_pixel_format",
    "04_header/explicit_VR-UN.dcm": "read",
    "04_header/meta_missing_tsyntax.dcm": "not_ct_image",
    "04_header/no_meta_no_preamble.dcm": "not_dicom",  # begins with a stray byte, see below
    "05_pixel_values/693_UNCR_14bit_pad-2000_min-3024.dcm": "read",
    "05_pixel_values/oblique_slope0.001_50x100.dcm": "no_rescale",  # RescaleType US: no HU
    "06_enhanced_multiframe/eCT_Supplemental.dcm": "no_rescale",  # RescaleType US: a map of blood flow
    "09_hostile/MR_truncated.dcm": "not_ct_image",
    "09_hostile/rtplan_truncated.dcm": "unreadable_header",
}


def test_every_odd_file_ends_as_documented(shared_data):
    folder = shared_data / "odd_ct"
    found = {str(path.relative_to(folder)): end_of(path) for path in folder.rglob("0*/*") if path.is_file()}
    assert found == ODD_CT


def test_one_slice_is_the_same_in_every_lossless_transfer_syntax(shared_data):
    folder = shared_data / "odd_ct" / "01_same_slice_all_transfer_syntaxes"
    reference = pydicom.dcmread(folder / "CTImage__LittleEndianExplicit.dcm")
    stored = reference.pixel_array
    expected = np.where(stored == -32768, AIR_HU, np.maximum(stored + int(reference.RescaleIntercept), AIR_HU))
    assert expected.max() == 1378
    names = [name for name, end in ODD_CT.items() if end == "read" and name.startswith(folder.name)]
    assert len(names) == 7
    for name in names:
        np.testing.assert_array_equal(hu_of(folder.parent / name), expected, err_msg=name)


@pytest.mark.parametrize("name", [name for name, end in ODD_CT.items() if end == "read"])
def test_an_odd_file_reads_as_pydicom_reads_it(name, shared_data):
    path = shared_data / "odd_ct" / name
    ds = pydicom.dcmread(path)
    stored = ds.pixel_array
    expected = stored.astype(float) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    if "PixelPaddingValue" in ds:
        expected[stored == np.uint16(ds.PixelPaddingValue & 0xFFFF).astype(stored.dtype)] = AIR_HU
    np.testing.assert_array_equal(hu_of(path), np.maximum(expected, AIR_HU))


def test_a_file_without_preamble_and_group_2_reads_like_the_whole_one(shared_data, tmp_path):
    folder = shared_data / "odd_ct" / "04_header"
    (tmp_path / "bare").write_bytes((folder / "no_meta_no_preamble.dcm").read_bytes()[1:])  # without the stray byte
    np.testing.assert_array_equal(hu_of(tmp_path / "bare"), hu_of(folder / "CT_small_128.dcm"))


def test_a_map_in_an_enhanced_ct_has_its_rescale_and_positions_in_functional_groups(shared_data, tmp_path):
    source = shared_data / "odd_ct" / "06_enhanced_multiframe" / "eCT_Supplemental.dcm"
    data = source.read_bytes().replace(b"\x28\0\x54\x10LO\x02\0US", b"\x28\0\x54\x10LO\x02\0HU")
    (tmp_path / "hu").write_bytes(data)
    found = images.read_images(tmp_path / "hu")
    assert [image.own.position for image in found] == [(99.5, -301.5, -159.0), (99.5, -301.5, -149.0)]
    assert [(image.header.slope, image.header.intercept) for image in found] == [(1, -1024)] * 2
    stored = pydicom.dcmread(source).pixel_array.astype(int)
    for frame in range(2):
        expected = np.maximum(stored[frame] - 1024, AIR_HU)
        np.testing.assert_array_equal(hu_of(tmp_path / "hu", frame), expected)


OWN = {
    "shared groups": [],
    "groups of every frame": ["PixelValueTransformationSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"],
}


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("syntax", [None, "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"])
def test_an_enhanced_ct_packs_as_its_slices_in_single_files(own, syntax, chest):
    single = read(chest)
    poison.write_enhanced(chest, OWN[own], syntax)
    found = read(chest)
    assert found.study.num_files == 1
    assert (found.slices, found.reasons) == (single.slices, {})
    assert found.study.facts == single.study.facts


def test_each_frame_of_an_enhanced_ct_has_its_own_slope_and_intercept(chest):
    poison.write_enhanced(chest, ["PixelValueTransformationSequence"])
    ds = pydicom.dcmread(chest / "enhanced")
    ds.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence[0].RescaleIntercept = -1000
    ds.save_as(chest / "enhanced")
    found = images.read_images(chest / "enhanced")
    assert [image.header.intercept for image in found] == [-1024, -1024, -1000, *[-1024] * 9]
    assert read(chest).codes == {"mixed_rescale"}


def test_slices_are_packed_in_the_order_of_their_positions(tmp_path):
    hu = write_chest(tmp_path / "study")
    poison.renumbered(range(99, 0, -1))(tmp_path / "study")
    poison.shuffled_names(tmp_path / "study")
    packed, _ = volume(tmp_path / "study")
    np.testing.assert_array_equal(packed, hu)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(("vr", "value"), [("US", 63536), ("SS", -2000)])
def test_padding_is_air_in_whichever_form_it_is_written(signed, vr, value, tmp_path):
    hu = write_chest(tmp_path / "study")
    for path in slices_of(tmp_path / "study"):
        stored = np.frombuffer(pydicom.dcmread(path).PixelData, "<u2").copy()
        stored[:5] = 63536  # the pattern of -2000
        edit(path, PixelData=stored.tobytes(), PixelPaddingValue=(vr, value), PixelRepresentation=int(signed))
    packed, _ = volume(tmp_path / "study")
    expected = hu.copy()
    expected[:, 0, :5] = AIR_HU
    np.testing.assert_array_equal(packed, expected)


def test_padding_can_be_a_range(tmp_path):
    hu = write_chest(tmp_path / "study")
    on(ALL, PixelPaddingValue=("US", 0), PixelPaddingRangeLimit=("US", 60))(tmp_path / "study")  # up to -964 HU
    packed, _ = volume(tmp_path / "study")
    np.testing.assert_array_equal(packed, np.where(hu <= -964, AIR_HU, hu))


def test_a_slope_and_an_intercept_that_are_no_integers_are_rounded_once(tmp_path):
    hu = write_chest(tmp_path / "study")
    on(ALL, RescaleSlope=0.5, RescaleIntercept=-511.75)(tmp_path / "study")
    packed, _ = volume(tmp_path / "study")
    np.testing.assert_array_equal(packed, np.rint((hu + 1024) * 0.5 - 511.75))


@pytest.mark.parametrize("value", [["3", "3"], "", None])
def test_facts_that_are_good_to_know_are_none_where_the_header_is_odd(value, chest):
    on(ALL, SliceThickness=value)(chest)
    found = read(chest)
    assert found.study.facts["slice_thickness_mm"] is None
    assert found.reasons == {}


def test_facts_are_numbers_and_codes_of_fixed_lists(chest):
    facts = read(chest).study.facts
    assert (facts["kernel"], facts["gating"], facts["phase_percent"]) == ("Qr36d", "PROSPECTIVE", 70)
    on(ALL, ConvolutionKernel="John Doe", CardiacSynchronizationTechnique="JANE DOE")(chest)
    facts = read(chest).study.facts
    assert (facts["kernel"], facts["gating"]) == ("other", None)


@pytest.mark.parametrize(
    ("setting", "make", "code"),
    [
        ("mixed_acquisition", on(LAST, KVP=100), "mixed_acquisition"),
        ("mixed_thickness", on(LAST, SliceThickness=2.5), "mixed_thickness"),
        ("uneven_spacing", poison.moved(LAST, z_mm=0.3), "uneven_spacing"),
        ("lossy_compression", on(ALL, LossyImageCompression="01"), "lossy_compression"),
    ],
)
def test_a_check_can_be_turned_into_a_warning(setting, make, code, chest):
    make(chest)
    assert read(chest).codes == {code}
    found = read(chest, checks=Checks(**{setting: "warn"}))
    assert (len(found.slices), found.study.facts["warnings"]) == (NUM_SLICES, code)


def test_without_air_or_tissue_a_study_is_no_chest(chest):
    on(ALL, RescaleIntercept=0)(chest)
    assert read(chest).codes == {"implausible_hu"}
    assert read(chest, checks=Checks(implausible_hu="warn")).study.facts["warnings"] == "implausible_hu"


def test_the_rule_chooses_the_series(chest):
    poison.other_series(15, ImageType=["DERIVED", "PRIMARY"], SeriesDescription="SMOOTH 3.0")(chest)
    chosen = {
        "original": SeriesRule(),
        "most slices": SeriesRule(prefer_original=False),
        "by name": SeriesRule(description="smooth"),
        "none": SeriesRule(description="lung"),
    }
    counts = {name: len(read(chest, series=rule).slices) for name, rule in chosen.items()}
    assert counts == {"original": NUM_SLICES, "most slices": 15, "by name": 15, "none": 0}


def test_slices_of_no_uid_are_of_the_series_of_their_folder_and_number(chest):
    poison.other_series(11)(chest)
    poison.no_uids(chest)
    for path in slices_of(chest / "other"):
        path.rename(chest / f"other-{path.name}")  # now only SeriesNumber tells them apart
    found = read(chest)
    assert Counter(found.reasons.values()) == {"other_series": 11}
    assert len(found.slices) == NUM_SLICES


def test_what_may_identify_is_known_so_that_it_can_be_kept_out(chest):
    assert read(chest).study.identity == {"20200102"}
    assert read(chest).study.private
    on(LAST, PatientName="Doe^Jane", PatientID="123456")(chest)
    assert {"Doe^Jane", "123456"} <= read(chest).study.identity


def test_a_study_that_is_given_up_keeps_the_reasons_that_its_files_had(chest):
    (chest / "link").symlink_to("/etc/hostname")
    study = intake.refuse_study(files.list_files(chest), "over_time", "no word for 600 s")
    assert Counter(refusal.reason for refusal in study.refusals) == {"over_time": NUM_SLICES, "symlink": 1}
    assert (study.num_files, study.facts) == (NUM_SLICES + 1, None)


def test_files_are_numbered_as_find_and_sort_list_them(tmp_path):
    for name in ("b/2", "b.c/1", "b-/1", "B/é", "a b/\n1", "%s", "b", ".hidden/x"):
        path = tmp_path / (name if name != "b" else "b0")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    (tmp_path / "link").symlink_to("b0")
    command = ["bash", "-c", "find . ! -type d -print0 | LC_ALL=C sort -z"]
    listed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout.split(b"\0")[:-1]
    assert [entry.name for entry in files.list_files(tmp_path)] == listed


def test_a_study_folder_that_is_a_link_is_read_and_its_files_are_the_real_ones(chest, tmp_path):
    (chest / "out").symlink_to("/etc/hostname")
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "link").symlink_to(chest)
    linked, own = (files.list_files(path) for path in (tmp_path / "cohort" / "link", chest))
    assert [(one.name, one.path, one.size) for one in linked] == [(one.name, one.path, one.size) for one in own]
    assert Counter(entry.refused and entry.refused.reason for entry in linked) == {None: NUM_SLICES, "symlink": 1}
    for name, target in (("all", tmp_path), ("self", "."), ("root", "/")):
        (tmp_path / "cohort" / name).symlink_to(target)
        (entry,) = files.list_files(tmp_path / "cohort" / name)
        assert str(entry.refused) == "symlink: the study folder is a link to a folder that it lies in"


def test_a_link_inside_the_study_is_followed_and_its_slice_is_a_copy(chest):
    (chest / "again").symlink_to("IM0003.dcm")
    assert read(chest).reasons == {"again": "duplicate"}


def test_opening_what_is_no_file_any_more_neither_waits_nor_reads(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert end_of(tmp_path / "pipe") == "not_a_file"
    assert end_of(tmp_path) == "not_a_file"
    assert end_of(tmp_path / "nowhere") == "unreadable_file"


def test_written_series_are_ct_images_without_identity(tmp_path):
    write_chest(tmp_path)
    ds = pydicom.dcmread(tmp_path / "IM0001.dcm")
    assert (ds.SOPClassUID.name, ds.RescaleIntercept, ds.KVP) == ("CT Image Storage", -1024, 120)
    assert pydicom.uid.UID(ds.SOPInstanceUID).is_valid
    assert not ds.PatientID
    assert not ds.PatientName


def test_what_pydicom_warns_about_is_not_logged(shared_data, caplog, recwarn):
    """Its warnings quote the values that they are about."""
    path = shared_data / "odd_ct" / "01_same_slice_all_transfer_syntaxes" / "CTImage__BigEndianExplicit.dcm"
    hu_of(path)
    hu_of(path.with_name("CTImage__RLELossless.dcm"))
    assert (caplog.records, list(recwarn)) == ([], [])


# phases of an enhanced CT


def write_phases(folder, keyword, values, together):
    """Write phases of a series as enhanced CT, told apart by one value in the functional groups of each frame."""
    group = "FrameContentSequence" if keyword == "TemporalPositionIndex" else "CardiacSynchronizationSequence"
    frames, pixels = [], []
    for number, value in enumerate(values):
        write_chest(folder / str(number))
        for path in slices_of(folder / str(number)):
            edit(path, NominalPercentageOfCardiacPhase=None, TriggerTime=None)
        poison.write_enhanced(folder / str(number))
        ds = pydicom.dcmread(folder / str(number) / "enhanced")
        for frame in ds.PerFrameFunctionalGroupsSequence:
            item = pydicom.Dataset()
            setattr(item, keyword, value)
            setattr(frame, group, pydicom.Sequence([item]))
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") + np.uint16(number)).tobytes()
        ds.save_as(folder / str(number) / "enhanced")
        frames += list(ds.PerFrameFunctionalGroupsSequence)
        pixels.append(ds.PixelData)
    if together:
        ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = pydicom.Sequence(frames), len(frames)
        ds.PixelData = b"".join(pixels)
        for number in range(len(values)):
            (folder / str(number) / "enhanced").unlink()
        ds.save_as(folder / "all")


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("NominalPercentageOfCardiacPhase", [70.0, 40.0, 50.0]),
        ("NominalCardiacTriggerDelayTime", [400.0, 300.0]),
        ("ActualCardiacTriggerDelayTime", [300.0, 400.0]),
        ("TemporalPositionIndex", [1, 2, 3]),
    ],
)
def test_of_the_phases_of_an_enhanced_ct_the_lowest_is_taken(keyword, values, together, tmp_path):
    write_phases(tmp_path / "study", keyword, values, together)
    found = read(tmp_path / "study")
    write_chest(tmp_path / "single")
    lowest = values.index(min(values))
    single = volume(tmp_path / "single")[0] + lowest
    packed, _ = volume(tmp_path / "study")
    np.testing.assert_array_equal(packed[:, SIZE // 3 :], single[:, SIZE // 3 :])  # above, padding is air
    assert found.codes == (set() if together else {"other_phase"})
    assert len(found.slices) == NUM_SLICES


# what no scanner makes, and what readers say


def test_equal_pixels_at_two_positions_are_refused_by_name(chest):
    ds = pydicom.dcmread(slices_of(chest)[3])
    edit(slices_of(chest)[9], PixelData=ds.PixelData)
    assert read(chest).codes == {"repeated_pixels", "study_refused"}
    found = read(chest, checks=Checks(repeated_pixels="warn"))
    assert (len(found.slices), found.study.facts["warnings"]) == (NUM_SLICES, "repeated_pixels")


def test_slices_of_padding_alone_may_be_equal(chest):
    for index in (0, 1, 11):
        edit(slices_of(chest)[index], PixelData=bytes(2 * SIZE * SIZE))  # the padding is 0
    assert (len(read(chest).slices), read(chest).codes) == (NUM_SLICES, set())


def test_an_error_of_a_parser_is_not_called_one_of_the_disk(chest, monkeypatch):
    poison.in_syntax(poison.BIG_ENDIAN)(chest)

    def fails(*_):
        raise OSError("not a number of the operating system")

    monkeypatch.setattr(dicom, "read_slices", fails)
    assert read(chest).codes == {"unreadable_header"}


def test_an_error_of_a_decoder_is_not_called_one_of_the_disk(chest, monkeypatch):
    poison.compressed("1.2.840.10008.1.2.5")(chest)

    def fails(*_):
        raise OSError("broken data stream")

    monkeypatch.setattr(dicom, "decode", fails)
    assert "cannot_decode" in read(chest).codes


def test_gating_and_phase_are_read_where_the_scanner_says_them(chest):
    on(ALL, CardiacSynchronizationTechnique=None, NominalPercentageOfCardiacPhase=None, ScanOptions="TP70PC")(chest)
    facts = read(chest).study.facts
    assert (facts["gating"], facts["phase_percent"]) == ("GATED", 70)


@pytest.mark.parametrize(
    "said",
    [
        {"RescaleType": "HU_MOD"},
        {"RescaleType": "ED"},
        {"RescaleType": "Z_EFF"},
        {"RescaleType": None, "MultienergyCTAcquisition": "YES"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"]},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "ELECTRON_DENSITY"]},
        {"SeriesDescription": "CaSc VNC 3.0"},
        {"SeriesDescription": "Calcium Suppression Index 60"},
        {"SeriesDescription": "DE_VNC_MUELLER_HANS_19500101"},
        {"SeriesDescription": "Water(Iodine)"},
        {"SeriesDescription": "GSI VUE"},
    ],
    ids=str,
)
def test_an_image_of_something_else_than_plain_hounsfield_units_is_refused_as_such(said, chest):
    on(ALL, **said)(chest)
    assert read(chest).codes == {"not_hu"}
    assert "MUELLER" not in str(read(chest).study.refusals)


@pytest.mark.parametrize("name", ["Calcium Suppression Off CaSc", "CaSc 3.0 Virtuoso", "RHOMBUS", "WATERFALL"])
def test_a_name_that_only_sounds_like_an_image_of_a_material_is_none(name, chest):
    on(ALL, SeriesDescription=name)(chest)
    assert read(chest).codes == set()


@pytest.mark.parametrize(
    "said",
    [{"RescaleType": "HU_MOD"}, {"RescaleSlope": None}, {"ImageOrientationPatient": [1, 0.0015, 0, 0, 1, 0]}],
    ids=str,
)
def test_a_slice_inside_that_is_lost_is_the_reason_not_the_gap_that_it_leaves(said, chest):
    on(slice(5, 6), **said)(chest)
    found = read(chest)
    assert found.reasons["IM0006.dcm"] in ("not_hu", "no_rescale", "no_geometry")
    assert found.codes == {found.reasons["IM0006.dcm"], "study_refused"}


def test_a_series_of_modified_units_beside_the_plain_one_is_left_out(chest):
    poison.other_series(15, RescaleType="HU_MOD")(chest)
    found = read(chest)
    assert (len(found.slices), found.codes) == (NUM_SLICES, {"not_hu"})


@pytest.mark.parametrize(
    "said", [{"HighBit": 14}, {"BurnedInAnnotation": "YES"}, {"PhotometricInterpretation": "MONOCHROME1"}], ids=str
)
def test_a_study_that_loses_its_last_slice_is_used_with_a_warning(said, chest):
    on(LAST, **said)(chest)
    found = read(chest)
    assert (len(found.slices), found.study.facts["warnings"]) == (NUM_SLICES - 1, "incomplete_acquisition")
    strict = read(chest, checks=Checks(incomplete_acquisition="refuse"))
    assert (strict.slices, "incomplete_acquisition" in strict.codes) == ([], True)


# contrast agent that only the blood tells of


def with_bright_blood(hu_ZHW, added_hu):
    """The same chest with contrast agent in the heart."""
    heart = chests.chest(200, num_slices=36).heart & ~chests.chest(200, num_slices=36).fat
    return hu_ZHW + np.int16(added_hu) * ndimage.binary_erosion(heart, iterations=3).astype(np.int16)


def test_a_series_whose_blood_is_bright_is_left_out_though_its_header_is_silent(tmp_path):
    hu_ZHW = chests.chest(200, num_slices=36).hu_ZHW
    chests.write_study(tmp_path / "study" / "plain", hu_ZHW[1:], SeriesNumber=3, SeriesInstanceUID="1.2.3")
    chests.write_study(tmp_path / "study" / "bright", with_bright_blood(hu_ZHW, 300), SeriesInstanceUID="1.2.4")
    for path in (tmp_path / "study").rglob("*.dcm"):
        edit(path, StudyInstanceUID="1.2")
    found = intake.read_chest(files.list_files(tmp_path / "study"), PackConfig())
    assert len(found.hu_ZHW) == 35
    assert {refusal.reason for refusal in found.study.refusals} == {"contrast_agent"}
    assert "blood in the heart measures" in found.study.refusals[0].detail
    assert found.heart.blood_hu == pytest.approx(42, abs=15)


def test_a_study_of_bright_blood_alone_is_refused_or_used_with_a_warning(tmp_path):
    hu_ZHW = with_bright_blood(chests.chest(200, num_slices=36).hu_ZHW, 120)
    chests.write_study(tmp_path / "study", hu_ZHW)
    entries = files.list_files(tmp_path / "study")
    assert {refusal.reason for refusal in intake.read_chest(entries, PackConfig()).study.refusals} == {"contrast_agent"}
    found = intake.read_chest(entries, PackConfig(checks=Checks(contrast_agent="warn")))
    assert (len(found.hu_ZHW), found.study.facts["warnings"]) == (36, "contrast_agent")
