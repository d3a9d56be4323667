"""The models that a run can train, by name, a new one is a line of MODELS: how each is built, and what it predicts.

Importing this imports no torch: the launcher estimates with it what a run will take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from cac_hpc.settings.checks import require
from cac_hpc.settings.config import Config
from cac_hpc.settings.model import ModelConfig
from cac_hpc.train.slices import Row, Unit

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One kind of model. Each function takes the settings, the pixels per side of a slice and the number of categories.

    A model of slices is called with the windowed slices (N, 1, H, W) and, in training, the factors (N, F) of its
    dropout, see `networks.dropout_factors`, where F is its attribute ``num_features``; it returns logits (N, K). A
    model of studies is called with the slices of all studies of the batch, one study after the other, with factors
    (U, F) or None, and with the number of slices of each study, (U,) int64; it returns logits (U, K). N and U may be 0.

    A model of candidates is called with the features (N, F) of the candidates of all studies of the batch (see
    `calcium.candidates`) and returns logits (M, N) float32: of M members each its answer to whether a candidate is
    coronary calcium. Loss, scores and files of such a model are those of `lesion_model` and `lesion_results`.
    """

    build: Callable[[ModelConfig, int, int], nn.Module]
    flops: Callable[[ModelConfig, int, int], int]  # of one slice's way to its logits
    num_parameters: Callable[[ModelConfig, int, int], int]  # numbers that training adjusts
    unit: Unit = "slice"  # what one prediction is of; study: of all slices of a study, whose label is the study's
    row: Row = "slice"  # what the model is given; of candidates the unit is the study
    settings: tuple[str, ...] | None = None  # below model, that it is built from; None: any may be


def _slices(cfg: ModelConfig, size: int, num_categories: int) -> nn.Module:
    from cac_hpc.train.networks import SliceClassifier

    return SliceClassifier(cfg, size, num_categories)


def _lesions(cfg: ModelConfig, size: int, num_categories: int) -> nn.Module:
    from cac_hpc.calcium import candidates
    from cac_hpc.train.lesion_model import LesionClassifier

    return LesionClassifier(cfg.hidden, cfg.members, candidates.NAMES)


def _widths(cfg: ModelConfig) -> list[tuple[int, int]]:
    """Numbers that go into and come out of each layer of the perceptron."""
    from cac_hpc.calcium import candidates

    sides = [len(candidates.NAMES), *cfg.hidden, 1]
    return list(pairwise(sides))


def lesion_flops(cfg: ModelConfig, size: int, num_categories: int) -> int:
    """As `flops`, of one candidate through all members."""
    return 2 * cfg.members * sum(given * made for given, made in _widths(cfg))


def lesion_parameters(cfg: ModelConfig, size: int, num_categories: int) -> int:
    """Weights and biases of all members."""
    return cfg.members * sum(given * made + made for given, made in _widths(cfg))


def flops(cfg: ModelConfig, size: int, num_categories: int) -> int:
    """Floating-point operations of the study's network for one slice: two, a product and a sum, per weight and place.

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
    """Weights and biases of the study's network."""
    total, channels = 0, 1
    for filters in cfg.filters:
        total += cfg.kernel**2 * channels * filters + filters
        channels, size = filters, size // 2
    return total + channels * size**2 * cfg.dense + cfg.dense + cfg.dense * num_categories + num_categories


MODELS = {
    "slices": ModelSpec(
        build=_slices,
        flops=flops,
        num_parameters=num_parameters,
        settings=("filters", "kernel", "dense", "dropout"),
    ),
    "lesions": ModelSpec(
        build=_lesions,
        flops=lesion_flops,
        num_parameters=lesion_parameters,
        unit="study",
        row="candidate",
        settings=("hidden", "members"),
    ),
}
OF_ROW = {  # sections and settings of training that only models of these rows are trained with
    "train.anatomy": "candidate",
    "train.augment": "slice",
    "train.window_hu": "slice",
}


def ignores(kind: str, name: str) -> bool:
    """Whether a setting below model or train changes nothing in a kind of model.

    Args:
        name: of the setting, with dots.
    """
    spec, (section, _, own) = MODELS[kind], name.partition(".")
    if section == "model":
        return spec.settings is not None and own not in spec.settings
    return any(name == one or name.startswith(f"{one}.") for one, row in OF_ROW.items() if row != spec.row)


def chosen(cfg: Config) -> ModelSpec:
    """The model that the settings name.

    Raises: InputError naming the choices, or if slices are divided among the parts of a fold and the model needs whole
    studies, if what it is given is not packed, or if slices are to be augmented that it is not given.
    """
    require(cfg.model.kind in MODELS, "model.kind", cfg.model.kind, " or ".join(sorted(MODELS)))
    spec = MODELS[cfg.model.kind]
    by_study = f"patient, as model.kind {cfg.model.kind} predicts whole studies"
    require(spec.unit == "slice" or cfg.split.unit == "patient", "split.unit", cfg.split.unit, by_study)
    packed = cfg.pack.slices if spec.row == "slice" else cfg.pack.candidates
    require(packed, f"pack.{spec.row}s", packed, f"true, as model.kind {cfg.model.kind} is given {spec.row}s")
    if spec.row == "candidate":
        off = f"off, as model.kind {cfg.model.kind} is given no slices; train.anatomy moves candidates"
        require(not cfg.train.augment.active, "train.augment", "on", off)
    return spec
