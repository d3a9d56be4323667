"""The page in a real browser: no error, nothing loaded, nothing wider than the screen, nothing that axe-core finds, and
what its reader chooses is what report.json says.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cac_hpc.evaluation import external_inputs, predicted
from cac_hpc.evaluation.external_inputs import Asked
from cac_hpc.report import aggregation, external_report
from cac_hpc.sections import formatting
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig
from tests.support.lesions import make_lesion_run
from tests.support.reports import make_judged_run

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (make drill installs it)")
CHECK = """
<script>%s</script><script>
const loaded = [], wrong = [];
new PerformanceObserver(list => loaded.push(...list.getEntries().map(entry => entry.name)))
  .observe({type: "resource", buffered: true});
addEventListener("error", event => wrong.push(String(event.message)), true);
addEventListener("load", async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  const told = {
    violations: found.violations.map(one => [one.impact, one.id, one.nodes[0].html]),
    loaded: loaded.filter(name => !name.startsWith("data:")), wrong,
    wide: document.documentElement.scrollWidth, screen: innerWidth,
  };
  document.body.innerHTML = "<pre id=told></pre>";
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script></body>"""


@pytest.fixture(scope="module")
def lesion_run(tmp_path_factory):
    """A run of a lesion model whose page shows all that such a page can."""
    score = (0.0, 8.0, 60.0, 300.0, 800.0, 3000.0)
    studies = {
        f"s{number:02d}": (
            number % 6,
            score[number % 6],
            [(score[number % 6] or 5.0, 0.9, 0.3 if number in (0, 4) else 0.97), (150.0, 0.7, 0.04)],
        )
        for number in range(18)
    }
    facts = {
        "agatston_score": {study: of_study[1] for study, of_study in studies.items()},
        "agatston_slices": dict.fromkeys(studies, "150 0 0 0"),
        "agatston_empty_slices": dict.fromkeys(studies, 0.5),
    }
    run = make_lesion_run(tmp_path_factory.mktemp("lesions"), studies, facts=facts)
    assert aggregation.aggregate(run.root)
    return run.root


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory):
    """A run with enough patients above and below each cut."""
    run = make_judged_run(tmp_path_factory.mktemp("judged"))
    assert aggregation.aggregate(run.root)
    return run.root


@pytest.fixture(scope="module")
def external_test(tmp_path_factory):
    """Predictions of two programs, held against a sheet with a study more."""
    folder, scores = tmp_path_factory.mktemp("external"), [0, 5, 50, 200, 700, 2000] * 2
    table = pd.DataFrame({"study": [f"{number:03d}" for number in range(12)], "score": scores})
    for name, rows in (("labels", 12), ("ours", 11), ("theirs", 12)):
        table.head(rows).to_csv(folder / f"{name}.csv", index=False)
    cfg, asked = LabelsConfig(sheet=str(folder / "labels.csv"), unmatched="skip"), Asked("Test", "ab", ReportConfig())
    ours, theirs = (predicted.read(folder / f"{name}.csv", cfg.names, cfg.edges) for name in ("ours", "theirs"))
    external_report.write(folder, *external_inputs.collect(ours, [theirs], cfg, asked, None), dpi=50)
    return folder


DRIVER = """
const told = {shown: [], edges: {}};
const read = (where, name) => [...where.querySelectorAll(name)].map(cell => cell.textContent);
const choose = (control, value) => { control.value = value; control.dispatchEvent(new Event("input")); };
const decide = document.getElementById("decide"), level = document.querySelector("[data-level=patient]");
const [cut, threshold] = decide.querySelectorAll("[data-choose]");
for (const option of cut.options) for (const place of [0, 3, 9, 18]) {
  choose(cut, option.value);
  choose(threshold, place);
  told.shown.push({cut: option.text, place, said: read(decide, "[data-said]")[0], counts: read(decide, "[data-count]"),
    rows: [...decide.querySelectorAll("[data-rows] tr")].map(row => read(row, "th, td")), at: threshold.ariaValueText});
}
for (const option of level.querySelector("select").options) {
  choose(level.querySelector("select"), option.value);
  told.edges[option.text] = read(level, "[data-count]");
}
told.live = read(document, "[aria-live=polite]").length;
document.body.innerHTML = "<pre id=told></pre>";
document.getElementById("told").textContent = JSON.stringify(told);
"""
OPENER = """
const open = () => [...document.querySelectorAll("article details[open]")].map(one => `#${one.closest("article").id}`);
const link = document.querySelector("a[href^='#patient-']"), told = {before: open(), target: link.getAttribute("href")};
link.click();
told.after = open();
document.body.innerHTML = "<pre id=told></pre>";
document.getElementById("told").textContent = JSON.stringify(told);
"""
NARROW = """<iframe src="report.html" style="width: 320px; height: 900px"></iframe><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument.documentElement;
  const told = {wide: page.scrollWidth, screen: page.clientWidth};
  document.body.innerHTML = "<pre id=told></pre>";
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script>"""


def in_browser(page, *options):
    """The page's document after its scripts."""
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={page.parent / 'browser'}",
    ]
    command += ["--virtual-time-budget=20000", *options, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def told_by(page, *options):
    return json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', in_browser(page, *options), re.S)[1]))


def written(run, name="report.html"):
    return (run / "report" / name).read_text(encoding="utf-8")


@pytest.mark.drill
@needs_browser
@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core (make drill installs it)")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1360, 500])
@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("finished_run", "report.html"),
        ("lesion_run", "report.html"),
        ("lesion_run", "checklist.html"),
        ("external_test", "report_EXTERNAL.html"),
    ],
)
def test_a_browser_and_axe_find_nothing_wrong(request, tmp_path, model, name, width, dark):
    run = request.getfixturevalue(model)
    text = written(run, name)
    text = re.sub(r"<meta http-equiv.*?>", "", text)  # only the checker's own script needs that
    text = text.replace('class="fold"', 'class="fold" open')  # or nobody looks into it
    page = tmp_path / "report.html"
    page.write_text(text.replace("</body>", CHECK % AXE.read_text(encoding="utf-8")), encoding="utf-8")
    told = told_by(page, f"--window-size={width},900", *["--blink-settings=preferredColorScheme=0"] * dark)
    assert told.pop("wide") <= told.pop("screen")
    assert told == {"violations": [], "loaded": [], "wrong": []}


