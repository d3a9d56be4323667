"""Predictions of studies that no fold has seen, held against a sheet: numbers by hand, and what is refused or named."""

import dataclasses
import shutil

import jsonschema
import numpy as np
import pandas as pd
import pytest

from cac_hpc.evaluation import evaluate, external, external_files, external_inputs, predicted
from cac_hpc.evaluation.external_inputs import Asked
from cac_hpc.report import consistency, external_report, terminal
from cac_hpc.results.calibration import Recalibration
from cac_hpc.results.external import CohortFact, Distribution, InternalTest
from cac_hpc.results.figures import Absent
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import schema, to_json
from cac_hpc.run import disk
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig
from tests.support import oracle

NAMES = LabelsConfig.names
STUDIES = [f"{number:03d}" for number in range(1, 16)]
REPORTED = [0, 0, 0, 5, 5, 50, 50, 50, 200, 200, 300, 700, 700, 2000, 3000]
SAID = [0, 0, 12, 5, 8, 50, 9, 60, 200, 450, 300, 700, 1200, 2000, 900]  # 10 right, 3 too high, 2 too low
RULE = [0, 0, 0, 5, 5, 50, 50, 50, 200, 200, 300, 700, 700, 2000, 900]  # the last one wrong
CATEGORY = np.searchsorted(LabelsConfig.edges, SAID)
LABEL = np.searchsorted(LabelsConfig.edges, REPORTED)


def probability(category):
    """Nine tenths for the category that is said."""
    return np.where(np.arange(6) == category, 0.9, 0.02)


def ours(**changes):
    """predictions.csv as jobs/predict.py writes it."""
    table = pd.DataFrame({"study": STUDIES, "score": SAID, "category": [NAMES[one] for one in CATEGORY]})
    table["category_index"] = CATEGORY
    for number, column in enumerate(np.stack([probability(one) for one in CATEGORY]).T):
        table[f"p{number}"] = column
    table = table.assign(rule_score=RULE, known=0, out_of_range="", warnings="", fault="").astype(object)
    for study, cells in changes.items():
        for name, value in cells.items():
            table.loc[table["study"] == study.strip("_"), name] = value
    return table


def sheet(**columns):
    return pd.DataFrame({"study": STUDIES, "score": REPORTED} | columns)


def collect(folder, predictions, labels, beside=(), internal=None, cohorts=(), count_known=False, **settings):
    """The table of what is tested, and what goes with it."""
    labels.to_csv(folder / "labels.csv", index=False)
    cfg = LabelsConfig(sheet=str(folder / "labels.csv"), **settings)
    found = []
    for number, table in enumerate([predictions, *beside]):
        table.to_csv(folder / f"predictions{number}.csv", index=False)
        found.append(predicted.read(folder / f"predictions{number}.csv", cfg.names, cfg.edges))
    names = ["lesion model", *(f"program {number}" for number, _ in enumerate(beside, start=1))]
    asked = Asked("External test", names, ReportConfig(draws=200), count_known)
    test, tested = external_inputs.collect(found[0], found[1:], cfg, asked, internal)
    return dataclasses.replace(test, cohorts=list(cohorts)), tested


def internal_of(folder, **changes):
    """What a bundle says of its run: the same patients, all but the first wrong ones right."""
    report = external.report(*collect(folder, ours(**changes), sheet()))
    return {"title": "Demo | <b>", "status": "COMPLETE", "level": to_json(report.levels["patient"])}


def test_the_figures_of_patients_by_hand(tmp_path):
    test, table = collect(tmp_path, ours(), sheet())
    report = external.report(test, table)
    pooled = report.levels["patient"].pooled
    assert (pooled.n, pooled.errors, pooled.over_estimated, pooled.under_estimated) == (15, 5, 3, 2)
    wanted = oracle.figures(list(zip(LABEL.tolist(), CATEGORY.tolist(), strict=True)), 6)
    for name in ("accuracy", "balanced_accuracy", "kappa_quadratic", "two_or_more_off"):
        assert pooled.figures[name].value == pytest.approx(wanted[name]), name
    assert (report.status, report.split, report.digests, report.folds_found) == ("EXTERNAL", None, None, 0)
    assert report.levels["patient"].calibration.brier.value == pytest.approx(
        oracle.brier(LABEL.tolist(), [probability(one).tolist() for one in CATEGORY])
    )
    assert [(one.patient, one.true, one.predicted) for one in report.examples.patients.worst][:2] == [
        ("003", 0, 2), ("007", 2, 1),
    ]  # fmt: skip
    jsonschema.validate(to_json(report), schema(Report))


