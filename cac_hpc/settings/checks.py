"""What every section is made with: checks that name the setting, and the mark of settings that were added later."""

from __future__ import annotations

import itertools
import math
import unicodedata

from cac_hpc.settings.errors import InputError

ADDED = {"written": False}  # of a setting that older runs lack: it is written only where it is not the default


def require(ok: bool, key: str, value: object, wanted: str) -> None:
    if not ok:
        raise InputError(f"{key} is {shown(value)}, but must be {wanted}")


def shown(value: object) -> str:
    """A setting's value in a sentence, not as Python writes it: a list has neither brackets nor quotes."""
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(f"{one:.15g}" if isinstance(one, float) else str(one) for one in value) or "an empty list"
    return repr(value)


def within(section: object, key: str, **limits: tuple[float, float | None]) -> None:
    """Refuse settings of a section that are not from the lowest to the highest number, if there is a highest.

    None is refused nowhere: whether a setting may be None, its type says.

    Args:
        key: the section's name, with a point behind it.
    """
    for name, (low, high) in limits.items():
        value, wanted = getattr(section, name), f"{low:.15g} or more" if high is None else f"{low:.15g} to {high:.15g}"
        require(value is None or low <= value <= (math.inf if high is None else high), f"{key}{name}", value, wanted)


def require_cuts(key: str, cuts: tuple[float, ...]) -> None:
    """Cuts are scores in rising order."""
    rising = all(low < high for low, high in itertools.pairwise(cuts))
    require(
        rising and all(0 <= cut < 20_000 for cut in cuts), key, cuts, "scores of 0 or more, each above the one before"
    )


def require_text(key: str, *texts: str) -> None:
    """Nothing in texts that people read commands their terminal."""
    for text in texts:
        harmless = not any(unicodedata.category(sign) == "Cc" and sign not in "\t\n" for sign in text)
        require(harmless, key, text, "text without control characters")
