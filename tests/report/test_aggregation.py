"""The aggregator: the study's own matrix, partial runs, patients with several scans."""

import os

import pandas as pd
import pytest

from cac_hpc.machine import processes
from cac_hpc.report import aggregation
from cac_hpc.run import ledger
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError
from cac_hpc.train import predictions
from tests.support.reports import PRINTED, check_report, make_run, printed_predictions, report_of, vouch, write_folds
from tests.support.runs import job_here, write_config, write_scans

pytestmark = pytest.mark.usefixtures("no_pictures", "checked")


@pytest.fixture
def checked(monkeypatch):
    """Every report that is made in this process is checked."""
    aggregate = aggregation.aggregate

    def check(root):
        complete = aggregate(root)
        check_report(RunPaths(root))
        return complete

    monkeypatch.setattr(aggregation, "aggregate", check)


def test_the_printed_matrix_given_as_predictions_yields_its_own_figures(tmp_path):
    run = make_run(tmp_path, printed_predictions())
    done = job_here("aggregate.py", "--run", run.root)
    assert done.returncode == 0, done.stderr
    pooled = report_of(run)["levels"]["slice"]["pooled"]
    assert pooled["confusion_matrix"] == PRINTED.tolist()
    assert (pooled["n"], pooled["errors"], pooled["over_estimated"], pooled["under_estimated"]) == (1385, 46, 26, 20)
    values = {name: figure["value"] for name, figure in pooled["figures"].items()}
    assert round(values["accuracy"], 4) == 0.9668
    kappas = [round(values[f"kappa_{name}"], 4) for name in ("plain", "linear", "quadratic")]
    assert kappas == [0.9598, 0.9671, 0.9761]
    shown = job_here("report.py", run.root)
    assert shown.returncode == 0
    for figure in ("0.967", "0.960", "0.976", "1385", "46", "26", "20"):
        assert figure in shown.stdout
    text = (run.report / "report.md").read_text(encoding="utf-8")
    # 301 of 1385 slices are High: always guessing it is right for 0.217
    assert "1339 of 1385 slices are put in the right one of 6 categories: accuracy 0.97 (95 % interval 0.9" in text
    screen = " ".join(shown.stdout.split())
    assert ", 0.749 above always guessing the largest category (High: 0.217)" in screen


def test_the_report_is_shown_on_80_columns_with_every_name_and_interval_whole(tmp_path):
    run = make_run(tmp_path, printed_predictions())
    assert aggregation.aggregate(run.root)
    lines = job_here("report.py", run.root, env={**os.environ, "COLUMNS": "80"}).stdout.splitlines()
    assert max(len(line) for line in lines if str(run.root) not in line) <= 80
    rows = [" ".join(line.split()) for line in lines]
    assert "4 Moderate/High 1 0 1 1 227 0 230" in rows
    assert "all 241 147 210 256 232 299 1385" in rows
    categories = report_of(run)["levels"]["slice"]["pooled"]["categories"]
    for category in categories:
        figures = [category[name] for name in ("precision", "recall", "f1")]
        cells = [f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in figures]
        assert f"{category['category']} {' '.join(cells)}" in rows


def test_a_missing_fold_gives_a_partial_report_that_names_it_and_exit_code_1(tmp_path):
    run = make_run(tmp_path, printed_predictions())
    run.fold(2).predictions.unlink()
    done = job_here("aggregate.py", "--run", run.root)
    assert done.returncode == 1
    assert "fold 2 is missing" in done.stderr
    found = report_of(run)
    assert found["status"] == "PARTIAL"
    assert [fold["fold"] for fold in found["missing_folds"]] == [2]
    assert [fold["fold"] for fold in found["levels"]["slice"]["folds"]] == [0, 1, 3, 4]
    text = (run.report / "report_PARTIAL.md").read_text(encoding="utf-8")
    assert text.startswith("# Coronary calcium category from non-contrast cardiac CT (PARTIAL)")
    assert "PARTIAL: fold 2 is missing (it never started)" in text
    assert job_here("report.py", run.root).returncode == 1


