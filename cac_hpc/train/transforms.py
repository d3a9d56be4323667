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


def blank(hu_NHW: Tensor, box_N4: Tensor, inside: bool, value_hu: float) -> Tensor:
    """Give the pixels inside of a box, or those outside of it, one value.

    Args:
        hu_NHW: int16, HU; it stays as it is. box_N4: int64, of each slice first row, row after the last, first column,
            column after the last.
    Returns: a new (N, H, W) int16.
    """
    top, bottom, left, right = box_N4[:, :, None].unbind(1)
    row, column = (torch.arange(count, device=hu_NHW.device) for count in hu_NHW.shape[1:])
    in_rows, in_columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    in_box_NHW = in_rows[:, :, None] & in_columns[:, None, :]
    return torch.where(in_box_NHW == inside, torch.full_like(hu_NHW[:1], round(value_hu)), hu_NHW)
