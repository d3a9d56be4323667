"""Studies that are one NIfTI or NRRD file: into the patient frame exactly, HU as stored, or refused by name."""

import math

import nibabel
import numpy as np
import pytest

from cac_hpc.dataset import intake
from cac_hpc.settings.pack import Checks, PackConfig, SeriesRule
from cac_hpc.volumes import files
from tests.support import volume_files
from tests.support.poison import write_chest
from tests.support.volume_files import ORDERS, small, stored, write_nrrd

HU = small()


def read(path, wanted="auto", **settings):
    """The study, its slices (Z, H, W) and their positions."""
    kept = []
    cfg = PackConfig(min_slices=10, baseline=False, candidates=False, size=64, **settings)
    study = intake.read_slices(files.list_files(path, wanted), cfg, lambda hu_HW, mm: kept.append((hu_HW.copy(), mm)))
    return study, np.array([hu_HW for hu_HW, _ in kept]), [mm for _, mm in kept]


def refusals(study):
    return [(one.file, one.reason, one.detail) for one in study.refusals]


def refused(study):
    """The one reason and detail, as the study has no other file."""
    assert study.facts is None
    ((_, reason, detail),) = refusals(study)
    return f"{reason}: {detail}"


def check_same(found):
    study, hu_ZHW, positions_mm = found
    assert refusals(study) == []
    assert (hu_ZHW == HU).all()
    assert positions_mm == pytest.approx([100.5 + 3 * number for number in range(len(HU))])
    assert study.spacing_mm == volume_files.SPACING_MM
    assert study.placement.first_mm == pytest.approx(volume_files.FIRST_MM)
    assert np.array(study.placement.steps_mm) == pytest.approx(np.diag(volume_files.SPACING_MM)[:, ::-1])


@pytest.mark.parametrize(("axes", "back"), ORDERS)
def test_a_nifti_volume_in_any_order_comes_into_the_patient_frame(tmp_path, axes, back):
    check_same(read(volume_files.nifti(tmp_path / "001.nii", stored(HU, (axes, back)))))


