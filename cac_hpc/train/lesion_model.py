"""A model of lesions: which candidates are coronary calcium, learned from nothing but the studies' scores.

Each candidate gets a probability p; a study's score is the sum of the Agatston scores of its candidates, while learning
each times its p, and when it is predicted of those whose p is above 0.5. A model that has learned nothing counts the
candidates that lie in the heart's region by more than half.

Axes: N candidate, U study, F feature, M member, I number that goes into a layer, O number that comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cac_hpc.calcium.candidates import LOGARITHMIC, ROOTS
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import networks

SHARE_WEIGHT = (8.0, 3.0)  # at the start and the end of the training, of a candidate's share in the heart's region: the
# logit at the start is 8 x (share - 0.5); what the model has learned then counts for more and more
MOST_SD = 6.0  # standardised features are clipped at it
LEAST_SD = 1e-3  # added to a feature's standard deviation
BETA = 0.3  # differences of log(1 + score) below it are squared, above it they count as they are
CERTAINTY = 1.0  # weight of the uncertain share of the score, reached at the end of the training


class MemberLinear(nn.Module):
    """A linear layer of each member: (N, I) or (M, N, I) to (M, N, O)."""

    shown_as = "Linear"

    def __init__(self, members: int, num_in: int, num_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(members, num_in, num_out))
        self.bias = nn.Parameter(torch.zeros(members, 1, num_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), *x.shape[-2:]), self.weight)


class LesionClassifier(nn.Module):
    """The perceptrons of all members: features (N, F) to logits (M, N) float32.

    Some features are taken as logarithms or square roots (`candidates.LOGARITHMIC`, `ROOTS`); then all are standardised
    by the mean and standard deviation of the candidates of the training studies, which are kept with the weights. The
    last layer starts at 0. How much the share in the heart's region counts follows the training, see `advance`.

    Args:
        hidden: numbers in each hidden layer. names: of the features, region_share among them.
    """

    mean_F: Tensor
    sd_F: Tensor
    share_weight: Tensor

    def __init__(self, hidden: Sequence[int], members: int, names: Sequence[str]) -> None:
        super().__init__()
        self._share = names.index("region_share")
        self._logarithmic = [names.index(name) for name in LOGARITHMIC]
        self._offset = list(LOGARITHMIC.values())
        self._roots = [names.index(name) for name in ROOTS]
        self.register_buffer("mean_F", torch.zeros(len(names)))
        self.register_buffer("sd_F", torch.ones(len(names)))
        self.register_buffer("share_weight", torch.tensor(SHARE_WEIGHT[0]))
        sides = [len(names), *hidden]
        layers = [MemberLinear(members, *pair) for pair in pairwise(sides)]
        self.body = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))
        self.last = MemberLinear(members, sides[-1], 1)
        with torch.no_grad():
            for member in range(members):  # one after the other: the first start the same, however many there are
                for layer in layers:
                    limit = layer.weight.shape[1] ** -0.5
                    layer.weight[member].uniform_(-limit, limit)
                    layer.bias[member].uniform_(-limit, limit)

    def forward(self, feature_NF: Tensor) -> Tensor:
        x = ((self.scaled(feature_NF) - self.mean_F) / self.sd_F).clamp(-MOST_SD, MOST_SD)
        start_N = self.share_weight * (feature_NF[:, self._share] - 0.5)
        logit_MN: Tensor = self.last(self.body(x))[..., 0].float() + start_N
        return logit_MN

    def scaled(self, feature_NF: Tensor) -> Tensor:
        """Features with logarithms and square roots taken."""
        out_NF = feature_NF.clone()
        offset_F = feature_NF.new_tensor(self._offset)
        out_NF[:, self._logarithmic] = (feature_NF[:, self._logarithmic] - offset_F).clamp(min=0).log1p()
        out_NF[:, self._roots] = feature_NF[:, self._roots].clamp(min=0).sqrt()
        return out_NF


def standardise(model: nn.Module, feature_NF: np.ndarray) -> None:
    """Fit the constants by which features are standardised to these candidates, those of the training studies."""
    if isinstance(model, LesionClassifier) and len(feature_NF):
        scaled_NF = model.scaled(torch.from_numpy(feature_NF)).numpy()
        mean_F, sd_F = scaled_NF.mean(axis=0, dtype=np.float64), scaled_NF.std(axis=0, dtype=np.float64) + LEAST_SD
        model.mean_F.copy_(torch.from_numpy(mean_F))
        model.sd_F.copy_(torch.from_numpy(sd_F))


def advance(model: nn.Module, progress: float) -> None:
    """Lower the weight of the share in the heart's region, kept with the weights, to where the training is.

    Args:
        progress: share of the whole training that is over.
    """
    if isinstance(model, LesionClassifier):
        first, last = SHARE_WEIGHT
        model.share_weight.fill_(first + (last - first) * progress)


def from_weights(weights: Mapping[str, Tensor], names: Sequence[str]) -> LesionClassifier:
    """The model of a fold's model.pt.

    Args:
        names: of the features that it was trained with.
    """
    members, _, _ = weights["last.weight"].shape
    body = [name for name in weights if name.startswith("body.") and name.endswith(".weight")]
    model = LesionClassifier([weights[name].shape[2] for name in body], members, names)
    model.load_state_dict(weights)
    return model.eval()


@torch.inference_mode()
def probabilities(model: LesionClassifier, feature_NF: np.ndarray) -> np.ndarray:
    """That candidates are coronary calcium, the mean over the members: (N,) float32, computed on the CPU."""
    found: np.ndarray = model(torch.from_numpy(feature_NF)).sigmoid().mean(dim=0).numpy()
    return found


@dataclass(frozen=True)
class Bags:
    """One rank's share of a global batch of studies; it may have no study, and a study no candidate.

    A study's score is between low_U and high_U as log(1 + score): equal where it is known, else one is infinite.
    """

    feature_NF: Tensor  # float32, of one study's candidates after those of the other
    agatston_N: Tensor  # float32
    count_U: Tensor  # int64, candidates of each study
    low_U: Tensor  # float32
    high_U: Tensor  # float32
    label_U: Tensor  # int64
    weight_sum: Tensor  # of the class weights over the labels of the global batch
    progress: float = 0.0  # share of the whole training that is over

    def loss(self, model: nn.Module, weight_K: Tensor, cfg: TrainConfig) -> Tensor:
        """This rank's part of the batch's loss: of the studies' losses, weighted by category, the mean.

        A study's loss is the smooth L1 distance of log(1 + score) from what the label says, and a rising weight times
        the uncertain share of the score: the sum of p (1 - p) Agatston over 1 + score.
        """
        p_MN = _logits(model, self.feature_NF, cfg).sigmoid()
        score_MU = self._sums(p_MN * self.agatston_N)
        uncertain_MU = self._sums(p_MN * (1 - p_MN) * self.agatston_N) / (1 + score_MU.detach())
        loss_MU = self._distance(score_MU) + CERTAINTY * self.progress * uncertain_MU
        return (loss_MU.mean(dim=0) * weight_K[self.label_U]).sum() / self.weight_sum

    def losses(self, p_MN: Tensor) -> Tensor:
        """Distance of each study's score from what the label says, (U,), the mean over the members."""
        return self._distance(self._sums(p_MN * self.agatston_N)).mean(dim=0)

    def _sums(self, value_MN: Tensor) -> Tensor:
        """Sums over the candidates of each study, (M, U)."""
        unit_N = torch.repeat_interleave(self.count_U, output_size=len(self.agatston_N))
        return value_MN.new_zeros(len(value_MN), len(self.count_U)).index_add(1, unit_N, value_MN)

    def _distance(self, score_MU: Tensor) -> Tensor:
        log_MU = torch.log1p(score_MU)
        off_MU = torch.relu(self.low_U - log_MU) + torch.relu(log_MU - self.high_U)
        return functional.smooth_l1_loss(off_MU, torch.zeros_like(off_MU), reduction="none", beta=BETA)


