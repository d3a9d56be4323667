"""Predictions as DICOM objects: what they say, where they say it is, and that others read the same."""

import dataclasses
import datetime
import importlib.util
import logging
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import Collection, codes

from cac_hpc.calcium import agatston
from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.dataset import intake
from cac_hpc.predict import bundle_files, dicom_finding, dicom_source, study_prediction
from cac_hpc.predict.study_prediction import StudyTask
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.predict_command import arguments, parse_predict
from cac_hpc.volumes import files, structured_reports
from cac_hpc.volumes.frame import AS_STORED
from tests.support import bundles, npz_study, poison
from tests.support.chests import write_study
from tests.support.poison import edit
from tests.support.slurm import unavailable
from tests.support.turning import NAMES as TURN_NAMES
from tests.support.turning import TURNS, write_turned

pytest.importorskip("highdicom", reason="no highdicom here: pip install cac_hpc[dicom]")
from highdicom import seg, sr

from cac_hpc.predict import dicom_out

FACTOR, SPACING_MM = 0.0008, (3.0, 1.6, 0.8)  # mg per mm3 and HU; slices, rows, columns
LESIONS = {  # the candidates of the study: slices, rows, columns and HU of boxes of voxels
    "large": (slice(3, 6), slice(8, 12), slice(20, 24), 450),
    "faint": (slice(7, 8), slice(20, 22), slice(5, 8), 150),
    "ignored": (slice(7, 9), slice(2, 5), slice(30, 33), 300),
}
COUNTED = np.array([True, True, False])
PATIENT = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Kästner^Änne", "PatientID": "CANARY-7",
           "PatientBirthDate": "19480229", "PatientSex": "F", "AccessionNumber": "A-12", "StudyID": "S1",
           "StudyTime": "101112", "ContentDate": "20200102", "ContentTime": "101500", "ReferringPhysicianName": "Doc",
           "PatientAge": "071Y", "StationName": "CT1"}  # fmt: skip


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A study whose slices are neither square nor of square pixels, as it is stored in each of the eight ways."""
    root = tmp_path_factory.mktemp("studies")
    hu_ZHW = np.random.default_rng(3).normal(30, 5, (12, 32, 36)).astype(np.int16)
    hu_ZHW[:, :, :4] = -900
    for z, y, x, hu in LESIONS.values():
        hu_ZHW[z, y, x] = hu
    write_study(root / "plain", hu_ZHW, **PATIENT)
    for path in (root / "plain").iterdir():
        edit(path, PixelSpacing=[1.6, 0.8])
    for turn in TURNS:
        write_turned(root / "plain", root / f"turned {TURN_NAMES[turn]}", turn)
    for number, path in enumerate(sorted((root / "turned TRC").iterdir())):
        path.rename(path.with_name(f"{5 * number % 12:02d}"))  # in no order
    return {turn: root / f"turned {TURN_NAMES[turn]}" for turn in TURNS}


def found_in(hu_ZHW):
    """The candidates, measured here."""
    voxels = [np.argwhere(hu_ZHW == hu) for *_, hu in LESIONS.values()]
    features = np.zeros((3, len(NAMES)), np.float32)
    features[:, NAMES.index("max_hu")] = features[:, NAMES.index("mean_hu")] = [hu for *_, hu in LESIONS.values()]
    return Candidates(
        feature_CF=features,
        candidate_L=np.array([0, 1, 2], np.int32),
        slice_L=np.array([3, 7, 7], np.int32),
        agatston_L=np.array([100.5, 7.25, 33.0], np.float32),
        voxel_V3=np.concatenate(voxels).astype(np.int16),
        start_C1=np.cumsum([0, *map(len, voxels)]),
    )


def read(study):
    """Its source, and its volume in the patient frame."""
    entries, slices = files.list_files(study), []
    cfg = PackConfig(size=16, crop="none")
    found = intake.read_slices(entries, cfg, lambda hu_HW, _: slices.append(hu_HW.copy()))
    assert found.facts is not None, found.refusals
    return dicom_source.source_of(entries, found), np.stack(slices)


def finding(hu_ZHW, **values):
    said = {"category": 3, "names": LabelsConfig.names, "edges": LabelsConfig.edges, "version": "0.1.0"}
    said |= {"model": "0123456789abcdef", "score": 107.75, "found": found_in(hu_ZHW), "counted_C": COUNTED}
    return dicom_finding.Finding(**(said | values))


def write(study, out, **values):
    source, hu_ZHW = read(study)
    dicom_out.write(out, source, finding(hu_ZHW, **values))
    return out


@pytest.fixture(scope="module")
def written(studies, tmp_path_factory):
    """The objects of each of the eight studies."""
    root = tmp_path_factory.mktemp("written")
    return {turn: write(study, root / f"of {TURN_NAMES[turn]}", mass_factor=FACTOR) for turn, study in studies.items()}


def truth():
    """Of each lesion that counts where its voxels are in the patient, in mm, worked out from how the study is made."""
    left, back = -0.8 * (36 - 1) / 2, -0.8 * (32 - 1) / 2  # as write_series centres pixels of 0.8 mm
    places = {}
    for name in ("large", "faint"):
        z, y, x = (range(part.start, part.stop) for part in LESIONS[name][:3])
        places[name] = {
            (round(left + 0.8 * column, 2), round(back + 1.6 * row, 2), round(-60 + 3.0 * level, 2))
            for level in z for row in y for column in x
        }  # fmt: skip
    return list(places.values())


def places(path):
    """Of each segment where its voxels are in the patient, in mm, by the header alone."""
    ds = pydicom.dcmread(path)
    shared, found = ds.SharedFunctionalGroupsSequence[0], {}
    masks = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    for mask, group in zip(masks, ds.PerFrameFunctionalGroupsSequence, strict=True):
        row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        segment = (group if "SegmentIdentificationSequence" in group else shared).SegmentIdentificationSequence[0]
        for y, x in np.argwhere(mask):
            place = corner + row * column_mm * x + column * row_mm * y
            found.setdefault(segment.ReferencedSegmentNumber, set()).add(tuple(place.round(2).tolist()))
    return [found[number] for number in sorted(found)]


def verified(*command):
    """What a program of dicom3tools says; none of it is an error."""
    if shutil.which(command[0]) is None:
        unavailable(f"no {command[0]} for this test: install dicom3tools")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace")
    assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: TURN_NAMES[turn] or "none")
def test_the_segments_are_where_the_lesions_are_however_slices_are_stored(turn, written):
    assert places(written[turn] / "segmentation.dcm") == truth()


@pytest.mark.parametrize("name", ["report.dcm", "segmentation.dcm"])
def test_a_validator_finds_no_error(name, written):
    for folder in written.values():
        said = verified("dciodvfy", folder / name)
        assert "Comprehensive3DSR" in said or "Segmentation" in said


def test_the_objects_belong_to_the_study_that_they_are_of(written, studies):
    for turn, folder in written.items():
        verified("dcentvfy", *folder.iterdir(), *studies[turn].iterdir())


def test_a_report_without_dates_patient_and_lesions_is_valid_too(studies, tmp_path):
    shutil.copytree(studies[AS_STORED], tmp_path / "study")
    unknown = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyTime",
               "ContentDate", "ContentTime", "ReferringPhysicianName", "StudyDate", "SliceThickness"]  # fmt: skip
    for path in (tmp_path / "study").iterdir():
        edit(path, **dict.fromkeys(unknown))
    out = write(tmp_path / "study", tmp_path / "out", score=0.0, category=0, counted_C=np.zeros(3, bool))
    assert [path.name for path in out.iterdir()] == ["report.dcm"]
    verified("dciodvfy", out / "report.dcm")
    assert pydicom.dcmread(out / "report.dcm").ContentDate == "19000101"


NAMED = {  # character set of the source, and a patient's name
    "none": (None, "Smith^Ann"),
    "Latin": ("ISO_IR 100", "Kästner^Änne"),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "UTF-8": ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
}


@pytest.mark.parametrize("script", NAMED)
def test_names_are_kept_in_every_script(script, studies, tmp_path):
    shutil.copytree(studies[AS_STORED], tmp_path / "study")
    charset, name = NAMED[script]
    for path in (tmp_path / "study").iterdir():
        edit(path, SpecificCharacterSet=charset, PatientName=name)
    names = ("null", "mäßig", "高い")
    out = write(tmp_path / "study", tmp_path / "out", names=names, edges=(0, 100), category=2)
    for path in out.iterdir():
        assert str(pydicom.dcmread(path).PatientName) == name
        verified("dciodvfy", path)
    (group,) = sr.srread(out / "report.dcm").content.get_image_measurement_groups()
    assert group.get_qualitative_evaluations(dicom_out.CODES["severity"])[0].value.meaning == "高い"


def test_the_spacing_of_slices_is_that_of_their_positions_whatever_a_header_says(studies, tmp_path):
    shutil.copytree(studies[AS_STORED], tmp_path / "study")
    for path in (tmp_path / "study").iterdir():
        edit(path, SpacingBetweenSlices=7.5, SliceThickness=None)
    out = write(tmp_path / "study", tmp_path / "out")
    shared = pydicom.dcmread(out / "segmentation.dcm").SharedFunctionalGroupsSequence[0]
    assert (shared.PixelMeasuresSequence[0].SpacingBetweenSlices, shared.PixelMeasuresSequence[0].SliceThickness) == (
        3,
        3,
    )
    assert places(out / "segmentation.dcm") == truth()
    verified("dciodvfy", out / "segmentation.dcm")


def test_a_single_lesion_on_a_single_slice_is_where_it_is(studies, tmp_path):
    out = write(studies[TURNS[5]], tmp_path, score=7.25, category=1, counted_C=np.array([False, True, False]))
    assert places(out / "segmentation.dcm") == truth()[1:]
    assert pydicom.dcmread(out / "segmentation.dcm").SegmentSequence[0].SegmentLabel == "Lesion 2"
    for path in out.iterdir():
        verified("dciodvfy", path)


def numbers(group):
    return {item.name.meaning: (float(item.value), item.unit.value) for item in group.get_measurements()}


def test_the_report_says_the_scores_and_which_lesion_has_which(written):
    content = sr.srread(written[AS_STORED] / "report.dcm").content
    (study,) = content.get_image_measurement_groups()
    voxel_mm3 = 3.0 * 1.6 * 0.8
    mass_mg = FACTOR * voxel_mm3 * (48 * 450 + 6 * 150)
    assert numbers(study) == {
        "Coronary artery calcium score": (107.75, "1"),
        "Number of calcifications": (2, "1"),
        "Calcium Volume": (pytest.approx(54 * voxel_mm3), "mm3"),
        "Calcium Mass": (pytest.approx(mass_mg, abs=1e-4), "mg"),
    }
    (category,) = study.get_qualitative_evaluations(dicom_out.CODES["severity"])
    assert (category.value.scheme_designator, category.value.meaning) == ("99CACHPC", LabelsConfig.names[3])
    large, faint = content.get_volumetric_roi_measurement_groups()
    assert numbers(large)["Calcium score"] == (100.5, "1")
    assert numbers(large)["Maximum Attenuation Coefficient"] == (450, "[hnsf'U]")
    assert numbers(faint)["Calcium Volume"] == (pytest.approx(6 * voxel_mm3), "mm3")
    segmentation = pydicom.dcmread(written[AS_STORED] / "segmentation.dcm")
    for group, segment in zip((large, faint), segmentation.SegmentSequence, strict=True):
        found = group.referenced_segment
        assert found.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert found.referenced_segment_numbers == [segment.SegmentNumber]
        assert (group.tracking_uid, group.tracking_identifier) == (segment.TrackingUID, segment.TrackingID)


def test_our_own_report_is_known_and_its_lesions_are_no_second_score(written):
    found = structured_reports.read(written[AS_STORED] / "report.dcm")
    assert (found.score, found.own) == (107.75, True)


def test_highdicom_puts_the_segments_onto_the_images(written, studies):
    for turn, folder in written.items():
        images = [pydicom.dcmread(path) for path in sorted(studies[turn].iterdir())]
        read_again = seg.segread(folder / "segmentation.dcm").get_pixels_by_source_instance(
            [image.SOPInstanceUID for image in images], combine_segments=True, assert_missing_frames_are_empty=True
        )
        hu_ZHW = np.stack([image.pixel_array.astype(int) + int(image.RescaleIntercept) for image in images])
        np.testing.assert_array_equal(read_again, np.where(hu_ZHW == 450, 1, np.where(hu_ZHW == 150, 2, 0)))


def test_both_objects_take_over_the_patient_and_refer_to_every_image(written, studies):
    images = {pydicom.dcmread(path).SOPInstanceUID for path in studies[AS_STORED].iterdir()}
    first = pydicom.dcmread(next(studies[AS_STORED].iterdir()))
    segmentation, report = (pydicom.dcmread(written[AS_STORED] / name) for name in ("segmentation.dcm", "report.dcm"))
    for ds in (segmentation, report):
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate", "PatientAge"):
            assert ds[keyword].value == first[keyword].value
        assert (ds.ContentDate, ds.ContentTime) == (first.ContentDate, first.ContentTime)
        assert (ds.Manufacturer, ds.SoftwareVersions) == ("cac_hpc", "0.1.0")
    assert str(report.PatientName) == "Kästner^Änne"
    assert segmentation.FrameOfReferenceUID == first.FrameOfReferenceUID
    listed = segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    named = {item.ReferencedSOPInstanceUID for item in listed}
    assert named == images
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence}
    assert named == images | {segmentation.SOPInstanceUID}


def test_the_same_study_gives_the_same_bytes_on_another_day_and_another_finding_other_uids(studies, written, tmp_path):
    again = write(studies[AS_STORED], tmp_path / "again", mass_factor=FACTOR)
    other = write(studies[AS_STORED], tmp_path / "other", mass_factor=FACTOR, score=107.5)
    for name in ("report.dcm", "segmentation.dcm"):
        made = (again / name).read_bytes()
        assert made == (written[AS_STORED] / name).read_bytes()
        assert datetime.date.today().strftime("%Y%m%d").encode() not in made
        uids = {pydicom.dcmread(folder / name).SOPInstanceUID for folder in (again, other)}
        assert len(uids) == 2


def test_a_slice_network_reports_its_category_alone(studies, tmp_path):
    notes = ["slice_thickness_mm: trained on 2.5 to 3, this study has 5"]
    write(studies[AS_STORED], tmp_path, score=None, found=None, counted_C=None, notes=notes)
    (group,) = sr.srread(tmp_path / "report.dcm").content.get_image_measurement_groups()
    assert group.get_measurements() == []
    assert group.get_qualitative_evaluations(dicom_out.CODES["severity"])[0].value.value == "CATEGORY-3"
    comments = [item.TextValue for item in group[0].ContentSequence if item.name == codes.DCM.Comment]
    assert comments == [dicom_out.RESEARCH, *notes]


def test_every_code_is_in_the_dictionary_of_pydicom():
    known = {
        (code.value, code.scheme_designator, code.meaning)
        for scheme in ("DCM", "SCT", "UCUM")
        for code in (getattr(getattr(codes, scheme), name) for name in getattr(codes, scheme).dir())
    }
    said = {(code.value, code.scheme_designator, code.meaning) for code in dicom_out.CODES.values()}
    assert said - known == {("mg", "UCUM", "milligram")}
    methods = Collection("CID6140")
    assert dicom_out.CODES["by_agatston"] in [getattr(methods, name) for name in methods.dir()]


SOURCES = {  # what is made of the first file, and what is said
    "of another frame of reference": ({"FrameOfReferenceUID": "1.2.3"}, "2 values of FrameOfReferenceUID"),
    "without a frame of reference": ({"FrameOfReferenceUID": None}, "no valid FrameOfReferenceUID"),
    "without a study": ({"StudyInstanceUID": None}, "no valid StudyInstanceUID"),
    "with a UID that is none": ({"SOPInstanceUID": "CANARY-7"}, "no valid SOPInstanceUID"),
    "with a sex that is none": ({"PatientSex": "CANARY"}, "not as DICOM has it"),
    "with a date that is none": ({"StudyDate": "CANARY"}, "not as DICOM has it"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what the test writes
@pytest.mark.parametrize("kind", SOURCES)
def test_images_that_cannot_be_referred_to_are_refused_without_a_name(kind, studies, tmp_path, caplog, recwarn):
    source, hu_ZHW = read(studies[AS_STORED])
    copies = [Path(shutil.copy(path, tmp_path / path.name)) for path in source.files]
    values, said = SOURCES[kind]
    edit(copies[0], **values, PatientName="CANARY")
    caplog.set_level(logging.DEBUG)
    recwarn.clear()
    caplog.clear()
    with pytest.raises(InputError, match=said) as refused:
        dicom_out.write(tmp_path / "out", dataclasses.replace(source, files=copies), finding(hu_ZHW))
    told = f"{refused.value} {caplog.text} {[str(one.message) for one in recwarn]}"
    assert "CANARY" not in told
    assert str(tmp_path) not in told
    assert not (tmp_path / "out").exists()


def enhanced(folder, own=()):
    """Put the slices of a study into one enhanced CT, in no order."""
    paths = sorted(folder.iterdir())
    for path in paths:
        path.rename(path.with_name(f"x{path.name}"))
    for number, path in enumerate(paths):
        path.with_name(f"x{path.name}").rename(paths[5 * number % len(paths)])
    poison.write_enhanced(folder, own)
    return folder


@pytest.mark.parametrize("own", [[], ["PlaneOrientationSequence", "PixelMeasuresSequence"]], ids=["shared", "own"])
def test_of_an_enhanced_ct_the_segments_are_where_the_lesions_are(own, studies, written, tmp_path):
    for number in (0, 5):
        study = enhanced(shutil.copytree(studies[TURNS[number]], tmp_path / f"study {number}"), own)
        out = write(study, tmp_path / f"out {number}", mass_factor=FACTOR)
        assert places(out / "segmentation.dcm") == truth()
        for path in out.iterdir():
            verified("dciodvfy", path)
        verified("dcentvfy", *out.iterdir(), *study.iterdir())
    (image,) = map(pydicom.dcmread, study.iterdir())
    of_frames = seg.segread(out / "segmentation.dcm").get_pixels_by_source_frame(
        image.SOPInstanceUID, range(1, 13), combine_segments=True, assert_missing_frames_are_empty=True
    )
    hu_ZHW = image.pixel_array.astype(int) - 1024
    np.testing.assert_array_equal(of_frames, np.where(hu_ZHW == 450, 1, np.where(hu_ZHW == 150, 2, 0)))
    (group,) = sr.srread(out / "report.dcm").content.get_image_measurement_groups()
    (single,) = sr.srread(written[TURNS[5]] / "report.dcm").content.get_image_measurement_groups()
    assert numbers(group) == numbers(single)
    (referred,) = (item for item in group[0].ContentSequence if item.ValueType == "IMAGE")
    assert list(referred.ReferencedSOPSequence[0].ReferencedFrameNumber) == list(range(1, 13))


def test_an_enhanced_ct_in_pieces_and_a_study_of_no_dicom_files_are_refused(studies, tmp_path):
    study = shutil.copytree(studies[AS_STORED], tmp_path / "study")
    source, hu_ZHW = read(study)
    poison.write_enhanced(study)
    pieces = [study / "enhanced", shutil.copy(study / "enhanced", tmp_path / "again")] * 6
    with pytest.raises(InputError, match="found an enhanced CT in 2 files, wanted one file for the whole series"):
        dicom_out.write(tmp_path / "out", dataclasses.replace(source, files=pieces), finding(hu_ZHW))
    edit(study / "enhanced", SharedFunctionalGroupsSequence=None)
    with pytest.raises(InputError, match="not as DICOM has it"):
        dicom_out.write(tmp_path / "out", dataclasses.replace(source, files=pieces[:1] * 12), finding(hu_ZHW))
    npz_study.write_study(tmp_path / "npz", np.zeros((12, 32, 36), np.int16), SPACING_MM)
    entries = files.list_files(tmp_path / "npz")
    npz = intake.read_slices(entries, PackConfig(), lambda hu_HW, _: None)
    with pytest.raises(InputError, match="of no DICOM files"):
        dicom_source.source_of(entries, npz)


def test_the_candidates_that_a_study_really_has_are_taken(studies):
    """What `candidates` finds has the form that the tests here invent."""
    hull = agatston.bright(read(studies[AS_STORED])[1], np.ones((12, 32, 36), bool), 130)
    assert len(hull) == len(found_in(read(studies[AS_STORED])[1]).voxel_V3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "model.zip"
    bundle_files.write(bundles.lesions(), path)
    return path


@pytest.fixture(scope="module")
def chests(tmp_path_factory):
    """A study with one lesion that counts, and one whose images cannot be referred to."""
    root = bundles.write_chests(tmp_path_factory.mktemp("chests"), "bc")
    for path in (root / "b").iterdir():
        edit(path, PatientName="CANARY^Ann")
    for path in (root / "c").iterdir():
        edit(path, FrameOfReferenceUID=None)
    return root


def predicted(study, chests, model, out):
    listing = files.digest(files.list_files(chests / study))
    also = pickle.loads(pickle.dumps(dicom_out.Writer(FACTOR)))
    task = StudyTask(
        study, chests / study, listing, model, bundle_files.read(model).digest, out / "studies" / study, also=also
    )
    return study_prediction.predict_study(task, lambda said: None)


def test_a_prediction_is_written_beside_its_other_results(chests, model, tmp_path):
    row = predicted("b", chests, model, tmp_path)["row"]
    made = tmp_path / "dicom" / "b"
    assert sorted(path.name for path in made.iterdir()) == ["report.dcm", "segmentation.dcm"]
    naming = {path for path in tmp_path.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()}
    assert naming == {*made.iterdir()}
    content = sr.srread(made / "report.dcm").content
    (study,) = content.get_image_measurement_groups()
    assert numbers(study)["Coronary artery calcium score"] == (row["score"], "1") == (128, "1")
    (lesion,) = content.get_volumetric_roi_measurement_groups()
    rows = [one for one in predicted("b", chests, model, tmp_path)["lesions"] if one["counted"]]
    assert lesion.tracking_identifier == f"Lesion {rows[0]['candidate']}"
    assert numbers(lesion)["Calcium Mass"][0] == pytest.approx(FACTOR * 500 * 50 * 3 * 0.8 * 0.8)
    assert len(places(made / "segmentation.dcm")[0]) == 50
    verified("dciodvfy", made / "report.dcm")


def test_a_study_that_cannot_be_referred_to_is_predicted_all_the_same_and_says_so(chests, model, tmp_path):
    row = predicted("c", chests, model, tmp_path)["row"]
    assert (row["score"], row["warnings"]) == (128, "no_dicom_out")
    said = (tmp_path / "dicom" / "c" / "refused.txt").read_text(encoding="utf-8")
    assert said.startswith("DICOM out: found no valid FrameOfReferenceUID")
    assert "no_dicom_out" in (tmp_path / "studies" / "c" / "page.html").read_text(encoding="utf-8")


def test_the_command_takes_a_mass_factor_only_with_dicom(monkeypatch):
    words = ["model.zip", "studies", "--out", "out"]
    assert not parse_predict(None, words).dicom
    cfg = parse_predict(None, [*words, "--dicom", "--mass_factor", "0.0008"])
    assert (cfg.dicom, cfg.mass_factor) == (True, 0.0008)
    assert parse_predict(None, arguments(cfg)).mass_factor == 0.0008
    assert parse_predict(None, arguments(cfg)).dicom
    with pytest.raises(InputError, match=r"--mass_factor is 0\.5, but must be left out where --dicom is not given"):
        parse_predict(None, [*words, "--mass_factor", "0.5"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--dicom is true, but must be left out, or highdicom be installed"):
        parse_predict(None, [*words, "--dicom"])


def tool(name):
    """A program of dcmqi, which its package puts beside python."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}:{Path(sys.prefix) / 'bin'}") or shutil.which(name)


