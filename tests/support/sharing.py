"""Started by torchrun: a rank loads a run's dataset and writes what it saw to a folder."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.run import digests
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.train import distributed, residency


def main(root: str, out: str) -> None:
    run = RunPaths(Path(root))
    cfg = stored_settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    studies = pd.read_csv(dataset.studies, dtype={"study": str})
    category = dict(zip(studies["study"], studies["category"].astype(int), strict=True))
    with distributed.process_group("cpu") as world:
        try:
            seen = look(residency.load(dataset, category, cfg, world))
        except InputError as error:
            seen = {"refused": str(error)}
        Path(out, f"{world.rank}.json").write_text(json.dumps(seen), encoding="utf-8")


def look(loaded: residency.Loaded) -> dict[str, object]:
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    rows = np.arange(len(loaded.table.label))
    return {
        "kind": loaded.kind,
        "inodes": sorted(set(re.findall(r"(\d+) +/memfd:cac_hpc", maps))),
        "studies": loaded.table.study.tolist(),
        "images": [digests.of_bytes(hu_NHW.numpy().data).hex() for hu_NHW in loaded.rows.batches([rows, rows[::7]])],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
