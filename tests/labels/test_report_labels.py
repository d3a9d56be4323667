"""Labels out of structured reports: which report of a study counts, and what is said where none does."""

import shutil

import pytest

from cac_hpc.dataset import plan, preview
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import match_labels
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from tests.support import poison
from tests.support.runs import SCORES, write_config
from tests.support.sr_files import document, headers, measured, tree

SR = LabelsConfig(source="sr", unmatched="skip")
NONE = "no complete structured report with an Agatston score in the folder"


@pytest.fixture
def study(tmp_path):
    """A study of two slices, without a report."""
    poison.write_chest(tmp_path / "7", num_slices=2, StudyInstanceUID="1.2.3")
    return tmp_path / "7"


def label_of(study, **others):
    """The label of a study, or why it has none; a second study has a score of 5."""
    if not (study.parent / "8").exists():
        document(study.parent / "8" / "SR", *tree(5))
    matched = match_labels(SR, ["7", "8"], str(study.parent))
    assert matched.labels["8"] == Label("8", "8", 5, 1)
    return matched.labels.get("7") or matched.unlabelled["7"]


def report(study, name, score, time="101500", **attributes):
    return document(study / name, *tree(score), **{"ContentTime": time, **attributes})


def test_the_newest_complete_report_counts(study):
    report(study, "a", 10)
    report(study, "b", 20, "111500")
    report(study, "c", 30, "121500", CompletionFlag="PARTIAL")
    report(study, "d", 40, "121500", PreliminaryFlag="PRELIMINARY")
    report(study, "e", 50, "121500", Manufacturer="cac_hpc")
    assert label_of(study) == Label("7", "7", 20, 2)
    assert match_labels(SR, ["7"], str(study.parent)).warnings == ["an older report has another score: study '7'"]


@pytest.mark.parametrize("uid", ["1.2.3", ""])
def test_a_report_of_another_patient_labels_nothing(study, uid):
    for path in study.iterdir():
        poison.edit(path, PatientID="0047")
    report(study, "z", 10, StudyInstanceUID=uid, PatientID="48")
    assert label_of(study) == (
        "file 3: a structured report of another patient (PatientID) than the images in the folder"
    )
    report(study, "z", 10, StudyInstanceUID=uid, PatientID="47 ")
    assert label_of(study) == Label("7", "7", 10, 1)


def test_vessels_come_along_and_who_did_not_verify_is_said(study):
    vessels = {"LM": 10.0, "LAD": 200.5, "LCX": 0.0, "RCA": 101.2}
    document(study / "SR", *tree(311.7, vessels), VerificationFlag="UNVERIFIED")
    assert label_of(study) == Label("7", "7", 311.7, 3, vessels)
    assert match_labels(SR, ["7"], str(study.parent)).warnings == ["nobody has verified the report: study '7'"]


def test_reports_that_agree_are_fine_and_those_that_do_not_are_refused(study):
    report(study, "a", 10)
    report(study, "b", 10)
    assert label_of(study) == Label("7", "7", 10, 1)
    report(study, "c", 12)
    assert label_of(study) == (
        "several reports and none is the newest: 10 in file 3, 10 in file 4, 12 in file 5; wanted one score"
    )


def test_without_a_time_different_scores_are_refused(study):
    report(study, "a", 10, ContentDate="")
    assert label_of(study) == Label("7", "7", 10, 1)
    report(study, "b", 20)
    assert "none is the newest: 10 in file 3, 20 in file 4" in label_of(study)


def test_why_a_study_has_no_label_is_said(study):
    assert label_of(study) == NONE
    dose = report(study, "dose", 3, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67")
    assert label_of(study) == NONE
    dose.unlink()
    report(study, "a", 10, CompletionFlag="PARTIAL")
    report(study, "b", 10, Manufacturer="cac_hpc")
    why = "file 3 is partial or preliminary; file 4 is a prediction of this program"
    assert label_of(study) == f"{NONE} ({why})"
    report(study, "c", 20_000)
    assert label_of(study) == (
        "the score of the report, file 5, is digits, a number of 20000 or more, as the serial number of a date is; "
        "wanted a score below 20000"
    )


def test_a_damaged_report_may_be_the_newest_so_no_other_counts(study):
    report(study, "a", 10)
    whole = report(study, "b", 20).read_bytes()
    (study / "b").write_bytes(whole[:-30])
    assert label_of(study).startswith("file 4: a structured report that cannot be read (")


def test_a_report_of_another_study_is_refused(study):
    report(study, "a", 10, StudyInstanceUID="1.2.4")
    assert label_of(study) == "file 3: a structured report of another study than the images in the folder"


def test_without_a_single_report_nothing_goes_on(study):
    with pytest.raises(
        InputError, match=r"labels.source sr: 1 fault; wanted one score in each folder in .*no folder has one"
    ) as error:
        match_labels(SR, ["7"], str(study.parent))
    assert str(error.value).splitlines()[1:] == [f"  study '7': {NONE}"]


def test_a_cohort_of_reports_makes_the_plan_that_its_sheet_makes(tmp_path, scans):
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder, ignore=shutil.ignore_patterns("labels.csv"))
    for index, path in enumerate(sorted(folder.iterdir())):
        images = headers(path)
        score, uid = SCORES[index % len(SCORES)], images[0].StudyInstanceUID
        document(path / "SR.dcm", *tree(score), study=uid)
    by_sheet = plan.make_plan(stored_settings.load(write_config(tmp_path / "s.yaml", scans, tmp_path / "run")))
    labels = {"sheet": None, "source": "sr"}
    cfg = stored_settings.load(write_config(tmp_path / "r.yaml", folder, tmp_path / "run", labels=labels))
    planned = plan.make_plan(cfg)
    assert planned.labels == by_sheet.labels
    said = "\n".join(preview.of_headers(cfg, planned.folders, planned.labels).lines)
    assert "1 file, not_ct_image: a structured report: labels.source sr reads scores; wanted CT Image Storage" in said
    document(folder / "000" / "SR.dcm", *tree(0.5), study=headers(folder / "000")[0].StudyInstanceUID)
    assert plan.make_plan(cfg).sha256 != planned.sha256


def test_highdicom_s_report_is_a_label(study):
    pytest.importorskip("highdicom", reason="no highdicom here: pip install cac_hpc[dicom]")
    person = {"PatientName": "Doe^J", "StudyID": "", "StudyTime": "", "PatientBirthDate": "", "PatientSex": ""}
    poison.write_chest(
        study, num_slices=2, StudyInstanceUID="1.2.3", AccessionNumber="", ReferringPhysicianName="", **person
    )
    measured(study / "SR", headers(study), 412.5, {"LAD": 400.5, "RCA": 12.0})
    assert label_of(study) == Label("7", "7", 412.5, 4, {"LAD": 400.5, "RCA": 12.0})
    (study / "SR").unlink()
    measured(study / "SR", headers(study), 412.5, {}, is_final=False)
    assert label_of(study) == f"{NONE} (file 3 is partial or preliminary)"