@pytest.mark.drill
def test_dcmqi_and_simpleitk_see_the_same_voxels_in_the_same_places(written, studies, tmp_path):
    """Segments as dcmqi brings them into volumes, led onto the series as SimpleITK reads it."""
    if (program := tool("segimage2itkimage")) is None:
        unavailable("no dcmqi for this test: pip install cac_hpc[viewers]")
    import SimpleITK

    for turn, folder in written.items():
        out = tmp_path / f"of {TURN_NAMES[turn]}"
        out.mkdir()
        command = [program, "--inputDICOM", folder / "segmentation.dcm", "--outputDirectory", out, "-t", "nrrd"]
        subprocess.run(command, check=True, capture_output=True)
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(studies[turn])))
        series = reader.Execute()
        for number, expected in enumerate(truth(), start=1):
            segment = SimpleITK.ReadImage(str(out / f"{number}.nrrd"))
            voxels = [index[::-1] for index in np.argwhere(SimpleITK.GetArrayFromImage(segment)).tolist()]
            points = [segment.TransformIndexToPhysicalPoint(index) for index in voxels]
            assert {tuple(np.round(point, 2).tolist()) for point in points} == expected
            hu = {series[series.TransformPhysicalPointToIndex(point)] for point in points}
            assert hu == {(450, 150)[number - 1]}
