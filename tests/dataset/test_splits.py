"""Folds: patients kept apart, categories spread, written once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cac_hpc.dataset.held_out import Groups
from cac_hpc.dataset.splits import Fold, check_folds, check_slice_folds, read_splits, slices_of, write_splits
from cac_hpc.dataset.stratification import make_folds
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig
from cac_hpc.train.slices import RowTable

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
    with pytest.raises(InputError, match=r"patients a are in train and test"):
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


def by_slice(**changes):
    return SplitConfig(unit="slice", contrast_to="run", **changes)


def slice_folds(counts, num_slices, cfg):
    """Folds by slice of a cohort, and the slices and category of each of its studies."""
    patient, category = cohort(counts)
    slices = {study: num_slices + index % 3 for index, study in enumerate(patient)}
    return make_folds(patient, category, cfg, slices), slices, category


def test_folds_by_slice_deal_the_slices_of_every_study_and_category_evenly():
    folds, slices, category = slice_folds(STUDY, 20, by_slice())
    everything = sum(slices.values())
    for fold in folds:
        for study, count in slices.items():
            assert abs(len(fold.test[study]) - count / 5) < 1
            assert abs(len(fold.val[study]) - 0.21 * count) < 2
        assert abs(len(slices_of(fold.val)) - 0.21 * everything) < 1
    for value in STUDY:
        tested = [sum(category[study] == value for study, _ in slices_of(fold.test)) for fold in folds]
        assert max(tested) - min(tested) <= 1
    first = folds[0].test["s0-0-0"]
    assert first != tuple(range(first[0], first[0] + len(first)))  # at random, not the neighbours


def test_holdout_by_slice_draws_49_21_30_percent_of_the_slices():
    folds, slices, _ = slice_folds(STUDY, 20, by_slice(scheme="holdout"))
    everything = sum(slices.values())
    for fold in folds:
        shares = [len(slices_of(part)) / everything for part in fold.parts.values()]
        assert shares == pytest.approx([0.49, 0.21, 0.30], abs=0.001)
    assert folds[0].test != folds[1].test


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    num_slices=st.integers(1, 9),
    scheme=st.sampled_from(["kfold", "holdout"]),
    num_folds=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_any_cohort_by_slice_has_each_slice_in_one_part_of_each_fold(counts, num_slices, scheme, num_folds, seed):
    cfg = by_slice(scheme=scheme, folds=num_folds, seed=seed)
    try:
        folds, slices, _ = slice_folds(dict(enumerate(counts)), num_slices, cfg)
    except InputError as error:
        assert "has no slice in its" in str(error)  # noqa: PT017
        assert sum(counts) * num_slices < 12
        return
    everything = sorted((study, at) for study, count in slices.items() for at in range(count))
    for fold in folds:
        assert sorted(pair for part in fold.parts.values() for pair in slices_of(part)) == everything
    if scheme == "kfold":
        assert sorted(pair for fold in folds for pair in slices_of(fold.test)) == everything
    again, _, _ = slice_folds(dict(enumerate(counts)), num_slices, cfg)
    assert again == folds


def test_another_seed_divides_the_slices_otherwise_and_their_order_does_not_matter():
    patient, category = cohort({0: 3, 5: 3})
    slices = dict.fromkeys(patient, 12)
    folds = make_folds(patient, category, by_slice(), slices)
    assert make_folds(patient, category, by_slice(), dict(reversed(slices.items()))) == folds
    assert make_folds(patient, category, by_slice(seed=1), slices) != folds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"a": (0, 1), "b": (0,)}}, r"fold 0: slices \[\('a', 1\)\] are not in exactly one part"),
        ({"train": {"a": (0,)}}, r"fold 0: slices \[\('b', 0\)\] are not in exactly one part"),
        ({"train": {"a": (0,), "b": (0,), "c": (7,)}}, r"fold 0: slices \[\('c', 7\)\] are not in exactly one part"),
        ({"val": {}, "train": {"a": (0, 1), "b": (0,)}}, "fold 0 has no slice in its val part"),
        ({}, r"kfold: slices \[\('a', 0\), \('a', 1\), \('b', 0\)\] are not tested exactly once"),
    ],
)
def test_folds_by_slice_that_are_wrong_are_refused(change, said):
    parts = {"train": {"a": (0,), "b": (0,)}, "val": {"a": (1,)}, "test": {"b": (1,)}} | change
    with pytest.raises(InputError, match=said):
        check_slice_folds([Fold(**parts)], {"a": 2, "b": 2}, "kfold")


def test_folds_by_slice_are_written_once_and_read_back(tmp_path):
    path, cfg = tmp_path / "splits.json", by_slice()
    folds, _, _ = slice_folds({0: 2, 5: 2}, 12, cfg)
    write_splits(path, folds, cfg, "digest")
    write_splits(path, folds, cfg, "digest")
    assert read_splits(path) == folds
    assert '"unit": "slice"' in path.read_text(encoding="utf-8")


def test_folds_by_patient_are_written_as_ever(tmp_path):
    fold = Fold(train=("a",), val=("b",), test=("c",))
    write_splits(tmp_path / "splits.json", [fold], SplitConfig(), "digest")
    text = (tmp_path / "splits.json").read_text(encoding="utf-8")
    assert "".join(line.strip() for line in text.splitlines()) == (
        '{"scheme": "kfold","seed": 0,"studies_sha256": "digest",'
        '"folds": [{"train": ["a"],"val": ["b"],"test": ["c"]}]}'
    )


def test_a_part_of_slices_gives_these_rows_alone_in_the_order_of_study_and_slice():
    study, at = np.array(["b", "b", "a", "a", "c"]), np.array([1, 0, 0, 1, 0])
    table = RowTable(study, at, np.zeros(5, np.int64))
    assert table.rows({"b": (0, 1), "a": (1,)}).tolist() == [3, 1, 0]
    assert table.rows(("b", "a")).tolist() == [2, 3, 1, 0]
    assert table.rows({}).tolist() == []


def scanners(**sizes):
    """Patients of each scanner by name, categories in turn; one study each."""
    patient, category, of_study = {}, {}, {}
    for name, count in sizes.items():
        for index in range(count):
            study = f"{name}{index}"
            patient[study], category[study], of_study[study] = f"p-{study}", index % 3, name
    return patient, category, of_study


def test_leave_one_out_tests_each_group_once_by_models_that_never_saw_it():
    patient, category, of_study = scanners(a=12, b=15, c=10, few=4, unknown=3)
    groups = Groups("scanner", of_study, ("a", "b", "c"))
    folds = make_folds(patient, category, SplitConfig(scheme="leave_one_out", group="scanner"), groups=groups)
    assert [{of_study[study] for study in fold.test} for fold in folds] == [{"a"}, {"b"}, {"c"}]
    assert [len(fold.test) for fold in folds] == [12, 15, 10]
    for name, fold in zip("abc", folds, strict=True):
        rest = [study for study in patient if of_study[study] != name]
        assert sorted((*fold.train, *fold.val)) == sorted(rest)
        assert {"few", "unknown"} <= {of_study[study] for study in (*fold.train, *fold.val)}
        assert len(fold.val) == round(0.21 * len(rest))
        in_val = [sum(category[study] == value for study in fold.val) for value in range(3)]
        assert max(in_val) - min(in_val) <= 2


def test_a_patient_of_two_groups_is_tested_nowhere_and_learned_from_where_neither_is_tested():
    patient, category, of_study = scanners(a=10, b=10, c=10)
    patient["b0"] = patient["a0"]
    groups = Groups("scanner", of_study, ("a", "b", "c"))
    folds = make_folds(patient, category, SplitConfig(scheme="leave_one_out", group="scanner"), groups=groups)
    for name, fold in zip("abc", folds, strict=True):
        assert ({"a0", "b0"} <= {*fold.train, *fold.val}) == (name == "c")
        assert not {"a0", "b0"} & {*fold.test}


@pytest.mark.parametrize(
    ("part", "studies", "message"),
    [
        ("train", ("a0",), "fold 0: patients"),
        ("train", ("b0", "c0"), "fold 1 tests the group 'b', but learns of its studies"),
        ("test", ("a1",), "are not in the test part of their group"),
    ],
)
def test_a_fold_that_learns_of_its_group_or_lacks_a_patient_is_refused(part, studies, message):
    patient, category, of_study = scanners(a=10, b=10, c=10)
    groups = Groups("scanner", of_study, ("a", "b", "c"))
    cfg = SplitConfig(scheme="leave_one_out", group="scanner")
    folds = make_folds(patient, category, cfg, groups=groups)
    index = 1 if "b0" in studies else 0
    parts = folds[index].parts | {part: studies}
    if index:  # a study of the group that is not tested in it
        parts["test"] = tuple(study for study in parts["test"] if study != "b0")
    folds[index] = Fold(**parts)
    with pytest.raises(InputError, match=message):
        check_folds(folds, patient, "leave_one_out", groups)


@pytest.mark.parametrize("scheme", ["kfold", "holdout"])
def test_each_fold_has_its_share_of_every_group_in_every_category(scheme):
    patient, category, of_study = scanners(a=45, b=30, c=15)
    groups = Groups("scanner", of_study, ())
    cfg = SplitConfig(scheme=scheme, group="scanner", test_fraction=0.2)
    for fold in make_folds(patient, category, cfg, groups=groups):
        for name, value, count in [(name, value, 15 if name == "a" else 10 if name == "b" else 5)
                                   for name in "abc" for value in range(3)]:  # fmt: skip
            tested = sum((of_study[study], category[study]) == (name, value) for study in fold.test)
            assert abs(tested - 0.2 * count) <= 1, (name, value)
        assert len(fold.test) == 18


def test_without_groups_kfold_and_holdout_divide_as_they_did():
    patient, category = cohort(STUDY)
    one = dict.fromkeys(patient, "only")
    for scheme in ("kfold", "holdout"):
        plain = make_folds(patient, category, SplitConfig(scheme=scheme))
        groups = Groups("scanner", one, ())
        assert make_folds(patient, category, SplitConfig(scheme=scheme, group="scanner"), groups=groups) == plain
