"""What a fold says of its training in metrics.json."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.serialization import Json


@dataclass(frozen=True)
class Layer:
    """A layer of a network; output: its shape without the batch."""

    layer: str
    detail: str
    output: list[int]
    parameters: int


@dataclass(frozen=True)
class Training:
    """What a fold says of its training in metrics.json, as far as a report shows it; None: not recorded."""

    fold: int
    parameters: int | None = None
    epochs: int | None = None
    tested_epoch: int | None = None
    ranks: int | None = None
    precision: str | None = None
    device: str | None = None
    residency: str | None = None
    train_slices: int | None = None
    val_slices: int | None = None
    test_slices: int | None = None
    layers: list[Layer] | None = None
    calibration: Json | None = None
    settings: Json | None = None
