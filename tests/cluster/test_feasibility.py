"""What a cluster allows, read from its own words: real ones, strange ones and none; and which settings cannot work."""

import dataclasses
import math
import os
import pwd
import re
import subprocess

import pytest

from cac_hpc.cluster import (
    accounting,
    feasibility,
    needs,
    partition_rules,
    pending,
    remedies,
    site_limits,
    slurm_commands,
)
from cac_hpc.cluster.accounting import Accounting, Allowance, Association
from cac_hpc.cluster.site_limits import Limits
from cac_hpc.cluster.task_status import RunStates
from cac_hpc.run import config, settings, slurm_notation
from cac_hpc.run.causes import CANCEL_AND_RESUME
from cac_hpc.run.config import Resources
from tests.support.runs import job, write_config
from tests.support.slurm import cluster, start_cluster
from tests.support.standins import NAME, bare_run, submitted
from tests.support.waiting import wait_for

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
ASSOCIATIONS = "north|heart|normal,long|||normal|||\nnorth|lung|normal|20|12:00:00||||\nsouth|bone|normal||||||\n"
TREE = "north|root|\nnorth|clinic|root\nnorth|heart|clinic\nnorth|heart|\nnorth|lung|root\nsouth|lung|heart\n"
USER = "ada|heart\n"
QOS = "normal||500||||||\nlong|14-00:00:00|10|DenyOnLimit,PartitionTimeLimit|||||\npart_gpu||200||||||\n"
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
    assert slurm_notation.minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6000", 6000), ("2T", 2097152), ("187.5G", 192000), ("4000+", 4000), ("512M", 512), ("2048K", 2),
     ("UNLIMITED", None), ("", None), ("-5", None)],
)  # fmt: skip
def test_memory_is_read_in_megabytes(text, expected):
    assert slurm_notation.megabytes(text) == expected


@pytest.mark.parametrize(
    ("gres", "expected"),
    [("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:2(S:0,1),gpu:v100:1", 3), ("(null)", None),
     ("craynetwork:4", None), ("gpu:h100:8,shard:64", 8), ("gpu", 1), ("gpu:0", 0), ("", None)],
)  # fmt: skip
def test_gpus_are_counted_whatever_their_model(gres, expected):
    assert slurm_notation.gpus(gres) == expected


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


@pytest.mark.parametrize(("gres", "gpus"), [("gpu:1080ti", 1), ("gpu:1080ti:2", 2), ("gpu:2,craynetwork:1", 2)])
def test_what_gres_asks_is_counted_as_slurm_does(gres, gpus):
    assert config.ClusterConfig(gres=gres, ranks_per_node=1).gpus_asked == gpus


@pytest.mark.parametrize("gres", ["gpu:a100", "gpu:1080ti", "gpu:0"])
def test_gres_must_be_enough_for_all_ranks(gres):
    with pytest.raises(config.InputError, match=rf"cluster.gres is '{gres}', but must be a GPU for each of"):
        config.ClusterConfig(gres=gres, ranks_per_node=2)


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
        "cluster.partition is None, but this cluster has no default partition; wanted one of cpu, gpu, old"
    ]


def test_a_site_that_does_not_enforce_accounting_takes_any_account(tools, cfg):
    (tools / "config").write_text(CONFIG.replace("associations,limits,qos,safe", "none"), encoding="utf-8")
    asked = changed(cfg, account="nobody", qos="none", fold=resources(1440))
    assert feasibility.faults(site_limits.read(None), asked) == []
    assert site_limits.submit_jobs(site_limits.read(None), asked.cluster) is None


def test_a_qos_may_lift_the_time_limit_of_the_partition(tools, cfg):
    asked = changed(cfg, account="heart", qos="long", fold=resources(14 * 1440))
    assert feasibility.faults(site_limits.read(None), asked) == []
    over = changed(asked, fold=resources(14 * 1440 + 1))
    assert feasibility.faults(site_limits.read(None), over) == [
        "cluster.fold.time_min is 20161, wanted at most 20160: the limit of QOS long"]  # fmt: skip


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
    assert site_limits.submit_jobs(site_limits.read(partition), asked.cluster) == expected


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


