"""Pack DICOM studies into shards: one shard with --shard, the seal alone with --seal, everything without either."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    run, asked = run_commands.parse_stage(
        __doc__,
        numbers={"shard": "pack this shard only"},
        flags={"seal": "check the packed shards and write the dataset's tables"},
    )
    from cac_hpc.dataset import packing
    from cac_hpc.run import logs, provenance

    logs.setup()
    provenance.check_origin(run)
    packing.pack(run, asked["shard"], only_seal=asked["seal"])
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
