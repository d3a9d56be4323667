"""Which settings cannot work on a cluster, and what jobs will wait for there."""

import pytest

from cac_hpc.cluster import feasibility, needs, site_limits
from cac_hpc.cluster.accounting import Accounting, Allowance, Association
from cac_hpc.cluster.site_limits import Limits
from tests.support.settings import changed
from tests.support.site_answers import SINFO, on_gpus, partition_says, resources


def test_what_fits_is_no_fault(tools, cfg):
    fits = on_gpus(cfg, partition="gpu", account="Heart", qos="normal", ranks_per_node=8, nodes_per_fold=4)
    assert feasibility.faults(site_limits.read("gpu"), changed(fits, fold=resources(3630, 1030000 / 1024))) == []


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"partition": "gpus"}, "cluster.partition is 'gpus', which this cluster does not have; wanted one"),
        ({"partition": "old"}, "cluster.partition is 'old', which takes no jobs now (drain); wanted another one"),
        ({"partition": "gpu", "qos": "normal", "fold": resources(3631)}, "cluster.fold.time_min is 3631, wanted"),
        ({"qos": "normal", "pack": resources(1441)}, "cluster.pack.time_min is 1441, wanted at most 1440: the limit"),
        ({"account": "lung", "fold": resources(721)}, "cluster.fold.time_min is 721, wanted at most 720: the"),
        ({"fold": resources(mem_gb=200)}, "cluster.fold.mem_gb is 200, wanted at most 186.5 for a node: pa"),
        ({"aggregate": resources(cpus=33)}, "cluster.aggregate.cpus asks 33 CPUs of a node, wanted at most 32"),
        ({"cpus_per_rank": 17}, "cluster.ranks_per_node x cpus_per_rank asks 34 CPUs of a node, wanted at most 32"),
        ({"partition": "gpu", "nodes_per_fold": 5}, "cluster.nodes_per_fold is 5, wanted at most 4"),
        ({"account": "bone"}, "cluster.account is 'bone', wanted one that is yours: heart, lung"),
        ({"account": "lung", "qos": "long"}, "cluster.qos is 'long', wanted one that is yours: normal"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_named_with_its_setting(tools, cfg, values, fault):
    found = feasibility.faults(site_limits.read(values.get("partition")), changed(cfg, **values))
    assert len(found) == 1, found
    assert found[0].startswith(fault)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"ranks_per_node": 9}, "cluster.ranks_per_node asks 9 GPUs"),
        ({"gpus_per_node": 9}, "cluster.gpus_per_node asks 9 GPUs"),
        ({"gres": "gpu:h100:9"}, "cluster.gres asks 9 GPUs"),
        ({"folds_per_node": 5}, "cluster.folds_per_node x ranks_per_node asks 10 GPUs"),
    ],
)
def test_gpus_that_no_node_has_are_named_with_what_asks_for_them(tools, cfg, values, key):
    found = feasibility.faults(site_limits.read("gpu"), on_gpus(cfg, partition="gpu", **values))
    assert found == [f"{key} of a node, wanted at most 8: partition gpu has no more"]


def test_gpus_under_another_name_are_left_to_slurm(tools, cfg):
    assert (
        feasibility.faults(site_limits.read("gpu"), on_gpus(cfg, partition="gpu", gres="npu:9", ranks_per_node=9)) == []
    )


def test_of_several_partitions_one_that_takes_jobs_is_enough(tools, cfg):
    assert feasibility.faults(site_limits.read("old,cpu"), changed(cfg, partition="old,cpu")) == []
    assert feasibility.faults(site_limits.read("old"), changed(cfg, partition="old"))


def test_a_cluster_without_a_default_partition_wants_one(tools, cfg):
    (tools / "sinfo").write_text(SINFO.replace("*|up", "|up"), encoding="utf-8")
    found = feasibility.faults(site_limits.read(None), cfg)
    assert found == [
        "cluster.partition is not set, but this cluster has no default partition; wanted one of cpu, gpu, old"
    ]


def test_folds_and_shards_stay_below_the_limits_of_arrays_and_the_queue(cfg):
    mine = (Association("heart", (), Allowance(None, 12)),)
    found = Limits(array_size=8, accounting=Accounting(("limits",), mine))
    many = changed(cfg, "split", folds=10, val_fraction=0.1)
    assert feasibility.faults(found, many) == [
        "split.folds gives 10 array tasks, wanted at most 8 (MaxArraySize): raise cluster.folds_per_node",
        "split.folds gives 10 array tasks, wanted at most 9 (MaxSubmitJobs 12 of account heart, of which a shard, seal "
        "and report take 3): raise cluster.folds_per_node",
    ]  # fmt: skip
    assert feasibility.faults(found, changed(many, folds_per_node=2)) == []
    assert needs.most_pack_tasks(found, changed(many, folds_per_node=2)) == 12 - 5 - 2  # the seal and the report
    assert needs.most_pack_tasks(Limits(array_size=8), many) == 8


def test_gpus_that_nothing_is_computed_on_are_a_note(cfg):
    asked = changed(cfg, gres="gpu:a100:2")
    assert feasibility.notes(site_limits.Limits(), asked) == [
        "cluster.gres is 'gpu:a100:2', but train.device is cpu: no GPU is asked for; train.device cuda trains on them"
    ]


def test_nodes_and_partitions_out_of_service_are_a_note(tools, cfg):
    lines = [f"cpu*|down|1:00:00|1-4|{nodes}|32|191000|{state}|\n" for nodes, state in ((3, "drained"), (1, "down*"))]
    (tools / "sinfo").write_text("".join(lines), encoding="utf-8")
    assert feasibility.notes(site_limits.read(None), cfg) == [
        "partition cpu is down: jobs are taken, and wait until it is up again (sinfo -s)",
        "no node of partition cpu is in service (3 drained, 1 down*): jobs are taken, and wait; sinfo -R says why",
    ]


def test_memory_that_costs_more_cores_is_told_with_what_avoids_it(tools, cfg):
    partition_says(tools, {"cpu": "MaxMemPerCPU=1000"})
    asked = changed(cfg, fold=resources(mem_gb=7.5), pack=resources(mem_gb=3, cpus=4), aggregate=resources(mem_gb=2))
    assert asked.cluster.ranks_per_node == 2
    found = site_limits.read(None)
    assert feasibility.notes(found, asked) == [
        "cluster.fold.mem_gb is 7.5, more than goes with 2 CPUs (MaxMemPerCPU): SLURM gives, and counts, 8 CPUs of a "
        "node; ask for less memory, or use them with cluster.cpus_per_rank 4",
        "cluster.aggregate.mem_gb is 2, more than goes with 1 CPUs (MaxMemPerCPU): SLURM gives, and counts, 3 CPUs of "
        "a node; ask for less memory, or use them with cluster.aggregate.cpus 3",
    ]
    assert feasibility.faults(found, asked) == []
    partition_says(tools, {"cpu": "MaxMemPerCPU=UNLIMITED"})
    assert feasibility.notes(site_limits.read(None), asked) == []
