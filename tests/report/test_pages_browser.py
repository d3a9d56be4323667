"""The page in a real browser: no error, nothing loaded, nothing wider than the screen, nothing that axe-core finds."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.drill
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (make drill installs it)")
@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core (make drill installs it)")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1360, 500])
def test_a_browser_and_axe_find_nothing_wrong(finished_run, tmp_path, width, dark):
    text = (finished_run / "report" / "report.html").read_text(encoding="utf-8")
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
