"""RT Structure Sets: closed contours are filled, pixels on the line included; what holds nothing is named."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from cac_hpc.masks import contours, dicom_masks
from cac_hpc.settings.errors import InputError
from tests.support.dicom_mask_writers import in_mm, write_structure_set
from tests.support.poison import edit
from tests.support.small_studies import SHAPE, target, write_study

CLOSED, XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("small") / "study")


def read(path, images, *chosen, **other):
    (mask,) = dicom_masks.read(path, replace(target(images, *chosen), **other))
    return mask


def square(low, high):
    return np.array([(low, low), (low, high), (high, high), (high, low)], float)


def closed(images, slice_, points, kind=CLOSED, higher_mm=0.0):
    return kind, in_mm(images[slice_], np.array(points, float)) + np.array([0, 0, higher_mm])


def area(mask, slice_=2):
    return int(np.count_nonzero(mask.part_ZHW[slice_]))


def test_a_contour_through_the_middles_of_nine_pixels_holds_nine(images, tmp_path):
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(4, 6))]})
    mask = read(path, images)
    assert (mask.names, mask.values, mask.warnings) == (("LAD",), (1,), ())
    expected = np.zeros(SHAPE, np.int16)
    expected[2, 4:7, 4:7] = 1
    np.testing.assert_array_equal(mask.part_ZHW, expected)
    between = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(3.5, 6.5))]})
    np.testing.assert_array_equal(read(between, images).part_ZHW, expected)
    one = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, [(4, 7)])]})
    assert np.argwhere(read(one, images).part_ZHW).tolist() == [[2, 4, 7]]


@pytest.mark.parametrize("kind", [CLOSED, XOR])
def test_a_contour_within_another_is_a_hole_whose_rim_is_inside(kind, images, tmp_path):
    lines = [closed(images, 2, square(2, 12), kind), closed(images, 2, square(5, 9), kind),
             closed(images, 2, square(7, 7), kind)]  # fmt: skip
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": lines})
    assert area(read(path, images)) == 11 * 11 - 3 * 3 + 1


def test_one_contour_with_a_channel_to_its_hole(images, tmp_path):
    outer, inner = square(2, 12), square(5, 9)[::-1]
    keyhole = np.vstack([outer, outer[:1], inner[-1:], inner, outer[:1]])
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, keyhole)]})
    assert area(read(path, images)) == 11 * 11 - 3 * 3


def test_contours_that_cross_are_refused_unless_they_say_what_they_hold_together(images, tmp_path):
    lines = {
        kind: [closed(images, 2, square(2, 8), kind), closed(images, 2, square(5, 11), kind)] for kind in (CLOSED, XOR)
    }
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": lines[CLOSED]})
    with pytest.raises(
        InputError, match=r"region 1 'LAD', slice 3 of the study: found two contours that cross or are the"
    ):
        read(path, images)
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": lines[XOR]})
    assert area(read(path, images)) == 2 * 49 - 16 - 4  # what both hold is outside, but for what is on a line
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": lines[CLOSED][:1] * 2})
    with pytest.raises(InputError, match="found two contours that cross or are the same"):
        read(path, images)
    apart = [closed(images, 2, square(2, 5)), closed(images, 2, square(6, 9)), closed(images, 3, square(2, 8))]
    assert area(read(write_structure_set(tmp_path / "mask", images[0], {"LAD": apart}), images)) == 32


def test_points_and_open_lines_hold_nothing_and_are_named(images, tmp_path):
    line = closed(images, 2, square(4, 6))
    drawn = {
        "LAD": [line, ("POINT", line[1][:1]), ("OPEN_PLANAR", line[1])],
        "isocentre": [("POINT", line[1][:1])],
        "empty": [],
    }
    path = write_structure_set(tmp_path / "mask", images[0], drawn)
    mask = read(path, images)
    assert (mask.names, mask.warnings, area(mask)) == (("LAD", "isocentre", "empty"), ("lines_left_out",), 9)
    assert read(path, images, "empty").warnings == ()
    assert dicom_masks.describe(path).names == ("LAD", "isocentre", "empty")


@pytest.mark.parametrize(
    ("points", "higher_mm", "message"),
    [
        ([(4, 4), (4, 8), (8, 8)], 30.0, r"contour 1: starts at .* z 36\.0 mm, outside of the study, which has 8 x"),
        ([(4, 4), (4, 8), (8, 8)], -7.6, "outside of the study"),
        ([(40, 40), (40, 48), (48, 48)], 0.0, "outside of the study"),
        ([(4, 4), (4, 8), (8, 8)], np.diag([0, 0, 3]), "reaches from slice 3.00 to 4.00 of the study"),
        ([(4, 4), (4, 1e7), (8, 8)], 0.0, "nowhere in a patient"),
    ],
)  # fmt: skip
def test_contours_elsewhere_or_not_flat_are_refused_where_they_are_chosen(points, higher_mm, message, images, tmp_path):
    moved = higher_mm if np.ndim(higher_mm) else np.array([0, 0, higher_mm])
    wrong = (CLOSED, in_mm(images[2], np.array(points, float)) + moved)
    path = write_structure_set(
        tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(4, 6))], "body": [wrong]}
    )
    with pytest.raises(InputError, match=f"region 2 'body'.*{message}"):
        read(path, images)
    assert area(read(path, images, "LAD")) == 9


def test_contours_between_slices_are_of_the_nearest_unless_two_are(images, tmp_path):
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(4, 6), higher_mm=1.2)]})
    mask = read(path, images)
    assert (area(mask), mask.warnings) == (9, ("mask_resampled",))
    thin = [closed(images, 2, square(4, 6), higher_mm=mm) for mm in (-1.0, 0.0, 1.0)]
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": thin})
    with pytest.raises(InputError, match=r"found contours -0\.33 and \+0\.00 slices from slice 3 of the study"):
        read(path, images)


def test_contours_on_every_second_slice_are_not_filled_in_between_and_named(images, tmp_path):
    def drawn(*slices):
        return write_structure_set(
            tmp_path / "mask", images[0], {"LAD": [closed(images, z, square(4, 6)) for z in slices]}
        )

    mask = read(drawn(1, 3, 5), images)
    assert mask.warnings == ("slices_between_contours",)
    assert [area(mask, z) for z in range(8)] == [0, 9, 0, 9, 0, 9, 0, 0]
    assert read(drawn(1, 2, 4), images).warnings == read(drawn(1, 5), images).warnings == ()


def test_regions_that_overlap_are_of_the_one_that_was_named_first(images, tmp_path):
    drawn = {"heart": [closed(images, 2, square(2, 12))], "LAD": [closed(images, 2, square(4, 6))]}
    path = write_structure_set(tmp_path / "mask", images[0], drawn)
    assert (area(read(path, images)), read(path, images).warnings) == (121, ("parts_overlap",))
    assert np.count_nonzero(read(path, images, "LAD", "heart").part_ZHW == 1) == 9
    assert read(path, images, "LAD").warnings == ()
    with pytest.raises(InputError, match="found 0 parts 'aorta', wanted one of 1 heart, 2 LAD"):
        read(path, images, "aorta")


def test_frames_of_reference_are_those_of_the_chosen_regions(images, tmp_path):
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(4, 6))]})
    assert read(path, images, series="1.2.3").warnings == ("mask_of_other_series",)
    with pytest.raises(InputError, match="another frame of reference"):
        read(path, images, frame_of_reference="1.2.3")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"StructureSetROISequence": []}, "found 0 regions and contours of 1 others"),
        ({"ROIContourSequence": None}, "found no ROI Contour Sequence"),
        ({"StructureSetROISequence": None}, "found 0 regions"),
    ],
)
def test_what_is_wrong_is_told(values, message, images, tmp_path):
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(4, 6))]})
    edit(path, **values)
    with pytest.raises(InputError, match=message):
        read(path, images)


@pytest.mark.parametrize(("keyword", "value", "message"), [
    ("NumberOfContourPoints", 5, "found 4 points, wanted 5 as it says"),
    ("ContourGeometricType", "SPIRAL", "found 12 numbers of type 'SPIRAL'"),
    ("ContourData", ["1", "2"], "found 2 numbers of type 'CLOSED_PLANAR'"),
    ("ContourData", None, "found 0 numbers"),
])  # fmt: skip
def test_what_is_wrong_with_a_contour_is_told(keyword, value, message, images, tmp_path):
    path = write_structure_set(tmp_path / "mask", images[0], {"LAD": [closed(images, 2, square(4, 6))]})
    ds = pydicom.dcmread(path)
    setattr(ds.ROIContourSequence[0].ContourSequence[0], keyword, value)
    ds.save_as(path)
    with pytest.raises(InputError, match=f"region 1 'LAD', contour 1: {message}"):
        read(path, images)


@pytest.mark.parametrize("seed", range(4))
def test_pixels_are_inside_where_a_ray_from_them_says_so(seed):
    """Against plain loops, corners on pixels and between them, some beyond the image."""
    rng = np.random.default_rng(seed)
    for number in range(12):
        points = rng.uniform(-4, 18, (rng.integers(1, 9), 2))
        points = np.rint(points) if number % 2 else points
        patch = contours.fill(points, (14, 15))
        found = np.zeros((14, 15), np.int8)
        found[patch.rows, patch.columns] = patch.inside_HW + 2 * patch.line_HW
        for pixel in np.ndindex(14, 15):
            inside, distance = ray_and_distance(points, pixel)
            if not 1e-4 < distance < 2e-3:  # on the line by one measure and not by another
                assert found[pixel] == (2 if distance <= 1e-4 else inside)


def ray_and_distance(points, pixel):
    inside, nearest = False, np.inf
    for (y, x), (next_y, next_x) in zip(points, np.roll(points, -1, 0), strict=True):
        if (y > pixel[0]) != (next_y > pixel[0]):
            inside ^= bool(pixel[1] < (next_x - x) * (pixel[0] - y) / (next_y - y) + x)
        edge, way = np.array([next_y - y, next_x - x]), np.array([pixel[0] - y, pixel[1] - x])
        share = np.clip(edge @ way / (edge @ edge), 0, 1) if edge.any() else 0
        nearest = min(nearest, float(np.hypot(*(way - share * edge))))
    return inside, nearest
