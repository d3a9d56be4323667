"""Finished runs side by side: differences against plain loops over the same draws, and what cannot be compared."""

import json
import math
import os
import shutil
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cac_hpc.evaluation import comparison, pairing
from cac_hpc.evaluation.outcome import Outcome
from cac_hpc.report import aggregation, comparison_report
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.figures import Figure
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json, to_json
from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report import ReportConfig
from cac_hpc.settings.report_command import ReportOptions, parse_report
from cac_hpc.statistics import assessment, resampling
from cac_hpc.statistics.pooling import Units
from tests.support import oracle
from tests.support.reports import compare, make_run
from tests.support.runs import job_here

SCORES = (0, 5, 50, 200, 700, 2000)
DRAWS, NUM_PATIENTS = 200, 24


def finished(folder, seed, right, **sections):
    """A reported run of 24 patients, every sixth of them with two studies, that predicts that share of slices right."""
    rng = np.random.default_rng(seed)
    labels = {f"{number:03d}": number % 6 for number in range(NUM_PATIENTS)}
    labels |= {f"{number:03d}": number % 6 for number in range(24, 28)}  # second studies of patients 0, 1, 2 and 3
    patient = {study: f"P{int(study) % 24 + 1:04d}" for study in labels}
    predicted = {
        (study, label): [int(label if rng.random() < right else rng.integers(6)) for _ in range(2 + int(study) % 4)]
        for study, label in labels.items()
    }
    folder.mkdir()
    sections = {"report": {"draws": DRAWS, "seed": 3}, "labels": {"patient_column": "patient"}, **sections}
    scores = {study: SCORES[label] + int(study) for study, label in labels.items()}
    run = make_run(folder, predicted, patient, num_folds=4, score=scores, **sections)
    assert aggregation.aggregate(run.root)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two reported runs of the same patients; read-only."""
    folder = tmp_path_factory.mktemp("runs")
    return finished(folder / "plain", 1, 0.6), finished(folder / "wide", 2, 0.8, model={"dense": 64})


@pytest.fixture(scope="module")
def found(runs):
    return compare(*runs)


@pytest.fixture(scope="module")
def read(runs):
    """The same runs as they are read."""
    return pairing.read([run.root for run in runs])


def rows_of(run):
    """Fold, patient, label, probabilities and score of every slice, from the files."""
    studies = pd.read_csv(run.dataset(None).studies, dtype={"study": str}).set_index("study")
    rows = []
    for index in range(4):
        table = pd.read_csv(run.fold(index).predictions, dtype={"study": str})
        for row in table.itertuples():
            study = studies.loc[row.study]
            probability = [float(np.float32(row[5 + category])) for category in range(6)]
            rows.append((index, study["patient"], row.label, probability, float(study["score"])))
    return rows


def of_draw(units, drawn):
    """Every figure of the units of the patients drawn, and the categories that were lost."""
    rows = [row for name in drawn for row in units[name]]
    labels, probabilities = [row[2] for row in rows], [row[3] for row in rows]
    found = oracle.figures([(label, oracle.best(one)) for label, one in zip(labels, probabilities, strict=True)], 6)
    found["brier"] = oracle.brier(labels, probabilities)
    found["expected_calibration_error"] = oracle.calibration_error(labels, probabilities)
    expected = [round(sum(k * p for k, p in enumerate(row[3])), 9) for row in rows]
    found["spearman"] = oracle.spearman(expected, [row[4] for row in rows])
    lost = sorted(set(range(6)) - set(labels))
    for name in ("balanced_accuracy", "precision_macro", "recall_macro", "f1_macro"):
        found[name] = None if lost else found[name]
    for name in ("precision", "recall", "f1"):
        for category, value in enumerate(found.pop(name)):
            found[name, category] = None if category in lost else value
    # what always guessing one category would reach: the same one in every draw, the lowest of equally frequent ones
    most = max(range(6), key=lambda category: [row[2] for of in units.values() for row in of].count(category))
    found["majority_accuracy"] = labels.count(most) / len(labels)
    found["gain_over_majority"] = found["accuracy"] - found["majority_accuracy"]
    return found


def percentiles(values, num_patients):
    """Hesterberg's expanded percentiles of what is defined."""
    spread = math.sqrt(num_patients / (num_patients - 1)) * stats.t.ppf(0.025, num_patients - 1)
    tail = NormalDist().cdf(spread)
    ordered = sorted(values)

    def at(share):
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])

    return at(tail), at(1 - tail)


