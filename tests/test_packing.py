"""Pack and seal: real series, damage, reuse."""

import csv
import os
import shutil

import h5py
import numpy as np
import pydicom
import pytest

from cac_hpc import packing, paths, plan, settings
from cac_hpc.config import InputError
from tests.runs import NUM_SLICES, prepare, write_scans


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_real_series_pack_beside_others_in_ascending_z_with_their_hu(tmp_path, shared_data):
    scans = write_scans(tmp_path / "scans", num_studies=6)
    shutil.copytree(shared_data / "qrm_phantom" / "study_001", scans / "qrm")
    shutil.copytree(shared_data / "philips_cd" / "S21570", scans / "philips")
    with (scans / "labels.csv").open("a", encoding="utf-8") as sheet:
        sheet.write("qrm,957.8\nphilips,0\n")
    run = prepare(tmp_path, scans, pack={"size": 512, "studies_per_shard": 100}, split={"folds": 2})
    packing.pack(run)
    studies = {row["study"]: row for row in rows(run / "dataset" / "studies.csv")}
    assert (studies["qrm"]["slices"], studies["qrm"]["category"]) == ("47", "4")
    assert (studies["philips"]["slices"], studies["philips"]["slice_spacing_mm"]) == ("28", "5.0")
    with h5py.File(run / "dataset" / "shards" / "shard-00000.h5") as shard:
        study = shard["study"].asstr()[:]
        for name, lowest in (("qrm", -2048), ("philips", -1024)):
            mine = study == name
            assert shard["images"][mine].min() == lowest
            assert (np.diff(shard["position_mm"][mine]) > 0).all()
            assert shard["slice"][mine].tolist() == list(range(int(studies[name]["slices"])))
        assert shard.attrs["units"] == "HU"
    reasons = {
        row["file"]: row["reason"] for row in rows(run / "dataset" / "rejected.csv") if row["study"] == "philips"
    }
    assert reasons["S1000/I10"] == "localizer"
    assert {reasons[f"S4010/I{number}"] for number in (10, 20, 30, 40, 50, 60)} == {"not_ct_image"}


def test_every_file_is_either_packed_or_rejected_with_a_reason(tmp_path):
    scans = write_scans(tmp_path / "scans")
    (scans / "004" / "notes.txt").write_text("read me", encoding="utf-8")
    shutil.copy(scans / "005" / "IM0001.dcm", scans / "005" / "copy.dcm")  # two slices at one position
    run = prepare(tmp_path, scans)
    packing.pack(run)
    studies, rejected = rows(run / "dataset" / "studies.csv"), rows(run / "dataset" / "rejected.csv")
    assert len(studies) == 17
    assert {(row["study"], row["reason"]) for row in rejected} == {("004", "not_dicom"), ("005", "study_refused")}
    num_files = sum(1 for path in scans.glob("*/*"))
    assert num_files == sum(int(row["slices"]) for row in studies) + len(rejected)


def test_the_tables_and_shards_hold_no_uid_date_or_path(prepared_run, scans):
    packing.pack(prepared_run)
    for path in (prepared_run / "dataset").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(scans).encode() not in content, path
            assert b"1.2.826.0.1.3680043" not in content, path  # pydicom's UID root


def test_a_sheet_that_changes_before_the_seal_does_not_change_the_labels(tmp_path):
    scans = write_scans(tmp_path / "scans")
    run = prepare(tmp_path, scans)
    sheet = scans / "labels.csv"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace("000,0\n", "000,2000\n"), encoding="utf-8")
    packing.pack(run)
    assert {row["study"]: row["category"] for row in rows(run / "dataset" / "studies.csv")}["000"] == "0"


def test_a_file_name_that_is_not_utf_8_is_rejected_by_name(tmp_path):
    scans = write_scans(tmp_path / "scans")
    (scans / "003" / os.fsdecode(b"\xfcbersicht.txt")).write_text("read me", encoding="utf-8")
    run = prepare(tmp_path, scans)
    packing.pack(run)
    assert [row["file"] for row in rows(run / "dataset" / "rejected.csv")] == ["\\xfcbersicht.txt"]


def test_a_damaged_shard_is_named_and_not_sealed(prepared_run):
    packing.pack_shard(prepared_run, 0)
    packing.pack_shard(prepared_run, 1)
    shard = prepared_run / "dataset" / "shards" / "shard-00001.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"shard-00001.h5: does not match its sha256"):
        packing.seal(prepared_run)
    assert not (prepared_run / "dataset" / "dataset.json").exists()


def test_a_missing_shard_is_named(prepared_run):
    packing.pack_shard(prepared_run, 0)
    with pytest.raises(InputError, match=r"shard-00001.h5: not packed yet"):
        packing.seal(prepared_run)


def test_a_shard_that_does_not_exist_is_refused(prepared_run):
    with pytest.raises(InputError, match="the plan has 2 shards, wanted 0 to 1"):
        packing.pack_shard(prepared_run, 2)


def test_the_leftover_of_a_killed_attempt_is_not_in_the_way(prepared_run):
    leftover = prepared_run / "dataset" / "shards" / ".shard-00000.h5.1-dead.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a shard")
    packing.pack(prepared_run)
    assert len(rows(prepared_run / "dataset" / "studies.csv")) == 18


def test_a_sealed_dataset_is_used_by_another_run_and_never_packed_again(tmp_path, scans):
    packed = {"packed_dir": str(tmp_path / "packed")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    packing.pack(prepare(tmp_path / "one", scans, data=packed))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*")}
    second = prepare(tmp_path / "two", scans, data=packed, split={"seed": 7})
    packing.pack(second)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*")} == before
    assert (second / "splits.json").exists()


def test_a_dataset_of_other_settings_is_refused(tmp_path, scans):
    packed = {"packed_dir": str(tmp_path / "packed")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    prepare(tmp_path / "one", scans, data=packed)
    with pytest.raises(InputError, match="holds a dataset packed from other files, labels or settings"):
        prepare(tmp_path / "two", scans, data=packed, pack={"size": 16})
    assert not (tmp_path / "two" / "run").exists()


def test_a_file_that_changes_its_size_makes_another_dataset(tmp_path):
    scans = write_scans(tmp_path / "scans")
    cfg = settings.load(prepare(tmp_path, scans) / "config.yaml")
    before = plan.make_plan(cfg).sha256
    with (scans / "000" / "IM0001.dcm").open("ab") as file:
        file.write(b"\0\0")
    assert plan.make_plan(cfg).sha256 != before


def test_packing_twice_gives_the_same_bytes(tmp_path, scans):
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = prepare(tmp_path / name, scans)
        packing.pack(run)
        digests.append([paths.file_sha256(path) for path in sorted((run / "dataset").rglob("*")) if path.is_file()])
    assert digests[0] == digests[1]


def test_a_slice_holds_the_area_mean_of_its_file(tmp_path, scans):
    run = prepare(tmp_path, scans, pack={"size": 8})
    packing.pack(run)
    with h5py.File(run / "dataset" / "shards" / "shard-00000.h5") as shard:
        stored = shard["images"][NUM_SLICES + 2]  # study 001, slice 2
    pixels = pydicom.dcmread(scans / "001" / "IM0003.dcm").pixel_array.astype(float) - 1024
    expected = pixels.reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.abs(stored - expected).max() <= 0.5