def qos_says(tools, **limits):
    """QOS by their names; limits in the order of accounting.OF_QOS after flags."""
    lines = ["normal||||||||", *("|".join([name, "", "", *cells]) for name, cells in limits.items())]
    (tools / "qos").write_text("\n".join(lines), encoding="utf-8")
    accounts = f"north|heart|normal,{','.join(limits)}|||normal|||\n"
    (tools / "associations").write_text(accounts, encoding="utf-8")


SMALL = {"fold": resources(mem_gb=0.5), "pack": resources(mem_gb=0.5), "aggregate": resources(mem_gb=0.5)}


@pytest.mark.parametrize(
    ("cells", "values", "fault"),
    [
        (["", "cpu=1", "", "", "", ""], {},
         "cluster.ranks_per_node x cpus_per_rank asks 2 CPUs of a job, wanted at most 1: MaxTRESPerJob cpu=1 of QOS t"),
        (["", "cpu=3", "", "", "", ""], {"nodes_per_fold": 2},
         "cluster.ranks_per_node x cpus_per_rank x nodes_per_fold asks 4 CPUs of a job, wanted at most 3: MaxTRESPerJ"),
        (["", "", "cpu=3", "", "", ""], {"nodes_per_fold": 2}, None),
        (["", "mem=1000M", "", "", "", ""], {"aggregate": resources(mem_gb=1.5)},
         "cluster.aggregate.mem_gb is 1.5, wanted at most 0.9 for a job: MaxTRESPerJob mem=1000M of QOS tiny"),
        (["", "", "mem=2G", "", "", ""], {"pack": resources(mem_gb=3)},
         "cluster.pack.mem_gb is 3, wanted at most 2 for a node: MaxTRESPerNode mem=2048M of QOS tiny; or cluster.qos"),
        (["", "", "", "", "", "cpu=1"], {"pack": resources(mem_gb=0.5, cpus=2), "ranks_per_node": 1},
         "cluster.pack.cpus asks 2 CPUs of a job, wanted at most 1: GrpTRES cpu=1 of QOS tiny"),
        (["", "", "", "node=1", "", ""], {"nodes_per_fold": 2},
         "cluster.nodes_per_fold asks 2 nodes of a job, wanted at most 1: MaxTRESPerUser node=1 of QOS tiny"),
        (["", "", "", "", "gres/gpu=1", ""], {},
         "cluster.ranks_per_node asks 2 GPUs of a job, wanted at most 1: MaxTRESPerAccount gres/gpu=1 of QOS tiny; or"),
        (["", "gres/gpu:a100=1", "", "", "", ""], {"gres": "gpu:a100:2"},
         "cluster.gres asks 2 GPUs of a job, wanted at most 1: MaxTRESPerJob gres/gpu:a100=1 of QOS tiny"),
        (["", "gres/gpu:a100=1", "", "", "", ""], {"gres": "gpu:h100:2"}, None),
        (["", "cpu=2,gres/gpu=2,mem=512M,node=1", "cpu=2", "", "", "mem=1G"], {}, None),
        (["", "energy=5,bb/x=?,mem=-1,cpu=N", "=", ",", "", ""], {}, None),
    ],
)  # fmt: skip
def test_what_one_job_asks_beyond_a_limit_of_its_qos_is_refused_with_the_limit(tools, cfg, cells, values, fault):
    qos_says(tools, tiny=cells)
    partition_says(tools, {"gpu": "QoS=N/A"})
    found = feasibility.faults(
        site_limits.read("gpu"), on_gpus(cfg, **{"partition": "gpu", "qos": "tiny", **SMALL, **values})
    )
    assert [line[: len(fault or "")] for line in found] == ([fault] if fault else []), found