@pytest.mark.parametrize("level", ["slice", "patient"])
def test_every_difference_and_interval_is_that_of_plain_loops_over_the_same_draws(runs, found, level):
    units = []
    for run in runs:
        rows, of_patient = rows_of(run), {}
        for row in rows if level == "slice" else oracle.pooled(rows, "mean"):
            of_patient.setdefault(row[1], []).append(row)
        units.append(of_patient)
    names = sorted(units[0])
    assert names == sorted(units[1])
    assert len(names) == NUM_PATIENTS
    whole = [of_draw(one, names) for one in units]
    drawn = []
    for number in range(DRAWS):
        taken = [names[at] for at in np.random.default_rng([3, number]).integers(NUM_PATIENTS, size=NUM_PATIENTS)]
        drawn.append([of_draw(one, taken) for one in units])
    results = found["levels"][level]
    figures = dict(results["figures"])
    for category in results["categories"]:
        figures |= {(name, category["category"]): category[name] for name in ("precision", "recall", "f1")}
    assert set(figures) == set(whole[0])
    num_intervals = 0
    for name, figure in figures.items():
        one, other = (values[name] for values in whole)
        assert figure["reference"] == pytest.approx(one, abs=1e-9)
        assert figure["other"] == pytest.approx(other, abs=1e-9)
        assert figure["difference"] == pytest.approx(other - one, abs=1e-9)
        pairs = [(values[0][name], values[1][name]) for values in drawn]
        differences = [other - one for one, other in pairs if one is not None and other is not None]
        if level == "slice" and name == "spearman":
            assert (figure["low"], figure["note"]) == (None, assessment.OF_SLICES.note)
        elif len(differences) < 0.9 * DRAWS:
            assert figure["note"] == f"undefined in {DRAWS - len(differences)} of {DRAWS} draws"
            assert figure["low"] is None
        elif max(differences) - min(differences) < 1e-12:
            assert (figure["low"], figure["high"]) == (None, None)
            assert "the same in every draw" in figure["note"]
        else:
            wanted = percentiles(differences, NUM_PATIENTS)
            assert (figure["low"], figure["high"]) == pytest.approx(wanted, abs=2e-6), name
            num_intervals += 1
    assert num_intervals >= 15


def test_the_values_are_those_of_the_two_reports(runs, found):
    for role, run in zip(("reference", "other"), runs, strict=True):
        report = json.loads((run.report / "report.json").read_text(encoding="utf-8"))
        for level, results in report["levels"].items():
            for name, figure in results["pooled"]["figures"].items():
                assert found["levels"][level]["figures"][name][role] == figure["value"]
            brier = results["calibration"]["brier"]["value"]
            assert found["levels"][level]["figures"]["brier"][role] == brier


def test_the_other_way_round_every_difference_and_interval_is_mirrored(runs, found):
    mirrored = compare(runs[1], runs[0])
    for level, results in found["levels"].items():
        for name, figure in results["figures"].items():
            other = mirrored["levels"][level]["figures"][name]
            assert other["difference"] == -figure["difference"]
            if figure["low"] is not None:
                assert (other["low"], other["high"]) == pytest.approx((-figure["high"], -figure["low"]), abs=1e-6)


def test_other_numbers_of_the_same_patients_change_nothing(read):
    reference, other = read
    turned = other.studies.assign(patient=[f"P{9000 - int(name[1:])}" for name in other.studies["patient"]])
    renamed = comparison.compare(reference, replace(other, studies=turned))
    assert renamed == comparison.compare(reference, other)


def test_a_run_beside_itself_differs_nowhere(runs, tmp_path):
    copy = RunPaths(shutil.copytree(runs[0].root, tmp_path / "copy"))
    same = compare(runs[0], copy)
    figures = [figure for results in same["levels"].values() for figure in results["figures"].values()]
    assert {figure["difference"] for figure in figures} == {0}
    assert all(figure["low"] is None and figure["note"] for figure in figures)
    assert (same["settings"], same["notes"], same["warnings"]) == ([], [], [])
    assert same["sign_test"]["p_value"] is None
    assert same["sign_test"]["note"] == "no patient is right more often in one run than in the other"


