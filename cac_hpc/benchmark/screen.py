"""What a measurement prints: on what machine it ran, a table with its legend, and which goals are met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cac_hpc.benchmark import circumstances
from cac_hpc.run import logs

Goal = tuple[str, str, bool]  # what is wanted, what was found, and whether that will do


def machine(device: str) -> str:
    """The GPU's name, or the CPU's with the number of cores; one thread per rank computes there."""
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"{circumstances.machine()}, one thread per rank, torch {torch.__version__}"


def show(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], legend: str, goals: Iterable[Goal]
) -> None:
    """Print the table, what its columns mean, and the goals."""
    console = logs.console()
    console.print(logs.table(title, columns, rows, numbers=True))
    console.print(legend)
    for goal, value, met in goals:
        console.print(f"{'yes' if met else 'no':3}  {goal}: {value}")
