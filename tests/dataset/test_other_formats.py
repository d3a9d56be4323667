"""Another format of studies takes a reader and a line of the table: everything behind it stays as it is."""

import h5py
import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import intake, packing, sealing
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files, formats
from tests.support import npz_study
from tests.support.runs import NUM_SLICES, SCORES, SIZE, prepare


@pytest.fixture
def volumes(tmp_path):
    """Twelve studies, and their labels; the sixth has too few slices."""
    rng, rows, made = np.random.default_rng(0), ["study,score"], {}
    for index in range(12):
        name, count = f"{index:03d}", 2 if index == 5 else NUM_SLICES
        made[name] = rng.normal(40, 15, (count, 2 * SIZE, 2 * SIZE)).astype(np.int16)
        npz_study.write_study(tmp_path / "scans" / name, made[name], (3.0, 3.0, 3.0))
        rows.append(f"{name},{SCORES[index % len(SCORES)]:g}")
    (tmp_path / "scans" / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


@pytest.mark.timeout(120)
def test_volumes_of_another_format_go_into_shards_by_the_stages_of_every_run(tmp_path, volumes, monkeypatch, capsys):
    pack = {"limits": {"rejected_studies": 0.2}}
    run = RunPaths(prepare(tmp_path, tmp_path / "scans", pack=pack, split={"folds": 2}))
    assert "looked at: headers of 12 of 12 studies" in capsys.readouterr().out
    monkeypatch.setattr(packing, "write_shard", npz_study.write_shard)
    packing.pack_shards(run.root)
    sealing.seal(run.root)
    dataset = run.dataset(None)
    studies = pd.read_csv(dataset.studies, dtype={"study": str})
    assert studies["study"].tolist() == [name for name in volumes if name != "005"]
    assert (studies[["slices", "rows", "kvp", "slice_spacing_mm"]] == [NUM_SLICES, 2 * SIZE, 120, 3]).all(axis=None)
    assert set(studies["energy_class"]) == {"about 120 kVp"}
    rejected = pd.read_csv(dataset.rejected, dtype=str)
    assert rejected.values.tolist() == [["005", "1", "too_few_slices", "a volume of 2 slices"]]
    with h5py.File(dataset.shard(0)) as shard:
        first = shard["images"][:NUM_SLICES]
    blocks = volumes["000"].astype(int).reshape(NUM_SLICES, SIZE, 2, SIZE, 2).sum(axis=(2, 4))
    assert (first == np.floor(blocks / 4 + 0.5)).all()


def test_a_study_that_no_other_reader_claims_is_one_of_dicom_files(tmp_path, volumes):
    (tmp_path / "scans" / "000" / "readme.txt").write_text("two files", encoding="utf-8")
    found = [formats.reader_of(files.list_files(tmp_path / "scans" / name)) for name in ("000", "001")]
    assert found == [formats.READERS["dicom"], formats.READERS["npz"]]


def test_slices_that_are_left_out_are_not_read_again(tmp_path, volumes):
    read = formats.READERS["npz"].open(files.list_files(tmp_path / "scans" / "001"))
    kept = []
    found = read(PackConfig(min_slices=2), {}, lambda hu_HW, position_mm: kept.append(position_mm))
    assert kept == [0, 3, 6, 9, 12, 15]
    again = read(PackConfig(min_slices=2), dict.fromkeys(found.candidates, Refused("contrast_agent", "bright")), None)
    assert (again.study.facts, [refusal.reason for refusal in again.study.refusals]) == (None, ["contrast_agent"])


def test_a_volume_of_another_format_is_read_whole(tmp_path, volumes):
    found = intake.read_chest(files.list_files(tmp_path / "scans" / "002"), PackConfig(min_slices=2))
    assert (found.hu_ZHW == volumes["002"]).all()
    assert found.study.spacing_mm == (3, 3, 3)
