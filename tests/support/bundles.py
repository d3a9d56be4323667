"""Bundles of models that have learned nothing, and small chests for them to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cac_hpc.calcium.candidates import NAMES
from cac_hpc.predict import training_range
from cac_hpc.predict.bundle import Bundle
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.train.lesion_model import LesionClassifier
from cac_hpc.train.networks import SliceClassifier
from cac_hpc.train.ordinal import Errors
from tests.support.chests import chest, with_lesion, write_study

PACK = PackConfig(slices=False, size=32)
FACTS = {"slice_spacing_mm": [3.0], "kvp": [120.0], "kernel_class": ["soft to medium"]}  # of the training studies


def lesions(bias: Sequence[float] = (0.0, 0.0), **changes: Any) -> Bundle:
    """One fold for each bias, whose logit of a candidate is 8 (its share in the heart's region - 0.5) and the bias."""
    weights = []
    for number, one in enumerate(bias):
        torch.manual_seed(number)
        model = LesionClassifier((4,), 1, NAMES)
        model.last.bias.data.fill_(one)
        weights.append(model.state_dict())
    made = Bundle(
        kind="lesions",
        version="0.1.0",
        pack=PACK,
        model=ModelConfig(kind="lesions", hidden=(4,)),
        window_hu=(-200.0, 800.0),
        names=LabelsConfig.names,
        edges=LabelsConfig.edges,
        patient_rule="mean",
        top_k=5,
        weights=weights,
        errors=[Errors(0.2 + 0.1 * number, 0.01) for number in range(len(bias))],
        internal={},
        training=training_range.of_studies(pd.DataFrame(FACTS)),
        salt="pepper",
        known=frozenset(),
        licence="none",
    )
    return replace(made, **changes)


def slices(folds: int = 2, **changes: Any) -> Bundle:
    """A small network of slices of 32 x 32 pixels."""
    cfg, weights = ModelConfig(filters=(4, 4), dense=8), []
    for number in range(folds):
        torch.manual_seed(number)
        weights.append(SliceClassifier(cfg, 32, len(LabelsConfig.names)).state_dict())
    return lesions(kind="slices", pack=PackConfig(size=32), model=cfg, weights=weights, errors=None, **changes)


def write_chests(root: Path, names: str = "ab") -> Path:
    """A study for each letter: `a` without calcium, others with a lesion of 4 x 4 mm on two slices, each elsewhere."""
    solids = chest(140, num_slices=24)
    for number, name in enumerate(names):
        hu_ZHW = with_lesion(solids.hu_ZHW, -60, 4 + number, slice(10, 12)) if name != "a" else solids.hu_ZHW
        write_study(root / name, hu_ZHW)
    return root