@pytest.mark.parametrize(
    ("flags", "partition", "job", "owner"),
    [
        ("", "cpu=1", "cpu=9", "QOS site of the partition"),
        ("", "cpu=9", "cpu=1", None),
        ("OverPartQOS", "cpu=1", "cpu=9", None),
        ("OverPartQOS", "cpu=9", "cpu=1", "QOS tiny"),
        ("OverPartQOS", "cpu=1", "", "QOS site of the partition"),
        ("", "", "", "account heart"),
    ],
)
def test_the_partitions_qos_goes_before_the_jobs_and_that_before_the_account(tools, cfg, flags, partition, job, owner):
    qos_says(tools, tiny=[flags, job, "", "", "", ""], site=["", partition, "", "", "", ""])
    (tools / "associations").write_text("north|heart|normal,tiny|||normal|cpu=1||\n", encoding="utf-8")
    partition_says(tools, {"cpu": "QoS=site"})
    found = feasibility.faults(site_limits.read("cpu"), changed(cfg, qos="tiny", **SMALL))
    assert [re.search(r"cpu=1 of (.*?)(;|$)", line)[1] for line in found] == ([owner] if owner else [])


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


def test_limits_of_a_qos_are_no_limits_where_the_site_does_not_enforce_them(tools, cfg):
    qos_says(tools, tiny=["", "cpu=1", "", "", "", ""])
    (tools / "config").write_text(CONFIG.replace("associations,limits,qos,safe", "associations"), encoding="utf-8")
    assert feasibility.faults(site_limits.read("cpu"), changed(cfg, qos="tiny", **SMALL)) == []


def test_a_qos_is_offered_whose_other_limits_fit_before_one_that_only_fits_here(tools, cfg):
    lines = ["tiny||||cpu=1||||", "wide|00:05:00|||cpu=9||||", "long||||cpu=9||||"]
    (tools / "qos").write_text("\n".join(lines), encoding="utf-8")
    for mine, offered in (("tiny,wide,long", "long"), ("tiny,wide", "wide")):
        (tools / "associations").write_text(f"north|heart|{mine}|||tiny|||\n", encoding="utf-8")
        (found,) = feasibility.faults(site_limits.read("cpu"), changed(cfg, **SMALL))
        assert found.endswith(f"MaxTRESPerJob cpu=1 of QOS tiny; or cluster.qos {offered}")


def test_the_qos_that_a_job_gets_unasked_limits_it_too(tools, cfg):
    qos_says(tools, tiny=["", "cpu=1", "", "", "", ""])
    (tools / "associations").write_text("north|heart|normal,tiny|||tiny|||\n", encoding="utf-8")
    (found,) = feasibility.faults(site_limits.read("cpu"), changed(cfg, **SMALL))
    assert found.endswith("MaxTRESPerJob cpu=1 of QOS tiny; or cluster.qos normal")


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


def partition_says(tools, rules, version="22.05.8"):
    text = "".join(f"PartitionName={name} {fields}\n" for name, fields in rules.items())
    (tools / "partition").write_text(text, encoding="utf-8")
    (tools / "config").write_text(f"{CONFIG}SLURM_VERSION = {version}\n", encoding="utf-8")


NOT_TAKEN = "which partition cpu does not take"


