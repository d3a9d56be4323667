"""The training range against numbers worked out by hand, and the gate on studies that were left out of it."""

import math

import numpy as np
import pandas as pd
import pytest

from cac_hpc.predict import training_range
from cac_hpc.predict.training_range import Codes, Numbers, TrainingRange
from cac_hpc.results.serialization import from_json, to_json
from cac_hpc.statistics import intervals

STUDIES = pd.DataFrame(
    {
        "study": list("abcdef"),
        "slice_spacing_mm": [3.0, 3.0, 3.0, 2.5, 2.5, 2.5],
        "kvp": [120, 120, 120, 120, 120, None],
        "slices": [40, 50, 60, 70, 80, 90],
        "row_spacing_mm": [0.5] * 6,
        "column_spacing_mm": [0.4] * 6,
        "heart_rows": pd.array([200, 210, 220, 230, 240, None], "Int64"),
        "heart_columns": pd.array([300, 310, 320, 330, 340, None], "Int64"),
        "kernel": ["B35f", "B35f", "B35f", "FC12", "FC12", None],
        "kernel_class": ["soft to medium"] * 6,
        "gating": ["PROSPECTIVE"] * 5 + ["RETROSPECTIVE"],
        "score": [0, 10, 20, 30, 40, 50],
    }
)
TYPICAL = {
    "slice_spacing_mm": 3.0, "kvp": 120.0, "slices": 60, "row_spacing_mm": 0.5, "column_spacing_mm": 0.4,
    "heart_rows": 220, "heart_columns": 320, "kernel": "Qr36d", "kernel_class": "soft to medium",
    "gating": "PROSPECTIVE", "warnings": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def training():
    return training_range.of_studies(STUDIES)


def test_numbers_and_codes_are_those_worked_out_by_hand(training):
    assert training.studies == 6
    assert training.numbers["slices"] == Numbers(6, 0, 40, 90, [42.5, 52.5, 65, 77.5, 87.5])
    assert training.numbers["kvp"] == Numbers(5, 1, 120, 120, [120] * 5)
    assert (training.numbers["heart_height_mm"].low, training.numbers["heart_height_mm"].high) == (100, 120)
    assert (training.numbers["heart_width_mm"].low, training.numbers["heart_width_mm"].high) == (120, 136)
    assert training.codes["gating"] == Codes({"PROSPECTIVE": 5, "RETROSPECTIVE": 1})
    assert training.codes["kernel"] == Codes({"B35f": 3, "FC12": 2, "not known": 1})
    assert {"noise_hu", "field_of_view_mm"}.isdisjoint(training.numbers)  # studies.csv has no such column
    assert from_json(to_json(training), TrainingRange) == training


def test_a_study_like_the_others_is_inside(training):
    assert training_range.outside(training, TYPICAL) == ()


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"slices": 99}, ""),  # 10 % of 90 beyond
        ({"slices": 99.1}, "number of slices is 99.1, the training studies had 40 to 90"),
        ({"slices": 35}, ""),  # 10 % of the range
        ({"slices": 34.9}, "number of slices is 34.9, the training studies had 40 to 90"),
        ({"kvp": 132}, ""),
        ({"kvp": 100}, "tube voltage is 100 kVp, the training studies had 120 kVp"),
        ({"kvp": None}, ""),  # nor was it of one of them
        ({"slice_spacing_mm": None}, "slice spacing is not known, the training studies had 2.5 to 3 mm"),
        ({"slice_spacing_mm": math.nan}, "slice spacing is not known, the training studies had 2.5 to 3 mm"),
        ({"heart_rows": 270}, "height of the heart on its slices is 135 mm, the training studies had 100 to 120 mm"),
        ({"heart_rows": None}, ""),
        ({"gating": "NONE"}, "gating is NONE, the training studies had PROSPECTIVE (5), RETROSPECTIVE (1)"),
        ({"gating": None}, "gating is not known, the training studies had PROSPECTIVE (5), RETROSPECTIVE (1)"),
        ({"kernel_class": "sharp"}, "class of the kernel is sharp, the training studies had soft to medium (6)"),
        ({"kernel": None, "score": 1e6}, ""),  # described only
    ],
)
def test_what_lies_beyond_is_said_with_what_the_training_had(training, changed, wanted):
    assert "; ".join(training_range.outside(training, TYPICAL | changed)) == wanted


