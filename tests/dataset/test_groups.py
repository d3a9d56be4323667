"""Facts by which patients form groups: what is read at packing, and what of it comes into studies.csv."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import groups
from cac_hpc.dataset.groups import WITHHELD, coarse, withhold
from cac_hpc.volumes.study import Described, Study

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


def test_studies_that_differ_are_told_from_those_that_say_nothing():
    studies = pd.DataFrame(
        {"patient": ["a", "a", "b", "b", "c"], "sex": ["female", "female", "male", "unknown", None],
         "kvp": [120.0, 100.0, 120.0, math.nan, 120.0], "kernel": ["B35f"] * 4 + [None], "kernel_class": ["soft"] * 5}
    )  # fmt: skip
    found = groups.of_patients(studies, ["sex", "kvp", "kernel", "noise"], [])
    assert found["sex"] == {"a": {"female"}, "b": {"male"}, "c": frozenset()}
    assert found["kvp"]["a"] == {"110 to under 130 kVp", "90 to under 110 kVp"}
    assert found["kvp"]["b"] == {"110 to under 130 kVp"}
    assert found["kernel"] == {"a": {"B35f (soft)"}, "b": {"B35f (soft)"}, "c": frozenset()}
    assert found["noise"] == dict.fromkeys("abc", frozenset())  # packed without it
