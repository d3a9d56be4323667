"""What a cluster allows, read from its own words: real ones, strange ones and none."""

import math

import pytest

from cac_hpc.cluster import accounting, feasibility, needs, site_limits
from cac_hpc.cluster.accounting import Allowance
from cac_hpc.cluster.site_limits import Limits
from tests.support.settings import changed
from tests.support.site_answers import on_gpus, partition_says, resources


def test_a_partition_is_what_its_largest_node_is(tools):
    found = site_limits.read("gpu")
    assert (found.partitions, found.default, found.partition) == (("cpu", "gpu", "old"), "cpu", "gpu")
    assert (found.time_min, found.nodes, found.nodes_at_most) == (3630, 6, 4)  # two of eight are drained
    assert (found.cpus, found.mem_mb, found.gpus, found.array_size) == (128, 1030000, 8, 3001)
    assert found.accounting.partition_qos == "part_gpu"
    assert [each.account for each in found.accounting.associations] == ["heart", "lung"]  # bone is another cluster's
    assert found.accounting.qos["long"] == Allowance(14 * 1440, 10, True)


def test_without_a_partition_it_is_the_default_one_and_of_several_the_widest(tools):
    found = site_limits.read(None)
    assert (found.partition, found.time_min, found.nodes, found.nodes_at_most) == ("cpu", 1440, 40, 42)
    assert (found.mem_mb, found.gpus) == (191000, 0)
    both = site_limits.read("cpu,gpu")
    assert (both.time_min, both.cpus, both.gpus, both.accounting.partition_qos) == (3630, 128, 8, None)


def test_without_tools_nothing_is_known_and_nothing_is_a_fault(tmp_path, monkeypatch, cfg):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = site_limits.read("gpu")
    assert found == Limits(partition="gpu", each=(Limits(partition="gpu"),))
    assert feasibility.faults(found, on_gpus(cfg, partition="gpu", account="nobody", qos="none")) == []
    assert needs.most_pack_tasks(found, cfg) is None


@pytest.mark.parametrize(
    "said", ["", "slurm_load_partitions: Unable to contact slurm controller\n", "a|b\n", "||||||||\n", "\x1b[0m|" * 8,
             "gpu|up|soon|many|few|lots|?|idle|gpu:x:y\n", "MaxArraySize = big\nAccountingStorageEnforce\n", "é" * 9999]
)  # fmt: skip
def test_strange_answers_are_nobodys_limits(tools, cfg, said):
    for name in tools.iterdir():
        name.write_text(said, encoding="utf-8")
    found = site_limits.read("gpu")
    assert (found.time_min, found.cpus, found.mem_mb, found.array_size) == (None, None, None, None)
    assert feasibility.faults(found, changed(cfg, partition="gpu", account="heart", qos="normal")) == []


def test_the_question_for_associations_names_the_user():
    assert "user=somebody" in accounting.associations_of("somebody")


@pytest.mark.timeout(120)
def test_the_limits_of_a_real_cluster(slurm, monkeypatch, cfg):
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    found = site_limits.read(None)
    assert (found.partitions, found.default, found.partition, found.state) == (("dev", "urgent"), "dev", "dev", "up")
    assert (found.time_min, found.nodes_at_most, found.cpus, found.mem_mb, found.gpus) == (math.inf, 4, 4, 6000, 2)
    assert (found.array_size, found.accounting.enforced) == (1001, ("none",))
    assert (
        feasibility.faults(found, on_gpus(cfg, fold=resources(mem_gb=5.8), pack=resources(), aggregate=resources()))
        == []
    )
    over = on_gpus(cfg, ranks_per_node=3, cpus_per_rank=2, fold=resources(mem_gb=6), pack=resources())
    assert [fault.split(",")[0] for fault in feasibility.faults(found, over)] == [
        "cluster.ranks_per_node x cpus_per_rank asks 6 CPUs of a node",
        "cluster.fold.mem_gb is 6",
        "cluster.ranks_per_node asks 3 GPUs of a node",
    ]


def test_of_a_partition_with_rules_all_are_read(tools, cfg):
    (tools / "partition").write_text(
        "PartitionName=gpu AllowGroups=ALL AllowAccounts=heart AllocNodes=ALL MaxNodes=4 MinNodes=1 "
        "MaxCPUsPerNode=32 MaxMemPerNode=UNLIMITED QoS=part_gpu State=UP\n", encoding="utf-8"
    )  # fmt: skip
    found = site_limits.read("gpu")
    assert (found.cpus_per_node, found.nodes_at_least, found.mem_per_node_mb) == (32, 1, None)
    assert found.accounting.default_account == "heart"
    over = on_gpus(cfg, partition="gpu", account="heart", qos="normal", cpus_per_rank=17)
    assert feasibility.faults(found, over) == [
        "cluster.ranks_per_node x cpus_per_rank asks 34 CPUs of a node, wanted at most 32: "
        "MaxCPUsPerNode of partition gpu"
    ]


@pytest.mark.parametrize(
    ("partition", "cluster", "expected"),
    [("MaxMemPerNode=UNLIMITED", "MaxMemPerCPU = 500", (500, None)),
     ("MaxMemPerCPU=1000", "MaxMemPerCPU = 500", (1000, None)),
     ("MaxMemPerNode=9000", "MaxMemPerCPU = 500", (None, 9000)),
     ("MaxMemPerNode=UNLIMITED", "MaxMemPerNode = 8000", (None, 8000)),
     ("MaxMemPerNode=UNLIMITED", "MaxMemPerNode = UNLIMITED", (None, None)),
     ("MaxMemPerCPU=0", "", (None, None))],
)  # fmt: skip
def test_the_memory_limit_is_the_partitions_else_the_clusters(tools, partition, cluster, expected):
    partition_says(tools, {"cpu": partition})
    with (tools / "config").open("a", encoding="utf-8") as file:
        file.write(f"{cluster}\n")
    found = site_limits.read(None)
    assert (found.mem_per_cpu_mb, found.mem_per_node_mb) == expected
