"""A run of two synthetic cohorts by the commands of configs/cohorts.yaml, from their scans to the report."""

import csv

import pytest
import yaml

from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from tests.support.runs import REPO, job_here

SCANS = ("--studies", 6, "--slices", 8, "--matrix", 128, "--field_of_view_mm", 160, "--easy")
QUICK = {
    "pack.studies_per_shard": 6, "cluster.pack.cpus": 2, "cluster.ranks_per_node": 1, "split.folds": 2,
    "split.val_fraction": 0.25, "model.members": 1, "train.steps": 20, "train.epochs": 2, "report.figure_dpi": 50,
    "report.cuts": "[]", "report.draws": 200,
}  # fmt: skip


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run, complete. The west's sheet has no row of one study."""
    folder = tmp_path_factory.mktemp("cohorts")
    content = yaml.safe_load((REPO / "configs" / "cohorts.yaml").read_text(encoding="utf-8"))
    for seed, cohort in enumerate(content["data"]["cohorts"], start=1):
        scans = folder / cohort["dicom_root"]
        assert job_here("make_phantom.py", "--out", scans, *SCANS, "--seed", seed).returncode == 0
        cohort |= {"dicom_root": str(scans), "sheet": str(folder / cohort["sheet"])}
    sheet = folder / "phantom" / "west" / "labels.csv"
    lines = sheet.read_text(encoding="utf-8").splitlines(keepends=True)
    sheet.write_text("".join(lines[:-1]), encoding="utf-8")
    content["data"]["cohorts"][1]["unmatched"] = "skip"
    content["cluster"] = str(REPO / "configs" / "cluster" / "local.yaml")
    (folder / "cohorts.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    quick = [word for key, value in QUICK.items() for word in (f"--{key}", value)]
    run = folder / "run"
    stages = [
        ("launch_cv.py", "--config", folder / "cohorts.yaml", "--run", run, *quick, "--dry_run"),
        ("pack.py", "--run", run), ("train_fold.py", "--run", run, "--fold", 0),
        ("train_fold.py", "--run", run, "--fold", 1), ("aggregate.py", "--run", run),
    ]  # fmt: skip
    for stage in stages:
        done = job_here(*stage)
        assert done.returncode == 0, done.stdout + done.stderr
    return RunPaths(run)


def test_every_patient_of_both_cohorts_is_tested(run):
    report = disk.read_json(run.report_json)
    assert report["status"] == "COMPLETE"
    assert report["cohort"]["studies_found"] == 12
    assert report["levels"]["patient"]["distinct"] == 11
    studies = rows(run.dataset(None).studies)
    assert [row["study"] for row in studies] == [f"east.{number:03d}" for number in range(1, 7)] + [
        f"west.{number:03d}" for number in range(1, 6)
    ]


def test_the_report_says_what_became_of_each_cohort(run):
    found = {
        (row["site"], row["of"], row["what"]): int(row["number"]) for row in rows(run.report / "tables/cohorts.csv")
    }
    for site, without in (("east", 0), ("west", 1)):
        assert found[site, "studies", "found"] == 6
        assert found[site, "studies", "without_label"] == without
        assert found[site, "studies", "used"] == 6 - without
        assert found[site, "files", "used"] == 8 * (6 - without)
    assert found["west", "files rejected", "no_label"] == 8
    for name in ("report.md", "report.html"):
        text = (run.report / name).read_text(encoding="utf-8")
        assert "What became of the studies of each cohort" in text
        assert "Patients of different cohorts are taken for different people" in text
    assert "east &" in (run.report / "tables" / "cohorts.tex").read_text(encoding="utf-8")


def test_nothing_in_the_report_says_where_the_cohorts_are(run):
    for path in run.report.rglob("*"):
        assert path.is_dir() or str(run.root.parent).encode() not in path.read_bytes(), path
