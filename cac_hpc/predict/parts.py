"""What a prediction has planned, and its results as they come: parts that stay when the work is ended at any moment.

A part holds the outcomes of a few studies and is written once, under its final name when it is whole. It names the plan
that it belongs to: another bundle, other settings or other files of the studies make another plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cac_hpc
from cac_hpc.run import digests, disk, paths
from cac_hpc.settings import config
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files

FORMAT_VERSION = 1
PER_PART = 8  # studies; what is lost at most when the work is ended
SHOWN = 3  # differences that a message names
OWN = ("parts", "slurm")  # what a folder may hold before there is a plan


@dataclass(frozen=True)
class Plan:
    """What is to be predicted: the bundle's digest, the settings on which results depend, and the studies by name with
    the digest of their files."""

    bundle: str
    settings: Mapping[str, Any]
    studies: Mapping[str, str]
    version: str = cac_hpc.__version__

    @property
    def parts(self) -> list[list[str]]:
        """The studies of each part."""
        names = list(self.studies)
        return [names[first : first + PER_PART] for first in range(0, len(names), PER_PART)]

    @property
    def plain(self) -> dict[str, Any]:
        of_all = {"format_version": FORMAT_VERSION, "version": self.version, "bundle": self.bundle}
        return {**of_all, "settings": dict(self.settings), "studies": dict(self.studies)}

    @property
    def digest(self) -> str:
        return digests.content_sha256(self.plain)


def make(bundle: str, settings: Mapping[str, Any], studies: Mapping[str, Path]) -> Plan:
    """The plan of these studies.

    Args:
        bundle: its digest. studies: folders by name.
    Raises: InputError if a study's name is no text.
    """
    for name in studies:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise InputError(f"{name!r}: found a study whose name is no text, wanted one in UTF-8; rename its folder")
    return Plan(bundle, settings, {name: files.digest(files.list_files(folder)) for name, folder in studies.items()})


def settle(out: Path, plan: Plan) -> None:
    """Write the plan into the folder of results; one that is there already must be the same.

    Raises: InputError naming what differs, or if the folder holds other things.
    """
    path = paths.prediction_plan(out)
    if path.is_file():
        if different := _differences(read_plan(out), plan):
            more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
            raise InputError(
                f"--out {out}: was begun with others (then / now): {'; '.join(different[:SHOWN])}{more}; wanted the "
                "same, or a new folder"
            )
        return
    if others := sorted(entry.name for entry in out.iterdir() if entry.name not in OWN) if out.is_dir() else []:
        raise InputError(f"--out {out}: found {others[0]!r} in it and no plan of a prediction, wanted a new folder")
    disk.write_json(path, plan.plain)


def read_plan(out: Path) -> Plan:
    """The plan of a folder of results.

    Raises: InputError if there is none, or it is damaged or of another format version.
    """
    path = paths.prediction_plan(out)
    try:
        plain = disk.read_json(path)
        if plain["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path}: found another format version, wanted {FORMAT_VERSION}; use a new folder")
        return Plan(str(plain["bundle"]), plain["settings"], plain["studies"], str(plain["version"]))
    except (OSError, KeyError, TypeError) as error:
        raise InputError(f"{path}: missing or damaged ({error!r}), wanted the plan of a prediction") from None
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{path}: damaged, use a new folder") from None


def _differences(before: Plan, now: Plan) -> list[str]:
    found = config.differences({"version": before.version, "bundle": before.bundle, **before.settings},
                               {"version": now.version, "bundle": now.bundle, **now.settings})  # fmt: skip
    for name in [*before.studies, *(name for name in now.studies if name not in before.studies)]:
        one, other = before.studies.get(name), now.studies.get(name)
        if one != other:
            found.append(f"study {name!r}: {'there' if one else 'not there'} / "
                         f"{'with other files' if one and other else 'there' if other else 'not there'}")  # fmt: skip
    return found


def part_path(out: Path, index: int) -> Path:
    return out / "parts" / f"part-{index:05d}.json"


def page_path(out: Path, study: str) -> Path:
    return study_folder(out, study) / "page.html"


def study_folder(out: Path, study: str) -> Path:
    """What there is of a study beside its part: its page and pictures."""
    return out / "studies" / study


def write(out: Path, index: int, plan: Plan, outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Write a part.

    Args:
        outcomes: plain values, of each study of it.
    """
    content = {"plan": plan.digest, "outcomes": list(outcomes)}
    disk.write_json(part_path(out, index), {**content, "content_sha256": digests.content_sha256(content)})


def missing(out: Path, plan: Plan) -> list[int]:
    """The parts that are not there, or not whole, or of another plan, or one of whose pages is gone."""
    return [
        index
        for index, studies in enumerate(plan.parts)
        if _read(out, index, plan.digest) is None or not all(page_path(out, study).is_file() for study in studies)
    ]


def outcomes(out: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    """The outcomes of all studies in their order, read part by part; all must be there."""
    digest = plan.digest
    for index in range(len(plan.parts)):
        found = _read(out, index, digest)
        assert found is not None, "a part that was just there"
        yield from found


def _read(out: Path, index: int, plan_digest: str) -> list[dict[str, Any]] | None:
    try:
        content = disk.read_json(part_path(out, index))
        digest = content.pop("content_sha256")
        whole = digest == digests.content_sha256(content) and content["plan"] == plan_digest
        found: list[dict[str, Any]] = content["outcomes"]
        return found if whole else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
