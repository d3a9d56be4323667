"""Cohorts of NIfTI and NRRD files, one or a folder for each study: packed as the DICOM files that they were made of."""

import csv
import dataclasses
import json

import h5py
import numpy as np
import pandas as pd
import pytest

from cac_hpc.calcium import baseline
from cac_hpc.dataset import intake, packing, plan, sealing, study_folders
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import to_yaml
from cac_hpc.settings.data import DataConfig
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import Checks, PackConfig
from cac_hpc.volumes import files
from tests.support import volume_files
from tests.support.chests import SPACING_MM, chest, with_lesion, write_study
from tests.support.runs import job_here, prepare, write_config
from tests.support.volume_files import NIFTI_ORDER, stored, write_nrrd

UNKNOWN = ("slice_thickness_mm", "kvp", "phase_percent", "kernel", "energy_class", "kernel_class", "gating", "warnings")
NAMES = {"a": "a.nii.gz", "b": "b/ct.nii", "c": "c.nrrd", "d": "d/ct.nhdr"}
PACK = {"size": 32, "min_slices": 10, "studies_per_shard": 2, "limits": {"rejected_studies": 0.5}}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Four chests as DICOM files, and the same as volumes; a sheet and a readme with these."""
    root = tmp_path_factory.mktemp("scans")
    solids = chest(140, num_slices=24)
    for number, (name, place) in enumerate(NAMES.items()):
        hu_ZHW = with_lesion(solids.hu_ZHW, -60, 4 + number, slice(10, 12)) if number else solids.hu_ZHW
        write_study(root / "dicom" / name, hu_ZHW + np.int16(number))  # no two share a slice
        read = intake.read_chest(files.list_files(root / "dicom" / name), PackConfig())
        made = stored(read.hu_ZHW, NIFTI_ORDER, read.study.spacing_mm, read.study.placement.first_mm)
        write = write_nrrd if "nrrd" in place or "nhdr" in place else volume_files.nifti
        write(root / "volumes" / place, made)
    (root / "volumes" / "b" / "ct.json").write_text("{}", encoding="utf-8")
    for kind in ("dicom", "volumes"):
        sheet = "study,score\n" + "".join(f"{name},{50 * (name in 'bd')}\n" for name in NAMES)
        (root / kind / "labels.csv").write_text(sheet, encoding="utf-8")
    return root


def packed(folder, scans, **data):
    """The dataset of a run of these scans."""
    folder.mkdir(exist_ok=True)
    split = {"folds": 2, "val_fraction": 0.25}
    run = RunPaths(prepare(folder, scans, pack=PACK, split=split, data={"dicom_root": str(scans), **data}))
    packing.pack_shards(run.root)
    sealing.seal(run.root)
    return run.dataset(None)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory, scans):
    root = tmp_path_factory.mktemp("runs")
    return {kind: packed(root / kind, scans / kind) for kind in ("dicom", "volumes")}


def test_a_packed_run_of_volumes_is_that_of_their_dicom_files(datasets):
    for index in range(2):
        with h5py.File(datasets["dicom"].shard(index)) as one, h5py.File(datasets["volumes"].shard(index)) as other:
            assert sorted(one) == sorted(other)
            assert len(one["images"]) == 48
            assert len(one["heart_study"]) == 2
            for name in one:
                assert (np.asarray(one[name]) == np.asarray(other[name])).all(), name
    one, other = (pd.read_csv(datasets[kind].studies, dtype=str, keep_default_na=False) for kind in datasets)
    assert one.drop(columns=[*UNKNOWN]).equals(other.drop(columns=[*UNKNOWN]))
    assert float(one["agatston_score"].max()) > 0
    assert {*baseline.COLUMNS, *baseline.CONTROL_COLUMNS} <= set(one.columns) - set(UNKNOWN)
    assert set(other["warnings"]) == {"unknown_acquisition"}
    assert set(other["kvp"]) == set(other["slice_thickness_mm"]) == {""}


def test_every_file_that_is_no_volume_is_in_rejected_csv(datasets):
    with datasets["volumes"].rejected.open(encoding="utf-8") as file:
        rows = [(row["study"], row["file"], row["reason"]) for row in csv.DictReader(file)]
    assert rows == [("b", "1", "not_volume")]


def test_a_mask_is_placed_on_a_volume_as_on_its_dicom_files(tmp_path, scans):
    read = intake.read_chest(files.list_files(scans / "dicom" / "c"), PackConfig())
    box_ZHW = np.zeros(read.hu_ZHW.shape, np.uint8)
    box_ZHW[8:11, :90, 60:100] = 1  # cuts the lesion, which is on slices 10 and 11
    made = stored(box_ZHW, spacing_mm=read.study.spacing_mm, first_mm=read.study.placement.first_mm)
    mask = write_nrrd(tmp_path / "box.nrrd", made, "right-anterior-superior")
    found = []
    for study in (scans / "dicom" / "c", scans / "volumes" / "c.nrrd"):
        done = job_here("score_calcium.py", study, "--region", mask, "--out", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        found.append(pd.read_csv(tmp_path / "out" / "scores.csv").drop(columns="warnings"))
    assert found[0]["lesions"].tolist() == [1]
    pd.testing.assert_frame_equal(*found)


@pytest.fixture
def small_volumes(tmp_path):
    """Four small volumes without a heart, the first two of them the same, and their scores."""
    small, volumes = volume_files.small(), tmp_path / "scans"
    for number, name in enumerate(("1.nii.gz", "2.nrrd", "3.nii", "4/ct.nii")):
        write = write_nrrd if "nrrd" in name else volume_files.nifti
        write(volumes / name, stored(small + np.int16(number // 2 * number)))
    (volumes / "labels.csv").write_text("study,score\n1,0\n2,0\n3,50\n4,50\n", encoding="utf-8")
    return volumes


def test_the_same_voxels_under_two_numbers_are_found(tmp_path, small_volumes):
    with pytest.raises(InputError, match=r"share slices that are equal pixel by pixel.*: '1' and '2'; give them one"):
        packed(tmp_path / "run", small_volumes)


def test_pseudonyms_stand_for_the_names_of_files_too(tmp_path, small_volumes):
    (small_volumes / "2.nrrd").unlink()
    volume_files.nifti(small_volumes / "2.nii", stored(volume_files.small() + np.int16(9)), descrip="2")
    (tmp_path / "key").write_text("a secret of many characters", encoding="utf-8")
    dataset = packed(tmp_path / "run", small_volumes, pseudonym_key=str(tmp_path / "key"))
    keys = pd.read_csv(dataset.studies, dtype=str)["study"].tolist()
    assert keys == sorted(study_folders.pseudonym(name, b"a secret of many characters") for name in "1234")
    assert json.loads(dataset.intake.read_text(encoding="utf-8"))["identity"]["key_is_identity"] == 1
    for path in (dataset.studies, dataset.rejected, dataset.seal, dataset.plan):
        assert not any(name in path.read_text(encoding="utf-8") for name in (".nii", "nrrd"))


def test_contrast_agent_is_known_by_the_blood(tmp_path):
    solids = chest(140, num_slices=24)
    hu_ZHW = solids.hu_ZHW.copy()
    hu_ZHW[solids.heart & ~solids.fat] += 250
    path = volume_files.nifti(tmp_path / "1.nii.gz", stored(hu_ZHW, spacing_mm=SPACING_MM))
    found = intake.read_chest(files.list_files(path), PackConfig()).study
    assert [(one.file, one.reason) for one in found.refusals] == [(1, "contrast_agent")]
    assert found.refusals[0].detail.startswith("blood in the heart measures 2")
    found = intake.read_chest(files.list_files(path), PackConfig(checks=Checks(contrast_agent="warn"))).study
    assert found.facts["warnings"] == "unknown_acquisition contrast_agent"


def test_files_and_folders_are_studies_and_nothing_else_is(tmp_path, caplog):
    for name in (
        "1.nii",
        "2.nii.gz",
        "3.nrrd",
        "4.NII.GZ",
        "5.seg.nrrd",
        "6.nhdr",
        "7.txt",
        "8.dcm",
        "._1.nii",
        ".nii",
    ):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "9").mkdir()
    (tmp_path / "10.nii").mkdir()
    every = ["1", "10.nii", "2", "3", "4", "9"]
    assert sorted(study_folders.by_name(DataConfig(dicom_root=str(tmp_path)))) == every
    assert sorted(study_folders.by_name(DataConfig(dicom_root=str(tmp_path), format="dicom"))) == ["10.nii", "9"]
    assert list(study_folders.below(str(tmp_path), single=False)) == [tmp_path.name]  # voxels lie beside a header
    (tmp_path / "6.nhdr").unlink()
    assert sorted(study_folders.below(str(tmp_path), single=False, wanted="nrrd")) == ["10.nii", "3", "9"]
    assert sorted(study_folders.below(str(tmp_path), single=False)) == every
    assert study_folders.below(str(tmp_path / "2.nii.gz"), single=False) == {"2": tmp_path / "2.nii.gz"}


def test_two_studies_of_one_name_are_refused(tmp_path):
    (tmp_path / "1").mkdir()
    for name in ("1.nii", "1.nrrd"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(InputError, match=f"found '1' and '{name}', which are both study '1'; rename one, or move"):
            study_folders.by_name(DataConfig(dicom_root=str(tmp_path)))
        (tmp_path / name).unlink()


def test_a_root_without_studies_says_what_they_may_be(tmp_path):
    (tmp_path / "ct.nhdr").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"has no folder in it; wanted one folder per study, or one file \(\.nii\.gz, "
    ):
        study_folders.by_name(DataConfig(dicom_root=str(tmp_path)))


def test_a_format_that_is_set_makes_another_dataset_and_auto_is_as_before(tmp_path, scans):
    cfg = stored_settings.load(
        write_config(
            tmp_path / "s.yaml",
            scans / "volumes",
            tmp_path / "run",
            pack=PACK,
            split={"folds": 2, "val_fraction": 0.25},
        )
    )
    auto, dicom = (
        dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, format=name)) for name in ("auto", "dicom")
    )
    assert "format: auto" not in to_yaml(auto)
    assert "format: dicom" in to_yaml(dicom)
    assert plan.make_plan(auto).stray == 0
    with pytest.raises(InputError, match="A2 'a': no folder"):
        plan.make_plan(dicom)
