"""What the headers of the first studies say before anything is packed: which cannot be used, and whether too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from cac_hpc.dataset import summary
from cac_hpc.run.logs import amount
from cac_hpc.settings.config import Config
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files
from cac_hpc.volumes.formats import reader_of

MOST_FILES = 400  # then no further study is looked at: a tenth of a second


@dataclass(frozen=True)
class Preview:
    """lines: of each study with files that are left out how many of these, and why.

    looked_at: labelled studies whose headers were read. refused: by reason those of them that cannot be used.
    """

    lines: list[str]
    looked_at: int
    refused: Counter[str]


def of_headers(cfg: Config, folders: Mapping[str, Mapping[str, Path]], labelled: Collection[str]) -> Preview:
    """Read the headers of the first studies.

    Args:
        folders: of each cohort, those of its studies by key.
        labelled: keys of the studies that have a label.
    """
    found, num_files, first = Preview([], 0, Counter()), 0, list[str]()
    for study, folder, wanted in _in_turn(cfg, folders):
        if num_files >= MOST_FILES:
            break
        entries = files.list_files(folder, wanted)
        num_files += len(entries)
        first.append(study)
        used, refused = reader_of(entries).by_headers(entries, cfg.pack)
        reasons = [(why.reason, why.detail) for why in refused]
        if reasons:
            found.lines.append(f"study {study!r}: {amount(used, 'slice') if used else 'no slices'} taken; left out:")
            counts = Counter(reasons).most_common()
            found.lines.extend(f"  {amount(count, 'file')}, {reason}: {detail}" for (reason, detail), count in counts)
        if not used and study in labelled:
            found.refused[summary.main_reason(reasons)] += 1
    every = sum(map(len, folders.values()))
    found.lines.append(
        f"looked at: headers of {len(first)} of {every} studies; rejected.csv will name every file left out"
    )
    return Preview(found.lines, sum(study in labelled for study in first), found.refused)


def _in_turn(cfg: Config, folders: Mapping[str, Mapping[str, Path]]) -> Iterator[tuple[str, Path, Format]]:
    """Key, folder and format of each study: the first of each cohort, then the second of each, and so on."""
    each = ([(cohort, *one) for one in folders[cohort.name].items()] for cohort in cfg.by_cohort())
    for turn in zip_longest(*each):
        for one in filter(None, turn):
            cohort, study, folder = one
            yield study, folder, cohort.cfg.data.format


def fault(found: Preview, num_labelled: int, cfg: Config) -> str | None:
    """Compare the studies that cannot be used with what pack.limits.rejected_studies allows.

    Args:
        num_labelled: studies of the whole cohort that have a label.
    Returns: a note where more of the studies looked at cannot be used; None where not.
    Raises: InputError if the seal would refuse the cohort whatever the other studies are.
    """
    refused, allowed = found.refused.total(), cfg.pack.limits.rejected_studies
    if not refused or (refused < num_labelled and refused / found.looked_at <= allowed):
        return None
    why = (
        f"{refused} of the {found.looked_at} studies looked at cannot be used ({summary.counted(found.refused)}), "
        f"pack.limits.rejected_studies allows {allowed:.0%} of {num_labelled}"
    )
    change = summary.advice(found.refused, cfg.pack)
    if refused == num_labelled:
        raise InputError(f"{why}: {change}")
    if refused > allowed * num_labelled:
        raise InputError(f"{why}: {change}, or raise pack.limits.rejected_studies")
    return f"{why}; if as many of the others are refused, the dataset is not sealed: {change}, or raise it"
