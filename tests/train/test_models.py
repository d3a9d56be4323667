"""The network: its settings, what it costs, and that its start stays as it was."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cac_hpc.settings.model import ModelConfig
from cac_hpc.train import models
from cac_hpc.train.augment_slices import window
from cac_hpc.train.models import flops
from cac_hpc.train.networks import SliceClassifier, num_parameters

SETTINGS = [
    (ModelConfig(), 64, 6),
    (ModelConfig(filters=(4,), dense=8), 8, 3),
    (ModelConfig(filters=(4, 8, 16), dense=32, kernel=5), 50, 5),  # 50 -> 25 -> 12 -> 6
    (ModelConfig(filters=(3, 7), dense=1, kernel=1), 33, 2),
    (ModelConfig(filters=(2, 2), dense=4, kernel=7), 4, 6),  # the kernel is larger than the slice
]


@pytest.mark.parametrize(("cfg", "size", "num_categories"), SETTINGS)
def test_flops_and_parameters_are_what_torch_counts(cfg, size, num_categories):
    model = SliceClassifier(cfg, size, num_categories)
    assert num_parameters(model) == models.num_parameters(cfg, size, num_categories)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(3, 1, size, size))
    assert 3 * flops(cfg, size, num_categories) == counter.get_total_flops()


def test_flops_of_a_small_network_worked_by_hand():
    # 8 x 8 slice, 3 x 3 x 1 -> 4: 2 x 9 x 4 x 64 = 4608; 4 x 4 x 4 = 64 -> 8: 1024; 8 -> 3: 48
    assert flops(ModelConfig(filters=(4,), dense=8), 8, 3) == 4608 + 1024 + 48


def test_parameters_worked_by_hand():
    # convolution 4 x 9 + 4, dense 64 x 8 + 8, logits 8 x 3 + 3
    assert num_parameters(SliceClassifier(ModelConfig(filters=(4,), dense=8), 8, 3)) == 40 + 520 + 27


@pytest.mark.parametrize(("cfg", "size", "num_categories"), SETTINGS)
def test_every_kernel_gives_one_row_of_logits_per_slice(cfg, size, num_categories):
    assert SliceClassifier(cfg, size, num_categories)(torch.zeros(2, 1, size, size)).shape == (2, num_categories)


def test_the_published_network_starts_with_the_numbers_it_always_had():
    torch.manual_seed(5)
    model = SliceClassifier(ModelConfig(filters=(4, 8), dense=16), 16, 3)
    torch.manual_seed(5)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1), nn.Linear(128, 16), nn.Linear(16, 3)]
    for layer in layers:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    names = ["features.0", "features.3", "head.0", "head.2"]
    assert list(model.state_dict()) == [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    for name, layer in zip(names, layers, strict=True):
        assert torch.equal(model.get_parameter(f"{name}.weight"), layer.weight)
        assert torch.equal(model.get_parameter(f"{name}.bias"), layer.bias)


def test_the_window_takes_float_hu_and_leaves_them_alone():
    hu = torch.randint(-1024, 3000, (2, 8, 8), dtype=torch.int16)
    as_float = hu.float()
    assert torch.equal(window(as_float, -200.0, 800.0), window(hu, -200.0, 800.0))
    assert torch.equal(as_float, hu.float())
    assert window(torch.tensor([[[-300.0, -200.0, 300.5, 800.0, 900.0]]]), -200.0, 800.0).flatten().tolist() == (
        pytest.approx([0, 0, 0.5005, 1, 1]))  # fmt: skip
