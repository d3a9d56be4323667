"""What headers say before packing: cohorts of which too few studies can be used are refused or noted in one line."""

from collections import Counter

import pytest

from cac_hpc.dataset import preview, sealing, study_folders
from cac_hpc.evaluation import inputs
from cac_hpc.phantom import cohort
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import launch_command, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.phantom_command import PhantomConfig
from tests.support.runs import REPO, job_here, pack, prepare, write_config, write_scans

FEW = {"min_slices": 4}


def with_gaps(folder, num_gaps, num_studies=18):
    scans = write_scans(folder / "scans", num_studies)
    for index in range(num_gaps):
        (scans / f"{index:03d}" / "IM0003.dcm").unlink()
    return scans


@pytest.mark.parametrize("option", ["--dry_run", "--wait"])
@pytest.mark.parametrize(("num_gaps", "further"), [(18, ""), (2, ", or raise pack.limits.rejected_studies")])
def test_a_cohort_that_the_seal_must_refuse_is_refused_before_anything_is_written(tmp_path, option, num_gaps, further):
    scans, run = with_gaps(tmp_path, num_gaps), tmp_path / "run"
    config = write_config(tmp_path / "settings.yaml", scans, run, pack=FEW)
    done = job_here("launch_cv.py", "--config", config, option)
    assert (done.returncode, run.exists()) == (2, False)
    assert done.stderr == (
        f"error: {num_gaps} of the 18 studies looked at cannot be used ({num_gaps} missing_slices), "
        "pack.limits.rejected_studies allows 10% of 18: fix them, or set pack.checks.missing_slices: warn"
        + further
        + "\n"
    )
    assert done.stdout.count("no slices taken") == (num_gaps if option == "--dry_run" else 0)
    forgiven = job_here("launch_cv.py", "--config", config, "--dry_run", "--pack.checks.missing_slices", "warn")
    assert forgiven.returncode == 0, forgiven.stderr


def test_where_the_share_can_still_be_met_it_is_a_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preview, "MOST_FILES", 5)
    prepare(tmp_path, with_gaps(tmp_path, 1), pack=FEW)
    assert (
        "note: 1 of the 1 studies looked at cannot be used (1 missing_slices), pack.limits.rejected_studies allows "
        "10% of 18; if as many of the others are refused, the dataset is not sealed: fix them, or set "
        "pack.checks.missing_slices: warn, or raise it\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("too_few_slices", "fix them, or lower pack.min_slices"),
        ("several_studies", "fix them, or set pack.several_studies"),
        ("contrast_agent", "fix them"),  # used all the same, their scores would be wrong
        ("not_ct_image", "fix them"),
    ],
)
def test_the_setting_that_allows_the_main_reason_is_named(tmp_path, reason, change):
    cfg = stored_settings.load(write_config(tmp_path / "settings.yaml", tmp_path, tmp_path / "run"))
    found = preview.Preview([], 5, Counter({reason: 3, "gantry_tilt": 2}))
    with pytest.raises(InputError, match=rf"5 of the 5 .* \(3 {reason}, 2 gantry_tilt\), .* of 5: {change}$"):
        preview.fault(found, 5, cfg)


def test_after_a_failed_seal_every_command_is_one_that_helps(tmp_path, no_pictures):
    run = prepare(tmp_path, write_scans(tmp_path / "scans"), pack=FEW)
    for study in range(18):  # seen by the headers of no preview: the files changed since
        (tmp_path / "scans" / f"{study:03d}" / "IM0003.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"18 of 18 studies cannot be used \(18 changed_while_read\)") as failed:
        pack(run)
    new = f"python jobs/launch_cv.py --config {run}/config.yaml --run {run}_2"
    assert str(failed.value).endswith(f"fix them, and start a new run; to go on: {new}")
    with pytest.raises(InputError, match=r"splits.json: missing, because stage seal failed: 18 of 18") as missing:
        inputs.load(RunPaths(run))
    assert "--resume" not in str(missing.value)
    assert job_here("status.py", run).stdout.rstrip().endswith(new)
    write_scans(tmp_path / "scans")
    done = job_here(*new.replace("python jobs/", "").split(), "--dry_run")
    assert done.returncode == 0, done.stderr


def test_the_command_of_a_seal_without_any_study_sets_the_check(tmp_path, monkeypatch):
    monkeypatch.setattr(preview, "MOST_FILES", 5)
    run = RunPaths(prepare(tmp_path, with_gaps(tmp_path, 18), pack={**FEW, "limits": {"rejected_studies": 1.0}}))
    with pytest.raises(InputError, match=r"_2 --pack.checks.missing_slices warn$"):
        pack(run.root)
    with pytest.raises(InputError, match="18 of 18 studies cannot be used"):
        sealing.check_share(run.dataset(None), stored_settings.load(run.config))


def test_the_cohort_that_the_readme_makes_is_one_that_its_settings_take(tmp_path, monkeypatch):
    cohort.write_cohort(PhantomConfig(out=str(tmp_path / "studies"), studies=2, matrix=256))
    monkeypatch.setenv("CAC_DICOM_ROOT", str(tmp_path / "studies"))
    monkeypatch.setenv("CAC_LABELS", str(tmp_path / "studies" / "labels.csv"))
    cfg, _ = launch_command.parse_launch(None, ["--config", str(REPO / "configs" / "paper.yaml")])
    folders = study_folders.by_key(cfg)
    found = preview.of_headers(cfg, folders, folders[""])
    assert (found.looked_at, found.refused) == (2, {})
