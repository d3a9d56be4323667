"""What the first studies hold, and what decides between their series, by headers alone: for the dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cac_hpc.dataset import plan
from cac_hpc.run.config import Config, PackConfig
from cac_hpc.volumes import files, listing
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.series import NoSeries

MOST_FILES = 400  # then no further study is looked at: a tenth of a second


def lines(cfg: Config) -> Iterator[str]:
    """For each study that is looked at and has files which are left out: how many of them, and why."""
    folders, num_studies, num_files = plan.study_folders(cfg.data), 0, 0
    for study, folder in folders.items():
        if num_files >= MOST_FILES:
            break
        entries = files.list_files(folder)
        num_files, num_studies = num_files + len(entries), num_studies + 1
        used, left_out = _series(entries, cfg.pack)
        if left_out:
            yield f"study {study!r}: {used or 'no'} slices are taken; left out are"
            yield from (f"  {count} files, {reason}: {detail}" for (reason, detail), count in left_out.most_common())
    yield f"looked at: headers of {num_studies} of {len(folders)} studies; rejected.csv will name every file left out"


def _series(entries: Sequence[Entry], cfg: PackConfig) -> tuple[int, Counter[tuple[str, str]]]:
    """The number of slices of the series, and of the other files by reason and detail."""
    found = listing.read_headers(entries)
    try:
        used = len(listing.choose(found, cfg, {}).slices)
    except NoSeries:
        used = 0
    return used, Counter((why.reason, why.detail) for why in found.refused.values())
