"""Planted leaks and results of others: each is refused by name."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import integrity, shards, splits
from cac_hpc.evaluation import audit
from cac_hpc.labels import spelling
from cac_hpc.report import aggregation
from cac_hpc.results.audits import Audit
from cac_hpc.run import digests, disk, ledger, paths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from tests.support.reports import make_run, report_of, vouch
from tests.support.runs import job, pack, prepare, write_scans

pytestmark = pytest.mark.usefixtures("no_pictures")


def with_shards(run, same=(), blank=(), per_shard=4):
    """Give the run's dataset its shards: random slices, but for those of `same`, which are the first one's."""
    dataset, rng = run.dataset(None), np.random.default_rng(0)
    studies = pd.read_csv(dataset.studies, dtype=str)
    names, counts = studies["study"].tolist(), studies["slices"].astype(int)
    image = {(name, at): rng.integers(-900, 900, (8, 8)) for name, count in zip(names, counts, strict=True)
             for at in range(count)}  # fmt: skip
    image |= dict.fromkeys(same[1:], image[same[0]] if same else None) | dict.fromkeys(blank, np.full((8, 8), -1024))
    sealed = []
    for index in range(0, len(names), per_shard):
        path = dataset.shard(index // per_shard)
        path.parent.mkdir(exist_ok=True)
        with shards.create(path, 8) as writer:
            for name, count in zip(names[index : index + per_shard], counts[index : index + per_shard], strict=True):
                with writer.study(name) as keep:
                    for at in range(count):
                        keep(image[name, at].astype(np.int16), 3.0 * at)
        sealed.append({"file": str(path.relative_to(dataset.root)), "rows": 0, "digest": "-"})
    reseal(run, shards=sealed)
    return run


def reseal(run, **changes):
    dataset = run.dataset(None)
    content = integrity.read_checked(dataset.seal) | changes
    content |= {f"{path.stem}_sha256": digests.file_sha256(path) for path in (dataset.studies, dataset.intake)}
    integrity.write_checked(dataset.seal, content)


def small_run(tmp_path, names="abcdef", patient=None, **sections):
    predicted = {(name, index % 6): [index % 6] * 3 for index, name in enumerate(names)}
    return make_run(tmp_path, predicted, patient, num_folds=3, **sections)


def only_reason(run):
    assert not aggregation.aggregate(run.root)
    (missing,) = report_of(run)["missing_folds"]
    return missing["fold"], missing["reason"]


def test_a_clean_run_says_what_was_checked(tmp_path):
    run = with_shards(small_run(tmp_path))
    assert aggregation.aggregate(run.root)
    assert {one["name"]: one["passed"] for one in report_of(run)["audits"]} == dict.fromkeys(
        ("labels", "patients", "ids", "pixels", "results"), True
    )


def test_without_shards_the_report_says_that_pixels_were_not_compared(tmp_path):
    run = small_run(tmp_path)
    assert aggregation.aggregate(run.root)
    assert {one["name"]: one["passed"] for one in report_of(run)["audits"]}["pixels"] is None
    assert "Check of pixels NOT checked: the dataset's shards are not there" in (run.report / "report.md").read_text()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"fold": 2}, "they are of another fold (metrics.json, fold)"),
        ({"splits_sha256": "0" * 64}, "they were made with another splits.json, of another run or before a change"),
        ({"predictions_sha256": "0" * 64}, "they are not as they were written"),
        ({"attempt": 0}, "they are of start 0 of the fold, the newest is 1"),
    ],
)
def test_predictions_that_metrics_json_does_not_vouch_for_are_refused(tmp_path, facts, said):
    run = small_run(tmp_path)
    vouch(run, 1, **facts)
    fold, reason = only_reason(run)
    assert fold == 1
    assert said in reason
    assert "folds/fold-1/predictions.csv" in reason


def test_a_result_of_an_older_start_than_the_newest_is_refused(tmp_path):
    run = small_run(tmp_path)
    run.fold(2).attempt(2).write_text("{}")
    assert only_reason(run)[1].endswith("they are of start 1 of the fold, the newest is 2 (metrics.json, attempt)")


def test_the_fold_of_another_run_is_refused(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "one").mkdir()
    run, other = small_run(tmp_path / "one"), small_run(tmp_path / "other", "abcdfe")
    for name in ("predictions.csv", "metrics.json"):
        (run.fold(0).root / name).write_bytes((other.fold(0).root / name).read_bytes())
    assert "made with another splits.json" in only_reason(run)[1]


@pytest.mark.parametrize("text", [None, "[]", "{"])
def test_predictions_that_nobody_vouches_for_are_refused(tmp_path, text):
    run = small_run(tmp_path)
    run.fold(0).metrics.unlink()
    if text:
        run.fold(0).metrics.write_text(text, encoding="utf-8")
    assert "missing or damaged, so nobody knows whose predictions these are" in only_reason(run)[1]


def test_labels_that_changed_after_the_folds_were_made_are_refused(tmp_path):
    run = small_run(tmp_path)
    table = pd.read_csv(run.dataset(None).studies)
    table.loc[0, "category"] = 5
    table.to_csv(run.dataset(None).studies, index=False)
    reseal(run)
    with pytest.raises(InputError, match=r"studies\.csv: not the one that splits\.json was made from, so labels may"):
        aggregation.aggregate(run.root)


def edit_splits(run, change):
    content = disk.read_json(run.splits)
    change(content["folds"])
    run.splits.write_text(json.dumps(content), encoding="utf-8")


def test_a_patient_in_training_and_test_is_refused(tmp_path):
    run = small_run(tmp_path)
    edit_splits(run, lambda folds: folds[1]["train"].append(folds[1]["test"][0]))
    with pytest.raises(InputError, match=r"fold 1: patients b are in train and test, wanted in one part"):
        aggregation.aggregate(run.root)


def test_another_scan_of_a_test_patient_in_training_is_refused(tmp_path):
    run = small_run(tmp_path, patient={name: {"e": "a"}.get(name, name) for name in "abcdef"})

    def change(folds):
        folds[0]["test"].remove("e")
        folds[0]["train"].append("e")

    edit_splits(run, change)
    with pytest.raises(InputError, match=r"fold 0: patients a are in train and test"):
        aggregation.aggregate(run.root)


def test_a_study_that_the_dataset_does_not_have_is_refused(tmp_path):
    run = small_run(tmp_path)
    edit_splits(run, lambda folds: folds[0]["train"].append("ghost"))
    with pytest.raises(InputError, match=r"names studies ghost, which the dataset does not have"):
        aggregation.aggregate(run.root)


def test_nearly_equal_numbers_of_different_patients_across_a_fold_are_refused_with_a_way_on(tmp_path):
    run = small_run(tmp_path, ("A07", "b", "c", "d", "a-7", "f"))
    with pytest.raises(InputError, match=r"different parts of a fold: 'A07' and 'a-7'; give them one patient .* warn"):
        aggregation.aggregate(run.root)


def test_nearly_equal_numbers_that_are_said_to_be_different_people_stand_in_the_report(tmp_path):
    run = small_run(tmp_path, ("A07", "b", "c", "d", "a-7", "f"), report={"near_equal_ids": "warn"})
    assert aggregation.aggregate(run.root)
    assert "Check of ids NOT passed: nearly equal study numbers" in (run.report / "report.md").read_text()


def test_nearly_equal_numbers_of_one_patient_are_his_scans(tmp_path):
    names = ("A07", "b", "c", "d", "a-7", "f")
    run = small_run(tmp_path, names, {name: {"a-7": "A07"}.get(name, name) for name in names})
    assert aggregation.aggregate(run.root)


@pytest.mark.parametrize(
    ("planned", "passed", "note"),
    [
        ({}, None, "pseudonyms stand for the study numbers, and the dataset's plan does not say what they were like"),
        ({"near_equal": 0}, True, "no two patients had nearly equal study numbers when pseudonyms were given"),
        ({"near_equal": 2}, False, "groups of nearly equal study numbers of different patients when pseudonyms were "
                                   "given: 2"),
    ],
)  # fmt: skip
def test_behind_pseudonyms_study_numbers_are_judged_by_the_planner_alone(tmp_path, planned, passed, note):
    run = small_run(tmp_path, data={"pseudonym_key": str(tmp_path / "key")})
    plan = run.dataset(None).plan
    disk.write_json(plan, disk.read_json(plan) | planned)
    studies = pd.read_csv(run.dataset(None).studies, dtype=str)
    cfg, folds = stored_settings.load(run.config), splits.read_splits(run.splits)
    found = audit.check_cohort(cfg, run.splits, run.dataset(None), folds, studies)
    assert Audit("ids", passed, note) in found


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [("A07", "a 7", True), ("CT-12", "ct12", True), ("007", "7", True), ("1-12", "11-2", False), ("A7", "A8", False),
     ("Ａ７", "a7", True), ("S000", "s0", True), ("--", "-", False)],
)  # fmt: skip
def test_what_counts_as_nearly_equal(one, other, alike):
    assert (spelling.tokens(one) == spelling.tokens(other)) == alike


def test_the_same_scan_under_two_numbers_is_refused_by_its_pixels(tmp_path):
    run = with_shards(small_run(tmp_path), same=[("b", 1), ("e", 0), ("f", 2)])
    done = job("aggregate.py", "--run", run.root)
    assert done.returncode == 2
    assert "equal pixel by pixel, in different parts of a fold: 'b' and 'e', 'b' and 'f'" in done.stderr
    assert not (run.report / "report.json").exists()


def test_the_same_scan_under_two_numbers_is_refused_at_the_seal_before_any_fold_is_trained(tmp_path):
    scans = write_scans(tmp_path / "scans")
    for path in (scans / "012").iterdir():
        path.unlink()
    for path in (scans / "001").iterdir():
        shutil.copy(path, scans / "012")
    run = prepare(tmp_path, scans)
    with pytest.raises(InputError, match=r"equal pixel by pixel, in different parts of a fold: '001' and '012'; give"):
        pack(run)
    assert not paths.RunPaths(run).splits.exists()
    ended = ledger.read(paths.RunPaths(run).ledger)[-1]
    assert (ended["stage"], ended["ok"]) == ("seal", False)


def test_blank_slices_and_slices_of_one_patient_may_be_equal(tmp_path):
    run = small_run(tmp_path, patient={name: {"e": "a"}.get(name, name) for name in "abcdef"})
    with_shards(run, same=[("a", 0), ("e", 1)], blank=[("a", 2), ("b", 2), ("c", 0), ("c", 1)])
    assert aggregation.aggregate(run.root)


def test_a_damaged_shard_is_named_and_does_not_end_the_report_without_a_word(tmp_path):
    run = with_shards(small_run(tmp_path))
    path = run.dataset(None).shard(1)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises((InputError, OSError), match=r"shard-00001\.h5|unable|truncated"):
        aggregation.aggregate(run.root)