@pytest.mark.parametrize(
    ("rules", "values", "fault"),
    [
        ("AllowAccounts=lung", {"account": "heart"},
         f"cluster.account is 'heart', {NOT_TAKEN} (AllowAccounts=lung); wanted lung, or another cluster.partition"),
        ("AllowAccounts=lung", {},
         f"cluster.account is None, so 'heart', {NOT_TAKEN} (AllowAccounts=lung); wanted lung, or another"),
        ("AllowAccounts=bone", {}, f"cluster.account is None, so 'heart', {NOT_TAKEN} (AllowAccounts=bone); wanted "
         "another cluster.partition"),
        ("AllowAccounts=lung", {"account": "LUNG"}, None),
        ("AllowAccounts=ALL DenyAccounts=heart", {}, f"cluster.account is None, so 'heart', {NOT_TAKEN} (DenyAccounts"),
        ("DenyAccounts=heart,bone", {"account": "heart"}, f"cluster.account is 'heart', {NOT_TAKEN} (DenyAccounts=h"),
        ("AllowAccounts=heart DenyAccounts=heart", {"account": "heart"}, None),  # who is allowed is not asked further
        ("AllowQos=long", {"qos": "normal"},
         f"cluster.qos is 'normal', {NOT_TAKEN} (AllowQos=long); wanted long, or another cluster.partition"),
        ("AllowQos=long", {}, f"cluster.qos is None, so 'normal', {NOT_TAKEN} (AllowQos=long); wanted long, or"),
        ("AllowQos=LONG", {"account": "heart", "qos": "long"}, None),
        ("DenyQos=normal", {"account": "lung"}, f"cluster.qos is None, so 'normal', {NOT_TAKEN} (DenyQos=normal); "
         "wanted another cluster.partition"),
        ("AllowGroups=surgeons", {}, "cluster.partition is 'cpu', which takes jobs of group surgeons (AllowGroups)"),
        ("AllowGroups=surgeons,cardiology", {}, None),
        ("AllocNodes=login[2-3],gate", {}, "cluster.partition is 'cpu', which takes jobs submitted on login[2-3],gate "
         "(AllocNodes), found login1"),
        ("AllocNodes=login[1-3]", {}, None),
        ("RootOnly=YES", {}, "cluster.partition is 'cpu', which takes jobs of root only (RootOnly)"),
        ("RootOnly=NO DisableRootJobs=YES ReqResv=NO", {}, None),
        ("ReqResv=YES", {}, "cluster.reservation is None, wanted one: partition cpu asks for it (ReqResv)"),
        ("ReqResv=YES", {"reservation": "night"}, None),
        ("MinNodes=2", {}, "cluster.partition is 'cpu', which gives no job fewer than 2 nodes (MinNodes)"),
        ("MaxMemPerNode=1000", {"fold": resources(mem_gb=0.5), "pack": resources(mem_gb=1.5),
                                "aggregate": resources(mem_gb=0.5)},
         "cluster.pack.mem_gb is 1.5, wanted at most 0.9 for a node: MaxMemPerNode of partition cpu"),
        ("MaxMemPerCPU=100", {"fold": resources(mem_gb=0.5), "pack": resources(mem_gb=4, cpus=2),
                              "aggregate": resources(mem_gb=0.5)},
         "cluster.pack.mem_gb, with MaxMemPerCPU 100, asks 41 CPUs of a node, wanted at most 32: partition cpu has no"),
    ],
)  # fmt: skip
def test_a_partition_that_shuts_the_jobs_out_is_named_with_its_rule(tools, cfg, monkeypatch, rules, values, fault):
    monkeypatch.setattr(partition_rules.os, "getuid", lambda: 1000)
    monkeypatch.setattr(partition_rules, "_groups", lambda: ["users", "cardiology"])
    monkeypatch.setattr(partition_rules.platform, "node", lambda: "login1.example.org")
    partition_says(tools, {"cpu": rules})
    found = feasibility.faults(site_limits.read(None), changed(cfg, **values))
    assert [line[: len(fault or "")] for line in found] == ([fault] if fault else []), found


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"gpu": "AllowAccounts=heart", "old": "AllowAccounts=bone"}, "another cluster.partition (gpu takes it)"),
        ({"gpu": "", "long": "DenyAccounts=lung"}, "another cluster.partition (gpu, long take it)"),
        ({"gpu": "State=DOWN", "long": "ReqResv=YES"}, "another cluster.partition"),
    ],
)
def test_partitions_that_take_the_account_are_named(tools, cfg, others, named):
    partition_says(tools, {"cpu": "AllowAccounts=bone", **others})
    (found,) = feasibility.faults(site_limits.read(None), changed(cfg, account="heart"))
    assert found == f"cluster.account is 'heart', {NOT_TAKEN} (AllowAccounts=bone); wanted {named}"


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


