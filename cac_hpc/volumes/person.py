"""Sex and age group of a patient as a header says them: coarse, and unknown where it could be read in two ways.

Years are never handed on. A wrong decade would be worse than none: what an anonymiser puts in place of an age or a date
is taken for no age, and two ways to an age that lead to different decades for a contradiction.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cac_hpc.volumes.acquisition import Value
from cac_hpc.volumes.scanner import UNKNOWN

CONTRADICTORY = "contradictory"  # the files of a study differ
SEXES = {"F": "female", "M": "male", "O": "other"}
UNDER_20, FROM_90 = "under 20", "90 and over"
MOST_YEARS = 115
AGE = re.compile(r"(?P<years>\d{1,3})Y|(?P<count>\d{3})(?P<unit>[DWM])", re.ASCII)  # PatientAge: 061Y, 018M
A_YEAR = {"D": 365.25, "W": 52.18, "M": 12}  # of each unit
MADE_UP = ("18000101", "18991230", "19000101", "19010101", "19700101", "20000101")  # in place of a date of birth
YEAR_ALONE = ("0101", "0615", "0630", "0701", "1231")  # month and day of dates that were cut to their year


@dataclass(frozen=True)
class Person:
    """UNKNOWN where the header does not say."""

    sex: str = UNKNOWN
    age_group: str = UNKNOWN


def agreed(found: Collection[str]) -> str:
    """What all headers of a series say together, CONTRADICTORY where they differ; who says nothing agrees with all."""
    said = set(found) - {UNKNOWN}
    return CONTRADICTORY if len(said) > 1 else next(iter(said), UNKNOWN)


def person_of(values: Mapping[str, Value]) -> Person:
    """By DICOM keyword, what a header says."""
    sex = str(values.get("PatientSex", "")).strip().upper()
    return Person(SEXES.get(sex, UNKNOWN), age_group(values))


def age_group(values: Mapping[str, Value]) -> str:
    """Decade of the patient's age at the study: 60-69, or UNDER_20, FROM_90, UNKNOWN, CONTRADICTORY.

    By PatientAge, and by PatientBirthDate and StudyDate unless LongitudinalTemporalInformationModified says that dates
    were changed. Where a date was cut to its year, the age is one of two.

    Source: DICOM PS3.5 6.2, value representations AS and DA.
    """
    by_age, by_dates = _by_age(str(values.get("PatientAge", ""))), _by_dates(values)
    groups = [{_group(years) for years in one} for one in (by_age, by_dates) if one]
    if not groups:
        return UNKNOWN
    common = set.intersection(*groups)
    if not common:
        return CONTRADICTORY
    return common.pop() if len(common) == 1 else UNKNOWN


def _group(years: int) -> str:
    if years < 20:
        return UNDER_20
    decade = years // 10 * 10
    return FROM_90 if decade >= 90 else f"{decade}-{decade + 9}"


def _by_age(text: str) -> set[int]:
    """Years by PatientAge; none where it is 0, which stands for an age that was taken away, or no such thing."""
    found = AGE.fullmatch(text.strip().upper())
    if not found:
        return set()
    if found["years"] is None:
        return {int(int(found["count"]) / A_YEAR[found["unit"]])} if int(found["count"]) else set()
    return {int(found["years"])} if 0 < int(found["years"]) <= MOST_YEARS else set()


def _by_dates(values: Mapping[str, Value]) -> set[int]:
    """Years between birth and study, or the two that are possible; none where no patient can be so old."""
    if str(values.get("LongitudinalTemporalInformationModified", "")).strip().upper() in ("MODIFIED", "REMOVED"):
        return set()
    born, studied = (_date(str(values.get(key, ""))) for key in ("PatientBirthDate", "StudyDate"))
    if born is None or studied is None or f"{born:%Y%m%d}" in MADE_UP:
        return set()
    years = studied.year - born.year
    possible = {years - (f"{studied:%m%d}" < f"{born:%m%d}")}
    if f"{born:%m%d}" in YEAR_ALONE or f"{studied:%m%d}" in YEAR_ALONE:
        possible = {years - 1, years}
    return possible if all(0 < one <= MOST_YEARS for one in possible) else set()


def _date(text: str) -> datetime.date | None:
    digits = text.strip().replace(".", "")  # as ACR-NEMA wrote it: 2019.01.01
    if not re.fullmatch(r"\d{8}", digits, re.ASCII):
        return None
    try:
        return datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
