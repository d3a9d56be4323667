"""Study folders predicted with a bundle, from the command line: tables, pages, resuming, what is refused."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import intake
from cac_hpc.predict import (
    bundle,
    bundle_files,
    bundle_members,
    ensemble,
    parts,
    prediction,
    prediction_tables,
    study_prediction,
    training_range,
)
from cac_hpc.predict.parts import Plan
from cac_hpc.predict.study_prediction import StudyTask
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.predict_command import PredictConfig, parse_predict
from cac_hpc.statistics import prediction_sets
from cac_hpc.statistics.prediction_sets import Calibration
from cac_hpc.train import ordinal
from cac_hpc.volumes import files
from tests.support import bundles, volume_files
from tests.support.chests import chest, write_study
from tests.support.runs import REPO, SUPPORT

SETS = Calibration(0.75, ((0.0,) * 6 + (0.9,), (0.0,) * 6))  # 13 patients, one of whom was predicted wrong


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
    bundle_files.write(bundles.lesions(known=known, sets=SETS), path)
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory, studies, model):
    """The results of one worker that nothing disturbed, and what was printed."""
    return predict(model, studies, tmp_path_factory.mktemp("done") / "out")


def predict(model, studies, out):
    """In parts of one study; =letters is no study."""
    cfg = PredictConfig(bundle=str(model), folder=str(studies), out=str(out), workers=1, json=True)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(parts, "PER_PART", 1)
        assert prediction.predict(cfg, REPO) == 1
    return out, said.getvalue()


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
    assert table.loc["b", ["set_low", "set_high", "set_coverage"]].tolist() == ["3", "3", "0.75"]
    assert table.loc["'=letters", ["set_low", "set_high", "set_coverage"]].tolist() == ["", "", ""]
    assert table["known"].tolist() == ["", "0", "0", "1"]
    assert table.loc["'=letters", "fault"].startswith("not_dicom")
    counted = read(out, "lesions.csv").query("counted == '1'")
    assert counted[["study", "first_slice", "last_slice", "agatston"]].to_numpy().tolist()[0] == [
        "b",
        "10",
        "11",
        "128",
    ]
    assert read(out, "rejected.csv").iloc[0].tolist()[:3] == ["'=letters", "1", "not_dicom"]
    assert read(out, "studies.csv")["kvp"].tolist() == ["120"] * 3
    answer = json.loads(said)
    wanted = {"studies": 4, "predicted": 3, "one_category": 3, "refused": 1, "known": 1, "out_of_range": 0}
    assert {name: answer["counts"][name] for name in wanted} == wanted
    assert answer["counts"] == json.loads((out / "predict.json").read_text())["counts"]


def test_the_terminal_names_the_prediction_set_of_each_study(done, studies, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "PER_PART", 1)
    monkeypatch.setenv("COLUMNS", "120")
    out = tmp_path / "out"
    shutil.copytree(done[0], out)
    prediction.predict(PredictConfig(bundle=str(model), folder=str(studies), out=str(out), workers=1), REPO)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["study", "category", "p", "75%", "set", "score", "folds", "agree", "rule", "notes"] in shown
    assert ["b", "Moderate", f"{float(read(out)['p3'][2]):.2f}", "Moderate", "128.0", "2", "128.0"] in shown
    assert ["=letters", "-", "-", "-", "-", "-", "-", "no", "prediction"] in shown


def test_pages_show_what_counted_and_load_nothing(done):
    out, _ = done
    page = (out / "studies" / "b" / "page.html").read_text(encoding="utf-8")
    assert "Moderate" in page
    assert page.count("data:image/svg+xml") >= 3
    assert "among the training studies" in (out / "studies" / "c" / "page.html").read_text(encoding="utf-8")
    assert "not_dicom" in (out / "studies" / "=letters" / "page.html").read_text(encoding="utf-8")
    index = (out / "index.html").read_text(encoding="utf-8")
    assert 'href="studies/%3Dletters/page.html"' in index
    assert "one category; such sets name the category of 75 % of patients like those of training" in page
    assert '<th scope="col" class="text">prediction set</th>' in index
    assert "There are no prediction sets" not in index
    for text in (page, index):
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
        assert "<script" not in text


def test_a_killed_prediction_goes_on_and_ends_with_the_same_bytes(done, studies, model, tmp_path):
    out = tmp_path / "elsewhere" / "out"
    command = [sys.executable, SUPPORT / "doomed_predict.py", model, studies, "--out", out, "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(REPO), "CAC_TEST_PARTS": "2"}
    assert subprocess.run(command, env=env, capture_output=True, timeout=240).returncode == -9
    before = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("part-*.json")}
    assert len(before) >= 2
    assert not (out / "predictions.csv").exists()
    predict(model, studies, out)
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}.items()
    assert content(out) == content(done[0])


def test_another_bundle_setting_or_study_with_the_same_out_is_refused(done):
    plan = parts.read_plan(done[0])
    parts.settle(done[0], plan)
    others = replace(plan, bundle="0" * 64, settings={**plan.settings, "gate": "refuse"})
    with pytest.raises(
        InputError, match=f"bundle: '{plan.bundle}' / '0{{64}}'; gate: 'warn' / 'refuse'; wanted the same"
    ):
        parts.settle(done[0], others)
    moved = {**plan.studies, "b": "other", "z": "new"}
    with pytest.raises(InputError, match="study 'b': there / with other files; study 'z': not there / there"):
        parts.settle(done[0], replace(plan, studies=moved))


def test_a_part_is_made_again_that_is_damaged_or_of_another_plan_or_lacks_a_page(tmp_path):
    plan = Plan("bundle", {"gate": "warn"}, {"a": "1"})
    parts.settle(tmp_path / "out", plan)
    parts.write(tmp_path / "out", 0, plan, [{"row": {}}])
    page = parts.page_path(tmp_path / "out", "a")
    assert parts.missing(tmp_path / "out", plan) == [0]
    page.parent.mkdir(parents=True)
    page.touch()
    assert parts.missing(tmp_path / "out", plan) == []
    assert parts.missing(tmp_path / "out", replace(plan, bundle="other")) == [0]
    path = parts.part_path(tmp_path / "out", 0)
    path.write_bytes(path.read_bytes().replace(b'"row"', b'"raw"'))
    assert parts.missing(tmp_path / "out", plan) == [0]


def test_results_may_go_beside_the_study_that_one_is_in(studies, model, monkeypatch):
    monkeypatch.chdir(studies / "a")
    assert parse_predict(None, [str(model), ".", "--out", "../../out"]).out == "../../out"
    with pytest.raises(InputError, match=r"--out is '../a/out', but must be a folder outside of"):
        parse_predict(None, [str(model), ".", "--out", "../a/out"])


def test_a_folder_of_others_is_not_used(tmp_path, studies, model):
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"found 'thesis.txt' in it and no plan of a prediction, wanted a new folder"):
        parts.settle(tmp_path, Plan("", {}, {}))
    with pytest.raises(InputError, match=r"--out is '.*/out', but must be a folder outside of"):
        parse_predict(None, [str(model), str(studies), "--out", str(studies / "out")])
    with pytest.raises(InputError, match="--shards is 3, but must be left out where --cluster is not given"):
        PredictConfig(bundle="b", folder="f", out="o", shards=3)


def one(model, folder, out, **changes):
    """The outcome of one study, in this process."""
    digest, listing = bundle_files.read(model).digest, files.digest(files.list_files(folder))
    task = StudyTask(folder.name, folder, listing, model, digest, out, **changes)
    return study_prediction.predict_study(task, print)


def test_outside_of_the_training_range_is_said_and_the_gate_refuses(tmp_path, studies):
    """Trained at 10 mm between slices and 80 kVp."""
    facts = pd.DataFrame({"slice_spacing_mm": [10.0], "kvp": [80.0]})
    bundle_files.write(bundles.lesions(training=training_range.of_studies(facts)), tmp_path / "bundle")
    warned = one(tmp_path / "bundle", studies / "b", tmp_path / "warned", pictures=False)["row"]
    assert warned["out_of_range"].startswith("slice spacing is 3 mm, the training studies had 10 mm; tube voltage is")
    assert (warned["score"], warned["fault"]) == (128.0, "")
    row = one(tmp_path / "bundle", studies / "b", tmp_path / "refused", gate="refuse")["row"]
    assert row == {"study": "b", "known": 0, "out_of_range": warned["out_of_range"], "warnings": "",
                   "fault": f"out_of_range: {warned['out_of_range']}"}  # fmt: skip
    assert row["fault"] in (tmp_path / "refused" / "page.html").read_text(encoding="utf-8")


def test_a_set_names_neighbours_where_the_folds_are_not_sure_and_old_bundles_have_none(tmp_path, studies):
    unsure = Calibration(0.9, ((0.0,) * 4 + (0.99,) * 3, (0.0,) * 3 + (0.95,) * 3))
    bundle_files.write(bundles.lesions(sets=unsure), tmp_path / "bundle")
    row = one(tmp_path / "bundle", studies / "b", tmp_path / "out", pictures=False)["row"]
    asked = ensemble.of_bundle(bundles.lesions())
    chance = [ordinal.probabilities(np.array([128.0]), one.scale, asked.edges, one.gross)[0] for one in asked.errors]
    wanted = prediction_sets.of_new(np.stack(chance), np.array([3, 3]), 3, unsure)
    assert (row["set_low"], row["set_high"], row["set_coverage"]) == (*wanted, 0.9)
    assert row["set_low"] < 3 <= row["set_high"]
    names = bundles.lesions().names
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert f"{names[row['set_low']]} to {names[row['set_high']]}" in page
    bundle_files.write(bundles.lesions(), tmp_path / "old")
    row = one(tmp_path / "old", studies / "b", tmp_path / "again", pictures=False)["row"]
    assert (row["set_low"], row["set_high"], row["set_coverage"]) == (None, None, None)
    assert "prediction set" not in (tmp_path / "again" / "page.html").read_text(encoding="utf-8")


def test_a_network_of_slices_is_given_the_packed_slices(tmp_path, studies):
    bundle_files.write(bundles.slices(), tmp_path / "bundle")
    outcome = one(tmp_path / "bundle", studies / "b", tmp_path / "out")
    slices = []
    intake.read_study(files.list_files(studies / "b"), bundles.slices().pack, lambda hu_SS, at: slices.append(hu_SS))
    answer, _ = ensemble.answer_slices(ensemble.of_bundle(bundles.slices()), np.stack(slices))
    row = outcome["row"]
    assert [row[f"p{category}"] for category in range(6)] == list(answer.probability)
    assert (row["score"], row["score_low"], row["rule_score"], row["lesions"]) == (None, None, 128.0, None)
    assert outcome["lesions"] == []
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 4


def test_a_volume_is_predicted_as_its_dicom_study_and_what_it_does_not_say_is_out_of_range(tmp_path, studies, model):
    found = intake.read_chest(files.list_files(studies / "b"), bundles.PACK)
    made = volume_files.stored(found.hu_ZHW, spacing_mm=found.study.spacing_mm, first_mm=found.study.placement.first_mm)
    volume = volume_files.nifti(tmp_path / "b.nii.gz", made)
    digest, listing = bundle_files.read(model).digest, files.digest(files.list_files(volume))
    task = StudyTask("b", volume, listing, model, digest, tmp_path / "of volume", pictures=False, format="nifti")
    row = study_prediction.predict_study(task, print)["row"]
    of_dicom = one(model, studies / "b", tmp_path / "of dicom", pictures=False)["row"]
    assert (of_dicom.pop("out_of_range"), of_dicom.pop("warnings")) == ("", "")
    assert row.pop("out_of_range").startswith(
        "tube voltage is not known, the training studies had 120 kVp; class of the"
    )
    assert row.pop("warnings") == "unknown_acquisition"
    page = (tmp_path / "of volume" / "page.html").read_text(encoding="utf-8")
    assert "unknown_acquisition: a NIfTI or NRRD file says nothing of tube voltage" in page
    assert row == of_dicom
    refused = study_prediction.predict_study(replace(task, out=tmp_path / "dicom only", format="dicom"), print)["row"]
    assert refused["fault"].startswith("other_format: data.format is dicom")


def test_files_that_changed_since_the_start_and_a_missing_heart_are_no_prediction(tmp_path, studies, model):
    changed = replace(StudyTask("b", studies / "b", "other", model, bundle_files.read(model).digest, tmp_path / "b"))
    assert study_prediction.predict_study(changed, print)["row"]["fault"].startswith("changed_while_read")
    write_study(tmp_path / "noheart", chest(140, 24, heart=False).hu_ZHW)
    assert one(model, tmp_path / "noheart", tmp_path / "out")["row"]["fault"].startswith("no_heart")
    bundle_files.write(bundles.lesions(pack=replace(bundles.PACK, slices=True)), tmp_path / "bundle")
    found = one(tmp_path / "bundle", tmp_path / "noheart", tmp_path / "out")
    assert found["row"]["fault"] == study_prediction.NO_CANDIDATES
    assert found["facts"]["agatston_region"] == "no_heart"


def test_a_damaged_bundle_writes_nothing(tmp_path, studies):
    bundle_files.write(bundles.lesions(), tmp_path / "bundle")
    manifest = tmp_path / "bundle" / bundle_members.MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"pepper", b"papper"))
    cfg = PredictConfig(bundle=str(tmp_path / "bundle"), folder=str(studies), out=str(tmp_path / "out"))
    with pytest.raises(InputError, match=f"^{tmp_path}/bundle: .* damaged$"):
        prediction.predict(cfg, REPO)
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize("page", ["index.html", "study.html"])
def test_every_class_of_a_page_has_a_style(page):
    package = REPO / "cac_hpc"
    sheets = [package / "report" / "page" / "page.css", package / "predict" / "predict.css"]
    styled = set(re.findall(r"\.([a-z][\w-]*)", " ".join(sheet.read_text(encoding="utf-8") for sheet in sheets)))
    named = re.findall(r'class="([^"]*)"', (package / "predict" / page).read_text(encoding="utf-8"))
    used = {name for names in named for name in re.sub(r"{[{%].*?[%}]}", " ", names).split()}
    assert len(used) > 3
    assert used <= styled
