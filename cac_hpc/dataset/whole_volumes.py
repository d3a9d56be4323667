"""Whether a study is looked at as a whole, as the scanner made it, and what a worker imports then."""

from __future__ import annotations

from collections.abc import Collection

from cac_hpc.settings.pack import PackConfig

MEASURED = ("noise", "body_size")  # of data.subgroups, in a volume
IMPORTS = ("scipy.ndimage", "scipy.sparse.csgraph", "scipy.spatial")  # slow: who only plans or waits needs none of them


def are_needed(cfg: PackConfig, subgroups: Collection[str]) -> bool:
    """Whether the settings ask for something that is seen in a whole volume alone."""
    return cfg.crop != "none" or cfg.baseline or cfg.candidates or bool({*MEASURED} & {*subgroups})
