"""Training slices turned, shifted, magnified, mirrored, made noisy and brighter, on the device that holds them.

What happens to a slice follows from the seed and the slice's number alone, never from the batch, the rank or a
generator: a hash of both and of a counter takes the generator's place. Sines, cosines and logarithms come from tables
made on the host, because devices round them differently; what is left is whole numbers, sums and products.

Axes: N slice, H row, W column, P pixel, T table.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cac_hpc.settings.train import AugmentConfig

AIR_HU = -1024.0  # what moves in from outside the image
FULL_TURN = 65536  # steps of a circle; also the length of the tables
STEP = 0x9E3779B97F4A7C15  # between the counters of a hash; this and the constants of _mix are splitmix64's
NOISE_FROM = 16  # the first counter that noise uses; those below it are for what a slice has one of


@dataclass(frozen=True)
class Change:
    """What is done to each slice: mirrored, magnified, turned about the centre, shifted, and then made brighter.

    turn_N: int64, in steps of FULL_TURN, clockwise on the screen. magnify_N: factor. down_N, right_N: in fields of
    view. mirror_N: -1 for a slice that is mirrored left to right. offset_hu_N: added HU. All float32 but turn_N.
    """

    turn_N: Tensor
    magnify_N: Tensor
    down_N: Tensor
    right_N: Tensor
    mirror_N: Tensor
    offset_hu_N: Tensor


def augment(hu_NHW: Tensor, slice_N: Tensor, seed: int, cfg: AugmentConfig) -> Tensor:
    """Change each slice at random, the same way wherever and with whichever others it is computed.

    Nothing here waits for the device. Between a CPU and a GPU only the last bits of what is moved differ.

    Args:
        hu_NHW: int16, HU.
        slice_N: int64, row number of each slice in the sealed dataset.
        seed: of the epoch, see `epoch_seed`.
    Returns: (N, H, W) float32, HU, not rounded; ``hu_NHW.float()`` if every setting is off.
    """
    _, height, width = hu_NHW.shape
    key_N = keys(slice_N, seed)
    change = draw(key_N, cfg)
    out_NHW = hu_NHW.to(torch.float32, copy=True)
    if cfg.moves:
        out_NHW = move(out_NHW, change)
    if cfg.offset_hu > 0:
        out_NHW += change.offset_hu_N[:, None, None]
    if cfg.noise_hu > 0:
        out_NHW += normal(key_N, height * width).mul_(cfg.noise_hu).view(-1, height, width)
    return out_NHW


def epoch_seed(seed: int, fold: int, epoch: int) -> int:
    """The seed of an epoch's changes, unrelated to the order of its slices and to its dropout."""
    sequence = np.random.SeedSequence([seed, fold, epoch], spawn_key=(1,))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw(key_N: Tensor, cfg: AugmentConfig) -> Change:
    """What is done to each slice. Every setting has its own counter: switching one on changes nothing of the others."""
    most = round(cfg.rotation_deg / 360 * FULL_TURN)
    ones_N = torch.ones_like(key_N, dtype=torch.float32)
    return Change(
        turn_N=((_bits(key_N, 0) * (2 * most + 1)) >> 24) - most,
        magnify_N=1 + cfg.scale * _uniform(key_N, 1),
        down_N=cfg.shift * _uniform(key_N, 2),
        right_N=cfg.shift * _uniform(key_N, 3),
        mirror_N=torch.where(_uniform(key_N, 4) < 0, -ones_N, ones_N) if cfg.flip_left_right else ones_N,
        offset_hu_N=cfg.offset_hu * _uniform(key_N, 5),
    )


