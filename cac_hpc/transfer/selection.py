"""Which files of a run go home with its report, and that they are as the report wrote them."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from cac_hpc.evaluation import report_json
from cac_hpc.report import checksums
from cac_hpc.run import digests, paths
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError

# Nothing else of a run is ever taken; a * stays within a folder, and names are of plain characters.
TAKEN = (
    "provenance.json",
    "report/circumstances.json",
    "report/report.json",
    *(f"report/{paths.page_name(status, *kind)}" for kind in paths.PAGES for status in paths.STATUSES),
    *(f"report/{name}" for name in ("checklist.html", "checklist.md", "checklist.csv", "methods.md")),
    "report/tables/*.csv",
    "report/tables/*.tex",
    "report/figures/*.png",
    "report/figures/*.svg",
    "folds/fold-*/history.csv",
    "folds/fold-*/metrics.json",
    *(f"folds/fold-*/{name}" for name in ("predictions.csv", "scores.csv", "lesions.csv")),
)
WEIGHTS = ("folds/fold-*/model.pt", "folds/fold-*/model.sha256")  # only where asked for
SLICE_PICTURES = (  # they show slices of patients, or views of their hearts
    "report/figures/slices_*",
    "report/figures/misclassified_*",
    "report/figures/lesions-*",
)
WITH_SLICES, WITHOUT_SLICES = (
    tuple(f"report/{paths.page_name(status, 'html', images)}" for status in paths.STATUSES) for images in (True, False)
)
SUMMARY, PROVENANCE = "report/report.json", "provenance.json"
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")  # a name that no program takes for an option
MAX_FILES = 10_000


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the user wants of a run."""

    weights: bool = False
    images: bool = True

    @property
    def taken(self) -> tuple[str, ...]:
        return TAKEN + (WEIGHTS if self.weights else ())

    @property
    def left_out(self) -> tuple[str, ...]:
        return WITHOUT_SLICES if self.images else SLICE_PICTURES + WITH_SLICES

    def admits(self, name: str) -> bool:
        """Whether a file of that name, relative to the run, belongs into the archive."""
        return _fits(name, self.taken) and not any(fnmatchcase(name, pattern) for pattern in self.left_out)


def belongs(name: str) -> bool:
    """Whether a file of that name, relative to the run, may be in any archive."""
    return _fits(name, TAKEN + WEIGHTS)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    parts = name.split("/")
    fits = any(
        len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))
        for wanted in (pattern.split("/") for pattern in patterns)
    )
    return fits and all(map(PLAIN.fullmatch, parts))


@dataclass(frozen=True)
class Item:
    """A file of a run, by its name relative to it."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Offer:
    """What a run has for the archive."""

    run: str  # the folder's name
    made: int  # when the report was, in seconds since 1970
    items: tuple[Item, ...]

    @property
    def num_bytes(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def label(self) -> str:
        """The run's name, of characters that every system takes."""
        return re.sub(r"[^A-Za-z0-9._-]+", "_", self.run).strip("._-")[:80] or "run"


def survey(root: Path, choice: Selection) -> Offer:
    """What a run on this machine has; below report/ only what the report wrote.

    Raises: InputError if it has no report yet, one of its files is a link, or one is not as the report wrote it.
    """
    stored, again = RunPaths(root).report_json, report_json.remake(root)
    if not stored.is_file():
        where = f"python jobs/status.py {shlex.quote(str(root))} says where the run stands"
        raise InputError(f"{stored}: there is no report yet; {where}")
    listed = checksums.read(stored.parent)
    if listed is None:
        raise InputError(f"{stored.parent / checksums.FILE}: {checksums.NO_LIST.format(again=again)}")
    written = {f"report/{name}": digest for name, digest in listed.items()}
    found = (path for pattern in choice.taken for path in root.glob(pattern))
    names = sorted(name for path in found if choice.admits(name := path.relative_to(root).as_posix()))
    items = []
    for name in names:
        path = root / name
        for part in (path, *path.relative_to(root).parents[:-1]):
            if (root / part).is_symlink():
                raise InputError(f"{root / part}: {checksums.LINK}")
        if path.is_file() and (name in written or name == SUMMARY or not name.startswith("report/")):
            items.append(item := Item(name, path.stat().st_size, digests.file_sha256(path)))
            if written.get(name, item.sha256) != item.sha256:
                raise InputError(f"{path}: {checksums.CHANGED.format(again=again)}")
    run = os.fsencode(os.path.basename(os.path.abspath(root))).decode(errors="replace")  # noqa: PTH100, PTH119
    return Offer(run, int(stored.stat().st_mtime), tuple(items))
