"""The candidates of training studies moved, turned and magnified as a whole, as if patients were built otherwise.

What happens to a study follows from the seed, the step and the study's place in the global batch, so the ranks that
share the batch make no difference. Axes: S step, U study, N candidate, F feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cac_hpc.calcium import candidates
from cac_hpc.settings.train import AnatomyConfig

POSITION = [candidates.NAMES.index(name) for name in ("left_mm", "back_mm", "up_mm")]
BY_AORTA = [candidates.NAMES.index(name) for name in ("aorta_left_mm", "aorta_back_mm", "aorta_up_mm")]
NEARER = 0.5  # share of the shift by which places are moved against the aorta, from which coronary arteries start
MOST_SD = 3.0  # draws beyond it are cut off there


@dataclass(frozen=True)
class Moves:
    """What is done to the positions of each study of some steps: (S, U, 3, 3) float32 factors, (S, U, 3) mm."""

    turn_SU33: Tensor
    shift_SU3: Tensor


def draw(seed: int, fold: int, epoch: int, num_steps: int, num_units: int, cfg: AnatomyConfig) -> Moves:
    """Draw the moves of an epoch's steps, unrelated to the order of its studies.

    Args:
        num_units: studies of a global batch.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, fold, epoch], spawn_key=(2,)))
    drawn = np.clip(rng.standard_normal((num_steps, num_units, 7)), -MOST_SD, MOST_SD)
    shift_SU3, angle_SU3, factor_SU = drawn[..., :3], np.radians(cfg.rotation_deg) * drawn[..., 3:6], drawn[..., 6]
    turn_SU33 = turns(angle_SU3) * (1 + cfg.scale * factor_SU)[..., None, None]
    arrays = (turn_SU33.astype(np.float32), (cfg.shift_mm * shift_SU3).astype(np.float32))
    return Moves(*map(torch.from_numpy, arrays))


def turns(angle_3: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) that turn by these angles about the first, then the second, then the third axis.

    Args:
        angle_3: (..., 3) radians.
    """
    matrix = np.broadcast_to(np.eye(3), (*angle_3.shape, 3))
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        cosine, sine = np.cos(angle_3[..., axis]), np.sin(angle_3[..., axis])
        turn = np.broadcast_to(np.eye(3), (*angle_3.shape[:-1], 3, 3)).copy()
        turn[..., one, one], turn[..., one, other] = cosine, -sine
        turn[..., other, one], turn[..., other, other] = sine, cosine
        matrix = turn if axis == 0 else turn @ matrix
    return matrix


def move(feature_NF: Tensor, count_U: Tensor, turn_U33: Tensor, shift_U3: Tensor) -> Tensor:
    """The features with the positions of each study's candidates moved.

    Args:
        feature_NF: float32; is not changed. count_U: int64, candidates of each study.
    """
    unit_N = torch.repeat_interleave(count_U, output_size=len(feature_NF))
    out_NF, turn_N33, shift_N3 = feature_NF.clone(), turn_U33[unit_N], shift_U3[unit_N]
    for position, share in ((POSITION, 1.0), (BY_AORTA, NEARER)):
        turned_N3 = (turn_N33 * feature_NF[:, None, position]).sum(dim=2)
        out_NF[:, position] = turned_N3 + share * shift_N3
    return out_NF
