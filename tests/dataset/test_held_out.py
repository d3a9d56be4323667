"""Groups of patients as folds: settled at launch, kept, and checked again at the seal."""

import json
import re

import pytest

from cac_hpc.dataset import held_out, splits
from cac_hpc.dataset.held_out import Groups
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig
from cac_hpc.volumes import dicom_study
from tests.support.runs import job_here, pack, prepare, write_config, write_scans

MODELS = ["One", "Two", "one "] * 6 + ["Three", "Three", ""]  # 12 by one scanner in two spellings, 6 by another
SPLIT = {"scheme": "leave_one_out", "group": "scanner", "smallest_group": 5}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_scans(tmp_path_factory.mktemp("scans"), len(MODELS), MODELS)


@pytest.fixture
def run(tmp_path, scans, capsys):
    """A run as the launcher leaves it, and what it printed."""
    run = RunPaths(prepare(tmp_path, scans, split=SPLIT))
    return run, capsys.readouterr().out


def launch(folder, *options):
    return job_here("launch_cv.py", "--config", folder / "settings.yaml", "--dry_run", *options)


def test_the_launch_makes_a_fold_for_each_scanner_and_says_who_is_not_tested(run, tmp_path):
    run, printed = run
    assert stored_settings.load(run.config).split.folds == 2
    groups = held_out.read(run.groups)
    assert (groups.fact, groups.tested) == ("scanner", ("Siemens ONE", "Siemens TWO"))
    rows = [re.split(r"  +", line.strip()) for line in printed.splitlines()]
    wanted = [["Siemens ONE", "12", "0"], ["Siemens THREE", "2", "none"], ["Siemens TWO", "6", "1"]]
    assert [row for row in rows if row[0].startswith("Siemens")] == wanted
    assert (
        "fewer than 5 patients (split.smallest_group) train in every fold and are not tested: Siemens THREE 2"
        in printed
    )
    assert "studies of an unknown group train in every fold, which may be of the tested group: '020'" in printed
    again = launch(tmp_path)  # split.folds is left at its default, which is not the number of groups
    assert again.returncode == 0, again.stderr
    refused = launch(tmp_path, "--split.folds", "5")
    assert refused.returncode == 2
    assert "split.folds is '5', but must be left out, or 2, one for each group of split.group scanner" in refused.stderr


def test_a_resumed_run_takes_its_groups_as_they_are(run, tmp_path, monkeypatch):
    run, _ = run
    monkeypatch.setattr(dicom_study, "read_scanner", lambda entries: pytest.fail("headers are read again"))
    again = launch(tmp_path)
    assert again.returncode == 0, again.stderr


def test_the_seal_divides_by_the_groups_of_the_launch(run):
    run, _ = run
    pack(run.root)
    folds, groups = splits.read_splits(run.splits), splits.read_groups(run)
    assert [{groups.of_study[study] for study in fold.test} for fold in folds] == [{"Siemens ONE"}, {"Siemens TWO"}]
    assert "020" in {*folds[0].train, *folds[0].val}
    content = json.loads(run.groups.read_text(encoding="utf-8"))
    run.groups.write_text(json.dumps(content | {"of_study": content["of_study"] | {"020": "Siemens ONE"}}))
    with pytest.raises(InputError, match=r"groups.json: not the groups that splits.json was made with"):
        splits.read_groups(run)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1, "fact": "scanner", "tested": [], "of_study": 3}'])
def test_damaged_groups_are_refused(tmp_path, text):
    path = tmp_path / "groups.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"groups.json: damaged, wanted the groups of patients"):
        held_out.read(path)


def test_fewer_than_two_groups_are_refused_with_the_sizes_of_all(tmp_path, scans):
    write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", split=SPLIT | {"smallest_group": 10})
    refused = launch(tmp_path)
    assert refused.returncode == 2
    assert "of 10 patients or more (split.smallest_group) are 1 group;" in refused.stderr
    assert "Siemens ONE 12, Siemens TWO 6, Siemens THREE 2, unknown 1" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_a_column_of_the_sheet_forms_groups_too(tmp_path, scans, capsys):
    lines = (scans / "labels.csv").read_text(encoding="utf-8").splitlines()
    towns = ["town", *(("Ulm", "Bonn")[index % 2] if index < 20 else "" for index in range(len(MODELS)))]
    sheet = tmp_path / "labels.csv"
    sheet.write_text("\n".join(f"{line},{town}" for line, town in zip(lines, towns, strict=True)), encoding="utf-8")
    labels = {"sheet": str(sheet), "group_columns": ["town"]}
    run = RunPaths(prepare(tmp_path, scans, labels=labels, split=SPLIT | {"group": "town"}))
    groups = held_out.read(run.groups)
    assert groups.tested == ("Bonn", "Ulm")
    assert groups.of_study["020"] == "unknown"


def test_folds_by_patients_have_their_share_of_each_scanner(tmp_path, scans, capsys):
    run = RunPaths(prepare(tmp_path, scans, split={"group": "scanner", "folds": 3}))
    pack(run.root)
    groups = splits.read_groups(run)
    for fold in splits.read_splits(run.splits):
        assert sum(groups.of_study[study] == "Siemens ONE" for study in fold.test) in (3, 4, 5)
    assert "Groups of patients, and by which fold they are tested" in capsys.readouterr().out


def test_packed_series_of_another_scanner_than_the_first_image_are_refused():
    groups = Groups("scanner", {"a": "One", "b": "Two", "c": "Two"}, ("One", "Two"))
    held_out.check_packed(groups, {"a": "One", "b": "Two"})
    with pytest.raises(InputError, match=r"1 study \('b'\) with images of several scanners; found One .* launch Two"):
        held_out.check_packed(groups, {"a": "One", "b": "One"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "leave_one_out"}, "split.group is not set, but must be scanner, site"),
        ({"scheme": "leave_one_out", "group": "scanner", "smallest_group": 1}, "split.smallest_group is 1"),
        ({"group": "scanner", "unit": "slice", "contrast_to": "x"}, "split.group is 'scanner', but must be null"),
        ({"scheme": "kfold", "contrast_to": "x"}, "must be null, as .* split.scheme kfold, not leave_one_out"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SplitConfig(**changes)


def test_a_group_that_nobody_knows_is_refused(tmp_path, scans):
    write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", split=SPLIT | {"group": "colour"})
    refused = launch(tmp_path)
    assert refused.returncode == 2
    assert "split.group is 'colour', but must be one of scanner (labels.group_columns names columns)" in refused.stderr
