"""A prediction as DICOM objects for the archive that the study came from. The owner of highdicom (extra ``dicom``).

A Structured Report, Comprehensive 3D SR of template TID 1500, holds the study's score, volume, category and, lesion by
lesion, the same; a Segmentation holds the voxels of the lesions that counted, a segment for each, on the planes of the
source images as they are stored. Both are of the study, patient and frame of reference of their source and CARRY THE
PATIENT'S IDENTITY from it: an archive could not file them otherwise. Nothing else of this product does.

The same source and prediction give the same bytes. UIDs are version 5 UUIDs under 2.25 (DICOM PS3.5 B.2) of what the
objects hold. Content Date and Time are the latest of the source's (of the content, else the series, else the study),
not today's; where the source has none, 1 January 1900.

Codes (CODES). Source: DICOM PS3.16, Annex D (scheme DCM) and the context groups named here; SNOMED CT (SCT) as PS3.16
uses it; units of UCUM. A test compares their meanings with pydicom's dictionary, which lists all but mg:
    426005005 SCT  Cardiac CT for calcium scoring (CID 3757)   procedure reported
    41801008 SCT   Coronary artery                             finding site, anatomic region
    237897009 SCT  Vascular Calcification (CID 3491)           finding, property type of the segments
    49755003 SCT   Morphologically Abnormal Structure (CID 7150)   property category of the segments
    450360000 SCT  Coronary artery calcium score (CID 6142)    Agatston score of the study
    112058 DCM     Calcium score                               Agatston score of a lesion
    122660 DCM     Calcium Volume                              of the study, of a lesion; mm3
    122661 DCM     Calcium Mass                                the same, where a calibration factor is given; mg
    112055, 112056, 112057 DCM  Agatston, Volume, Mass scoring method (CID 6140)
    112180 DCM     Maximum Attenuation Coefficient (CID 6141)  of a lesion; HU
    111038 DCM     Number of calcifications                    lesions that counted
    122132 DCM     Severity of Calcification                   the category; its value is of our own scheme 99CACHPC
    123110 DCM     Artificial Intelligence (CID 7162)          algorithm family
    121007 DCM     Device (CID 270)                            the observer, which is this program
    121106 DCM     Comment                                     warnings, and that the software is for research

Axes: Z slices, H rows, W columns, V voxels, C candidates.
"""

from __future__ import annotations

import json
import logging
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom import seg, sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem

from cac_hpc.calcium.candidates import NAMES, RULE, Candidates
from cac_hpc.run import digests, disk
from cac_hpc.settings.errors import InputError
from cac_hpc.train import lesion_results
from cac_hpc.volumes import dicom, files
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.frame import Turn
from cac_hpc.volumes.header import CT_IMAGE, ENHANCED_CT
from cac_hpc.volumes.structured_reports import MAKER
from cac_hpc.volumes.study import Study

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cac_hpc.predict.bundle import Bundle
    from cac_hpc.predict.ensemble import Answer, Prediction
    from cac_hpc.predict.study_prediction import Content

NOT_WRITTEN = "no_dicom_out"
REPORT, SEGMENTATION = "report.dcm", "segmentation.dcm"
SERIES_NUMBERS = {REPORT: 9901, SEGMENTATION: 9902}
SCHEME, MODEL = "99CACHPC", "cac_hpc coronary calcium"
RESEARCH = "Made by research software without review by a reader; not for diagnosis."
NO_DATE = ("19000101", "000000")
UNLIKE_DICOM = (
    "DICOM out: found an element of the patient or the study that is not as DICOM has it, wanted images that conform "
    "to DICOM"
)
RED = (53.2, 80.1, 67.2)  # CIELab, of sRGB 255, 0, 0
ONE_VALUE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # of all source images
MAY_BE_UNKNOWN = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                  "AccessionNumber", "ReferringPhysicianName", "SliceThickness")  # fmt: skip
CODES = {
    name: sr.CodedConcept(value, scheme, meaning)
    for name, value, scheme, meaning in (
        ("procedure", "426005005", "SCT", "Cardiac CT for calcium scoring"),
        ("coronary", "41801008", "SCT", "Coronary artery"),
        ("calcification", "237897009", "SCT", "Vascular Calcification"),
        ("abnormal", "49755003", "SCT", "Morphologically Abnormal Structure"),
        ("score", "450360000", "SCT", "Coronary artery calcium score"),
        ("lesion_score", "112058", "DCM", "Calcium score"),
        ("volume", "122660", "DCM", "Calcium Volume"),
        ("mass", "122661", "DCM", "Calcium Mass"),
        ("by_agatston", "112055", "DCM", "Agatston scoring method"),
        ("by_volume", "112056", "DCM", "Volume scoring method"),
        ("by_mass", "112057", "DCM", "Mass scoring method"),
        ("max_hu", "112180", "DCM", "Maximum Attenuation Coefficient"),
        ("lesions", "111038", "DCM", "Number of calcifications"),
        ("severity", "122132", "DCM", "Severity of Calcification"),
        ("family", "123110", "DCM", "Artificial Intelligence"),
        ("device", "121007", "DCM", "Device"),
        ("comment", "121106", "DCM", "Comment"),
        ("1", "1", "UCUM", "no units"),
        ("mm3", "mm3", "UCUM", "cubic millimeter"),
        ("mg", "mg", "UCUM", "milligram"),
        ("hu", "[hnsf'U]", "UCUM", "Hounsfield unit"),
    )
}