def test_readers_are_compared_in_pairs_on_the_same_patients(tmp_path):
    theirs = pd.DataFrame({"study": [f"{number}" for number in range(1, 15)], "score": RULE[:14]})  # 001 is 1
    report = external.report(*collect(tmp_path, ours(), sheet(), [theirs]))
    found = {one.key: one for one in report.readers.readers}
    assert list(found) == ["largest", "rule", "model", "other"]
    assert report.readers.left_out.studies == 1  # the last one, which the other program lacks
    assert {one.levels["patient"].n for one in found.values()} == {14}
    assert found["other"].levels["patient"].errors == 0
    assert found["model"].levels["patient"].errors == 4
    test = found["other"].compared.sign_test  # McNemar: four patients are right in the other alone
    assert (test.other_better, test.reference_better, test.p_value) == (0, 4, pytest.approx(2 * 0.5**4))
    difference = found["other"].compared.levels["patient"].figures["accuracy"]
    assert (difference.difference, found["other"].name) == (pytest.approx(-4 / 14), "program 1")
    assert found["other"].scores.bias == 0
    assert found["model"].scores.n == 14
    assert report.levels["patient"].pooled.n == 15  # of the test itself nobody is left out


def test_internal_figures_stand_beside_unpaired(tmp_path):
    right = {f"_{study}": {"score": score, "category_index": one, "category": NAMES[one]} for study, score, one in
             zip(STUDIES[2:7], REPORTED[2:7], LABEL[2:7], strict=True)}  # fmt: skip
    report = external.report(*collect(tmp_path, ours(), sheet(), internal=internal_of(tmp_path, **right)))
    found = report.external.internal
    accuracy = found.compared.figures["accuracy"]
    assert (accuracy.reference, accuracy.other) == (pytest.approx(12 / 15), pytest.approx(10 / 15))
    # Wilson's intervals of 12/15 and 10/15 are 0.5481 to 0.9295 and 0.4171 to 0.8482
    assert accuracy.low == pytest.approx(-2 / 15 - ((10 / 15 - 0.4171) ** 2 + (0.9295 - 0.8) ** 2) ** 0.5, abs=1e-4)
    assert accuracy.high == pytest.approx(-2 / 15 + ((0.8482 - 10 / 15) ** 2 + (0.8 - 0.5481) ** 2) ** 0.5, abs=1e-4)
    assert found.compared.figures["brier"].interval == "mover"
    recall = found.compared.categories[5].figures["recall"]
    assert (recall.reference, recall.other) == (0.5, 0.5)
    assert found.compared.matrices.reference.errors == 3
    damaged = external.report(*collect(tmp_path, ours(), sheet(), internal={"level": {"unit": 3}}))
    assert isinstance(damaged.external.internal, Absent)


def test_calibration_is_compared_before_and_after_recalibration(tmp_path):
    report = external.report(*collect(tmp_path, ours(), sheet()))
    found = report.external.recalibration
    assert isinstance(found, Recalibration)
    assert found.before == report.levels["patient"].calibration
    assert found.after.brier.value != found.before.brier.value
    assert [one.observed for one in found.shares] == pytest.approx(np.bincount(LABEL, minlength=6) / 15)
    assert sum(one.after for one in found.shares) == pytest.approx(1)
    assert found.before.brier_of_frequencies == found.after.brier_of_frequencies
    few = external.report(*collect(tmp_path, ours().head(9), sheet().head(9)))
    assert few.external.recalibration == Absent("fewer than 10 patients")


def test_a_category_alone_is_enough(tmp_path):
    slices = external.report(*collect(tmp_path, ours().assign(score=""), sheet()))  # a slice network has no score
    assert (
        slices.levels["patient"].calibration
        == external.report(*collect(tmp_path, ours(), sheet())).levels["patient"].calibration
    )
    assert {one.key: one.scores is None for one in slices.readers.readers} == {
        "largest": True,
        "rule": False,
        "model": True,
    }
    for said in ([NAMES[one] for one in CATEGORY], CATEGORY):
        report = external.report(*collect(tmp_path, pd.DataFrame({"study": STUDIES, "category": said}), sheet()))
        assert report.levels["patient"].pooled.errors == 5
        assert isinstance(report.levels["patient"].calibration, Absent)
        assert isinstance(report.external.recalibration, Absent)
        assert report.audits[0].passed is None  # nothing tells whose patients these are
        assert {one.key: one.scores for one in report.readers.readers} == {"largest": None, "model": None}


