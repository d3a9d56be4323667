"""The study's network, and what is asked of any network."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from cac_hpc.calcium import candidates
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.train import Precision
from cac_hpc.train.slices import Row, Unit

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class SliceClassifier(nn.Module):
    """The classifier of one slice: (N, 1, size, size) to logits (N, categories).

    Per filter count a convolution, ReLU and 2x2 max-pooling; then dropout, one hidden layer and the logits. Dropout
    is given from outside, so that it can belong to the slices and not to the process that computes them.

    Args:
        size: pixels per side of a slice, at least 2 to the number of convolutions.
    Source: Nguyen et al., predicting coronary artery calcium severity from non-contrast cardiac CT.
    """

    def __init__(self, cfg: ModelConfig, size: int, num_categories: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for filters in cfg.filters:
            layers += [nn.Conv2d(channels, filters, cfg.kernel, padding=cfg.kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
            channels = filters
        self.num_features = channels * (size // 2 ** len(cfg.filters)) ** 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(self.num_features, cfg.dense), nn.ReLU(), nn.Linear(cfg.dense, num_categories)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):  # torch's own start lets seven layers of ReLU fade to nothing
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.constant_(layer.get_parameter("bias"), 0.0)

    def forward(self, x_NCHW: Tensor, keep_NF: Tensor | None = None) -> Tensor:
        """Logits; ``keep_NF`` is what the features are multiplied with in training, see `dropout_factors`."""
        feature_NF = self.features(x_NCHW)
        logits_NK: Tensor = self.head(feature_NF if keep_NF is None else feature_NF * keep_NF)
        return logits_NK


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network is computed in this precision."""
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


def num_features(model: nn.Module) -> int:
    """How many numbers of a unit its dropout acts on."""
    return cast("int", model.num_features)


def num_parameters(model: nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


@torch.no_grad()
def layers(model: nn.Module, unit: Unit, size: int, dropout: float, row: Row = "slice") -> list[dict[str, Any]]:
    """What a row passes through, as it was met by sending one: layer, detail, output (shape) and parameters."""
    shape = [1, size, size] if row == "slice" else [len(candidates.NAMES)]
    found: list[dict[str, Any]] = [{"layer": row.title(), "detail": "", "output": shape, "parameters": 0}]

    def meet(layer: nn.Module, _: Any, output: Tensor) -> None:
        kernel = getattr(layer, "kernel_size", None)
        detail = "" if kernel is None else "{0} x {0}".format(kernel if isinstance(kernel, int) else kernel[0])
        made = {"output": list(output.shape[1 + (row == "candidate") :]), "parameters": num_parameters(layer)}
        found.append({"layer": getattr(layer, "shown_as", type(layer).__name__), "detail": detail, **made})
        if isinstance(layer, nn.Flatten):  # dropout belongs to the slices, so it is no layer of its own
            found.append({"layer": "Dropout", "detail": f"{dropout:g}", **made})

    handles = [layer.register_forward_hook(meet) for layer in model.modules() if not list(layer.children())]
    try:
        weight = next(model.parameters())
        x = torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype)
        if row == "candidate":
            model(x)
        else:
            logits(model, x, None, one_each(unit, 1, weight.device))
    finally:
        for handle in handles:
            handle.remove()
    return found


def logits(model: nn.Module, x_NCHW: Tensor, keep_UF: Tensor | None, count_U: Tensor | None) -> Tensor:
    """Logits (U, K) of a batch of units; ``count_U`` as in `steps.Share`."""
    logits_UK: Tensor = model(x_NCHW, keep_UF) if count_U is None else model(x_NCHW, keep_UF, count_U)
    return logits_UK


def one_each(unit: Unit, num_units: int, device: torch.device) -> Tensor | None:
    """``count_U`` of a batch whose units have one slice each."""
    return None if unit == "slice" else torch.ones(num_units, dtype=torch.int64, device=device)


def dropout_factors(generator: torch.Generator, num_units: int, num_features: int, dropout: float) -> Tensor:
    """Factors (U, F) of a batch's features: 0 with probability ``dropout``, otherwise 1 / (1 - dropout)."""
    chance_UF = torch.rand(num_units, num_features, generator=generator, device=generator.device)
    return (chance_UF >= dropout).float().div_(1 - dropout)
