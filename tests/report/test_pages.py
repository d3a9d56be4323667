"""The page of a report: whole, offline, readable by everybody, and nothing but what report.json says."""

import base64
import hashlib
import io
import itertools
import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cac_hpc.appendix import checklists
from cac_hpc.cluster import circumstances
from cac_hpc.report import aggregation, checksums, consistency, page_values
from cac_hpc.results.serialization import from_json
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.train import predictions
from cac_hpc.transfer import selection
from tests.support.page_reader import Reader
from tests.support.reports import make_run, printed_predictions, typed_report_of, vouch, write_folds
from tests.support.runs import REPO, job_here, pack, prepare, write_config, write_scans

HOSTILE = '<script>alert(1)</script> & "quotes" | $\\frac$'


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of real scans whose predictions are made up: some right, some wrong."""
    folder = tmp_path_factory.mktemp("pages")
    scans = write_scans(folder / "scans")
    labels = {"names": ["Very Low", "Low", "Low/Moderate", "Moderate", HOSTILE, "High"]}
    shown = {"title": HOSTILE, "draws": 200, "window_hu": [0.0, 510.0]}
    run = RunPaths(prepare(folder, scans, labels=labels, report=shown))
    pack(run.root)
    cfg = stored_settings.load(run.config)
    folds = json.loads(run.splits.read_text(encoding="utf-8"))["folds"]
    rng = np.random.default_rng(1)
    for index, fold in enumerate(folds):
        study = np.repeat(fold["test"], 6)
        label = np.array([int(name) % 6 for name in study])
        probability = rng.dirichlet(np.ones(6), len(study)).astype(np.float32)
        files = run.fold(index)
        files.attempts.mkdir(parents=True)
        files.attempt(1).write_text("{}")
        content = predictions.to_csv(list(study), np.tile(np.arange(6), len(study) // 6), index, label, probability)
        files.predictions.write_bytes(content)
        history = "epoch,train_loss,val_loss,val_accuracy,learning_rate,skipped_steps\n1,1.5,1.6,0.2,0.001,0\n"
        files.history.write_text(history + "2,1.2,1.4,0.3,0.0005,0\n", encoding="utf-8")
        files.speed.write_text("epoch,train_seconds,slices_per_second\n1,2.0,100\n2,4.0,200\n", encoding="utf-8")
        vouch(run, index)
    assert aggregation.aggregate(run.root)
    return run, cfg


@pytest.fixture(scope="module")
def page(finished):
    return (finished[0].report / "report.html").read_text(encoding="utf-8")


def test_every_element_is_closed_and_nothing_is_loaded(page):
    read = Reader(page)
    assert not read.wrong
    assert not read.open
    addresses = [
        value
        for _, attributes in read.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster")
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses if address != checklists.PAGE)
    assert "url(" not in page
    assert "@import" not in page
    policy = next(meta for meta in read.all("meta") if "http-equiv" in meta)
    assert policy["content"].startswith("default-src 'none'; base-uri 'none'; form-action 'none';")


def test_the_policy_admits_the_one_script_of_the_page_and_no_other(page):
    kinds = [attributes.get("type") for attributes in Reader(page).all("script")]
    assert kinds == ["application/json", None]  # the first holds data, which no browser runs
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    assert f"script-src 'sha256-{digest}'\">" in page
    for name in ("eval(", "Function(", "innerHTML", "outerHTML", "document.write", "fetch(", "import("):
        assert name not in script
    assert not re.search(r"<[^>]*\son[a-z]+=", page)
    assert "{{" not in page
    assert page.count(" hidden>") == 2  # what nothing fills without the script: edges at both levels


def test_people_who_do_not_see_it_can_read_it(page):
    read = Reader(page)
    assert read.all("html")[0]["lang"] == "en"
    assert [tag for tag, _ in read.elements].count("h1") == 1
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(image.get("alt") for image in read.all("img"))
    assert all(head.get("scope") in ("col", "row") for head in read.all("th"))
    assert len(read.all("table")) == len(read.all("caption"))
    named = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(named) == len(set(named))
    assert {link["href"].removeprefix("#") for link in read.all("a")} <= {*named, checklists.PAGE}
    regions = [region["aria-label"] for region in read.all("div") if region.get("role") == "region"]
    assert len(regions) == len(set(regions)) == len(read.all("table"))


def test_what_people_wrote_stands_there_as_text(page):
    assert "<script>alert" not in page
    assert "".join(Reader(page).text).count(HOSTILE) > 10


def test_the_sections_stand_in_the_order_of_questions(page):
    order = ["verdict", "cuts", "sets", "cohort", "patient", "slice", "readers", "looks", "more", "mistakes", "slices"]
    found = [section["id"] for section in Reader(page).all("section")]
    assert found == [*order, "training", "resources", "methods", "checklist", "settings", "provenance", "limits"]


def test_cohort_flow_and_folds_close(finished):
    run, _ = finished
    summary = disk.read_json(run.report / "report.json")
    for part in page_values._flow(summary["cohort"]["intake"]):
        assert part.found == part.used + sum(count for _, count in part.lost), part.unit
    for fold in summary["cohort"]["folds"]:
        assert sum(map(sum, fold)) == summary["cohort"]["patients"]


def test_slices_are_shown_as_they_are_in_the_window_that_is_named(finished, page):
    run, _ = finished
    summary = disk.read_json(run.report / "report.json")
    assert "window width 510 HU, level 255 HU" in page
    samples = summary["examples"]["samples"]["slices"]
    assert [example["true"] for example in samples] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert {example["slice"] for example in samples} == {3}
    shown = np.array(Image.open(run.report / "figures" / "slices_12.png"))
    study = samples[11]["study"]
    for shard in sorted(run.dataset(None).root.glob("shards/*.h5")):
        with h5py.File(shard) as file:
            rows = np.flatnonzero((file["study"].asstr()[:] == study) & (file["slice"][:] == 3))
            if len(rows):
                hu = file["images"][rows[0]].astype(float)
    assert np.abs(shown - np.clip(hu / 2, 0, 255)).max() <= 0.5
    encoded = [image["src"] for image in Reader(page).all("img") if image["alt"].startswith("Slice ")]
    assert len(encoded) == 24
    first = Image.open(io.BytesIO(base64.b64decode(encoded[11].partition(",")[2])))
    assert np.array_equal(np.array(first), shown)


def test_the_worst_slices_are_the_worst_by_their_rule(finished):
    """Against a plain loop over the predictions."""
    run, _ = finished
    worst = {}
    for index in range(3):
        for line in run.fold(index).predictions.read_text(encoding="utf-8").splitlines()[1:]:
            study, at, _, label, *texts = line.split(",")
            probability = [float(np.float32(text)) for text in texts]
            predicted = max(range(6), key=lambda number: probability[number])
            if predicted != int(label):
                key = (-abs(predicted - int(label)), -probability[predicted])
                worst.setdefault(study, []).append((key, int(at)))
    wanted = sorted((min(rows), study) for study, rows in worst.items())[:12]
    found = disk.read_json(run.report / "report.json")["examples"]["misclassified"]["slices"]
    assert [(one["study"], one["slice"]) for one in found] == [(study, at) for ((_, at), study) in wanted]


def test_the_page_without_slices_shows_none_and_is_the_one_that_travels(finished):
    run, _ = finished
    text = (run.report / "report_without_images.html").read_text(encoding="utf-8")
    assert not [image for image in Reader(text).all("img") if image["alt"].startswith("Slice ")]
    assert "data:image/png" not in text
    names = {item.name for item in selection.survey(run.root, selection.Selection(images=False)).items}
    assert "report/report_without_images.html" in names
    assert not [name for name in names if re.search("slices_|misclassified_|report.html", name)]
    names = {item.name for item in selection.survey(run.root, selection.Selection()).items}
    assert {"report/report.html", "report/figures/slices_01.png", "report/tables/results.tex"} <= names
    assert "report/report_without_images.html" not in names


def test_every_file_of_the_report_is_listed_with_its_digest(finished):
    run, _ = finished
    files = {path.relative_to(run.report).as_posix(): path for path in run.report.rglob("*") if path.is_file()}
    for name in ("report.json", checksums.FILE):
        del files[name]
    assert checksums.read(run.report) == {name: digests.file_sha256(path) for name, path in files.items()}


def test_the_same_run_gives_the_same_bytes_but_for_the_circumstances(finished):
    run, cfg = finished
    files = [path for path in run.report.rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    assert aggregation.aggregate(run.root)
    changed = {path.name for path in files if path.read_bytes() != before[path]}
    assert changed <= {"circumstances.json", "report.html", "report_without_images.html", checksums.FILE}
    told = from_json(json.loads(before[run.report / "circumstances.json"]), circumstances.Circumstances)
    again = aggregation.texts(run.report, typed_report_of(run), told, cfg.report.window_hu)
    for name in ("report.html", "report_without_images.html"):
        assert again[name].encode() == before[run.report / name], name


def test_a_page_that_was_edited_is_a_contradiction(finished):
    run, cfg = finished
    path = run.report / "report.html"
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(text.replace("How good is it?", "How bad is it?", 1), encoding="utf-8")
        found = consistency.contradictions(run, cfg, disk.read_json(run.report / "report.json"))
        assert [line.partition(",")[0] for line in found] == ["report.html"]
    finally:
        path.write_text(text, encoding="utf-8")


def test_without_shards_the_report_says_that_slices_cannot_be_shown(tmp_path):
    run = make_run(tmp_path, printed_predictions(), report={"draws": 200})
    assert aggregation.aggregate(run.root)
    text = "".join(Reader((run.report / "report.html").read_text(encoding="utf-8")).text)
    assert "shards are not there any more" in text
    assert not list(run.report.glob("figures/slices_*"))


def test_the_published_table_stands_beside_ours(tmp_path):
    table = tmp_path / "table.yaml"
    names = "[Very Low, Low, Low/Moderate, Moderate, Moderate/High, High]"
    rows = "\n".join(f"  - [{', '.join(str(2 * (row == column)) for column in range(6))}]" for row in range(6))
    table.write_text(f"title: A study\ncategories: {names}\nmatrix:\n{rows}\n", encoding="utf-8")
    run = make_run(tmp_path, printed_predictions(), report={"draws": 200, "published": str(table)})
    assert aggregation.aggregate(run.root)
    text = "".join(Reader((run.report / "report.html").read_text(encoding="utf-8")).text)
    assert text.count("A study, computed from its printed matrix of 12 slices") == 1  # at that level alone
    found = disk.read_json(run.report / "report.json")["published"]
    assert found["figures"]["accuracy"]["note"].startswith("a published matrix does not tell")
    assert "For comparison A study, computed" in (run.report / "report.md").read_text(encoding="utf-8")
    assert (run.report / "tables" / "published.csv").read_text(encoding="utf-8").startswith("category,support,")
    table.unlink()
    assert aggregation.aggregate(run.root)
    text = "".join(Reader((run.report / "report.html").read_text(encoding="utf-8")).text)
    assert "The published table table.yaml could not be read any more." in text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "which is not there"),
        ("matrix: [[1, 0], [0, 1]]\ncategories: [a, b]\n", "found the categories a, b, wanted those of labels.names"),
    ],
)
def test_a_published_table_that_cannot_stand_beside_is_refused_at_once(tmp_path, content, said):
    table = tmp_path / "table.yaml"
    if content:
        table.write_text(content, encoding="utf-8")
    scans = write_scans(tmp_path / "scans", 6)
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", report={"published": str(table)})
    done = job_here("launch_cv.py", "--config", config, "--dry_run")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_units_that_were_tested_again_are_told_as_tests(tmp_path):
    names = [f"s{index:02d}" for index in range(12)]
    predicted = {(name, index % 6): [index % 6, 0] for index, name in enumerate(names)}
    run = make_run(tmp_path, predicted, num_folds=3, report={"draws": 200}, split={"folds": 3, "scheme": "holdout"})
    studies = pd.read_csv(run.dataset(None).studies, dtype={"study": str, "patient": str})
    write_folds(run, studies, [names[:8], names[4:], names[2:10]], predicted, "holdout")
    assert aggregation.aggregate(run.root)
    assert "(48 tests of 24 slices, 24 tests of 12 patients)" in (run.report / "tables" / "results.tex").read_text()
    text = "".join(Reader((run.report / "report.html").read_text(encoding="utf-8")).text)
    assert "24 tests of 12 patients" in text
    assert "24 patients" not in text


def test_a_report_of_nothing_says_so_and_not_that_nothing_was_wrong(tmp_path):
    run = make_run(tmp_path, printed_predictions(), report={"draws": 200})
    for index in range(5):
        run.fold(index).predictions.unlink()
    assert not aggregation.aggregate(run.root)
    text = "".join(Reader((run.report / "report_PARTIAL.html").read_text(encoding="utf-8")).text)
    assert "No patient was tested." in text
    assert "No patient was predicted wrong" not in text


def test_folds_that_were_trained_otherwise_are_told(tmp_path):
    run = make_run(tmp_path, printed_predictions(), report={"draws": 200})
    vouch(run, 1, device="NVIDIA H100", precision="bf16", ranks=8)
    assert aggregation.aggregate(run.root)
    text = "".join(Reader((run.report / "report.html").read_text(encoding="utf-8")).text)
    assert "precision: fp32, bf16; device: cpu, NVIDIA H100; ranks: 2, 8." in text


@pytest.mark.parametrize("place", ["settings.train.epochs", "statistics.draws", "published.categories.0.recall.value"])
def test_settings_and_published_figures_that_were_changed_are_a_contradiction(tmp_path, place):
    run = make_run(
        tmp_path,
        printed_predictions(),
        report={"draws": 200, "published": str(REPO / "configs" / "published" / "nguyen.yaml")},
    )
    assert aggregation.aggregate(run.root)
    summary = disk.read_json(run.report / "report.json")
    *names, last = place.split(".")
    part = summary
    for name in names:
        part = part[int(name) if name.isdecimal() else name]
    part[last] = 0.5 if isinstance(part[last], float) else part[last] + 1
    found = consistency.contradictions(run, stored_settings.load(run.config), summary)
    assert any(re.match(rf"{names[0]}\S*.*{last if last != 'value' else 'recall'}", line) for line in found), found


def test_tables_say_what_report_they_are_of(tmp_path):
    run = make_run(tmp_path, printed_predictions(), report={"draws": 200})
    assert aggregation.aggregate(run.root)
    assert "status" not in pd.read_csv(run.report / "tables" / "figures.csv").columns
    run.fold(2).predictions.unlink()
    assert not aggregation.aggregate(run.root)
    for path in (run.report / "tables").glob("*.csv"):
        assert set(pd.read_csv(path)["status"]) == {"PARTIAL"}, path.name


def test_a_tie_with_chance_is_told_as_one(tmp_path):
    run = make_run(tmp_path, {(f"s{index}", 0): [0, 0] for index in range(6)}, num_folds=3, report={"draws": 200})
    aggregation.aggregate(run.root)
    text = (run.report / "report.md").read_text(encoding="utf-8")
    assert "the network is no better and no worse than that" in text


def test_latex_tables_escape_what_people_wrote_and_say_what_is_missing(tmp_path):
    names = ["50 %", "[1,10]", "x & y", "<#1>", "$5", r"\end{table}"]
    run = make_run(tmp_path, printed_predictions(), report={"draws": 200}, labels={"names": names})
    run.fold(2).predictions.unlink()
    assert not aggregation.aggregate(run.root)
    text = (run.report / "tables" / "confusion_patient.tex").read_text(encoding="utf-8")
    cells = [r"50 \%", "[1,10]", r"x \& y", r"\textless{}\#1\textgreater{}", r"\$5", r"\textbackslash end\{table\} \\"]
    assert " & ".join(cells) in text
    assert "\n{}[1,10] & " in text  # or the line before would take it for its option
    assert r"\caption{PARTIAL: Patient level" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
