"""Files that the launcher or a stage wrote once, and that were cut or overwritten since."""

import shutil

import pytest

from cac_hpc.dataset import integrity, kept_plan, splits
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError
from tests.support.runs import job, job_here

NO_NUMBER = f'{{"format_version": {integrity.FORMAT_VERSION}, "content_sha256": "", "slices": NaN}}'


@pytest.fixture
def run(finished_run, tmp_path):
    copy = tmp_path / "a run"
    shutil.copytree(finished_run, copy)
    return copy


@pytest.mark.parametrize(
    ("name", "script", "options", "content"),
    [
        ("splits.json", "train_fold.py", ["--fold", "0"], "[]"), ("splits.json", "aggregate.py", [], None),
        ("dataset/plan.json", "launch_cv.py", ["--dry_run"], None), ("dataset/plan.json", "pack.py", [], "[]"),
        ("dataset/dataset.json", "launch_cv.py", ["--dry_run"], "[]"),
        ("dataset/dataset.json", "aggregate.py", [], None), ("dataset/dataset.json", "aggregate.py", [], NO_NUMBER),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_line_with_the_command_that_writes_it_again(run, name, script, options, content):
    """content: None, the first half of what was there."""
    path = run / name
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: len(whole) // 2] if content is None else content, encoding="utf-8")
    ask = job if script == "train_fold.py" else job_here  # listens to signals
    done = ask(script, "--resume" if script == "launch_cv.py" else "--run", run, *options)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"error: {path}: damaged; delete it; to go on: python jobs/" in last
    assert last.endswith(f" '{run}'")


@pytest.mark.parametrize("content", ['{"folds": 3}', '{"folds": [3], "studies_sha256": ""}', "[" * 100_000, "null"])
def test_folds_and_plans_that_are_none_are_refused(tmp_path, content):
    run = RunPaths(tmp_path)
    dataset = run.dataset(None)
    dataset.root.mkdir()
    for path in (run.splits, dataset.plan):
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"splits\.json: damaged; delete it; to go on: python jobs/launch_cv"):
        splits.read_splits(run.splits)
    with pytest.raises(InputError, match=r"plan\.json: damaged; delete it; to go on: python jobs/launch_cv"):
        kept_plan.read_plan(dataset)