def test_root_is_not_asked_for_groups_but_may_have_no_jobs(tools, cfg, monkeypatch):
    monkeypatch.setattr(partition_rules.os, "getuid", lambda: 0)
    partition_says(tools, {"cpu": "AllowGroups=surgeons RootOnly=YES"})
    assert feasibility.faults(site_limits.read(None), cfg) == []
    partition_says(tools, {"cpu": "DisableRootJobs=YES"})
    assert "takes no jobs of root (DisableRootJobs)" in feasibility.faults(site_limits.read(None), cfg)[0]


@pytest.mark.parametrize(("enforced", "num_faults"), [("NO", 0), ("ANY", 0), ("ALL", 1)])
def test_of_several_partitions_one_must_take_the_jobs_or_all_where_slurm_asks_for_it(tools, cfg, enforced, num_faults):
    rules = {"cpu": "AllowAccounts=lung", "gpu": "AllowAccounts=ALL"}
    partition_says(tools, rules)
    with (tools / "config").open("a", encoding="utf-8") as file:
        file.write(f"EnforcePartLimits = {enforced}\n")
    asked = changed(cfg, partition="cpu,gpu", account="heart")
    assert len(feasibility.faults(site_limits.read("cpu,gpu"), asked)) == num_faults
    partition_says(tools, rules | {"gpu": "DenyAccounts=heart"})
    found = feasibility.faults(site_limits.read("cpu,gpu"), asked)
    assert [re.search(r"partition (\w+) does not take \((\w+)", line).groups() for line in found] == [
        ("cpu", "AllowAccounts"), ("gpu", "DenyAccounts")]  # fmt: skip


def test_no_partition_of_several_works_where_each_lacks_something_else(tools, cfg):
    partition_says(tools, {"cpu": "AllowAccounts=ALL", "gpu": "AllowAccounts=lung"})
    asked = changed(cfg, partition="cpu,gpu", account="heart", qos="normal", fold=resources(3000))
    found = feasibility.faults(site_limits.read("cpu,gpu"), asked)
    assert [line.split(",")[0] for line in found] == ["cluster.fold.time_min is 3000", "cluster.account is 'heart'"]


@pytest.mark.parametrize(
    ("version", "rules", "tree", "shut_out"),
    [
        ("24.11.5", "AllowAccounts=clinic", TREE, False),  # heart is one of its subaccounts
        ("26.05.5", "DenyAccounts=clinic", TREE, True),
        ("24.11.5", "AllowAccounts=lung", TREE, True),
        ("24.11.5", "AllowAccounts=lung", "", False),  # nobody says what belongs to it
        ("22.05.8", "AllowAccounts=clinic", TREE, True),  # there an account stands for itself alone
        ("22.05.8", "DenyAccounts=clinic", TREE, False),
    ],
)
def test_subaccounts_count_from_24_05_on(tools, cfg, version, rules, tree, shut_out):
    partition_says(tools, {"cpu": rules}, version)
    (tools / "tree").write_text(tree, encoding="utf-8")
    assert bool(feasibility.faults(site_limits.read(None), changed(cfg, account="heart"))) == shut_out


def test_newer_versions_that_do_not_enforce_associations_let_every_account_in(tools, cfg):
    for version, num_faults in (("22.05.8", 1), ("26.05.5", 0)):
        partition_says(tools, {"cpu": "AllowAccounts=lung"}, version)
        text = (tools / "config").read_text(encoding="utf-8")
        (tools / "config").write_text(text.replace("associations,limits,qos,safe", "none"), encoding="utf-8")
        assert len(feasibility.faults(site_limits.read(None), changed(cfg, account="heart"))) == num_faults


@pytest.mark.parametrize(
    ("host", "hosts", "inside"),
    [
        ("n1", "n1", True), ("n1", "n10", False), ("n10", "n1", False), ("n2", "n[1-3]", True), ("n4", "n[1-3]", False),
        ("n7", "n[1-3,7]", True), ("n07", "n[01-10]", True), ("n7", "n[01-10]", False), ("b", "a[1-2],b,c[3]", True),
        ("r1n12", "r[1-2]n[10-20]", True), ("r3n12", "r[1-2]n[10-20]", False), ("c3-ib", "a1,c[3]-ib", True),
        ("nowhere", "", False), ("n1", "n[", False), ("n1", "n[x-y]", False),
    ],
)  # fmt: skip
def test_hosts_are_found_in_lists_as_slurm_writes_them(host, hosts, inside):
    assert slurm_notation.in_hostlist(host, hosts) == inside


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


