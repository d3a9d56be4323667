"""Bundles: the same after reading, the same bytes each time, and refused in one line where anything was changed."""

import contextlib
import io
import json
import os
import pickle
import shutil
import stat
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from cac_hpc.predict import bundle as bundles
from cac_hpc.predict import bundle_files
from cac_hpc.run import digests, disk
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.model import ModelConfig
from cac_hpc.statistics.prediction_sets import Calibration
from tests.support.exporting import small_bundle

KINDS = ("lesions", "slices")


@pytest.fixture(params=["bundle", "bundle.zip"])
def written(request, tmp_path):
    out = tmp_path / request.param
    bundle_files.write(small_bundle(), out, {"README.md": b"# Model\n", "fold-0.onnx": b"onnx"})
    return out


def contents(path):
    """The members of a bundle, by name."""
    if path.is_dir():
        return {one.name: one.read_bytes() for one in path.iterdir()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def seal(path):
    """An archive that ends with the digest of what it holds now."""
    content = path.read_bytes()[: -bundle_files.DIGEST_LENGTH]
    path.write_bytes(content + digests.bytes_sha256(content).encode())


def rewrite(path, content, **options):
    """Write these members where a bundle was, as somebody would who knows how."""
    if path.is_dir():
        shutil.rmtree(path)
        path.mkdir()
        for name, data in content.items():
            (path / name).write_bytes(data)
        return
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, data in content.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (options.get("mode", stat.S_IFREG) | 0o644) << 16
            member.compress_type = archive.compression
            archive.writestr(member, data)
        archive.comment = bytes(bundle_files.DIGEST_LENGTH)
    seal(path)


def signed(manifest):
    """A manifest with the digest that belongs to it."""
    manifest = {key: value for key, value in manifest.items() if key != "content_sha256"}
    return disk.json_text(manifest | {"content_sha256": digests.content_sha256(manifest)}).encode()


def relisted(content, **changes):
    """Members with a manifest that lists them, changed as told."""
    manifest = json.loads(content["bundle.json"])
    others = {name: data for name, data in content.items() if name != "bundle.json"}
    manifest["members"] = {
        name: {"bytes": len(data), "sha256": digests.bytes_sha256(data)} for name, data in others.items()
    }
    return {"bundle.json": signed(manifest | changes), **others}


def refused(path, wanted):
    """Reading ends with one line that says what is wanted, and changes nothing."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(InputError, match=wanted) as error:
        bundle_files.read(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    assert sorted(path.parent.rglob("*")) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_what_is_read_is_what_was_written(tmp_path, kind, name):
    made = small_bundle(kind)
    bundle_files.write(made, tmp_path / name)
    found = bundle_files.read(tmp_path / name)
    assert replace(found, weights=[], digest="") == replace(made, weights=[])
    for one, other in zip(found.weights, made.weights, strict=True):
        assert list(one) == list(other)
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert found.network(1).training is False
    assert found.sets is None  # as in bundles that were made before there were any
    with_sets = small_bundle(kind, sets=Calibration(0.9, ((0.0, 0.25), (0.0, 0.0, 1.0))))
    bundle_files.write(with_sets, tmp_path / f"sets-{name}")
    assert bundle_files.read(tmp_path / f"sets-{name}").sets == with_sets.sets


def test_the_same_bundle_gives_the_same_bytes_and_digest_in_every_form(tmp_path):
    for name in ("one", "one.zip", "other.zip"):
        bundle_files.write(small_bundle(), tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    assert contents(tmp_path / "one") == contents(tmp_path / "one.zip")
    assert bundle_files.read(tmp_path / "one").digest == bundle_files.read(tmp_path / "one.zip").digest


def test_other_programs_read_the_archive(written):
    if written.suffix == ".zip":
        with zipfile.ZipFile(written) as archive:
            assert archive.testzip() is None
    assert sorted(contents(written)) == [
        "README.md", "bundle.json", "fold-0.onnx", "fold-0.pt", "fold-1.pt", "internal.json", "training_range.json",
    ]  # fmt: skip


def test_nothing_is_written_over(written):
    with pytest.raises(InputError, match="is there already"):
        bundle_files.write(small_bundle(), written)
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_every_changed_byte_is_noticed(tmp_path):
    bundle_files.write(small_bundle(folds=1), tmp_path / "bundle.zip")
    whole = (tmp_path / "bundle.zip").read_bytes()
    for place in np.linspace(0, len(whole) - 1, 60).astype(int).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / "bundle.zip").write_bytes(changed)
        refused(tmp_path / "bundle.zip", "SHA-256|damaged")


def test_damage_that_was_signed_anew_is_refused_in_one_line_too(tmp_path):
    """Bytes changed by somebody who also writes the digests: what cannot be read says so, whatever reads it fails."""
    bundle_files.write(small_bundle(folds=1), tmp_path / "bundle.zip")
    whole, rng = (tmp_path / "bundle.zip").read_bytes(), np.random.default_rng(3)
    content = contents(tmp_path / "bundle.zip")
    for _ in range(60):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[rng.integers(len(whole) - 400, len(whole) - 64, 2)] = rng.integers(0, 256, 2)  # the directory
        (tmp_path / "bundle.zip").write_bytes(changed.tobytes())
        seal(tmp_path / "bundle.zip")
        read_or_refuse(tmp_path / "bundle.zip")
        weights = np.frombuffer(content["fold-0.pt"], np.uint8).copy()
        weights[rng.integers(0, len(weights), 20)] = rng.integers(0, 256, 20)
        rewrite(tmp_path / "bundle.zip", relisted(content | {"fold-0.pt": weights.tobytes()}))
        read_or_refuse(tmp_path / "bundle.zip")


def read_or_refuse(path):
    with contextlib.suppress(InputError):  # and nothing else
        bundle_files.read(path)


@pytest.mark.parametrize("member", ["bundle.json", "fold-1.pt", "training_range.json", "internal.json", "README.md"])
def test_a_changed_byte_of_a_member_is_noticed(written, member):
    content = contents(written)
    for place in {0, len(content[member]) // 2, len(content[member]) - 1}:
        changed = bytearray(content[member])
        changed[place] ^= 1
        rewrite(written, content | {member: bytes(changed)})
        refused(written, "damaged|something else")


def test_a_blank_more_in_the_manifest_is_noticed(written):
    content = contents(written)
    rewrite(written, content | {"bundle.json": content["bundle.json"] + b" "})
    refused(written, "bundle.json is not as it was written")


def test_a_manifest_with_a_value_that_is_no_number_is_refused(written):
    content = contents(written)
    rewrite(written, content | {"bundle.json": content["bundle.json"].replace(b"{", b'{"more": NaN, ', 1)})
    refused(written, "bundle.json is not as it was written")


def test_a_member_that_is_missing_or_not_listed_is_refused(written):
    content = contents(written)
    rewrite(written, {name: data for name, data in content.items() if name != "fold-1.pt"})
    refused(written, "fold-1.pt missing")
    rewrite(written, relisted({name: data for name, data in content.items() if name != "fold-1.pt"}))
    refused(written, "fold-1.pt missing")
    rewrite(written, content | {"fold-7.pt": b""})
    refused(written, "found 'fold-7.pt' in it, wanted nothing but what bundle.json lists")
    rewrite(written, relisted(content | {"notes.txt": b"hello"}))
    refused(written, "found 'notes.txt' in it")


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize("form", ["plain", "torch"])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(written, form, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    if form == "plain":
        pickle.dump(Code(), file)
    else:
        torch.save({"format_version": 1, "weights": {"body": Code()}}, file)
    rewrite(written, relisted(contents(written) | {"fold-0.pt": file.getvalue()}))
    refused(written, "fold-0.pt .*wanted the weights of a fold")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["../fold-0.pt", "/fold-0.pt", "a/fold-0.pt", "C:\\fold-0.pt"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    bundle_files.write(small_bundle(), tmp_path / "bundle.zip")
    rewrite(tmp_path / "bundle.zip", relisted(contents(tmp_path / "bundle.zip") | {name: b"x"}))
    refused(tmp_path / "bundle.zip", "in it, wanted nothing but|missing")


def test_links_and_folders_are_refused(tmp_path):
    bundle_files.write(small_bundle(), tmp_path / "bundle.zip")
    rewrite(tmp_path / "bundle.zip", contents(tmp_path / "bundle.zip"), mode=stat.S_IFLNK)
    refused(tmp_path / "bundle.zip", "is a link")
    bundle_files.write(small_bundle(), tmp_path / "bundle")
    (tmp_path / "bundle" / "fold-0.pt").rename(tmp_path / "fold-0.pt")
    (tmp_path / "bundle" / "fold-0.pt").symlink_to(tmp_path / "fold-0.pt")
    refused(tmp_path / "bundle", "'fold-0.pt' is a link")
    (tmp_path / "bundle" / "fold-0.pt").unlink()
    (tmp_path / "bundle" / "fold-0.pt").mkdir()
    refused(tmp_path / "bundle", "'fold-0.pt' is a link, folder")


def test_what_would_unpack_to_more_than_it_says_is_refused(tmp_path):
    path = tmp_path / "bundle.zip"
    bundle_files.write(small_bundle(), path)
    content = contents(path)
    rewrite(path, content | {"README.md": bytes(1 << 24)}, compression=zipfile.ZIP_DEFLATED)
    refused(path, "compressed")
    manifest = json.loads(content["bundle.json"])
    manifest["members"]["README.md"] = {"bytes": 1 << 40, "sha256": "0" * 64}
    rewrite(path, content | {"bundle.json": signed(manifest), "README.md": b""})
    refused(path, "too large")
    file = io.BytesIO()
    torch.save({"format_version": 1, "weights": {"body": torch.zeros(1).expand(1 << 40)}}, file)
    rewrite(path, relisted(content | {"fold-0.pt": file.getvalue()}))
    refused(path, "fold-0.pt holds tensors that are larger than it")
    with (
        zipfile.ZipFile(io.BytesIO(content["fold-0.pt"])) as inside,
        zipfile.ZipFile(file := io.BytesIO(), "w", 8) as bomb,
    ):
        for name in inside.namelist():
            bomb.writestr(name, inside.read(name) + bytes(1 << 22))
    rewrite(path, relisted(content | {"fold-0.pt": file.getvalue()}))
    refused(path, "fold-0.pt claims more bytes than it has")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"format_version": 2, "version": "0.9.0"}, "format version 2, made by cac_hpc '?0.9.0'?, wanted 1"),
        ({"format_version": 0}, "format version 0"),
        ({"format_version": "x" * 5000}, "format version"),
        ({"format": "something"}, "something else"),
        ({"candidates": 99}, "candidates of another version"),
        ({"kind": "other"}, "model of kind 'other'"),
        ({"folds": 10**9}, "folds, wanted 1 to 1000"),
        ({"folds": 1}, "errors of the scores of each fold"),
        ({"model": {"kind": "lesions", "hidden": [9, 4]}}, "fold-0.pt does not fit the model"),
        ({"model": {"kind": "lesions", "hidden": [10**9]}}, "describes a model of more than"),
        ({"model": {"kind": "lesions", "width": 3}}, "no setting 'width' in model"),
        ({"pack": {"size": -1}}, "pack.size"),
        ({"names": ["one"]}, "labels.names"),
        ({"patient_rule": "best"}, "report.patient_rule"),
        ({"window_hu": [800, -200]}, "train.window_hu"),
        ({"errors": None}, "does not describe the errors"),
        ({"errors": [{"scale": -1.0, "gross": 0.1}] * 2}, "scale -1 and gross 0.1, wanted a scale above 0"),
        ({"errors": [{"scale": 1.0, "gross": 2}] * 2}, "share from 0 to 1"),
        ({"prediction_sets": {"coverage": 1.5, "scores": [[], []]}}, "prediction sets of 1.5 by 2 folds, wanted"),
        ({"prediction_sets": {"coverage": 0.9, "scores": [[0.1]]}}, "prediction sets of 0.9 by 1 folds"),
        ({"prediction_sets": {"coverage": 0.9, "scores": [[0.3, 0.1], []]}}, "do not rise from 0 to 1"),
        ({"prediction_sets": {"coverage": 0.9, "scores": [[2.0], []]}}, "do not rise from 0 to 1"),
        ({"prediction_sets": {"coverage": 0.9}}, "damaged, or no bundle"),
        ({"members": []}, "bundle"),
        ({"salt": None, "known": 3}, "bundle"),
    ],
)  # fmt: skip
def test_a_manifest_of_another_version_or_model_is_refused(tmp_path, changes, wanted):
    bundle_files.write(small_bundle(), tmp_path / "bundle")
    content = contents(tmp_path / "bundle")
    (tmp_path / "bundle" / "bundle.json").write_bytes(signed(json.loads(content["bundle.json"]) | changes))
    refused(tmp_path / "bundle", wanted)


def test_weights_of_another_type_are_refused(tmp_path):
    made = small_bundle("slices")
    other = [{name: one.to(torch.float16) for name, one in weights.items()} for weights in made.weights]
    bundle_files.write(replace(made, weights=other), tmp_path / "bundle")
    refused(tmp_path / "bundle", "does not fit the model")
    bundle_files.write(replace(made, model=ModelConfig(filters=(4, 8), dense=9)), tmp_path / "other")
    refused(tmp_path / "other", "does not fit the model")


@pytest.mark.parametrize(
    "damage", [lambda one: one * float("nan"), lambda one: one + float("inf"), torch.Tensor.to_sparse]
)
def test_weights_that_are_no_finite_numbers_are_refused(tmp_path, damage):
    """A candidate of probability NaN would not count: a score of 0, and nothing said."""
    made = small_bundle()
    first, *others = made.weights
    changed = {name: damage(one) if one.ndim == 3 else one for name, one in first.items()}
    bundle_files.write(replace(made, weights=[changed, *others]), tmp_path / "bundle")
    refused(tmp_path / "bundle", "fold-0.pt holds weights that are no finite numbers")


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ({"evil": {"low": 1.0, "high": 2.0}}, "has the attribute 'evil'"),
        ({"kvp": {"low": 5.0, "high": 1.0}}, "kvp from 5.0 to 1.0"),
        ({"kvp": {"low": float("nan"), "high": float("nan")}}, "kvp from nan to nan"),
        ({"kvp": {"low": None, "high": -1.0}}, "kvp from None to -1.0"),
    ],
)
def test_a_training_range_that_cannot_be_is_refused(tmp_path, numbers, wanted):
    bundle_files.write(small_bundle(), tmp_path / "bundle")
    content = contents(tmp_path / "bundle")
    plain = json.loads(content["training_range.json"])
    plain["numbers"] = {name: {"n": 1, "unknown": 0, "quantiles": [], **of} for name, of in numbers.items()}
    rewrite(tmp_path / "bundle", relisted(content | {"training_range.json": json.dumps(plain).encode()}))
    refused(tmp_path / "bundle", wanted)


def test_a_run_is_no_bundle(tmp_path):
    (tmp_path / "run" / "code").mkdir(parents=True)
    refused(tmp_path / "run", "found no bundle.json in it, wanted a bundle as jobs/export.py writes it")


def test_what_is_no_bundle_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "found no bundle.json")
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", "wanted a bundle")
    (tmp_path / "long.zip").write_bytes(bytes(1000))
    refused(tmp_path / "long.zip", "SHA-256")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    refused(tmp_path / "other.zip", "SHA-256|bytes")
    with zipfile.ZipFile(tmp_path / "signed.zip", "w") as archive:
        archive.writestr(member := zipfile.ZipInfo("a.txt"), "hello")
        assert member.external_attr == 0o600 << 16
        archive.comment = bytes(bundle_files.DIGEST_LENGTH)
    seal(tmp_path / "signed.zip")
    refused(tmp_path / "signed.zip", "found no bundle.json|is a link")
    (tmp_path / "noise.zip").write_bytes(np.random.default_rng(0).bytes(2000))
    seal(tmp_path / "noise.zip")
    refused(tmp_path / "noise.zip", "no bundle")
    refused(tmp_path / "nothing", "not there")
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "bundle.json").write_text("[" * 100_000)
    refused(tmp_path / "nested", "damaged")


def test_a_slice_that_shows_nothing_has_no_digest():
    rng = np.random.default_rng(0)
    hu_SS = rng.integers(-1000, 1000, (8, 8), np.int16)
    assert bundles.slice_digest(np.full((8, 8), -1024, np.int16), "salt") == ""
    assert bundles.slice_digest(hu_SS, "salt") == bundles.salted(digests.of_bytes(hu_SS.tobytes()), "salt")
    assert bundles.slice_digest(hu_SS, "salt") != bundles.slice_digest(hu_SS, "pepper")
    assert bundles.slice_digest(hu_SS.T.copy().T, "salt") == bundles.slice_digest(hu_SS, "salt")
