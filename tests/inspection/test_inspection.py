"""Folders that nobody knows: where studies are, what is near them, and settings to start from."""

import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from cac_hpc.inspection import inspection, layout, sheet_columns, starting_settings
from cac_hpc.settings import launch_command
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.inspect_command import InspectConfig
from cac_hpc.volumes import dicom
from tests.support import sr_files
from tests.support.runs import job_here

CANARY = "Canary"  # of names and cells that must never be shown


def scan(folder, number=0, num_slices=12, size=32, thickness_mm=3.0, **attributes):
    hu_ZHW = np.full((num_slices, size, size), 40, np.int16)
    hu_ZHW[:, : size // 4] = -900
    hu_ZHW[:, -1, :4] = number  # no two studies, and no two slices, have the same pixels
    hu_ZHW[:, -1, 4] = np.arange(num_slices)
    dicom.write_series(
        folder,
        hu_ZHW,
        pixel_spacing_mm=4.0,
        slice_spacing_mm=thickness_mm,
        first_z_mm=0.0,
        uid_entropy=["inspection", str(number), str(thickness_mm)],
        attributes={"KVP": 120, "SliceThickness": thickness_mm, "PatientName": f"{CANARY}^Ann", "PatientID": CANARY}
        | attributes,
    )
    return folder


def volume_files(folder, count):
    """Files of volumes, as their names say; nobody opens them to see where studies are."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"heart_{number:03d}.nii.gz").touch()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twelve studies, a sheet beside them, and masks of two arteries in another folder."""
    root = tmp_path_factory.mktemp("cohort")
    for number in range(12):
        study = f"S{number:02d}"
        scan(root / "studies" / study / "series", number, **({"ConvolutionKernel": "B70f"} if number == 5 else {}))
        part_WHZ = np.zeros((32, 32, 12), np.uint8)
        part_WHZ[10:14, 16:20, 3:5] = 1
        affine = np.diag([-4.0, -4.0, 3.0, 1.0])
        affine[:3, 3] = 62, 62, 0  # the corner of the scan is at -62 mm to the left and to the back, as DICOM counts
        (root / "masks").mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(part_WHZ, affine), root / "masks" / f"{study}.nii.gz")
    rows = [f"S{number:02d},{number * 10},{CANARY} {number}" for number in range(12)]
    (root / "scores.csv").write_text("\n".join(["Study ID,Agatston,Name", *rows]) + "\n", encoding="utf-8")
    return root


def look(folder, **asked):
    return inspection.look(InspectConfig(folder=str(folder), **asked))


def loads(found, folder):
    """The settings that are proposed, as the launcher reads them."""
    path = folder / "proposed.yaml"
    path.write_text(starting_settings.text(found), encoding="utf-8")
    return launch_command.parse_launch(None, ["--config", str(path)])[0]


def test_studies_sheet_and_masks_are_found_from_the_folder_above_them(cohort, tmp_path):
    found = look(cohort)
    assert found.place.root == cohort / "studies"
    assert list(found.place.studies) == [f"S{number:02d}" for number in range(12)]
    assert found.usable == len(found.looked_at) == 12
    (sheet,), (masks,) = found.sheets, found.masks
    assert (sheet.study, sheet.score, sheet.matched, sheet.vessels) == ("Study ID", "Agatston", 12, ())
    assert (masks.pattern, masks.studies, masks.fitting) == (str(cohort / "masks" / "{study}.nii.gz"), 12, 3)
    cfg = loads(found, tmp_path)
    assert Path(cfg.data.dicom_root) == cohort / "studies"
    assert (cfg.labels.sheet, cfg.labels.score_column) == (str(cohort / "scores.csv"), "Agatston")
    assert "kernels are unknown in 11, sharp in 1" in starting_settings.text(found)


def test_nothing_of_patients_and_cells_is_shown(cohort, tmp_path):
    shown = job_here("inspect_studies.py", cohort, "--out", tmp_path / "out.yaml")
    as_json = job_here("inspect_studies.py", cohort, "--json")
    assert shown.returncode == as_json.returncode == 0
    said = shown.stdout + shown.stderr + as_json.stdout + (tmp_path / "out.yaml").read_text(encoding="utf-8")
    assert "Agatston" in said
    assert CANARY not in said
    found = json.loads(as_json.stdout)
    assert found["looked_at"]["S05"]["series"][0]["kernel"] == "B70f"
    assert {column["name"]: column["role"] for column in found["sheets"][0]["columns"]}["Name"] == ""


def test_a_mask_that_lies_elsewhere_is_named_and_labels_nothing(cohort, tmp_path):
    shutil.copytree(cohort / "studies", tmp_path / "studies")
    (tmp_path / "contours").mkdir()
    for path in (cohort / "masks").iterdir():
        image = nibabel.load(path)
        elsewhere = image.affine + np.array([[0, 0, 0, 500]] * 3 + [[0] * 4])
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), elsewhere), tmp_path / "contours" / path.name)
    (masks,) = look(tmp_path).masks
    assert (masks.studies, masks.checked, masks.fitting) == (12, 3, 0)
    assert "does not cover the study" in masks.remarks[0]


