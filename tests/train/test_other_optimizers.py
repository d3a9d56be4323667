"""Another optimizer or schedule takes a function and a line of the table, and its state is in every checkpoint."""

import csv
import math

import pytest
import torch

from cac_hpc.cluster import estimate
from cac_hpc.dataset import plan, sealing
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.train import attempts, models, optimizers, training
from cac_hpc.train.optimizers import OptimizerSpec
from tests.support.runs import prepare

EPOCHS, RATE, LOWEST = 4, 0.01, 1e-4


def momentum(weights, cfg):
    return torch.optim.SGD(weights, lr=cfg.learning_rate, momentum=0.9)


def cosine(optimizer, cfg):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cfg.epochs, cfg.min_learning_rate)


@pytest.fixture(autouse=True)
def with_others(monkeypatch):
    monkeypatch.setitem(optimizers.OPTIMIZERS, "momentum", OptimizerSpec(build=momentum, numbers_per_weight=1))
    monkeypatch.setitem(optimizers.SCHEDULES, "cosine", cosine)


def sealed_run(folder, scans, packed):
    chosen = {"optimizer": "momentum", "schedule": "cosine", "epochs": EPOCHS, "learning_rate": RATE}
    train = chosen | {"min_learning_rate": LOWEST, "checkpoint_minutes": 0.0}
    run = prepare(folder, scans, data={"packed_dir": str(packed)}, train=train, cluster={"ranks_per_node": 1})
    sealing.seal(run)
    return RunPaths(run)


def results(run):
    return [path.read_bytes() for path in (run.fold(0).model, run.fold(0).predictions, run.fold(0).history)]


@pytest.mark.timeout(240)
def test_momentum_and_a_cosine_train_and_end_in_the_same_bytes_after_stops(tmp_path, scans, packed, monkeypatch):
    (tmp_path / "whole").mkdir()
    whole = sealed_run(tmp_path / "whole", scans, packed)
    assert training.train_fold(whole.root, 0) == 0
    with whole.fold(0).history.open(encoding="utf-8", newline="") as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    wanted = [LOWEST + (RATE - LOWEST) * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2 for epoch in range(EPOCHS)]
    assert rates == pytest.approx(wanted)

    stopped = sealed_run(tmp_path, scans, packed)
    with monkeypatch.context() as patch:
        patch.setattr(
            attempts, "requested", lambda attempt: attempts.STOP if attempt.state.epochs == 2 else attempts.GO_ON
        )
        assert training.train_fold(stopped.root, 0) == RESUMABLE
    assert training.train_fold(stopped.root, 0) == 0
    assert results(stopped) == results(whole)


@pytest.mark.timeout(120)
def test_a_checkpoint_of_another_optimizer_is_not_gone_on_with(tmp_path, scans, packed, monkeypatch):
    run = sealed_run(tmp_path, scans, packed)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "requested", lambda attempt: attempts.STOP)
        assert training.train_fold(run.root, 0) == RESUMABLE
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace("  optimizer: momentum\n", ""), encoding="utf-8")
    with pytest.raises(InputError, match=r"found / wanted\) train\.optimizer: 'momentum' / not set"):
        training.train_fold(run.root, 0)


def test_a_checkpoint_is_estimated_by_what_the_optimizer_keeps(tmp_path, scans):
    needed = []
    for name in ("adam", "momentum"):
        (tmp_path / name).mkdir()
        cfg = stored_settings.load(RunPaths(prepare(tmp_path / name, scans, train={"optimizer": name})).config)
        found = plan.make_plan(cfg)
        needed.append(sum(disk.needed for disk in estimate.estimate(cfg, found, found.folds).disks))
    weights = models.num_parameters(cfg.model, cfg.pack.size, 6)
    assert needed[0] - needed[1] == cfg.split.folds * estimate.CHECKPOINTS * 4 * weights
