"""Limits of accounts and qualities of service (QOS): which one a job meets, and what is said of it."""

import re

import pytest

from cac_hpc.cluster import feasibility, site_limits
from tests.support.settings import changed
from tests.support.site_answers import CONFIG, SMALL, on_gpus, partition_says, qos_says, resources


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