USED = {"seconds": 60.0, "cpus": 1, "gpus": 0, "peak_mb": 500.0, "cpu_seconds": 50.0}
RANK_DIED = {"ok": False, "cause": Cause("rank_died", node="n7", rank=1, place="training"), "lost": True}
DIED = "rank 1 on a node died in training: its process is gone"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([("started", {}), ("ended", RANK_DIED), ("ended", {"ok": False, "cause": Cause("rank_lost")}), ("used", USED)],
         DIED),
        ([("started", {}), ("ended", RANK_DIED), ("used", USED), ("ended", {"ok": False,
          "cause": Cause("host_out_of_memory", limit_bytes=2**30, count=2), "final": True})],
         "out of memory: 1 GB were asked for, and the kernel ended 2 of the job's processes"),
        ([("started", {}), ("ended", RANK_DIED), ("requeued", {"cause": Cause("rank_lost")}),
          ("ended", {"ok": False, "cause": Cause("rank_hangs", rank=0, place="saving", seconds=9), "final": True})],
         "rank 0 hangs in saving: nothing has moved for 9 s"),
        ([("started", {}), ("progress", {"epoch": 3, "val_loss": 0.5})], "it was stopped after epoch 3"),
        ([("started", {})], "it was stopped after its start"),
    ],
)  # fmt: skip
def test_a_missing_fold_is_told_with_what_came_first_or_the_supervisors_last_word(
    tmp_path, events, reason, monkeypatch
):
    monkeypatch.setenv(processes.SUPERVISOR, "1:1")  # started as a stage: whatever the ledger says, all have ended
    run = make_run(tmp_path, printed_predictions())
    run.fold(2).predictions.unlink()
    for event, facts in events:
        ledger.record(run.ledger, "folds", 2, event, **facts)
    assert not aggregation.aggregate(run.root)
    assert report_of(run)["missing_folds"] == [{"fold": 2, "at_work": False, "reason": reason}]


def test_a_run_without_any_fold_still_has_a_report(tmp_path):
    run = make_run(tmp_path, printed_predictions())
    for index in range(5):
        run.fold(index).predictions.unlink()
    assert not aggregation.aggregate(run.root)
    assert report_of(run)["levels"]["patient"]["pooled"]["figures"]["accuracy"]["value"] is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.assign(study="/home/ada/secret"),
        lambda table: table.assign(p0="/home/ada/secret"),
        lambda table: table.rename(columns={"p5": "/home/ada/secret"}),
    ],
)
def test_what_looks_like_a_path_in_damaged_predictions_is_not_repeated(tmp_path, damage):
    run = make_run(tmp_path, printed_predictions())
    path = run.fold(0).predictions
    damage(pd.read_csv(path, dtype={"study": str})).to_csv(path, index=False)
    vouch(run, 0)
    assert not aggregation.aggregate(run.root)
    assert "secret" not in run.report_json.read_text(encoding="utf-8")
    assert report_of(run)["missing_folds"][0]["reason"].startswith("its predictions are not as a fold writes them")


def test_facts_of_a_fold_that_are_damaged_cost_that_fold_alone(tmp_path):
    run = make_run(tmp_path, printed_predictions())
    vouch(run, 0, epochs="four")
    assert not aggregation.aggregate(run.root)
    (missing,) = report_of(run)["missing_folds"]
    assert missing["fold"] == 0
    assert (
        "folds/fold-0/metrics.json: is not as a report is (epochs: Input should be a valid integer" in missing["reason"]
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda table: table.iloc[1:], "slices predicted, the dataset has"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "stands there twice"),
        (lambda table: table.assign(fold=3), "found rows of fold 3, wanted fold 0 alone"),
        (lambda table: table.assign(label=(table["label"] + 1) % 6), "the dataset says"),
        (lambda table: table.assign(study="other"), "stands there twice"),
        (lambda table: table[table["study"] != "0-0"], "name different test studies: 0-0"),
        (lambda table: table.assign(p0=5.0), "do not sum to 1"),
        (lambda table: table.drop(columns="p5"), "found columns"),
    ],
)
def test_predictions_that_are_not_the_folds_own_count_as_missing(tmp_path, damage, said):
    run = make_run(tmp_path, printed_predictions())
    path = run.fold(0).predictions
    damage(pd.read_csv(path, dtype={"study": str})).to_csv(path, index=False)
    vouch(run, 0)
    assert not aggregation.aggregate(run.root)
    reason = report_of(run)["missing_folds"][0]["reason"]
    assert said in reason
    assert str(tmp_path) not in reason
    # out of the way, so that --resume runs the fold again
    assert not path.exists()
    assert path.with_suffix(".csv.invalid").exists()