def blank(num_units: int, num_features: int, device: torch.device) -> Bags:
    """That many studies of category 0 and score 0, each of one candidate that scores nothing."""
    zero_U, zero = torch.zeros(num_units, device=device), torch.zeros(num_units, num_features, device=device)
    category = torch.zeros(num_units, dtype=torch.int64, device=device)
    return Bags(zero, zero_U, torch.ones_like(category), zero_U, zero_U, category, torch.ones((), device=device))


@torch.inference_mode()
def evaluate(model: nn.Module, batches: Iterable[Bags], cfg: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """Run the model over batches of studies.

    Returns: the probability of each candidate, the mean over the members, (N,) float32, and the loss of each study
    without class weights (U,) float32, in the order of the batches.
    """
    probability, losses = [torch.zeros(0)], [torch.zeros(0)]
    for bags in batches:
        p_MN = _logits(model, bags.feature_NF, cfg).sigmoid()
        probability.append(p_MN.mean(dim=0))
        losses.append(bags.losses(p_MN))
    device = losses[-1].device  # stays there until the end: no batch waits for its numbers
    return tuple(torch.cat([part.to(device) for part in parts]).cpu().numpy() for parts in (probability, losses))  # type: ignore[return-value]


def _logits(model: nn.Module, feature_NF: Tensor, cfg: TrainConfig) -> Tensor:
    """The model in its precision, its logits (M, N) in float32."""
    with networks.autocast(feature_NF.device, cfg.precision):
        logit_MN: Tensor = model(feature_NF)
    return logit_MN.float()
