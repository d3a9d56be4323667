"""What is tried in every fold: settled when the run is launched, in RUN/trials/plan.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """The trials of a run; those of one fold are numbered from 0.

    settings: by dotted name, of each trial; None where those of a trial follow from the figures of trials before it.
    number: of trials in each fold. lag: a trial's settings follow from the trials whose number is that much smaller or
    smaller still, so that so many can be at work at once. rungs: epochs after which a trial is looked at; None is the
    end of its training, always the last. parts: trainings of each trial, of one seed and one inner division each.
    """

    settings: tuple[Mapping[str, Any], ...] | None
    number: int
    lag: int
    rungs: tuple[int | None, ...]
    parts: int


@dataclass(frozen=True)
class Rung:
    """What one part of a trial has predicted of its validation patients, trained up to one rung: rung-R.json.

    settings: of the trial. epochs: trained so far. tested_epoch: whose weights predicted. patient, label, predicted: of
    each validation patient its name, its true and its predicted category. parameters: numbers that training adjusts.
    seconds: since the rung before, of all starts that it took.
    """

    fold: int
    trial: int
    part: int
    rung: int
    settings: Mapping[str, Any]
    epochs: int
    tested_epoch: int
    patient: tuple[str, ...]
    label: tuple[int, ...]
    predicted: tuple[int, ...]
    parameters: int
    seconds: float
