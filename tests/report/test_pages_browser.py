"""The page in a real browser: no error, nothing loaded, nothing wider than the screen, nothing that axe-core finds."""

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
from cac_hpc.run.config import LabelsConfig, ReportConfig
from tests.support.lesions import make_lesion_run

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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


@pytest.mark.drill
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (make drill installs it)")
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
    text = (run / "report" / name).read_text(encoding="utf-8")
    text = re.sub(r"<meta http-equiv.*?>", "", text)  # only the checker's own script needs that
    page = tmp_path / "report.html"
    page.write_text(text.replace("</body>", CHECK % AXE.read_text(encoding="utf-8")), encoding="utf-8")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    command += ["--virtual-time-budget=20000", f"--window-size={width},900", "--dump-dom", page.as_uri()]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.S)[1]))
    assert told.pop("wide") <= told.pop("screen")
    assert told == {"violations": [], "loaded": [], "wrong": []}
