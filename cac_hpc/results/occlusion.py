"""What the network makes of the heart alone, and of all but the heart."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.comparison import Compared, LeftOut


@dataclass(frozen=True)
class FoldAccuracies:
    """Accuracy of a fold at both levels, by what the network was shown."""

    fold: int
    slice: dict[str, float]
    patient: dict[str, float]


@dataclass(frozen=True)
class Occlusion:
    """The network shown everything (the reference), the heart alone, and all but the heart."""

    note: None
    left_out: LeftOut
    share: float
    blank_hu: float
    views: dict[str, Compared]
    folds: list[FoldAccuracies]
