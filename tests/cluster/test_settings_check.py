"""What the settings name must be there before a run begins."""

import pytest

from cac_hpc.cluster import settings_check
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError
from tests.support.runs import write_config


def test_a_run_with_folds_goes_on_without_the_run_that_it_was_compared_with(tmp_path, capsys):
    run, other = RunPaths(tmp_path / "run"), tmp_path / "other"
    run.root.mkdir()
    with pytest.raises(InputError, match="which is this run; wanted the folder of a finished run"):
        settings_check.check_compared(run, str(run.root))
    with pytest.raises(InputError, match=r"which has no report/report\.json; wanted the folder"):
        settings_check.check_compared(run, str(other))
    write_config(run.config, tmp_path, run.root, report={"compare": str(other)})
    run.splits.write_text("{}", encoding="utf-8")
    settings_check.check_compared(run, str(other))
    assert "note: report.compare is" in capsys.readouterr().out
    with pytest.raises(InputError, match="wanted the folder"):
        settings_check.check_compared(run, str(tmp_path / "another"))