def matrices(*pairs):
    """One 2 x 2 matrix per patient with so many right and wrong tests."""
    return np.array([[[right, wrong], [0, 0]] for right, wrong in pairs])


def test_mcnemars_test_counts_patients_who_are_right_in_one_run_only():
    # of nine patients five are right in the other run alone, one in the reference alone: 2 (1 + 6) / 2^6
    reference = matrices(*[(0, 1)] * 5, (1, 0), (1, 0), (1, 0), (0, 1))
    other = matrices(*[(1, 0)] * 5, (0, 1), (1, 0), (1, 0), (0, 1))
    found = comparison.sign_test(reference, other)
    assert (found.other_better, found.reference_better, found.equal) == (5, 1, 3)
    assert found.p_value == pytest.approx(14 / 64)
    assert found.test == "exact McNemar test"


def test_patients_who_were_tested_repeatedly_speak_by_their_share_of_right_tests():
    # 1 of 2 against 2 of 4 is as often; 1 of 3 against 1 of 2 is less often
    found = comparison.sign_test(matrices((1, 1), (1, 2), (0, 1)), matrices((2, 2), (1, 1), (3, 0)))
    assert (found.other_better, found.reference_better, found.equal) == (2, 0, 1)
    assert found.p_value == 0.5
    assert found.test == "exact sign test of each patient's share of right tests"


def of_value(value, note=None):
    return Figure(value, 9, None, None, None, note)


def test_a_figure_that_is_undefined_in_one_run_says_why_and_has_no_difference():
    nothing = of_value(None, "the category was never predicted")
    found = comparison._difference([nothing, of_value(0.5)], assessment.FOLD, [None, None])
    assert (found.reference, found.other, found.difference, found.low) == (None, 0.5, None, None)
    assert found.note == "reference: the category was never predicted"


def test_a_mean_over_other_categories_says_which_it_leaves_out():
    one, other = np.diag([3, 2, 0]), np.array([[3, 0, 0], [0, 1, 1], [0, 0, 0]])
    found = [comparison._left_out(matrix).get("f1_macro") for matrix in (one, other)]
    assert found == ["without categories 2, where it is undefined", None]
    figures = [of_value(1.0), of_value(0.7)]
    assert comparison._difference(figures, assessment.FOLD, found).note.startswith("reference: without categories 2")


def test_few_patients_give_differences_without_intervals():
    note = comparison._interval("accuracy", 0, [{}, {}], 9).note
    assert note == "no interval from fewer than 10 patients"
    figure = of_value(0.5)
    found = comparison._difference([figure, figure], comparison._interval("accuracy", 0, [{}, {}], 9), [None, None])
    assert (found.difference, found.low, found.note) == (0, None, note)
    assert comparison_report._without_interval({"accuracy": found, "icc": found}) == [f"all: {note}."]


# of what is not shared


def changed(run, **tables):
    """The run with other columns of its studies, or with summary entries replaced."""
    return replace(run, studies=run.studies.assign(**tables))


def without(run, names):
    """The run as if it had not tested these studies."""
    kept = {
        fold: replace(
            one,
            studies=one.studies[(keep := ~np.isin(one.studies, names))],
            study=(np.cumsum(keep) - 1)[one.study[(rows := keep[one.study])]],
            slice=one.slice[rows],
            label=one.label[rows],
            probability=one.probability[rows],
        )
        for fold, one in run.outcome.predictions.items()
    }
    return replace(run, studies=run.studies.drop(index=names), outcome=Outcome(kept))


def refusal(reference, other):
    with pytest.raises(InputError) as caught:
        pairing.align(reference, other)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_patients_that_are_missing_are_named_by_study_with_the_run_that_lacks_them(read):
    reference, other = read
    found = refusal(reference, without(other, [f"{number:03d}" for number in range(8, 15)]))
    assert found == (
        "wide/run has not tested the patients of plain/run with study '008', '009', '010', '011', '012' and 2 more; "
        "wanted runs that tested the same patients"
    )
    found = refusal(without(reference, ["009"]), without(other, ["004", "005"]))
    assert "wide/run has not tested the patients of plain/run with study '004', '005'; " in found
    assert "plain/run has not tested the patients of wide/run with study '009'; wanted" in found


