"""Reading studies: real scans, and small series with one fault each."""

import shutil
from collections import Counter

import numpy as np
import pydicom
import pytest

from cac_hpc import dicom


def write(folder, num_slices=4, **attributes):
    """A small series whose slices are constant at 0, 10, 20 ... HU; returns the HU."""
    hu = np.full((num_slices, 8, 8), 0, dtype=np.int16) + 10 * np.arange(num_slices, dtype=np.int16)[:, None, None]
    dicom.write_series(
        folder,
        hu,
        pixel_spacing_mm=0.5,
        slice_spacing_mm=3.0,
        first_z_mm=-10.0,
        uid_entropy=[str(folder)],
        attributes=attributes,
    )
    return hu


def edit(path, **values):
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path)


def test_the_thorax_phantom_reads_as_47_ascending_slices(shared_data):
    series, refusals = dicom.read_study(shared_data / "qrm_phantom" / "study_001")
    assert series is not None
    assert series.hu_ZHW.shape == (47, 512, 512)
    assert series.hu_ZHW.min() == -2048  # outside the scan circle, no PixelPaddingValue
    assert (np.diff(series.position_mm) > 0).all()
    assert (series.slice_spacing_mm, series.pixel_spacing_mm) == (3.0, (0.488, 0.488))
    assert refusals == []


def test_the_philips_head_reads_as_28_slices_and_names_all_other_files(shared_data):
    series, refusals = dicom.read_study(shared_data / "philips_cd" / "S21570")
    assert series is not None
    assert (series.hu_ZHW.shape[0], series.slice_spacing_mm) == (28, 5.0)
    assert (np.diff(series.position_mm) > 0).all()
    assert {refusal.reason for refusal in refusals if refusal.file.startswith("S1000/I")} == {"localizer"}
    assert {refusal.reason for refusal in refusals if refusal.file.startswith("S4010/I")} == {"not_ct_image"}
    files = [path for path in (shared_data / "philips_cd" / "S21570").rglob("*") if path.is_file()]
    assert len(files) == 28 + len(refusals)


def test_a_gantry_tilt_is_not_axial(shared_data):
    series, refusals = dicom.read_study(shared_data / "philips_cd" / "S21610")
    assert series is None
    assert Counter(refusal.reason for refusal in refusals)["not_axial"] == 58


def test_one_slice_is_the_same_in_every_lossless_transfer_syntax(shared_data, tmp_path):
    folder = shared_data / "odd_ct" / "01_same_slice_all_transfer_syntaxes"
    found = {}
    for path in sorted(folder.glob("*.dcm")):
        study = tmp_path / path.stem
        study.mkdir()
        shutil.copy(path, study)
        series, refusals = dicom.read_study(study)
        found[path.stem] = series.hu_ZHW if series else refusals[0].detail
    retired = found.pop("CTImage__JPEGProcess10_12")
    assert "cannot_decode" in retired
    reference = found["CTImage__LittleEndianExplicit"]
    assert reference.max() == 1378
    for name, hu in found.items():
        np.testing.assert_array_equal(hu, reference, err_msg=name)


def test_slices_are_ordered_by_position_and_not_by_number(tmp_path):
    hu = write(tmp_path)
    for index, path in enumerate(sorted(tmp_path.iterdir())):
        edit(path, InstanceNumber=99 - index)
        path.rename(tmp_path / f"{99 - index}.dcm")
    series, _ = dicom.read_study(tmp_path)
    np.testing.assert_array_equal(series.hu_ZHW, hu)
    assert series.position_mm.tolist() == [-10.0, -7.0, -4.0, -1.0]


def test_each_slice_uses_its_own_slope_and_intercept(tmp_path):
    write(tmp_path)
    edit(tmp_path / "IM0002.dcm", RescaleSlope=2, RescaleIntercept=-2000)
    series, _ = dicom.read_study(tmp_path)
    assert series.hu_ZHW[:, 0, 0].tolist() == [0, 2 * (10 + 1024) - 2000, 20, 30]


def test_padding_becomes_air(tmp_path):
    write(tmp_path)
    ds = pydicom.dcmread(tmp_path / "IM0001.dcm")
    ds.add_new("PixelPaddingValue", "US", 1024)  # the stored value of 0 HU
    ds.save_as(tmp_path / "IM0001.dcm")
    series, _ = dicom.read_study(tmp_path)
    assert series.hu_ZHW[:2, 0, 0].tolist() == [dicom.AIR_HU, 10]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"RescaleSlope": None}, "no_rescale"),
        ({"ImagePositionPatient": None}, "no_geometry"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "no_geometry"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not_axial"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SamplesPerPixel": 3}, "not_grayscale"),
        ({"Rows": None}, "no_geometry"),
        ({"PixelSpacing": None}, "no_geometry"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "not_ct_image"),
        ({"SeriesInstanceUID": "1.2.3"}, "other_series"),
    ],
)
def test_a_file_outside_the_series_is_refused_with_its_reason(tmp_path, values, reason):
    write(tmp_path)
    edit(tmp_path / "IM0004.dcm", **values)
    series, refusals = dicom.read_study(tmp_path)
    assert len(series.hu_ZHW) == 3
    assert [(refusal.file, refusal.reason) for refusal in refusals] == [("IM0004.dcm", reason)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ImagePositionPatient": [0, 0, -10]}, "duplicate_position"),
        ({"RescaleSlope": 0}, "bad_rescale"),
        ({"RescaleSlope": 1000}, "hu_out_of_range"),
        ({"PixelData": b"\0\0"}, "cannot_decode"),
    ],
)
def test_a_series_with_a_slice_that_cannot_be_right_is_refused_whole(tmp_path, values, said):
    write(tmp_path)
    edit(tmp_path / "IM0004.dcm", **values)
    series, refusals = dicom.read_study(tmp_path)
    assert series is None
    assert {refusal.reason for refusal in refusals} == {"study_refused"}
    assert len(refusals) == 4
    assert said in refusals[0].detail


@pytest.mark.parametrize("value", [["3", "3"], "", None])
def test_facts_that_are_good_to_know_are_nan_where_the_header_is_odd(tmp_path, value):
    write(tmp_path, SliceThickness=3)
    for path in tmp_path.iterdir():
        edit(path, SliceThickness=value)
    series, refusals = dicom.read_study(tmp_path)
    assert np.isnan(series.slice_thickness_mm)
    assert refusals == []


def test_a_file_that_is_not_dicom_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.txt").write_text("read me", encoding="utf-8")
    series, refusals = dicom.read_study(tmp_path)
    assert len(series.hu_ZHW) == 4
    assert [(refusal.file, refusal.reason) for refusal in refusals] == [("notes.txt", "not_dicom")]


def test_written_series_are_ct_images_without_identity(tmp_path):
    write(tmp_path, PatientID="", PatientName="", KVP=120)
    ds = pydicom.dcmread(tmp_path / "IM0001.dcm")
    assert (ds.SOPClassUID.name, ds.RescaleIntercept, ds.KVP) == ("CT Image Storage", -1024, 120)
    assert pydicom.uid.UID(ds.SOPInstanceUID).is_valid
    assert not ds.PatientID
    assert not ds.PatientName
