"""Scores that are computed inside masks and used as labels."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from cac_hpc.dataset import mask_labels, plan
from cac_hpc.settings import launch_command
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from tests.support.runs import job_here
from tests.support.settings import changed

SCORES = {"0": 0.0, "1": 7.0312, "2": 45.7031, "3": 214.4531, "4": 812.1094, "5": 1810.5469}


@pytest.fixture(scope="module")
def gated(coca_collection, tmp_path_factory):
    """Six exams of the collection, in a copy."""
    root = tmp_path_factory.mktemp("gated")
    for number in range(6):
        shutil.copytree(
            coca_collection / "Gated_release_final" / "patient" / str(number), root / "patient" / str(number)
        )
    shutil.copytree(coca_collection / "Gated_release_final" / "calcium_xml", root / "calcium_xml")
    return root


def settings_of(gated, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(
        f"""
run: {tmp_path}/run
data: {{dicom_root: {gated}/patient}}
labels: {{source: masks, masks: "{gated}/calcium_xml/{{study}}.xml", without_mask: zero}}
split: {{folds: 3}}
train: {{epochs: 1}}
""",
        encoding="utf-8",
    )
    return launch_command.parse_launch(None, ["--config", str(path)])[0]


@pytest.fixture(scope="module")
def kept(gated, tmp_path_factory):
    """The scores, computed once."""
    folder = tmp_path_factory.mktemp("kept")
    plan.make_plan(settings_of(gated, folder))
    return folder / ".run.mask_scores.json"


@pytest.fixture
def cfg(gated, kept, tmp_path):
    shutil.copy(kept, tmp_path)
    return settings_of(gated, tmp_path)


def test_labels_are_the_scores_inside_the_contours(cfg):
    made = plan.make_plan(cfg)
    assert {study: label.score for study, label in made.labels.items()} == SCORES
    assert sum(made.labels["4"].vessels.values()) == pytest.approx(SCORES["4"], abs=1e-3)
    assert set(made.labels["4"].vessels) == {"LM", "LAD", "LCX", "RCA"}
    assert "no mask: taken as score 0 (labels.without_mask: zero): study '0'" in made.warnings


def test_scores_are_kept_and_computed_anew_where_a_file_or_a_setting_is_another(cfg, gated, tmp_path, monkeypatch):
    first = plan.make_plan(cfg)
    computed = []
    monkeypatch.setattr(mask_labels, "_score_all", lambda tasks, count, found: computed.extend(tasks))
    assert plan.make_plan(cfg).labels == first.labels
    assert computed == []
    with pytest.raises(KeyError):  # as nothing is computed here
        plan.make_plan(changed(cfg, "pack", min_slices=11))
    assert sorted(computed) == ["1", "2", "3", "4", "5"]
    kept = next(tmp_path.glob(".run.mask_scores.json"))
    kept.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"mask_scores\.json: damaged; delete it"):
        plan.make_plan(cfg)


def test_a_study_without_a_mask_is_refused_unless_the_settings_say_zero(cfg):
    with pytest.raises(InputError, match=r"study '0': no mask \(labels.without_mask: zero takes studies without one"):
        plan.make_plan(changed(cfg, "labels", without_mask="refuse"))
    made = plan.make_plan(changed(cfg, "labels", without_mask="refuse", unmatched="skip"))
    assert sorted(made.labels) == ["1", "2", "3", "4", "5"]


def test_a_mask_that_is_a_link_to_nowhere_is_no_exam_without_calcium(cfg, gated, tmp_path):
    shutil.copytree(gated / "calcium_xml", tmp_path / "xml")
    (tmp_path / "xml" / "0.xml").symlink_to(tmp_path / "gone.xml")
    for where in (f"{tmp_path}/xml/{{study}}.xml", f"{tmp_path}/xml"):
        with pytest.raises(InputError, match=r"1 fault.*\n.*study '0': its mask is a link that leads nowhere"):
            plan.make_plan(changed(cfg, "labels", masks=where))


def test_a_wrong_path_is_no_cohort_without_calcium(cfg, gated):
    with pytest.raises(InputError, match="found no mask of any of 6 studies, wanted a folder of masks"):
        plan.make_plan(changed(cfg, "labels", masks=f"{gated}/calcium/{{study}}.xml"))


def test_the_contours_of_another_patient_label_nobody(cfg, gated, tmp_path):
    shutil.copytree(gated / "calcium_xml", tmp_path / "xml")
    shutil.copy(tmp_path / "xml" / "5.xml", tmp_path / "xml" / "3.xml")
    wrong = changed(cfg, "labels", masks=f"{tmp_path}/xml/{{study}}.xml")
    with pytest.raises(InputError, match=r"1 fault.*\n.*study '3': .*3\.xml.*wanted the scan that they were drawn on"):
        plan.make_plan(wrong)
    made = plan.make_plan(changed(wrong, "labels", unmatched="skip"))
    assert "3" not in made.labels


def test_a_scan_that_cannot_be_read_has_no_score(cfg, gated, tmp_path):
    root = shutil.copytree(gated / "patient", tmp_path / "patient")
    next((root / "2").rglob("IM-0001-0014.dcm")).unlink()
    with pytest.raises(InputError, match="study '2': missing_slices"):
        plan.make_plan(changed(cfg, "data", dicom_root=str(root)))


def test_scoring_in_masks_goes_on_where_a_study_has_none(gated, tmp_path):
    for study in ("0", "1"):
        shutil.copytree(gated / "patient" / study, tmp_path / "studies" / study)
    done = job_here("score_calcium.py", tmp_path / "studies", "--region", f"{gated}/calcium_xml/{{study}}.xml", "--out",
                    tmp_path / "scores")  # fmt: skip
    assert done.returncode == 1
    none, scored = pd.read_csv(tmp_path / "scores" / "scores.csv").to_dict("records")
    assert "no_mask" in none["fault"]
    assert scored["agatston"] == SCORES["1"]
    (tmp_path / "empty").mkdir()
    nowhere = job_here("score_calcium.py", tmp_path / "studies", "--region", tmp_path / "empty")
    assert nowhere.returncode == 2
    assert "found 0 masks of study '0'" in nowhere.stderr


@pytest.mark.parametrize(
    ("name", "artery"),
    [("Left Anterior Descending Artery", "LAD"), ("LCX", "LCX"), ("left_main", "LM"), ("Right Coronary Artery", "RCA"),
     ("lesion 3 of J. Doe", None), ("LAD and LCX", None), ("part 1", None)],
)  # fmt: skip
def test_only_arteries_are_kept_by_name(name, artery):
    assert mask_labels.artery_of(name) == artery


def test_masks_are_a_source_of_their_own():
    with pytest.raises(InputError, match=r"labels\.masks is not set, but must be a folder of masks"):
        LabelsConfig(source="masks").check_source()
    with pytest.raises(InputError, match=r"labels\.masks is 'x', but must be null"):
        replace(LabelsConfig(sheet="a.csv"), masks="x").check_source()