def test_a_study_less_of_a_patient_with_another_one_is_only_noted(read):
    reference, other = read
    less = comparison.compare(reference, without(other, ["024"]))
    assert less.patients == NUM_PATIENTS
    assert "the runs tested the same patients, but not by the same studies" in less.notes


def test_other_labels_are_named(read):
    reference, other = read
    label = other.studies["category"].where(other.studies.index != "007", 4)
    assert refusal(reference, changed(other, category=label)) == (
        "found other categories in plain/run than in wide/run: study '007' (1, 4); wanted runs of the same labels"
    )
    all_of_them = refusal(reference, changed(other, category=(other.studies["category"] + 1) % 6))
    assert all_of_them.count("(") == 5
    assert "and 23 more" in all_of_them


def test_a_patient_whose_label_comes_from_a_study_that_one_run_lacks_is_named(read):
    reference, other = read
    label = reference.studies["category"].where(reference.studies.index != "025", 5)
    found = refusal(changed(reference, category=label), without(other, ["025"]))
    assert "patient of study '001' (5, 1)" in found


def test_studies_of_one_patient_here_and_two_there_are_named(read):
    reference, other = read
    apart = other.studies["patient"].where(other.studies.index != "026", "P0099")
    for found in (refusal(reference, changed(other, patient=apart)), refusal(changed(other, patient=apart), reference)):
        assert found.startswith("studies '002', '026' are of one patient in plain/run and of several in wide/run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda summary: summary["categories"][0].update(name="None"),
            r"categories None, Low, .* wanted those of plain",
        ),
        (lambda summary: summary["categories"][2].update(score_up_to=99.0), r"labels.edges 0, 10, 99, 400, 1000\)"),
        (lambda summary: summary["statistics"].update(patient_rule="top_k"), "patient_rule top_k of 5 slices, wanted"),
    ],
)
def test_other_categories_and_rules_are_refused(read, change, message):
    reference, other = read
    summary = to_json(other.report)
    change(summary)
    with pytest.raises(InputError, match=message):
        pairing.align(reference, replace(other, report=from_json(summary, Report)))


def test_what_differs_is_listed_and_a_split_by_slice_is_marked(read, found):
    assert found["settings"] == ["model.dense: 32 / 64"]
    assert not found["warnings"]
    reference, other = read
    leaky = replace(other, report=replace(other.report, split=replace(other.report.split, unit="slice")))
    turned = {(fold + 1) % 4: one for fold, one in leaky.outcome.predictions.items()}
    marked = comparison.compare(reference, replace(leaky, outcome=Outcome(turned)))
    assert marked.warnings == [
        "LEAKS: wide/run was split by slice: slices of one patient are in its training and test parts"
    ]
    assert "the patients were divided into other folds: part of every difference comes from that" in marked.notes
    assert marked.warnings[0] in comparison_report.markdown([marked])


# files


@pytest.fixture
def copies(runs, tmp_path):
    """Copies to be changed."""
    return [RunPaths(shutil.copytree(run.root, tmp_path / name)) for run, name in zip(runs, "ab", strict=True)]


@pytest.fixture(scope="module")
def partial(runs, tmp_path_factory):
    """Copies whose reports lack fold 2; read-only."""
    folder = tmp_path_factory.mktemp("partial")
    found = [RunPaths(shutil.copytree(run.root, folder / name)) for run, name in zip(runs, "ab", strict=True)]
    for run in found:
        run.fold(2).predictions.unlink()
        assert not aggregation.aggregate(run.root)
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: (run.report / "report.json").unlink(), r"report\.json: there is no report yet"),
        (
            lambda run: run.config.unlink(),
            r"b: found a report without its run, .* an archive of a report has no studies",
        ),
        (lambda run: run.dataset(None).studies.unlink(), r"studies\.csv: not there, wanted the studies"),
        (lambda run: run.dataset(None).studies.write_text("study\n"), r"studies\.csv: not the studies that the report"),
        (lambda run: run.fold(1).predictions.unlink(), r"predictions\.csv: not there any more; python jobs/aggregate"),
        (lambda run: run.fold(1).predictions.write_text("x"), r"predictions\.csv: not the predictions that the report"),
        (lambda run: disk.write_json(run.report / "report.json", {"format_version": 1}), "found format version 1, w"),
    ],
)
def test_files_that_are_missing_or_not_the_reports_own_are_named(copies, change, message):
    change(copies[1])
    with pytest.raises(InputError, match=message):
        compare(*copies)