def test_every_attribute_outside_has_its_sentence(training):
    found = training_range.outside(training, TYPICAL | {"kvp": 80, "gating": "NONE", "slices": 200})
    assert [sentence.split(" is ")[0] for sentence in found] == ["tube voltage", "number of slices", "gating"]


def test_what_no_training_study_had_flags_nothing():
    training = training_range.of_studies(STUDIES.assign(kvp=None, gating=None, noise_hu=np.nan))
    assert training.numbers["kvp"] == Numbers(0, 6, None, None, [])
    assert training_range.outside(training, TYPICAL | {"kvp": 80, "gating": "NONE", "noise_hu": 99}) == ()


def test_the_gate_is_measured_on_studies_left_out_of_the_range():
    right = dict.fromkeys("abcde", True) | {"f": False, "c": False}
    gate = {one.by: one for one in training_range.with_gate(training_range.of_studies(STUDIES), STUDIES, right).gate}
    alone = gate["study"]  # a: 40 slices, less than 50 - 10 % of 50; f: 90, more than 80 + 10 % of 80, and the rest
    assert alone.attributes == {"gating": 1, "heart_height_mm": 1, "heart_width_mm": 1, "kvp": 1, "slices": 2}
    assert (alone.flagged.n, alone.groups) == (6, 6)
    flagged = {study for study in STUDIES["study"] if flagged_alone(study)}
    assert alone.flagged.value == len(flagged) / 6
    assert alone.flagged.low == pytest.approx(intervals.wilson(len(flagged), 6)[0])
    assert (alone.false_alarms.n, alone.false_alarms.value) == (4, len(flagged & {*"abde"}) / 4)
    assert (alone.misses.n, alone.misses.value) == (2, len({*"cf"} - flagged) / 2)
    kernel = gate["kernel"]
    assert (kernel.groups, kernel.flagged.n) == (3, 6)
    assert kernel.attributes["slice_spacing_mm"] == 3  # 3.0 is a fifth beyond 2.5; others have 2.5 among the rest
    assert kernel.flagged.interval == intervals.WILSON_CLUSTER


def flagged_alone(study):
    """By asking each study about the range of the others, without short cuts."""
    others = training_range.of_studies(STUDIES[STUDIES["study"] != study])
    return bool(training_range.outside(others, STUDIES[STUDIES["study"] == study].iloc[0].to_dict()))


def test_the_short_cut_of_leaving_one_out_finds_the_same(monkeypatch):
    rng = np.random.default_rng(4)
    studies = pd.DataFrame(
        {
            "study": [f"{index:03d}" for index in range(60)],
            "slices": rng.integers(40, 60, 60),
            "kvp": rng.choice([100.0, 120.0, np.nan], 60, p=[0.02, 0.96, 0.02]),
            "noise_hu": np.round(rng.lognormal(3, 0.6, 60), 1),
            "gating": rng.choice(["A", "B", "C"], 60, p=[0.02, 0.9, 0.08]),
            "slice_spacing_mm": [3.0] * 59 + [5.0],
        }
    )
    training = training_range.of_studies(studies)
    quick = training_range.with_gate(training, studies, {})
    monkeypatch.setattr(training_range, "_worth_asking", lambda table, number_N, count: list(range(count)))
    assert training_range.with_gate(training, studies, {}) == quick
    assert 0 < quick.gate[0].flagged.value < 0.2


def test_without_predictions_or_with_one_study_nothing_is_measured():
    gate = training_range.with_gate(training_range.of_studies(STUDIES), STUDIES, {}).gate
    assert all(one.false_alarms.value is None and one.false_alarms.note for one in gate)
    one = STUDIES.head(1)
    assert training_range.with_gate(training_range.of_studies(one), one, {}).gate == []


@pytest.mark.parametrize("kvp", [120, "120", 120.5, None, np.nan, np.float64(80)])
def test_the_attributes_of_one_study_are_those_of_a_table_of_one_row(kvp):
    facts = {"kvp": kvp, "heart_rows": 200, "row_spacing_mm": 0.5, "heart_columns": None, "column_spacing_mm": 0.5,
             "kernel_class": "soft", "gating": None}  # fmt: skip
    wanted, found = training_range._derived(pd.DataFrame([facts])).iloc[0], training_range._derived_of_one(facts)
    numbers = [name for name in training_range.NUMBERS if name in wanted]
    assert "heart_height_mm" in numbers
    np.testing.assert_array_equal([found[name] for name in numbers], [wanted[name] for name in numbers])
    assert [training_range._code(found[name]) for name in ("kernel_class", "gating")] == ["soft", "not known"]
