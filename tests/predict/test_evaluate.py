"""External tests of a bundle, and of predictions of other programs, as the commands make them."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from cac_hpc.evaluation import external as external_numbers
from cac_hpc.evaluation import external_files, external_inputs, predicted
from cac_hpc.predict import bundle_files, external, training_range
from cac_hpc.report import consistency, pictures
from cac_hpc.results.serialization import to_json
from cac_hpc.run import disk
from cac_hpc.settings import evaluate_command, predict_command
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig
from tests.support.exporting import small_bundle
from tests.support.runs import job_here

STUDIES = [f"{number:03d}" for number in range(1, 13)]
REPORTED = [0, 0, 5, 5, 50, 50, 200, 200, 700, 700, 2000, 3000]
SAID = [0, 20, 5, 5, 50, 50, 200, 200, 700, 300, 2000, 3000]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of predictions of a bundle, a sheet, and predictions of another program."""
    monkeypatch.setattr(pictures, "draw", lambda *of: None)
    category = np.searchsorted(LabelsConfig.edges, SAID)
    table = pd.DataFrame({"study": STUDIES, "score": SAID, "category": [LabelsConfig.names[one] for one in category]})
    table["category_index"] = category
    for number in range(6):
        table[f"p{number}"] = np.where(category == number, 0.9, 0.02)
    table = table.assign(rule_score=REPORTED, known=[1] + [0] * 11, out_of_range="", warnings="", fault="")
    out = tmp_path / "predicted"
    out.mkdir()
    table.to_csv(out / "predictions.csv", index=False)
    facts = pd.DataFrame({"study": STUDIES, "kvp": [120] * 11 + [80], "kernel": ["FC12"] * 12, "slices": range(40, 52)})
    facts.to_csv(out / "studies.csv", index=False)
    pd.DataFrame({"study": STUDIES, "score": REPORTED}).to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame({"study": STUDIES, "score": REPORTED}).to_csv(tmp_path / "deepcac.csv", index=False)
    return tmp_path


def bundle_of(folder):
    """A bundle whose run had twelve other patients, all of them right."""
    found = predicted.read(folder / "deepcac.csv", LabelsConfig.names, LabelsConfig.edges)
    asked = external_inputs.Asked("run", ["model"], ReportConfig(draws=200))
    test, table = external_inputs.collect(found, [], LabelsConfig(sheet=str(folder / "labels.csv")), asked, None)
    level = to_json(external_numbers.report(test, table).levels["patient"])
    studies = pd.DataFrame({"slices": [40, 60], "kvp": [120, 120], "kernel": ["B35f", "FC12"]})
    internal = {"title": "Run A", "status": "COMPLETE", "level": level, "scores": None}
    return small_bundle(internal=internal, training=training_range.of_studies(studies))


def read(out):
    return json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))


def test_predictions_of_a_bundle_get_a_report_beside_its_own_figures(folder):
    out, cfg = folder / "predicted", LabelsConfig(sheet=str(folder / "labels.csv"))
    external.report(out, bundle_of(folder), cfg)
    report = read(out)
    found = report["external"]
    assert (report["status"], report["levels"]["patient"]["pooled"]["errors"]) == ("EXTERNAL", 2)
    assert [(one["study"], one["why"]) for one in found["left_out"]] == [("001", "known")]
    accuracy = found["internal"]["compared"]["figures"]["accuracy"]
    assert (accuracy["reference"], accuracy["other"]) == (1.0, pytest.approx(9 / 11))
    assert found["internal"]["source"] == "Run A, COMPLETE"
    facts = {one["name"]: (one["internal"], one["external"]) for one in found["cohorts"]}
    assert [side["counts"] for side in facts["kernel"]] == [{"B35f": 1, "FC12": 1}, {"FC12": 11}]
    assert [(side["low"], side["high"]) for side in facts["tube voltage"]] == [(120, 120), (80, 120)]
    assert facts["reported Agatston score"][0] == {"note": "not known"}
    assert consistency.check(out / "report" / "report.json") == 0
    with pytest.raises(InputError, match="wanted the bundle's categories Very Low, Low"):
        external.report(out, bundle_of(folder), LabelsConfig(sheet=cfg.sheet, edges=(0.0,), names=("none", "some")))


