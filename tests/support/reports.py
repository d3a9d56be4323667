"""Runs whose folds predicted as told, without training; and the study's printed matrix."""

import json

import numpy as np
import pandas as pd

from cac_hpc.dataset import integrity, splits
from cac_hpc.evaluation import comparison, external, external_inputs, predicted
from cac_hpc.evaluation.external_inputs import Asked
from cac_hpc.labels import labels
from cac_hpc.report import consistency
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json, to_json
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig
from cac_hpc.settings.split import SplitConfig
from tests.support import oracle
from tests.support.runs import write_config

PRINTED = np.array(
    [
        [240, 3, 0, 1, 0, 0],
        [0, 142, 0, 0, 0, 0],
        [0, 0, 206, 4, 5, 1],
        [0, 0, 2, 238, 0, 12],
        [1, 0, 1, 1, 227, 0],
        [0, 2, 1, 12, 0, 286],
    ]
)


EDGES = (0, 10, 100, 400, 1000)
SIDE = ("heart_row", "heart_rows", "heart_column", "heart_columns", "rows", "columns")
TRAINED = {  # what a fold says of its training
    "epochs": 4,
    "tested_epoch": 3,
    "ranks": 2,
    "device": "cpu",
    "precision": "fp32",
    "residency": "host",
    "parameters": 416,
    "layers": [
        {"layer": "Slice", "detail": "", "output": [1, 32, 32], "parameters": 0},
        {"layer": "Conv2d", "detail": "3 x 3", "output": [8, 32, 32], "parameters": 80},
        {"layer": "MaxPool2d", "detail": "2 x 2", "output": [8, 16, 16], "parameters": 0},
        {"layer": "Linear", "detail": "", "output": [6], "parameters": 336},
    ],
    "train_slices": 40,
    "val_slices": 10,
    "test_slices": 10,
}


def make_run(tmp_path, predicted, patient=None, num_folds=5, score=None, facts=None, num_val=1, **sections):
    """A run whose folds predicted as told: (study, label) to the predicted category of each slice.

    Every fold tests every fifth patient; probability 0.9 goes to the predicted category. facts: further columns of
    studies.csv, by study. num_val: patients of each fold's validation part.
    """
    run = RunPaths(tmp_path / "run")
    sections = {"split": {"folds": num_folds}, **sections}
    config = write_config(tmp_path / "settings.yaml", tmp_path, run.root, **sections)
    run.root.mkdir()
    config.rename(run.config)
    dataset = run.dataset(None)
    keys = list(predicted)
    table = pd.DataFrame(
        {
            "study": [study for study, _ in keys],
            "category": [label for _, label in keys],
            "slices": [len(predicted[key]) for key in keys],
        }
    )
    table["patient"] = table["study"].map(patient) if patient else table["study"]
    if score:
        table["score"] = table["study"].map(score)
    for name, values in (facts or {}).items():
        table[name] = table["study"].map(values)
    dataset.root.mkdir()
    table.to_csv(dataset.studies, index=False)
    kept = {"sha256": "-", "shards": [table["study"].tolist()], "listings": {}, "labels": {}}
    disk.write_json(dataset.plan, kept)
    disk.write_json(dataset.intake, intake_of(table))
    tables = {f"{path.stem}_sha256": digests.file_sha256(path) for path in (dataset.studies, dataset.intake)}
    integrity.write_checked(dataset.seal, {**tables, "plan_sha256": "-", "slices": int(table["slices"].sum())})
    names = table["patient"].drop_duplicates().tolist()
    write_folds(run, table, [names[index::num_folds] for index in range(num_folds)], predicted, num_val=num_val)
    return run


def make_judged_run(folder, n=60, **report):
    """Patients whose four slices are predicted a category off now and then; the rule counts some more than there is."""
    rng = np.random.default_rng(0)
    score = np.round(np.where(rng.random(n) < 0.3, 0, rng.lognormal(4.6, 1.8, n)))
    score[:2] = 100
    names, category = [f"s{number:02d}" for number in range(n)], labels.categories(score, EDGES)
    said = np.clip(category[:, None] + rng.integers(-1, 2, (n, 4)), 0, 5)
    rule = np.round(score * rng.lognormal(0, 0.6, n) + 40 * (rng.random(n) < 0.2))
    facts = {"agatston_score": dict(zip(names, rule, strict=True)), "agatston_empty_slices": dict.fromkeys(names, 0.5)}
    facts["agatston_slices"] = {name: " ".join([str(one / 4)] * 4) for name, one in zip(names, rule, strict=True)}
    facts |= {name: dict.fromkeys(names, 16) for name in SIDE}
    told = {(name, int(one)): row.tolist() for name, one, row in zip(names, category, said, strict=True)}
    report = {"draws": 200, "figure_dpi": 50, **report}
    return make_run(folder, told, score=dict(zip(names, score, strict=True)), facts=facts, report=report)


def intake_of(table):
    """What the seal stage says of studies that were all used."""
    counts, slices = np.bincount(table["category"], minlength=6).tolist(), int(table["slices"].sum())
    studies = {"found": len(table), "without_label": 0, "labelled": len(table), "used": len(table), "refused": {}}
    return {
        "files": {"found": slices, "used": slices, "rejected": {}},
        "studies": studies | {"rows_without_study": 0},
        "slices": slices,
        "categories": {"labelled": counts, "used": counts},
        "acquisition": {"kernel": {"STANDARD": len(table)}},
    }


