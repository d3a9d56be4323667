"""Numbers, names of figures and lists as people read them; files for programs have all digits of a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from cac_hpc.results.figures import Difference, Figure
from cac_hpc.run.logs import noun

LEAST = 1e-4  # what is smaller is shown as 0


def short(score: float) -> str:
    """A score as people read it: whole from 10 on."""
    return f"{score:.0f}" if score >= 9.95 or score == 0 else f"{score:.1f}"


def words(name: str) -> str:
    """A name of a file's column or of a reason, in words."""
    return name.replace("_", " ")


def heading(figure: str) -> str:
    """What a row or a column of a figure is called."""
    return figure.replace("_", " ").replace("f1", "F1").replace("icc", "ICC")


def figure_name(figure: str) -> str:
    """What a figure is called in a sentence."""
    return f"{figure.removeprefix('kappa_')} kappa" if figure.startswith("kappa_") else heading(figure)


def chance(p_value: float) -> str:
    """A p-value; none is 0."""
    return f"p = {number(p_value, 2)}" if p_value >= 0.001 else "p < 0.001"


def difference(figure: Difference) -> str:
    if figure.difference is None:
        return "undefined"
    why = f" (no interval: {figure.note})" if figure.note else ""
    return signed(figure.difference, figure.low, figure.high) + (why if figure.low is None else "")


def signed(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A difference and its interval in a table, where it has one."""
    between = "" if low is None else f" [{number(low, digits, '+')}, {number(high, digits, '+')}]"
    return number(value, digits, "+") + between


def brief(figure: Difference) -> str:
    """A difference in few words; why it has no interval is in the tables."""
    return difference(replace(figure, note=None))


def in_sentence(figure: Figure | Difference) -> str:
    """A figure, or a difference, in a sentence: two digits, and its interval if it has one."""
    if isinstance(figure, Figure):
        return said(figure.value, figure.low, figure.high)
    return said(figure.difference, figure.low, figure.high, "+")


def said(value: float | None, low: float | None, high: float | None, sign: Literal["", "+"] = "") -> str:
    """A value and its interval in a sentence."""
    between = "" if low is None else f" ({number(low, 2, sign)} to {number(high, 2, sign)})"
    return number(value, 2, sign) + between


def with_interval(figure: Figure, digits: int = 3) -> str:
    return interval(figure.value, figure.low, figure.high, digits)


def interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """A value and its interval in a table, where it has one."""
    between = "" if low is None else f" [{number(low, digits)}, {number(high, digits)}]"
    return number(value, digits) + between


def number(value: float | int | None, digits: int = 3, sign: Literal["", "+"] = "") -> str:
    """A number as people read it; files for programs have all of its digits.

    Args:
        digits: behind the point up to 1, in all above; of small ones two that are not 0. What would be 1.00 and is less
        has a third.
    """
    if value is None or isinstance(value, int):
        return "undefined" if value is None else str(value)
    size = abs(value)
    if size >= LEAST and float(f"{size:.2g}") < 10 ** (1 - digits):
        return f"{value:{sign}.2g}"
    if size > 1 + 0.5 / 10**digits:
        return f"{value:{sign}.{max(0, digits - len(str(int(size))))}f}"
    less = size < 1 and round(size, digits) == 1 and round(size, 3) < 1
    return f"{value:{sign}.{3 if less else digits}f}"


def percent(share: float, of_settings: bool = False) -> str:
    """A share in whole percent, with as many digits more as it takes to be less than 100 % where it is, or more than 0.

    Args:
        of_settings: all digits that people have written.
    """
    if of_settings:
        return f"{100 * share:.6g}%"
    shown = (f"{share:.{digits}%}" for digits in range(4))
    return next((one for one in shown if share in (0, 1) or float(one[:-1]) not in (0, 100)), f"{share:.4%}")


def grouped(count: int, one: str, several: str | None = None) -> str:
    """So many things, thousands apart."""
    return f"{count:,} {noun(count, one, several)}"


def listed(texts: Sequence[object], last: str = "and") -> str:
    """Texts after each other, with a word in front of the last."""
    words = list(map(str, texts))
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
