"""What a header says of how a slice was made (contrast agent, tube voltage, kernel, gating) and of whose it is."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import StudyRule

Value = str | int  # text of an element, blanks around it removed; or a 16-bit number
HAS_ITEMS = "ITEMS"  # stands for a sequence that is not empty

# contrast agent
AGENTS = ("ContrastBolusAgent", "ContrastBolusIngredient")  # say which, or that there is none
OF_FRAME = ("ContrastBolusAgentAdministered", "ContrastBolusAgentDetected")
AMOUNTS = (
    "ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastFlowRate", "ContrastFlowDuration",
    "ContrastBolusIngredientConcentration",
)  # fmt: skip
SIGNS = (  # there where an agent was given
    "ContrastBolusAgentSequence", "ContrastBolusRoute", "ContrastBolusStartTime", "ContrastBolusStopTime",
)  # fmt: skip
DENIALS = {  # words by which a name says that there was no agent
    "NO", "N", "NON", "NONE", "NOT", "NEIN", "KEIN", "KEINE", "NICHT", "NIL", "NULL", "NA", "NAN", "FALSE",
    "WITHOUT", "WO", "OHNE", "SANS", "AUCUN", "SENZA", "NESSUNO", "SIN", "NINGUNO", "SEM", "NAO", "NÃO", "ZONDER",
    "GEEN", "INGEN", "INGET", "UDEN", "UTAN", "BEZ", "BRAK", "NIE", "NEM", "НЕТ", "БЕЗ", "无", "無", "平扫", "なし",
    "없음",
    "NATIV", "NATIVE", "NATIVO", "NATIF", "PLAIN", "UNENHANCED", "NONCONTRAST", "NOCONTRAST", "UNKNOWN",
}  # fmt: skip
WITH_DENIALS = {  # words that may stand with them
    "CONTRAST", "CONTRASTE", "CONTRASTO", "KONTRAST", "KONTRASTMITTEL", "KM", "AGENT", "MEDIA", "MEDIUM", "BOLUS",
    "IV", "I", "V", "ORAL", "CE", "GIVEN", "ADMINISTERED", "USED", "INJECTED", "INJECTION", "APPLICABLE",
    "ENHANCED", "ENHANCEMENT", "DE", "MDC",
}  # fmt: skip
UNITS = {"0", "ML", "CC", "MG"}
DUMMIES = {"ANONYMIZED", "ANONYMISED", "DEIDENTIFIED", "REDACTED", "REMOVED"}  # of de-identification

# energy
LIKE_120, OTHER, UNKNOWN = "about 120 kVp", "other", "unknown"
ABOUT_120_KVP = (110.0, 130.0)
LIKE_120_KVP_KEV = (65.0, 80.0)  # monoenergetic images in which calcium is as bright as at 120 kVp
KEV = re.compile(
    r"(?<![\d.-])(?P<number>\d{2,3}(?:\.\d+)?)[ _]?KEV(?![A-Z])|"
    r"(?<![A-Z])(?:MONO\w*\+?|VMI|KEV)[ _+]*(?P<behind>\d{2,3})(?!\d)"
)

# kernel
KERNEL = re.compile(
    r"[A-Z]{1,2}[a-z]?\d{1,2}[a-z]{0,2}([_\\]\d)?|SOFT|STANDARD|STND|DETAIL|BONE|LUNG|EDGE|CHEST|[A-Z]{1,2}"
)
SOFT, SHARP = "soft to medium", "sharp"  # or UNKNOWN
NAMED_KERNELS = {  # words are GE's, single letters and those behind X and Y Philips'
    SOFT: re.compile(r"(HD )?(SOFT|STANDARD|STND|CHST|CHEST|DETAIL|SMOOTH)\b.*|[A-C]|C[AB]|XC[ABC]|Y[AB]"),
    SHARP: re.compile(r"(HD )?(LUNG|BONE|EDGE|ULTRA|SHARP).*|[DEFL]|CD|XCD|Y[CDE]"),
}
NUMBERED_KERNEL = re.compile(r"[A-Z]{1,3}(\d{2})[A-Z]{0,2}")  # Siemens: B35f, Qr36d, I70f, Br59; rising sharpness
SHARP_FROM = 50
CANON_KERNEL = re.compile(r"FC(\d{2})")
CANON_SHARP = (3, 5, 8)  # FC30 to FC39 and FC80 to FC89 are for bone, FC50 to FC59 for lung

# gating
GATING = ("NONE", "REALTIME", "PROSPECTIVE", "RETROSPECTIVE", "PACED")  # CardiacSynchronizationTechnique
GATED = "GATED"  # by which technique is not said
_PHASE = re.compile(r"(?<![A-Z])TP ?(\d{1,3}(?:\.\d+)?) ?(PC|MS)(?![A-Z])")  # tokens of ScanOptions
_HEART_RATE = re.compile(r"\d{2,3}(\.\d+)? ?BPM|BPM ?\d{2,3}|HR_?\d{2,3}")
_TECHNIQUES = {"PROSPECTIVE": re.compile(r"\bPROSPECT|\bSTEP.*SHOOT"), "RETROSPECTIVE": re.compile(r"\bRETRO")}
_GATED = re.compile(r"ECG|EKG|GATED|GATING|CARDIAC|TRIGGER|SNAPSHOT")
_NOT_GATED = re.compile(r"UN(GATED|TRIGGERED)|NON?[ _-]?(ECG|EKG|GAT)|(ECG|EKG|GATING)[ _-]?(OFF|NONE)")
PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
STUDY = ("StudyInstanceUID", "StudyDate")


def contrast_agent(values: Mapping[str, Value]) -> str:
    """The attribute that says that a contrast agent was given; "" if none does.

    A name says so, unless it says that there was none; so does an amount above 0, whatever the name. A route, a time or
    a sequence of agents say so where no name denies it. A dummy in place of a name says nothing. In enhanced CT what is
    said of each frame decides alone.

    Source: DICOM PS3.3 C.7.6.4 Contrast/Bolus Module, C.7.6.16.2.12 Contrast/Bolus Usage.
    """
    of_frame = [key for key in OF_FRAME if _upper(values, key)]
    if of_frame:  # YES or NO of each agent
        return next((key for key in of_frame if "YES" in _upper(values, key).split("\\")), "")
    named = [key for key in AGENTS if _upper(values, key) not in {"", *DUMMIES}]
    telling = [key for key in named if not _denies(_upper(values, key))]
    telling += [key for key in AMOUNTS if re.search("[1-9]", _upper(values, key))]
    if not named:
        telling += [key for key in SIGNS if not _denies(_upper(values, key))]
    return next(iter(telling), "")


def _denies(text: str) -> bool:
    """Whether a text says that there was no agent: it is blank, zero or a dash, or each of its parts denies it."""
    plain = re.sub(r"\bW/O\b", "WITHOUT", re.sub(r"\bN[/.]A\b\.?|\bC ?-", "NA", text))
    parts = [set(re.findall(r"[^\W_]+", part)) - UNITS for part in re.split(r"[\\;,+&]", plain)]
    return all(not words or (words & DENIALS and words <= DENIALS | WITH_DENIALS) for words in parts)


def energy_kev(values: Mapping[str, Value]) -> float:
    """Energy of a monoenergetic image in keV, by its own attribute or by its name; NaN of all other images."""
    if (energy := _number(_upper(values, "MonoenergeticEnergyEquivalent"))) > 0:
        return energy
    found = KEV.search(_upper(values, "ImageType")) or KEV.search(_upper(values, "SeriesDescription"))
    return float(found["number"] or found["behind"]) if found else math.nan


def energy_class(kvp: float, kev: float) -> str:
    """LIKE_120, OTHER or UNKNOWN: whether calcium is as bright as at 120 kVp, for which its thresholds were set.

    Source: monoenergetic images of 65 to 80 keV have the contrast of 120 kVp (Yu et al. 2012, AJR 199:S9-S15).
    """
    value, (low, high) = (kvp, ABOUT_120_KVP) if math.isnan(kev) else (kev, LIKE_120_KVP_KEV)
    return UNKNOWN if math.isnan(value) else LIKE_120 if low <= value <= high else OTHER


def shown_kernel(kernel: str) -> str:
    """A ConvolutionKernel that may be written: "other" unless it is called as kernels are, for it may hold any text."""
    return kernel if KERNEL.fullmatch(kernel) else "other" if kernel else ""


def kernel_class(kernel: str) -> str:
    """SOFT, SHARP or UNKNOWN of a ConvolutionKernel: sharp ones are for lung, bone and stents, and raise noise.

    Names are those of GE, Philips, Siemens and Canon as their DICOM conformance statements and manuals give them.
    """
    name = re.split(r"[\\_-]", kernel)[0].strip().upper()
    if canon := CANON_KERNEL.fullmatch(name):
        return SHARP if int(canon[1]) // 10 in CANON_SHARP else SOFT
    if numbered := NUMBERED_KERNEL.fullmatch(name):
        return SHARP if int(numbered[1]) >= SHARP_FROM else SOFT
    return next((known for known, names in NAMED_KERNELS.items() if names.fullmatch(name)), UNKNOWN)


def gating(values: Mapping[str, Value]) -> str:
    """One of GATING, or GATED, or "" where nothing is said.

    Where CardiacSynchronizationTechnique is silent ScanOptions may tell: a phase (TP70PC, TP350MS), a heart rate in
    beats per minute, or a word for it.
    """
    technique = _upper(values, "CardiacSynchronizationTechnique")
    if technique in GATING:
        return technique
    options = _upper(values, "ScanOptions")
    if _NOT_GATED.search(options):
        return "NONE"
    said = next((name for name, words in _TECHNIQUES.items() if words.search(options)), "")
    return said or (GATED if any(sign.search(options) for sign in (_PHASE, _HEART_RATE, _GATED)) else "")


def phase(values: Mapping[str, Value]) -> tuple[float, float]:
    """Phase of the cardiac cycle: percent of the R-R interval, and delay after the R peak in ms; NaN if not said."""
    percent = _number(_upper(values, "NominalPercentageOfCardiacPhase"))
    delays_ms = [_number(_upper(values, f"{kind}CardiacTriggerDelayTime")) for kind in ("Nominal", "Actual")]
    delay_ms = next((value for value in delays_ms if not math.isnan(value)), math.nan)
    for number, unit in _PHASE.findall(_upper(values, "ScanOptions")):
        if unit == "PC" and math.isnan(percent):
            percent = float(number)
        if unit == "MS" and math.isnan(delay_ms):
            delay_ms = float(number)
    return percent, delay_ms


def _upper(values: Mapping[str, Value], key: str) -> str:
    return str(values.get(key, "")).strip().upper()


def _number(text: str) -> float:
    """The first of the numbers in an element; NaN if there is none."""
    try:
        number = float(text.split("\\")[0])
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


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
