"""What trials ask of a cluster and what they will take: numbers worked by hand."""

import dataclasses

import pytest

from cac_hpc.cluster import estimate, feasibility, sbatch_scripts, submission, trial_costs
from cac_hpc.cluster.estimate import CPU_FLOPS, GPU_FLOPS
from cac_hpc.cluster.site_limits import Limits
from cac_hpc.dataset import plan
from cac_hpc.run import stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES
from cac_hpc.settings import given_paths, stored_settings
from cac_hpc.settings.trials import TrialsConfig
from cac_hpc.trials import plan as trials_plan
from tests.support.runs import write_config
from tests.support.settings import changed

BY_NAME = {stage.name: stage for stage in STAGES}
TWO = TrialsConfig(configurations=({}, {"train.epochs": 8}))


@pytest.fixture
def cfg(tmp_path, scans):
    loaded = stored_settings.load(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run"))
    return dataclasses.replace(loaded, trials=TWO)


def of(cfg, kind="slurm"):
    dataset = plan.make_plan(cfg)
    found = estimate.estimate(cfg, dataset, dataset.folds, kind)
    return trial_costs.estimate(cfg, found, dataset.folds, trials_plan.make(cfg), kind), dataset


def slow(monkeypatch):
    """A machine on which operations count, not steps."""
    monkeypatch.setattr(trial_costs, "CPU_FLOPS", CPU_FLOPS / 1e6)
    monkeypatch.setattr(trial_costs, "GPU_FLOPS", GPU_FLOPS / 1e6)


def test_few_patients_who_choose_are_noted_and_inner_folds_recommended(cfg):
    dataset = plan.make_plan(cfg)
    found = estimate.estimate(cfg, dataset, dataset.folds, "slurm")
    choosing = min(len(fold.val) for fold in dataset.folds)
    (note,) = trial_costs.choosing_notes(cfg, found)
    assert f"by {choosing} validation patients, who tell little; with trials.inner_folds: 4" in note
    asked = dataclasses.replace(cfg, trials=dataclasses.replace(TWO, inner_folds=2))
    assert trial_costs.choosing_notes(asked, found) == []


def test_hours_are_those_of_all_trials_of_all_folds(cfg, monkeypatch):
    slow(monkeypatch)
    found, dataset = of(cfg)
    per_study = 6
    flops = sum(
        estimate.fold_flops(dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, epochs=epochs)),
                            6 * len(fold.train), 6 * len(fold.val), 0, per_study)
        for fold in dataset.folds for epochs in (4, 8)
    )  # fmt: skip
    assert (found.trials, found.parts, found.at_once) == (2, 1, 3)
    assert found.hours == pytest.approx(flops / (CPU_FLOPS / 1e6) / 3600)
    assert found.pruned_hours is None
    assert found.wall_min == pytest.approx(estimate.START_MIN + 60 * found.hours / 3)


def test_seeds_and_pruning_count_and_the_budget_says_how_far_it_goes(cfg, monkeypatch):
    slow(monkeypatch)
    whole = of(cfg)[0].hours
    seeds, _ = of(dataclasses.replace(cfg, trials=dataclasses.replace(TWO, seeds=3)))
    assert seeds.hours == pytest.approx(3 * whole)
    halved = changed(cfg, "trials", pruning=dataclasses.replace(TWO.pruning, first_epoch=2, factor=2))
    pruned, _ = of(halved)
    assert pruned.hours == pytest.approx(whole)
    # of 4 epochs all are trained for 2 and half of them for 2 more; of 8, for 2 and 6: 4 x 3/4 + 8 x 5/8 of 12
    assert pruned.pruned_hours == pytest.approx(whole * 8 / 12)
    tight = changed(cfg, "trials", gpu_hours=whole / 3 / 2)
    rows = trial_costs.rows(tight, of(tight)[0])
    assert rows[-1][0] == "budget"
    assert "for about 1 of 2 trials" in rows[-1][1]