def test_what_is_no_run_and_a_run_given_twice_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match="found one run twice"):
        compare(runs[0], RunPaths(runs[0].root / ".." / runs[0].root.name))
    with pytest.raises(InputError, match=r"found no config\.yaml there"):
        compare(runs[0], RunPaths(tmp_path))
    (tmp_path / "report.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"report\.tar: found a report without its run"):
        compare(runs[0], RunPaths(tmp_path / "report.tar"))


def test_two_partial_runs_of_the_same_patients_are_compared_and_marked(partial, capsys):
    asked = ReportOptions(source=str(partial[0].root), others=(str(partial[1].root),))
    assert comparison_report.show(asked) == 1
    shown = capsys.readouterr().out
    assert "18 patients (PARTIAL)" in shown
    assert "PARTIAL: a and b lack folds" in shown


def test_a_partial_run_is_refused_where_patients_are_missing(runs, partial):
    with pytest.raises(InputError, match=r"b, which is PARTIAL, has not tested the patients of run with study '002', "):
        compare(runs[0], partial[1])


# shown


def test_three_runs_stand_side_by_side_on_80_columns(runs, copies, tmp_path):
    out, environment = tmp_path / "out", {**os.environ, "COLUMNS": "80"}
    done = job_here("report.py", runs[0].root, runs[1].root, "--out", out, copies[0].root, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown, longer = done.stdout, [line for line in lines if len(line) > 80]
    assert longer in ([], [f"comparison.json, .csv and .md: {out}"])  # a path is not broken
    assert "B = wide/run against A = plain/run, 24 patients" in shown
    assert "  model.dense: 32 / 64" in lines
    assert "  none of labels, pack, split, model and train" in lines
    rows = [line.split() for line in lines if line.startswith("  expected calibration error ")]
    assert [len(row) for row in rows] == [8, 8, 6, 6]  # of the copy, differences without interval
    assert " ".join(shown.split()).count("exact McNemar test: ") == 2
    assert {path.name for path in out.iterdir()} == {"comparison.json", "comparison.csv", "comparison.md"}
    stored = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert (stored["format_version"], stored["status"]) == (1, "COMPLETE")
    assert [one["other"]["run"] for one in stored["comparisons"]] == ["wide/run", "a"]
    assert stored["multiplicity"] == {
        "runs": 3,
        "comparisons": 2,
        "by_chance": pytest.approx(0.0975),  # 1 - 0.95 * 0.95
        "pairs": 3,
        "by_chance_of_pairs": pytest.approx(0.142625),
    }
    table = pd.read_csv(out / "comparison.csv")
    assert len(table) == 2 * 2 * (20 + 3 * 6)
    accuracy = table[(table["figure"] == "accuracy") & (table["other"] == "wide/run") & (table["level"] == "patient")]
    figure = stored["comparisons"][0]["levels"]["patient"]["figures"]["accuracy"]
    assert accuracy.iloc[0][["difference", "low", "high"]].tolist() == [
        figure["difference"],
        figure["low"],
        figure["high"],
    ]
    text = (out / "comparison.md").read_text(encoding="utf-8")
    assert "\n| accuracy | " in text
    for content in (text, (out / "comparison.json").read_text(), (out / "comparison.csv").read_text()):
        assert str(tmp_path) not in content


def test_the_number_of_comparisons_is_named_and_nothing_is_ordered_by_a_figure(runs, copies, found, tmp_path):
    """The best run stands where it was named."""
    first = [runs[1].root, runs[0].root, copies[0].root]
    shown = " ".join(job_here("report.py", *first).stdout.split())
    titles = [
        shown.index(f"{letter} = {name} against A = wide/run") for letter, name in (("B", "plain/run"), ("C", "a"))
    ]
    assert titles == sorted(titles)
    assert "3 runs, 2 comparisons of each figure, each with A." in shown
    assert "with a probability of 9.75 %, were they independent" in shown
    assert "compares all 3 pairs: 14.3 %." in shown
    two = comparison_report.chance([from_json(found, Comparison)])
    assert two.startswith("2 runs, 1 comparison of each figure, each with A. If no run were better than another")
    assert "probability of 5 %" in two
    assert "pairs" not in two


def test_the_chance_is_that_of_simulated_comparisons_and_never_more():
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(20000, 1)), rng.normal(size=(20000, 4))
    p_values = [2 * stats.norm.sf(np.abs(difference)) for difference in (own, (own - shared) / np.sqrt(2))]
    independent, with_one = (float((p < 0.05).any(axis=1).mean()) for p in p_values)
    expected = comparison_report.multiplicity([None] * 4)["by_chance"]
    assert independent == pytest.approx(expected, abs=0.01)
    assert with_one < expected - 0.01


def test_names_of_runs_and_settings_are_only_text_in_the_files(found, tmp_path):
    hostile = {**found, "settings": ["model.name: a`b / ``<img>", "`"], "warnings": ["LEAKS: <b> was split"]}
    hostile |= {role: {**found[role], "run": f"={role}|`x`<img>"} for role in comparison.ROLES}
    comparison_report.write(tmp_path, [from_json(hostile, Comparison)])
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert set(table["reference"]) == {"'=reference|`x`<img>"}
    text = (tmp_path / "comparison.md").read_text(encoding="utf-8")
    assert r"## B = =other\|\`x\`\<img\> against A = =reference\|\`x\`\<img\>" in text
    assert r"LEAKS: \<b\> was split" in text
    assert "- ```model.name: a`b / ``<img>```\n- `` ` ``\n" in text


def test_runs_that_share_no_patients_end_with_one_line_and_code_2(runs, partial):
    done = job_here("report.py", runs[0].root, partial[1].root)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: b, which is PARTIAL, has not tested")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one", "two", "--weights", "--out", "x"], "--weights: found 2 runs to compare, wanted one run with it"),
        (["one", "two", "three", "--open"], "--open: found 3 runs to compare"),
        (["one", "--without_images", "two"], "--without_images: found 2 runs"),
    ],
)
def test_options_of_one_report_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        parse_report(None, arguments)