def move(hu_NHW: Tensor, change: Change) -> Tensor:
    """Mirror, magnify, turn and shift in one bilinear step; what comes from outside is air.

    Where each pixel comes from is computed one by one, not by a matrix product, whose last bits vary with the batch.

    Args:
        hu_NHW: float32, HU.
    """
    _, height, width = hu_NHW.shape
    _, cosine_T = _tables(hu_NHW.device)
    cosine_N = cosine_T.take(change.turn_N & (FULL_TURN - 1)) / change.magnify_N
    sine_N = cosine_T.take((change.turn_N - FULL_TURN // 4) & (FULL_TURN - 1)) / change.magnify_N
    y_NH1 = (_from_centre(height, hu_NHW.device) - (change.down_N * height)[:, None])[:, :, None]
    x_N1W = (_from_centre(width, hu_NHW.device) - (change.right_N * width)[:, None])[:, None, :]
    cosine_N11, sine_N11, mirror_N11 = (part[:, None, None] for part in (cosine_N, sine_N, change.mirror_N))
    from_x_NHW = cosine_N11 * mirror_N11 * x_N1W / (width / 2) + sine_N11 * mirror_N11 * y_NH1 / (width / 2)
    from_y_NHW = cosine_N11 * y_NH1 / (height / 2) - sine_N11 * x_N1W / (height / 2)
    grid_NHW2 = torch.stack((from_x_NHW, from_y_NHW), dim=-1)
    above_air_NCHW = (hu_NHW - AIR_HU).unsqueeze(1)
    moved_NCHW = functional.grid_sample(above_air_NCHW, grid_NHW2, "bilinear", "zeros", align_corners=False)
    return moved_NCHW.squeeze(1).add_(AIR_HU)


def normal(key_N: Tensor, num_pixels: int) -> Tensor:
    """Standard normal numbers, (N, P) float32, at most 4.9 from 0: each hash makes two pairs.

    Source: Box and Muller, A note on the generation of random normal deviates.
    """
    radius_T, cosine_T = _tables(key_N.device)
    counter_P = torch.arange(NOISE_FROM, NOISE_FROM + math.ceil(num_pixels / 4), device=key_N.device)
    hash_NP = _mix(key_N[:, None] + counter_P * _signed(STEP))
    parts = []
    for shift in (0, 32):
        radius_NP = radius_T.take((hash_NP >> shift) & (FULL_TURN - 1))
        turn_NP = (hash_NP >> (shift + 16)) & (FULL_TURN - 1)
        parts.append(cosine_T.take(turn_NP).mul_(radius_NP))
        parts.append(cosine_T.take((turn_NP - FULL_TURN // 4) & (FULL_TURN - 1)).mul_(radius_NP))
    return torch.cat(parts, dim=1)[:, :num_pixels].contiguous()


@functools.cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of Box and Muller: the radius for each chance, and the cosine for each step of a turn."""
    step_T = np.arange(FULL_TURN)
    radius_T = np.sqrt(-2 * np.log((step_T + 0.5) / FULL_TURN))
    cosine_T = np.cos(2 * np.pi * step_T / FULL_TURN)
    cosine_T[[FULL_TURN // 4, 3 * FULL_TURN // 4]] = 0  # else a quarter turn would not be one
    radius, cosine = (torch.from_numpy(table.astype(np.float32)) for table in (radius_T, cosine_T))
    return radius.to(device, non_blocking=True), cosine.to(device, non_blocking=True)


def _from_centre(num_pixels: int, device: torch.device) -> Tensor:
    return torch.arange(num_pixels, dtype=torch.float32, device=device) - (num_pixels - 1) / 2


def keys(slice_N: Tensor, seed: int) -> Tensor:
    """One hash per slice; no two slices share one under the same seed."""
    return _mix(_mix(torch.full_like(slice_N, _signed(seed))) ^ slice_N)


def _uniform(key_N: Tensor, counter: int) -> Tensor:
    """Float32 from -1 up to but not 1."""
    return _bits(key_N, counter).float().mul_(2.0**-23).sub_(1.0)


def _bits(key_N: Tensor, counter: int) -> Tensor:
    """24 random bits: as many as float32 holds."""
    return (_mix(key_N + _signed(counter * STEP)) >> 40) & 0xFFFFFF


def _mix(state: Tensor) -> Tensor:
    """Hash of each int64; products wrap around.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators (splitmix64).
    """
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Shift right as if unsigned: int64 fills in its sign, the mask takes it away."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """The int64 with the same 64 bits."""
    return (number + 2**63) % 2**64 - 2**63


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
