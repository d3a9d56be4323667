"""Reports of runs with trials: what each fold chose, how surely, and that nothing but the choice was ever tested."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from cac_hpc.evaluation import contrast, inputs, trials
from cac_hpc.report import aggregation, consistency
from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import contrast_parts, method_parts
from cac_hpc.settings import given_paths, stored_settings
from cac_hpc.settings.errors import InputError
from tests.support import trial_files
from tests.support.reports import TRAINED, check_report, make_run, report_of, vouch
from tests.support.runs import job_here
from tests.support.trial_files import kappa, right_in

GRID = {"model.dropout": [0.1, 0.4], "model.dense": [64, 512], "train.learning_rate": [0.001]}
TRIED = {"settings": GRID, "seeds": 2, "pruning": {"first_epoch": 2}}
FEW = {"draws": 200, "figure_dpi": 50}


def cohort():
    """Studies of four slices, of which some are off by one category, all of them in every fifth study."""
    return {
        (f"p{index:02d}", index % 6): [min(index % 6 + (index % 5 == 0 or at == 3), 5) for at in range(4)]
        for index in range(36)
    }


def make(folder, tried, predicted=None, **changes):
    """A run of three folds with these trials, whose folds have predicted."""
    sections = {"trials": tried, "train": {"epochs": 6}, "report": FEW}
    return make_run(folder, predicted or cohort(), num_folds=3, num_val=11, **(sections | changes))


def matters(fold, trial, part, rung):
    """Trials of the wider layer are right more often."""
    return 0.85 if trial == 2 else 0.4


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A finished run in which one trial is better, read-only."""
    run = make(tmp_path_factory.mktemp("trials"), TRIED)
    trial_files.write_trials(run, right_in(matters))
    assert aggregation.aggregate(run.root)
    return run


@pytest.fixture
def copy(tmp_path, reported):
    """A copy of it to be damaged."""
    run = RunPaths(shutil.copytree(reported.root, tmp_path / "run"))
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace(str(reported.root), str(run.root)), encoding="utf-8")
    return run


def text_of(run, name="report.md"):
    return (run.report / name).read_text(encoding="utf-8")


def refusal(run):
    with pytest.raises(InputError) as refused:
        inputs.load(run, alone=True)
    said = str(refused.value)
    assert "\n" not in said
    return said


def test_each_fold_chose_the_trial_with_the_highest_figure_of_its_validation_patients(reported):
    found = report_of(reported)["trials"]
    assert [one["trial"] for one in found["choices"]] == [2, 2, 2]
    for one in found["choices"]:
        of_trials = {}
        for path in sorted(reported.trials(one["fold"]).root.glob("trial-*/part-0/rung-1.json")):
            rungs = [json.loads((path.parents[1] / f"part-{seed}/rung-1.json").read_text()) for seed in (0, 1)]
            of_trials[rungs[0]["trial"]] = np.mean([kappa(rung["label"], rung["predicted"]) for rung in rungs])
        best, *others = sorted(of_trials, key=of_trials.get, reverse=True)
        assert (one["trial"], one["patients"]) == (best, 11)
        assert one["figure"] == pytest.approx(of_trials[best])
        assert one["runner_up"] == (others[0] if others else None)
        if others:
            assert one["over_runner_up"]["difference"] == pytest.approx(of_trials[best] - of_trials[others[0]])


def test_how_often_each_was_chosen_and_how_trials_ended_is_counted(reported):
    found = report_of(reported)["trials"]
    chosen = found["choices"][0]["settings"]
    assert found["chosen"] == [{"settings": chosen, "folds": [0, 1, 2]}]
    assert (found["number"], found["rungs"], found["seeds"], len(found["trials"])) == (4, 2, 2, 12)
    looks = {"trained": 2, "pruned": 1}
    assert all(len(row["figures"]) == looks[row["ended"]] == len(row["epochs"]) for row in found["trials"])
    assert found["seconds"] == sum(row["seconds"] for row in found["trials"])
    assert all(one["seed_sd"] > 0 for one in found["choices"])