def test_runs_may_stand_before_and_after_the_options():
    asked = parse_report(None, ["one", "two", "--out", "x", "three"])
    assert (asked.source, asked.others, asked.out) == ("one", ("two", "three"), "x")


def test_out_that_is_a_file_is_refused(runs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="found a file, wanted a folder"):
        comparison_report.show(ReportOptions(source="a", others=("b",), out=str(tmp_path / "file")))


# how often intervals hold the truth


def unit_pair(rng, num_patients, num_slices):
    """Two networks on the same slices: patients differ in how hard they are for both."""
    patient = np.repeat(np.arange(num_patients), num_slices)
    hard = rng.normal(0, 1, num_patients)[patient]
    label = patient % 2
    pair = []
    for ease in (0.2, 0.9):
        right = rng.random(len(patient)) < 1 / (1 + np.exp(-ease - hard))
        predicted = np.where(right, label, 1 - label)
        probability = np.where(np.arange(2) == predicted[:, None], 0.8, 0.2).astype(np.float32)
        unknown = np.full(len(patient), np.nan)
        pair.append(Units(label, predicted, probability, patient, 0 * patient, unknown, num_patients, len(patient)))
    return pair


def test_19_of_20_paired_intervals_hold_the_true_difference():
    rng, cfg = np.random.default_rng(5), ReportConfig(draws=200)
    hard = rng.normal(0, 1, 1_000_000)
    one, other = (float((1 / (1 + np.exp(-ease - hard))).mean()) for ease in (0.2, 0.9))
    held, widths, unpaired = 0, [], []
    for _ in range(300):
        sums = {at: resampling.sums_by_patient(units) for at, units in enumerate(unit_pair(rng, 40, 5))}
        drawn = [comparison._drawn(each) for each in resampling.resample(sums, {}, cfg).values()]
        interval = comparison._interval("accuracy", 0, drawn, 40)
        held += interval.low <= other - one <= interval.high
        widths.append(interval.high - interval.low)
        spread = [np.std(values["accuracy"]) for values in drawn]
        unpaired.append(2 * 1.96 * math.hypot(*spread))
    assert 0.92 <= held / 300 <= 0.98  # binomial standard error 0.013
    assert np.mean(widths) < 0.9 * np.mean(unpaired)  # as pairing should
