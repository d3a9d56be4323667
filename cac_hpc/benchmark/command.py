"""The command line of the measurements: which one, and with which options."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from cac_hpc.benchmark import gpu_speed, lesion_speed, rows, training_speed, trials_speed


def run(doc: str | None, code: Path) -> None:
    """Read ``rows``, ``gpu``, ``train``, ``lesions`` or ``trials`` with options, and measure.

    Args:
        code: the checkout whose jobs are measured.
    Raises: InputError for what cannot be measured.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it has started and written goes with it
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    commands = parser.add_subparsers(dest="what", required=True)
    parts = {
        "rows": rows,
        "gpu": gpu_speed,
        "train": training_speed,
        "lesions": lesion_speed,
        "trials": trials_speed,
    }
    for name, module in parts.items():
        text = (module.__doc__ or "").splitlines()[0]
        module.add_options(commands.add_parser(name, help=text, description=text, allow_abbrev=False))
    asked = vars(parser.parse_args())
    chosen = parts[asked.pop("what")]
    chosen.measure(chosen.Asked(**asked), code)