def test_the_numbers_follow_from_the_files_of_the_trials_and_a_changed_one_is_found(reported):
    check_report(reported)
    found = report_of(reported)
    found["trials"]["choices"][1]["again"] += 0.1
    found["trials"]["trials"][3]["figures"][0] -= 0.01
    found["trials"]["choices"][0]["over_runner_up"]["other"] += 0.1
    said = "\n".join(consistency.contradictions(reported, stored_settings.load(reported.config), found))
    assert "trials.choices[1].again: found" in said
    assert "trials.trials[3].figures[0]: found" in said
    assert "trials.choices[0].over_runner_up.other: found" in said


def test_every_trial_and_every_choice_is_in_a_table(reported):
    every, choices = (pd.read_csv(reported.report / "tables" / f"{name}.csv") for name in ("trials", "choices"))
    assert every.groupby("fold")["chosen"].sum().tolist() == [1, 1, 1]
    assert every[every["chosen"] == 1]["trial"].tolist() == choices["trial"].tolist()
    assert set(GRID) <= set(every)
    assert {"ended", "seconds", "seed_1", "at_look_1"} <= set(every)
    assert "quadratic kappa" in (reported.report / "tables" / "trials.tex").read_text(encoding="utf-8")


def test_the_report_says_what_its_figures_are_an_estimate_of(reported):
    said = (
        "Each fold chose its settings among 4 trials (12 in all) by the quadratic kappa of its 11 validation patients "
        "alone. The pooled test result is the estimate of this way of choosing, not of one set of settings: test "
        "predictions of the other trials were never computed."
    )
    assert said in text_of(reported).replace("**", "")
    assert said in re.sub(r"</?strong>", "", text_of(reported, "report.html"))
    assert said in " ".join(job_here("report.py", reported.root).stdout.split())


def test_no_figure_of_a_best_on_test_is_in_a_report_that_chose_by_validation(reported):
    found = report_of(reported)
    assert (found["banner"], found["inflation"], found["trials"]["select_on"]) == (None, None, "validation")
    for name in ("report.md", "report.html"):
        assert not re.search("would have claimed|LEAKS|best on test", text_of(reported, name))


def test_how_noisy_a_choice_by_few_patients_is_stands_in_the_report(reported):
    text = text_of(reported)
    assert "It rests on 11 validation patients of each fold." in text
    assert re.search(r"the same trial would have been chosen in \d+%", text)
    assert re.search(r"another seed differ by a standard deviation of 0\.\d{3} to 0\.\d{3} \(2 seeds\)", text)
    assert "Importance of the settings is not worked out: " in text


def test_a_choice_that_no_patient_decided_says_so(tmp_path):
    run = make(tmp_path, {"settings": {"model.dense": [64, 512]}})
    trial_files.write_trials(run, right_in(lambda fold, trial, part, rung: 1.0))
    assert aggregation.aggregate(run.root)
    assert [one["tied"] for one in report_of(run)["trials"]["choices"]] == [1, 1, 1]
    assert "In 3 of 3 choices other trials have the very figure of the chosen one, which has the" in text_of(run)


def test_settings_that_folds_chose_are_shown_in_place_of_those_of_the_run(reported):
    page = text_of(reported, "report.html")
    chosen = report_of(reported)["trials"]["choices"][0]["settings"]["model.dense"]
    assert f"<dt>dense</dt><dd>{chosen} (chosen in every fold)</dd>" in page


