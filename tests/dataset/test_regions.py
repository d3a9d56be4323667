"""Masks for the rule at packing: scored in them, refused by name, noticed when they change, never named in outputs."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from cac_hpc.calcium import agatston
from cac_hpc.dataset import intake, plan, regions
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.frame import AS_STORED
from tests.support import mask_writers
from tests.support.mask_writers import nifti, slicer_segments
from tests.support.runs import NUM_SLICES, SIZE, pack, prepare, write_config, write_scans


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twelve studies without a heart, and masks of the left half of each, named as a person would name them."""
    root = tmp_path_factory.mktemp("cohort")
    scans = write_scans(root / "scans", 12)
    part_ZHW = np.zeros((NUM_SLICES, SIZE, SIZE), np.uint8)
    part_ZHW[:, 3:, 16:], part_ZHW[:, 3:, :16] = 1, 2
    for number in range(12):
        folder = root / "masks" / f"{number:03d}"
        folder.mkdir(parents=True)
        at = mask_writers.drawing(part_ZHW, ("left", "right"), scans / folder.name, AS_STORED)
        (slicer_segments if number % 2 else nifti("RAS"))(folder, at)
        path = next(folder.iterdir())
        path.rename(folder.with_name(folder.name + path.name.removeprefix("mask")))
        folder.rmdir()
    return scans, root / "masks"


def packed(folder, scans, where, share=0.0):
    chosen = {"regions": str(where), "limits": {"rejected_studies": share}, "candidates": False}
    split = {"folds": 2, "val_fraction": 0.2}
    run = prepare(folder, scans, pack=chosen, split=split)
    pack(run)
    return RunPaths(run)


def true_scores(scans, columns):
    found = {}
    for folder in sorted(path for path in scans.iterdir() if path.is_dir()):
        volume = intake.read_chest(files.list_files(folder), PackConfig(min_slices=2))
        inside_ZHW = np.zeros(volume.hu_ZHW.shape, bool)
        inside_ZHW[:, 3:, columns] = True
        found[folder.name] = agatston.score_study(volume.hu_ZHW, inside_ZHW, volume.study.spacing_mm).agatston
    return found


def test_the_rule_counts_in_the_masks_and_their_paths_stand_nowhere(cohort, tmp_path):
    scans, where = cohort
    run = packed(tmp_path, scans, where)
    studies = pd.read_csv(run.dataset(None).studies, dtype={"study": str}).set_index("study")
    assert set(studies["agatston_region"]) == {"mask"}
    assert studies["agatston_score"].to_dict() == pytest.approx(true_scores(scans, slice(0, SIZE)))
    assert studies["agatston_score"].max() > 0
    assert studies["heart_row"].isna().all()
    summary = json.loads(run.dataset(None).intake.read_text())
    assert (summary["no_heart"], summary["warnings"]) == (12, {})
    for path in run.root.rglob("*"):
        inside = path.is_file() and path.parts[-2] != "slurm" and str(where).encode() in path.read_bytes()
        assert not inside or path == run.config, path


def test_a_path_with_the_study_in_it_and_a_part_is_a_region_too(cohort, tmp_path):
    scans, where = cohort
    for number in range(12):
        (source,) = where.glob(f"{number:03d}.*")
        target = tmp_path / "seg" / f"{number:03d}" / "parts.nii.gz"
        target.parent.mkdir(parents=True)
        if source.name.endswith(".nii.gz"):
            shutil.copy(source, target)
    run = packed(tmp_path, scans, f"{tmp_path}/seg/{{study}}/parts.nii.gz:2", share=0.5)
    studies = pd.read_csv(run.dataset(None).studies, dtype={"study": str}).set_index("study")
    right = true_scores(scans, slice(0, 16))
    assert studies["agatston_score"].to_dict() == pytest.approx({study: right[study] for study in studies.index})
    assert len(studies) == 6
    assert set(pd.read_csv(run.dataset(None).rejected)["reason"]) == {"no_mask"}


def test_a_study_whose_mask_cannot_be_used_is_refused_with_the_reason(cohort, tmp_path):
    scans, where = cohort
    masks = shutil.copytree(where, tmp_path / "Meier")
    (masks / "001.seg.nrrd").unlink()
    shutil.copy(masks / "002.nii.gz", masks / "002.nii")
    whole = nib.load(masks / "004.nii.gz")
    moved = whole.affine.copy()
    moved[2, 3] += 3
    nib.save(nib.Nifti1Image(np.asarray(whole.dataobj), moved), masks / "004.nii.gz")
    (masks / "006.nii.gz").write_bytes((masks / "006.nii.gz").read_bytes()[:200])
    run = packed(tmp_path, scans, masks, share=0.5)
    rejected = (
        pd.read_csv(run.dataset(None).rejected, dtype={"study": str}).groupby("study")[["reason", "detail"]].first()
    )
    assert rejected["reason"].to_dict() == {
        "001": "no_mask", "002": "no_mask", "004": "mask_elsewhere", "006": "unusable_mask",
    }  # fmt: skip
    assert "it has 32 x 32 x 6 voxels of 6 x 6 x 3 mm" in rejected.loc["004", "detail"]
    assert "Meier" not in rejected.to_csv()


def test_a_mask_that_changes_makes_another_dataset(cohort, tmp_path):
    scans, where = cohort
    masks = shutil.copytree(where, tmp_path / "masks")
    split = {"folds": 2, "val_fraction": 0.2}

    def planned(**chosen):
        path = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", split=split, pack=chosen)
        return plan.make_plan(stored_settings.load(path))

    before, moved = planned(regions=str(masks)), planned(regions=str(where))
    assert before.sha256 == moved.sha256 != planned().sha256
    image = nib.load(masks / "002.nii.gz")
    values = np.asarray(image.dataobj).copy()
    values[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(values, image.affine), masks / "002.nii.gz")
    after = planned(regions=str(masks))
    changed = {study for study in before.listings if before.listings[study] != after.listings[study]}
    assert (changed, before.sha256 == after.sha256) == ({"002"}, False)
    assert planned(regions=f"{masks}:1").sha256 != after.sha256
    (masks / "002.nii.gz").unlink()
    lacks = planned(regions=str(masks))
    assert "1 of 12 studies have no mask in pack.regions: they will be refused" in lacks.warnings
    assert lacks.listings["002"] != after.listings["002"]
    with pytest.raises(InputError, match=r"pack.regions: found no mask of any study, of the first: .* 0 masks of"):
        planned(regions=str(scans))


def test_a_detached_header_and_its_voxels_are_one_mask(tmp_path):
    nhdr = "NRRD0004\ntype: uchar\ndimension: 3\nspace: LPS\nsizes: 1 1 1\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    (tmp_path / "one.nhdr").write_text(nhdr + "space origin: (0,0,0)\nencoding: raw\ndata file: one.raw\n")
    found = []
    for value in (b"\0", b"\1"):
        (tmp_path / "one.raw").write_bytes(value)
        found.append(regions.listing("", "one", PackConfig(regions=str(tmp_path))))
    assert found[0] != found[1]


def test_queued_jobs_find_the_masks_from_any_folder(cohort, tmp_path, monkeypatch):
    scans, where = cohort
    monkeypatch.chdir(where.parent)
    run = RunPaths(prepare(tmp_path, scans, pack={"regions": "masks:1"}, split={"folds": 2, "val_fraction": 0.2}))
    assert stored_settings.load(run.config).pack.regions == f"{where}:1"


def test_masks_need_the_baseline():
    with pytest.raises(InputError, match=r"pack.baseline is false, but must be true, as pack.regions says"):
        PackConfig(regions="masks", baseline=False)