def with_sets(folder, low, high, **cells):
    """The predictions with prediction sets, the training patient as before."""
    table = pd.read_csv(folder / "predicted" / "predictions.csv", dtype={"study": str})
    ends = {"set_low": low, "set_high": high, "set_coverage": 0.9, **cells}
    table.assign(**ends).to_csv(folder / "predicted" / "predictions.csv", index=False)


def test_prediction_sets_are_held_against_the_labels_of_patients_that_did_not_calibrate_them(folder):
    category = np.searchsorted(LabelsConfig.edges, SAID)
    with_sets(folder, np.maximum(category - (np.arange(12) < 4), 0), category)
    bundle = bundle_of(folder)
    promised = {"calibrated_by": 68, "mean": 0.913, "low": 0.837, "high": 0.967}
    bundle.internal["prediction_sets"] = {"wanted": 0.9, "promised": promised}
    out = folder / "predicted"
    external.report(out, bundle, LabelsConfig(sheet=str(folder / "labels.csv")))
    found = read(out)["prediction_sets"]
    assert (found["wanted"], found["n"], found["sizes"], found["promised"]) == (0.9, 11, [8, 3, 0, 0, 0, 0], promised)
    coverage = found["figures"]["coverage"]  # of two wrong, one set is one category too low, one is two categories
    assert (coverage["value"], coverage["interval"]) == (pytest.approx(9 / 11), "wilson")
    assert found["figures"]["mean_size"]["value"] == pytest.approx(14 / 11)
    assert found["folds"] == []
    table = pd.read_csv(out / "report" / "tables" / "prediction_sets.csv")
    assert len(table) == 11
    assert table["holds_true"].sum() == 9
    text = (out / "report" / "report_EXTERNAL.md").read_text(encoding="utf-8")
    assert "In 9 of 11 patients, 82% (" in text
    assert "Sets calibrated on 68 patients hold the true category of 84% to 97%" in text
    assert consistency.check(out / "report" / "report.json") == 0


def test_without_sets_or_their_coverage_that_is_said(folder):
    assert evaluate(folder) == 0
    assert read(folder / "out")["prediction_sets"]["note"].startswith("the predictions have no prediction sets")
    with_sets(folder, 0, 5, set_coverage="")
    assert evaluate(folder, "--out", str(folder / "again")) == 0


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        ({"low": 4, "high": 3}, "name no prediction set, wanted its lowest and highest category, 0 to 5"),
        ({"low": 0, "high": 6}, "name no prediction set"),
        ({"low": "Low", "high": "High"}, "name no prediction set"),
        ({"low": [0] + [""] * 11, "high": [5] + [""] * 11}, "has no prediction set, others have"),
        ({"low": 0, "high": 5, "set_coverage": [0.9] * 11 + [0.8]}, "found set_coverage 0.9, 0.8, wanted one share"),
        ({"low": 0, "high": 5, "set_coverage": 3}, "found set_coverage 3, wanted one share"),
    ],
)
def test_prediction_sets_that_cannot_be_are_refused(folder, cells, wanted):
    with_sets(folder, **cells)
    with pytest.raises(InputError) as refused:
        predicted.read(folder / "predicted" / "predictions.csv", LabelsConfig.names, LabelsConfig.edges)
    assert wanted in str(refused.value)


def evaluate(folder, *options):
    words = [
        str(folder / "deepcac.csv"),
        "--labels",
        str(folder / "labels.csv"),
        "--out",
        str(folder / "out"),
        *options,
    ]
    return external.evaluate(evaluate_command.parse_evaluate(None, words))