def test_every_study_that_is_left_out_is_named(tmp_path, caplog):
    changes = {
        "_002": {"score": "", "category": "", "category_index": "", "fault": "no_heart: none found"},
        "_004": {"known": 1},
        "_009": {"out_of_range": "tube voltage is 80 kVp, the training studies had 120 kVp"},
    }
    labels = pd.concat([sheet().drop(index=5), pd.DataFrame({"study": ["Mustermann"], "score": [3]})])
    test, table = collect(tmp_path, ours(**changes), labels, unmatched="skip")
    assert [(one.study, one.why) for one in test.left_out] == [
        ("004", "known"), ("006", "no_label"), ("002", "no_prediction"), ("", "no_study"),
    ]  # fmt: skip
    details = {one.why: one.detail for one in test.left_out}
    assert details["no_prediction"] == "no_heart: none found"
    assert details["no_study"] == "the row of cell A16"
    assert "Mustermann" not in str(test)
    assert "A16 'Mustermann': no study" in caplog.text
    report = external.report(test, table)
    assert (report.cohort.studies_found, report.cohort.studies, report.external.out_of_range) == (15, 12, 1)
    assert (report.external.known, report.external.known_studies) == ("left_out", 1)
    assert report.audits[0].passed
    again, _ = collect(tmp_path, ours(**changes), labels, unmatched="skip", count_known=True)
    assert [one.why for one in again.left_out] == ["no_label", "no_prediction", "no_study"]
    assert (
        external.report(*collect(tmp_path, ours(_004={"known": 1}), sheet(), count_known=True)).audits[0].passed
        is False
    )
    with pytest.raises(
        InputError, match=r"one valid row for each study in predictions0.csv and one study for each row"
    ):
        collect(tmp_path, ours(), labels)


def test_a_patient_has_his_study_with_the_highest_predicted_category(tmp_path):
    owner = ["a"] * 3 + [f"b{number}" for number in range(12)]
    by_sheet = external.report(*collect(tmp_path, ours(), sheet(owner=owner), patient_column="owner"))
    by_column = external.report(*collect(tmp_path, ours().assign(patient=owner), sheet()))
    for report in (by_sheet, by_column):
        pooled, (first, *_) = report.levels["patient"].pooled, report.examples.patients.worst
        assert (pooled.n, pooled.errors) == (13, 5)  # of the first three studies two are right, the patient is not
        assert (first.patient, first.true, first.predicted) == ("P0001", 0, 2)
        assert report.readers.patients.scores_of["model"][0] == 12
    other = ["a"] * 4 + [f"b{number}" for number in range(11)]
    with pytest.raises(InputError, match="in two ways"):
        collect(tmp_path, ours().assign(patient=other), sheet(owner=owner), patient_column="owner")


def test_all_studies_of_a_patient_known_from_training_are_left_out(tmp_path):
    owner = ["a"] * 3 + [f"b{number}" for number in range(12)]
    known = ours(_002={"known": 1})
    for table, labels, options in (
        (known, sheet(owner=owner), {"patient_column": "owner"}),
        (known.assign(patient=owner), sheet(), {}),
    ):
        test, tested = collect(tmp_path, table, labels, **options)
        assert [(one.study, one.why) for one in test.left_out] == [(STUDIES[n], "known") for n in range(3)]
        assert (test.known_studies, len(tested)) == (3, 12)
    test, _ = collect(tmp_path, known, sheet())
    assert [one.study for one in test.left_out] == ["002"]  # nothing tells whose studies the others are


@pytest.mark.parametrize(("no", "yes"), [("0", "1"), ("0.0", "1.0"), ("False", "True"), ("", "1")])
def test_known_is_read_as_programs_write_it_again(tmp_path, no, yes):
    table = ours().astype({"known": object}).assign(known=[yes, *[no] * 14], out_of_range=[no] * 15)
    test, tested = collect(tmp_path, table, sheet())
    assert (test.known_studies, test.out_of_range, len(tested)) == (1, 0, 14)


def test_a_category_stands_in_either_column(tmp_path):
    table = ours()[["study", "category", "category_index"]].astype(str)
    table.loc[0, "category_index"] = ""
    assert collect(tmp_path, table, sheet())[0].left_out == []


def test_a_name_that_was_made_harmless_is_that_of_the_study(tmp_path):
    """jobs/predict.py writes '=1 for a study =1; a sheet that names it so is not told that there is no row."""
    names = ["-abc", *STUDIES[1:]]
    with pytest.raises(InputError, match="study '-abc': spreadsheets take its name for a formula"):
        collect(tmp_path, ours().assign(study=[f"'{names[0]}", *STUDIES[1:]]), sheet(study=names))