def write_folds(run, studies, tests, predicted, scheme="kfold", num_val=1):
    """Folds that test these patients, the first of the others for validation, and what they predicted."""
    run.splits.unlink(missing_ok=True)
    members, folds = studies.groupby("patient")["study"].apply(list), []
    for test in tests:
        rest = sorted(set(studies["patient"]) - set(test))
        parts = (rest[num_val:], rest[:num_val], test)
        folds.append(splits.Fold(*(tuple(sorted(study for name in part for study in members[name])) for part in parts)))
    cfg = SplitConfig(folds=max(2, len(folds)), scheme=scheme)
    splits.write_splits(run.splits, folds, cfg, digests.file_sha256(run.dataset(None).studies))
    for index, fold in enumerate(folds):
        write_fold(run, index, {key: predicted[key] for key in predicted if key[0] in fold.test})


def write_fold(run, index, predicted):
    rows = []
    for (study, label), categories in predicted.items():
        for at, category in enumerate(categories):
            rows.append([study, at, index, label, *np.where(np.arange(6) == category, 0.9, 0.02)])
    run.fold(index).root.mkdir(parents=True, exist_ok=True)
    columns = ["study", "slice", "fold", "label", *(f"p{category}" for category in range(6))]
    pd.DataFrame(rows, columns=columns).to_csv(run.fold(index).predictions, index=False)
    run.fold(index).attempts.mkdir(exist_ok=True)
    run.fold(index).attempt(1).write_text("{}")
    vouch(run, index)


def vouch(run, index, **facts):
    """What a fold says of its predictions as they are now."""
    files = run.fold(index)
    found = {
        "fold": index,
        "attempt": 1,
        "splits_sha256": digests.file_sha256(run.splits),
        "predictions_bytes": files.predictions.stat().st_size,
        "predictions_sha256": digests.file_sha256(files.predictions),
        **TRAINED,
    }
    disk.write_json(files.metrics, found | facts)


def external_report(folder, **asked):
    """Predictions without probabilities, of patients of whom nobody knows whether the model was trained on them."""
    table = pd.DataFrame({"study": [f"{number:03d}" for number in range(30)], "score": [0, 5, 50, 200, 700, 2000] * 5})
    table.to_csv(folder / "labels.csv", index=False)
    table.assign(score=[0, 50, 50, 200, 300, 2000] * 5).to_csv(folder / "ours.csv", index=False)
    cfg = LabelsConfig(sheet=str(folder / "labels.csv"))
    ours = predicted.read(folder / "ours.csv", cfg.names, cfg.edges)
    asked = Asked("Test", ["predictions of ours"], ReportConfig(draws=200), **asked)
    return external.report(*external_inputs.collect(ours, [], cfg, asked, None))


def printed_predictions():
    """The study's printed matrix as predictions of five studies per category."""
    predicted = {}
    for label, counts in enumerate(PRINTED):
        slices = np.repeat(np.arange(6), counts)
        for part in range(5):
            predicted[(f"{label}-{part}", label)] = slices[part::5].tolist()
    return predicted


def compare(reference, other):
    """The comparison of two reported runs, as it is written."""
    return to_json(comparison.compare_all([reference.root, other.root])[0])


def check_report(run):
    """The finished report of a run contradicts nothing, and counts cohort and cells as plain loops do."""
    summary = report_of(run)
    assert consistency.contradictions(run, stored_settings.load(run.config), summary) == []
    studies = pd.read_csv(run.dataset(None).studies, dtype={"study": str, "patient": str}, keep_default_na=False)
    rows = list(studies[["study", "patient", "category", "slices"]].itertuples(index=False, name=None))
    folds, cohort = splits.read_splits(run.splits), summary["cohort"]
    wanted = oracle.cohort(rows, [list(fold.parts.values()) for fold in folds], len(summary["categories"]))
    assert {name: cohort[name] for name in wanted} == wanted
    for of_level in summary["levels"].values():
        pooled, matrices = of_level["pooled"], [fold["confusion_matrix"] for fold in of_level["folds"]]
        assert pooled["confusion_matrix"] == oracle.total(matrices, len(summary["categories"]))
        for scheme in (one for one in of_level["collapsed"] if one["pooled"]):
            wanted_matrix = oracle.collapsed(pooled["confusion_matrix"], scheme["groups"])
            assert scheme["pooled"]["confusion_matrix"] == wanted_matrix
    if summary["status"] == "COMPLETE" and summary["split"]["scheme"] == "kfold":
        for level, count in (("slice", wanted["slices"]), ("patient", wanted["patients"])):
            assert summary["levels"][level]["distinct"] == count
            if level == "slice" or not summary["banner"]:  # else every fold tests slices of every patient
                assert summary["levels"][level]["pooled"]["n"] == count


def contradictions_of(run, summary):
    """What a report of the run, as in report.json, contradicts."""
    return consistency.contradictions(run, stored_settings.load(run.config), summary)


def typed_report_of(run):
    return from_json(report_of(run), Report)


def report_of(run):
    return json.loads((run.report / "report.json").read_text(encoding="utf-8"))
