"""What is settled before anything is submitted: keys, labels, stray files, and that it stays quick and small."""

import csv
import dataclasses
import json
import os
import re
import time
import tracemalloc

import openpyxl
import pytest

from cac_hpc.dataset import kept_plan, plan, study_folders
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.data import DataConfig
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files
from tests.support.runs import SCORES, job_here, pack, prepare, write_config, write_scans

SECRET = "b9f0c2d4a1e87365"


def with_key(folder, scans, secret=SECRET):
    (folder / "key").write_text(secret + "\n", encoding="utf-8")
    return prepare(folder, scans, data={"dicom_root": str(scans), "pseudonym_key": str(folder / "key")})


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_pseudonym_is_the_keyed_hash_of_the_name():
    # echo -n 007 | openssl dgst -sha256 -hmac b9f0c2d4a1e87365
    assert study_folders.pseudonym("007", SECRET.encode()) == "3819abd2ff62"
    assert study_folders.pseudonym("007", b"another secret, as long") != study_folders.pseudonym("007", SECRET.encode())


def test_with_a_key_no_table_holds_a_folder_name_and_the_labels_stay_with_their_studies(tmp_path):
    scans = write_scans(tmp_path / "scans")
    for folder in [path for path in scans.iterdir() if path.is_dir()]:
        folder.rename(scans / f"Meier-{folder.name}")
    sheet = scans / "labels.csv"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace("\n0", "\nMeier-0"), encoding="utf-8")
    run = with_key(tmp_path, scans)
    pack(run)
    for path in run.rglob("*"):
        assert path.is_dir() or b"Meier" not in path.read_bytes(), path
    studies = {row["study"]: float(row["score"]) for row in rows(run / "dataset" / "studies.csv")}
    expected = {
        study_folders.pseudonym(f"Meier-{index:03d}", SECRET.encode()): SCORES[index % 6] for index in range(18)
    }
    assert studies == expected
    assert {row["patient"] for row in rows(run / "dataset" / "studies.csv")} == set(expected)


def test_a_link_to_itself_beside_the_studies_is_a_stray_file(tmp_path):
    scans = write_scans(tmp_path / "scans")
    run = prepare(tmp_path, scans)
    (scans / "loop").symlink_to("loop")
    assert plan.make_plan(stored_settings.load(run / "config.yaml")).stray == 1


@pytest.mark.parametrize("secret", ["", "short"])
def test_a_key_that_could_be_guessed_is_refused(tmp_path, scans, secret):
    with pytest.raises(InputError, match=r"data.pseudonym_key is .* wanted a file with 16 or more random characters"):
        with_key(tmp_path, scans, secret)


def test_a_missing_key_is_refused(tmp_path, scans):
    with pytest.raises(InputError, match=r"data.pseudonym_key is '/nowhere'"):
        prepare(tmp_path, scans, data={"pseudonym_key": "/nowhere"})


def test_a_folder_whose_name_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b"M\xfcller")).mkdir()
    with pytest.raises(InputError, match=r"folder 'M\\udcfcller' is not UTF-8 or .*; rename it"):
        study_folders.by_name(DataConfig(dicom_root=str(tmp_path)))


def test_a_patient_is_one_patient_whatever_the_folders_are_called(tmp_path):
    scans = write_scans(tmp_path / "scans", num_studies=12)
    lines = ["study,score,patient"]
    for index in range(12):  # folders are called as the numbers that patients are written with
        name = f"P{1 + index // 2:04d}" + ("" if index % 2 == 0 else "_2")
        (scans / f"{index:03d}").rename(scans / name)
        lines.append(f"{name},{SCORES[index % 6]:g},person {index // 2}")
    (scans / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "key").write_text(SECRET, encoding="utf-8")
    cfg = stored_settings.load(
        write_config(
            tmp_path / "settings.yaml",
            scans,
            tmp_path / "run",
            data={"dicom_root": str(scans), "pseudonym_key": str(tmp_path / "key")},
            labels={"sheet": str(scans / "labels.csv"), "patient_column": "patient"},
        )
    )
    patients = {label.study: label.patient for label in plan.make_plan(cfg).labels.values()}
    for number in range(1, 7):
        pair = [study_folders.pseudonym(name, SECRET.encode()) for name in (f"P{number:04d}", f"P{number:04d}_2")]
        assert patients[pair[0]] == patients[pair[1]] == f"P{number:04d}"


