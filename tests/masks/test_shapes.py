"""Regions that people draw: what is inside, and what is refused."""

import numpy as np
import pytest

from cac_hpc.masks import mask_formats
from cac_hpc.settings.errors import InputError
from tests.support.mask_targets import UNPLACED


@pytest.fixture
def drawn(tmp_path):
    """Draw what a YAML text describes."""

    def draw(text: str, *chosen: str):
        (tmp_path / "shapes.yaml").write_text(text, encoding="utf-8")
        return mask_formats.read(tmp_path / "shapes.yaml", UNPLACED, chosen)

    return draw


def test_a_disc_is_round_in_mm_and_its_rim_is_inside(drawn):
    found = drawn("discs: [{name: LAD, slices: [1, 3], row: 10, column: 12, diameter_mm: 4}]")
    assert found.names == ("LAD",)
    assert found.part_ZHW.any((1, 2)).tolist() == [False, True, True, True, False]
    rows, columns = np.nonzero(found.part_ZHW[2])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 10, 14)
    assert found.part_ZHW[2, 10].sum() == 5
    assert found.part_ZHW[2, 6].sum() == 1


def test_a_shape_without_slices_is_on_all_of_them_and_has_a_name(drawn):
    found = drawn("polygons: [{points: [[2, 2], [2, 8], [8, 8], [8, 2]]}]")
    assert found.names == ("polygon 1",)
    assert (found.part_ZHW == found.part_ZHW[:1]).all()
    rows, columns = np.nonzero(found.part_ZHW[0])
    assert set(zip(rows, columns, strict=True)) >= {(y, x) for y in range(3, 8) for x in range(3, 8)}
    assert (rows.min() >= 2, rows.max() <= 8, columns.min() >= 2, columns.max() <= 8) == (True,) * 4


def test_a_polygon_may_be_dented(drawn):
    found = drawn("polygons: [{points: [[1.5, 1.5], [1.5, 10.5], [10.5, 10.5], [10.5, 7.5], [4.5, 6], [10.5, 4.5], "
                  "[10.5, 1.5]]}]")  # fmt: skip
    inside = found.part_ZHW[0].astype(bool)
    assert inside[3, 2:11].all()
    assert (inside[9, 2], inside[9, 6], inside[9, 10]) == (True, False, True)


def test_where_shapes_overlap_the_first_one_counts(drawn):
    text = "discs:\n- {name: a, row: 10, column: 10, diameter_mm: 6}\n- {name: b, row: 10, column: 12, diameter_mm: 6}"
    found = drawn(text)
    assert (found.names, found.warnings) == (("a", "b"), ("parts_overlap",))
    assert found.part_ZHW[0, 10, 6:17].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 0]
    alone, first = drawn(text, "b"), drawn(text, "b", "a")
    assert (alone.names, alone.part_ZHW[0, 10, 6:17].tolist()) == (("b",), [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0])
    assert (first.names, first.part_ZHW[0, 10, 6:17].tolist()) == (("b", "a"), [0, 2, 2, 1, 1, 1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found NoneType, wanted discs, polygons or both"),
        ("circles: []", "found circles, wanted discs, polygons or both"),
        ("discs: 3", "discs is no list"),
        ("discs: [{row: 3, column: 4}]", r"disc 1 has column, row, wanted column, diameter_mm, name, row"),
        ("discs: [{row: x, column: 4, diameter_mm: 2}]", "disc 1: found .* wanted 3 numbers"),
        ("discs: [{row: 3, column: 4, diameter_mm: 0}]", "disc 1, diameter_mm: found 0, wanted more than 0"),
        ("discs: [{row: 3, column: 4, diameter_mm: 2, slices: [3, 1]}]", r"slices: found 3, 1, wanted \[first"),
        ("discs: [{row: 3, column: 4, diameter_mm: 2, slices: [1, 5]}]", "goes to slice 5, but the study has 5 slices"),
        ("polygons: [{points: [[1, 1], [2, 2]]}]", r"points: found 2 points, wanted three or more"),
        ("polygons: [{points: [[1, 1], [2, 2], [3]]}]", "points: found .* wanted 2 numbers"),
        ("discs: [", "wanted YAML with discs or polygons"),
    ],
)
def test_what_is_no_shape_is_refused_by_name(text, said, drawn):
    with pytest.raises(InputError, match=r"shapes\.yaml: .*" + said):
        drawn(text)
