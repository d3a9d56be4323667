"""DICOM Segmentations: each frame counts where it says that it is; what cannot be placed or told apart is refused."""

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless, generate_uid

from cac_hpc.masks import dicom_masks
from cac_hpc.settings.errors import InputError
from tests.support.dicom_mask_writers import write_segmentation
from tests.support.poison import edit
from tests.support.small_studies import SHAPE, target, write_study

NAMES = ("LAD", "RCA")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("small") / "study")


@pytest.fixture
def label():
    values = np.zeros(SHAPE, np.uint8)
    values[1:4, 3:8, 5:11], values[5, 10:19, 2:4] = 1, 2
    return values


def read(path, images, *chosen, **other):
    (mask,) = dicom_masks.read(path, replace(target(images, *chosen), **other))
    return mask


def in_other_order(path):
    """The frames of a file of whole bytes from the last to the first."""
    ds = pydicom.dcmread(path)
    frames = np.frombuffer(ds.PixelData, np.uint8)[: ds.NumberOfFrames * ds.Rows * ds.Columns]
    pixels = frames.reshape(ds.NumberOfFrames, -1)[::-1].tobytes()
    ds.PixelData = pixels + bytes(len(pixels) % 2)
    ds.PerFrameFunctionalGroupsSequence = list(ds.PerFrameFunctionalGroupsSequence)[::-1]
    ds.save_as(path)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_parts_are_those_that_were_written(kind, images, label, tmp_path):
    pixels = np.stack([label == 1, label == 2], -1).astype(float) if kind == "FRACTIONAL" else label
    path = write_segmentation(tmp_path / "mask", images, pixels, kind, NAMES)
    if kind != "BINARY":
        in_other_order(path)
    mask = read(path, images)
    assert (mask.names, mask.values, mask.warnings) == (NAMES, (1, 2), ())
    np.testing.assert_array_equal(mask.part_ZHW, label)
    np.testing.assert_array_equal(read(path, images, "RCA").part_ZHW, label == 2)
    described = dicom_masks.describe(path)
    assert (described.kind, described.values, described.names) == ("Segmentation", (1, 2), NAMES)
    assert described.series == {images[0].SeriesInstanceUID}
    assert described.frames_of_reference == {images[0].FrameOfReferenceUID}


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_are_decoded(syntax, images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "LABELMAP", NAMES, transfer_syntax_uid=syntax)
    np.testing.assert_array_equal(read(path, images).part_ZHW, label)


def test_a_voxel_of_two_segments_is_of_the_one_that_was_named_first(images, tmp_path):
    inside = np.zeros((*SHAPE, 2), np.uint8)
    inside[2, 3:9, 3:9, 0] = inside[2, 6:12, 6:12, 1] = 1
    path = write_segmentation(tmp_path / "mask", images, inside, "BINARY", NAMES)
    both = read(path, images)
    assert both.warnings == ("parts_overlap",)
    assert [np.count_nonzero(both.part_ZHW == part) for part in (1, 2)] == [36, 27]
    other = read(path, images, "RCA", "1")
    assert (other.names, other.warnings) == (("RCA", "LAD"), ("parts_overlap",))
    assert [np.count_nonzero(other.part_ZHW == part) for part in (1, 2)] == [36, 27]
    alone = read(path, images, "RCA")
    assert alone.warnings == ()
    np.testing.assert_array_equal(alone.part_ZHW, inside[..., 1])


def test_a_mask_of_another_series_is_named_and_one_of_another_frame_of_reference_refused(images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "BINARY", NAMES)
    assert read(path, images, series="1.2.3").warnings == ("mask_of_other_series",)
    uid = images[0].FrameOfReferenceUID
    with pytest.raises(InputError, match="found another frame of reference than the study's") as raised:
        read(path, images, frame_of_reference="1.2.3")
    assert not re.search(r"\d\.\d+\.\d", str(raised.value).replace(str(path), ""))
    np.testing.assert_array_equal(read(path, images, frame_of_reference="").part_ZHW, label)
    with pytest.raises(InputError, match="found neither the study's frame of reference nor its series"):
        read(path, images, series="", frame_of_reference="")
    assert uid not in str(raised.value)


