"""Partitions that are not for everybody: which rule shuts jobs out, and what else takes them."""

import re

import pytest

from cac_hpc.cluster import feasibility, partition_rules, site_limits
from tests.support.settings import changed
from tests.support.site_answers import TREE, partition_says, resources

NOT_TAKEN = "which partition cpu does not take"


@pytest.mark.parametrize(
    ("rules", "values", "fault"),
    [
        ("AllowAccounts=lung", {"account": "heart"},
         f"cluster.account is 'heart', {NOT_TAKEN} (AllowAccounts=lung); wanted lung, or another cluster.partition"),
        ("AllowAccounts=lung", {},
         f"cluster.account is not set, so 'heart', {NOT_TAKEN} (AllowAccounts=lung); wanted lung, or another"),
        ("AllowAccounts=bone", {}, f"cluster.account is not set, so 'heart', {NOT_TAKEN} (AllowAccounts=bone); wanted "
         "another cluster.partition"),
        ("AllowAccounts=lung", {"account": "LUNG"}, None),
        ("AllowAccounts=ALL DenyAccounts=heart", {}, f"cluster.account is not set, so 'heart', {NOT_TAKEN} (DenyAcc"),
        ("DenyAccounts=heart,bone", {"account": "heart"}, f"cluster.account is 'heart', {NOT_TAKEN} (DenyAccounts=h"),
        ("AllowAccounts=heart DenyAccounts=heart", {"account": "heart"}, None),  # who is allowed is not asked further
        ("AllowQos=long", {"qos": "normal"},
         f"cluster.qos is 'normal', {NOT_TAKEN} (AllowQos=long); wanted long, or another cluster.partition"),
        ("AllowQos=long", {}, f"cluster.qos is not set, so 'normal', {NOT_TAKEN} (AllowQos=long); wanted long, or"),
        ("AllowQos=LONG", {"account": "heart", "qos": "long"}, None),
        ("DenyQos=normal", {"account": "lung"}, f"cluster.qos is not set, so 'normal', {NOT_TAKEN} (DenyQos=normal); "
         "wanted another cluster.partition"),
        ("AllowGroups=surgeons", {}, "cluster.partition is 'cpu', which takes jobs of group surgeons (AllowGroups)"),
        ("AllowGroups=surgeons,cardiology", {}, None),
        ("AllocNodes=login[2-3],gate", {}, "cluster.partition is 'cpu', which takes jobs submitted on login[2-3],gate "
         "(AllocNodes), found login1"),
        ("AllocNodes=login[1-3]", {}, None),
        ("RootOnly=YES", {}, "cluster.partition is 'cpu', which takes jobs of root only (RootOnly)"),
        ("RootOnly=NO DisableRootJobs=YES ReqResv=NO", {}, None),
        ("ReqResv=YES", {}, "cluster.reservation is not set, but partition cpu asks for one (ReqResv)"),
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
