"""What the folds of a report have trained."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.results.training import Layer, Training


def of_folds(report: Report) -> list[Training]:
    """Of every fold that is there.

    Raises: Damaged if metrics.json of one has something else.
    """
    return [from_json(facts, Training) for facts in report.training]


@dataclass(frozen=True)
class TrainedNetwork:
    """The layers that folds have trained, empty where nobody knows; stem: of its picture."""

    stem: str
    folds: list[int]
    layers: list[Layer]


def networks(report: Report) -> list[TrainedNetwork]:
    """One that all folds have trained, or several, where folds chose their own settings."""
    found: list[TrainedNetwork] = []
    for fold in of_folds(report):
        layers = fold.layers or []
        same = next((one for one in found if one.layers == layers), None)
        if same is None:
            same = TrainedNetwork(f"network_{len(found) + 1}" if found else "network", [], layers)
            found.append(same)
        same.folds.append(fold.fold)
    return found or [TrainedNetwork("network", [], [])]