def test_one_study_is_looked_at_however_short_the_time(cohort):
    assert list(look(cohort, seconds=0).looked_at) == ["S00"]
    assert len(look(cohort, studies=3).looked_at) == 3


def test_studies_in_files_of_their_own(tmp_path):
    for number in range(3):
        values = np.full((32, 32, 12), 40, np.int16)
        values[:, :8] = -900
        nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0])), tmp_path / f"case{number}.nii.gz")
    found = look(tmp_path)
    assert list(found.place.studies) == ["case0", "case1", "case2"]
    assert found.usable == 3
    assert found.volumes == {"nifti": 3}


def test_masks_in_the_folders_of_studies_are_no_scans(cohort, tmp_path):
    for number in range(3):
        study = tmp_path / "root" / f"S{number:02d}"
        shutil.copytree(cohort / "studies" / study.name, study)
        shutil.copy(cohort / "masks" / f"{study.name}.nii.gz", study / "heart.nii.gz")
    found = look(tmp_path / "root")
    assert found.usable == 3
    (masks,) = found.masks
    assert (masks.pattern, masks.studies, masks.fitting) == (str(tmp_path / "root" / "{study}" / "heart.nii.gz"), 3, 3)
    assert f'# regions: "{masks.pattern}"' in starting_settings.text(found)
    assert loads(found, tmp_path).data.format == "dicom"


def test_odd_names_come_through_the_settings_as_they_are(cohort, tmp_path):
    root = tmp_path / "a ${b}\n'\u202e\"# é"
    shutil.copytree(cohort / "studies", root)
    found = look(root)
    assert all(line.isprintable() for line in starting_settings.text(found).splitlines())
    assert loads(found, tmp_path).data.dicom_root == str(root)


def test_reports_in_the_studies_label_them_where_nothing_else_does(tmp_path):
    for number in range(3):
        scan(tmp_path / "root" / f"{number}", number)
        sr_files.document(tmp_path / "root" / f"{number}" / "SR.dcm", *sr_files.tree(12.5))
    found = look(tmp_path / "root")
    assert found.reports == 3
    assert loads(found, tmp_path).labels.source == "sr"


def test_what_the_rule_does_not_take_is_said_with_a_setting_that_does(tmp_path, capsys):
    for number in range(4):
        scan(tmp_path / "root" / f"{number}", number, thickness_mm=1.0, num_slices=8)
    found = look(tmp_path / "root")
    assert found.usable == 0
    assert "SliceThickness 1 mm" in found.looked_at["0"].series[0].why
    cfg = loads(found, tmp_path)
    assert (cfg.pack.series.thickness_mm, cfg.pack.min_slices) == ((1.0, 5.0), 8)
    assert inspection.inspect(InspectConfig(folder=str(tmp_path / "root"))) == 1
    out = capsys.readouterr().out
    assert "decide: no sheet, mask or report" in out
    assert yaml.safe_load(out[out.index("run: ") :])["labels"] == {"sheet": "labels.csv"}


def test_where_no_study_would_be_taken_the_settings_say_what_to_decide(tmp_path):
    for number in range(3):
        folder = scan(tmp_path / "root" / f"{number}", number)
        sorted(folder.iterdir())[6].unlink()
    found = look(tmp_path / "root")
    assert found.usable == 0
    wanted = "decide: none of the studies looked at can be used (3 missing_slices): fix them, or set "
    assert f"{wanted}pack.checks.missing_slices: warn" in starting_settings.text(found)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: scan(root), "found images in it and no folders"),
        (lambda root: (root / "notes").mkdir(parents=True), "found no CT image"),
        (lambda root: [scan(root / side / str(number), number + ord(side)) for side in "ab" for number in (1, 20)],
         "found collections of studies side by side, in 'a', 'b'"),
        (lambda root: [volume_files(root / side, 4) for side in ("imagesTr", "labelsTr")],
         "found collections of studies side by side, in 'imagesTr', 'labelsTr'; wanted one of them"),
        (lambda root: None, "found no folder there"),
    ],
)  # fmt: skip
def test_folders_that_hold_no_cohort_are_refused(tmp_path, make, said):
    make(tmp_path / "root")
    with pytest.raises(InputError, match=re.escape(said)):
        layout.find(tmp_path / "root")


def test_volumes_are_studies_where_there_are_more_than_folders_beside_them(tmp_path):
    volume_files(tmp_path / "files" / "imagesTr", 4)
    assert layout.find(tmp_path / "files").root == tmp_path / "files" / "imagesTr"
    for number in range(3):  # an image and its mask
        volume_files(tmp_path / "folders" / str(number), 2)
    assert list(layout.find(tmp_path / "folders").studies) == ["0", "1", "2"]


