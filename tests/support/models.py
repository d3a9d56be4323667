"""Two more models, as somebody would add them: a smaller one of slices, and one that predicts a study as a whole.

Started as a script it is jobs/train_fold.py with these models.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from cac_hpc.machine import processes
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands
from cac_hpc.settings.model import ModelConfig
from cac_hpc.train.models import MODELS, ModelSpec


class Brightness(nn.Module):
    """A slice's category from the means of its rows: (N, 1, H, W) to logits (N, K)."""

    def __init__(self, size: int, num_categories: int) -> None:
        super().__init__()
        self.num_features = size
        self.head = nn.Linear(size, num_categories)

    def forward(self, x_NCHW: Tensor, keep_NF: Tensor | None = None) -> Tensor:
        feature_NF = x_NCHW.mean(dim=(1, 3))
        logits_NK: Tensor = self.head(feature_NF if keep_NF is None else feature_NF * keep_NF)
        return logits_NK


class StudyMean(nn.Module):
    """A study's category from the mean of its slices' features: (N, 1, H, W) of all studies to logits (U, K)."""

    def __init__(self, filters: int, num_categories: int) -> None:
        super().__init__()
        self.num_features = filters
        self.features = nn.Sequential(nn.Conv2d(1, filters, 3), nn.ReLU())
        self.head = nn.Linear(filters, num_categories)

    def forward(self, x_NCHW: Tensor, keep_UF: Tensor | None, count_U: Tensor) -> Tensor:
        feature_NF = self.features(x_NCHW).mean(dim=(2, 3))
        unit_N = torch.repeat_interleave(torch.arange(len(count_U), device=count_U.device), count_U)
        sum_UF = feature_NF.new_zeros(len(count_U), self.num_features).index_add(0, unit_N, feature_NF)
        feature_UF = sum_UF / count_U[:, None]
        logits_UK: Tensor = self.head(feature_UF if keep_UF is None else feature_UF * keep_UF)
        return logits_UK


def _brightness(cfg: ModelConfig, size: int, num_categories: int) -> nn.Module:
    return Brightness(size, num_categories)


def _study_mean(cfg: ModelConfig, size: int, num_categories: int) -> nn.Module:
    return StudyMean(cfg.filters[0], num_categories)


OTHERS = {
    "brightness": ModelSpec(
        build=_brightness,
        flops=lambda cfg, size, num_categories: 2 * size * num_categories,
        num_parameters=lambda cfg, size, num_categories: (size + 1) * num_categories,
    ),
    "study_mean": ModelSpec(
        build=_study_mean,
        flops=lambda cfg, size, num_categories: 2 * 9 * cfg.filters[0] * (size - 2) ** 2,
        num_parameters=lambda cfg, size, num_categories: 10 * cfg.filters[0] + (cfg.filters[0] + 1) * num_categories,
        unit="study",
    ),
}


def main() -> int:
    processes.listen()
    processes.die_with_torchrun()
    run, asked = run_commands.parse_stage(__doc__, numbers={"fold": "train this fold"}, required=("fold",))
    from cac_hpc.train import training

    MODELS.update(OTHERS)
    return training.train_fold(run, asked["fold"])


if __name__ == "__main__":
    sys.exit(exit_code(main))
