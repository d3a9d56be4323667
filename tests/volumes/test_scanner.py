"""Maker and model of a scanner, as headers spell them."""

import pytest

from cac_hpc.volumes.scanner import UNKNOWN, scanner_of, without_identity


@pytest.mark.parametrize(
    ("maker", "model", "expected"),
    [
        ("GE MEDICAL SYSTEMS", "Discovery  CT750 HD ", "GE DISCOVERY CT750 HD"),
        ("ge medical systems", "discovery ct750 hd", "GE DISCOVERY CT750 HD"),
        ("SIEMENS", "SOMATOM Force", "Siemens SOMATOM FORCE"),
        ("Siemens Healthineers", "SOMATOM Force", "Siemens SOMATOM FORCE"),
        ("TOSHIBA", "Aquilion ONE", "Canon AQUILION ONE"),
        ("CANON_MEC", "Aquilion ONE", "Canon AQUILION ONE"),
        ("Gemini Ltd", "One", "ONE"),
        ("", "One", "ONE"),
        ("SIEMENS", "", UNKNOWN),
        ("SIEMENS", "Doe^John", UNKNOWN),
        ("SIEMENS", "\x1b[31mred", UNKNOWN),
        ("SIEMENS", "x" * 49, UNKNOWN),
    ],
)
def test_one_scanner_has_one_text(maker, model, expected):
    assert scanner_of({"Manufacturer": maker, "ManufacturerModelName": model}) == expected


def test_a_header_that_says_nothing_is_of_an_unknown_scanner():
    assert scanner_of({}) == UNKNOWN


def test_a_scanner_that_is_called_after_its_hospital_is_unknown():
    assert without_identity("Siemens MERCY CT2", ["Mercy", "CT"]) == UNKNOWN
    assert without_identity("Siemens MERCY CT2", ["merc", "Ann"]) == "Siemens MERCY CT2"