def test_a_step_takes_its_time_whatever_the_machine(cfg, monkeypatch):
    monkeypatch.setattr(trial_costs, "CPU_FLOPS", 1e18)
    found, _ = of(cfg)
    steps = sum(-(-6 * len(fold.train) // 32) * epochs for fold in plan.make_plan(cfg).folds for epochs in (4, 8))
    assert found.hours == pytest.approx(steps * trial_costs.STEP_S / 3600)


def test_a_trial_that_no_fold_has_the_time_for_is_noted(cfg, monkeypatch):
    found, _ = of(cfg)
    assert trial_costs.notes(cfg, found) == []
    longer = dataclasses.replace(found, longest_fold_min=1000.0)
    assert "cluster.fold.time_min is 480" in trial_costs.notes(cfg, longer)[0]


def test_workers_ask_for_one_rank_each_and_share_a_job_as_folds_do(cfg):
    trials, folds = BY_NAME["trials"], BY_NAME["folds"]
    gpu = changed(cfg, "train", device="cuda")
    for cluster, workers, of_folds in (
        ({"ranks_per_node": 4}, 1, 4),
        ({"ranks_per_node": 2, "folds_per_node": 2}, 2, 4),
        ({"ranks_per_node": 1, "folds_per_node": 4, "gpus_per_node": 1}, 1, 1),
    ):
        asked = changed(gpu, "cluster", **cluster)
        assert (stages.gpus(trials, asked), stages.gpus(folds, asked)) == (workers, of_folds)
    wide = changed(gpu, "cluster", ranks_per_node=2, cpus_per_rank=3, folds_per_node=2)
    assert (stages.cpus(trials, wide), stages.cpus(folds, wide)) == (3, 6)
    assert sbatch_scripts.cpus_of_job(wide, trials) == 6
    assert stages.gpus(BY_NAME["pack"], gpu) == 0


def test_a_stage_waits_for_the_nearest_stage_before_it_that_has_a_job():
    assert list(stages.before("aggregate")) == ["folds", "trials", "seal", "pack"]
    after = submission._after
    assert after(BY_NAME["folds"], {"seal": "7"}, ()) == "afterok:7"  # a run without trials
    assert after(BY_NAME["folds"], {"seal": "7", "trials": "8"}, ()) == "afterok:8"
    assert after(BY_NAME["folds"], {"trials": "8"}, ["trials"]) == "afterany:8"
    assert after(BY_NAME["trials"], {"pack": "6", "seal": "7"}, ["seal"]) == "afterok:7"
    assert after(BY_NAME["aggregate"], {"folds": "9"}, ()) == "afterany:9"
    assert after(BY_NAME["pack"], {}, ()) is None


def test_too_many_workers_are_refused(cfg):
    many = changed(cfg, "trials", workers=30)
    limits = Limits(array_size=20)
    found = feasibility.faults(limits, many)
    assert any("trials.workers gives 30 array tasks, wanted at most 20 (MaxArraySize)" in line for line in found)
    shared = changed(many, "cluster", folds_per_node=2)
    assert not any("trials.workers" in line for line in feasibility.faults(limits, shared))


def test_a_run_without_trials_has_no_such_task_and_one_with_them_waits_for_the_choices(cfg):
    run = RunPaths(given_paths.out_folder(cfg.run))
    without = stages.plan_tasks(dataclasses.replace(cfg, trials=TrialsConfig()), run, 2)
    assert "trials" not in {task.stage.name for task in without}
    tasks = [task for task in stages.plan_tasks(cfg, run, 2) if task.stage.name == "trials"]
    assert [task.index for task in tasks] == [0, 1, 2]
    assert not any(task.done for task in tasks)
    for fold in range(3):
        run.trials(fold).root.mkdir(parents=True)
        run.trials(fold).choice.write_text("{}")
    assert all(task.done for task in tasks)
