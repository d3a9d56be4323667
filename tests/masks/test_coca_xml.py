"""COCA's property lists of contours: millimetres, pixels, slices and HU must agree, or the scan is another one."""

import plistlib
from dataclasses import replace

import numpy as np
import pytest

from cac_hpc.masks import coca_xml
from cac_hpc.settings.errors import InputError
from tests.support.coca_lists import LAD, RCA, SQUARE, empty, roi, write
from tests.support.dicom_mask_writers import in_mm
from tests.support.small_studies import SHAPE, target, write_study


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("small") / "study")


def read(path, images, *chosen, **other):
    (mask,) = coca_xml.read(path, replace(target(images, *chosen), **other))
    return mask


def expected(*slices, part=1):
    values = np.zeros(SHAPE, np.int16)
    values[list(slices), 4:8, 4:9] = part
    return values


def test_parts_are_the_names_in_alphabetical_order_and_contours_without_points_are_ignored(images, tmp_path):
    path = write(tmp_path, {5: [empty(images), roi(images, 5, name=RCA)], 2: [roi(images, 2), empty(images)], 6: []})
    mask = read(path, images)
    assert (mask.names, mask.values, mask.warnings) == ((LAD, RCA), (1, 2), ())
    np.testing.assert_array_equal(mask.part_ZHW, expected(2) + expected(5, part=2))
    np.testing.assert_array_equal(read(path, images, RCA).part_ZHW, expected(5))
    described = coca_xml.describe(path)
    assert (described.names, described.values) == ((LAD, RCA), (1, 2))
    for nothing in ({2: [empty(images)]}, {2: []}, {}):
        with pytest.raises(InputError, match="ROIs, none of them with points, wanted contours"):
            read(write(tmp_path, nothing), images)


def test_contours_of_one_vessel_on_one_slice_are_taken_together(images, tmp_path):
    other = SQUARE + np.array([2, 3])
    path = write(tmp_path, {2: [roi(images, 2), roi(images, 2, other), roi(images, 2)]})
    union = expected(2)
    union[2, 6:10, 7:12] = 1
    np.testing.assert_array_equal(read(path, images).part_ZHW, union)
    path = write(tmp_path, {2: [roi(images, 2, name=RCA), roi(images, 2, other)]})
    mask = read(path, images)
    assert mask.warnings == ("parts_overlap",)
    assert [np.count_nonzero(mask.part_ZHW == part) for part in (1, 2)] == [20, 16]


@pytest.mark.parametrize("corner", [0.5, 0.0])
def test_without_positions_in_mm_pixels_are_counted_as_the_other_contours_count_them(corner, images, tmp_path):
    pixels = [f"({column + corner:f}, {row + corner:f})" for row, column in SQUARE.tolist()]
    without = roi(images, 5, Point_px=pixels, Point_mm=["(0, 0, 0)"] * 4)
    with_mm = roi(images, 2, Point_px=pixels)
    np.testing.assert_array_equal(read(write(tmp_path, {2: [with_mm], 5: [without]}), images).part_ZHW, expected(2, 5))
    if corner == 0.5:  # as OsiriX counts
        np.testing.assert_array_equal(read(write(tmp_path, {5: [without]}), images).part_ZHW, expected(5))
        del without["Point_mm"]
        np.testing.assert_array_equal(read(write(tmp_path, {5: [without]}), images).part_ZHW, expected(5))


def test_a_contour_needs_its_place_in_mm_or_the_highest_hu_in_it(images, tmp_path):
    bare = {key: value for key, value in roi(images, 2).items() if key not in ("Point_mm", "Max")}
    with pytest.raises(InputError, match="found neither Point_mm nor Max, wanted one of them"):
        read(write(tmp_path, {2: [bare]}), images)
    np.testing.assert_array_equal(
        read(write(tmp_path, {2: [bare | {"Max": roi(images, 2)["Max"]}]}), images).part_ZHW, expected(2)
    )


def test_slices_millimetres_and_pixels_must_agree(images, tmp_path):
    with pytest.raises(
        InputError, match=r"image 3, ROI 1 'Left Ant.*': Point_mm lies on slice 2 of the study, .* 0\.0 pix"
    ):
        read(write(tmp_path, {3: [roi(images, 2)]}), images)
    moved = [f"({column + 1.5:f}, {row + 0.5:f})" for row, column in SQUARE.tolist()]
    with pytest.raises(
        InputError, match=r"slice 2 of the study, counted from 0 at the lowest, 1\.0 pixels from Point_px"
    ):
        read(write(tmp_path, {2: [roi(images, 2, Point_px=moved)]}), images)
    beyond = [
        "({:f}, {:f}, {:f})".format(*point) for point in (in_mm(images[2], SQUARE) + np.array([0, 0, 30])).tolist()
    ]
    with pytest.raises(InputError, match="outside of the study"):
        read(write(tmp_path, {12: [roi(images, 2, Point_mm=beyond)]}), images)
    with pytest.raises(InputError, match="outside of the study"):
        read(write(tmp_path, {8: [roi(images, 2, Point_mm=["(0, 0, 0)"] * 4)]}), images)


