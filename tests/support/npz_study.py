"""A second format of studies, as somebody would add it: a folder with one .npz file of a volume and its geometry.

In a module of its own because a worker's process imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.dataset import shard_writing
from cac_hpc.dataset.shard_task import ShardTask
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import formats, study
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.study import Acquisition, Keep, Read, Reader, Refusal, Study


def claims(entries: Sequence[Entry]) -> bool:
    return [entry.path.suffix for entry in entries] == [".npz"]


def open_study(entries: Sequence[Entry]) -> Callable[[PackConfig, Mapping[int, Refused], Keep], Read]:
    with np.load(entries[0].path, allow_pickle=False) as file:
        return partial(_read, file["hu_ZHW"], file["spacing_mm"].tolist())


def _read(
    hu_ZHW: np.ndarray,
    spacing_mm: tuple[float, float, float],
    cfg: PackConfig,
    left_out: Mapping[int, Refused],
    keep: Keep,
) -> Read:
    why = next(iter(left_out.values()), None)
    if len(hu_ZHW) < cfg.min_slices:
        why = Refused("too_few_slices", f"a volume of {len(hu_ZHW)} slices")
    if why is not None:
        return Read(Study(1, [Refusal(1, why.reason, why.detail)], None, frozenset(), False))
    positions_mm = [index * spacing_mm[0] for index in range(len(hu_ZHW))]
    for hu_HW, position_mm in zip(hu_ZHW, positions_mm, strict=True):
        keep(hu_HW, position_mm)
    height, width = hu_ZHW.shape[1:]
    made = Acquisition(thickness_mm=spacing_mm[0], kvp=120.0)
    facts = study.facts(positions_mm, (height, width), (spacing_mm[1], spacing_mm[2]), made, ())
    return Read(Study(1, [], facts, frozenset(), False), range(len(hu_ZHW)))


def by_headers(entries: Sequence[Entry], cfg: PackConfig) -> tuple[int, list[Refused]]:
    with np.load(entries[0].path, allow_pickle=False) as file:
        return len(file["hu_ZHW"]), []


formats.READERS["npz"] = Reader(claims, open_study, by_headers)


def write_shard(task: ShardTask, say: Callable[[Any], None]) -> dict[str, Any]:
    """What writes a shard, in a process that has imported this."""
    return shard_writing.write_shard(task, say)


def write_study(folder: Path, hu_ZHW: np.ndarray, spacing_mm: tuple[float, float, float]) -> None:
    folder.mkdir(parents=True)
    np.savez(folder / "volume.npz", hu_ZHW=hu_ZHW, spacing_mm=np.array(spacing_mm))