@pytest.mark.parametrize("order", ORDERS[5::7])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior"])
def test_a_nrrd_volume_in_any_order_comes_into_the_patient_frame(tmp_path, order, space):
    check_same(read(write_nrrd(tmp_path / "001.nrrd", stored(HU, order), space)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.NII.GZ", "a.nrrd", "a.nhdr"])
def test_a_folder_with_one_volume_is_a_study(tmp_path, name):
    write = write_nrrd if "n" in name[3:4] or name.endswith(("nrrd", "nhdr")) else volume_files.nifti
    write(tmp_path / "007" / name.lower(), stored(HU)).rename(tmp_path / "007" / name)
    check_same(read(tmp_path / "007"))


def test_what_the_header_cannot_say_is_unknown_and_said(tmp_path):
    facts = read(volume_files.nifti(tmp_path / "1.nii.gz", stored(HU)))[0].facts
    unknown = ("slice_thickness_mm", "kvp", "energy_kev", "phase_percent", "kernel", "gating")
    assert {name: facts[name] for name in unknown} == dict.fromkeys(unknown)
    assert (facts["energy_class"], facts["kernel_class"]) == ("unknown", "unknown")
    assert facts["warnings"] == "unknown_acquisition"
    assert (facts["slices"], facts["rows"], facts["columns"], facts["slice_spacing_mm"]) == (12, 36, 40, 3)


def test_an_unknown_unit_is_taken_for_mm_and_said_and_others_are_refused(tmp_path):
    silent = [
        volume_files.nifti(tmp_path / "1.nii", stored(HU), xyzt_units=0),
        write_nrrd(tmp_path / "2.nrrd", stored(HU), **{"space units": None}),
    ]
    for path in silent:
        assert read(path)[0].facts["warnings"] == "unknown_acquisition unknown_unit"
    metres = volume_files.nifti(tmp_path / "3.nii", stored(HU), xyzt_units=1)
    assert refused(read(metres)[0]).startswith("bad_volume: its unit of length has code 1")
    metres = write_nrrd(tmp_path / "4.nrrd", stored(HU), **{"space units": ["m", "m", "m"]})
    assert refused(read(metres)[0]).startswith("bad_volume: found space ")


def rotation(degrees):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def test_a_volume_that_leans_a_little_is_read_and_more_is_refused_as_of_dicom(tmp_path):
    little = volume_files.nifti(tmp_path / "1.nii", stored(HU, turned=rotation(4)))
    study, hu_ZHW, positions_mm = read(little)
    assert (hu_ZHW == HU).all()
    assert np.diff(positions_mm) == pytest.approx(3, abs=2e-4)
    assert study.spacing_mm == volume_files.SPACING_MM
    for path in (tmp_path / "2.nii", tmp_path / "3.nrrd"):
        write = volume_files.nifti if path.suffix == ".nii" else write_nrrd
        found = read(write(path, stored(HU, turned=rotation(9))))
        assert refused(found[0]) == "not_axial: the slice normal leans 9.0 degrees off the body axis"


@pytest.mark.parametrize("write", [volume_files.nifti, write_nrrd])
def test_a_sheared_volume_is_refused(tmp_path, write):
    ending = "nii" if write is volume_files.nifti else "nrrd"
    tilted = np.eye(3) + 0.2 * np.eye(3)[[1]].T @ np.eye(3)[[2]]  # slices shifted to the back as they go up
    path = write(tmp_path / f"1.{ending}", stored(HU, turned=tilted))
    assert refused(read(path)[0]).startswith("gantry_tilt: slices are stacked 11.3 degrees off")
    warned, hu_ZHW, _ = read(path, checks=Checks(gantry_tilt="warn"))
    assert warned.facts["warnings"] == "gantry_tilt unknown_acquisition"
    assert (hu_ZHW == HU).all()
    skewed = np.eye(3) + 0.2 * np.eye(3)[[0]].T @ np.eye(3)[[1]]
    path = write(tmp_path / f"2.{ending}", stored(HU, turned=skewed))
    assert refused(read(path)[0]) == "no_geometry: rows and columns are 78.7 degrees apart, wanted 90"


def test_the_rules_of_series_hold(tmp_path):
    path = volume_files.nifti(tmp_path / "1.nii", stored(HU, spacing_mm=(1.25, 0.7, 0.7)))
    said = "SliceThickness is not said, slices are apart by 1.25 mm, pack.series.thickness_mm wants 2 to 5"
    assert refused(read(path)[0]) == f"other_series: {said}"
    assert read(path, series=SeriesRule(thickness_mm=(1, 5)))[0].facts["slices"] == 12
    few = volume_files.nifti(tmp_path / "2.nii", stored(HU[:8]))
    assert refused(read(few)[0]).startswith("too_few_slices: a series of 8 positions")
    many = volume_files.nifti(tmp_path / "3.nii", stored(HU))
    assert refused(read(many, max_slices=11)[0]).startswith("too_many_slices: 12 slices")
    twice = HU.copy()
    twice[3] = twice[8]
    again = volume_files.nifti(tmp_path / "4.nii", stored(twice))
    assert refused(read(again)[0]) == "repeated_pixels: at 109.50 mm and 124.50 mm"
    blank = HU.copy()
    blank[5] = -1024
    assert refused(read(volume_files.nifti(tmp_path / "5.nii", stored(blank)))[0]).startswith(
        "impossible_values: every"
    )


def test_slope_and_intercept_are_applied_and_floats_are_whole_hu(tmp_path):
    shifted = stored((HU.astype(np.int32) + 1024).astype(np.uint16))
    check_same(read(volume_files.nifti(tmp_path / "1.nii", shifted, scl_slope=1, scl_inter=-1024)))
    for kind in (np.float32, np.float64, np.int32):
        check_same(read(volume_files.nifti(tmp_path / "2.nii", stored(HU.astype(kind)))))
        study = read(write_nrrd(tmp_path / "2.nrrd", stored(HU.astype(kind))))[0]
        assert study.facts["warnings"] == "unknown_acquisition"
    halves = volume_files.nifti(tmp_path / "3.nii", stored(HU + 0.3))
    study, hu_ZHW, _ = read(halves)
    assert study.facts["warnings"] == "unknown_acquisition rounded_hu"
    assert (hu_ZHW == HU).all()


def test_values_below_those_of_a_scanner_are_air_as_of_dicom(tmp_path):
    low = HU.copy()
    low[:, :2] = -3024
    assert (read(volume_files.nifti(tmp_path / "1.nii", stored(low)))[1][:, :2] == -1024).all()


@pytest.mark.parametrize(
    ("change", "warning", "said"),
    [
        (lambda hu: hu + 1024, "nothing_below_0", "no value is below 0, where air is -1000 HU"),
        (lambda hu: np.clip((hu + 1000) / 4000, 0, 1).astype(np.float32), "normalised", "all values are from -1 to 1"),
        (lambda hu: np.clip((hu + 160) / 400 * 255, 0, 255).astype(np.uint8), "eight_bits", "a voxel has 8 bits"),
    ],
)
def test_values_that_are_no_hu_are_implausible_and_what_they_look_like_is_said(tmp_path, change, warning, said):
    for path in (tmp_path / "1.nii", tmp_path / "1.nrrd"):
        write = volume_files.nifti if path.suffix == ".nii" else write_nrrd
        values = change(HU.astype(np.int16) if warning != "normalised" else HU.astype(float))
        write(path, stored(values + np.random.default_rng(0).integers(0, 2, values.shape).astype(values.dtype)
                           if warning == "eight_bits" else values))  # fmt: skip
        assert refused(read(path)[0]).split(":")[0] in ("implausible_hu", "impossible_values")
        assert said in refused(read(path)[0])
        if warning == "normalised":  # nothing is left of it in whole HU
            continue
        lenient = read(path, checks=Checks(implausible_hu="warn", repeated_pixels="warn"))[0]
        assert warning in lenient.facts["warnings"].split()


def test_values_that_cannot_be_hu_are_refused(tmp_path):
    for change, said in (
        (lambda hu: np.where(hu > 60, np.nan, hu), "voxels that are no numbers"),
        (lambda hu: hu * 1000.0, "wanted HU of 16 bits"),
        (lambda hu: np.where(hu > 60, np.inf, hu), "wanted HU of 16 bits"),
        (lambda hu: np.where(hu > 20, 4000, hu), "of the pixels are above 3071 HU"),
    ):
        path = volume_files.nifti(tmp_path / "1.nii", stored(change(HU.astype(np.float64))))
        text = refused(read(path)[0])
        assert text.startswith("impossible_values: ")
        assert said in text


def test_one_volume_of_four_axes_is_read_and_several_are_refused(tmp_path):
    made = stored(HU)
    for count in (1, 3):
        several = np.repeat(made.values_ABC[..., None], count, axis=3)
        volume = volume_files.Stored(several, made.first_mm, made.steps_mm)
        nifti = volume_files.nifti(tmp_path / f"{count}.nii.gz", volume)
        directions = np.vstack([made.steps_mm, np.full((1, 3), np.nan)])
        kinds = ["space"] * 3 + ["list"]
        nrrd = write_nrrd(tmp_path / f"{count}.nrrd", volume, **{"space directions": directions, "kinds": kinds})
        if count == 1:
            check_same(read(nifti))
            check_same(read(nrrd))
        else:
            assert refused(read(nifti)[0]).startswith("bad_volume: found 4 axes of 40 x 36 x 12 x 3, wanted one volume")
            assert refused(read(nrrd)[0]) == "bad_volume: found 3 volumes in it, wanted one"


def test_colours_are_refused(tmp_path):
    colours = np.zeros((40, 36, 12), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.diag([-0.8, -0.7, 3, 1])), tmp_path / "1.nii")
    assert refused(read(tmp_path / "1.nii")[0]).startswith("bad_volume: found datatype 128")


def test_a_volume_whose_header_contradicts_itself_is_refused(tmp_path):
    path = volume_files.nifti(tmp_path / "1.nii", stored(HU), pixdim=[1, 0.8, 0.7, 2.5, 0, 0, 0, 0], qform_code=0)
    said = "pixdim says 0.8 x 0.7 x 2.5 mm, its axes 0.8 x 0.7 x 3 mm, wanted the same spacings"
    assert refused(read(path)[0]) == f"bad_volume: {said}"
    path = volume_files.nifti(tmp_path / "2.nii", stored(HU), qoffset_x=3)
    assert refused(read(path)[0]).startswith("bad_volume: sform and qform state positions up to ")
    path = volume_files.nifti(tmp_path / "3.nii", stored(HU))
    path.write_bytes(path.read_bytes()[:252] + bytes(4) + path.read_bytes()[256:])  # qform_code, sform_code
    assert refused(read(path)[0]).startswith("bad_volume: states no position")


def test_several_volumes_are_refused_and_pack_series_description_names_the_one(tmp_path):
    for name in ("ct.nii.gz", "parts/heart.nii.gz", "parts/lung.nii.gz"):
        volume_files.nifti(tmp_path / "s1" / name, stored(HU))
    study = read(tmp_path / "s1")[0]
    assert refusals(study) == [(number, "several_volumes", "found 3 volumes, wanted one") for number in (1, 2, 3)]
    study, hu_ZHW, _ = read(tmp_path / "s1", series=SeriesRule(description=r"^ct\."))
    assert (hu_ZHW == HU).all()
    other = ("other_series", "its name does not match pack.series.description")
    assert refusals(study) == [(2, *other), (3, *other)]
    study = read(tmp_path / "s1", series=SeriesRule(description="mr"))[0]
    assert {(reason, detail) for _, reason, detail in refusals(study)} == {other}


def test_a_study_of_both_formats_is_refused_until_data_format_says_which(tmp_path):
    write_chest(tmp_path / "both")
    volume_files.nifti(tmp_path / "both" / "mask.nii.gz", stored(HU))
    study = read(tmp_path / "both")[0]
    assert study.facts is None
    said = "found a NIfTI or NRRD file and DICOM slices, data.format is auto"
    assert set(refusals(study)) == {(number, "several_formats", said) for number in range(1, study.num_files + 1)}
    study, hu_ZHW, _ = read(tmp_path / "both", "nifti")
    assert (hu_ZHW == HU).all()
    assert {reason for _, reason, _ in refusals(study)} == {"other_format"}
    study = read(tmp_path / "both", "dicom")[0]
    assert study.facts["kvp"] == 120
    assert [(reason, detail) for _, reason, detail in refusals(study)] == [("other_format", "data.format is dicom")]


def test_other_files_of_a_study_have_a_reason_and_masks_of_slicer_are_no_volumes(tmp_path):
    volume_files.nifti(tmp_path / "1" / "ct.nii", stored(HU))
    (tmp_path / "1" / "ct.json").write_text("{}", encoding="utf-8")
    write_nrrd(tmp_path / "1" / "heart.seg.nrrd", stored((HU > 0).astype(np.uint8)))
    volume_files.nifti(tmp_path / "1" / "._ct.nii", stored(HU))  # of macOS
    study, hu_ZHW, _ = read(tmp_path / "1")
    assert (hu_ZHW == HU).all()
    said = ("not_volume", "the study is a volume in another file")
    assert refusals(study) == [(1, *said), (2, *said), (4, *said)]


def test_voxels_beside_their_header_are_read_from_within_the_study_only(tmp_path):
    write_nrrd(tmp_path / "1" / "ct.nhdr", stored(HU), encoding="raw")
    assert sorted(path.suffix for path in (tmp_path / "1").iterdir()) == [".nhdr", ".raw"]
    for wanted in ("auto", "nrrd"):
        check_same(read(tmp_path / "1", wanted))
    header = (tmp_path / "1" / "ct.nhdr").read_text(encoding="utf-8")
    (tmp_path / "1" / "ct.raw").rename(tmp_path / "ct.raw")
    elsewhere = "bad_volume: its voxels are in another file, which is not in the study"
    assert refused(read(tmp_path / "1")[0]) == elsewhere
    (tmp_path / "1" / "ct.raw").symlink_to(tmp_path / "ct.raw")
    assert refusals(read(tmp_path / "1")[0])[0][1:] == tuple(elsewhere.split(": "))
    (tmp_path / "1" / "ct.raw").unlink()
    (tmp_path / "1" / "ct.raw").write_bytes(b"short")
    said = "bad_volume: its voxels: found only 5 bytes of voxels, wanted the 34560 that its header promises"
    assert [f"{reason}: {detail}" for _, reason, detail in refusals(read(tmp_path / "1")[0])] == [said, said]
    (tmp_path / "1" / "ct.raw").unlink()
    for name in ("../ct.raw", str(tmp_path / "ct.raw"), "LIST", "ct%d.raw 1 3 1"):
        (tmp_path / "1" / "ct.nhdr").write_text(header.replace("ct.raw", name), encoding="utf-8")
        assert refused(read(tmp_path / "1")[0]).startswith("bad_volume: ")


def test_a_study_in_one_file_may_be_a_link_to_it(tmp_path):
    volume_files.nifti(tmp_path / "elsewhere" / "scan.nii", stored(HU))
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "1.nii").symlink_to(tmp_path / "elsewhere" / "scan.nii")
    assert list(files.studies_in(tmp_path / "studies")) == ["1"]
    np.testing.assert_array_equal(read(tmp_path / "studies" / "1.nii")[1], read(tmp_path / "elsewhere" / "scan.nii")[1])
    (tmp_path / "studies" / "2.nii").symlink_to(tmp_path / "nowhere.nii")
    assert files.studies_in(tmp_path / "studies").keys() == {"1", "2"}
    study, slices = read(tmp_path / "studies" / "2.nii")[:2]
    assert (study.facts, len(slices), len(study.refusals)) == (None, 0, 1)


def test_texts_of_a_header_are_identity_and_are_in_no_reason(tmp_path):
    name = "DOE_JANE_19410203"
    nifti = volume_files.nifti(tmp_path / "1.nii", stored(HU), descrip=name, aux_file="A" + name, db_name="1234567")
    assert read(nifti)[0].identity == {name, "A" + name, "1234567"}
    found = read(write_nrrd(tmp_path / "2.nrrd", stored(HU), PatientName=name, content="CT of " + name))[0]
    assert found.identity == {"PatientName", name, "content", "CT of " + name}
    plain = write_nrrd(tmp_path / "3.nrrd", stored(HU)).read_bytes()
    wrong = plain.index(b"\n\n")
    lines = plain[:wrong].decode().split("\n")
    for number in range(1, len(lines)):
        field = lines[number].partition(":")[0]
        damaged = "\n".join([*lines[:number], f"{field}: {name}", *lines[number + 1 :]]).encode()
        (tmp_path / "3.nrrd").write_bytes(damaged + plain[wrong:])
        study = read(tmp_path / "3.nrrd")[0]
        assert all(name not in detail and "3.nrrd" not in detail for _, _, detail in refusals(study))
