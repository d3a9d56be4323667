"""The bundle: all that takes a study from DICOM to a category, and can be handed over; `bundle_files` has its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from cac_hpc.predict.training_range import TrainingRange
from cac_hpc.results.serialization import Json
from cac_hpc.run import digests
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.statistics.prediction_sets import Calibration
from cac_hpc.train.models import MODELS
from cac_hpc.train.ordinal import Errors


@dataclass(frozen=True)
class FoldSettings:
    """What the network of a fold is, and what it sees."""

    model: ModelConfig
    window_hu: tuple[float, float]


@dataclass(frozen=True)
class Bundle:
    """A trained model with all that belongs to it; digest: of its bundle.json, where it was read from one."""

    kind: str  # model.kind: slices or lesions
    version: str  # of cac_hpc that made it
    pack: PackConfig  # how studies are read: series, frame, size, crop, candidates, checks
    model: ModelConfig
    window_hu: tuple[float, float]
    names: tuple[str, ...]  # of the categories
    edges: tuple[float, ...]
    patient_rule: str  # from slices to a patient, of a slice network
    top_k: int
    weights: Sequence[Mapping[str, Tensor]]  # of each fold
    errors: Sequence[Errors] | None  # of each fold's scores, of a lesion model
    internal: Json  # the run's own figures, see `export.internal`
    training: TrainingRange
    salt: str  # of the digests in known
    known: frozenset[str]  # see `slice_digest`
    licence: str
    digest: str = ""
    own: tuple[FoldSettings, ...] = ()  # of each fold, where folds chose settings among trials
    sets: Calibration | None = None  # of prediction sets; None of a bundle that was made before there were any

    @property
    def widest_hu(self) -> tuple[float, float]:
        """The window that shows what any of its networks sees."""
        windows = [self.of_fold(fold).window_hu for fold in range(len(self.weights))]
        return min(low for low, _ in windows), max(high for _, high in windows)

    def of_fold(self, fold: int) -> FoldSettings:
        """What the network of a fold was trained with."""
        return self.own[fold] if self.own else FoldSettings(self.model, self.window_hu)

    def network(self, fold: int) -> nn.Module:
        """The network of a fold on the CPU, ready to predict."""
        model = MODELS[self.kind].build(self.of_fold(fold).model, self.pack.size, len(self.names))
        model.load_state_dict(self.weights[fold])
        return model.eval()


def slice_digest(hu_SS: np.ndarray, salt: str) -> str:
    """What stands in `Bundle.known` for a slice; "" for one that shows nothing, as outside of the field of view.

    Args:
        hu_SS: int16 HU as `intake.read_study` hands it on with the bundle's own settings.
    """
    if np.ptp(hu_SS) == 0:
        return ""
    return salted(digests.of_bytes(np.ascontiguousarray(hu_SS, "<i2").data), salt)


def salted(digest: bytes, salt: str) -> str:
    """The digest of a packed slice, 16 hexadecimal digits that differ from those in other bundles."""
    return digests.bytes_sha256(salt.encode() + digest)[:16]
