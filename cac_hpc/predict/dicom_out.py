"""A prediction as DICOM objects for the archive that the study came from. The owner of highdicom (extra ``dicom``).

A Structured Report, Comprehensive 3D SR of template TID 1500, holds the study's score, volume, category and, lesion by
lesion, the same; a Segmentation holds the voxels of the lesions that counted, a segment for each, on the planes of the
source images as they are stored. Both are of the study, patient and frame of reference of their source and CARRY THE
PATIENT'S IDENTITY from it: an archive could not file them otherwise. Nothing else of this product does.

The same source and prediction give the same bytes. UIDs are version 5 UUIDs under 2.25 (DICOM PS3.5 B.2) of what the
objects hold. Content Date and Time are the latest of the source's (of the content, else the series, else the study),
not today's; where the source has none, 1 January 1900.

Axes: Z slices, H rows, W columns, V voxels, C candidates.
"""

from __future__ import annotations

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

from cac_hpc.predict import dicom_codes, dicom_finding, dicom_source
from cac_hpc.predict.dicom_codes import SCHEME
from cac_hpc.predict.dicom_finding import Finding
from cac_hpc.predict.dicom_source import Source
from cac_hpc.run import digests, disk
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import dicom, files
from cac_hpc.volumes.structured_reports import MAKER

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cac_hpc.predict.bundle import Bundle
    from cac_hpc.predict.ensemble import Prediction
    from cac_hpc.predict.study_prediction import Content

NOT_WRITTEN = "no_dicom_out"
REPORT, SEGMENTATION = "report.dcm", "segmentation.dcm"
SERIES_NUMBERS = {REPORT: 9901, SEGMENTATION: 9902}
MODEL = "cac_hpc coronary calcium"
RESEARCH = "Made by research software without review by a reader; not for diagnosis."
UNLIKE_DICOM = (
    "DICOM out: found an element of the patient or the study that is not as DICOM has it, wanted images that conform "
    "to DICOM"
)
RED = (53.2, 80.1, 67.2)  # CIELab, of sRGB 255, 0, 0
CODES = {name: sr.CodedConcept(*code) for name, code in dicom_codes.CODES.items()}

Group = sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations


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
        date, time = dicom_source.content_time(self.images)
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

    def __call__(self, folder: Path, out: Path, bundle: Bundle, content: Content, prediction: Prediction) -> str:
        """Write the objects of a study beside its other results, or refused.txt, which says why there are none.

        Returns: NOT_WRITTEN if there are none.
        """
        finding = dicom_finding.of_prediction(bundle, content, prediction, self.mass_factor)
        place = out.parents[1] / "dicom" / out.name
        try:
            write(place, dicom_source.source_of(files.list_files(folder), content.study), finding)
        except InputError as why:
            disk.write_text(place / "refused.txt", f"{why}\n")
            return NOT_WRITTEN
        return ""


def write(out: Path, source: Source, finding: Finding) -> list[Path]:
    """Write report.dcm and, if a lesion counts, segmentation.dcm into a folder; see the module on what they carry.

    Returns: the files written.
    Raises: InputError, without a word from the source, if its images cannot be referred to.
    """
    with _quiet():
        try:
            images = dicom_source.headers(source)
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


def _content(images: Sequence[Dataset], source: Source, finding: Finding) -> str:
    """Digest of what the objects hold, from which their UIDs follow."""
    counted, found = finding.counted_C, finding.found
    voxels = [] if found is None or counted is None else [found.voxel_V3, found.start_C1, np.asarray(counted, bool)]
    said = {name: value for name, value in vars(finding).items() if name not in ("found", "counted_C")}
    return digests.content_sha256([
        hd.__version__,
        [str(image.SOPInstanceUID) for image in images],
        list(source.frames) if dicom_source.is_enhanced(images) else [],
        vars(source.turn), source.spacing_mm,
        {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()},
        [digests.bytes_sha256(np.ascontiguousarray(part).tobytes()) for part in voxels],
    ])  # fmt: skip


def _segmentation(objects: _Objects, source: Source) -> seg.Segmentation:
    """The voxels of the lesions, as the source images are stored."""
    finding = objects.finding
    algorithm = hd.AlgorithmIdentificationSequence(
        MODEL, CODES["family"], finding.version, source=MAKER, parameters=finding.parameters
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
    if not dicom_source.is_enhanced(objects.images):
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
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, "cac_hpc categories", finding.scheme_version)],
        **objects.series(REPORT),
    )


def _study_group(objects: _Objects, source: Source) -> sr.MeasurementsAndQualitativeEvaluations:
    """What is said of the whole study, TID 1501."""
    finding = objects.finding
    measured = []
    if finding.score is not None:
        of_each = [finding.sizes(candidate, source.voxel_mm3) for candidate in objects.lesions]
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
    if dicom_source.is_enhanced(objects.images):
        frames = sorted(source.frames)
        return [sr.SourceImageForMeasurementGroup.from_source_image(objects.images[0], referenced_frame_numbers=frames)]
    return [sr.SourceImageForMeasurementGroup.from_source_image(image) for image in objects.images]


def _lesion_group(
    objects: _Objects, source: Source, number: int, segmentation: seg.Segmentation
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """What is said of a lesion, TID 1411."""
    finding, candidate = objects.finding, objects.lesions[number - 1]
    sizes = finding.sizes(candidate, source.voxel_mm3)
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


def _volumes(sizes: Mapping[str, float], finding: Finding) -> list[sr.Measurement]:
    """Volume, and mass where it is calibrated."""
    volume = _measurement("volume", sizes["volume"], "mm3", "by_volume")
    return [volume] + ([_measurement("mass", sizes["mass"], "mg", "by_mass")] if finding.mass_factor else [])


def _measurement(name: str, value: float, unit: str, method: str | None = None) -> sr.Measurement:
    return sr.Measurement(CODES[name], round(float(value), 4), CODES[unit], method=CODES[method] if method else None)


def _algorithm(finding: Finding) -> sr.AlgorithmIdentification:
    said = [f"{name}: {value}" for name, value in finding.parameters.items()]
    return sr.AlgorithmIdentification(MODEL, finding.version, said, CODES["family"], MAKER)


def _category(finding: Finding) -> sr.CodedConcept:
    """The category as a code of our own, whose version tells the categories that there are."""
    return sr.CodedConcept(
        f"CATEGORY-{finding.category}", SCHEME, finding.names[finding.category], finding.scheme_version
    )


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
