"""How the nodes of a job find each other: the first says in a file where its torchrun listens."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from cac_hpc.cluster import slurm_commands
from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Task
from cac_hpc.settings.errors import WorkError

WAIT_S = 300.0  # for the first node: its file may be seen late on a shared file system
RETRY_S = 0.5


def torchrun_options(run: RunPaths, task: Task, node: int, num_nodes: int, key: str) -> list[str]:
    """torchrun's options for the node number ``node`` of a job.

    Args:
        key: names this start of the job; a file of an earlier one is not taken for it.
    Raises: WorkError if the first node has not said in time where it is, or its name is not known here.
    """
    if num_nodes == 1:
        return ["--standalone"]
    file = run.fold(task.index or 0).rendezvous(key)
    if node == 0:
        disk.write_json(file, {"node": os.environ["SLURMD_NODENAME"], "port": _free_port()})
    first = _first_node(file)
    return [
        f"--nnodes={num_nodes}",
        f"--node-rank={node}",
        f"--master-addr={_address(first['node'])}",
        f"--master-port={first['port']}",
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port


def _first_node(file: Path) -> dict[str, str]:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            list(file.parent.iterdir())  # has a network file system look again
            found: dict[str, str] = disk.read_json(file)
            return found
        except (OSError, ValueError):
            time.sleep(RETRY_S)
    raise WorkError(f"{file}: the first node of this job has not said within {WAIT_S:.0f} s where it is")


def _address(node: str) -> str:
    """The number of a node's address; its name may not be known everywhere at once."""
    name, deadline = slurm_commands.node_address(node), time.monotonic() + WAIT_S
    while True:
        try:
            return socket.gethostbyname(name)
        except OSError as error:
            if time.monotonic() > deadline:
                raise WorkError(f"node {node}: its name {name} does not resolve here ({error})") from error
            time.sleep(RETRY_S)