Group = sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True)
class Source:
    """Where the slices of a volume are stored.

    files: of each slice, in the order of the volume. frames: its frame in that file, from 1. turn: what brought them
    into the patient frame. spacing_mm: between slices, rows and columns in that frame.
    """

    files: Sequence[Path]
    frames: Sequence[int]
    turn: Turn
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is to be said of a study.

    category: its index among the names. score: Agatston, None of a slice network. found, counted_C: the candidates, and
    (C,) bool which of them count; None of a slice network. notes: warnings, a sentence each. version: of the program;
    model: what tells the model from others, such as a digest. mass_factor: mg per mm3 and HU, if it is known for this
    scanner and tube voltage.
    """

    category: int
    names: Sequence[str]
    edges: Sequence[float]
    version: str
    model: str
    score: float | None = None
    found: Candidates | None = None
    counted_C: np.ndarray | None = None
    notes: Sequence[str] = ()
    mass_factor: float | None = None


@dataclass(frozen=True)
class _Objects:
    """What both objects of a study share."""

    images: Sequence[Dataset]  # headers of the source, in the order of the volume
    finding: Finding
    lesions: Sequence[int]  # the candidates that count, which are segments 1, 2, ...
    content: str  # digest of all that the objects hold

    def uid(self, of: str) -> str:
        """The UID of a thing in these objects."""
        return _uid(f"{self.content} {of}")

    def series(self, name: str) -> dict[str, Any]:
        """What every object says of its series, its maker and its time."""
        date, time = _when(self.images)
        return {
            "series_instance_uid": self.uid(f"{name} series"),
            "sop_instance_uid": self.uid(name),
            "series_number": SERIES_NUMBERS[name],
            "series_description": f"Coronary calcium ({Path(name).stem})",
            "instance_number": 1,
            "manufacturer": MAKER,
            "manufacturer_model_name": MODEL,
            "software_versions": self.finding.version,
            "device_serial_number": self.finding.model[:64],
            "specific_character_set": "ISO_IR 192",  # UTF-8: categories and patients have names in any script
            "content_date": date,
            "content_time": time,
        }


@dataclass(frozen=True)
class Writer:
    """What `prediction` calls with each study that it has predicted; see `study_prediction.Also`."""

    mass_factor: float | None = None

    def __call__(
        self, folder: Path, out: Path, bundle: Bundle, content: Content, prediction: Prediction, answer: Answer
    ) -> str:
        """Write the objects of a study beside its other results, or refused.txt, which says why there are none.

        Returns: NOT_WRITTEN if there are none.
        """
        finding = Finding(
            category=prediction.category,
            names=bundle.names,
            edges=bundle.edges,
            version=bundle.version,
            model=bundle.digest,
            score=prediction.score,
            found=content.found if prediction.score is not None else None,
            counted_C=lesion_results.counted(answer.probability_C) if prediction.score is not None else None,
            notes=_notes(prediction),
            mass_factor=self.mass_factor,
        )
        place = out.parents[1] / "dicom" / out.name
        try:
            write(place, source_of(files.list_files(folder), content.study), finding)
        except InputError as why:
            disk.write_text(place / "refused.txt", f"{why}\n")
            return NOT_WRITTEN
        return ""


def _notes(prediction: Prediction) -> list[str]:
    """What must be known before a prediction is used."""
    notes = [f"Outside of the training range: {one}." for one in prediction.out_of_range]
    if prediction.known:
        notes.append("This patient was among the training studies of the model.")
    if prediction.warnings:
        notes.append(f"Read with a warning: {prediction.warnings.replace(' ', ', ')}.")
    return notes


def source_of(entries: Sequence[Entry], study: Study) -> Source:
    """The files of a study's series.

    Args:
        entries: the files that the study was read from.
    Raises: InputError if its reader does not tell which files the slices are from.
    """
    if not study.slice_files:
        raise InputError("DICOM out: found a study whose slices are of no DICOM files, wanted CT images")
    paths_of = [entries[number - 1].path for number in study.slice_files]
    return Source(paths_of, study.slice_frames, study.turn, study.spacing_mm)


def write(out: Path, source: Source, finding: Finding) -> list[Path]:
    """Write report.dcm and, if a lesion counts, segmentation.dcm into a folder; see the module on what they carry.

    Returns: the files written.
    Raises: InputError, without a word from the source, if its images cannot be referred to.
    """
    with _quiet():
        try:
            images = _headers(source)
        except (AttributeError, LookupError):
            raise InputError(UNLIKE_DICOM) from None
        counted = [] if finding.counted_C is None else np.flatnonzero(finding.counted_C).tolist()
        objects = _Objects(images, finding, counted, _content(images, source, finding))
        try:
            segmentation = _segmentation(objects, source) if counted else None
            made: dict[str, Dataset] = {} if segmentation is None else {SEGMENTATION: segmentation}
            made[REPORT] = _report(objects, source, segmentation)
        except ValueError:
            raise InputError(UNLIKE_DICOM) from None
        for name, ds in made.items():
            del ds.InstanceCreationDate, ds.InstanceCreationTime  # of the run, as highdicom has it
            del ds.ContributingEquipmentSequence[-1].ContributionDateTime
            with disk.atomic(out / name) as scratch:
                ds.save_as(scratch, enforce_file_format=True)
    return [out / name for name in sorted(made)]


def _headers(source: Source) -> list[Dataset]:
    """The headers of the source images, each once, what may be unknown in a new object being there, though empty.

    Raises: InputError if they are no CT images of one series with a frame of reference.
    """
    images = [dicom.read_header(path) for path in dict.fromkeys(source.files)]
    kinds = {str(image.get("SOPClassUID")) for image in images}
    if not kinds <= {CT_IMAGE, *ENHANCED_CT}:
        raise InputError("DICOM out: found another kind of object, wanted CT images")
    if len(images) > 1 and kinds != {CT_IMAGE}:
        raise InputError(
            f"DICOM out: found an enhanced CT in {len(images)} files, wanted one file for the whole series"
        )
    for image in images:
        if kinds != {CT_IMAGE}:
            _share(image)
        for keyword in MAY_BE_UNKNOWN if kinds == {CT_IMAGE} else MAY_BE_UNKNOWN[:-1]:
            if keyword not in image:
                setattr(image, keyword, "")
    for keyword in (*ONE_VALUE, "SOPInstanceUID"):
        values = {str(image.get(keyword, "")) for image in images}
        if not all(hd.UID(value).is_valid for value in values):
            raise InputError(f"DICOM out: found no valid {keyword} in an image, wanted images that can be referred to")
        if (wanted := 1 if keyword in ONE_VALUE else len(images)) != len(values):
            raise InputError(f"DICOM out: found {len(values)} values of {keyword} in {len(images)} images, "
                             f"wanted {wanted}")  # fmt: skip
    return images


def _share(image: Dataset) -> None:
    """Have all frames of an enhanced CT share their geometry, which each may hold for itself: highdicom wants it there.

    A series whose frames differ in it is refused when it is read.
    """
    shared, frames = image.SharedFunctionalGroupsSequence[0], image.PerFrameFunctionalGroupsSequence
    for group in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if group not in shared:
            setattr(shared, group, frames[0][group].value)


def _is_enhanced(images: Sequence[Dataset]) -> bool:
    return images[0].SOPClassUID in ENHANCED_CT


def _when(images: Sequence[Dataset]) -> tuple[str, str]:
    """Date and time of the content; see the module."""
    for kind in ("Content", "Series", "Study"):
        known = [(str(image.get(f"{kind}Date") or ""), str(image.get(f"{kind}Time") or "")) for image in images]
        if any(date for date, _ in known):
            date, time = max(known)
            return date, time or NO_DATE[1]
    return NO_DATE


def _content(images: Sequence[Dataset], source: Source, finding: Finding) -> str:
    """Digest of what the objects hold, from which their UIDs follow."""
    counted, found = finding.counted_C, finding.found
    voxels = [] if found is None or counted is None else [found.voxel_V3, found.start_C1, np.asarray(counted, bool)]
    said = {name: value for name, value in vars(finding).items() if name not in ("found", "counted_C")}
    return digests.content_sha256([
        hd.__version__,
        [str(image.SOPInstanceUID) for image in images],
        list(source.frames) if _is_enhanced(images) else [],
        vars(source.turn), source.spacing_mm,
        {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()},
        [digests.bytes_sha256(np.ascontiguousarray(part).tobytes()) for part in voxels],
    ])  # fmt: skip


def _segmentation(objects: _Objects, source: Source) -> seg.Segmentation:
    """The voxels of the lesions, as the source images are stored."""
    finding = objects.finding
    algorithm = hd.AlgorithmIdentificationSequence(
        MODEL, CODES["family"], finding.version, source=MAKER, parameters=_parameters(finding)
    )
    described = [
        seg.SegmentDescription(
            number,
            _label(candidate),
            CODES["abnormal"],
            CODES["calcification"],
            seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=objects.uid(_label(candidate)),
            tracking_id=_label(candidate),
            anatomic_regions=[CODES["coronary"]],
            display_color=hd.color.CIELabColor(*RED),
        )
        for number, candidate in enumerate(objects.lesions, start=1)
    ]
    made = seg.Segmentation(
        source_images=objects.images,
        pixel_array=_stored(objects, source),
        segmentation_type=seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        content_label="CORONARY_CALCIUM",
        content_description="Lesions that counted as coronary calcium",
        **objects.series(SEGMENTATION),
    )
    made.ContentCreatorName = None  # may be empty, but not missing as highdicom leaves it
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = source.spacing_mm[0]  # of the positions, not what a header says that nobody checks
    measures.SliceThickness = measures.SliceThickness or source.spacing_mm[0]
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = objects.uid("dimensions")  # highdicom makes up another each time
    return made


def _stored(objects: _Objects, source: Source) -> np.ndarray:
    """The number of the segment of each voxel, (Z, H, W) uint16 as the source images are stored, 0 of none.

    Of an enhanced CT Z are all of its frames, also those that are not of the volume.
    """
    found, first = objects.finding.found, objects.images[0]
    assert found is not None
    segment_ZHW = np.zeros((len(source.files), *source.turn.pair((first.Rows, first.Columns))), np.uint16)
    for number, candidate in enumerate(objects.lesions, start=1):
        z, y, x = found.voxel_V3[found.start_C1[candidate] : found.start_C1[candidate + 1]].T
        segment_ZHW[z, y, x] = number
    stored_ZHW = source.turn.back(segment_ZHW)
    if not _is_enhanced(objects.images):
        return stored_ZHW
    of_frames_ZHW = np.zeros((int(first.NumberOfFrames), first.Rows, first.Columns), np.uint16)
    of_frames_ZHW[np.array(source.frames) - 1] = stored_ZHW
    return of_frames_ZHW


def _report(objects: _Objects, source: Source, segmentation: seg.Segmentation | None) -> sr.Comprehensive3DSR:
    """The Structured Report."""
    finding = objects.finding
    observer = sr.DeviceObserverIdentifyingAttributes(
        uid=_uid(f"{MODEL} {finding.model}"), name=MODEL, manufacturer_name=MAKER, model_name=MODEL,
        serial_number=finding.model[:64],
    )  # fmt: skip
    groups: list[Group] = [_study_group(objects, source)]
    if segmentation is not None:
        groups += [_lesion_group(objects, source, number, segmentation) for number in segmentation.segment_numbers]
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=sr.ObserverContext(CODES["device"], observer)),
        procedure_reported=CODES["procedure"],
        imaging_measurements=groups,
    )
    return sr.Comprehensive3DSR(
        evidence=[*objects.images, *([segmentation] if segmentation is not None else [])],
        content=content,
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, "cac_hpc categories", _scheme_version(finding))],
        **objects.series(REPORT),
    )


def _study_group(objects: _Objects, source: Source) -> sr.MeasurementsAndQualitativeEvaluations:
    """What is said of the whole study, TID 1501."""
    finding = objects.finding
    measured = []
    if finding.score is not None:
        of_each = [_sizes(finding, source, candidate) for candidate in objects.lesions]
        measured = [
            _measurement("score", finding.score, "1", "by_agatston"),
            _measurement("lesions", len(of_each), "1"),
            *_volumes({name: sum(one[name] for one in of_each) for name in ("volume", "mass")}, finding),
        ]
    category = sr.QualitativeEvaluation(CODES["severity"], _category(finding))
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(objects.uid("study"), "Study"),
        finding_type=CODES["calcification"],
        algorithm_id=_algorithm(finding),
        finding_sites=[sr.FindingSite(CODES["coronary"])],
        measurements=measured,
        qualitative_evaluations=[category],
        source_images=_referred(objects, source),
    )
    for note in (RESEARCH, *finding.notes):
        text = sr.TextContentItem(CODES["comment"], note, sr.RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(text)
    return group


def _referred(objects: _Objects, source: Source) -> list[sr.SourceImageForMeasurementGroup]:
    """The images that the study's figures are of; of an enhanced CT its frames."""
    if _is_enhanced(objects.images):
        frames = sorted(source.frames)
        return [sr.SourceImageForMeasurementGroup.from_source_image(objects.images[0], referenced_frame_numbers=frames)]
    return [sr.SourceImageForMeasurementGroup.from_source_image(image) for image in objects.images]


