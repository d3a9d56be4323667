"""Whose images lie in a study's folder: one patient's, of one study. What is compared here is never written."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cac_hpc.run.config import StudyRule
from cac_hpc.run.reasons import Refused
from cac_hpc.volumes.acquisition import Value

PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("StudyInstanceUID", "StudyDate")


@dataclass(frozen=True, slots=True)
class Subject:
    """The patient and the study of an image: the values of PATIENT and of STUDY, "" where the header says nothing."""

    patient: tuple[str, ...]
    study: tuple[str, ...]


def subject(values: Mapping[str, Value]) -> Subject:
    """Patient and study of an image, in the form in which two spellings of one name, id or date are equal."""
    said = {key: str(values.get(key, "")) for key in (*PATIENT, *STUDY)}
    sex = said["PatientSex"].upper()
    return Subject(
        (
            _plain(said["PatientID"]).lstrip("0"),
            " ".join(_plain(said["PatientName"].split("=")[0].replace(",", "^")).split("^")[:2]).strip(),
            _date(said["PatientBirthDate"]),
            sex if sex in ("F", "M") else "",
        ),
        (said["StudyInstanceUID"], _date(said["StudyDate"])),
    )


def check_one_patient(found: Iterable[Subject]) -> None:
    """Two images of one folder do not name two patients; an attribute that is empty or not there names nobody.

    Raises: Refused naming the attribute, never its values.
    """
    if contradiction := _contradiction(PATIENT, (one.patient for one in found)):
        raise Refused("several_patients", f"{contradiction}: scans of several patients in one folder")


def other_studies(found: Iterable[Subject], rule: StudyRule) -> dict[Subject, Refused]:
    """Of a folder with several studies of one patient, the images that are not of the study that the rule takes.

    Raises: Refused if the rule takes one study only, or StudyDate does not tell which is the earliest or the latest.
    """
    each = list(dict.fromkeys(found))
    contradiction = _contradiction(STUDY, (one.study for one in each))
    if not contradiction:
        return {}
    if rule == "refuse":
        raise Refused("several_studies", f"{contradiction}: several studies in one folder; see pack.several_studies")
    dates = {one: one.study[STUDY.index("StudyDate")] for one in each}
    wanted = min(dates.values()) if rule == "earliest" else max(dates.values())
    taken = [one for one in each if dates[one] == wanted]
    if "" in dates.values() or _contradiction(STUDY, (one.study for one in taken)):
        raise Refused("several_studies", f"{contradiction}, and StudyDate does not tell which is the {rule}")
    refused = Refused("other_study", f"of another study of the patient; pack.several_studies takes the {rule}")
    return {one: refused for one in each if one not in taken}


def _contradiction(keys: tuple[str, ...], found: Iterable[tuple[str, ...]]) -> str | None:
    """The first attribute that has several values, and how many."""
    for key, column in zip(keys, zip(*found, strict=True), strict=False):
        if len(values := {value for value in column if value}) > 1:
            return f"{len(values)} values of {key}"
    return None


def _date(text: str) -> str:
    """A date as YYYYMMDD; "" if it is no day on which a patient could have lived."""
    digits = text.replace(".", "")  # as ACR-NEMA wrote it: 2019.01.01
    try:
        plausible = datetime.datetime.strptime(digits, "%Y%m%d").year in range(1870, 2200)
    except ValueError:
        return ""
    return digits if plausible and len(digits) == 8 else ""


def _plain(text: str) -> str:
    """Without case, blanks around the parts, and letters that another character set would write otherwise."""
    ascii_only = re.sub(r"[^\x20-\x7e]", "", text).casefold()
    parts = [" ".join(part.split()) for part in ascii_only.split("^")]
    return "" if re.match(r"anonym", parts[0]) else "^".join(parts)