REAL = {  # QOS of a real cluster, each with a limit that one job of two cores, GPUs or nodes is over
    "of_job": "MaxTRESPerJob=mem=1000M",
    "of_node": "MaxTRESPerNode=cpu=1",
    "of_user": "MaxTRESPerUser=gres/gpu=1",
    "of_group": "GrpTRES=cpu=1",
    "of_nodes": "MaxTRESPerUser=node=1",
}


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory):
    """A real cluster that holds its users to accounts and QOS; the user has accounts heart and lung.

    Partition closed is for account lung alone, and gives 1000 MB per CPU. QOS tiny allows one core per job.
    """
    folder = tmp_path_factory.mktemp("enforcing")
    user = pwd.getpwuid(os.getuid()).pw_name
    try:
        found = start_cluster(folder, "--set", "AccountingStorageEnforce=associations,limits,qos")
        for words in (
            "add account heart lung",
            "add qos tiny MaxTRESPerJob=cpu=1",
            "add qos strict MaxTRESPerJob=cpu=1,mem=1000M,gres/gpu=1 MaxWall=5 MaxSubmitJobs=4 flags=DenyOnLimit",
            *(f"add qos {name} {limit}" for name, limit in REAL.items()),
            f"add user {user} account=heart,lung",
            f"modify user {user} set qos=normal,tiny,strict,{','.join(REAL)} defaultqos=normal",
        ):
            found.run("sacctmgr", "-i", *words.split())
        found.run("scontrol", "create", "partition=closed", "Nodes=n[1-4]", "AllowAccounts=lung", "MaxMemPerCPU=1000")
        yield found
    finally:
        cluster("stop", "--dir", str(folder))


