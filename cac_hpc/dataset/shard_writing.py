"""What a worker does with a shard: study folders in; the file, the facts of its studies and of their files out."""

from __future__ import annotations

import contextlib
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cac_hpc.dataset import intake, regions, shards
from cac_hpc.dataset.shard_task import ShardTask
from cac_hpc.machine.workers import Say
from cac_hpc.volumes import files
from cac_hpc.volumes.study import Study


def write_shard(task: ShardTask, say: Say) -> dict[str, Any]:
    """What a worker does: read study after study into a shard at the scratch path.

    Args:
        say: is told the study's key before it is read, and "" when all are.
    Returns: number of rows, and of the studies: facts, refused files, number of files, identity.
    """
    facts: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    counts: dict[str, dict[str, Any]] = {}
    by_study: dict[str, dict[str, str]] = {}
    with shards.create(task.scratch, task.pack.size, task.pack.slices) as shard:
        for key, folder, listing in task.studies:
            say(key)
            study = _read(key, folder, listing, task, shard)
            check_clean(key, study)
            rejected += [{"study": key, **asdict(refusal)} for refusal in study.refusals]
            facts += [{"study": key, **study.facts}] if study.facts else []
            by_study |= {key: dict(study.groups)} if study.facts and study.groups else {}
            names = {key, files.study_name(folder)}
            counts[key] = {
                "files": study.num_files,
                "used": study.num_files - len(study.refusals),
                "identity": bool(study.identity),
                "private": study.private,
                "key_is_identity": bool(names & study.identity),
            }
        say("")
        rows = len(shard)
    return {
        "rows": rows,
        "studies": facts,
        "rejected": rejected,
        "counts": counts,
        **({"groups": by_study} if task.subgroups else {}),
    }


class _Void(Exception):
    """The study has no series to be used: what the shard took of it goes."""


def _read(key: str, folder: Path, listing: str, task: ShardTask, shard: shards.ShardWriter) -> Study:
    entries = files.list_files(folder, task.format)
    if key in task.lost:
        return intake.refuse_study(entries, *task.lost[key])
    if regions.listing(files.digest(entries), files.study_name(folder), task.pack) != listing:
        return intake.refuse_study(entries, "changed_while_read", "not the files that the plan has seen")
    with contextlib.suppress(_Void), shard.study(key) as keep:
        study = intake.read_study(
            entries, task.pack, keep, keep.lesions, regions.reader(folder, task.pack), task.subgroups
        )
        if study.facts is None:
            raise _Void
    return study


def check_clean(key: str, study: Study) -> None:
    """Nothing that may identify the patient is in the texts that will be written, whatever else went wrong.

    Raises: AssertionError naming the study.
    """
    texts = [refusal.detail for refusal in study.refusals]  # facts are numbers and codes of fixed lists, groups too
    for value in study.identity:
        telling = len(value) >= 4 and value != key and not (value.isnumeric() or value.islower())  # our own words are
        found = telling and any(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) for text in texts)
        assert not found, f"study {key!r}: identity in what would be written; please report this"
