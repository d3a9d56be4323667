"""The report of an external test, written like that of a run: page, Markdown, tables, figures, report.json."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pandas as pd

from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.evaluation import external, external_files, report_json
from cac_hpc.evaluation.external_files import ExternalTest
from cac_hpc.report import aggregation, checksums, pictures, publishing
from cac_hpc.results.report import Report
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.report import ReportConfig


def write(out: Path, test: ExternalTest, table: pd.DataFrame, dpi: int = ReportConfig.figure_dpi) -> Report:
    """Write the report into OUT/report, and beside it what it was made from.

    Args:
        test, table: as `external_inputs.collect` makes them. dpi: of PNG files.
    Raises: InputError if the report's place is a link, or holds that of another test.
    """
    external_files.check_place(out, test, table)
    out.mkdir(parents=True, exist_ok=True)
    report, run = external.report(test, table), RunPaths(out)
    made_now = Circumstances(datetime.now(timezone.utc).isoformat(timespec="seconds"), None, [], [], [])
    with publishing.elsewhere(run.report) as made:
        external_files.write(out, test, table)
        pictures.draw(made / "figures", report, dpi)
        aggregation.write(made, report, made_now, ReportConfig.window_hu)
        checksums.write(made)
        report_json.write(made / "report.json", report)
        publishing.publish(made, run.report)
    return report