def test_most_contours_must_hold_the_highest_hu_that_they_say(images, tmp_path):
    rois = {index: [roi(images, index)] for index in (1, 2, 5)}
    rois[2][0]["Max"] += 1
    assert read(write(tmp_path, rois), images).warnings == ("contour_max_differs",)
    rois[1][0]["Max"] -= 20
    found = (
        r"image 1, ROI 1 'Left Ant.*': found at most 8\d\d HU in it, wanted 8\d\d as Max says; 2 of 3 contours differ"
    )
    with pytest.raises(InputError, match=found):
        read(write(tmp_path, rois), images)
    for index in rois:
        rois[index][0]["Max"] = roi(images, index)["Max"]
    other = np.roll(target(images).hu_ZHW, 1, axis=0)
    with pytest.raises(InputError, match="3 of 3 contours differ"):
        read(write(tmp_path, rois), images, hu_ZHW=other)
    with pytest.raises(InputError, match="3 of 3 contours differ"):
        read(write(tmp_path, rois), images, hu_ZHW=np.ascontiguousarray(other[:, ::-1]))
    for index in rois:
        del rois[index][0]["Max"]
    assert read(write(tmp_path, rois), images, hu_ZHW=other).warnings == ()


def test_a_program_may_count_the_pixels_on_the_line_or_not(images, tmp_path):
    """The highest HU on the line, within it, or next to it."""
    for pixel in ((4, 6), (5, 6), (8, 6)):
        hu_ZHW = np.zeros(SHAPE, np.int16)
        hu_ZHW[2][pixel] = 500
        path = write(tmp_path, {2: [roi(images, 2, Max=500.0)]})
        assert read(path, images, hu_ZHW=hu_ZHW).warnings == ()
        if pixel != (5, 6):
            assert read(write(tmp_path, {2: [roi(images, 2, Max=0.0)]}), images, hu_ZHW=hu_ZHW).warnings == ()
        else:
            with pytest.raises(InputError, match="found at most 500 HU in it, wanted 0 as Max says"):
                read(write(tmp_path, {2: [roi(images, 2, Max=0.0)]}), images, hu_ZHW=hu_ZHW)
    hu_ZHW[2] = 0
    hu_ZHW[2, 9, 6] = 500
    with pytest.raises(InputError, match="found at most 0 HU in it, wanted 500"):
        read(write(tmp_path, {2: [roi(images, 2, Max=500.0)]}), images, hu_ZHW=hu_ZHW)
    between = np.array([(4.2, 4.2), (4.2, 4.8), (4.8, 4.8)])  # holds no middle of a pixel
    hu_ZHW[2, 5, 5] = 300
    mask = read(write(tmp_path, {2: [roi(images, 2, between, Max=300.0)]}), images, hu_ZHW=hu_ZHW)
    assert (mask.warnings, mask.part_ZHW.any()) == ((), False)


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE plist [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<plist version="1.0"><dict><key>Images</key><string>&b;</string></dict></plist>"""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, r"it cannot be read \(InvalidFileException\), wanted a property list"),
        (b"", "it cannot be read"),
        (b"<plist><dict>", "it cannot be read"),
        (plistlib.dumps({"Images": []}, fmt=plistlib.FMT_BINARY), "it cannot be read"),
        (plistlib.dumps([]), "found no array Images of dictionaries"),
        (plistlib.dumps({"Images": [[]]}), "found no array Images of dictionaries"),
        (plistlib.dumps({"Images": [{"ROIs": []}]}), "found an image without a number of a slice"),
        (plistlib.dumps({"Images": [{"ImageIndex": 2**60, "ROIs": []}]}), "found an image without a number of a slice"),
        (plistlib.dumps({"Images": [{"ImageIndex": 0}]}), "found no array ROIs"),
        (
            plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": 2, "ROIs": []}]}),
            "found 0 ROIs, wanted as many",
        ),
        (plistlib.dumps({"Images": [{"ImageIndex": 0, "ROIs": [{}]}]}), "found no Name, NumberOfPoints or Point_px"),
    ],
)
def test_what_is_no_such_list_is_refused(content, message, images, tmp_path):
    (tmp_path / "1.xml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "1.xml", images)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"NumberOfPoints": 5}, "found 4 points in pixels, wanted 5 as NumberOfPoints says"),
        ({"Point_mm": ["(1, 2, 3)"]}, "found 4 points in pixels, wanted 4"),
        (
            {"Point_px": ["(1, 2)", "(3, nan)", "(1, 2)", "(1, 2)"]},
            r"found the point '\(3, nan\)', wanted 2 numbers in",
        ),
        ({"Point_px": [1.0] * 4}, "found the point 'no text', wanted 2 numbers"),
        ({"Point_px": ["(1, 2)", "(3, 1e300)", "(1, 2)", "(1, 2)"]}, r"found the point '\(3, 1e300\)', wanted 2"),
        ({"Max": "high"}, "found no HU as Max"),
        ({"Max": float("nan")}, "found no HU as Max"),
        ({"Max": float("inf")}, "found no HU as Max"),
        ({"Max": True}, "found no HU as Max"),
    ],
)
def test_what_is_wrong_with_a_contour_is_told(values, message, images, tmp_path):
    with pytest.raises(InputError, match=rf"image 2, ROI 1 '{LAD}': {message}"):
        read(write(tmp_path, {2: [roi(images, 2, **values)]}), images)
