"""A report that says anything else than its predictions, matrices and tables is found out."""

import json
import re

import pytest

from cac_hpc.report import aggregation, consistency
from cac_hpc.results.report import FORMAT_VERSION
from cac_hpc.run import disk
from cac_hpc.settings import stored_settings
from tests.support.reports import check_report, make_run, printed_predictions
from tests.support.runs import job_here


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("reported"), printed_predictions(), report={"draws": 200})
    assert aggregation.aggregate(run.root)
    return run


def found_in(run, change):
    summary = disk.read_json(run.report / "report.json")
    change(summary)
    return list(consistency.contradictions(run, stored_settings.load(run.config), summary))


def test_a_finished_report_contradicts_nothing(reported):
    check_report(reported)
    assert job_here("check_table.py", reported.report / "report.json").returncode == 0


def numbers(content, path=()):
    """Every number in plain values, as where it stands."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)
        yield from numbers(value, (*path, key))


def test_every_single_number_of_the_levels_and_the_cohort_is_checked(reported):
    summary = disk.read_json(reported.report / "report.json")
    again = json.loads(json.dumps(summary))
    places = [(part, *path) for part in ("levels", "cohort") for path in numbers(summary[part])]
    assert len(places) > 2500
    for place in places:
        holder = again
        for key in place[:-1]:
            holder = holder[key]
        kept, holder[place[-1]] = holder[place[-1]], holder[place[-1]] + 1
        part, section = place[:2]  # comparing all the rest each time would take minutes
        assert list(consistency.differences(again[part][section], summary[part][section], part)), place
        holder[place[-1]] = kept


@pytest.mark.parametrize(
    ("level", "name", "value"), [("slice", "errors", 32), ("patient", "n", 31), ("slice", "over_estimated", 20)]
)
def test_a_count_that_its_matrix_does_not_give_is_named(reported, level, name, value):
    found = found_in(reported, lambda summary: summary["levels"][level]["pooled"].update({name: value}))
    assert any(re.match(rf"levels\.{level}\.pooled\.{name}: found {value}, recomputed \d+", line) for line in found)


def test_a_figure_an_interval_and_a_cell_are_named(reported):
    def change(summary):
        pooled = summary["levels"]["slice"]["pooled"]
        pooled["figures"]["kappa_plain"]["value"] = 0.962
        pooled["figures"]["kappa_linear"]["low"] = 0.5
        pooled["confusion_matrix"][0][0] += 1

    found = "\n".join(found_in(reported, change))
    assert "levels.slice.pooled.figures.kappa_plain.value: found 0.962, recomputed 0.95981" in found
    assert "levels.slice.pooled.figures.kappa_linear.low: found 0.5" in found
    assert "levels.slice.pooled.confusion_matrix[0][0]: found 241, recomputed 240" in found
    assert "report.md, line" in found


def test_tables_and_text_that_were_changed_are_named_with_their_line(reported):
    path = reported.report / "tables" / "confusion_slice.csv"
    kept = path.read_text()
    path.write_text(kept.replace("240", "241"))
    done = job_here("check_table.py", reported.report / "report.json")
    path.write_text(kept)
    assert done.returncode == 1
    assert "tables/confusion_slice.csv, line 2: not what report.json says" in done.stdout


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"format_version": 4}', f"found format version 4, wanted {FORMAT_VERSION}"),
        ("{}", f"found no format version, wanted {FORMAT_VERSION}"),
        (f'{{"format_version": [{"[1], " * 1000} 2]}}', "found format version [[1], [1], [1], [1], [1], [1], [1], "),
        (f'{{"format_version": {FORMAT_VERSION}}}', "not a report that can be checked ("),
    ],
)  # fmt: skip
def test_a_report_of_another_format_is_refused_with_the_command_that_makes_it_again(reported, tmp_path, content, found):
    run = tmp_path / "a run"
    (run / "report").mkdir(parents=True)
    (run / "config.yaml").write_text((reported.root / "config.yaml").read_text())
    (run / "report" / "report.json").write_text(content)
    done = job_here("check_table.py", run / "report" / "report.json")
    assert done.returncode == 2
    assert found in done.stderr
    assert done.stderr.endswith(f"; python jobs/aggregate.py --run '{run}' makes it again\n")
    assert len(done.stderr) < 600
