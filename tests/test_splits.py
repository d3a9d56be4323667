"""Folds: patients kept apart, categories spread, written once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cac_hpc.config import InputError, SplitConfig
from cac_hpc.splits import Fold, check_folds, make_folds, read_splits, write_splits

STUDY = dict(zip(range(6), (12, 7, 11, 12, 11, 15), strict=True))  # patients per category


def cohort(counts, studies_per_patient=1):
    patient, category = {}, {}
    for value, count in counts.items():
        for index in range(count):
            for scan in range(studies_per_patient):
                patient[f"s{value}-{index}-{scan}"] = f"p{value}-{index}"
                category[f"s{value}-{index}-{scan}"] = value
    return patient, category


def test_kfold_tests_every_study_once_and_spreads_the_categories():
    patient, category = cohort(STUDY)
    folds = make_folds(patient, category, SplitConfig())
    assert sorted(study for fold in folds for study in fold.test) == sorted(patient)
    for value, count in STUDY.items():
        in_fold = [sum(category[study] == value for study in fold.test) for fold in folds]
        assert max(in_fold) - min(in_fold) <= 1, (value, count, in_fold)


def test_a_category_with_fewer_patients_than_folds_is_spread_too():
    patient, category = cohort({0: 10, 3: 2, 5: 8})
    folds = make_folds(patient, category, SplitConfig())
    assert sorted(sum(category[study] == 3 for study in fold.test) for fold in folds) == [0, 0, 0, 1, 1]


def test_the_validation_part_is_its_share_of_all_patients_and_of_each_category():
    patient, category = cohort(STUDY)
    for fold in make_folds(patient, category, SplitConfig()):
        assert len(fold.val) == 14  # 21 % of 68
        for value, count in STUDY.items():
            assert abs(sum(category[study] == value for study in fold.val) - 0.21 * count) < 1.5


def test_holdout_draws_49_21_30_percent_five_times():
    patient, category = cohort(STUDY)
    folds = make_folds(patient, category, SplitConfig(scheme="holdout"))
    assert [(len(fold.train), len(fold.val), len(fold.test)) for fold in folds] == [(34, 14, 20)] * 5
    assert len({fold.test for fold in folds}) == 5


def test_all_studies_of_a_patient_stay_in_one_part():
    patient, category = cohort(STUDY, studies_per_patient=2)
    for fold in make_folds(patient, category, SplitConfig()):
        parts = [{patient[study] for study in part} for part in (fold.train, fold.val, fold.test)]
        assert len(set.union(*parts)) == sum(map(len, parts))


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=6, max_size=6),
    scans=st.integers(1, 3),
    scheme=st.sampled_from(["kfold", "holdout"]),
    seed=st.integers(0, 1000),
)
def test_any_cohort_gives_disjoint_folds_or_one_clear_error(counts, scans, scheme, seed):
    patient, category = cohort(dict(enumerate(counts)), scans)
    cfg = SplitConfig(scheme=scheme, seed=seed)
    try:
        folds = make_folds(patient, category, cfg)
    except InputError:
        assert sum(counts) < 8  # a part would be empty
        return
    assert len(folds) == 5
    check_folds(folds, patient, scheme)


def test_the_same_seed_gives_the_same_folds_whatever_the_order_of_the_sheet():
    patient, category = cohort(STUDY)
    backwards = dict(reversed(patient.items()))
    assert make_folds(patient, category, SplitConfig()) == make_folds(backwards, category, SplitConfig())
    assert make_folds(patient, category, SplitConfig()) != make_folds(patient, category, SplitConfig(seed=1))


def test_fewer_patients_than_folds_is_refused():
    patient, category = cohort({0: 2, 5: 2})
    with pytest.raises(InputError, match=r"split.folds is 5, but the labels name only 4 patients"):
        make_folds(patient, category, SplitConfig())


def test_a_patient_in_two_parts_is_an_error():
    fold = Fold(train=("a1",), val=("b",), test=("a2",))
    with pytest.raises(InputError, match=r"patients \['a'\] are in train and test"):
        check_folds([fold], {"a1": "a", "a2": "a", "b": "b"}, "holdout")


def test_folds_are_written_once(tmp_path):
    patient, category = cohort(STUDY)
    path, cfg = tmp_path / "splits.json", SplitConfig()
    folds = make_folds(patient, category, cfg)
    write_splits(path, folds, cfg, "digest")
    before = path.stat().st_mtime_ns
    write_splits(path, folds, cfg, "digest")
    assert (read_splits(path), path.stat().st_mtime_ns) == (folds, before)
    with pytest.raises(InputError, match="holds other folds"):
        write_splits(path, folds, cfg, "another digest")
