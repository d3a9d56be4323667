"""One training step and one evaluation pass; the mathematics of the recipe.

Axes: N slice, U unit (what is predicted: a slice or a study), C channel, H row, W column, F feature, K category.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from cac_hpc.calcium import candidates
from cac_hpc.settings.config import Config
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import augment_slices, lesion_model, networks
from cac_hpc.train.lesion_model import Bags
from cac_hpc.train.models import ModelSpec


def fix_arithmetic(cfg: Config) -> None:
    """Same settings, same bits: fixed thread count, no algorithm that depends on timing."""
    torch.set_num_threads(cfg.cluster.cpus_per_rank)
    torch.backends.cudnn.benchmark = not cfg.train.deterministic
    if cfg.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=cfg.train.device == "cuda")
        # filling what is overwritten anyway costs time; no operation here reads what was not written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Share:
    """One rank's share of a global batch of slices; it may be empty."""

    hu_NHW: Tensor  # int16 or float32, HU, the slices of one unit after those of the other
    label_U: Tensor  # int64
    keep_UF: Tensor | None  # dropout factors; None without dropout
    weight_sum: Tensor  # of the class weights over the labels of the global batch
    count_U: Tensor | None = None  # int64, slices of each unit; None where the units are slices

    def loss(self, model: nn.Module, weight_K: Tensor, cfg: TrainConfig) -> Tensor:
        """This rank's part of the class-weighted cross-entropy."""
        logits_UK = _logits(model, self.hu_NHW, self.keep_UF, self.count_U, cfg)
        return functional.cross_entropy(logits_UK, self.label_U, weight_K, reduction="sum") / self.weight_sum


def blank_share(spec: ModelSpec, num_units: int, size: int, device: torch.device) -> Share | Bags:
    """A share of that many units of category 0, each of one slice of 0 HU or one candidate that scores nothing."""
    if spec.row == "candidate":
        return lesion_model.blank(num_units, len(candidates.NAMES), device)
    hu_NHW = torch.zeros(num_units, size, size, dtype=torch.int16, device=device)
    label_U = torch.zeros(num_units, dtype=torch.int64, device=device)
    return Share(hu_NHW, label_U, None, torch.ones((), device=device), networks.one_each(spec.unit, num_units, device))


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    share: Share | Bags,
    weight_K: Tensor,
    num_ranks: int,
    cfg: TrainConfig,
) -> Tensor:
    """Step on this rank's share of a global batch.

    The loss is over the weight sum of the global batch: whatever the shares, the averaged gradients are those of one
    process with the whole batch.

    Args:
        weight_K: float32 weight of each category.
    Returns: this rank's part of the batch's loss; the parts add up over the ranks.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = share.loss(model, weight_K, cfg)
    scaled = scaler.scale(loss * num_ranks)  # DDP divides the sum of the gradients by the number of ranks
    torch.autograd.backward(scaled)
    scaler.step(optimizer)
    scaler.update()
    return loss.detach()


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor, Tensor | None]], num_categories: int, cfg: TrainConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Run the model over batches of slices, labels of their units, and numbers of slices as in `Share`.

    Returns: probabilities (U, K) float32 and cross-entropy without class weights (U,) float32, in the batches' order.
    """
    probability, losses = [torch.zeros(0, num_categories)], [torch.zeros(0)]
    for hu_NHW, label_U, count_U in batches:
        logits_UK = _logits(model, hu_NHW, None, count_U, cfg)
        losses.append(functional.cross_entropy(logits_UK, label_U, reduction="none"))
        probability.append(logits_UK.softmax(dim=1))
    device = losses[-1].device  # stays there until the end: no batch waits for its numbers
    return tuple(torch.cat([part.to(device) for part in parts]).cpu().numpy() for parts in (probability, losses))  # type: ignore[return-value]


def warm_up(model: nn.Module, share: Share | Bags, weight_K: Tensor, cfg: TrainConfig) -> torch.dtype:
    """A step that leaves no trace, for all that is settled by the first: kernels, memory, the order of DDP's sums.

    Without it a resumed training would add up the ranks' gradients in another order than one left alone.

    Returns: the type that the network was computed in.
    """
    found: list[torch.dtype] = []
    layers = (nn.Conv2d, nn.Linear, lesion_model.MemberLinear)
    inner = next(module for module in model.modules() if isinstance(module, layers))
    hook = inner.register_forward_hook(lambda module, inputs, output: found.append(output.dtype))
    loss = share.loss(model, weight_K, cfg)
    hook.remove()
    torch.autograd.backward(loss)
    model.zero_grad(set_to_none=True)
    return found[0]


def _logits(
    model: nn.Module, hu_NHW: Tensor, keep_UF: Tensor | None, count_U: Tensor | None, cfg: TrainConfig
) -> Tensor:
    """The network in its precision, its logits in float32."""
    x_NCHW = augment_slices.window(hu_NHW, *cfg.window_hu)
    with networks.autocast(x_NCHW.device, cfg.precision):
        logits_UK = networks.logits(model, x_NCHW, keep_UF, count_U)
    return logits_UK.float()
