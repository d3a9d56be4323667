"""Outlines of candidates, where their labels stand, and which views are shown."""

import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from cac_hpc.calcium import views
from cac_hpc.plots.panels import COUNTED, REJECTED
from cac_hpc.sections import lesion_panels
from cac_hpc.sections.lesion_panels import Verdict
from tests.support.lesions import BOX, candidates_of, views_of

SVG = "{http://www.w3.org/2000/svg}"


def decided(*probabilities):
    return {number: Verdict(p, p > 0.5, listed=True) for number, p in enumerate(probabilities, start=1)}


def area(corners):
    x, y = corners.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_an_outline_runs_around_the_calcium_and_not_on_it():
    found = candidates_of([100.0, 40.0], [0.9, 0.2])
    panel = lesion_panels.panels(views_of("a"), found, decided(0.9, 0.1))[0]
    assert [one.counted for one in panel.outlines] == [False, True]
    scale = views.SIZE / (BOX[1] - BOX[0])
    for one, index in zip(panel.outlines, (1, 0), strict=True):
        (corners,) = one.lines
        block = scale * np.array([10 * index + 10, 12 * index + 10]), scale * np.array([6, 4])  # x, y; width, height
        wanted = [block[0] - lesion_panels.GAP, block[0] + block[1] + lesion_panels.GAP]
        assert corners.min(axis=0) == pytest.approx(wanted[0], abs=scale)
        assert corners.max(axis=0) == pytest.approx(wanted[1], abs=scale)
        assert area(corners) > np.prod(block[1])


def test_pieces_that_touch_at_corners_and_rings_have_closed_outlines():
    places = np.array([(3, 3), (4, 4), *((10, x) for x in range(10, 16)), *((15, x) for x in range(10, 16)),
                       *((y, 10) for y in range(10, 16)), *((y, 15) for y in range(10, 16))])  # fmt: skip
    pieces = list(lesion_panels._around(places, 0.5))
    assert sorted(area(piece) for piece in pieces) in ([1, 1, 36], [2, 36])  # what a ring holds is inside
    assert all(np.abs(np.diff(piece, axis=0, append=piece[:1])).sum(axis=1).max() == 1 for piece in pieces)


def test_what_lies_outside_of_the_square_or_on_another_slice_is_not_outlined():
    found = candidates_of([100.0, 40.0, 30.0], [0.9, 0.2, 0.2])
    found.voxel_V3[found.start_C1[1] : found.start_C1[2], 2] += 300
    made = {panel.name: panel for panel in lesion_panels.panels(views_of("a"), found, decided(0.9, 0.1, 0.7))}
    assert [one.label for one in made["projection"].outlines] == ["1", "3"]
    assert [one.label for one in made["slice-000"].outlines] == ["1: 100, p 0.90"]
    assert made["slice-000"].text == "slice 0: counted 100"
    assert made["projection"].text == "projection of all slices: counted 130"


def test_labels_stand_on_no_other_label_and_in_the_picture():
    taken = []
    size = 256
    for corner in np.random.default_rng(0).uniform(20, 230, (12, 2)):
        lesion_panels._place(np.array([corner, corner + 5]), "12: 345, p 0.98", size, taken)
    labels = taken[1::2]
    assert all(left >= 0 and right <= size and top >= 0 and bottom <= size for left, top, right, bottom in labels)
    assert not any(lesion_panels._overlap(one, other) for at, one in enumerate(labels) for other in labels[:at])


def test_slices_are_those_that_counted_most_then_those_that_came_nearest_then_what_was_rejected():
    slices = np.array([-1, 3, 5, 6, 8, 9, 10])
    counted, near, rejected = np.zeros((3, 11))
    counted[[3, 5, 6, 8]] = 10, 40, 30, 20
    near[9] = 5
    assert lesion_panels.chosen(slices, counted, near, rejected) == [0, 2, 3, 4, 5]
    assert lesion_panels.chosen(slices, 0 * counted, 0 * near, rejected) == [0]
    rejected[[3, 5, 10]] = 7, 9, 8
    assert lesion_panels.chosen(slices, 0 * counted, 0 * near, rejected) == [0, 2, 6]


def test_a_panel_is_one_file_with_its_picture_in_it():
    found = candidates_of([100.0, 40.0], [0.9, 0.2])
    seen = views_of("a")
    panel = lesion_panels.panels(seen, found, decided(0.9, 0.1))[0]
    root = ElementTree.fromstring(lesion_panels.svg(panel))
    strokes = [path.get("stroke") for path in root.iter(f"{SVG}path")]
    assert strokes == [REJECTED, "#000", COUNTED]
    assert [text.text for text in root.iter(f"{SVG}text")] == ["2", "1", panel.text]
    kind, _, data = root.find(f"{SVG}image").get("href").partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert np.array_equal(np.array(image), seen.image_NSS[0])


def test_the_figure_of_a_study_is_the_same_every_time(tmp_path):
    found = candidates_of([100.0, 40.0], [0.9, 0.2])
    made = lesion_panels.panels(views_of("a"), found, decided(0.9, 0.1))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        lesion_panels.draw(tmp_path / name, "lesions-01", made, ["Patient a", "Predicted Low."], 50)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names[0] == "lesions-01-0-projection.svg"
    assert names[-1] == "lesions-01.png"
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_study_without_candidates_has_its_projection():
    made = lesion_panels.panels(views_of("a"), candidates_of([], []), {})
    assert [panel.text for panel in made] == ["projection of all slices: counted 0"]
