"""Why a file or a study is not used: every code of rejected.csv, what it means and what to do about it."""

from __future__ import annotations

from typing import Any

REASONS: dict[str, tuple[str, str]] = {
    # the file as a file
    "symlink": (
        "in a study a link that leads out of it, to a folder or nowhere; a study that is a link to a folder it lies in",
        "copy the files into the study",
    ),
    "not_a_file": ("a pipe, socket or device", "remove it"),
    "unreadable_file": ("the operating system refuses to read it", "fix its permissions or the disk"),
    "changed_while_read": ("it changed while it was read", "wait for the transfer to end, then pack again"),
    "outside_study": ("it is outside of the study folders", "move it into its study, or ignore it"),
    # the format of the study
    "other_format": ("of another format than data.format", "nothing, or change data.format"),
    "several_formats": ("DICOM slices and a NIfTI or NRRD volume in one study", "set data.format, or remove one"),
    "several_volumes": (
        "several volumes: of a study of NIfTI or NRRD files, or in a file of 4 axes",
        "leave the CT alone, or name its file by pack.series.description",
    ),
    "bad_volume": (
        "a NIfTI or NRRD file that is damaged, or does not say where its voxels are",
        "convert it again from the DICOM files",
    ),
    "not_volume": ("no NIfTI or NRRD volume, in a study of one", "nothing"),
    # the file as DICOM
    "not_dicom": ("no DICOM file, or one that could be read in two ways", "nothing, or convert it"),
    "unreadable_header": ("the header cannot be parsed, or is cut short", "fetch it again from the archive"),
    "not_ct_image": ("another kind of object: report, dose page, secondary capture, directory", "nothing"),
    "localizer": ("a scout view", "nothing"),
    "burned_in": ("text is burned into the image: it may show a name", "export the original images"),
    "bad_pixel_format": ("not one 16-bit grey value per pixel", "export the original images"),
    "no_geometry": ("position, orientation, spacing or size is missing or invalid", "export with full headers"),
    "no_rescale": (
        "RescaleSlope or RescaleIntercept is missing, zero or no number, or gives no HU",
        "export with full headers",
    ),
    "not_hu": (
        "no Hounsfield units: an image of one material, electron density, effective atomic number, or modified HU",
        "export the plain images",
    ),
    "lossy_compression": ("compressed with loss: values are not the scanner's", "export the original images"),
    "unsupported_compression": ("a transfer syntax that nothing here decodes", "export it uncompressed"),
    "mixed_frames": ("an enhanced CT whose frames are of several series", "export it as single frames"),
    "too_large": ("more pixels than any CT has", "nothing, or export single frames"),
    # the pixels
    "wrong_length": ("pixel data are shorter or longer than the header says", "fetch it again from the archive"),
    "cannot_decode": ("the pixels cannot be decoded", "fetch it again from the archive"),
    "impossible_values": ("stored values or HU that no scanner writes", "fetch it again from the archive"),
    "padding_in_tissue": (
        "PixelPaddingValue names values that could be tissue, and pixels have them",
        "export the original images",
    ),
    # the choice of the series
    "several_patients": ("scans of several patients in one folder", "give each patient a folder"),
    "several_studies": ("several studies in one folder", "give each study a folder, or set pack.several_studies"),
    "other_study": ("of another study of the patient than pack.several_studies takes", "nothing"),
    "duplicate": ("the same slice as another file", "nothing"),
    "not_axial": ("of a series that is not axial, or turned in its plane", "nothing"),
    "other_series": ("of a series that is not selected", "nothing, or change pack.series"),
    "other_phase": ("of another phase or acquisition of the selected series", "nothing"),
    "contrast_agent": (
        "a contrast agent was given: the header says so, or the blood in the heart is bright",
        "use the plain series; calcium cannot be distinguished from contrast agent",
    ),
    # the series as a whole: each can be turned into a warning in pack.checks
    "conflicting_duplicates": ("two different slices at one position", "remove the wrong one, or split the series"),
    "missing_slices": ("a gap in the positions", "fetch the study again from the archive"),
    "uneven_spacing": ("distances between slices differ", "fetch the study again, or raise pack.spacing_tolerance_mm"),
    "gantry_tilt": ("slices are stacked along another direction than their normal", "export it reformatted"),
    "mixed_thickness": ("slices of several thicknesses", "split the series"),
    "mixed_rescale": ("slices whose rescale differs", "fetch the study again from the archive"),
    "mixed_acquisition": ("slices that differ in kVp, kernel, phase, bits, size or orientation", "split the series"),
    "implausible_hu": ("no air or no soft tissue where a chest has both", "check the rescale of the export"),
    "repeated_pixels": ("the same pixels at two positions, as no scanner makes them", "fetch the study again"),
    "incomplete_acquisition": (
        "fewer slices than ImagesInAcquisition says, or a file of the series cannot be used",
        "fetch the study again",
    ),
    "no_heart": (
        "no heart is found, where slices are to be cropped to it or are not packed",
        "check the study, or set pack.crop: none and pack.slices: true",
    ),
    # its mask in pack.regions
    "no_mask": ("pack.regions has no mask of the study, or several", "add it there, or leave the study out"),
    "unusable_mask": (
        "the mask in pack.regions cannot be read, has no such part, or does not say where it is",
        "look at it with python jobs/score_calcium.py --region",
    ),
    "mask_elsewhere": (
        "the mask in pack.regions does not cover the series",
        "use one that was drawn on this series, or set pack.series",
    ),
    # the study
    "too_few_slices": ("fewer slices than pack.min_slices", "fetch the study again, or lower the limit"),
    "too_many_slices": ("more slices than pack.max_slices", "split the series, or raise the limit"),
    "study_refused": ("a slice of the selected series cannot be used, so none is", "see the row of that slice"),
    "no_label": (
        "the study has no label: no valid row in the sheet, or no score where labels.source looks",
        "add it; the dry run says what is missing",
    ),
    "over_time": ("reading the study took longer than pack.limits.minutes", "fetch it again, or raise the limit"),
    "over_memory": (
        "reading the study took more memory than pack.limits.memory_gb",
        "fetch it again, or raise the limit",
    ),
    "crashed": ("a decoder broke down on it", "fetch it again, or export it uncompressed"),
}


class Refused(ValueError):
    """A file or study cannot be used: ``reason`` is a code of REASONS, ``detail`` what was found, in numbers only.

    series: SeriesInstanceUID of a CT slice whose header could be read, and subject: whose it is; None of anything else.
    """

    series: str | None = None
    subject: Any = None

    def __init__(self, reason: str, detail: str) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