@pytest.mark.drill
@needs_browser
@pytest.mark.parametrize("model", ["finished_run", "lesion_run", "external_test"])
def test_a_narrow_phone_scrolls_tables_and_not_the_page(request, tmp_path, model):
    run = request.getfixturevalue(model)
    text = written(run, "report_EXTERNAL.html" if model == "external_test" else "report.html")
    (tmp_path / "report.html").write_text(text.replace('class="fold"', 'class="fold" open'), encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(NARROW, encoding="utf-8")
    told = told_by(frame, "--allow-file-access-from-files")
    assert 300 <= told["screen"] <= 320
    assert told["wide"] <= told["screen"]


@pytest.mark.drill
@needs_browser
def test_what_a_reader_chooses_is_what_report_json_says(tmp_path, judged_run):
    """The page's own policy holds, with this test's script besides."""
    text, page = written(judged_run), tmp_path / "report.html"
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    page.write_text(text.replace("</body>", f"<script>{DRIVER}</script></body>"), encoding="utf-8")
    told, found = told_by(page), json.loads(written(judged_run, "report.json"))
    at = {one["event"]: one for one in found["cuts"]["at"]}
    assert len(told["shown"]) == 4 * len(at) == 12
    for shown in told["shown"]:
        one, place = at[shown["cut"]], shown["place"]
        curves = one["decisions"]
        assert shown["at"] == f"{curves['thresholds'][place]:.2f}"
        for way, row in zip(curves["ways"], shown["rows"], strict=True):
            true, false = way["true_positives"][place], way["false_positives"][place]
            benefit = (true - false * curves["thresholds"][place] / (1 - curves["thresholds"][place])) / one["n"]
            assert benefit == pytest.approx(way["values"][place])
            values = [benefit, true / one["positives"], 1 - false / one["negatives"]]
            assert [cell.partition(" ")[0] for cell in row[1:]] == [formatting.number(value, 2) for value in values]
            if way["key"] == "model":
                counts = [true, one["positives"] - true, false, one["negatives"] - false]
                assert shown["counts"] == list(map(str, counts))
    matrix, scores = found["levels"]["patient"]["pooled"]["confusion_matrix"], [0, 10, 100, 400, 1000]
    for above, score in enumerate(scores, start=1):
        sides = (slice(above, None), slice(None, above))
        counts = [sum(sum(row[side]) for row in matrix[of]) for of in sides for side in sides]
        assert told["edges"][f"above {score}"] == list(map(str, counts))
    assert told["live"] == 3


@pytest.mark.drill
@needs_browser
def test_a_row_of_a_wrong_patient_opens_its_lesions(tmp_path, lesion_run):
    digest = base64.b64encode(hashlib.sha256(OPENER.encode()).digest()).decode()
    text, page = (
        written(lesion_run).replace("script-src ", f"script-src 'sha256-{digest}' ", 1),
        tmp_path / "report.html",
    )
    page.write_text(text.replace("</body>", f"<script>{OPENER}</script></body>"), encoding="utf-8")
    told = told_by(page)
    assert told["before"] == []
    assert told["after"] == [told["target"]]


@pytest.mark.drill
@needs_browser
def test_without_scripts_nothing_is_offered_that_would_not_work(tmp_path, judged_run):
    page = tmp_path / "report.html"
    page.write_text(re.sub(r"<script>.*?</script>", "", written(judged_run), flags=re.S), encoding="utf-8")
    without = in_browser(page)
    page.write_text(written(judged_run), encoding="utf-8")
    assert without.count(" hidden") > in_browser(page).count(" hidden")