def _lesion_group(
    objects: _Objects, source: Source, number: int, segmentation: seg.Segmentation
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """What is said of a lesion, TID 1411."""
    finding, candidate = objects.finding, objects.lesions[number - 1]
    sizes = _sizes(finding, source, candidate)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(objects.uid(_label(candidate)), _label(candidate)),
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            number,
            source_series=sr.SourceSeriesForSegmentation(objects.images[0].SeriesInstanceUID),
        ),
        finding_type=CODES["calcification"],
        algorithm_id=_algorithm(finding),
        finding_sites=[sr.FindingSite(CODES["coronary"])],
        measurements=[
            _measurement("lesion_score", sizes["score"], "1", "by_agatston"),
            *_volumes(sizes, finding),
            _measurement("max_hu", sizes["max_hu"], "hu"),
        ],
    )


def _sizes(finding: Finding, source: Source, candidate: int) -> dict[str, float]:
    """Agatston score, volume in mm3, mass in mg (0 without a factor) and maximum in HU of a candidate.

    Source: calcium/agatston.py, of volume and mass.
    """
    found = finding.found
    assert found is not None
    voxels = int(found.start_C1[candidate + 1] - found.start_C1[candidate])
    feature = dict(zip(NAMES, found.feature_CF[candidate].tolist(), strict=True))
    volume_mm3 = voxels * float(np.prod(source.spacing_mm))
    mass_mg = (finding.mass_factor or 0.0) * feature["mean_hu"] * volume_mm3
    score = float(found.agatston_C[candidate])
    return {"score": score, "volume": volume_mm3, "mass": mass_mg, "max_hu": feature["max_hu"]}


