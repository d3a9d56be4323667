"""Structured reports of calcium scoring, as highdicom writes them (TID 1500) and as trees of containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.support import poison

COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
SCT = {"LM": "3227004", "LAD": "59438005", "LCX": "57396003", "RCA": "13647002", "total": "41801008"}
SRT = {"LM": "T-43107", "LAD": "T-43110", "LCX": "T-43120", "RCA": "T-43200", "total": "T-43000"}
SCORE, LESION = ("450360000", "SCT"), ("112058", "DCM")
AGATSTON, VOLUME = ("112055", "DCM"), ("112056", "DCM")
SITE, METHOD = ("363698007", "SCT"), ("370129005", "SCT")
SITE_SRT, METHOD_SRT = ("G-C0E3", "SRT"), ("G-C036", "SRT")
Code = tuple[str, str]


def code(value: Code) -> list[Dataset]:
    """A code sequence of one item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = *value, "meaning"
    return [item]


def node(kind: str, name: Code, *children: Dataset, relation: str = "CONTAINS") -> Dataset:
    """A content item."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = relation, kind, code(name)
    if kind == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    if children:
        item.ContentSequence = list(children)
    return item


def coded(name: Code, value: Code) -> Dataset:
    item = node("CODE", name, relation="HAS CONCEPT MOD")
    item.ConceptCodeSequence = code(value)
    return item


def number(name: Code, value: str, *children: Dataset, unit: str | None = "1", exact: float | None = None) -> Dataset:
    """A numeric item, its value as a text; no value for ""."""
    item, measured = node("NUM", name, *children), Dataset()
    measured.NumericValue = value
    if exact is not None:
        measured.FloatingPointValue = exact
    if unit is not None:
        measured.MeasurementUnitsCodeSequence = code((unit, "UCUM"))
    item.MeasuredValueSequence = [measured] if value else []
    return item


def document(path: Path, *content: Dataset, study: str = "1.2.3", **attributes: object) -> Path:
    """Write a report of that content."""
    ds = node("CONTAINER", ("18748-4", "LN"), *content)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = COMPREHENSIVE, generate_uid(), "SR"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientName = study, generate_uid(), "Canary^Ann"
    ds.ContentDate, ds.ContentTime, ds.Manufacturer = "20200102", "101500.25", "Workstations"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "VERIFIED"
    path.parent.mkdir(parents=True, exist_ok=True)
    with poison.quiet():
        for keyword, value in attributes.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
        ds.save_as(path, enforce_file_format=True)
    return path


def tree(score: float, vessels: Mapping[str, float] = {}) -> list[Dataset]:
    """What a workstation may write: SRT codes, a container for each vessel, numbers as texts of arbitrary units."""
    by_vessel = [
        node(
            "CONTAINER",
            ("122603", "DCM"),
            coded(SITE_SRT, (SRT[name], "SRT")),
            number(LESION, f"{value:.1f}", coded(METHOD_SRT, AGATSTON), unit="[arb'U]"),
            number(LESION, f"{2 * value:.1f}", coded(METHOD_SRT, VOLUME), unit="mm3"),
        )
        for name, value in vessels.items()
    ]
    total = number(("F-F3012", "SRT"), f"{score:.1f}", coded(METHOD_SRT, AGATSTON), unit="[arb'U]")
    return [node("CONTAINER", ("121070", "DCM"), node("CONTAINER", ("122603", "DCM"), total, *by_vessel))]


def measured(path: Path, images: Sequence[Dataset], score: float, vessels: Mapping[str, float], **flags: bool) -> Path:
    """A report of template TID 1500 as highdicom writes it, of the images of a study."""
    from highdicom import sr

    def concept(value: Code) -> sr.CodedConcept:
        return sr.CodedConcept(*value, "meaning")

    values = {"total": score, **vessels}
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(generate_uid(), "Calcium"),
        measurements=[
            sr.Measurement(
                concept(SCORE),
                value,
                concept(("1", "UCUM")),
                finding_sites=[sr.FindingSite(concept((SCT[name], "SCT")))],
                method=concept(AGATSTON),
            )
            for name, value in values.items()
        ],
    )
    reader = sr.PersonObserverIdentifyingAttributes(name="Canary^Reader")
    observer = sr.ObserverContext(sr.CodedConcept("121006", "DCM", "Person"), reader)
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_person_context=observer),
        procedure_reported=concept(("426005005", "SCT")),
        imaging_measurements=[group],
    )
    said = {"is_complete": True, "is_final": True, **flags}
    written = sr.ComprehensiveSR(images, content, generate_uid(), 9, generate_uid(), 1, manufacturer="Other", **said)
    written.save_as(path, enforce_file_format=True)
    return path


def headers(folder: Path) -> list[Dataset]:
    """The headers of the slices of a study."""
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("IM*.dcm"))]
