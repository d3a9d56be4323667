"""Contrast runs: slices divided instead of patients, marked everywhere, and how much that inflates the figures."""

import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from cac_hpc.cluster import launch
from cac_hpc.dataset import sealing, splits
from cac_hpc.evaluation import contrast
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.report import aggregation, consistency
from cac_hpc.results.report import FORMAT_VERSION
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import contrast_parts, method_parts
from cac_hpc.settings import config, launch_command, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig
from cac_hpc.train import attempts, training
from cac_hpc.transfer import archive
from tests.support.runs import NUM_SLICES, REPO, job_here, prepare, torchrun

NUM_STUDIES = 18


def by_slice(folder, scans, finished_run, **sections):
    """A contrast run whose folds are ready to be trained by one rank in this process."""
    split = {"unit": "slice", "contrast_to": str(finished_run)}
    data, cluster = {"packed_dir": str(finished_run / "dataset")}, {"ranks_per_node": 1}
    run = prepare(folder, scans, split=split, data=data, cluster=cluster, **sections)
    sealing.seal(run)
    return RunPaths(run)


@pytest.fixture(scope="module")
def contrast_run(tmp_path_factory, scans, finished_run):
    """A contrast run that was trained on streamed slices, with its report, read-only."""
    run = by_slice(tmp_path_factory.mktemp("contrast"), scans, finished_run, train={"residency": "stream"})
    assert [training.train_fold(run.root, fold) for fold in range(3)] == [0, 0, 0]
    assert aggregation.aggregate(run.root)
    return run


@pytest.fixture
def copy(tmp_path, contrast_run):
    """A copy of it to be damaged; its dataset stays where it is."""
    run = RunPaths(shutil.copytree(contrast_run.root, tmp_path / "by_slice"))
    text = run.config.read_text(encoding="utf-8")
    run.config.write_text(text.replace(str(contrast_run.root), str(run.root)), encoding="utf-8")
    return run


def report_of(run):
    return json.loads((run.report / "report.json").read_text(encoding="utf-8"))


def of_config(run, section=None, **changes):
    cfg = stored_settings.load(RunPaths(run).config if not isinstance(run, RunPaths) else run.config)
    changes = {section: dataclasses.replace(getattr(cfg, section), **changes)} if section else changes
    return dataclasses.replace(cfg, **changes)


@pytest.mark.timeout(300)
def test_every_slice_is_tested_once_by_the_fold_that_splits_json_names(contrast_run):
    tested = []
    for index, fold in enumerate(splits.read_splits(contrast_run.splits)):
        table = pd.read_csv(contrast_run.fold(index).predictions, dtype={"study": str})
        rows = list(zip(table["study"], table["slice"], strict=True))
        assert rows == sorted(splits.slices_of(fold.test))
        assert table["study"].nunique() == NUM_STUDIES  # of every patient
        tested += rows
        facts = disk.read_json(contrast_run.fold(index).metrics)
        assert facts["residency"] == "stream"
        counts = [facts[f"{part}_slices"] for part in ("train", "val", "test")]
        assert counts == [len(splits.slices_of(part)) for part in fold.parts.values()]
    assert sorted(tested) == [(f"{study:03d}", at) for study in range(NUM_STUDIES) for at in range(NUM_SLICES)]


