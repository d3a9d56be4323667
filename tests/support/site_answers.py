"""What SLURM's tools say of a made-up site of three partitions, two accounts and three QOS; and settings for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cac_hpc.settings.cluster import Resources
from cac_hpc.settings.config import Config
from tests.support.settings import changed

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


def write_tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put stand-ins for SLURM's tools first on PATH; they say what stands in the files of the returned folder."""
    answers, tools = folder / "tools", folder / "bin"
    answers.mkdir()
    for name, said in (("sinfo", SINFO), ("config", CONFIG), ("partition", PARTITIONS),
                       ("associations", ASSOCIATIONS), ("qos", QOS), ("tree", TREE), ("user", USER)):  # fmt: skip
        (answers / name).write_text(said, encoding="utf-8")
    tools.mkdir()
    for name in ("sinfo", "scontrol", "sacctmgr"):
        (tools / name).write_text(SCRIPT.format(folder=answers), encoding="utf-8")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    return answers


def on_gpus(cfg: Config, **values: object) -> Config:
    return changed(changed(cfg, "train", device="cuda"), "cluster", **values)


def resources(time_min: int = 60, mem_gb: float = 2.0, cpus: int = 1) -> Resources:
    return Resources(time_min=time_min, mem_gb=mem_gb, cpus=cpus)


SMALL = {"fold": resources(mem_gb=0.5), "pack": resources(mem_gb=0.5), "aggregate": resources(mem_gb=0.5)}


def qos_says(tools: Path, **limits: list[str]) -> None:
    """QOS by their names; limits in the order of accounting.OF_QOS after flags."""
    lines = ["normal||||||||", *("|".join([name, "", "", *cells]) for name, cells in limits.items())]
    (tools / "qos").write_text("\n".join(lines), encoding="utf-8")
    accounts = f"north|heart|normal,{','.join(limits)}|||normal|||\n"
    (tools / "associations").write_text(accounts, encoding="utf-8")


def partition_says(tools: Path, rules: dict[str, str], version: str = "22.05.8") -> None:
    """The rules of each partition, in the words of SLURM's version."""
    text = "".join(f"PartitionName={name} {fields}\n" for name, fields in rules.items())
    (tools / "partition").write_text(text, encoding="utf-8")
    (tools / "config").write_text(f"{CONFIG}SLURM_VERSION = {version}\n", encoding="utf-8")