def test_shares_of_voxels_are_refused(images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, (label == 1) * 0.5, "FRACTIONAL", NAMES[:1])
    with pytest.raises(
        InputError, match=r"found 12\d in a FRACTIONAL segmentation, wanted all or nothing, .*threshold"
    ):
        read(path, images)


def test_a_segmentation_without_any_voxel_has_its_parts_and_nothing_in_them(images, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, np.zeros(SHAPE, np.uint8), "BINARY", NAMES,
                              omit_empty_frames=False)  # fmt: skip
    mask = read(path, images)
    assert (mask.names, mask.warnings) == (NAMES, ())
    assert not mask.part_ZHW.any()


@pytest.mark.parametrize(("first_z_mm", "step_mm", "num_slices"), [(-2.0, 1.5, 17), (0.7, 3.0, 8)])
def test_frames_beside_the_slices_are_resampled_if_they_are_evenly_apart(
    first_z_mm, step_mm, num_slices, images, tmp_path
):
    others = write_study(tmp_path / "other", first_z_mm, step_mm, num_slices)
    label = np.zeros((num_slices, *SHAPE[1:]), np.uint8)
    label[[2, 3, 6], 3:8, 5:11] = 1
    path = write_segmentation(tmp_path / "mask", others, label, "BINARY", NAMES[:1])
    mask = read(path, images)
    assert mask.warnings == ("mask_resampled",)
    for z in range(SHAPE[0]):
        nearest = int(np.floor((3.0 * z - first_z_mm) / step_mm + 0.5))
        there = 0 <= nearest < num_slices
        np.testing.assert_array_equal(mask.part_ZHW[z], label[nearest] if there else 0)
    for item in (group := pydicom.dcmread(path)).SharedFunctionalGroupsSequence:
        del item.PixelMeasuresSequence[0].SpacingBetweenSlices
    group.save_as(path)
    with pytest.raises(
        InputError, match=r"found 3 frames of 20 x 25 .* z .* evenly apart .* the study has 8 x 20 x 25"
    ):
        read(path, images)


def test_frames_of_every_second_slice_stand_for_what_is_between_if_they_say_so(images, tmp_path):
    """And not if only these slices were drawn on."""
    others = write_study(tmp_path / "other", 0.0, 6.0, 4)
    label = np.zeros((4, *SHAPE[1:]), np.uint8)
    label[1:3, 3:8, 5:11] = 1
    mask = read(write_segmentation(tmp_path / "mask", others, label, "BINARY", NAMES[:1]), images)
    assert mask.warnings == ("mask_resampled",)
    assert [int(mask.part_ZHW[z].sum()) for z in range(8)] == [0, 30, 30, 30, 30, 0, 0, 0]
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[::2, 3:8, 5:11] = 1
    path = write_segmentation(tmp_path / "mask", images, drawn, "BINARY", NAMES[:1])
    mask = read(path, images)
    assert mask.warnings == ()
    np.testing.assert_array_equal(mask.part_ZHW, drawn)
    ds = pydicom.dcmread(path)
    del ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    ds.save_as(path)
    assert read(path, images).warnings == ("slices_between_contours",)


@pytest.mark.parametrize(
    ("where", "values"),
    [
        (("PerFrameFunctionalGroupsSequence", "PlanePositionSequence"), {"ImagePositionPatient": [1, 2]}),
        (("SharedFunctionalGroupsSequence", "PlaneOrientationSequence"), {"ImageOrientationPatient": [1, 0, 0]}),
        (("SharedFunctionalGroupsSequence", "PlaneOrientationSequence"), {"ImageOrientationPatient": [0] * 6}),
        (("SharedFunctionalGroupsSequence", "PlaneOrientationSequence"), {"ImageOrientationPatient": [1, 0, 0] * 2}),
        (("SharedFunctionalGroupsSequence", "PixelMeasuresSequence"), {"PixelSpacing": [0.5]}),
        (("SharedFunctionalGroupsSequence", "PixelMeasuresSequence"), {"PixelSpacing": [0.5, -0.5]}),
    ],
)
def test_numbers_of_no_volume_are_refused(where, values, images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "BINARY", NAMES)
    ds = pydicom.dcmread(path)
    for group in ds[where[0]]:
        for keyword, value in values.items():
            setattr(group[where[1]][0], keyword, value)
    ds.save_as(path)
    with pytest.raises(
        InputError, match=r"found frames without position|it cannot be read|wanted them on the study's slices"
    ):
        read(path, images)


