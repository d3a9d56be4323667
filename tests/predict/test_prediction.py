"""Study folders predicted with a bundle, from the command line: tables, pages, resuming, what is refused."""

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import pandas as pd
import pytest

from cac_hpc.dataset import intake
from cac_hpc.predict import bundle, parts, prediction_tables
from cac_hpc.predict.parts import Plan
from cac_hpc.run.config import InputError
from cac_hpc.run.predict_commands import PredictConfig, parse_predict
from cac_hpc.volumes import files
from tests.support import bundles
from tests.support.runs import REPO, SUPPORT


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Three small chests, and a folder without a study."""
    root = bundles.write_chests(tmp_path_factory.mktemp("studies"), "abc")
    (root / "=letters").mkdir()
    (root / "=letters" / "note.txt").write_text("none", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory, studies):
    """A bundle whose training studies have study c among them."""
    seen = []
    intake.read_study(files.list_files(studies / "c"), bundles.PACK, lambda hu_HW, at: seen.append(hu_HW.copy()))
    known = frozenset({bundle.slice_digest(seen[10], "pepper"), "0" * 16})
    path = tmp_path_factory.mktemp("bundle") / "model.zip"
    bundle.write(bundles.lesions(known=known), path)
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory, studies, model):
    """The results of one worker that nothing disturbed, and what was printed."""
    out = tmp_path_factory.mktemp("done") / "out"
    said = predict(model, studies, out, "--workers", 1, "--json")
    assert said.returncode == 1, said.stderr  # letters is no study
    return out, said


def predict(*arguments, parts=0):
    command = [sys.executable, SUPPORT / "doomed_predict.py", *map(str, arguments[:2]), "--out", *map(str, arguments[2:])]
    env = {**os.environ, "PYTHONPATH": str(REPO), "CAC_TEST_PARTS": str(parts)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)


def read(out, name="predictions.csv"):
    return pd.read_csv(out / name, dtype=str, keep_default_na=False)


def content(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_each_study_has_its_row_its_page_and_its_reason(done):
    out, said = done
    table = read(out).set_index("study")
    assert list(table.columns) == prediction_tables.prediction_columns(6)[1:]
    assert table.loc["b", ["score", "category", "rule_score", "lesions"]].tolist() == ["128", "Moderate", "128", "1"]
    assert table.loc["a", ["score", "category_index", "folds_agreeing", "lesions"]].tolist() == ["0", "0", "2", "0"]
    assert float(table.loc["b", "p3"]) > 0.5
    assert table["known"].tolist() == ["", "0", "0", "1"]
    assert table.loc["'=letters", "fault"].startswith("not_dicom")
    counted = read(out, "lesions.csv").query("counted == '1'")
    assert counted[["study", "first_slice", "last_slice", "agatston"]].to_numpy().tolist()[0] == ["b", "10", "11", "128"]
    assert read(out, "rejected.csv").iloc[0].tolist()[:3] == ["'=letters", "1", "not_dicom"]
    assert read(out, "studies.csv")["kvp"].tolist() == ["120"] * 3
    answer = json.loads(said.stdout)
    wanted = {"studies": 4, "predicted": 3, "refused": 1, "known": 1, "out_of_range": 0}
    assert {name: answer["counts"][name] for name in wanted} == wanted
    assert answer["counts"] == json.loads((out / "predict.json").read_text())["counts"]


def test_pages_show_what_counted_and_load_nothing(done):
    out, _ = done
    page = (out / "studies" / "b" / "page.html").read_text(encoding="utf-8")
    assert "Moderate" in page
    assert page.count("data:image/svg+xml") >= 3
    assert "among the training studies" in (out / "studies" / "c" / "page.html").read_text(encoding="utf-8")
    assert "not_dicom" in (out / "studies" / "=letters" / "page.html").read_text(encoding="utf-8")
    index = (out / "index.html").read_text(encoding="utf-8")
    assert 'href="studies/%3Dletters/page.html"' in index
    for text in (page, index):
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
        assert "<script" not in text


def test_a_killed_prediction_goes_on_and_ends_with_the_same_bytes(done, studies, model, tmp_path):
    out = tmp_path / "elsewhere" / "out"
    killed = predict(model, studies, out, "--workers", 2, parts=2)
    assert killed.returncode == -9
    before = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("part-*.json")}
    assert len(before) >= 2
    assert not (out / "predictions.csv").exists()
    assert predict(model, studies, out, "--workers", 2).returncode == 1
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}.items()
    assert content(out) == content(done[0])


def test_another_bundle_setting_or_study_with_the_same_out_is_refused(done):
    plan = parts.read_plan(done[0])
    parts.settle(done[0], plan)
    others = replace(plan, bundle="0" * 64, settings={**plan.settings, "gate": "refuse"})
    with pytest.raises(InputError, match=f"bundle: '{plan.bundle}' / '0{{64}}'; gate: 'warn' / 'refuse'; wanted the same"):
        parts.settle(done[0], others)
    moved = {**plan.studies, "b": "other", "z": "new"}
    with pytest.raises(InputError, match="study 'b': there / with other files; study 'z': not there / there"):
        parts.settle(done[0], replace(plan, studies=moved))


def test_a_damaged_part_is_made_again_and_a_part_of_another_plan_too(tmp_path):
    plan = Plan("bundle", {"gate": "warn"}, {"a": "1"})
    parts.settle(tmp_path / "out", plan)
    parts.write(tmp_path / "out", 0, plan, [{"row": {}}])
    assert parts.missing(tmp_path / "out", plan) == []
    assert parts.missing(tmp_path / "out", replace(plan, bundle="other")) == [0]
    path = parts.part_path(tmp_path / "out", 0)
    path.write_bytes(path.read_bytes().replace(b'"row"', b'"raw"'))
    assert parts.missing(tmp_path / "out", plan) == [0]


def test_a_folder_of_others_is_not_used(tmp_path, studies, model):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"found 'thesis.txt' in it and no plan of a prediction, wanted a new folder"):
        parts.settle(tmp_path, Plan("", {}, {}))
    with pytest.raises(InputError, match="--out is '.*/out', but must be a folder outside of"):
        parse_predict(None, [str(model), str(studies), "--out", str(studies / "out")])
    with pytest.raises(InputError, match="--shards is 3, but must be left out where --cluster is not given"):
        PredictConfig(bundle="b", folder="f", out="o", shards=3)


def test_gate_and_damaged_bundles(tmp_path, studies):
    """Trained at 10 mm between slices and 80 kVp: named, and with the gate shut there is no prediction."""
    facts = pd.DataFrame({"slice_spacing_mm": [10.0], "kvp": [80.0]})
    bundle.write(bundles.lesions(training=bundles.training_range.of_studies(facts)), tmp_path / "bundle")
    said = predict(tmp_path / "bundle", studies / "b", tmp_path / "out", "--gate", "refuse", "--no_pictures")
    assert said.returncode == 1
    row = read(tmp_path / "out").iloc[0]
    assert (row["study"], row["score"], row["category"], row["known"]) == ("b", "", "", "0")
    assert row["fault"].startswith("out_of_range: slice spacing is 3 mm, the training studies had 10 mm; tube voltage")
    assert row["out_of_range"] in (tmp_path / "out" / "studies" / "b" / "page.html").read_text(encoding="utf-8")
    manifest = tmp_path / "bundle" / bundle.MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"pepper", b"papper"))
    said = predict(tmp_path / "bundle", studies / "b", tmp_path / "other")
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "other").exists()


def test_memory_does_not_grow_with_the_number_of_studies(tmp_path, monkeypatch):
    """Four times the studies, with a megabyte of candidates each."""
    monkeypatch.setattr(parts, "PER_PART", 1)
    peaks = {}
    for count in (4, 16):
        plan = Plan("bundle", {}, {f"{index:03d}": "digest" for index in range(count)})
        out = tmp_path / str(count)
        for index, study in enumerate(plan.studies):
            row = {"study": study, "fault": "no_heart: none", "known": None, "out_of_range": "", "warnings": ""}
            lesions = [{"study": study, "candidate": number, "agatston": 0.5} for number in range(4000)]
            outcome = {"row": row, "facts": None, "lesions": lesions, "rejected": [], "num_files": 1}
            parts.write(out, index, plan, [outcome])
        tracemalloc.start()
        prediction_tables.gather(out, plan, bundles.lesions())
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (out / "lesions.csv").read_text().count("\n") == 1 + 4000 * count
    assert peaks[16] < 1.2 * peaks[4]