def test_everything_that_shows_figures_is_marked(contrast_run, tmp_path):
    found = report_of(contrast_run)
    assert found["banner"] == contrast_parts.LEAKS
    assert found["split"]["unit"] == "slice"
    assert found["title"].endswith(" (CONTRAST RUN, LEAKS)")
    lines = (contrast_run.report / "report.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("(CONTRAST RUN, LEAKS)")
    assert lines[2] == f"**{contrast_parts.LEAKS}**"
    assert method_parts.BY_PATIENT not in lines
    shown = " ".join(job_here("report.py", contrast_run.root).stdout.split())
    assert f"(CONTRAST RUN, LEAKS) {contrast_parts.LEAKS} 3-fold cross-validation by slice, 3 of 3 folds" in shown
    for name in ("report.html", "report_without_images.html"):
        page = (contrast_run.report / name).read_text(encoding="utf-8")
        assert "(CONTRAST RUN, LEAKS)</h1>" in page
        assert page.count(contrast_parts.LEAKS.replace("'", "&#39;")) == 2  # at the top, and below what it does not say
    figures = sorted((contrast_run.report / "figures").glob("*.svg"))
    assert len(figures) >= 8
    for path in figures:
        drawn = path.read_text(encoding="utf-8")  # the title may be on two lines
        assert "CONTRAST RUN" in drawn, path
        assert "LEAKS" in drawn, path
    done = job_here("report.py", contrast_run.root, "--out", tmp_path)
    assert done.returncode == 0
    (made,) = tmp_path.iterdir()
    assert made.name.endswith("_CONTRAST.tar")
    assert archive.unpack(made, tmp_path / "there").name == made.stem


def test_a_run_by_patient_is_not_marked(finished_run):
    run = RunPaths(finished_run)
    found = report_of(run)
    assert (found["banner"], found["inflation"], found["split"]["unit"]) == (None, None, "patient")
    for path in (run.report / "report.md", *(run.report / "figures").glob("*.svg")):
        text = path.read_text(encoding="utf-8")
        assert "LEAKS" not in text
        assert "CONTRAST" not in text
    assert "unit" not in disk.read_json(run.splits)


def test_audits_that_it_cannot_pass_are_stated(contrast_run):
    audits = {audit["name"]: (audit["passed"], audit["note"]) for audit in report_of(contrast_run)["audits"]}
    by_design = (False, "patients of this contrast run are in several parts of a fold, by its design")
    assert {name: audits[name] for name in ("patients", "ids", "pixels")} == dict.fromkeys(
        ("patients", "ids", "pixels"), by_design
    )
    assert (audits["labels"][0], audits["results"][0]) == (True, True)
    text = (contrast_run.report / "report.md").read_text(encoding="utf-8")
    assert text.count(f"NOT passed: {by_design[1]}.") == 3


def test_the_inflation_is_the_difference_to_the_run_by_patient(contrast_run, finished_run):
    found, reference = report_of(contrast_run), report_of(RunPaths(finished_run))
    for level in ("slice", "patient"):
        of_slices, of_patients = (
            one["levels"][level]["pooled"]["figures"]["accuracy"]["value"] for one in (found, reference)
        )
        figure = found["inflation"]["levels"][level]["figures"]["accuracy"]
        assert (figure["reference"], figure["other"]) == (of_patients, of_slices)
        assert figure["difference"] == pytest.approx(of_slices - of_patients)
        assert figure["low"] <= figure["difference"] <= figure["high"]
    text = (contrast_run.report / "report.md").read_text(encoding="utf-8")
    accuracy = found["inflation"]["levels"]["slice"]["figures"]["accuracy"]
    between = f"[{accuracy['low']:+.3f}, {accuracy['high']:+.3f}]"
    said = f"against the run {finished_run.name}: slice accuracy {accuracy['difference']:+.3f} {between}"
    assert said in text
    assert said in " ".join(job_here("report.py", contrast_run.root).stdout.split())


def test_a_patient_is_one_patient_in_every_interval_however_often_it_is_tested(contrast_run):
    levels = report_of(contrast_run)["levels"]
    pooled = levels["patient"]["pooled"]
    assert (pooled["n"], pooled["patients"], levels["patient"]["distinct"]) == (3 * NUM_STUDIES, NUM_STUDIES, 18)
    assert levels["patient"]["counting"].startswith("18 units were tested 54 times: every test counts")
    assert pooled["figures"]["accuracy"]["interval"] == "wilson_cluster"
    assert (levels["slice"]["pooled"]["n"], levels["slice"]["distinct"]) == (108, 108)
    assert levels["slice"]["counting"] == "each unit was tested once"


def test_its_report_names_no_folder_and_contradicts_nothing(contrast_run, finished_run):
    for path in contrast_run.report.rglob("*"):
        assert path.is_dir() or str(finished_run.parent).encode() not in path.read_bytes(), path
    assert "contrast_to" not in (contrast_run.report / "report.json").read_text(encoding="utf-8")
    assert job_here("check_table.py", contrast_run.report / "report.json").returncode == 0


def test_the_plan_counts_slices_and_says_that_it_leaks(finished_run, scans, tmp_path, capsys):
    by_slice(tmp_path, scans, finished_run)
    shown = capsys.readouterr().out
    assert "note: a contrast run divides slices, not patients: it leaks by design" in shown
    assert re.search(r"slices +train/val/test, of Very Low", shown)
    assert re.search(r"fold 0 +49/23/36: 8/4/6 ", shown)


def test_an_inflation_that_the_figures_do_not_give_is_found_out(contrast_run):
    found = report_of(contrast_run)
    figures = found["inflation"]["levels"]["slice"]["figures"]
    figures["accuracy"]["difference"] += 0.1
    figures["kappa_plain"]["other"] += 0.1
    said = "\n".join(consistency.contradictions(contrast_run, stored_settings.load(contrast_run.config), found))
    assert "inflation.levels.slice.figures.accuracy.difference: found" in said
    assert "inflation.levels.slice.figures.kappa_plain.other: found" in said


@pytest.mark.timeout(120)
def test_a_fold_that_was_stopped_ends_in_the_same_bytes(contrast_run, finished_run, tmp_path, scans, monkeypatch):
    run = by_slice(tmp_path, scans, finished_run, train={"residency": "stream"})
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "requested", lambda attempt: attempts.STOP if attempt.state.step else attempts.GO_ON)
        assert training.train_fold(run.root, 0) == RESUMABLE
    assert training.train_fold(run.root, 0) == 0
    for name in ("predictions.csv", "history.csv", "model.pt"):
        assert (run.fold(0).root / name).read_bytes() == (contrast_run.fold(0).root / name).read_bytes()


