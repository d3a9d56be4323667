"""What the facts of how studies were acquired are called on screens and pages."""

from __future__ import annotations

NAMES = {
    "kvp": "tube voltage (KVP)",
    "energy_kev": "energy of monochromatic images",
    "phase_percent": "phase of the cardiac cycle",
}


def in_words(name: str) -> str:
    """A column of studies.csv in words, without its unit."""
    return NAMES.get(name) or name.removesuffix("_mm").replace("_", " ")
