"""Exporting runs: what goes into the bundle, what must not, and which runs have none."""

import getpass
import io
import json
import platform
import shutil
import zipfile

import numpy as np
import pytest
import torch
import yaml

import cac_hpc
from cac_hpc.dataset import intake
from cac_hpc.predict import bundle as bundles
from cac_hpc.predict import bundle_files, export, model_card, onnx_files, training_range
from cac_hpc.results.levels import Level
from cac_hpc.results.serialization import from_json
from cac_hpc.run import disk, ledger
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.export_command import ExportConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.train import checkpoint
from cac_hpc.train.ordinal import Errors
from cac_hpc.volumes import files
from tests.support.exporting import CANARY, NUM_FOLDS, ODD, STUDIES, WRONG, complete_run, small_bundle
from tests.support.runs import job


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run of lesions, read-only."""
    return complete_run(tmp_path_factory.mktemp(CANARY) / "lesions")


@pytest.fixture(scope="module")
def exported(tmp_path_factory, run):
    """Its bundle as one file, and what was printed."""
    out = tmp_path_factory.mktemp("out") / "bundle.zip"
    done = job("export.py", run.root, "--out", out, "--licence", "CC-BY-4.0")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


@pytest.fixture
def copy(run, tmp_path):
    """A run that a test may change."""
    return RunPaths(shutil.copytree(run.root, tmp_path / "run"))


def test_a_bundle_has_what_leads_from_dicom_to_a_category(run, exported):
    found, cfg = bundle_files.read(exported[0]), stored_settings.load(run.config)
    assert (found.kind, found.version, found.licence) == ("lesions", cac_hpc.__version__, "CC-BY-4.0")
    assert (found.pack, found.model, found.window_hu) == (cfg.pack, cfg.model, cfg.train.window_hu)
    assert (found.names, found.edges) == (cfg.labels.names, cfg.labels.edges)
    assert (found.patient_rule, found.top_k) == (cfg.report.patient_rule, cfg.report.top_k)
    assert found.errors == [Errors(0.25 + fold, 0.01) for fold in range(NUM_FOLDS)]
    for fold, weights in enumerate(found.weights):
        trained = checkpoint.load(run.fold(fold).model)["weights"]
        assert all(torch.equal(weights[name], one) for name, one in trained.items())


def test_the_run_speaks_for_itself_in_the_figures_of_its_report(run, exported):
    found, report = bundle_files.read(exported[0]).internal, disk.read_json(run.report_json)
    assert found["level"] == report["levels"]["patient"]
    assert from_json(found["level"], Level).pooled.errors == 1
    assert found["cohort"] == {
        "studies": 18, "patients": 18, "slices": 72, "studies_per_category": [3, 3, 3, 3, 3, 3],
    }  # fmt: skip
    assert (found["title"], found["status"]) == (report["title"], "COMPLETE")
    assert found["digests"] == report["digests"]
    assert found["scores"]["n"] == 18
    assert found["reader"]["reason"] in ("better", "simpler", "model_worse", "chance", "few")


def test_it_has_what_prediction_sets_follow_from_and_no_order_of_patients(run, exported):
    found, report = bundle_files.read(exported[0]), disk.read_json(run.report_json)["prediction_sets"]
    sets, tests = found.sets, report["tests"]
    assert (sets.coverage, sets.patients, [len(one) for one in sets.scores]) == (0.9, 18, [6, 6, 6])
    assert all(list(one) == sorted(one) for one in sets.scores)
    right = sum(true == said for true, said in zip(tests["category"], tests["predicted"], strict=True))
    assert sum(score == 0 for one in sets.scores for score in one) == right == 17
    assert found.internal["prediction_sets"] == {"wanted": 0.9, "promised": report["promised"]}
    assert "prediction sets: 90% wanted, calibrated on 18 patients" in exported[1]


def test_the_training_range_is_that_of_the_studies_with_the_gate_measured(exported):
    training = bundle_files.read(exported[0]).training
    assert (training.numbers["kvp"].low, training.numbers["kvp"].high) == (100, 120)
    assert (training.numbers["score"].low, training.numbers["score"].high) == (0, 3000)
    assert training.codes["kernel"].counts == {"B35f": 6, "FC12": 6, "STANDARD": 6}
    alone, kernel = training.gate
    assert (alone.by, alone.groups, alone.attributes) == ("study", 18, {"kvp": 1})
    assert (alone.flagged.value, alone.false_alarms.value) == (1 / 18, 1 / 17)
    assert (alone.misses.value, alone.misses.n) == (1, 1)  # what is predicted wrong is inside of the range
    assert (kernel.by, kernel.groups) == ("kernel", 3)
    assert kernel.attributes["slice_spacing_mm"] == 6  # the only kernel at 2.5 mm
    assert {ODD, WRONG} < {*STUDIES}


def test_what_was_exported_is_printed(exported):
    out, printed = exported
    assert f"bundle: {out}, sha256 {bundle_files.read(out).digest}" in printed
    assert "accuracy by patient 0.944 [0.742, 0.990], n = 18" in printed
    assert "each of 18 studies left out in turn: flagged 1 of 18, 0.056 [0.0099, 0.258]" in printed
    assert "salted digests of slices mark the 18 training studies" in printed


def test_a_bundle_is_a_look_at_test_figures(run, exported):
    assert {"bundle"} == {event["how"] for event in ledger.read(run.ledger) if event["event"] == "shown"}


def test_nothing_of_a_patient_a_path_or_a_machine_goes_along(run, exported):
    canaries = [CANARY, CANARY.lower(), str(run.root.parent), getpass.getuser() + "/", f"/{platform.node()}/"]
    with zipfile.ZipFile(exported[0]) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    for name in [name for name in content if name.endswith(".pt")]:
        with zipfile.ZipFile(io.BytesIO(content[name])) as inside:
            content |= {f"{name}/{member}": inside.read(member) for member in inside.namelist()}
    for name, data in content.items():
        for canary in canaries:
            assert canary.encode() not in data, (name, canary)
    settled = run.config.read_text()
    assert CANARY in settled  # they were there to be copied
    texts = {key: value for key, value in json.loads(content["bundle.json"]).items() if key not in ("pack", "model")}
    assert {*texts} == {
        "format", "format_version", "version", "kind", "window_hu", "names", "edges", "patient_rule", "top_k", "folds",
        "errors", "candidates", "features", "licence", "salt", "known", "members", "content_sha256", "prediction_sets",
    }  # fmt: skip


def test_the_same_run_gives_the_same_bytes_on_another_day_and_in_another_folder(copy, exported, tmp_path):
    for path in copy.root.rglob("*"):
        path.touch()
    export.export(ExportConfig(run=str(copy.root), out=str(tmp_path / "other name.zip"), licence="CC-BY-4.0"))
    assert (tmp_path / "other name.zip").read_bytes() == exported[0].read_bytes()


def test_the_card_is_markdown_with_the_metadata_of_hugging_face(exported):
    with zipfile.ZipFile(exported[0]) as archive:
        text = archive.read("README.md").decode()
    start, head, body = text.split("---\n", 2)
    assert start == ""
    meta = yaml.safe_load(head)
    assert (meta["license"], meta["library_name"], meta["pipeline_tag"]) == (
        "cc-by-4.0", "cac_hpc", "image-classification",
    )  # fmt: skip
    (model,) = meta["model-index"]
    (result,) = model["results"]
    assert {one["type"]: round(one["value"], 4) for one in result["metrics"]}["accuracy"] == round(17 / 18, 4)
    assert {"type", "name"} <= {*result["dataset"]} & {*result["task"]}
    for heading in ("Intended use", "Categories", "Figures", "Training range", "Gate", "Limits", "How to use"):
        assert f"\n## {heading}\n" in body
    assert "| accuracy | 0.944 [0.742, 0.990] |" in body
    assert "| each of 18 studies | 1 of 18, 0.056 [0.0099, 0.258] |" in body
    assert "| slice spacing (mm) | 2.5 |" in body


@pytest.mark.parametrize(
    ("licence", "metadata", "line"),
    [
        ("", {"license": "unknown"}, "Licence: none is given"),
        ("MIT", {"license": "mit"}, "Licence: MIT."),
        ("By *contract*", {"license": "other", "license_name": "By *contract*"}, r"Licence: By \*contract\*."),
    ],
)
def test_the_licence_stands_in_the_card(run, licence, metadata, line):
    text = model_card.text(export.of_run(run.root, licence))
    meta = yaml.safe_load(text.split("---\n", 2)[1])
    assert {key: value for key, value in meta.items() if key.startswith("license")} == metadata
    assert line in text


def test_a_slice_network_has_a_bundle_too(tmp_path):
    run = complete_run(tmp_path / "slices", kind="slices")
    found = export.export(ExportConfig(run=str(run.root), out=str(tmp_path / "bundle")))
    assert (found.kind, found.errors, len(found.weights)) == ("slices", None, NUM_FOLDS)
    assert found.internal["scores"] is None
    trained = checkpoint.load(run.fold(1).model)["weights"]
    assert all(torch.equal(found.weights[1][name], one) for name, one in trained.items())


@pytest.fixture(scope="module")
def marked(packed):
    """A bundle with the digests of a cohort that was packed."""
    size = json.loads((packed / "dataset.json").read_text())["settings"]["pack"]["size"]
    known = frozenset(export.known(DatasetPaths(packed), "salt"))
    return small_bundle("slices", pack=PackConfig(size=size, min_slices=4), known=known)


def test_training_studies_are_known_by_their_pixels(marked, scans, tmp_path):
    assert all(is_known(marked, scans / f"{number:03d}") for number in range(0, 18, 5))
    renamed = shutil.copytree(scans / "004", tmp_path / "under another name")
    for number, path in enumerate(sorted(renamed.iterdir())):
        path.rename(path.with_name(f"slice{99 - number}"))
    (renamed / "slice99").unlink()  # and not all of them
    assert is_known(marked, renamed)


def test_other_studies_are_not_known(marked, scans):
    slices = slices_of(marked, scans / "004")
    assert not any(bundles.slice_digest(hu_SS + np.int16(1), marked.salt) in marked.known for hu_SS in slices)
    assert not any(bundles.slice_digest(hu_SS, "another salt") in marked.known for hu_SS in slices)
    assert "" not in marked.known


def test_no_more_digests_are_kept_of_a_study_than_are_needed(marked, packed, monkeypatch):
    assert len(marked.known) == 18 * 6  # all slices of a study that has less than 8
    monkeypatch.setattr(export, "KEPT", 2)
    assert len(fewer := export.known(DatasetPaths(packed), "salt")) == 18 * 2
    assert fewer < marked.known


def slices_of(bundle, folder):
    slices = []
    intake.read_study(files.list_files(folder), bundle.pack, lambda hu_SS, _: slices.append(hu_SS.copy()))
    assert slices
    return slices


def is_known(bundle, folder):
    return any(bundles.slice_digest(hu_SS, bundle.salt) in bundle.known for hu_SS in slices_of(bundle, folder))


def refused(run, wanted, out="bundle"):
    before = sorted(run.root.rglob("*"))
    with pytest.raises(InputError, match=wanted) as error:
        export.export(ExportConfig(run=str(run.root), out=str(run.root.parent / out)))
    assert "\n" not in str(error.value)
    assert sorted(run.root.rglob("*")) == before
    assert not (run.root.parent / out).exists()


def test_a_run_that_is_not_complete_has_no_bundle(copy):
    copy.fold(1).predictions.rename(copy.fold(1).root / "away")
    refused(copy, "folds 1 have no valid result, wanted a complete run; .*--resume")
    (copy.fold(1).root / "away").rename(copy.fold(1).predictions)
    copy.report_json.rename(copy.root / "away")
    refused(copy, "there is no report yet")


def test_a_report_of_other_results_is_refused(copy):
    metrics = disk.read_json(copy.fold(0).metrics)
    disk.write_json(copy.fold(0).metrics, metrics | {"seconds": 1.0})
    refused(copy, "is not the complete report of the folds as they are now; .*aggregate.py")


def test_a_partial_report_is_refused(copy):
    report = disk.read_json(copy.report_json)
    disk.write_json(copy.report_json, report | {"status": "PARTIAL"})
    refused(copy, "is not the complete report")
    disk.write_json(copy.report_json, report | {"format_version": 1})
    refused(copy, "found format version 1")


def test_weights_that_are_damaged_or_of_another_fold_are_refused(copy):
    model, digest = copy.fold(0).model, copy.fold(0).root / "model.sha256"
    kept = model.read_bytes(), digest.read_bytes()
    model.write_bytes(kept[0][:-1])
    refused(copy, r"model.pt: cannot be used \(does not match its sha256")
    shutil.copy(copy.fold(1).model, model)
    shutil.copy(copy.fold(1).root / "model.sha256", digest)
    refused(copy, "is of another fold, or of other splits")
    model.unlink()
    refused(copy, "model.pt: cannot be used")


def test_shards_that_are_missing_or_damaged_are_refused(copy):
    shard = copy.dataset(None).shard(0)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    refused(copy, "does not match its xxh3_128")
    shard.unlink()
    refused(copy, "is missing")


def test_a_split_by_slice_leaks_and_has_no_bundle(copy):
    cfg = config.plain(stored_settings.load(copy.config))
    cfg["split"] |= {"unit": "slice", "contrast_to": str(copy.root)}
    copy.config.write_text(yaml.safe_dump(cfg))
    refused(copy, "found split.unit slice, model.kind lesions|split.unit")


def test_what_is_there_already_stays(run, tmp_path):
    for name in ("bundle", "bundle.zip"):
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=r"is there already, wanted the name of a new folder or .zip file"):
            export.export(ExportConfig(run=str(run.root), out=str(tmp_path / name)))
        assert list((tmp_path / name).iterdir()) == []


def test_without_the_extra_nothing_is_begun(run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "NEEDED", ("not_there_at_all",))
    with pytest.raises(InputError, match="wanted the extra onnx"):
        export.export(ExportConfig(run=str(run.root), out=str(tmp_path / "bundle"), onnx=True))
    assert list(tmp_path.iterdir()) == []


def test_onnx_files_are_members_of_the_bundle(run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "files", lambda bundle: {f"fold-{fold}.onnx": b"onnx" for fold in range(NUM_FOLDS)})
    export.export(ExportConfig(run=str(run.root), out=str(tmp_path / "bundle"), onnx=True))
    assert sorted(path.name for path in (tmp_path / "bundle").glob("*.onnx")) == [f"fold-{k}.onnx" for k in range(3)]
    assert "`fold-0.onnx`, `fold-1.onnx`, `fold-2.onnx`: the same" in (tmp_path / "bundle" / "README.md").read_text()


def test_a_study_of_another_scanner_is_outside_of_the_exported_range(exported):
    training = bundle_files.read(exported[0]).training
    facts = {"kvp": 80.0, "kernel": "Bv60", "slice_spacing_mm": 0.6, "noise_hu": 16.0, "gating": "NONE", "slices": 4}
    found = training_range.outside(training, facts)
    assert [sentence.split(" is ")[0] for sentence in found] == ["slice spacing", "tube voltage", "gating"]
