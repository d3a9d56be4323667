"""Training: one result whatever the number of ranks, and after a kill."""

import csv
import json
import math
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cac_hpc.dataset import sealing
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import attempts, networks, setup, steps, training
from cac_hpc.train.checkpoint import TrainingState
from cac_hpc.train.networks import SliceClassifier, dropout_factors
from tests.support.runs import NUM_SLICES, prepare, torchrun


def epochs_of(run, fold=0):
    with RunPaths(run).fold(fold).history.open(encoding="utf-8", newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def predictions_of(run, fold=0):
    return RunPaths(run).fold(fold).predictions.read_bytes()


def sealed_run(folder, scans, packed, **sections):
    run = prepare(folder, scans, data={"packed_dir": str(packed)}, **sections)
    sealing.seal(run)
    return run


def test_the_network_is_the_published_one():
    model = SliceClassifier(ModelConfig(), 64, 6)
    kinds = [type(layer).__name__ for layer in (*model.features, *model.head)]
    assert kinds == ["Conv2d", "ReLU", "MaxPool2d"] * 5 + ["Flatten", "Linear", "ReLU", "Linear"]
    assert [layer.out_channels for layer in model.features if isinstance(layer, torch.nn.Conv2d)] == [
        32,
        64,
        128,
        256,
        512,
    ]
    assert model(torch.zeros(3, 1, 64, 64)).shape == (3, 6)
    # 9 weights per pair of channels and one bias per filter; 2 x 2 positions are left of 64 x 64
    convolutions = sum(9 * a * b + b for a, b in zip((1, 32, 64, 128, 256), (32, 64, 128, 256, 512), strict=True))
    dense = (512 * 4 * 512 + 512) + (512 * 6 + 6)
    assert sum(parameter.numel() for parameter in model.parameters()) == convolutions + dense


def test_dropout_drops_the_share_it_should_and_keeps_the_mean():
    factors = dropout_factors(torch.Generator().manual_seed(1), 100, 1000, 0.3)
    assert sorted(set(factors.flatten().tolist())) == pytest.approx([0, 1 / 0.7])
    assert float((factors == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    model = SliceClassifier(ModelConfig(filters=(4,), dense=8), 8, 3)
    x = torch.rand(2, 1, 8, 8)
    features = model.features(x)
    torch.testing.assert_close(model(x, factors[:2, :64]), model.head(features * factors[:2, :64]))


@pytest.mark.parametrize("shares", [(32,), (16, 16), (11, 21), (0, 32)])
def test_shares_of_a_batch_add_up_to_the_step_of_the_whole_batch(shares):
    """What DDP does by hand: the mean of the ranks' gradients, whatever rows each had."""
    torch.manual_seed(0)
    cfg = TrainConfig(epochs=1, device="cpu", precision="fp32")
    model = SliceClassifier(ModelConfig(filters=(4, 8), dense=8), 16, 3)
    hu = torch.randint(-500, 1000, (32, 16, 16), dtype=torch.int16)
    label = torch.randint(0, 3, (32,))
    weight = torch.tensor([0.5, 1.0, 3.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    mean = [torch.zeros_like(parameter) for parameter in model.parameters()]
    total = 0.0
    keep = dropout_factors(torch.Generator().manual_seed(2), 32, model.num_features, 0.3)
    for parts in zip(hu.split(shares), label.split(shares), keep.split(shares), strict=True):
        share = steps.Share(*parts, weight_sum=weight[label].sum())
        total += float(steps.train_step(model, optimizer, scaler, share, weight, len(shares), cfg))
        for into, parameter in zip(mean, model.parameters(), strict=True):
            into += parameter.grad / len(shares)
    x = ((hu.float() + 200) / 1000).clamp(0, 1).unsqueeze(1)
    loss = torch.nn.CrossEntropyLoss(weight)(model(x, keep), label)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    assert total == pytest.approx(float(loss.detach()), rel=1e-5)
    for found, wanted in zip(mean, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.timeout(300)
def test_one_rank_and_two_ranks_take_the_same_steps(tmp_path, scans, packed):
    tables = []
    for num_ranks in (1, 2):
        (tmp_path / str(num_ranks)).mkdir()
        run = sealed_run(tmp_path / str(num_ranks), scans, packed, cluster={"ranks_per_node": num_ranks})
        if num_ranks == 1:
            assert training.train_fold(run, 0) == 0
        else:
            subprocess.run(torchrun(num_ranks, run, 0), capture_output=True, timeout=200, check=True)
        tables.append(pd.read_csv(RunPaths(run).fold(0).predictions, dtype={"study": str}))
    one, two = tables
    assert len(one) == 6 * NUM_SLICES
    pd.testing.assert_frame_equal(one[["study", "slice", "label"]], two[["study", "slice", "label"]])
    np.testing.assert_allclose(one.filter(regex=r"^p\d"), two.filter(regex=r"^p\d"), atol=1e-4)


@pytest.mark.timeout(120)
def test_a_finished_fold_started_again_changes_nothing(tmp_path, scans, packed):
    run = sealed_run(tmp_path, scans, packed, train={"epochs": 1}, cluster={"ranks_per_node": 1})
    training.train_fold(run, 0)
    before = {path: path.stat().st_mtime_ns for path in RunPaths(run).fold(0).root.rglob("*")}
    training.train_fold(run, 0)
    assert {path: path.stat().st_mtime_ns for path in RunPaths(run).fold(0).root.rglob("*")} == before


@pytest.mark.timeout(120)
def test_bf16_is_computed_in_bf16(tmp_path, scans, packed):
    cfg = TrainConfig(epochs=1, device="cpu", precision="bf16")
    model = SliceClassifier(ModelConfig(filters=(4,), dense=4), 8, 3)
    seen = []
    model.head[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    steps.evaluate(model, [(torch.zeros(2, 8, 8, dtype=torch.int16), torch.zeros(2, dtype=torch.long), None)], 3, cfg)
    assert seen == [torch.bfloat16]


def test_the_test_epoch_is_the_one_of_lowest_validation_loss():
    rows = [{"val_loss": loss} for loss in (3.0, 1.0, 2.0, 1.0)]
    assert TrainingState(None, None, None, None, history=rows).best_epoch == 2


def test_a_fold_that_does_not_exist_is_refused_and_leaves_no_trace(tmp_path, scans, packed):
    run = sealed_run(tmp_path, scans, packed)
    before = RunPaths(run).ledger.read_bytes()
    with pytest.raises(InputError, match="--fold 3: the run has 3 folds, wanted 0 to 2"):
        training.train_fold(run, 3)
    assert RunPaths(run).ledger.read_bytes() == before


@pytest.mark.timeout(120)
def test_a_loss_that_is_not_finite_is_named_and_not_checkpointed(tmp_path, scans, packed):
    run = sealed_run(tmp_path, scans, packed, train={"learning_rate": 1e30}, cluster={"ranks_per_node": 1})
    with pytest.raises(WorkError, match=r"fold 0 epoch \d step \d: .*in studies 0\d\d, .*lower train\.learning_rate"):
        training.train_fold(run, 0)
    assert len(RunPaths(run).fold(0).checkpoints()) < 4


def test_a_gpu_that_is_not_there_is_an_error_and_not_a_quiet_cpu_run(tmp_path, scans, packed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    run = sealed_run(tmp_path, scans, packed, cluster={"kind": "local"})
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("device: cpu", "device: cuda"), encoding="utf-8")
    with pytest.raises(WorkError, match=r"train\.device is cuda, but the node shows 0 GPUs"):
        training.train_fold(run, 0)


def test_a_loss_that_is_not_finite_is_borne_a_few_times_where_fp16_skips_its_step():
    units = SimpleNamespace(study=np.array(["7", "8"]))
    rows = [np.array([index % 2]) for index in range(20)]

    def look(precision, losses, first=0):
        cfg = SimpleNamespace(train=TrainConfig(epochs=1, batch_size=1, precision=precision))
        data = SimpleNamespace(train=np.arange(20), units=units, batches=lambda *_: rows)
        state = TrainingState(*[None] * 4)
        attempts.check_losses(SimpleNamespace(cfg=cfg, data=data, fold=0, state=state), losses, first)

    look("bf16", [1.0, 2.0])
    look("fp16", [math.inf] * 4 + [1.0] + [math.nan] * 4)
    with pytest.raises(WorkError, match=r"fold 0 epoch 1 step 12: found a loss of inf, in studies 8; lower"):
        look("bf16", [1.0, math.inf], first=10)
    with pytest.raises(WorkError, match=r"fold 0 epoch 1 step 3: found a loss of nan, several in a row, in studies 7;"):
        look("fp16", [math.inf, 1.0] + [math.nan] * 5)


def test_precision_left_open_is_what_is_clearly_faster_on_this_cpu(monkeypatch, scans, tmp_path):
    cfg = stored_settings.load(RunPaths(prepare(tmp_path, scans, train={"precision": "auto"})).config)
    assert setup.choose_precision(cfg, torch.device("cpu")) in ("fp32", "bf16")
    for bf16_seconds, chosen in ((0.5, "bf16"), (0.9, "fp32"), (3.0, "fp32")):
        monkeypatch.setattr(setup, "_step_seconds", lambda _, name, s=bf16_seconds: s if name == "bf16" else 1.0)
        assert setup.choose_precision(cfg, torch.device("cpu")) == chosen


@pytest.mark.timeout(120)
def test_a_fold_says_in_which_precision_it_was_computed_and_refuses_another(tmp_path, scans, packed, monkeypatch):
    one = {"ranks_per_node": 1}
    run = sealed_run(tmp_path, scans, packed, train={"precision": "auto", "epochs": 1}, cluster=one)
    assert training.train_fold(run, 0) == 0
    facts = json.loads(RunPaths(run).fold(0).metrics.read_text(encoding="utf-8"))
    assert facts["precision"] in ("fp32", "bf16")
    assert facts["parameters"] == networks.num_parameters(
        SliceClassifier(ModelConfig(filters=(8, 16, 16), dense=32), 32, 6)
    )
    monkeypatch.setattr(steps, "warm_up", lambda *_: torch.float16)
    with pytest.raises(WorkError, match=r"but the network was computed in torch.float16 on cpu \(.*\); set what this"):
        training.train_fold(run, 1)


@pytest.mark.timeout(120)
def test_too_little_memory_says_what_to_change(tmp_path, scans, packed, monkeypatch):
    run = sealed_run(tmp_path, scans, packed, cluster={"ranks_per_node": 1})

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(steps, "train_step", full)
    with pytest.raises(WorkError, match=r"out of memory on cpu .* lower train.batch_size from 32, .* train.residency"):
        training.train_fold(run, 0)