def test_a_run_without_trials_says_nothing_of_them(finished_run):
    run = RunPaths(finished_run)
    assert "trials" not in report_of(run)
    assert "trial" not in text_of(run)
    assert not list((run.report / "figures").glob("trials*"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trial": 0}, "choice.json: trial is 0, but the trials of the fold give 2; delete it"),
        ({"settings": {"model.dense": 64}}, "choice.json: settings is {'model.dense': 64}, but the trials"),
        ({"figure": 0.99}, "choice.json: figure is 0.99, but the trials of the fold give"),
    ],
)
def test_a_choice_that_does_not_follow_from_the_trials_is_refused(copy, changes, said):
    path = copy.trials(1).choice
    disk.write_json(path, disk.read_json(path) | changes)
    assert said in refusal(copy)


def test_a_choice_among_trials_that_are_not_there_any_more_is_refused(copy):
    copy.trials(1).rung(2, 1, 1).unlink()
    assert "trial 2, among which it chose, has no valid rung-1.json any more" in refusal(copy)


def test_a_fold_that_was_trained_with_other_settings_than_it_chose_does_not_count(copy):
    facts = disk.read_json(copy.fold(1).metrics)
    facts["settings"]["model"]["dense"] = 7
    vouch(copy, 1, **facts)
    vouch(copy, 2)
    found = inputs.load(copy, alone=True)
    wanted = found.tried.choices[1].settings["model.dense"]
    said = f"trained with other settings than it chose among its trials (model.dense: 7, chosen {wanted})"
    assert found.faults[1] == said
    assert "metrics.json does not say with which settings" in found.faults[2]
    assert set(found.results) == {0}


def test_trials_that_were_looked_at_on_test_patients_are_refused(tmp_path):
    run = make(tmp_path, {"settings": GRID})
    trial_files.write_trials(run, right_in(0.5), patients_of=("test",))
    found = inputs.load(run, alone=True)
    with pytest.raises(InputError, match=r"trial 0 of fold 0 was looked at on patients p00, p03"):
        trials.check_looks(found.tried, found.folds, found.studies)


def test_a_label_that_was_not_sealed_is_refused(copy):
    path = copy.trials(0).rung(1, 0, 0)
    content = disk.read_json(path)
    content["label"][0] = 5 - content["label"][0]
    disk.write_json(path, content)
    found = inputs.load(copy, alone=True)
    with pytest.raises(InputError, match="trial 1 of fold 0 was looked at without some of its patients, or with other"):
        trials.check_looks(found.tried, found.folds, found.studies)


def test_folds_that_have_not_chosen_yet_are_left_out(tmp_path):
    run = make(tmp_path, {"settings": GRID})
    trial_files.write_trials(run, right_in(matters), folds=[1])
    found = inputs.load(run, alone=True)
    assert "has not chosen among its trials: choice.json is not there" in found.faults[0]
    of_trials = trials.report(found.tried)
    assert ([one.fold for one in of_trials.choices], {one.fold for one in of_trials.trials}) == ([1], {1})
    run.trials(1).choice.unlink()
    assert not aggregation.aggregate(run.root)
    assert "No fold has chosen its settings among its trials yet." in text_of(run, "report_PARTIAL.md")
    check_report(run)


def test_folds_that_drew_their_own_trials_are_not_counted_together(tmp_path):
    tried = {"settings": {"train.learning_rate": {"log_uniform": [0.0001, 0.1]}, "model.dropout": [0.1, 0.3]}}
    run = make(tmp_path, tried | {"sampler": "tpe", "number": 11, "seeds": 1})
    trial_files.write_trials(run, right_in(0.6))
    assert aggregation.aggregate(run.root)
    found = report_of(run)["trials"]
    rates = [
        [row["settings"]["train.learning_rate"] for row in found["trials"] if row["fold"] == fold] for fold in (0, 1)
    ]
    assert rates[0] != rates[1]
    assert found["chosen"] is None
    assert {one["setting"] for one in found["importance"]["settings"]} == set(tried["settings"])
    text = text_of(run)
    assert "Each fold drew trials of its own (trials.sampler: tpe)" in text
    assert "Each trial had one seed (trials.seeds), so that nobody knows" in text
    assert "On few patients most of what it shares out is chance" in text
    assert {path.stem for path in (run.report / "figures").glob("trials*.svg")} == {"trials", "trials_importance"}
    page = text_of(run, "report.html")
    assert re.search(r"<dt>learning_rate</dt><dd>chosen by each fold: [0-9.e-]+ \(fold \d\); ", page)
    check_report(run)