def _volumes(sizes: Mapping[str, float], finding: Finding) -> list[sr.Measurement]:
    """Volume, and mass where it is calibrated."""
    volume = _measurement("volume", sizes["volume"], "mm3", "by_volume")
    return [volume] + ([_measurement("mass", sizes["mass"], "mg", "by_mass")] if finding.mass_factor else [])


def _measurement(name: str, value: float, unit: str, method: str | None = None) -> sr.Measurement:
    return sr.Measurement(CODES[name], round(float(value), 4), CODES[unit], method=CODES[method] if method else None)


def _algorithm(finding: Finding) -> sr.AlgorithmIdentification:
    said = [f"{name}: {value}" for name, value in _parameters(finding).items()]
    return sr.AlgorithmIdentification(MODEL, finding.version, said, CODES["family"], MAKER)


def _parameters(finding: Finding) -> dict[str, str]:
    """What tells this model from others, for people."""
    ends = [*(f"to {edge:g}" for edge in finding.edges), f"above {finding.edges[-1]:g}"]
    categories = ", ".join(f"{name} {end}" for name, end in zip(finding.names, ends, strict=True))
    return {"model": finding.model, "threshold": f"{RULE.threshold_hu} HU", "Agatston score of categories": categories}


def _category(finding: Finding) -> sr.CodedConcept:
    """The category as a code of our own, whose version tells the categories that there are."""
    return sr.CodedConcept(
        f"CATEGORY-{finding.category}", SCHEME, finding.names[finding.category], _scheme_version(finding)
    )


def _scheme_version(finding: Finding) -> str:
    return digests.bytes_sha256(json.dumps([list(finding.names), list(finding.edges)]).encode())[:8]


def _label(candidate: int) -> str:
    """The name of a lesion: its number is that of the candidate on the study's page and in lesions.csv."""
    return f"Lesion {candidate + 1}"


def _uid(name: str) -> str:
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{MAKER} {name}').int}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep highdicom and pydicom from quoting what they find odd: it could be a name."""
    logger = logging.getLogger("highdicom")
    before = logger.level
    with dicom.quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(before)