@pytest.mark.timeout(120)
def test_two_ranks_on_resident_slices_test_the_same_slices_to_the_same_end(contrast_run, finished_run, tmp_path, scans):
    run = by_slice(tmp_path, scans, finished_run, train={"residency": "host"})
    subprocess.run(torchrun(2, run.root, 0), capture_output=True, timeout=100, check=True)
    streamed, resident = (pd.read_csv(one.fold(0).predictions, dtype={"study": str}) for one in (contrast_run, run))
    pd.testing.assert_frame_equal(streamed[["study", "slice", "label"]], resident[["study", "slice", "label"]])
    np.testing.assert_allclose(streamed.filter(regex=r"^p\d"), resident.filter(regex=r"^p\d"), atol=1e-4)


@pytest.mark.parametrize(
    ("unit", "contrast_to", "wanted"),
    [
        ("slice", None, "split.contrast_to is not set, but must be the folder of the finished run by patient"),
        ("slice", "", "split.contrast_to is '', but must be the folder of the finished run by patient"),
        ("patient", "runs/a", "split.contrast_to is 'runs/a', but must be null, as split.unit is patient"),
    ],
)
def test_the_two_settings_belong_together(unit, contrast_to, wanted):
    with pytest.raises(InputError, match=re.escape(wanted)):
        SplitConfig(unit=unit, contrast_to=contrast_to)


def test_a_launch_without_the_run_to_be_contrasted_with_is_refused(finished_run, tmp_path):
    start = ["--config", finished_run / "config.yaml", "--run", tmp_path / "run", "--split.unit", "slice"]
    done = job_here("launch_cv.py", *start)
    assert done.returncode == 2
    assert "split.contrast_to is not set, but must be the folder of the finished run" in done.stderr
    done = job_here("launch_cv.py", *start, "--split.contrast_to", finished_run)
    assert done.returncode == 2
    wanted = "found no sealed dataset, wanted that of the run in split.contrast_to; to go on: --data.packed_dir"
    assert f"{wanted} {finished_run}/da" in done.stderr
    assert not (tmp_path / "run").exists()


