"""Section train: how a network is trained, and how its training data are changed at random."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from cac_hpc.settings.checks import ADDED, require, within

Precision = Literal["fp32", "bf16", "fp16", "auto"]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training slices are changed at random, each epoch anew; 0 is off. Validation and test slices never are."""

    rotation_deg: float = 0.0  # turned by at most this, either way
    shift: float = 0.0  # moved by at most this share of the field of view, up or down and left or right
    scale: float = 0.0  # magnified by a factor of 1 - scale to 1 + scale
    # Every second slice is mirrored. The heart is not symmetric: a mirrored one is a situs inversus. It makes sense
    # where the side must not matter, for small crops around a lesion or studies whose orientation is not known.
    flip_left_right: bool = False
    noise_hu: float = 0.0  # standard deviation of what is added to each pixel
    offset_hu: float = 0.0  # the same number, at most this, is added to or taken from all pixels of a slice

    def __post_init__(self) -> None:
        require(0 <= self.shift < 1, "train.augment.shift", self.shift, "at least 0 and below 1")
        limits = {"rotation_deg": (0, 180), "scale": (0, 0.9), "noise_hu": (0, 1000), "offset_hu": (0, 1000)}
        within(self, "train.augment.", **limits)

    @property
    def moves(self) -> bool:
        """Whether pixels change their place."""
        return self.flip_left_right or max(self.rotation_deg, self.shift, self.scale) > 0

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return self.moves or max(self.noise_hu, self.offset_hu) > 0


@dataclass(frozen=True, kw_only=True)
class AnatomyConfig:
    """How far each study's candidates are moved at random in every training step: standard deviations; 0 is off."""

    shift_mm: float = 10.0  # along each axis of the patient
    rotation_deg: float = 10.0  # about each axis, through the middle of the heart
    scale: float = 0.1  # of the factor, around 1, by which distances from the middle of the heart grow

    def __post_init__(self) -> None:
        within(self, "train.anatomy.", shift_mm=(0, 1000), rotation_deg=(0, 180), scale=(0, 0.3))

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return max(self.shift_mm, self.rotation_deg, self.scale) > 0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How each fold is trained."""

    epochs: int
    # optimizer steps of the whole training, divided evenly among the epochs, over shuffled passes that run on from one
    # epoch to the next; null: an epoch takes every training slice or study once
    steps: int | None = field(default=None, metadata=ADDED)
    batch_size: int = 32  # slices, or studies where the model predicts these; over all ranks
    optimizer: str = field(default="adam", metadata=ADDED)  # by its name in train/optimizers
    weight_decay: float = field(default=0.01, metadata=ADDED)  # of the optimizer adamw
    learning_rate: float = 1e-4
    schedule: str = field(default="plateau", metadata=ADDED)  # of the learning rate, by its name in train/optimizers
    plateau_factor: float = 0.5  # applied when validation loss has not improved ...
    plateau_patience: int = 2  # ... for this many epochs
    min_learning_rate: float = 1e-6
    class_weight: Literal["balanced", "none"] = "balanced"
    evaluate: Literal["best", "last"] = "best"  # which epoch is tested; best: lowest validation loss
    window_hu: tuple[float, float] = (-200.0, 800.0)  # mapped to 0..1, clipped outside
    device: Literal["cuda", "cpu"] = "cuda"
    precision: Precision = "bf16"  # auto: bf16 or fp16 on a GPU; what is faster on a CPU
    compile: bool = False  # by torch.compile: minutes at the start of every attempt, worth it for long trainings
    deterministic: bool = True  # the same bits every time; false lets cuDNN choose by timing
    checkpoint_minutes: float = 10.0  # between two checkpoints: the most that is lost; 0 is after every step
    allow_inexact_resume: bool = False  # go on with other ranks, threads or versions than a checkpoint was made with
    seed: int = 0
    occlusion: bool = True  # test the slices twice more: with all but the heart blank, and with the heart blank
    augment: AugmentConfig = AugmentConfig()
    anatomy: AnatomyConfig = field(default=AnatomyConfig(), metadata=ADDED)  # of a model of lesions
    residency: Literal["auto", "device", "host", "stream"] = "auto"  # where slices are kept; auto goes by their size
    shuffle_window: int | None = None  # slices shuffled together; null: all of them, or 2048 where they are streamed

    def __post_init__(self) -> None:
        within(self, "train.", epochs=(1, None), batch_size=(1, None), plateau_patience=(1, None), seed=(0, None))
        steps, wanted = self.steps, f"{self.epochs} (train.epochs) or more, or null"
        require(steps is None or steps >= self.epochs, "train.steps", steps, wanted)
        within(self, "train.", weight_decay=(0, 1))
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "above 0")
        require(0 < self.plateau_factor < 1, "train.plateau_factor", self.plateau_factor, "between 0 and 1")
        lowest, wanted = self.min_learning_rate, "at least 0 and at most train.learning_rate"
        require(0 <= lowest <= self.learning_rate, "train.min_learning_rate", lowest, wanted)
        minutes = self.checkpoint_minutes
        require(0 <= minutes < math.inf, "train.checkpoint_minutes", minutes, "0 or more")
        low, high = self.window_hu
        require(-32768 <= low < high <= 32767, "train.window_hu", self.window_hu, "-32768 <= low < high <= 32767")
        on_cpu = "fp32 or bf16 when train.device is cpu"
        require(self.device == "cuda" or self.precision != "fp16", "train.precision", self.precision, on_cpu)
        window = self.shuffle_window
        require(window is None or window >= 1, "train.shuffle_window", window, "1 or more, or null")