def test_trials_that_failed_or_are_beyond_the_budget_and_inner_divisions_are_said(tmp_path):
    tried = {"settings": GRID, "inner_folds": 3, "gpu_hours": 0.004, "workers": 1, "pruning": {"first_epoch": 2}}
    run, half = make(tmp_path, tried), right_in(0.5)
    trial_files.write_trials(run, lambda *at: None if at[1] == 1 else half(*at))
    assert aggregation.aggregate(run.root)
    found = report_of(run)["trials"]
    ended = [[row["ended"] for row in found["trials"] if row["trial"] == trial] for trial in (0, 1, 3)]
    assert ended == [["trained"] * 3, ["failed"] * 3, ["not_begun"] * 3]
    assert {one["patients"] for one in found["choices"]} == {24}  # all of training and validation
    text = text_of(run)
    assert "of its 24 training and validation patients, in 3 inner divisions, alone" in text
    assert re.search(r"3 failed, 3 not begun \(trials\.gpu_hours\), 3 trainings each", text)
    check_report(run)


def test_a_trial_that_failed_in_one_inner_division_was_looked_at_in_the_others(tmp_path):
    tried, half = {"settings": {"model.dropout": [0.1, 0.4]}, "inner_folds": 3}, right_in(0.5)
    run = make(tmp_path, tried)
    trial_files.write_trials(run, lambda *at: None if at[1:3] == (0, 1) else half(*at))
    assert aggregation.aggregate(run.root)
    assert [row["ended"] for row in report_of(run)["trials"]["trials"]] == ["failed", "trained"] * 3
    assert report_of(run)["trials"]["choices"][0]["patients"] == 24


def test_a_fold_may_have_settled_what_its_settings_leave_to_the_machine(tmp_path):
    """Precision auto, and how many slices are shuffled together, which follows from where they are kept."""
    run = make(tmp_path, TRIED, train={"epochs": 6, "precision": "auto"})
    trial_files.write_trials(run, right_in(matters))
    for fold, settled in enumerate([{"precision": "fp32"}, {"shuffle_window": 2048}, {"shuffle_window": 8, "seed": 1}]):
        facts = disk.read_json(run.fold(fold).metrics)
        facts["settings"]["train"] |= settled
        vouch(run, fold, **facts)
    found = inputs.load(run, alone=True)
    assert set(found.results) == {0, 1}
    assert "train.seed: 1, chosen 0" in str(found.faults[2])


def test_networks_of_folds_that_chose_different_ones_are_each_shown(copy):
    layers = [*TRAINED["layers"][:-1], {"layer": "Linear", "detail": "", "output": [6], "parameters": 99}]
    vouch(copy, 1, **(disk.read_json(copy.fold(1).metrics) | {"layers": layers, "parameters": 179}))
    assert aggregation.aggregate(copy.root)
    assert {path.stem for path in (copy.report / "figures").glob("network*.svg")} == {"network", "network_2"}
    page = text_of(copy, "report.html")
    assert "Folds 0, 2: The network as it was trained" in page
    assert "Fold 1: The network as it was trained" in page
    assert page.count("<details><summary>Its layers</summary>") == 2


@pytest.fixture(scope="module")
def leak(tmp_path_factory, reported):
    """A contrast run whose folds chose by their test patients, and predict better, read-only."""
    tried = {"settings": GRID, "seeds": 2, "select_on": "test", "contrast_to": str(reported.root)}
    better = {key: [key[1]] * 4 for key in list(cohort())[::2]}
    run = make(tmp_path_factory.mktemp("leak"), tried, cohort() | better)
    trial_files.write_trials(run, right_in(matters))
    assert aggregation.aggregate(run.root)
    return run