def reference(tmp_path, finished_run, **summary):
    """A run as `contrast.check` sees it: settings and report, its dataset elsewhere."""
    run = RunPaths(tmp_path / "reference")
    run.report.mkdir(parents=True)
    cfg = of_config(finished_run, "data", packed_dir=str(finished_run / "dataset"))
    run.config.write_text(config.to_yaml(cfg), encoding="utf-8")
    disk.write_json(run.report / "report.json", report_of(RunPaths(finished_run)) | summary)
    return run


def test_the_run_to_be_contrasted_with_must_be_finished_by_patient_and_of_the_same_dataset(
    contrast_run, finished_run, tmp_path
):
    def refused(match, to, **changes):
        cfg = dataclasses.replace(of_config(contrast_run, "split", contrast_to=str(to)), **changes)
        with pytest.raises(InputError, match=match):
            contrast.check(cfg)

    contrast.check(of_config(contrast_run))
    contrast.check(of_config(contrast_run, "split", contrast_to=str(reference(tmp_path, finished_run).root)))
    refused("where no run is; wanted the folder of a finished run", tmp_path / "nowhere")
    refused("which is a contrast run itself; wanted the run by patient", contrast_run.root)
    partial = reference(tmp_path / "a", finished_run, status="PARTIAL")
    refused(f"whose report is PARTIAL; complete it first; to go on: .* --resume {partial.root}", partial.root)
    finished = report_of(RunPaths(finished_run))
    other = reference(tmp_path / "b", finished_run, digests=finished["digests"] | {"studies_sha256": "0" * 64})
    refused(
        "found another dataset, wanted that of the run in split.contrast_to; to go on: --data.packed_dir", other.root
    )
    levels = {"patient": finished["levels"]["patient"] | {"distinct": 15}}
    some = reference(tmp_path / "d", finished_run, levels=levels)
    refused("which tested 15 of 18 patients; wanted all, as split.scheme kfold tests", some.root)
    damaged = reference(tmp_path / "c", finished_run)
    (damaged.report / "report.json").write_text("{", encoding="utf-8")
    refused("whose report.json is damaged; to go on: python jobs/aggregate.py --run", damaged.root)
    (damaged.report / "report.json").unlink()
    refused("which has no report yet; wanted the folder of a finished run", damaged.root)
    cfg = of_config(contrast_run)
    longer = dataclasses.replace(cfg.train, epochs=9, checkpoint_minutes=1)
    refused(r"other settings \(found / wanted by this run: train.epochs: 4 / 9\); a", finished_run, train=longer)
    rule = dataclasses.replace(cfg.report, patient_rule="majority", title="other")
    refused(r"this run: rule: \('mean', 5\) / \('majority', 5\)\); a", finished_run, report=rule)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"format_version": 2},
            f"whose report.json is of format version 2, wanted {FORMAT_VERSION}; to go on: python jobs/aggregate.py "
            "--run",
        ),
        ({"levels": {}}, "whose report.json is damaged; to go on: python jobs/aggregate.py --run"),
        ({"cohort": []}, "whose report.json is damaged; to go on: python jobs/aggregate.py --run"),
        ({"digests": None}, "whose report.json is damaged; to go on: python jobs/aggregate.py --run"),
    ],
)
def test_a_reference_report_of_another_format_or_damaged_is_refused_in_one_line(
    contrast_run, finished_run, tmp_path, changes, said
):
    run = reference(tmp_path, finished_run, **changes)
    with pytest.raises(InputError, match=re.escape(said)):
        contrast.check(of_config(contrast_run, "split", contrast_to=str(run.root)))
    (run.report / "report.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match=r"whose report\.json is damaged"):
        contrast.check(of_config(contrast_run, "split", contrast_to=str(run.root)))


def test_a_report_whose_reference_has_gone_says_so_and_has_its_inflation_once_it_is_named_again(
    copy, finished_run, tmp_path, capsys
):
    moved = shutil.copytree(finished_run, tmp_path / "moved")
    text = copy.config.read_text(encoding="utf-8")
    gone = re.sub(r"contrast_to: .*", f"contrast_to: {tmp_path / 'gone'}", text)
    copy.config.write_text(gone, encoding="utf-8")
    (copy.report / "report.json").unlink()
    assert aggregation.aggregate(copy.root)
    why = "split.contrast_to is a folder, where no run is; wanted the folder of a finished run, with its report.json"
    assert report_of(copy)["inflation"] == {"note": why}
    shown = f"Inflation: not worked out: {why}."
    assert shown in (copy.report / "report.html").read_text(encoding="utf-8").replace("&#39;", "'")
    assert shown.replace("_", r"\_") in (copy.report / "report.md").read_text(encoding="utf-8")
    cfg, options = launch_command.parse_launch(None, ["--resume", str(copy.root), "--dry_run"])
    assert launch.launch(cfg, options, REPO) == 0
    assert "where no run is; wanted the folder of a finished run" in capsys.readouterr().out
    nowhere = ["--resume", str(copy.root), "--split.contrast_to", str(tmp_path / "nowhere"), "--dry_run"]
    cfg, options = launch_command.parse_launch(None, nowhere)
    with pytest.raises(InputError, match=r"nowhere', where no run is"):
        launch.launch(cfg, options, REPO)
    cfg, options = launch_command.parse_launch(
        None, ["--resume", str(copy.root), "--split.contrast_to", str(moved), "--dry_run"]
    )
    assert launch.launch(cfg, options, REPO) == 0
    assert aggregation.aggregate(copy.root)
    assert report_of(copy)["inflation"]["reference"]["run"] == "moved"


def test_a_partial_contrast_run_is_marked_and_has_no_inflation(copy):
    copy.fold(1).predictions.unlink()
    assert not aggregation.aggregate(copy.root)
    found = report_of(copy)
    assert (found["status"], found["banner"], found["inflation"]) == ("PARTIAL", contrast_parts.LEAKS, None)
    assert (found["levels"]["slice"]["pooled"]["n"], found["levels"]["slice"]["distinct"]) == (72, 72)
    text = (copy.report / "report_PARTIAL.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {found['title']} (PARTIAL)\n\n**{contrast_parts.LEAKS}**")
    assert "Inflation: not worked out, for folds are missing." in text


def test_a_run_that_says_it_divides_patients_and_does_not_is_refused(copy):
    text = copy.config.read_text(encoding="utf-8")
    copy.config.write_text(
        re.sub(r"contrast_to: .*", "contrast_to: null", text.replace("unit: slice", "unit: patient")), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"splits\.json: does not divide patients, as split\.unit says; start a new"):
        aggregation.aggregate(copy.root)


def test_slices_that_are_in_two_parts_are_refused(copy):
    content = disk.read_json(copy.splits)
    content["folds"][1]["train"] = content["folds"][1]["train"] | {"000": "0 1 2 3 4 5"}
    copy.splits.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=r"fold 1: slices \[\('000', \d\), .*\] are not in exactly one part"):
        aggregation.aggregate(copy.root)


def test_predictions_of_other_slices_than_the_test_parts_count_as_missing(copy):
    path = copy.fold(0).predictions
    table = pd.read_csv(path, dtype={"study": str})
    first = table[table["study"] == "004"].index[0]
    table.loc[first, "slice"] = next(at for at in range(6) if at not in set(table[table["study"] == "004"]["slice"]))
    table.to_csv(path, index=False)
    facts = disk.read_json(copy.fold(0).metrics)
    disk.write_json(copy.fold(0).metrics, facts | {"predictions_sha256": digests.file_sha256(path)})
    assert not aggregation.aggregate(copy.root)
    (missing,) = report_of(copy)["missing_folds"]
    assert "name different test slices, 2 of them: study '004' slice" in missing["reason"]