def test_a_patient_is_judged_by_the_mean_over_the_slices_of_all_scans(tmp_path):
    # patient a has two scans: four slices of six say 3, the truth; patient b: two of three say 0, the truth is 1
    predicted = {("a1", 3): [3, 3, 0], ("a2", 3): [3, 3, 0], ("b", 1): [0, 0, 1], ("c", 0): [0]}
    run = make_run(tmp_path, predicted, {"a1": "a", "a2": "a", "b": "b", "c": "c"}, num_folds=3)
    assert aggregation.aggregate(run.root)
    levels = report_of(run)["levels"]
    assert (levels["patient"]["pooled"]["n"], levels["patient"]["pooled"]["errors"]) == (3, 1)
    assert levels["patient"]["pooled"]["under_estimated"] == 1
    assert (levels["slice"]["pooled"]["n"], levels["slice"]["pooled"]["errors"]) == (10, 4)


def test_patients_tested_by_several_draws_are_not_counted_as_different_ones(tmp_path):
    predicted = {("a", 0): [0, 0], ("b", 1): [1], ("c", 1): [1]}
    run = make_run(tmp_path, predicted, num_folds=3, split={"folds": 2, "scheme": "holdout"})
    studies = pd.read_csv(run.dataset(None).studies)
    write_folds(run, studies, [["a"], ["a"]], predicted, scheme="holdout")
    assert aggregation.aggregate(run.root)
    patients = report_of(run)["levels"]["patient"]
    assert (patients["pooled"]["n"], patients["pooled"]["patients"], patients["distinct"]) == (2, 1, 1)
    assert patients["counting"].startswith("1 units were tested 2 times: every test counts")
    # two tests of one patient are no two witnesses
    assert patients["pooled"]["figures"]["accuracy"]["note"] == "units of one patient only"
    slices = report_of(run)["levels"]["slice"]
    assert (slices["pooled"]["n"], slices["distinct"]) == (4, 2)
    assert "2 of 2 tests of 1 patient are put" in (run.report / "report.md").read_text(encoding="utf-8")


def test_study_numbers_keep_their_zeros(tmp_path):
    run = make_run(tmp_path, {(f"{index:03d}", index % 6): [index % 6] for index in range(12)}, num_folds=3)
    assert aggregation.aggregate(run.root)
    found = predictions.read_predictions(run.fold(0).predictions, 0, 6)
    assert found.studies.tolist() == ["000", "003", "006", "009"]


def test_the_same_predictions_give_the_same_report_byte_for_byte(tmp_path):
    run = make_run(tmp_path, printed_predictions())
    contents = []
    for _ in range(2):
        aggregation.aggregate(run.root)
        contents.append({path.name: path.read_bytes() for path in run.report.rglob("*") if path.is_file()})
        for name in ("circumstances.json", "report.html", "report_without_images.html", "SHA256SUMS"):  # test_pages.py
            del contents[-1][name]
    assert contents[0] == contents[1]
    assert {"report.json", "report.md", "confusion_slice.csv", "results.tex"} <= set(contents[0])


def test_an_unsealed_run_is_refused_with_what_to_do(tmp_path):
    run = RunPaths(tmp_path / "run")
    run.root.mkdir()
    write_config(run.config, write_scans(tmp_path / "scans", 6), run.root)
    done = job_here("aggregate.py", "--run", run.root)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "run the pack stage first" in done.stderr


@pytest.mark.parametrize("name", ["studies.csv", "intake.json"])
@pytest.mark.parametrize(
    ("change", "found"),
    [(lambda path: path.unlink(), "missing"), (lambda path: path.write_text("{}"), "not as it was sealed")],
)
def test_a_table_that_is_not_as_it_was_sealed_is_named_with_what_mends_it(tmp_path, name, change, found):
    run = make_run(tmp_path, {(f"{index:03d}", index % 6): [index % 6] for index in range(10)})
    change(run.dataset(None).root / name)
    with pytest.raises(InputError, match=rf"{name}: {found}; to go on: python jobs/pack.py --run {run.root} --seal"):
        aggregation.aggregate(run.root)