def test_other_programs_stand_beside_ours_in_pairs_and_beside_a_run(folder, capsys):
    bundle_files.write(bundle_of(folder), folder / "bundle.zip")
    assert evaluate(folder, "--beside", str(folder / "predicted"), str(folder / "bundle.zip"), "--name", "DeepCAC") == 0
    report = read(folder / "out")
    readers = {one["key"]: one for one in report["readers"]["readers"]}
    assert {key: one["name"] for key, one in readers.items() if key in ("model", "other")} == {
        "model": "predictions of DeepCAC", "other": "predictions in folder predicted",
    }  # fmt: skip
    test = readers["other"]["compared"]["sign_test"]
    assert (test["test"], test["other_better"], test["reference_better"]) == ("exact McNemar test", 2, 0)
    assert report["external"]["internal"]["compared"]["figures"]["accuracy"]["difference"] == 0
    assert report["external"]["known"] == "unknown"
    assert "Check of patients of the training studies NOT checked" in (
        folder / "out" / "report" / "report_EXTERNAL.md"
    ).read_text(encoding="utf-8")
    assert "External test of the predictions of DeepCAC: 12 patients" in capsys.readouterr().out
    assert not [*folder.glob("**/*.tmp")]


def test_categories_of_ones_own(folder):
    pd.DataFrame({"study": STUDIES, "category": ["none"] * 2 + ["some"] * 10}).to_csv(
        folder / "deepcac.csv", index=False
    )
    assert evaluate(folder, "--edges", "0", "--names", "none", "some") == 0
    report = read(folder / "out")
    assert [one["name"] for one in report["categories"]] == ["none", "some"]
    assert report["levels"]["patient"]["pooled"]["confusion_matrix"] == [[2, 0], [0, 10]]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--beside", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (
            ["--edges", "0", "10"],
            "--names is Very Low, Low, Low/Moderate, Moderate, Moderate/High, High, but must be 3 "
            "names, one more than --edges",
        ),
        (["--edges", "10", "0"], "--edges is 10, 0, but must be rising numbers"),
        (["--figure_dpi", "5"], "--figure_dpi"),
        (["--labels.score_column", "points"], "wanted also 'points'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder, options, wanted):
    with pytest.raises(InputError) as refused:
        evaluate(folder, *options)
    assert wanted in str(refused.value)
    assert not (folder / "out").exists()


def test_the_report_of_a_run_is_not_replaced(folder):
    (folder / "out").mkdir()
    (folder / "out" / "config.yaml").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match=r"--out .*out: found a run, whose report would be replaced"):
        evaluate(folder)
    assert [one.name for one in (folder / "out").iterdir()] == ["config.yaml"]


def test_figures_are_split_into_studies_in_the_training_range_and_outside(folder):
    out, cfg = folder / "predicted", LabelsConfig(sheet=str(folder / "labels.csv"))
    bundle = bundle_of(folder)
    external.report(out, bundle, cfg)
    assert read(out)["external"]["by_range"] == {"note": "all studies lie in the training range"}
    table = pd.read_csv(out / "predictions.csv", dtype={"study": str})
    twice = pd.concat([table, table.assign(study=table["study"].str.replace("0", "1", n=1))]).assign(known=0)
    twice["out_of_range"] = np.where(twice["study"].str.startswith("1"), "kernel", "")
    twice.to_csv(out / "predictions.csv", index=False)
    sheet = pd.DataFrame({"study": twice["study"], "score": REPORTED * 2})
    sheet.to_csv(folder / "labels.csv", index=False)
    (out / "external.json").unlink()
    shutil.rmtree(out / "report")
    external.report(out, bundle, cfg)
    split = read(out)["external"]["by_range"]
    for group in (split["inside"], split["outside"]):
        assert (group["studies"], group["patients"], group["right"]) == (12, 12, 10)
        assert group["figures"]["accuracy"]["value"] == pytest.approx(10 / 12)
        assert group["figures"]["accuracy"]["low"] is not None
    assert split["differences"]["accuracy"]["difference"] == 0
    assert consistency.check(out / "report" / "report.json") == 0


