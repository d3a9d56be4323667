"""What the network takes, worked out from its settings: operations, parameters, bytes of a checkpoint."""

from __future__ import annotations

from cac_hpc.run.config import ModelConfig


def flops(cfg: ModelConfig, size: int, num_categories: int) -> int:
    """Floating-point operations of one slice's way to its logits: two, a product and a sum, per weight and place.

    A convolution of k x k pixels from C to F channels on a slice of S x S takes 2 k k C F S S, a dense layer from F to
    K numbers 2 F K. Counted as if the zeros around a slice were read; biases, ReLU, max-pooling and dropout are not
    counted (below 1 % for the study's network). A training step takes about three times as many.
    """
    total, channels = 0, 1
    for filters in cfg.filters:
        total += 2 * cfg.kernel**2 * channels * filters * size**2
        channels, size = filters, size // 2
    return total + 2 * channels * size**2 * cfg.dense + 2 * cfg.dense * num_categories


def num_parameters(cfg: ModelConfig, size: int, num_categories: int) -> int:
    """How many numbers training adjusts: weights and biases."""
    total, channels = 0, 1
    for filters in cfg.filters:
        total += cfg.kernel**2 * channels * filters + filters
        channels, size = filters, size // 2
    return total + channels * size**2 * cfg.dense + cfg.dense + cfg.dense * num_categories + num_categories


def checkpoint_bytes(cfg: ModelConfig, size: int, num_categories: int) -> int:
    """Weights, the best ones so far, and Adam's two means of each; what else is in it is small beside them."""
    return 4 * 4 * num_parameters(cfg, size, num_categories)
