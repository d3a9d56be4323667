"""Facts by which patients form groups: what is read at packing, and what of it comes into studies.csv."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pydicom
import pytest

from cac_hpc.dataset import groups, intake, sealed
from cac_hpc.dataset.groups import WITHHELD, coarse, withhold
from cac_hpc.phantom import cohort as phantoms
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.phantom_command import PhantomConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.person import CONTRADICTORY
from cac_hpc.volumes.study import Described, Study
from tests.support.runs import write_scans

PEOPLE = ["body_size", "age_group", "sex"]


def cohort(seed, num_patients):
    """Studies of patients, some of whom have two."""
    rng = np.random.default_rng(seed)
    patient = {f"s{number}": f"p{number // 2 if number % 5 == 0 else number}" for number in range(num_patients)}
    values = {"body_size": "abc", "age_group": "4567", "sex": "FM"}
    rows = {study: {name: str(rng.choice(list(of))) for name, of in values.items()} for study in patient}
    return rows, patient


def alike(rows, patient):
    """How many patients there are of each kind."""
    said = {}
    for study, row in rows.items():
        said.setdefault(patient[study], set()).add(tuple(row[name] for name in PEOPLE))
    return Counter(frozenset(kind) for kind in said.values())


@pytest.mark.parametrize(("num_patients", "smallest"), [(9, 2), (9, 5), (30, 2), (30, 5), (120, 5)])
def test_every_patient_is_like_as_many_others_as_wanted(num_patients, smallest):
    for seed in range(5):
        rows, patient = cohort(seed, num_patients)
        before = {study: dict(row) for study, row in rows.items()}
        withhold(rows, patient, PEOPLE, smallest)
        assert min(alike(rows, patient).values()) >= smallest
        assert all(row[name] in (WITHHELD, before[study][name]) for study, row in rows.items() for name in row)


def test_what_is_withheld_follows_the_order_and_is_the_same_whatever_the_order_of_studies():
    rows = {str(at): {"age_group": "60-69", "sex": "F"} for at in range(3)}
    rows |= {"3": {"age_group": "50-59", "sex": "F"}, "4": {"age_group": "70-79", "sex": "F"}}
    turned = {study: dict(row) for study, row in reversed(rows.items())}
    for of in (rows, turned):
        withhold(of, {study: study for study in of}, ["age_group", "sex"], 2)
    assert [rows[str(at)] for at in range(3)] == [{"age_group": "60-69", "sex": "F"}] * 3
    assert rows["3"] == rows["4"] == {"age_group": WITHHELD, "sex": "F"}
    assert turned == rows


def test_nobody_is_found_by_being_the_only_one_of_whom_nothing_is_said():
    rows = {str(at): {"sex": "F"} for at in range(4)} | {"m": {"sex": "M"}}
    withhold(rows, {study: study for study in rows}, ["sex"], 2)
    assert {row["sex"] for row in rows.values()} == {WITHHELD}  # else the one who is not F would be the M


def test_of_too_few_patients_nothing_is_said():
    rows = {"a": {"sex": "F"}, "b": {"sex": "F"}}
    withhold(rows, {"a": "a", "b": "b"}, ["sex"], 3)
    assert rows == {"a": {"sex": WITHHELD}, "b": {"sex": WITHHELD}}


def test_a_number_belongs_to_the_group_that_begins_at_it():
    found = [coarse(value, groups.NOISE_HU, "HU") for value in (9.99, 10, 29.9, 30, math.nan)]
    assert found == ["under 10 HU", "10 to under 20 HU", "20 to under 30 HU", "30 HU and over", "unknown"]
    assert sorted(found[:4], key=lambda group: groups.order("noise", group)) == found[:4]


def test_a_scanner_whose_name_holds_what_identifies_is_not_named():
    study = Study(1, [], {}, frozenset({"Westgate", "GE"}), False, described=Described(scanner="GE WESTGATE CT 2"))
    assert groups.of_study(study, None, None, ["scanner"]) == {"scanner": "unknown"}
    other = Study(1, [], {}, frozenset({"Eastgate"}), False, described=Described(scanner="GE WESTGATE CT 2"))
    assert groups.of_study(other, None, None, ["scanner"]) == {"scanner": "GE WESTGATE CT 2"}


def test_each_study_has_the_group_that_studies_csv_says(tmp_path):
    table = pd.DataFrame(
        {"study": list("abcde"), "sex": ["female", "female", "male", "unknown", None],
         "kvp": [120.0, 100.0, 119.0, math.nan, 120.0], "kernel": ["B35f"] * 4 + [None], "kernel_class": ["soft"] * 5,
         "group_ward": ["01", "1", None, "01", "withheld"]}
    )  # fmt: skip
    table.to_csv(tmp_path / "studies.csv", index=False)
    found = groups.of_studies(sealed.read_table(tmp_path / "studies.csv"), ["sex", "kvp", "kernel", "noise"])
    said = {fact: [names[code] if code >= 0 else None for code in codes] for fact, (codes, names) in found.items()}
    assert said["sex"] == ["female", "female", "male", None, None]
    assert said["kvp"] == ["110 to under 130 kVp", "90 to under 110 kVp", "110 to under 130 kVp", None,
                           "110 to under 130 kVp"]  # fmt: skip
    assert found["kvp"][1] == ["90 to under 110 kVp", "110 to under 130 kVp"]
    assert said["kernel"] == ["B35f (soft)"] * 4 + [None]
    assert said["noise"] == [None] * 5  # packed without it
    assert said["ward"] == ["01", "1", None, "01", "withheld"]


def test_patients_of_a_site_are_alike_within_it_for_the_key_of_a_study_tells_it():
    rows = {str(at): {"sex": "F"} for at in range(6)}
    site = {study: "north" if study in "01" else "south" for study in rows}
    withhold(rows, {study: study for study in rows}, ["sex"], 3, site)
    assert [row["sex"] for row in rows.values()] == [WITHHELD] * 2 + ["F"] * 4


def test_withholding_a_large_cohort_takes_seconds():
    rows, patient = cohort(7, 4_000)
    withhold(rows, patient, PEOPLE, 5)
    assert min(alike(rows, patient).values()) >= 5


def read(folder, values, **differing):
    """The groups of a study whose headers say this; some things differ in its last file."""
    write_scans(folder, 1)
    paths = sorted((folder / "000").iterdir())
    for path in paths:
        ds = pydicom.dcmread(path)
        for keyword, value in (values | (differing if path == paths[-1] else {})).items():
            setattr(ds, keyword, value)
        ds.save_as(path)
    entries, facts = files.list_files(folder / "000", "auto"), ["sex", "age_group", "scanner", "noise"]
    cfg = PackConfig(size=8, min_slices=2)
    study = intake.read_study(entries, cfg, lambda hu, at: None, subgroups=facts)
    assert study.facts is not None
    plain = intake.read_study(entries, cfg, lambda hu, at: None)
    assert (plain.groups, plain.facts) == ({}, study.facts)
    return study.groups


def test_a_study_says_what_its_headers_say_together(tmp_path):
    said = {"PatientSex": "F", "PatientAge": "061Y", "Manufacturer": "SIEMENS", "ManufacturerModelName": "Force "}
    found = {"sex": "female", "age_group": "60-69", "scanner": "Siemens FORCE", "noise": "unknown"}
    assert read(tmp_path / "a", said) == found
    assert read(tmp_path / "b", said, PatientAge="") == found
    assert read(tmp_path / "c", said, PatientAge="069Y") == found  # another year of the same decade
    assert read(tmp_path / "d", said, PatientAge="071Y") == found | {"age_group": CONTRADICTORY}
    assert read(tmp_path / "e", said, ManufacturerModelName="Flash") == found | {"scanner": CONTRADICTORY}
    assert read(tmp_path / "f", {}) == dict.fromkeys(found, "unknown")


def test_people_in_phantoms_change_no_pixel(tmp_path):
    options = {"studies": 1, "slices": 12, "matrix": 128, "field_of_view_mm": 160, "easy": True, "workers": 1}
    for name, people in (("without", False), ("with", True)):
        phantoms.write_cohort(PhantomConfig(out=str(tmp_path / name), people=people, **options))
    for path in (tmp_path / "without").rglob("*.dcm"):
        one, two = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "with" / path.relative_to(tmp_path / "without"))
        assert one.PixelData == two.PixelData
        assert (one.PatientSex, "PatientAge" in one) == ("", False)
        assert two.PatientSex in ("F", "M")
        assert 40 <= int(two.PatientAge[:3]) < 85