def test_frames_that_are_not_stacked_are_refused(images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "BINARY", NAMES)
    ds = pydicom.dcmread(path)
    frame = ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
    x, y, z = frame.ImagePositionPatient
    for moved in ([x + 2, y, z], [x, y, 3e6]):  # beside the others; on a slice, but of a stack of a million
        frame.ImagePositionPatient = moved
        ds.save_as(path)
        with pytest.raises(InputError, match="wanted them on the study's slices, or as evenly apart"):
            read(path, images)
    del ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    ds.save_as(path)
    with pytest.raises(InputError, match="it cannot be read"):
        read(path, images)


def test_what_lies_beyond_the_study_is_named_and_what_lies_elsewhere_refused(images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "BINARY", NAMES)
    fewer = read(path, images[2:])
    assert fewer.warnings == ("mask_beyond_study",)
    np.testing.assert_array_equal(fewer.part_ZHW, label[2:])
    with pytest.raises(InputError, match=r"lies outside of the study: it has .* the study has "):
        read(path, images[6:])
    wide = target(images).placement
    wide = replace(wide, steps_mm=(wide.steps_mm[0], *(tuple(1.2 * mm for mm in step) for step in wide.steps_mm[1:])))
    with pytest.raises(InputError, match=r"does not cover the study: it has .* the study has "):
        read(path, images, placement=wide)


def test_a_mask_one_slice_away_or_flipped_is_another(images, label, tmp_path):
    for changed in (np.roll(label, 1, 0), np.flip(label, 0), np.flip(label, 1), np.flip(label, 2)):
        path = write_segmentation(tmp_path / "mask", images, changed, "BINARY", NAMES)
        np.testing.assert_array_equal(read(path, images).part_ZHW, changed)
        assert (changed != label).any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"SegmentationType": "VOTED"}, "found type 'VOTED'"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 pixels"),
        ({"NumberOfFrames": 5}, "found type 'BINARY', 5 frames of 20 x 25 pixels and 4 functional groups"),
        ({"SOPClassUID": generate_uid()}, "found a DICOM object of another kind"),
        ({"SegmentSequence": []}, "found 0 segments of 0 numbers"),
        ({"PixelData": b"12"}, "it cannot be read"),
    ],
)
def test_what_is_wrong_is_told(values, message, images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "BINARY", NAMES)
    edit(path, **values)
    with pytest.raises(InputError, match=message):
        read(path, images)


def test_a_length_that_was_damaged_takes_no_memory(images, label, tmp_path):
    path = write_segmentation(tmp_path / "mask", images, label, "BINARY", NAMES)
    whole = path.read_bytes()
    at = whole.index(b"\xe0\x7f\x10\x00O") + 8
    path.write_bytes(whole[:at] + (64 << 20).to_bytes(4, "little") + whole[at + 4 :])
    tracemalloc.start()
    np.testing.assert_array_equal(read(path, images).part_ZHW, label)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_other_files_are_refused(images, tmp_path):
    for content, message in ((b"nothing", "no preamble of DICOM"), (b"", "no preamble of DICOM")):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(InputError, match=message):
            read(tmp_path / "file", images)
    with pytest.raises(InputError, match="found a DICOM object of another kind"):
        read(type(tmp_path)(images[0].filename), images)
    with pytest.raises(InputError, match="wanted a regular file"):
        read(tmp_path, images)
