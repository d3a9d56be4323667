"""Another source of labels takes a reader and a line of the table: matching and checks stay as they are."""

import json

import pytest

from cac_hpc.dataset import plan
from cac_hpc.labels import label_rows, matching
from cac_hpc.labels.sheets import Cell, ColumnError, SheetError
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from tests.support.runs import SCORES, write_config


def read_json(path, wanted):
    """A list of objects; a cell's address is its place in it."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SheetError("wanted a JSON list of studies") from error
    for name in wanted:
        if not all(name in row for row in rows):
            raise ColumnError(f"no {name!r} in some of the {len(rows)} studies")
    return [tuple(Cell(str(row[name]), f"[{index}].{name}") for name in wanted) for index, row in enumerate(rows)]


@pytest.fixture(autouse=True)
def with_json(monkeypatch):
    monkeypatch.setitem(label_rows.READERS, ".json", read_json)


def source(tmp_path, rows):
    (tmp_path / "scores.json").write_text(json.dumps(rows), encoding="utf-8")
    return LabelsConfig(sheet=str(tmp_path / "scores.json"))


def test_scores_of_another_source_make_the_same_plan(tmp_path, scans):
    rows = [{"study": f"{index:03d}", "score": SCORES[index % len(SCORES)]} for index in range(18)]
    cfg = source(tmp_path, rows)
    plans = [
        plan.make_plan(stored_settings.load(write_config(tmp_path / "s.yaml", scans, tmp_path / "run", labels=section)))
        for section in ({}, {"sheet": cfg.sheet})
    ]
    assert plans[0].labels == plans[1].labels
    assert plans[0].shards == plans[1].shards


def test_faults_of_another_source_are_named_by_their_place(tmp_path):
    cfg = source(tmp_path, [{"study": "1", "score": 3}, {"study": "2", "score": "high"}])
    with pytest.raises(
        InputError, match=r"scores\.json: 1 fault.*\n  study '2': \[1\]\.score is text, wanted a number"
    ):
        matching.match_labels(cfg, ["1", "2"], "scans")


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([], r"found no row below the column names"),
        ([{"study": "1"}], r"no 'score' in some of the 1 studies; set labels\.study_column"),
    ],
)
def test_another_source_that_cannot_be_used_is_refused_as_a_sheet_is(tmp_path, rows, wanted):
    with pytest.raises(InputError, match=wanted):
        matching.match_labels(source(tmp_path, rows), ["1"], "scans")
