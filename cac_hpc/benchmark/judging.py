"""What paired measurements say: medians with their spread, ratios within a round, and whether a target is reached.

A round measures every program once, so whatever else the machine does then meets all of them: a number is worked out
of each round, and only these numbers are put together. Nothing is concluded where they lie on both sides of a target.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cac_hpc.benchmark.costs import Cost

CONFIDENCE = 0.9  # of an interval, at least: five rounds reach it
FEWEST = next(n for n in range(1, 9) if 1 - 2 * 0.5**n >= CONFIDENCE)

Round = Mapping[tuple[str, int], Cost]  # of each program, and of each size of its input
Quantity = Literal["seconds", "cpu_seconds", "peak_mb", "told"]
UNITS = {"seconds": "s", "cpu_seconds": "s of processor time", "peak_mb": "MB", "told": "s"}


@dataclass(frozen=True)
class Spread:
    """Median, quartiles and range of some numbers."""

    median: float
    quartiles: tuple[float, float]
    lowest: float
    highest: float


@dataclass(frozen=True)
class Bounds:
    """A median and the interval that covers the true one with this probability."""

    median: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Term:
    """A number of each round."""

    program: str
    quantity: Quantity = "seconds"
    # of which size of the input, by its place; per unit of size; or what is left at size 0
    at: int | Literal["slope", "start"] = -1

    def of(self, measured: Round, sizes: Sequence[int]) -> float:
        found = [float(getattr(measured[self.program, size], self.quantity)) for size in sizes]
        if self.at == "slope" or self.at == "start":
            slope, start = line(sizes, found)
            return slope if self.at == "slope" else start
        return float(found[self.at])


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is wanted of a number, or of its ratio to or difference from another of the same round: at most a limit."""

    what: str
    of: Term
    against: Term | None = None
    how: Literal["ratio", "difference", "value"] = "ratio"
    limit: float
    per_size: bool = False  # divided by the size of the input

    @property
    def unit(self) -> str:
        return "" if self.how == "ratio" else UNITS[self.of.quantity]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was found of a goal. verdict: of VERDICTS; bounds: of what the limit is for, None if that is not known."""

    goal: Goal
    verdict: str
    bounds: Bounds | None = None
    of: Spread | None = None
    against: Spread | None = None


VERDICTS = {
    "reached": "reached",
    "missed": "not reached",
    "spread": "cannot be said: the spread is larger than the difference",
    "rounds": f"cannot be said: fewer than {FEWEST} rounds",
    "noise": "cannot be said: the cost itself is lost in the noise",
    "absent": "not measured: {program} is not there",
    "before": "not measured: it needs --against COMMIT",
}


def spread(numbers: Sequence[float]) -> Spread:
    """Quartiles by linear interpolation between the ordered numbers."""
    ordered = sorted(numbers)
    low, _, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return Spread(statistics.median(ordered), (low, high), ordered[0], ordered[-1])


def bounds(numbers: Sequence[float]) -> Bounds:
    """The median and an interval between two of the ordered numbers, the narrowest of `CONFIDENCE` or the widest.

    Whatever the distribution, the k-th smallest and the k-th largest of n numbers enclose the median with probability
    1 - 2 P(B < k), where B is binomial of n and one half; of five the lowest and the highest do with 0.94.
    Source: the interval of the sign test; H. A. David and H. N. Nagaraja, Order Statistics (2003), section 7.1.
    """
    ordered, n = sorted(numbers), len(numbers)

    def confidence(k: int) -> float:
        return 1 - 2 * sum(math.comb(n, count) for count in range(k)) / 2.0**n

    k = max((k for k in range(1, n // 2 + 1) if confidence(k) >= CONFIDENCE), default=1)
    return Bounds(statistics.median(ordered), ordered[k - 1], ordered[n - k], max(0.0, confidence(k)))


def line(sizes: Sequence[int], found: Sequence[float]) -> tuple[float, float]:
    """Slope and value at 0 of the line of least squares."""
    fitted = statistics.linear_regression(sizes, found)
    return float(fitted.slope), float(fitted.intercept)


def judge(goal: Goal, rounds: Sequence[Round], sizes: Sequence[int]) -> Judgement:
    """Work out a goal's number of each round, and compare their interval with its limit.

    Args:
        sizes: of the input, as all rounds have them.
    """
    terms = [goal.of] if goal.against is None else [goal.of, goal.against]
    measured = {program for one in rounds for program, _ in one}
    if absent := [term.program for term in terms if term.program not in measured]:
        verdict = VERDICTS.get(absent[0], VERDICTS["absent"].format(program=absent[0]))
        return Judgement(goal=goal, verdict=verdict)
    numbers = [[term.of(one, sizes) for one in rounds] for term in terms]
    spreads = [spread(one) for one in numbers]
    said = Judgement(goal=goal, verdict=VERDICTS["noise"], of=spreads[0], against=spreads[1] if spreads[1:] else None)
    if goal.how == "ratio" and any(number <= 0 for one in numbers for number in one):
        return said
    divisor = sizes[-1] if goal.per_size else 1
    combined = bounds([COMBINED[goal.how](*each) / divisor for each in zip(*numbers, strict=True)])
    return replace(said, verdict=VERDICTS[_verdict(combined, goal.limit)], bounds=combined)


COMBINED: dict[str, Callable[..., float]] = {
    "ratio": lambda of, against: of / against,
    "difference": lambda of, against: of - against,
    "value": lambda of: of,
}


def _verdict(found: Bounds, limit: float) -> str:
    """The code of VERDICTS."""
    if found.confidence < CONFIDENCE:
        return "rounds"
    if found.high <= limit:
        return "reached"
    return "missed" if found.low > limit else "spread"
