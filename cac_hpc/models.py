"""The study's network."""

from __future__ import annotations

from torch import nn

from cac_hpc.config import ModelConfig


def slice_classifier(cfg: ModelConfig, size: int, num_categories: int) -> nn.Sequential:
    """Build the classifier of one slice.

    Per filter count a 3x3 convolution, ReLU and 2x2 max-pooling; then dropout, one hidden layer and the logits.

    Args:
        size: pixels per side of a slice, at least 2 to the number of convolutions.
    Returns: (N, 1, size, size) to logits (N, num_categories).
    Source: Nguyen et al., predicting coronary artery calcium severity from non-contrast cardiac CT.
    """
    layers: list[nn.Module] = []
    channels = 1
    for filters in cfg.filters:
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    side = size // 2 ** len(cfg.filters)
    layers += [
        nn.Flatten(),
        nn.Dropout(cfg.dropout),
        nn.Linear(channels * side * side, cfg.dense),
        nn.ReLU(),
        nn.Linear(cfg.dense, num_categories),
    ]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):  # torch's own start lets seven layers of ReLU fade to nothing
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.constant_(layer.get_parameter("bias"), 0.0)
    return nn.Sequential(*layers)