def test_a_run_that_chose_on_test_patients_says_what_that_would_have_claimed(leak, reported):
    found = report_of(leak)
    claimed, honest = (
        report_of(run)["levels"]["patient"]["pooled"]["figures"]["kappa_quadratic"]["value"] for run in (leak, reported)
    )
    figure = found["inflation"]["levels"]["patient"]["figures"]["kappa_quadratic"]
    assert (figure["other"], figure["reference"]) == (claimed, honest)
    said = (
        f"best on test would have claimed quadratic kappa {claimed:.3f}, the choice by validation says {honest:.3f}: "
        "inflation "
    )
    assert said in text_of(leak)
    assert said in text_of(leak, "report.html")
    assert said in " ".join(job_here("report.py", leak.root).stdout.split())
    check_report(leak)


def test_it_is_marked_everywhere_and_names_no_folder(leak, reported):
    found = report_of(leak)
    assert found["banner"] == contrast_parts.LEAKS_CHOICE
    assert found["title"].endswith(" (CONTRAST RUN, LEAKS)")
    assert [one["fold"] for one in found["trials"]["choices"]] == [None]
    assert found["trials"]["choices"][0]["patients"] == 36
    assert {one["name"]: one["passed"] for one in found["audits"]}["trials"] is False
    for path in leak.report.rglob("*"):
        assert path.is_dir() or str(reported.root).encode() not in path.read_bytes(), path
    for path in (leak.report / "figures").glob("*.svg"):
        assert "LEAKS" in path.read_text(encoding="utf-8"), path
    assert method_parts.BY_PATIENT in text_of(leak)  # which is still true
    assert "split by slice" not in text_of(leak)


def test_comparing_with_it_warns(leak, reported):
    shown = " ".join(job_here("report.py", reported.root, leak.root).stdout.split())
    assert f"LEAKS: {leak.root.parent.name}/run chose its settings by the test patients" in shown


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("trials", {"settings": GRID | {"model.dense": [64, 128]}}, "other settings"),
        ("train", {"epochs": 7}, "other settings (found / wanted by this run: train.epochs: 6 / 7)"),
    ],
)
def test_a_contrast_run_differs_in_whom_it_chose_by_alone(leak, section, changes, said):
    cfg = stored_settings.load(leak.config)
    contrast.check(cfg)
    inner = dataclasses.replace(cfg.trials, inner_folds=3, gpu_hours=1.0)  # of how validation patients choose
    contrast.check(dataclasses.replace(cfg, trials=inner))
    changed = dataclasses.replace(cfg, **{section: dataclasses.replace(getattr(cfg, section), **changes)})
    with pytest.raises(InputError, match=re.escape(said)) as refused:
        contrast.check(changed)
    assert "a contrast run differs in trials.select_on alone" in str(refused.value)


def test_the_run_that_it_is_contrasted_with_has_trials_and_does_not_leak(leak, finished_run):
    cfg = stored_settings.load(leak.config)
    for named, said in ((leak.root, "which is a contrast run itself; wanted the run that chose by validation patients"),
                        (finished_run, "which has no trials; wanted the finished run of the same trials"),
                        (leak.root.parent, "where no run is")):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(said)):
            contrast.check(dataclasses.replace(cfg, trials=dataclasses.replace(cfg.trials, contrast_to=str(named))))
    both = dataclasses.replace(cfg, split=dataclasses.replace(cfg.split, unit="slice", contrast_to=str(leak.root)))
    with pytest.raises(InputError, match=r"found split\.unit slice and trials\.select_on test, wanted one of them"):
        contrast.check(both)
    assert given_paths.absolute_paths(cfg).trials.contrast_to == cfg.trials.contrast_to
