"""The command for a job that never starts."""

import pytest

from cac_hpc.cluster import remedies
from cac_hpc.run.causes import CANCEL_AND_RESUME
from cac_hpc.settings import config
from tests.support.settings import changed
from tests.support.site_answers import SMALL, partition_says, resources
from tests.support.standins import bare_run


@pytest.mark.parametrize(
    ("reason", "rules", "values", "cure"),
    [
        ("PartitionTimeLimit", "", {"fold": resources(1500, 0.5)}, "--cluster.fold.time_min 1440"),
        ("AccountNotAllowed", "AllowAccounts=lung", {"account": "heart"}, "--cluster.account lung"),
        ("QOSNotAllowed", "AllowQos=long", {"account": "heart", "qos": "normal"}, "--cluster.qos long"),
        ("PartitionConfig", "AllowAccounts=bone", {}, "--cluster.partition gpu"),
        ("MaxMemPerLimit", "MaxMemPerNode=1000", {"fold": resources(60, 2)}, "--cluster.fold.mem_gb 0.9"),
        ("PartitionNodeLimit", "AllowAccounts=bone", {"partition": "cpu,gpu", "qos": "normal"}, None),
        ("QOSMaxCpuPerUserLimit", "", {}, None),  # it only waits
        ("Priority", "", {}, None),
    ],
)
def test_the_command_for_a_job_that_never_starts_has_values_that_work(
    tools, cfg, tmp_path, reason, rules, values, cure
):
    partition_says(tools, {"cpu": rules, "gpu": rules if cure is None else ""})
    run = bare_run(tmp_path / "run")
    run.config.write_text(config.to_yaml(changed(cfg, **{**SMALL, **values})), encoding="utf-8")
    found = remedies.Remedies(run).find("folds", reason)
    assert (found and found.help) == (cure and f"{CANCEL_AND_RESUME} {cure}")
