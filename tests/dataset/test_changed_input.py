"""A run goes on with the studies and labels that it was planned with: which changes of them are noticed, and that each
folder is read once for it."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cac_hpc.dataset import plan
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files
from tests.support.runs import SCORES, write_config

STUDIES = 12
OTHER, ALONE = "holds a dataset packed from other files, labels or settings", "1 fault"


def write_cohort(root: Path) -> Path:
    """Folders of two files, one of them in a folder of its own, and a sheet beside them."""
    for study in range(STUDIES):
        (root / f"{study:03d}" / "deep").mkdir(parents=True)
        (root / f"{study:03d}" / "a").write_bytes(b"first")
        (root / f"{study:03d}" / "deep" / "b").write_bytes(b"second")
    lines = [f"{study:03d},{SCORES[study % 6]:g}" for study in range(STUDIES)]
    (root / "labels.csv").write_text("\n".join(["study,score", *lines]) + "\n", encoding="utf-8")
    return root


def replaced(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def elsewhere(study: Path) -> None:
    """The study is a link to where its files are now."""
    study.rename(study.parent.parent / "moved")
    study.symlink_to(study.parent.parent / "moved")


def into(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES = {  # of the cohort's folder, and what is said of it; None: it is the same dataset
    "a file more": (lambda root: (root / "003/c").write_bytes(b""), OTHER),
    "a file more in a folder of a study": (lambda root: (root / "003/deep/c").write_bytes(b""), OTHER),
    "a hidden file more": (lambda root: (root / "003/.c").write_bytes(b""), OTHER),
    "a file less": (lambda root: (root / "003/a").unlink(), OTHER),
    "a file of another name": (lambda root: (root / "003/a").rename(root / "003/A"), OTHER),
    "a file in another folder": (lambda root: (root / "003/a").rename(root / "003/deep/a"), OTHER),
    "a folder of another name": (lambda root: (root / "003/deep").rename(root / "003/low"), OTHER),
    "a longer file": (lambda root: (root / "003/deep/b").write_bytes(b"second."), OTHER),
    "two files exchanged": (lambda root: (root / "003/a").write_bytes(b"second"), OTHER),
    "no file at all": (lambda root: shutil.rmtree(root / "003/deep"), OTHER),
    "a link out of the study": (lambda root: into(root / "003/a", "../004/a"), OTHER),
    "a link to nowhere": (lambda root: into(root / "003/a", "nothing"), OTHER),
    "a link to a file of another size": (lambda root: into(root / "003/a", "deep/b"), OTHER),
    "a pipe": (lambda root: pipe(root / "003/a"), OTHER),
    "a file in place of a study": (lambda root: (shutil.rmtree(root / "003"), (root / "003").touch()), ALONE),
    "a study more": (lambda root: (root / "012").mkdir(), ALONE),
    "a link to a study more": (lambda root: (root / "012").symlink_to("003"), ALONE),
    "a volume more": (lambda root: (root / "012.nii").touch(), ALONE),
    "a study less": (lambda root: shutil.rmtree(root / "003"), ALONE),
    "a study of another name": (lambda root: (root / "003").rename(root / "x"), "2 faults"),
    "a study of two spellings": (lambda root: (root / "3").mkdir(), "2 faults"),
    "another score": (lambda root: replaced(root / "labels.csv", "003,", "003,1"), OTHER),
    "a row more": (lambda root: replaced(root / "labels.csv", "003,", "012,5\n003,"), ALONE),
    "a row less": (lambda root: replaced(root / "labels.csv", f"003,{SCORES[3]:g}\n", ""), ALONE),
    "a sheet of other bytes that says the same": (lambda root: replaced(root / "labels.csv", "003,", "003 ,"), OTHER),
    "no sheet": (lambda root: (root / "labels.csv").unlink(), "there is no such file"),
    "a study that lies elsewhere, by a link": (lambda root: elsewhere(root / "003"), None),
    "another file of the same name and size": (lambda root: (root / "003/a").write_bytes(b"other"), None),
    "an empty folder in a study": (lambda root: (root / "003/empty").mkdir(), None),
    "a file beside the studies": (lambda root: (root / "notes.txt").touch(), None),
    "a link to a file of the same size": (lambda root: (shutil.copy(root / "003/a", root / "003/deep/c"),
                                                        into(root / "003/a", "deep/c")), OTHER),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_goes_on_only_with_the_files_and_labels_it_was_planned_with(tmp_path, change):
    root, dataset = write_cohort(tmp_path / "scans"), DatasetPaths(tmp_path / "dataset")
    cfg = stored_settings.load(write_config(tmp_path / "settings.yaml", root, tmp_path / "run"))
    planned = plan.make_plan(cfg)
    dataset.root.mkdir()
    plan.write_plan(dataset, planned)
    changes, wanted = CHANGES[change]
    changes(root)
    if wanted is None:
        plan.check_dataset(dataset, plan.make_plan(cfg))
        return
    with pytest.raises(InputError, match=wanted):
        plan.check_dataset(dataset, plan.make_plan(cfg))


def test_a_plan_lists_each_folder_of_a_study_once(tmp_path, monkeypatch):
    root = write_cohort(tmp_path / "scans")
    cfg = stored_settings.load(write_config(tmp_path / "settings.yaml", root, tmp_path / "run"))
    noted, scandir = tmp_path / "listed", os.scandir

    def scanned(path):
        with noted.open("a") as file:  # a list would not have what a fork lists
            file.write(f"{os.fsdecode(path)}\n")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scanned)
    planned = plan.make_plan(cfg)
    listed = [Path(line) for line in noted.read_text().splitlines()]
    assert planned.num_files == 2 * STUDIES
    inside = sorted(path for path in listed if path != root)
    assert listed.count(root) == 2  # which are studies, and what lies beside them
    assert inside == sorted(path for study in root.iterdir() if study.is_dir() for path in (study, study / "deep"))


def test_a_root_that_can_be_listed_but_not_entered_is_refused():
    with tempfile.TemporaryDirectory(dir="/tmp") as made:  # others than root can reach it, but not tmp_path
        Path(made).chmod(0o755)
        root = write_cohort(Path(made) / "scans")
        root.chmod(0o744)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match="scans/000"):
                files.studies_in(root)
        finally:
            os.seteuid(was)
            root.chmod(0o755)