@pytest.fixture
def closed(enforcing, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", enforcing.env["SLURM_CONF"])
    yield enforcing
    enforcing.run("scancel", "--partition=closed,dev")


@pytest.mark.timeout(200)
def test_a_real_partition_for_others_is_refused_before_and_held_after_submitting(closed, tmp_path, cfg):
    found = site_limits.read("closed")
    asked = changed(cfg, partition="closed", account="heart", fold=resources(mem_gb=1), pack=resources(mem_gb=0.5),
                    aggregate=resources(mem_gb=0.5))  # fmt: skip
    refused = (
        "which partition closed does not take (AllowAccounts=lung); wanted lung, or another cluster.partition "
        "(dev, urgent take it)"
    )
    assert feasibility.faults(found, asked) == [f"cluster.account is 'heart', {refused}"]
    assert feasibility.faults(found, changed(asked, account="lung")) == []
    assert feasibility.faults(found, changed(asked, account=None))[0].startswith("cluster.account is None, so '")
    run = bare_run(tmp_path / "run")
    names = ("--partition=closed", "--mem=100M", f"--job-name={NAME}", f"--chdir={tmp_path}")
    submitted(run, job=closed.sbatch("true", "--account=heart", *names), started=False)
    more = (f"--job-name={NAME}", f"--chdir={tmp_path}", "--account=heart", "--qos=tiny", "--cpus-per-task=2")
    submitted(run, 1, job=closed.sbatch("true", *more), started=False)
    wait_for(lambda: {state.state for state in RunStates(run).states()} == {"held"}, 30, "two verdicts")
    account, cores = RunStates(run).states()
    helps = f"python jobs/cancel.py {run.root} && python jobs/launch_cv.py --resume {run.root}"
    assert re.match(r"never starts: its (account may not use|partition does not take its account)", account.reason)
    assert account.command == f"{helps} --cluster.account OTHER"
    assert cores.reason == "never starts: it asks for more cores than its QOS allows (SLURM: QOSMaxCpuPerJobLimit)"
    assert cores.command == f"{helps} --cluster.cpus_per_rank LESS"
    ran = closed.sbatch("true", "--account=lung", *names)
    wait_for(lambda: slurm_commands.state(ran) == "COMPLETED", 60, "the end of a job of the other account")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("per_cpu", [False, True])
@pytest.mark.parametrize(("cpus", "mem_gb"), [(1, 0.5), (1, 2.5), (2, 3.5), (3, 3.5)])
def test_a_real_slurm_gives_as_many_cores_as_are_told(closed, cfg, cpus, mem_gb, per_cpu):
    asked = changed(
        cfg, partition="closed", account="lung", mem_per_cpu=per_cpu, pack=resources(mem_gb=mem_gb, cpus=cpus)
    )
    wanted = needs.cpus_for_memory(site_limits.read("closed"), asked, "pack")
    mem_mb = round(mem_gb * 1024)
    memory = f"--mem-per-cpu={math.ceil(mem_mb / cpus)}M" if per_cpu else f"--mem={mem_mb}M"
    options = ("--partition=closed", "--account=lung", f"--cpus-per-task={cpus}", memory, "--output=/dev/null")
    done = subprocess.run(["sbatch", "--parsable", *options, "--wrap=true"], env=closed.env, cwd=closed.folder,
                          capture_output=True, text=True)  # fmt: skip
    if wanted > 4:  # more than a node has
        assert done.returncode != 0
        assert any(f"asks {wanted} CPUs" in fault for fault in feasibility.faults(site_limits.read("closed"), asked))
        return
    granted = slurm_commands.granted(done.stdout.strip())
    assert int(granted["MinCPUsNode"]) == wanted
    told = needs.cpu_difference(granted, asked, "pack")
    assert (told is None) == (wanted == cpus)
    assert told is None or told.startswith(f"{wanted} CPUs of a node, {cpus} were asked for")


@pytest.mark.timeout(200)
def test_a_dry_run_refuses_the_account_in_one_line_and_tells_what_memory_costs(closed, scans, tmp_path):
    run = tmp_path / "run"
    config = write_config(tmp_path / "settings.yaml", scans, run, cluster={"kind": "slurm", "partition": "closed"})
    small = ("--cluster.fold.mem_gb", 1.9, "--cluster.aggregate.mem_gb", 0.9, "--cluster.pack.mem_gb", 2.5)
    asked = ("--config", config, "--dry_run", *small)
    refused = job("launch_cv.py", *asked, "--cluster.account", "heart", env=closed.env)
    assert (refused.returncode, run.exists()) == (2, False)
    assert refused.stderr.strip().endswith("wanted lung, or another cluster.partition (dev, urgent take it)")
    assert len(refused.stderr.splitlines()) == 1
    told = job("launch_cv.py", *asked, "--cluster.account", "lung", env=closed.env)
    assert told.returncode == 0, told.stderr
    assert "note: cluster.pack.mem_gb is 2.5, more than goes with 1 CPUs (MaxMemPerCPU): SLURM gives" in told.stdout
    assert "use them with cluster.pack.cpus 3" in told.stdout


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("qos", "values", "options", "limit", "cure"),
    [
        ("of_job", {}, ("--mem=1536M",), "mem_gb is 1.5, wanted at most 0.9 for a job: MaxTRESPerJob mem=1000M",
         "--cluster.fold.mem_gb 0.9"),
        ("of_node", {}, ("-c2",), "ranks_per_node x cpus_per_rank asks 2 CPUs of a node, wanted at most 1: MaxTRESPerN",
         "--cluster.ranks_per_node 1"),
        ("of_node", {"ranks_per_node": 1, "cpus_per_rank": 2}, ("-c2",), "asks 2 CPUs of a node, wanted at most 1",
         "--cluster.cpus_per_rank 1"),
        ("of_group", {"ranks_per_node": 1, "nodes_per_fold": 2}, ("-N2",), "asks 2 CPUs of a job, wanted at most 1: Gr",
         "--cluster.qos normal"),
        ("of_user", {}, ("--gres=gpu:2",), "ranks_per_node asks 2 GPUs of a job, wanted at most 1: MaxTRESPerUser gres",
         "--cluster.ranks_per_node 1"),
        ("of_nodes", {"nodes_per_fold": 2}, ("-N2",), "nodes_per_fold asks 2 nodes of a job, wanted at most 1: MaxTRES",
         "--cluster.nodes_per_fold 1"),
    ],
)  # fmt: skip
def test_a_real_job_alone_over_a_limit_is_refused_before_and_held_after(
    closed, scans, tmp_path, qos, values, options, limit, cure
):
    run = bare_run(tmp_path / "run")
    small = {"time_min": 10, "mem_gb": 0.5}
    cluster = {"kind": "slurm", "partition": "dev", "qos": qos, "account": "heart", "pack": small, "aggregate": small,
               "fold": {"time_min": 10, "mem_gb": 1.5 if qos == "of_job" else 0.5}, **values}  # fmt: skip
    device = {"device": "cuda"} if qos == "of_user" else {}
    config = write_config(run.config, scans, tmp_path / "new", cluster=cluster, train=device)
    refused = job("launch_cv.py", "--config", config, "--dry_run", env=closed.env)
    assert (refused.returncode, (tmp_path / "new").exists()) == (2, False), refused.stdout
    assert f"{limit}" in refused.stderr
    assert f"of QOS {qos}; or cluster.qos normal or " in refused.stderr
    names = ("--partition=dev", "--account=heart", f"--qos={qos}", f"--job-name={NAME}", f"--chdir={tmp_path}")
    submitted(run, job=closed.sbatch("true", *names, "--mem=100M", *options), started=False)
    wait_for(lambda: RunStates(run).states()[0].state == "held", 30, "a verdict")
    found = RunStates(run).states()[0]
    assert found.reason.startswith("never starts: cluster.")
    assert limit in found.reason
    assert found.command.endswith(f"launch_cv.py --resume {run.root} {cure}")


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("options", "settings"),
    [(("-c2",), "cluster.ranks_per_node, cpus_per_rank and cpus of the stage"),
     (("--mem=1100M",), "mem_gb of the stage"),
     (("--gres=gpu:2",), "cluster.ranks_per_node, gpus_per_node and gres"), (("--time=9",), "time_min of the stage"),
     (("--array=0-5",), "cluster.folds_per_node, with which there are fewer tasks,")],
)  # fmt: skip
def test_what_a_real_slurm_refuses_for_a_qos_names_the_qos_and_the_setting(closed, tmp_path, options, settings):
    command = ["sbatch", "--account=heart", "--qos=strict", "--mem=100M", "--time=1", *options, "--wrap=true"]
    said = subprocess.run(command, env=closed.env, cwd=tmp_path, capture_output=True, text=True).stderr
    assert pending.settings_of(said) == f": look at {settings} and cluster.qos", said


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("off", "on", "note"),
    [
        ("partition=urgent state=down", "partition=urgent state=up", "partition urgent is down: jobs are taken"),
        ("node=n[1-4] state=drain reason=disk", "node=n[1-4] state=resume",
         "no node of partition urgent is in service (4 drained): jobs are taken, and wait; sinfo -R says why"),
    ],
)  # fmt: skip
def test_a_real_partition_out_of_service_is_a_note_of_the_dry_run(closed, scans, tmp_path, off, on, note):
    small = {stage: {"time_min": 10, "mem_gb": 0.5} for stage in ("pack", "fold", "aggregate")}
    cluster = {"kind": "slurm", "partition": "urgent", "account": "heart", **small}
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", cluster=cluster)
    closed.run("scontrol", "update", *off.split())
    try:
        done = job("launch_cv.py", "--config", config, "--dry_run", env=closed.env)
    finally:
        closed.run("scontrol", "update", *on.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"note: {note}" in done.stdout
    assert "look at" not in done.stdout
