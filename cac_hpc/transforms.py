"""Pure tensor functions between stored HU and the network. Axes: N slice, C channel, H row, W column."""

from __future__ import annotations

import torch
from torch import Tensor


def window(hu_NHW: Tensor, low_hu: float, high_hu: float) -> Tensor:
    """Map low..high HU to 0..1, clipped outside.

    Args:
        hu_NHW: int16 or float32, HU; it stays as it is.
    Returns: x_NCHW float32 with one channel.
    """
    x_NHW = hu_NHW.to(torch.float32, copy=True).sub_(low_hu).div_(high_hu - low_hu).clamp_(0.0, 1.0)
    return x_NHW.unsqueeze(1)