@pytest.mark.parametrize(
    ("limit", "same"), [("minutes", False), ("memory_gb", False), ("rejected_studies", True)]
)  # what limits refuse is missing from the dataset; what the seal tolerates is not
def test_limits_on_reading_make_another_dataset_and_the_tolerance_does_not(tmp_path, scans, limit, same):
    def digest(**limits: float) -> str:
        path = write_config(tmp_path / "s.yaml", scans, tmp_path / "run", pack={"limits": limits})
        return plan.make_plan(stored_settings.load(path)).sha256

    assert (digest(**{limit: 0.5}) == digest(**{limit: 1})) == same


def test_any_other_name_is_a_study(tmp_path):
    names = ["a b", "100%d", "it's", "two\nlines", "Müller"]
    for name in names:
        (tmp_path / name).mkdir()
    assert sorted(study_folders.by_name(DataConfig(dicom_root=str(tmp_path)))) == sorted(names)


def test_what_no_study_takes_is_counted_and_named(tmp_path):
    scans = write_scans(tmp_path / "scans")
    (scans / "notes.txt").write_text("read me", encoding="utf-8")
    sheet = scans / "labels.csv"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace("003,200\n", "003,n/a\n") + "099,5\n", encoding="utf-8")
    run = prepare(tmp_path, scans, labels={"unmatched": "skip", "sheet": str(sheet)})
    pack(run)
    found = [(row["study"], row["reason"]) for row in rows(run / "dataset" / "rejected.csv")]
    assert found == [("", "outside_study")] + 6 * [("003", "no_label")]
    intake = json.loads((run / "dataset" / "intake.json").read_text(encoding="utf-8"))
    assert intake["files"] == {"found": 109, "used": 102, "rejected": {"no_label": 6, "outside_study": 1}}
    assert (intake["studies"]["found"], intake["studies"]["without_label"], intake["studies"]["used"]) == (18, 1, 17)
    assert intake["studies"]["rows_without_study"] == 1
    assert intake["categories"]["used"] == [3, 3, 3, 2, 3, 3]


def test_a_plan_is_the_same_whoever_lists_the_files(tmp_path, monkeypatch):
    scans = write_scans(tmp_path / "scans")
    (scans / "notes.txt").write_text("read me", encoding="utf-8")
    (scans / "099").mkdir()
    sections = {"labels": {"unmatched": "skip", "sheet": str(scans / "labels.csv")}}
    cfg = stored_settings.load(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", **sections))
    list_files, listers, found = files.list_files, tmp_path / "listers", []

    def noted(*given):
        with listers.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return list_files(*given)

    monkeypatch.setattr(files, "list_files", noted)
    for cpus in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cpus=cpus: set(range(cpus)))
        found.append(plan.make_plan(cfg))
        assert (str(os.getpid()) in listers.read_text().split()) == (cpus == 1)
        listers.unlink()
    assert found[0] == found[1]
    assert (found[0].stray, found[0].unlabelled, len(found[0].listings)) == (1, {"099": 0}, 18)