def test_of_fewer_than_ten_patients_outside_of_the_range_the_right_ones_are_counted(folder):
    table = pd.read_csv(folder / "predicted" / "predictions.csv", dtype={"study": str})
    table["out_of_range"] = ["tube voltage", "kernel"] + [""] * 10
    table.assign(known=0).to_csv(folder / "predicted" / "predictions.csv", index=False)
    external.report(folder / "predicted", bundle_of(folder), LabelsConfig(sheet=str(folder / "labels.csv")))
    split = read(folder / "predicted")["external"]["by_range"]
    assert (split["outside"]["patients"], split["outside"]["right"], split["outside"]["figures"]) == (2, 1, {})
    assert (split["inside"]["patients"], split["inside"]["figures"]["accuracy"]["n"]) == (10, 10)
    assert split["differences"] == {}
    page = (folder / "predicted" / "report" / "report_EXTERNAL.md").read_text(encoding="utf-8")
    assert "9 of 10 patients right in it, 1 of 2 patients right outside; one of the groups has fewer than 10" in page


def test_another_evaluation_does_not_replace_one_but_the_same_may_be_made_again(folder):
    assert evaluate(folder) == 0
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.suffix == ".csv"}
    assert evaluate(folder) == 0
    assert {path: path.read_bytes() for path in before} == before
    for options, other in (
        (["--title", "Mine"], "title"),
        (["--beside", str(folder / "predicted")], "beside_1, names"),
    ):
        with pytest.raises(InputError, match=rf"found the report of another external test in it \(other {other}"):
            evaluate(folder, *options)
    sheet = pd.read_csv(folder / "labels.csv")
    sheet.assign(patient=["1"] * 2 + STUDIES[2:]).to_csv(folder / "labels.csv", index=False)
    with pytest.raises(InputError, match=r"\(other labels\), which would be replaced; wanted the same again"):
        evaluate(folder)
    (folder / "out" / "external.json").unlink()
    with pytest.raises(InputError, match="found a report in it that is of no external test"):
        evaluate(folder)
    assert {path: path.read_bytes() for path in before} == before


def test_the_report_command_shows_an_external_test_and_says_what_to_do_with_more(folder):
    assert evaluate(folder, "--name", "DeepCAC") == 0
    shown = job_here("report.py", folder / "out")
    assert (shown.returncode, "External test of the predictions of DeepCAC: 12 patients" in shown.stdout) == (0, True)
    taken = job_here("report.py", folder / "out", "--out", folder / "home")
    assert (taken.returncode, "found an external test, wanted a run; copy " in taken.stderr) == (2, True)
    both = job_here("report.py", folder / "out", folder / "predicted")
    assert (both.returncode, "--beside OTHER_PREDICTIONS compares programs" in both.stderr) == (2, True)


