"""What a cluster allows, read from its own words: real ones, strange ones and none; and which settings cannot work."""

import dataclasses
import math
import os

import pytest

from cac_hpc.cluster import accounting, limits
from cac_hpc.cluster.accounting import Accounting, Allowance, Association
from cac_hpc.cluster.limits import Limits
from cac_hpc.run import config, notation, settings
from cac_hpc.run.config import Resources
from tests.runs import write_config

SINFO = """\
cpu*|up|1-00:00:00|1-infinite|40|32|191000+|mixed|(null)
cpu*|up|1-00:00:00|1-infinite|2|32|191000|down*|(null)
gpu|up|2-12:30:00|1-4|6|64|515000|idle|gpu:a100:4(S:0-1),shard:16
gpu|up|2-12:30:00|1-4|2|128|1030000|drained|gpu:h100:8(S:0,1)
old|drain|infinite|1|1|16|64000|idle|gpu:2
"""
CONFIG = """\
Configuration data as of 2026-01-05T10:00:00
AccountingStorageEnforce = associations,limits,qos,safe
ClusterName             = north
MaxArraySize            = 3001
"""
PARTITIONS = """\
PartitionName=cpu AllowGroups=ALL AllowQos=ALL Default=YES QoS=N/A MaxTime=1-00:00:00 State=UP
PartitionName=gpu AllowGroups=ALL AllowQos=ALL Default=NO QoS=part_gpu MaxTime=2-12:30:00 State=UP
"""
ASSOCIATIONS = "north|heart|normal,long|||normal\nnorth|lung|normal|20|12:00:00|\nsouth|bone|normal|||\n"
TREE = "north|root|\nnorth|clinic|root\nnorth|heart|clinic\nnorth|heart|\nnorth|lung|root\nsouth|lung|heart\n"
USER = "ada|heart\n"
QOS = "normal||500|\nlong|14-00:00:00|10|DenyOnLimit,PartitionTimeLimit\npart_gpu||200|\n"
SCRIPT = """\
#!/bin/sh
case "$*" in
*ParentName*) cat {folder}/tree;;
*associations*) cat {folder}/associations;;
*" user "*) cat {folder}/user;;
*qos*) cat {folder}/qos;;
*config*) cat {folder}/config;;
*partition*) cat {folder}/partition;;
*) cat {folder}/sinfo;;
esac
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Put stand-ins for SLURM's tools first on PATH; they say what stands in the files that are returned."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, said in (("sinfo", SINFO), ("config", CONFIG), ("partition", PARTITIONS),
                       ("associations", ASSOCIATIONS), ("qos", QOS), ("tree", TREE), ("user", USER)):  # fmt: skip
        (folder / name).write_text(said, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for name in ("sinfo", "scontrol", "sacctmgr"):
        (tmp_path / "bin" / name).write_text(SCRIPT.format(folder=folder), encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return folder


@pytest.fixture
def cfg(tmp_path, scans):
    return settings.load(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run"))


def changed(cfg, section="cluster", **values):
    return dataclasses.replace(cfg, **{section: dataclasses.replace(getattr(cfg, section), **values)})


def on_gpus(cfg, **values):
    return changed(changed(cfg, "train", device="cuda"), **values)


def resources(time_min=60, mem_gb=2.0, cpus=1):
    return Resources(time_min=time_min, mem_gb=mem_gb, cpus=cpus)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-00:00:00", 1440), ("2-12:30:00", 3630), ("1-6", 1800), ("1-6:30", 1830), ("12:00:00", 720), ("30:00", 30),
        ("90", 90), ("0:30", 0.5), ("infinite", math.inf), ("UNLIMITED", math.inf), ("n/a", None), ("", None),
        ("soon", None), ("1:2:3:4", None),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_writes_them(text, expected):
    assert notation.minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6000", 6000), ("2T", 2097152), ("187.5G", 192000), ("4000+", 4000), ("512M", 512), ("2048K", 2),
     ("UNLIMITED", None), ("", None), ("-5", None)],
)  # fmt: skip
def test_memory_is_read_in_megabytes(text, expected):
    assert notation.megabytes(text) == expected


@pytest.mark.parametrize(
    ("gres", "expected"),
    [("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:2(S:0,1),gpu:v100:1", 3), ("(null)", None),
     ("craynetwork:4", None), ("gpu:h100:8,shard:64", 8), ("gpu", 1), ("gpu:0", 0), ("", None)],
)  # fmt: skip
def test_gpus_are_counted_whatever_their_model(gres, expected):
    assert notation.gpus(gres) == expected


def test_a_partition_is_what_its_largest_node_is(tools):
    found = limits.read("gpu")
    assert (found.partitions, found.default, found.partition) == (("cpu", "gpu", "old"), "cpu", "gpu")
    assert (found.time_min, found.nodes, found.nodes_at_most) == (3630, 6, 4)  # two of eight are drained
    assert (found.cpus, found.mem_mb, found.gpus, found.array_size) == (128, 1030000, 8, 3001)
    assert found.accounting.partition_qos == "part_gpu"
    assert [each.account for each in found.accounting.associations] == ["heart", "lung"]  # bone is another cluster's
    assert found.accounting.qos["long"] == Allowance(14 * 1440, 10, True)


def test_without_a_partition_it_is_the_default_one_and_of_several_the_widest(tools):
    found = limits.read(None)
    assert (found.partition, found.time_min, found.nodes, found.nodes_at_most) == ("cpu", 1440, 40, 42)
    assert (found.mem_mb, found.gpus) == (191000, 0)
    both = limits.read("cpu,gpu")
    assert (both.time_min, both.cpus, both.gpus, both.accounting.partition_qos) == (3630, 128, 8, None)


def test_without_tools_nothing_is_known_and_nothing_is_a_fault(tmp_path, monkeypatch, cfg):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = limits.read("gpu")
    assert found == Limits(partition="gpu", each=(Limits(partition="gpu"),))
    assert limits.faults(found, on_gpus(cfg, partition="gpu", account="nobody", qos="none")) == []
    assert limits.most_pack_tasks(found, cfg) is None


@pytest.mark.parametrize(
    "said", ["", "slurm_load_partitions: Unable to contact slurm controller\n", "a|b\n", "||||||||\n", "\x1b[0m|" * 8,
             "gpu|up|soon|many|few|lots|?|idle|gpu:x:y\n", "MaxArraySize = big\nAccountingStorageEnforce\n", "é" * 9999]
)  # fmt: skip
def test_strange_answers_are_nobodys_limits(tools, cfg, said):
    for name in tools.iterdir():
        name.write_text(said, encoding="utf-8")
    found = limits.read("gpu")
    assert (found.time_min, found.cpus, found.mem_mb, found.array_size) == (None, None, None, None)
    assert limits.faults(found, changed(cfg, partition="gpu", account="heart", qos="normal")) == []


def test_what_fits_is_no_fault(tools, cfg):
    fits = on_gpus(cfg, partition="gpu", account="Heart", qos="normal", ranks_per_node=8, nodes_per_fold=4)
    assert limits.faults(limits.read("gpu"), changed(fits, fold=resources(3630, 1030000 / 1024))) == []


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"partition": "gpus"}, "cluster.partition is 'gpus', which this cluster does not have; wanted one"),
        ({"partition": "old"}, "cluster.partition is 'old', which takes no jobs now (drain); wanted another one"),
        ({"partition": "gpu", "qos": "normal", "fold": resources(3631)}, "cluster.fold.time_min is 3631, wanted"),
        ({"qos": "normal", "pack": resources(1441)}, "cluster.pack.time_min is 1441, wanted at most 1440: the limit"),
        ({"account": "lung", "fold": resources(721)}, "cluster.fold.time_min is 721, wanted at most 720: the"),
        ({"fold": resources(mem_gb=200)}, "cluster.fold.mem_gb asks 204800 MB of a node, wanted at most 191000"),
        ({"aggregate": resources(cpus=33)}, "cluster.aggregate.cpus asks 33 CPUs of a node, wanted at most 32"),
        ({"cpus_per_rank": 17}, "cluster.ranks_per_node x cpus_per_rank asks 34 CPUs of a node, wanted at most 32"),
        ({"partition": "gpu", "nodes_per_fold": 5}, "cluster.nodes_per_fold is 5, wanted at most 4"),
        ({"account": "bone"}, "cluster.account is 'bone', wanted one that is yours: heart, lung"),
        ({"account": "lung", "qos": "long"}, "cluster.qos is 'long', wanted one that is yours: normal"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_named_with_its_setting(tools, cfg, values, fault):
    found = limits.faults(limits.read(values.get("partition")), changed(cfg, **values))
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
    found = limits.faults(limits.read("gpu"), on_gpus(cfg, partition="gpu", **values))
    assert found == [f"{key} of a node, wanted at most 8: no more has partition gpu"]


@pytest.mark.parametrize(("gres", "gpus"), [("gpu:1080ti", 1), ("gpu:1080ti:2", 2), ("gpu:2,craynetwork:1", 2)])
def test_what_gres_asks_is_counted_as_slurm_does(gres, gpus):
    assert config.ClusterConfig(gres=gres, ranks_per_node=1).gpus_asked == gpus


@pytest.mark.parametrize("gres", ["gpu:a100", "gpu:1080ti", "gpu:0"])
def test_gres_must_be_enough_for_all_ranks(gres):
    with pytest.raises(config.InputError, match=rf"cluster.gres is '{gres}', but must be a GPU for each of"):
        config.ClusterConfig(gres=gres, ranks_per_node=2)


def test_gpus_under_another_name_are_left_to_slurm(tools, cfg):
    assert limits.faults(limits.read("gpu"), on_gpus(cfg, partition="gpu", gres="npu:9", ranks_per_node=9)) == []


def test_of_several_partitions_one_that_takes_jobs_is_enough(tools, cfg):
    assert limits.faults(limits.read("old,cpu"), changed(cfg, partition="old,cpu")) == []
    assert limits.faults(limits.read("old"), changed(cfg, partition="old"))


def test_a_cluster_without_a_default_partition_wants_one(tools, cfg):
    (tools / "sinfo").write_text(SINFO.replace("*|up", "|up"), encoding="utf-8")
    found = limits.faults(limits.read(None), cfg)
    assert found == [
        "cluster.partition is None, but this cluster has no default partition; wanted one of cpu, gpu, old"
    ]


def test_a_site_that_does_not_enforce_accounting_takes_any_account(tools, cfg):
    (tools / "config").write_text(CONFIG.replace("associations,limits,qos,safe", "none"), encoding="utf-8")
    asked = changed(cfg, account="nobody", qos="none", fold=resources(1440))
    assert limits.faults(limits.read(None), asked) == []
    assert limits.submit_jobs(limits.read(None), asked.cluster) is None


def test_a_qos_may_lift_the_time_limit_of_the_partition(tools, cfg):
    asked = changed(cfg, account="heart", qos="long", fold=resources(14 * 1440))
    assert limits.faults(limits.read(None), asked) == []
    over = changed(asked, fold=resources(14 * 1440 + 1))
    assert limits.faults(limits.read(None), over) == [
        "cluster.fold.time_min is 20161, wanted at most 20160: the limit of your account or QOS"]  # fmt: skip


@pytest.mark.parametrize(
    ("partition", "account", "qos", "expected"),
    [
        (None, "lung", "normal", 500),  # a QOS goes before the association's 20
        (None, "heart", "long", 10),
        ("gpu", "heart", "long", 200),  # the partition's QOS goes before the job's, or the other way: the wider one
        (None, "heart", None, 500),  # whichever of normal and long it gets
    ],
)
def test_the_limit_of_queued_jobs_is_that_of_qos_before_association(tools, cfg, partition, account, qos, expected):
    asked = changed(cfg, partition=partition, account=account, qos=qos)
    assert limits.submit_jobs(limits.read(partition), asked.cluster) == expected


def test_folds_and_shards_stay_below_the_limits_of_arrays_and_the_queue(cfg):
    mine = (Association("heart", (), Allowance(None, 12)),)
    found = Limits(array_size=8, accounting=Accounting(("limits",), mine))
    many = changed(cfg, "split", folds=10, val_fraction=0.1)
    assert limits.faults(found, many) == [
        "split.folds gives 10 array tasks, wanted at most 8 (MaxArraySize): raise cluster.folds_per_node",
        "split.folds gives 10 array tasks, wanted at most 9 (MaxSubmitJobs, one shard, seal and report beside): "
        "raise cluster.folds_per_node",
    ]  # fmt: skip
    assert limits.faults(found, changed(many, folds_per_node=2)) == []
    assert limits.most_pack_tasks(found, changed(many, folds_per_node=2)) == 12 - 5 - 2  # the seal and the report
    assert limits.most_pack_tasks(Limits(array_size=8), many) == 8


def test_the_question_for_associations_names_the_user():
    assert "user=somebody" in accounting.associations_of("somebody")


@pytest.mark.timeout(120)
def test_the_limits_of_a_real_cluster(slurm, monkeypatch, cfg):
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    found = limits.read(None)
    assert (found.partitions, found.default, found.partition, found.state) == (("dev", "urgent"), "dev", "dev", "up")
    assert (found.time_min, found.nodes_at_most, found.cpus, found.mem_mb, found.gpus) == (math.inf, 4, 4, 6000, 2)
    assert (found.array_size, found.accounting.enforced) == (1001, ("none",))
    assert limits.faults(found, on_gpus(cfg, fold=resources(mem_gb=5.8), pack=resources(), aggregate=resources())) == []
    over = on_gpus(cfg, ranks_per_node=3, cpus_per_rank=2, fold=resources(mem_gb=6), pack=resources())
    assert [fault.split(",")[0] for fault in limits.faults(found, over)] == [
        "cluster.ranks_per_node x cpus_per_rank asks 6 CPUs of a node",
        "cluster.fold.mem_gb asks 6144 MB of a node",
        "cluster.ranks_per_node asks 3 GPUs of a node",
    ]