def test_twenty_thousand_files_are_planned_in_seconds_and_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})  # else a fork lists them, of which nothing is traced
    scans = tmp_path / "scans"
    for study in range(20):
        folder = scans / f"{study:03d}"
        folder.mkdir(parents=True)
        for index in range(1000):
            (folder / f"{index}.dcm").touch()
    lines = ["study,score", *(f"{study:03d},{SCORES[study % 6]:g}" for study in range(20))]
    (scans / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    cfg = stored_settings.load(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run"))
    tracemalloc.start()
    started = time.monotonic()
    made = plan.make_plan(cfg)
    seconds, (_, peak) = time.monotonic() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.num_files == 20_000
    assert seconds < 20  # a second or two; tracing and a busy machine take the rest
    assert peak < 40e6


def alike(tmp_path, patient=None, **sections):
    """Settings of a cohort in which two folders have nearly equal numbers, A07 and a-7."""
    scans = write_scans(tmp_path / "scans", num_studies=12)
    lines = ["study,score,patient"]
    for index in range(12):
        name = {0: "A07", 7: "a-7"}.get(index, f"{index:03d}")
        (scans / f"{index:03d}").rename(scans / name)
        lines.append(f"{name},{SCORES[index % 6]:g},{(patient or {}).get(name, name)}")
    (scans / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    labels = {"sheet": str(scans / "labels.csv"), "patient_column": "patient"}
    return write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", labels=labels, **sections)


def test_nearly_equal_numbers_of_different_patients_are_refused_before_anything_is_written(tmp_path):
    done = job_here("launch_cv.py", "--config", alike(tmp_path))
    assert done.returncode == 2
    assert re.search(
        r"error: .*labels\.csv: nearly equal study numbers of different patients: 'A07' and 'a-7'; give them one "
        r"patient in the sheet \(labels\.patient_column\) or, if they are different people, go on: "
        r"--report\.near_equal_ids warn\n",
        done.stderr,
    )
    assert not (tmp_path / "run").exists()


def test_nearly_equal_numbers_of_one_patient_or_of_people_who_are_known_to_differ_go_on(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    of_one = stored_settings.load(alike(tmp_path / "one", {"A07": "x", "a-7": "x"}))
    assert not [note for note in plan.make_plan(of_one).warnings if "nearly equal" in note]
    of_two = stored_settings.load(alike(tmp_path / "two", report={"near_equal_ids": "warn"}))
    assert "nearly equal study numbers of different patients: 'A07' and 'a-7'" in plan.make_plan(of_two).warnings
    key = tmp_path / "key"
    key.write_text(SECRET, encoding="utf-8")
    secret = dataclasses.replace(of_two, data=dataclasses.replace(of_two.data, pseudonym_key=str(key)))
    (note,) = [note for note in plan.make_plan(secret).warnings if "nearly equal" in note]
    assert "A07" not in note
    assert note.startswith("1 groups of nearly equal study numbers")
    dataset = DatasetPaths(tmp_path / "dataset")
    plan.write_plan(dataset, plan.make_plan(secret))
    assert kept_plan.read_plan(dataset)["near_equal"] == 1


@pytest.mark.parametrize("hidden_rows", ["leave_out", "use"])
@pytest.mark.parametrize("secret", [None, SECRET])
def test_rows_that_are_hidden_in_the_sheet_are_named_even_where_studies_are_not(tmp_path, hidden_rows, secret):
    scans = write_scans(tmp_path / "scans", num_studies=18)
    book = openpyxl.Workbook()
    book.active.append(["study", "score"])
    for index in range(18):
        book.active.append([f"{index:03d}", SCORES[index % 6]])
    book.active.row_dimensions[5].hidden = True
    book.save(tmp_path / "labels.xlsx")
    labels = {"sheet": str(tmp_path / "labels.xlsx"), "unmatched": "skip", "hidden_rows": hidden_rows}
    (tmp_path / "key").write_text(SECRET, encoding="utf-8")
    data = {"dicom_root": str(scans), "pseudonym_key": str(tmp_path / "key") if secret else None}
    cfg = stored_settings.load(
        write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", labels=labels, data=data)
    )
    made = plan.make_plan(cfg)
    assert len(made.labels) == (18 if hidden_rows == "use" else 17)
    assert any(note.startswith("row 5 is hidden in the sheet, and ") for note in made.warnings)
    assert not any("remarks" in note for note in made.warnings)
    assert any("left out: study '003': row 5 is hidden" in note for note in made.warnings) == (
        hidden_rows == "leave_out" and secret is None
    )


def test_more_inner_divisions_than_a_fold_has_patients_are_refused_before_anything_is_packed(tmp_path):
    cfg = stored_settings.load(prepare(tmp_path, write_scans(tmp_path / "scans")) / "config.yaml")
    plan.make_plan(cfg)
    trials = dataclasses.replace(cfg.trials, configurations=({},), inner_folds=99)
    with pytest.raises(InputError, match=r"trials.inner_folds is 99, but fold 0 has \d+ patients"):
        plan.make_plan(dataclasses.replace(cfg, trials=trials))