def test_another_sheet_is_refused_before_anything_is_predicted(folder):
    out, cfg = folder / "predicted", LabelsConfig(sheet=str(folder / "labels.csv"))
    external.report(out, bundle_of(folder), cfg)
    external.maker(cfg, out)
    (folder / "other.csv").write_text("study,score\n001,5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"made with another sheet than .*python jobs/evaluate.py .* --out ELSEWHERE"):
        external.maker(LabelsConfig(sheet=str(folder / "other.csv")), out)


def test_a_sheet_without_some_of_the_studies_is_refused_with_where_the_predictions_are(folder):
    out, bundle = folder / "predicted", bundle_of(folder)
    (folder / "other.csv").write_text("study,score\n001,5\n", encoding="utf-8")
    make = external.maker(LabelsConfig(sheet=str(folder / "other.csv")), out)
    with pytest.raises(InputError, match=r"other.csv: 11 faults; wanted one valid row for each study"):
        make.check(STUDIES, bundle)  # before anything is predicted
    with pytest.raises(InputError) as found:
        make(out, bundle)
    first, *_, last = str(found.value).splitlines()
    assert "other.csv: 11 faults; wanted one valid row for each study" in first
    assert last.startswith(f"no report was made; the predictions are in {out}: ")


def test_studies_that_a_sheet_lets_be_left_out_are_named_before_they_are_predicted(folder, caplog):
    (folder / "other.csv").write_text("study,score\n001,5\n", encoding="utf-8")
    make = external.maker(LabelsConfig(sheet=str(folder / "other.csv"), unmatched="skip"), folder / "predicted")
    make.check(STUDIES[:3], bundle_of(folder))
    said = "2 of 3 studies have no label and are left out of the report: "
    assert said + ", ".join(sorted({*STUDIES[:3]} - {"001"})) in caplog.text


def test_what_holds_no_predictions_is_named_with_what_to_do(folder):
    bundle_files.write(bundle_of(folder), folder / "m.zip")
    for name in ("run", "begun/parts", "tested", "nothing"):
        (folder / name).mkdir(parents=True)
    for name in ("run/config.yaml", "begun/parts/plan.json", "tested/external.json"):
        (folder / name).touch()
    wanted = {
        "m.zip": "found a bundle, which holds a model and no predictions; wanted these: python jobs/predict.py",
        "run": r"found a run, wanted predictions or a bundle; python jobs/report.py .*run shows its own report and "
        r"python jobs/export.py .*run --out MODEL.zip makes a bundle",
        "begun": "predictions.csv: not there, as the prediction has not ended: run its command again",
        "tested": "found an external test, wanted predictions",
        "nothing": "found no predictions.csv in it, wanted a folder that jobs/predict.py wrote, or a file",
        "labels.csv": "found one file for predictions and labels",
    }
    for name, said in wanted.items():
        words = [str(folder / name), "--labels", str(folder / "labels.csv"), "--out", str(folder / "out")]
        with pytest.raises(InputError, match=said):
            external.evaluate(evaluate_command.parse_evaluate(None, words))
        if name not in ("m.zip", "labels.csv"):
            with pytest.raises(InputError, match=said):
                evaluate(folder, "--beside", str(folder / name))
    with pytest.raises(InputError, match=r"found a run, of which jobs/export.py makes a bundle"):
        bundle_files.read(folder / "run")


def test_predictions_in_the_folder_one_is_in_have_its_name(folder, monkeypatch):
    monkeypatch.chdir(folder / "predicted")
    words = [".", "--labels", "../labels.csv", "--out", "../out"]
    assert external.evaluate(evaluate_command.parse_evaluate(None, words)) == 0
    assert read(folder / "out")["external"]["source"] == "predictions in folder predicted"


def test_predicting_takes_a_sheet_and_hands_it_to_its_jobs(folder, monkeypatch):
    words = ["b.zip", "studies", "--out", "predicted"]
    assert predict_command.parse_predict(None, words).labels is None
    monkeypatch.chdir(folder)
    sheet = ["--labels", "labels.csv", "--labels.unmatched", "skip"]
    cfg = predict_command.parse_predict(None, [*words, *sheet])
    assert (cfg.labels.sheet, cfg.labels.unmatched, cfg.labels.study_column) == ("labels.csv", "skip", "study")
    again = predict_command.parse_predict(None, predict_command.arguments(cfg)).labels
    assert again == dataclasses.replace(cfg.labels, sheet=str(folder / "labels.csv"))
    bundle = bundle_of(folder)
    external.maker(cfg.labels, folder / "predicted")(folder / "predicted", bundle)
    assert read(folder / "predicted")["status"] == "EXTERNAL"
    with pytest.raises(InputError, match=r"nowhere\.csv"):  # before anything is predicted
        external.maker(LabelsConfig(sheet="nowhere.csv"), folder / "new")


def test_what_is_written_names_no_folder(folder):
    out = folder / "predicted"
    external.report(out, bundle_of(folder), LabelsConfig(sheet=str(folder / "labels.csv")))
    for path in [*(out / "report").rglob("*"), out / external_files.SETTINGS, out / external_files.TABLE]:
        if path.is_file():
            assert str(folder).encode() not in path.read_bytes(), path
    assert disk.read_json(out / external_files.SETTINGS)["digests"]["labels_sha256"]
