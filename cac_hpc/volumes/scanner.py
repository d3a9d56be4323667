"""Which scanner made an image, as its header says: maker and model in one text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from cac_hpc.volumes.acquisition import Value

UNKNOWN = "unknown"
MAKERS = {  # by the word with which Manufacturer begins; firms that were renamed keep one name
    "GE": "GE", "GENERAL": "GE", "SIEMENS": "Siemens", "PHILIPS": "Philips", "TOSHIBA": "Canon", "CANON": "Canon",
    "HITACHI": "Hitachi", "FUJIFILM": "Fujifilm", "NEUSOFT": "Neusoft", "UIH": "United Imaging",
    "UNITED": "United Imaging",
}  # fmt: skip
MOST_SIGNS = 48  # of a model's name


def scanner_of(values: Mapping[str, Value]) -> str:
    """Maker and model, of which case and blanks do not matter; UNKNOWN where the model is missing, or is no name.

    Args:
        values: of a header, by DICOM keyword.
    """
    maker, model = (_plain(str(values.get(key, ""))) for key in ("Manufacturer", "ManufacturerModelName"))
    if not model or not re.fullmatch(rf"[A-Z0-9][A-Z0-9 ()+./_-]{{0,{MOST_SIGNS - 1}}}", model):
        return UNKNOWN
    known = MAKERS.get(re.split(r"[^A-Z]", maker)[0])
    return f"{known} {model}" if known else model


def without_identity(scanner: str, identity: Collection[str]) -> str:
    """The scanner, unless what may identify the patient, as the name of the hospital, stands in it.

    Args:
        identity: of the header.
    """
    telling = [value for value in identity if len(value) >= 4]
    found = any(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", scanner, re.IGNORECASE) for value in telling)
    return UNKNOWN if found else scanner


def _plain(text: str) -> str:
    return " ".join(text.upper().split())