BAD = {
    "a study twice": (lambda: pd.concat([ours(), ours().tail(1).assign(study="15")]), "A16 and A17 name the same"),
    "no study": (lambda: ours(_003={"study": ""}), "A4 is blank, wanted a study"),
    "no prediction": (lambda: ours()[["study", "p0"]], "wanted score or category beside study"),
    "a comma": (lambda: ours(_003={"score": "1,5"}), "B4 is '1,5', wanted a number of 0 or more"),
    "below 0": (lambda: ours(_003={"score": -1}), "B4 is '-1', wanted a number of 0 or more"),
    "not finite": (lambda: ours(_003={"score": "nan"}), "B4 is 'nan', wanted a number of 0 or more"),
    "another category": (lambda: ours(_003={"category_index": 0}), "is of category Low/Moderate, but its category is"),
    "two categories": (
        lambda: ours().drop(columns="score").assign(category="High"),
        "same category in both",
    ),
    "known or not": (lambda: ours(_003={"known": 2}), "is '2', wanted 0 or 1"),
    "an unknown category": (
        lambda: pd.DataFrame({"study": STUDIES, "category": ["Lots"] * 15}), "'Lots', wanted one of Very Low, Low"
    ),
    "a number too high": (lambda: pd.DataFrame({"study": STUDIES, "category": [6] * 15}), "B2 is '6', wanted one of"),
    "probabilities of some": (lambda: ours().drop(columns="p3"), "found some of p0, p1, p2, p3, p4, p5, wanted all"),
    "probabilities of too many": (lambda: ours().assign(p6=0), "found a column p6, wanted none beyond p5"),
    "probabilities of no sum": (lambda: ours(_003={"p0": 0.5}), "sum to 1.48, not 1"),
    "a score missing": (lambda: ours(_003={"score": ""}), "study '003' has no score, others have"),
    "nothing": (lambda: ours().head(0), "found no row below the column names"),
    "others": (lambda: ours().assign(study=[f"x{number}" for number in range(15)]), "no row"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(BAD))
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path, fault):
    table, wanted = BAD[fault]
    with pytest.raises(InputError) as refused:
        collect(tmp_path, table(), sheet())
    assert wanted in str(refused.value)
    assert ".csv" in str(refused.value)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An external report with all of its parts, and names that mean something in HTML and Markdown."""
    folder = tmp_path_factory.mktemp("external")
    odd = {
        "_004": {"known": 1},
        "_002": {"score": "", "category": "", "category_index": "", "fault": "<i>none</i> | x"},
    }
    numbers, codes = Distribution(9, 1, 2.5, 3.0, 3.0), Distribution(15, 0, None, None, None, {"<b>FC12</b>": 15})
    cohorts = [CohortFact("slice spacing", "mm", numbers, Absent("not known")), CohortFact("kernel", "", codes, codes)]
    test, table = collect(folder, ours(**odd), sheet(), internal=internal_of(folder), cohorts=cohorts)
    external_report.write(folder / "out", test, table, dpi=50)
    return folder / "out"


def test_the_report_is_written_with_all_of_its_parts(written, capsys):
    report = terminal.read(written / "report" / "report.json")
    assert isinstance(report.external.internal, InternalTest)
    page = (written / "report" / "report_EXTERNAL.html").read_text(encoding="utf-8")
    text = (written / "report" / "report_EXTERNAL.md").read_text(encoding="utf-8")
    for part in (page, text):
        assert "External test beside the cross-validation" in part
        assert "<i>none" not in part
        assert "<b>FC12" not in part
        assert "2.5 to 3 mm, median 3, unknown: 1" in part
    assert all(f'id="{name}"' in page for name in ("external", "cohort", "patient", "readers", "methods"))
    assert not any(f'id="{name}"' in page for name in ("slices", "training", "resources", "looks", "slice"))
    assert "Time and resources" not in page
    assert page.count("data:image/svg+xml") >= 5
    tables = {path.stem: pd.read_csv(path) for path in (written / "report" / "tables").glob("*.csv")}
    assert set(tables["left_out"]["study"]) == {2, 4}
    assert (tables["external"]["status"] == "EXTERNAL").all()
    accuracy = tables["external"].set_index("figure").loc["accuracy"]
    assert accuracy["external"] - accuracy["internal"] == pytest.approx(accuracy["difference"])
    assert "folds_patient" not in tables
    assert terminal.present(report, "there") == 0
    assert "External test of the lesion model: 13 patients" in capsys.readouterr().out


def test_the_same_predictions_give_the_same_bytes(written, tmp_path):
    test, table = external_files.read(written)
    external_report.write(tmp_path / "out", test, table, dpi=50)
    other = {"circumstances.json", "SHA256SUMS"}
    for path in sorted(written.rglob("*")):
        again = tmp_path / "out" / path.relative_to(written)
        if path.is_file() and path.name not in other and path.suffix != ".html":  # which show when they were made
            assert path.read_bytes() == again.read_bytes(), path


def test_a_report_cannot_contradict_its_table(written, tmp_path, capsys):
    out = shutil.copytree(written, tmp_path / "out")
    file = out / "report" / "report.json"
    assert consistency.check(file) == 0
    content = disk.read_json(file)
    content["external"]["internal"]["compared"]["figures"]["accuracy"]["difference"] += 0.01
    disk.write_json(file, content)
    assert consistency.check(file) == 1
    said = capsys.readouterr().out
    assert "external.internal.compared.figures.accuracy.difference" in said
    assert "report_EXTERNAL.md" in said
    shutil.copy(written / "report" / "report.json", file)
    table = (out / external_files.TABLE).read_text(encoding="utf-8").replace("005,005,5.0,1", "005,005,500.0,4")
    (out / external_files.TABLE).write_text(table, encoding="utf-8")
    assert consistency.check(file) == 1
    (out / external_files.TABLE).unlink()
    with pytest.raises(InputError, match=r"tested\.csv cannot be read"):
        consistency.check(file)


def test_categories_have_their_ranges():
    first, *_, last = evaluate.categories(NAMES, LabelsConfig.edges)
    assert (first.score_above, first.score_up_to, last.score_above, last.score_up_to) == (None, 0.0, 1000.0, None)


def many(folder, labelled=None, **columns):
    """Sixty patients, the fifteen four times over."""
    again = pd.concat([ours(), ours(), ours(), ours()], ignore_index=True)
    study = [f"{number:03d}" for number in range(60)]
    score = labelled if labelled is not None else REPORTED * 4
    labels = pd.DataFrame({"study": study, "score": score})
    return collect(folder, again.assign(study=study, **columns), labels)


def test_an_external_test_has_the_same_figures_at_the_cuts(tmp_path):
    test, table = many(tmp_path)
    found = external.report(test, table).cuts
    at = found.at[1]
    assert (at.event, at.positives, at.negatives) == (">= 100", 28, 32)
    assert [(way.key, way.by) for way in at.decisions.ways] == [
        ("all", "nothing"), ("none", "nothing"), ("rule", "own_cut"), ("model", "probability")
    ]  # fmt: skip
    assert (at.figures["sensitivity"].value, at.figures["specificity"].value) == (1.0, 1.0)
    assert at.decisions.ways[2].decisions["sensitivity"].value == 1.0
    assert found.at[2].positives == 16  # of 300 that was said for 300, and 900 for 3000: all right but 450 for 200
    assert found.at[2].figures["specificity"].value == pytest.approx(40 / 44)


def test_cuts_of_predictions_without_probabilities_go_by_their_scores(tmp_path):
    names = [f"p{number}" for number in range(6)]
    again = pd.concat([ours()] * 4, ignore_index=True).drop(columns=names)
    study = [f"{number:03d}" for number in range(60)]
    test, table = collect(tmp_path, again.assign(study=study), pd.DataFrame({"study": study, "score": REPORTED * 4}))
    at = external.report(test, table).cuts.at[2]
    assert at.figures["auroc"].note.startswith("by the predicted score; ")  # which is in order: nothing to resample
    assert at.figures["brier"].note == "the predictions have no probabilities of the categories"
    assert {way.by for way in at.decisions.ways if way.key == "model"} == {"own_cut"}


def test_labels_above_1000_count_at_every_cut_and_categories_alone_at_edges(tmp_path):
    test, table = many(tmp_path, [">1000" if score > 1000 else score for score in REPORTED * 4])
    found = external.report(test, table).cuts
    assert [at.positives for at in found.at] == [48, 28, 16]
    assert found.at[1].note == "8 units are known by their category alone, which lies on one side of the cut"
    asked = dataclasses.replace(test, cuts=[1000.0, 2500.0])
    at_1000, beyond = external.report(asked, table).cuts.at
    assert at_1000.note == found.at[1].note
    assert (beyond.n, beyond.figures["auroc"].value) == (0, None)
    assert "which 2500 divides" in beyond.figures["auroc"].note
