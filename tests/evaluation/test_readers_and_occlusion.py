"""Readers side by side, and the network that sees parts of slices: by hand and anew."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score

from cac_hpc.dataset import integrity, sealing, shards
from cac_hpc.evaluation import inputs
from cac_hpc.report import aggregation, consistency, markdown
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.sections import formatting, level_parts, reader_parts
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import augment_slices, predictions, training
from cac_hpc.train.networks import SliceClassifier
from tests.support.reports import make_run, typed_report_of, vouch
from tests.support.runs import NUM_SLICES, SIZE, prepare, torchrun

SCORES = (0.0, 8.0, 60.0, 300.0, 800.0, 3000.0)
STUDIES = [f"s{number:02d}" for number in range(18)]  # category: number % 6
UNSEEN = "s17"  # in which no heart is found
WRONG = {"s02": 12.0, "s04": 390.0}  # by category 0 (same category), and one too low


def rule_score(study):
    return WRONG.get(study, SCORES[int(study[1:]) % 6])


def slices_of(study):
    """Two slices: one with a quarter of the score, one with the rest."""
    return [rule_score(study) / 4, 3 * rule_score(study) / 4]


def predicted(study):
    """The network takes every third study for category 0, on both slices."""
    number = int(study[1:])
    return [0 if number % 3 == 0 else number % 6] * 2


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    seen = [study for study in STUDIES if study != UNSEEN]
    facts = {
        "agatston_score": {study: rule_score(study) for study in seen},
        "agatston_slices": {study: " ".join(map(str, slices_of(study))) for study in seen},
        "agatston_empty_slices": {study: 1.0 if rule_score(study) == 0 else 0.5 for study in seen},
        "heart_row": dict.fromkeys(seen, 8),
        "heart_rows": dict.fromkeys(seen, 16),
        "heart_column": dict.fromkeys(seen, 4),
        "heart_columns": dict.fromkeys(seen, 8),
        "rows": dict.fromkeys(STUDIES, SIZE),
        "columns": dict.fromkeys(STUDIES, SIZE),
    }
    scores = {study: SCORES[int(study[1:]) % 6] for study in STUDIES}
    told = {(study, int(study[1:]) % 6): predicted(study) for study in STUDIES}
    run = make_run(tmp_path_factory.mktemp("beside"), told, score=scores, facts=facts, report={"draws": 200})
    for fold in range(5):
        write_views(run, fold)
    assert aggregation.aggregate(run.root)
    return run


def write_views(run, fold):
    """With the heart alone the fold predicts as ever, with the rest alone always category 0."""
    files = run.fold(fold)
    table = pd.read_csv(files.predictions, dtype={"study": str})
    table = table[table["study"] != UNSEEN]
    probability = table[[f"p{category}" for category in range(6)]].to_numpy(np.float32)
    always = np.tile(np.float32([1, 0, 0, 0, 0, 0]), (len(table), 1))
    for view, told in {"heart": probability, "rim": always}.items():
        content = predictions.to_csv(table["study"], table["slice"], fold, table["label"], told)
        files.view(view).write_bytes(content)
    vouch(run, fold, views_sha256={view: digests.file_sha256(files.view(view)) for view in predictions.VIEWS})


def summary_of(run):
    return disk.read_json(run.report / "report.json")


def reader_of(run, key):
    return next(reader for reader in summary_of(run)["readers"]["readers"] if reader["key"] == key)


def category_of(score):
    return sum(score > edge for edge in (0, 10, 100, 400, 1000))


def test_the_rule_and_the_network_are_counted_on_the_same_patients(reported):
    found = reader_of(reported, "rule")
    seen = [study for study in STUDIES if study != UNSEEN]
    label = [int(study[1:]) % 6 for study in seen]
    of_rule = [category_of(rule_score(study)) for study in seen]
    of_network = [predicted(study)[0] for study in seen]
    assert summary_of(reported)["readers"]["left_out"] == {"studies": 1}
    results = found["compared"]["levels"]["patient"]
    accuracy = results["figures"]["accuracy"]
    assert results["n"] == {"reference": 17, "other": 17}
    assert accuracy["reference"] == pytest.approx(16 / 17) == pytest.approx(accuracy_score(label, of_rule))
    assert accuracy["other"] == pytest.approx(14 / 17) == pytest.approx(accuracy_score(label, of_network))
    assert accuracy["difference"] == pytest.approx(-2 / 17)
    assert accuracy["low"] < -2 / 17 < accuracy["high"]
    kappa = results["figures"]["kappa_quadratic"]
    weighted = [cohen_kappa_score(label, said, labels=range(6), weights="quadratic") for said in (of_rule, of_network)]
    assert [kappa["reference"], kappa["other"]] == pytest.approx(weighted)
    assert found["levels"]["patient"]["confusion_matrix"][4] == [0, 0, 0, 1, 2, 0]
    test = found["compared"]["sign_test"]  # s03, s09 and s15 by the rule alone, s04 by the network alone
    assert (test["other_better"], test["reference_better"], test["equal"]) == (1, 3, 13)
    assert test["p_value"] == pytest.approx(0.625)


def test_the_model_and_the_largest_category_are_readers_too(reported):
    found = summary_of(reported)["readers"]
    assert [reader["key"] for reader in found["readers"]] == ["largest", "rule", "model"]
    largest, model = reader_of(reported, "largest"), reader_of(reported, "model")
    assert model["compared"] is model["scores"] is largest["scores"] is None
    figures = largest["levels"]["patient"]["figures"]
    assert figures["accuracy"]["value"] == pytest.approx(3 / 17) == pytest.approx(figures["majority_accuracy"]["value"])
    assert found["absent"] == ["the dataset was packed without pack.candidates, so that there is no untrained control"]
    assert found["trust"] == {"reader": "rule", "reason": "simpler", "rivals": ["model"]}


def test_a_rule_that_counted_in_masks_is_said_to_and_where_they_are_is_not(reported, tmp_path):
    report = typed_report_of(reported)
    assert "at least 130 HU in the heart's region, found automatically." in reader_parts.sections(report)[0].lines[-1]
    told = {(study, int(study[1:]) % 6): predicted(study) for study in STUDIES}
    run = make_run(tmp_path, told, pack={"regions": str(tmp_path / "masks")})
    shown = inputs.load(run).settings
    assert shown["pack"]["regions"] == "masks"
    (section,) = reader_parts.sections(replace(report, settings=shown))
    assert "at least 130 HU in the masks of pack.regions." in section.lines[-1]


def test_of_a_slice_the_rule_says_the_category_of_its_own_part(reported):
    results = reader_of(reported, "rule")["compared"]["levels"]["slice"]
    seen = [study for study in STUDIES if study != UNSEEN]
    right = [category_of(part) == int(study[1:]) % 6 for study in seen for part in slices_of(study)]
    assert results["n"]["reference"] == 34
    assert results["figures"]["accuracy"]["reference"] == pytest.approx(np.mean(right))


def test_scores_and_patients_are_listed(reported):
    found = reader_of(reported, "rule")
    difference = np.array([0.0] * 15 + [12 - 60, 390 - 800])
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1)
    assert found["scores"]["n"] == 17
    assert [found["scores"][key] for key in ("bias", "low", "high")] == pytest.approx(
        [bias, bias - spread, bias + spread]
    )
    table = pd.read_csv(reported.report / "tables" / "patients.csv")
    row = table.set_index("patient").loc["s04"]
    assert row[["score", "rule_score", "category", "rule_category", "model_category"]].tolist() == [800, 390, 4, 3, 4]
    assert len(table) == 17


def test_slices_that_show_nothing_are_counted_by_category(reported):
    rows = summary_of(reported)["readers"]["empty_slices"]
    counts = [(row["studies"], row["slices"], row["empty"], row["share"]) for row in rows]
    assert counts == [(3, 6, 6, 1.0), *[(3, 6, 3, 0.5)] * 4, (2, 4, 2, 0.5)]


def test_what_is_left_with_the_heart_and_with_the_rest_stands_beside_all(reported):
    found = summary_of(reported)["occlusion"]
    accuracies = {view: one["levels"]["patient"]["figures"]["accuracy"] for view, one in found["views"].items()}
    assert accuracies["heart"]["difference"] == 0
    assert accuracies["rim"]["reference"] == pytest.approx(14 / 17)
    assert accuracies["rim"]["other"] == pytest.approx(3 / 17)
    assert found["share"] == pytest.approx(16 * 8 / SIZE**2)
    own = [study for study in STUDIES[::5] if study != UNSEEN]  # fold 0 tests every fifth patient
    share = np.mean([int(study[1:]) % 6 == 0 for study in own])
    assert found["folds"][0]["patient"]["rim"] == pytest.approx(share)


def test_a_report_tells_both_and_contradicts_nothing(reported):
    summary, cfg = summary_of(reported), stored_settings.load(reported.config)
    assert list(consistency.contradictions(reported, cfg, summary)) == []
    text = markdown.text(typed_report_of(reported))
    assert "**Trust the Agatston rule: it is right in 16 of 17 patients and needs no training; these patients" in text
    assert "is better (trained slice network 14). Worse than the trained slice network: largest category 3.**" in text
    assert text.count("The Agatston rule counts lesions of at least 130 HU") == 2  # first and in its place
    assert "Left out, for the rule has no score of them: 1 study." in text
    assert reader_parts.HEADING in text
    assert (reported.report / "figures" / "scores.svg").is_file()
    assert (reported.report / "figures" / "confusion_patient_rule.png").is_file()


def rule_of(summary):
    return summary["readers"]["readers"][1]


@pytest.mark.parametrize(
    "change",
    [
        lambda found: rule_of(found)["compared"]["levels"]["patient"]["figures"]["accuracy"].update(reference=0.5),
        lambda found: rule_of(found)["compared"]["levels"]["slice"]["figures"]["icc"].update(difference=0.5),
        lambda found: rule_of(found)["levels"]["slice"]["confusion_matrix"][0].__setitem__(0, 9),
        lambda found: rule_of(found)["scores"].update(bias=1.0),
        lambda found: rule_of(found)["scores"]["log_icc"].update(value=1.0),
        lambda found: found["readers"]["patients"]["categories_of"]["rule"].__setitem__(3, 0),
        lambda found: found["readers"]["trust"].update(reader="model"),
        lambda found: found["readers"]["empty_slices"][1].update(empty=4),
        lambda found: found["occlusion"]["views"]["rim"]["levels"]["slice"]["figures"]["accuracy"].update(other=0.9),
        lambda found: found["occlusion"]["folds"][2]["slice"].update(heart=0.9),
        lambda found: found["occlusion"].update(share=0.5),
    ],
)
def test_a_number_that_is_not_what_the_files_say_is_found(reported, change):
    summary = summary_of(reported)
    change(summary)
    assert any(line.startswith(("readers", "occlusion")) for line in consistency.contradictions(
        reported, stored_settings.load(reported.config), summary
    ))  # fmt: skip


def test_a_view_that_is_damaged_costs_the_test_and_not_the_report(reported, tmp_path, no_pictures):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    with run.fold(2).view("rim").open("a") as file:
        file.write("\n")
    assert aggregation.aggregate(run.root)
    summary = summary_of(run)
    assert summary["occlusion"]["left_out"] == {"studies": 1, "folds": [2]}
    assert [fold["fold"] for fold in summary["occlusion"]["folds"]] == [0, 1, 3, 4]
    assert "Folds without this test, left out: 2." in markdown.text(typed_report_of(run))
    for fold in range(5):
        run.fold(fold).view("rim").unlink()
    assert aggregation.aggregate(run.root)
    note = "predictions_rim.csv of fold 0 is not there, or not as it was written"
    assert summary_of(run)["occlusion"] == {"note": note}
    assert f"The network was not tested on parts of slices: {note}" in markdown.text(typed_report_of(run))
    assert not (run.report / "tables" / "occlusion.csv").exists()


def test_without_any_fold_nothing_is_said_of_hearts(reported, tmp_path, no_pictures):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    for fold in range(5):
        run.fold(fold).predictions.unlink()
    assert not aggregation.aggregate(run.root)
    summary = summary_of(run)
    assert summary["readers"] == summary["occlusion"] == {"note": "no fold has been tested"}


def test_of_a_partial_report_only_what_was_tested_is_counted(reported, tmp_path, no_pictures):
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    run.fold(0).predictions.unlink()
    assert not aggregation.aggregate(run.root)
    found = summary_of(run)["readers"]
    assert found["readers"][0]["levels"]["slice"]["n"] == sum(row["slices"] for row in found["empty_slices"]) == 2 * 13


def test_a_p_value_is_never_nothing():
    assert [formatting.chance(value) for value in (1.0, 0.0123, 0.0001, 9e-5, 1e-12)] == [
        "p = 1.00",
        "p = 0.012",
        "p < 0.001",
        "p < 0.001",
        "p < 0.001",
    ]


def test_a_window_that_no_slice_can_be_blanked_to_is_refused():
    with pytest.raises(InputError, match=r"train\.window_hu"):
        TrainConfig(epochs=1, window_hu=(-40000.0, 800.0))


def test_without_a_baseline_the_report_says_so(tmp_path, no_pictures):
    run = make_run(tmp_path, {(study, int(study[1:]) % 6): predicted(study) for study in STUDIES})
    assert aggregation.aggregate(run.root)
    summary = summary_of(run)
    assert "packed without pack.baseline" in summary["readers"]["note"]
    assert "packed without pack.baseline" in summary["occlusion"]["note"]
    assert "Trust" not in level_parts.verdict(typed_report_of(run))


@pytest.mark.parametrize("crop", [None, (100, 60, 256, 256)])
@pytest.mark.parametrize("size", [64, 100, 512])
def test_a_box_holds_the_packed_pixels_whose_middle_is_in_the_heart(crop, size):
    facts = {"study": ["a"], "rows": [512], "columns": [512]}
    facts |= {"heart_row": [130.0], "heart_rows": [200.0], "heart_column": [40.0], "heart_columns": [301.0]}
    if crop:
        names = ("crop_row", "crop_column", "crop_rows", "crop_columns")
        facts |= {name: [value] for name, value in zip(names, crop, strict=True)}
    first_row, first_column, rows, columns = crop or (0, 0, 512, 512)
    inside_rows = [pixel for pixel in range(size) if 130 <= first_row + (pixel + 0.5) * rows / size < 330]
    inside_columns = [pixel for pixel in range(size) if 40 <= first_column + (pixel + 0.5) * columns / size < 341]
    top, bottom, left, right = predictions.heart_boxes(pd.DataFrame(facts), size)["a"]
    assert list(range(top, bottom)) == inside_rows
    assert list(range(left, right)) == inside_columns


def test_a_study_without_heart_has_no_box():
    facts = {"study": ["a", "b"], "rows": [8, 8], "columns": [8, 8], "heart_row": [None, 2], "heart_rows": [None, 4],
             "heart_column": [None, 0], "heart_columns": [None, 8]}  # fmt: skip
    assert predictions.heart_boxes(pd.DataFrame(facts), 8) == {"b": (2, 6, 0, 8)}


def test_blank_pixels_have_one_value_and_the_others_their_own():
    hu_NHW = torch.arange(2 * 4 * 5, dtype=torch.int16).reshape(2, 4, 5)
    kept, box_N4 = hu_NHW.clone(), torch.tensor([[1, 3, 0, 2], [0, 0, 0, 0]])
    rim, heart = (augment_slices.blank(hu_NHW, box_N4, inside, -200.0) for inside in (True, False))
    assert torch.equal(hu_NHW, kept)
    assert rim.dtype == heart.dtype == torch.int16
    assert (rim[0] == -200).nonzero().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert torch.equal(torch.where(rim[0] == -200, heart[0], rim[0]), hu_NHW[0])
    assert torch.equal(rim[1], hu_NHW[1])
    assert (heart[1] == -200).all()


@pytest.fixture(scope="module")
def with_hearts(tmp_path_factory, packed):
    """A sealed dataset that says where hearts are, in all studies but the last."""
    dataset = DatasetPaths(shutil.copytree(packed, tmp_path_factory.mktemp("hearts") / "dataset"))
    studies = pd.read_csv(dataset.studies, dtype=str, keep_default_na=False)
    for name, value in {"heart_row": 4, "heart_rows": 20, "heart_column": 6, "heart_columns": 17}.items():
        studies[name] = [value] * (len(studies) - 1) + [""]
    studies.to_csv(dataset.studies, index=False)
    sealed = integrity.read_checked(dataset.seal) | {"studies_sha256": digests.file_sha256(dataset.studies)}
    integrity.write_checked(dataset.seal, {key: value for key, value in sealed.items() if key != "sha256"})
    return dataset


def test_two_ranks_predict_the_test_slices_with_parts_of_them_blank(tmp_path, scans, with_hearts):
    run = prepare(tmp_path, scans, data={"packed_dir": str(with_hearts.root)}, train={"epochs": 1})
    sealing.seal(run)
    subprocess.run(torchrun(2, run, 0), capture_output=True, timeout=200, check=True)
    files, cfg = RunPaths(run).fold(0), stored_settings.load(RunPaths(run).config)
    model = SliceClassifier(ModelConfig(filters=(8, 16, 16), dense=32), SIZE, 6)
    model.load_state_dict(torch.load(files.model, weights_only=True)["weights"])
    whole = pd.read_csv(files.predictions, dtype={"study": str})
    last = f"{len(pd.read_csv(with_hearts.studies)) - 1:03d}"
    for view in predictions.VIEWS:
        seen = pd.read_csv(files.view(view), dtype={"study": str})
        assert seen["study"].tolist() == whole.loc[whole["study"] != last, "study"].tolist()
        assert len(seen) % NUM_SLICES == 0
        for row in seen.iloc[::7].to_dict("records"):
            hu_HW = slice_of(with_hearts, row["study"], row["slice"]).astype(np.float32)
            shown = np.full_like(hu_HW, cfg.train.window_hu[0]) if view == "heart" else hu_HW.copy()
            shown[4:24, 6:23] = hu_HW[4:24, 6:23] if view == "heart" else cfg.train.window_hu[0]
            with torch.inference_mode():
                wanted = model(augment_slices.window(torch.from_numpy(shown)[None], *cfg.train.window_hu)).softmax(1)[0]
            assert [row[f"p{category}"] for category in range(6)] == pytest.approx(wanted.tolist(), abs=1e-4)
    assert json.loads(files.metrics.read_text())["views_sha256"].keys() == set(predictions.VIEWS)


def slice_of(dataset, study, number):
    for shard in sorted((dataset.root / "shards").glob("*.h5")):
        if found := shards.read_slices(shard, [(study, number)]):
            return found[study, number]
    raise AssertionError(study)


def test_without_occlusion_nothing_is_predicted_twice(tmp_path, scans, with_hearts):
    train = {"epochs": 1, "occlusion": False}
    run = prepare(tmp_path, scans, data={"packed_dir": str(with_hearts.root)}, train=train)
    sealing.seal(run)
    assert training.train_fold(run, 0) == 0
    files = RunPaths(run).fold(0)
    assert files.predictions.exists()
    assert not any(files.view(view).exists() for view in predictions.VIEWS)