def test_a_study_is_not_taken_for_a_collection_of_its_series(tmp_path):
    for number in range(2):
        for name, thickness_mm in (("thin", 1.0), ("thick", 3.0)):
            scan(tmp_path / "patients" / str(number) / name, number, thickness_mm=thickness_mm,
                 StudyInstanceUID=f"1.2.{number + 1}")  # fmt: skip
    assert layout.find(tmp_path).root == tmp_path / "patients"
    (series, other) = look(tmp_path).looked_at["0"].series
    assert (series.thickness_mm, series.taken, other.thickness_mm, other.taken) == (3.0, 12, 1.0, 0)


def test_exams_without_uids_of_studies_are_told_apart_by_those_of_their_positions(tmp_path):
    for number in range(3):
        scan(tmp_path / "patient" / str(number) / "s", number, StudyInstanceUID=None, SeriesInstanceUID=None)
    assert layout.find(tmp_path) == layout.Layout(
        tmp_path / "patient", {str(number): tmp_path / "patient" / str(number) for number in range(3)}, []
    )


def test_without_any_uid_the_folders_tell_and_that_is_said(tmp_path):
    for number in range(3):
        none = dict.fromkeys(["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
        scan(tmp_path / "all" / str(number) / "s", number, **none)
    found = layout.find(tmp_path)
    assert found.root == tmp_path / "all"
    assert "a guess by its folders" in found.remarks[0]


SHEETS = {
    "vessels without a total": (
        "id,LM,LAD,LCX,RCA\nS1,0,1,2,3\nS2,0,0,0,5\n",
        "id",
        None,
        ("LM", "LAD", "LCX", "RCA"),
        0,
    ),
    "a total that is their sum": ("id,LAD,RCA,total,age\nS1,1,3,4,50\nS2,0,5,5,61\n", "id", "total", ("LAD", "RCA"), 0),
    "a total that is not": ("id,LAD,RCA,total\nS1,1,3,40\nS2,0,5,50\n", "id", "total", ("LAD", "RCA"), 1),
    "two totals": ("id,score,Agatston score\nS1,1,3\nS2,0,5\n", "id", "score", (), 1),
    "numbers of no name": ("id,x\nS1,1\nS2,20\n", "id", "x", (), 1),
    "volume beside": ("id,calcium volume mm3,CAC\nS1,1,3\nS2,20,5\n", "id", "CAC", (), 0),
    "numbers that name studies by chance": ("no,score,key\n1,7,S1\n2,9,S2\n", "key", "score", (), 0),
    "no scores": ("id,remark\nS1,a\nS2,b\n", "id", None, (), 0),
}


@pytest.mark.parametrize("name", SHEETS)
def test_columns_are_taken_for_what_is_in_them(tmp_path, name):
    content, study, score, vessels, num_doubts = SHEETS[name]
    (tmp_path / "sheet.csv").write_text(content, encoding="utf-8")
    found = sheet_columns.look(tmp_path / "sheet.csv", ["S1", "S2"])
    assert (found.study, found.score, found.vessels, len(found.doubts)) == (study, score, vessels, num_doubts)
    assert found.matched == 2


def test_a_suffix_of_study_numbers_is_proposed_as_it_is_written(tmp_path):
    (tmp_path / "sheet.csv").write_text("filename ,total\n1A,0\n2A,5\n3A,7\n", encoding="utf-8")
    found = sheet_columns.look(tmp_path / "sheet.csv", ["1", "2", "3"])
    assert (found.dropped.setting, found.dropped.text, found.matched) == ("id_suffix", "A", 3)


def test_patients_with_several_studies_are_proposed_as_such(tmp_path):
    (tmp_path / "sheet.csv").write_text("study,patient,score\nS1,7,0\nS2,7,5\n", encoding="utf-8")
    assert sheet_columns.look(tmp_path / "sheet.csv", ["S1", "S2"]).patient == "patient"
    (tmp_path / "sheet.csv").write_text("study,patient,score\nS1,7,0\nS2,8,5\n", encoding="utf-8")
    assert sheet_columns.look(tmp_path / "sheet.csv", ["S1", "S2"]).patient is None


def test_a_sheet_that_cannot_be_read_is_said_and_stops_nothing(cohort, tmp_path):
    (tmp_path / "odd.xlsx").write_bytes(b"no workbook")
    (sheet,) = look(cohort, labels=(str(tmp_path / "odd.xlsx"),)).sheets
    assert "cannot be read as a workbook" in sheet.fault


def test_settings_are_never_written_over_others(tmp_path):
    (tmp_path / "study.yaml").write_text("run: x\n", encoding="utf-8")
    with pytest.raises(InputError, match="it is there already, wanted a new file"):
        inspection.inspect(InspectConfig(folder="x", out=str(tmp_path / "study.yaml")))
