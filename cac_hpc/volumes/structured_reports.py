"""Calcium scores in DICOM structured reports: the Agatston score of the coronary arteries, and of each where given.

Numbers leave this module, and what orders reports in time; nothing else of a report does.

A score is a numeric content item (NUM) of one of these concepts, without a unit, and not by the volume or mass method:
    450360000 SCT, F-F3012 SRT, C2825178 UMLS  Coronary artery calcium score (CID 6142; TID 3905)
    112058 DCM                                  Calcium score
    112055 DCM                                  Agatston scoring method (CID 6140), as concept or as Measurement Method
Its Finding Site, or that of a container around it, or the container's name, says of which artery (CID 3015); none, or
Coronary artery, is the total. Scores of single lesions, which have a region of an image beside them, are not read.

Source: DICOM PS3.3 C.17.2 (document), C.17.3 (content); PS3.16 TID 3905, TID 1501, TID 1411, CID 3015, 6140, 6142; SRT
codes as PS3.16 Annex O maps them to SNOMED CT.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import images
from cac_hpc.volumes.acquisition import subject
from cac_hpc.volumes.header import REPORT

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAKER = "cac_hpc"  # manufacturer of the reports that this program writes: predictions, never labels
KINDS = ("22", "33", "34", "35")  # Enhanced, Comprehensive, Comprehensive 3D, Extensible: those that hold numbers
HEAD = 1024  # bytes that name a file's class
MOST_BYTES = 16 << 20
MOST_DEPTH = 32  # of containers in containers
MOST_ITEMS = 50_000

Code = tuple[str, str]  # scheme and value
SCHEMES = {"SNM3": "SRT", "99SDM": "SRT", "2.16.840.1.113883.6.96": "SCT", "2.16.840.1.113883.6.5": "SRT"}
CORONARY_SCORE = (("SCT", "450360000"), ("SRT", "F-F3012"), ("UMLS", "C2825178"))
AGATSTON, VOLUME, MASS = (("DCM", f"11205{digit}") for digit in (5, 6, 7))
SCORES = (*CORONARY_SCORE, ("DCM", "112058"), AGATSTON)
METHOD = (("SCT", "370129005"), ("SRT", "G-C036"))
SITE = (("SCT", "363698007"), ("SRT", "G-C0E3"))
HEART = (("SCT", "80891009"), ("SRT", "T-32000"))
TOTAL = "total"
SITES: dict[Code, str] = {
    (scheme, code): name
    for name, *codes in (
        (TOTAL, "41801008", "T-43000"),
        ("LM", "3227004", "T-43107"),
        ("LAD", "59438005", "T-43110"),
        ("LCX", "57396003", "T-43120"),
        ("RCA", "13647002", "T-43200"),
    )
    for scheme, code in zip(("SCT", "SRT"), codes, strict=True)
}
NEEDED = ("LAD", "LCX", "RCA")  # of a sum: the left main artery is often counted with the LAD
REGIONS = ("SCOORD", "SCOORD3D")  # value types
REGION_NAMES = (("DCM", "121191"), ("DCM", "121214"), ("DCM", "111030"), ("DCM", "130488"))  # segment, frame, region
MEANING = re.compile(r"agatston|calcium score", re.IGNORECASE)
CODE_TEXT = re.compile(r"[A-Za-z0-9._-]{2,32}")
WITHOUT_UNIT = re.compile(r"1|\{[^{}]*\}|\[arb'U\]")  # in UCUM
NUMBER = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LEAST_OFF = 0.05  # by which scores may differ that are the same, whatever their digits


class ReportError(ValueError):
    """A structured report that cannot be understood in one way only; says what was found and what was wanted."""


@dataclass(frozen=True)
class CalciumReport:
    """The Agatston scores of one report.

    score: of all coronary arteries. vessels: of those of which it says more. complete: neither partial nor preliminary.
    verified: a person answers for it. own: this program made it. made: date and time of the content as digits that can
    be compared, "" if unknown; study: its StudyInstanceUID; patient: PatientID, as `acquisition.subject` compares it.
    None of these three is ever to be written.
    """

    score: float
    vessels: Mapping[str, float]
    complete: bool
    verified: bool
    own: bool
    made: str
    study: str
    patient: str


@dataclass(frozen=True)
class _Score:
    """A number of the content.

    site: of which artery. half_digit: how far rounding to its digits moves it. certain: the method is said to be
    Agatston's.
    """

    site: str
    value: float
    half_digit: float
    certain: bool


@dataclass(frozen=True)
class _Around:
    """What the containers around an item say. site: None if they name none, "" if one that is none of `SITES`."""

    site: str | None = None
    single: bool = False  # a lesion


def is_report(path: Path) -> bool:
    """Whether a file is a structured report that can hold numbers, by its beginning; no error is raised."""
    try:
        with images.opened(path) as (file, _):
            head = os.read(file, HEAD)
    except (OSError, Refused):
        return False
    found = re.search(re.escape(REPORT.encode()) + rb"(\d+)(?![\d.])", head)
    return bool(found and found[1].decode() in KINDS)


def read(path: Path) -> CalciumReport | None:
    """Read the scores of a report; None if it is of something else.

    Raises: ReportError if it is damaged, or says several things.
    """
    from cac_hpc.volumes import dicom

    if path.stat().st_size > MOST_BYTES:
        raise ReportError(f"is larger than {MOST_BYTES >> 20} MB, wanted a report")
    _check_whole(path)
    try:
        return _read(dicom.read_report(path))
    except ReportError:
        raise
    except Exception as error:  # a broken file can raise anything from inside a parser
        raise ReportError(f"cannot be read ({type(error).__name__}), wanted a whole structured report") from None


def _check_whole(path: Path) -> None:
    """The elements of a file follow each other to its end, which a full parser does not ask for.

    Raises: ReportError otherwise.
    """
    try:
        images.read_images(path)
    except Refused as why:
        if why.reason != "not_ct_image":
            raise ReportError(f"cannot be read ({why.detail}), wanted a whole structured report") from None


def _read(ds: Dataset) -> CalciumReport | None:
    if str(ds.get("SOPClassUID", "")).removeprefix(REPORT) not in KINDS:
        return None
    found = list(_scores(ds, _Around(), [MOST_ITEMS], 0))
    if not found:
        _refuse_other_codes(ds)
        return None
    score, vessels = _agreed(found)
    preliminary = str(ds.get("PreliminaryFlag", "FINAL")).upper() != "FINAL"
    return CalciumReport(
        score=score,
        vessels=vessels,
        complete=str(ds.get("CompletionFlag", "")).upper() == "COMPLETE" and not preliminary,
        verified=str(ds.get("VerificationFlag", "")).upper() == "VERIFIED",
        own=str(ds.get("Manufacturer", "")).strip() == MAKER,
        made=_moment(str(ds.get("ContentDate", "")), str(ds.get("ContentTime", ""))),
        study=str(ds.get("StudyInstanceUID", "")),
        patient=subject({"PatientID": str(ds.get("PatientID", ""))}).patient[0],
    )


def _refuse_other_codes(ds: Dataset) -> None:
    """No number is called an Agatston score, but coded in a way of its maker: what it is would be a guess.

    Raises: ReportError naming the code of the first.
    """
    for item in _items(ds):
        named, values = item.get("ConceptNameCodeSequence"), item.get("MeasuredValueSequence")
        if str(item.get("ValueType", "")) != "NUM" or not named or not values or _code_of(named[0]) in SCORES:
            continue
        unit = _code(values[0], "MeasurementUnitsCodeSequence")
        if MEANING.search(str(named[0].get("CodeMeaning", ""))) and unit and WITHOUT_UNIT.fullmatch(unit[1]):
            scheme, value = _code_of(named[0])
            shown = f"{value} of {scheme}" if CODE_TEXT.fullmatch(value + scheme) else "of its maker"
            raise ReportError(f"has a score under code {shown}, which is not known here; write its scores into a sheet")


def _items(item: Dataset) -> Iterator[Dataset]:
    yield item
    for child in item.get("ContentSequence") or ():
        yield from _items(child)


def _scores(item: Dataset, around: _Around, left: list[int], depth: int) -> Iterator[_Score]:
    """The scores below a content item; of single lesions none.

    Args:
        left: how many items may still follow.
    """
    children: Sequence[Dataset] = item.get("ContentSequence") or ()
    left[0] -= len(children)
    if left[0] < 0 or depth > MOST_DEPTH:
        raise ReportError(f"has more than {MOST_ITEMS:,} items or {MOST_DEPTH} levels, wanted a report")
    here = _within(item, children, around)
    if here.single:
        return
    if str(item.get("ValueType", "")) == "NUM" and (score := _score(item, children, here)):
        yield score
    for child in children:
        yield from _scores(child, here, left, depth + 1)


def _within(item: Dataset, children: Sequence[Dataset], around: _Around) -> _Around:
    """What is said around the children of an item."""
    named = _code(item, "ConceptNameCodeSequence")
    sites = {_code(child, "ConceptCodeSequence") for child in children if _name(child) in SITE}
    sites |= {named} if named in SITES else set()
    if any(str(child.get("ValueType", "")) in REGIONS or _name(child) in REGION_NAMES for child in children):
        return replace(around, single=True)
    if not sites:
        return around
    total = sites <= {*HEART} and named in CORONARY_SCORE
    names = {TOTAL if total else SITES.get(site, "") if site else "" for site in sites}
    return replace(around, site=names.pop() if len(names) == 1 else "")


def _score(item: Dataset, children: Sequence[Dataset], here: _Around) -> _Score | None:
    """The score that a numeric item is; None if it is another number.

    Raises: ReportError if it is a score, but not a number that can be one.
    """
    named = _code(item, "ConceptNameCodeSequence")
    methods = {_code(child, "ConceptCodeSequence") for child in children if _name(child) in METHOD}
    by_agatston = AGATSTON in (named, *methods)
    if not (named in SCORES or (named in SITES and by_agatston)) or methods - {AGATSTON}:
        return None
    values: Sequence[Dataset] = item.get("MeasuredValueSequence") or ()
    if not values:
        return None  # it could not be measured
    if len(values) > 1 or item.get("NumericValueQualifierCodeSequence"):
        raise ReportError("has a score with several values or a qualifier, wanted one number")
    unit = _code(values[0], "MeasurementUnitsCodeSequence")
    if unit is None:
        raise ReportError("has a score without a unit, wanted one, as 1 of UCUM")
    if not WITHOUT_UNIT.fullmatch(unit[1]):
        if by_agatston:
            raise ReportError("has an Agatston score with a unit, wanted none, as 1 of UCUM")
        return None
    return _Score(TOTAL if here.site is None else here.site, *_number(values[0]), by_agatston)


def _number(value: Dataset) -> tuple[float, float]:
    """The number of a measured value, and half a unit of its last digit.

    Raises: ReportError if it is none, or stands there twice and differs.
    """
    text = str(value.get("NumericValue", "")).strip()
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ReportError("has a score that is no number of 0 or more, wanted one")
    found, exact = float(text), value.get("FloatingPointValue")
    if exact is not None and not math.isclose(float(exact), found, rel_tol=1e-6, abs_tol=1e-6):
        raise ReportError("has a score that stands in it with two values, wanted one")
    return found, float(Decimal(5).scaleb(int(Decimal(text).as_tuple().exponent) - 1))


def _agreed(found: Sequence[_Score]) -> tuple[float, dict[str, float]]:
    """Total and vessels; the total is the sum of the vessels, as far as these are all.

    Raises: ReportError if there is no total, or it can be two.
    """
    sites = dict.fromkeys(one.site for one in found if one.site)
    values = {site: _value(site, [one for one in found if one.site == site]) for site in sites}
    vessels = {site: values[site] for site in SITES.values() if site in values and site != TOTAL}
    added, elsewhere = float(f"{sum(vessels.values()):.15g}"), any(not one.site for one in found)
    if TOTAL not in values:
        if elsewhere or not all(name in vessels for name in NEEDED):
            named = ", ".join(vessels) or "other parts of the body"
            raise ReportError(f"has scores of {named} and no total, wanted a total, or {', '.join(NEEDED)}")
        return added, vessels
    total, off = values[TOTAL], max(LEAST_OFF, sum({one.site: one.half_digit for one in found}.values()))
    if vessels and (added > total + off or (added < total - off and not elsewhere)):
        raise ReportError(f"has a total of {total:g}, but {' + '.join(vessels)} are {added:g}; wanted the same")
    return total, vessels


def _value(site: str, found: Sequence[_Score]) -> float:
    """The one value of an artery; of several those whose method is said count.

    Raises: ReportError if they differ.
    """
    certain = [one for one in found if one.certain] or found
    values = sorted({one.value for one in certain})
    if len(values) > 1:
        raise ReportError(f"has several scores of {site}: {', '.join(f'{value:g}' for value in values)}; wanted one")
    return values[0]


def _name(item: Dataset) -> Code | None:
    return _code(item, "ConceptNameCodeSequence")


def _code(item: Dataset, keyword: str) -> Code | None:
    """A code of a content item, with the scheme's usual name; None if there is not exactly one."""
    codes: Sequence[Dataset] = item.get(keyword) or ()
    if len(codes) != 1:
        return None
    return _code_of(codes[0])


def _code_of(item: Dataset) -> Code:
    scheme = str(item.get("CodingSchemeDesignator", "")).strip()
    return SCHEMES.get(scheme, scheme), str(item.get("CodeValue", "")).strip()


def _moment(date: str, time: str) -> str:
    """Date and time so that later ones sort behind; "" if they are none."""
    whole, _, fraction = time.strip().partition(".")
    if not re.fullmatch(r"\d{8}", date.strip(), re.ASCII) or not re.fullmatch(r"(\d{2}){1,3}", whole, re.ASCII):
        return ""
    return f"{date.strip()}{whole.ljust(6, '0')}{fraction[:6].ljust(6, '0')}"
