"""Why a job is pending: every reason of SLURM 22.05 to 26.05, its class, in words, and what helps.

A reason is a name, as ``QOSMaxCpuPerUserLimit``, perhaps with details behind it, or a sentence of the controller's.
What stands in braces in a command, `cac_hpc.run.causes` fills in.

Source: job_reason_string() of 22.05.8, job_state_reason_string() of 24.11.5 and 26.05.5; man squeue, JOB REASON CODES.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from cac_hpc.run.causes import CANCEL_AND_RESUME, RELEASE

Kind = Literal["waits", "held", "never starts", "failed"]


class Reason(NamedTuple):
    """kind: failed is of its last start, after which SLURM has put it back into the queue."""

    kind: Kind
    words: str
    help: str | None = None


def _never(words: str, change: str) -> Reason:
    return Reason("never starts", f"never starts: {words}", f"{CANCEL_AND_RESUME} --cluster.{change}")


def _limited(owner: str, until: str) -> Reason:
    words = f"waits until {until}; never starts if it alone asks for more than the limit"
    return Reason("waits", words, LIMITS_OF[owner])


def _group_limit(owner: str) -> Reason:
    return _limited(owner, f"other jobs of its {owner} have ended")


def _budget(owner: str) -> Reason:
    return _limited(owner, f"the budget of its {owner}, which is used up, recovers with time or is raised")


LIMITS_OF = {"account": "scontrol show assoc_mgr flags=assoc", "QOS": "scontrol show assoc_mgr flags=qos"}
NAMELESS = Reason("waits", "waits; SLURM names no reason")
DOWN = Reason("waits", "waits: the nodes it could use are down", "sinfo -R")
RESERVED = Reason("waits", "waits: the nodes it could use are reserved", "scontrol show reservation")
ACCOUNT = _never("its account may not use the partition", "account OTHER")
QOS = _never("its QOS may not use the partition", "qos OTHER")
GROUP = _never("none of your groups may use the partition", "partition OTHER")
UNRESERVED = Reason("held", "held: its reservation was deleted", RELEASE)
UNBUFFERED = Reason("held", "held: its burst buffer failed", RELEASE)
NAMES = {
    "None Priority Resources WaitingForScheduling": Reason("waits", "waits for its turn"),
    "InvalidReason InvaildReason": NAMELESS,  # the second in 24.11; older ones print a number
    "AccountingPolicy": Reason("waits", "waits for a limit of the site"),
    "Dependency": Reason("waits", "waits for the stage before"),
    "BeginTime": Reason("waits", "starts again in a moment"),
    "Cleaning": Reason("waits", "starts again when its last start has ended on all nodes"),
    "Prolog": Reason("waits", "waits: the site prepares its nodes (prolog)"),
    "JobArrayTaskLimit": Reason("waits", "waits for other tasks of its array (cluster.array_parallelism)"),
    "Constraints": Reason("waits", "waits: no node that has what it asks for is in service", "sinfo -R"),
    "ReqNodeNotAvail NodeDown FrontEndDown BlockFreeAction BlockMaxError": DOWN,
    "PartitionDown PartitionInactive": Reason("waits", "waits: its partition is down", "sinfo --summarize"),
    "Reservation": Reason("waits", "waits for its reservation", "scontrol show reservation"),
    "Licenses": Reason("waits", "waits for a licence", "scontrol show licenses"),
    "PowerNotAvail PowerReserved MaxPoweredUpNodes": Reason("waits", "waits: no more nodes may be powered up now"),
    "BurstBufferResources BurstBufferStageIn": Reason("waits", "waits for its burst buffer"),
    "FedJobLock": Reason("waits", "waits for the other clusters of the federation"),
    "MpiPortsBusy": Reason("waits", "waits for free MPI ports"),
    "NvidiaImexChannels": Reason("waits", "waits for a free channel between GPUs (IMEX)"),
    "AssociationJobLimit AssociationResourceLimit": _group_limit("account"),
    "QOSJobLimit QOSResourceLimit": _group_limit("QOS"),
    "AssociationTimeLimit": _budget("account"),
    "QOSTimeLimit QOSUsageThreshold": _budget("QOS"),
    "JobHeldUser": Reason("held", "held by its owner", RELEASE),
    "JobHeldAdmin": Reason("held", "held by an administrator, who alone can release it", RELEASE),
    "JobHoldMaxRequeue": Reason("held", "held: it was put back into the queue too often", RELEASE),
    "ReservationDeleted": UNRESERVED,
    "BurstBufferOperation": UNBUFFERED,
    "DependencyNeverSatisfied": Reason(
        "never starts", "never starts: what it waits for did not end well", CANCEL_AND_RESUME
    ),
    "AccountNotAllowed": ACCOUNT,
    "QOSNotAllowed": QOS,
    "InvalidAccount": _never("its account is not valid for its owner any more", "account OTHER"),
    "InvalidQOS": _never("its QOS is not valid for its account any more", "qos OTHER"),
    "ReservationInvalid": _never("its reservation is not valid", "reservation OTHER"),
    "PartitionTimeLimit": _never("it asks for more time than its partition allows", "{section}.time_min LESS"),
    "PartitionNodeLimit": _never("its partition does not give, or does not have, so many nodes", "partition OTHER"),
    "MaxMemPerLimit": _never("it asks for more memory than its partition allows", "{section}.mem_gb LESS"),
    "BadConstraints": _never("its partition does not have what it asks for", "partition OTHER"),
    "PartitionConfig": _never(  # all that 26.05 says where AllowAccounts or DenyAccounts keep it out
        "its partition does not take its account, or does not give what it asks for", "account OTHER"
    ),
    "JobLaunchFailure": Reason("failed", "starts again: its last start could not be launched"),
    "SystemFailure": Reason("failed", "starts again: SLURM, a file system or the network had failed"),
    "NonZeroExitCode RaisedSignal": Reason("failed", "starts again: its last start failed"),
    "TimeLimit": Reason("failed", "starts again: its last start was over its time limit"),
    "InactiveLimit": Reason("failed", "starts again: its last start was ended as inactive"),
    "OutOfMemory": Reason("failed", "starts again: its last start was out of memory"),
    "DeadLine": Reason("failed", "not done by its deadline"),
    "SchedDefer": Reason("failed", "was to start at once, which this cluster does not do"),
}
SENTENCES = {  # by how they begin
    r"(\(null\)|\d*)$": NAMELESS,
    r"ReqNodeNotAvail, (May be r|R)eserved": RESERVED,
    r"Nodes required for job are DOWN": DOWN,
    r"Job's account not (permitted|known)": ACCOUNT,
    r"Job's QOS not (permitted|known)": QOS,
    r"Job's requested licenses are invalid": _never("it asks for licences that are not there", "sbatch.licenses OTHER"),
    r"Job's required and excluded node lists overlap": _never("it excludes a node that it wants", "exclude OTHER"),
    r"(User's|uid \d+ not in) group": GROUP,
    r"launch fail": Reason("held", "held: its launch failed, perhaps of a bad node", RELEASE),
    r".*requeued (in )?(held|special exit)": Reason("held", "put back into the queue and held", RELEASE),
    r"Reservation \S+ was deleted": UNRESERVED,
    r"(?i)burst[ _]buffer": UNBUFFERED,
}
QUANTITIES = {  # of limits: in words, and the setting that asks for it
    "BB": ("burst buffer", None),
    "Billing": ("billing units", None),
    "CPU": ("cores", "{cpus}"),
    "Cpu": ("cores", "{cpus}"),
    "Energy": ("energy", None),
    "GRES": ("GPUs", "ranks_per_node"),
    "License": ("licences", None),
    "Mem": ("memory", "{section}.mem_gb"),
    "Memory": ("memory", "{section}.mem_gb"),
    "Node": ("nodes", "nodes_per_fold"),
    "Unknown": ("of a resource", None),
}
LIMIT = re.compile(  # the names of limits are made by a rule; without Assoc it is one of a QOS
    r"(?P<of>Assoc|QOS|)(?P<kind>Grp|Max|Min)"
    rf"(?P<what>{'|'.join(QUANTITIES)}|Jobs|SubmitJobs?|Wall|WallDuration)"
    r"(?P<time>Minutes|RunMinutes|RunMins|)(Per(?P<each>Job|Node|User|Account)|)(Limit|NotSatisfied|)"
)
_KNOWN = {name: reason for names, reason in NAMES.items() for name in names.split()}


def reason_for(said: str) -> Reason | None:
    """What a reason means, as squeue prints it; None of one that is not known here."""
    said = said.strip()
    for begins, reason in SENTENCES.items():
        if re.match(begins, said):
            return reason
    name = re.split(r"\W", said, maxsplit=1)[0]  # details follow, as RaisedSignal:9(Killed)
    found = LIMIT.fullmatch(name)
    return _KNOWN.get(name) or (_limit(found) if found else None)


def asks_for(said: str) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """What a job that waits for this reason has too much of: the limit that it names, and the setting that may help."""
    meaning = reason_for(said)
    return LIMIT.fullmatch(said), re.search(r" --cluster\.(.+?) (OTHER|LESS)$", (meaning and meaning.help) or "")


def _limit(name: re.Match[str]) -> Reason:
    """A limit of an account or a QOS, by the parts of its name."""
    owner = "account" if name["of"] == "Assoc" else "QOS"
    words, setting = QUANTITIES.get(name["what"], ("time", None))
    if name["kind"] == "Min":
        return _never(f"its QOS wants jobs that ask for more {words}", "qos OTHER")
    if name["each"] in ("Job", "Node"):
        if name["time"] or name["what"] == "WallDuration":
            more = "" if words == "time" else f", or more {words} for so long,"
            return _never(f"it asks for more time{more} than its {owner} allows", "{section}.time_min LESS")
        change = f"{setting} LESS" if setting else f"{owner.lower()} OTHER"
        return _never(f"it asks for more {words} than its {owner} allows", change)
    if name["kind"] == "Max":
        whose = "its account" if name["each"] == "Account" else "yours"
        return _limited(owner, f"other jobs of {whose} have ended")
    if name["time"] == "RunMinutes":
        return _limited(owner, f"running jobs of its {owner} are nearer to their end")
    return _budget(owner) if name["time"] or name["what"] == "Wall" else _group_limit(owner)


ASKED_BY = {  # by what a limit is on: the settings that ask for it
    "cpu": "cluster.ranks_per_node, cpus_per_rank and cpus of the stage",
    "mem": "mem_gb of the stage",
    "gres": "cluster.ranks_per_node, gpus_per_node and gres",
    "node": "cluster.nodes_per_fold",
    "wall": "time_min of the stage",
    "time": "time_min of the stage",
    "submit": "cluster.folds_per_node, with which there are fewer tasks,",
}
OF_LIMITS = re.compile(r"\b(?P<of>QOS|Assoc)(?:Grp|Max|Min)(?P<what>[A-Z][a-z]+|[A-Z]+(?![a-z]))\w*")
OF_SETTINGS = (  # words of sbatch's, and which settings ask for what it refuses
    (r"feature|constraint", "cluster.constraint, and sinfo -o '%P %f': what nodes have"),
    (r"node name|node list", "cluster.exclude"),
    (r"reservation", "cluster.reservation, and scontrol show reservation: those that there are"),
    (r"account", "cluster.account and cluster.partition"),
    (r"qos", "cluster.qos and cluster.partition"),
    (r"partition", "cluster.partition"),
    (r"time limit", "time_min of the stage"),
    (r"memory", "mem_gb of the stage"),
    (r"gres|generic resource|gpu|tres", "cluster.gres, gpus_per_node and ranks_per_node"),
    (r"configuration is not available", "cluster.gres, gpus_per_node, constraint, mem_gb and cpus, and sinfo -R: "
     "nodes that are down"),
    (r"cpu", "cluster.cpus_per_rank, ranks_per_node and cpus"),
)  # fmt: skip


def settings_of(words: str) -> str:
    """What to look at when sbatch refuses a job with these words, to be put after them; empty if nothing is known."""
    if limit := OF_LIMITS.search(words):
        owner = "cluster.qos" if limit["of"] == "QOS" else "cluster.account"
        asked = next((names for what, names in ASKED_BY.items() if limit["what"].lower().startswith(what)), None)
        return f": look at {f'{asked} and ' if asked else ''}{owner}"
    found = next((names for pattern, names in OF_SETTINGS if re.search(pattern, words, re.I)), None)
    return f": look at {found}" if found else ""
