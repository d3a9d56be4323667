"""An external test as it is kept beside its report: a table of the studies, and what goes with it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd

from cac_hpc.evaluation import report_json
from cac_hpc.labels import label_rows
from cac_hpc.results.external import CohortFact, LeftOutStudy
from cac_hpc.results.serialization import Damaged, Json, Omitted, from_json, to_json
from cac_hpc.run import disk, paths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import ReportConfig

MODEL, RULE, OTHER = "model", "rule", "other"
SETTINGS, TABLE = paths.EXTERNAL_TEST, "tested.csv"  # beside the report's folder
FORMAT_VERSION = 4
SET_ENDS = ("set_low", "set_high")  # of a prediction set: its lowest and highest category
OUT_OF_RANGE = "out_of_range"  # a column of predictions, and of the table
DIFFERENT = {  # what people call a field in which two external tests differ
    "title": "title", "names": "categories", "edges": "categories", "sources": "names of the readers",
    "internal": "bundle beside", "cuts": "--cuts", "cohorts": "facts of the studies", "known": "--known",
}  # fmt: skip
Known = Literal["left_out", "counted", "unknown"]


@dataclass(frozen=True)
class Source:
    """Predictions of the studies: key of their columns in the table, name, and what they consist of.

    sets: whether there are prediction sets. coverage: of what share of patients these are to name the category.
    """

    key: str
    name: str
    scores: bool
    probabilities: bool
    sets: bool = False
    coverage: float | None = None


@dataclass(frozen=True)
class ExternalTest:
    """All of an external test but its table. labelled: studies of each category. internal: see `export.internal`."""

    format_version: int
    title: str
    names: list[str]
    edges: list[float]
    draws: int
    seed: int
    sources: list[Source]
    studies_found: int
    slices: int
    labelled: list[int]
    left_out: list[LeftOutStudy]
    known: Known
    known_studies: int
    out_of_range: int | None
    internal: Json | None
    cohorts: list[CohortFact]
    digests: dict[str, str]
    cuts: list[float]
    answers: Annotated[dict[str, str] | None, Omitted] = None

    @property
    def statistics(self) -> ReportConfig:
        return ReportConfig(draws=self.draws, seed=self.seed, cuts=tuple(self.cuts))


def check_place(out: Path, test: ExternalTest, table: pd.DataFrame) -> None:
    """The folder holds no report yet, or that of this very external test.

    Raises: InputError naming what differs.
    """
    if not (out / SETTINGS).exists():
        if (out / "report").exists():
            raise InputError(f"--out {out}: found a report in it that is of no external test, wanted another folder")
        return
    before, now = _object(out / SETTINGS), to_json(test)
    keys = [key for key in now if before.get(key) != now[key] and key != "answers"]
    other = [DIFFERENT.get(key, "settings") for key in keys if key != "digests"]
    digests_before = before["digests"] if isinstance(before.get("digests"), dict) else {}
    known = {**digests_before, **test.digests}
    other = [
        name.removesuffix("_sha256") for name in known if digests_before.get(name) != test.digests.get(name)
    ] + other
    if other or not (out / TABLE).is_file() or (out / TABLE).read_text(encoding="utf-8") != _text(table):
        what = ", ".join(dict.fromkeys(other)) or "table"
        raise InputError(
            f"--out {out}: found the report of another external test in it (other {what}), which would be replaced; "
            f"wanted the same again, or another folder"
        )


def check_labels(out: Path, cfg: LabelsConfig) -> None:
    """The report that is there was made with these sheets.

    Raises: InputError if not.
    """
    known = _object(out / SETTINGS).get("digests")
    if not isinstance(known, dict) or known.get("labels_sha256") != label_rows.content(cfg):
        given = " ".join(f"--labels {shlex.quote(sheet)}" for sheet in cfg.sheets)
        raise InputError(
            f"--out {out}: found a report that was made with another sheet than {cfg.origin}; wanted that sheet, or a "
            f"report elsewhere: python jobs/evaluate.py {shlex.quote(str(out))} {given} --out ELSEWHERE"
        )


def write(out: Path, test: ExternalTest, table: pd.DataFrame) -> None:
    """Write both, so that the report can be made again."""
    disk.write_text(out / TABLE, _text(table))
    disk.write_json(out / SETTINGS, to_json(test))


def read(out: Path) -> tuple[ExternalTest, pd.DataFrame]:
    """What `write` wrote.

    Raises: InputError naming the file that is not there, or damaged.
    """
    try:
        content = report_json.load(out / SETTINGS)
        if (version := content.get("format_version")) != FORMAT_VERSION:
            raise InputError(f"{out / SETTINGS}: found format version {version!r}, wanted {FORMAT_VERSION}")
        table = pd.read_csv(out / TABLE, dtype="str", keep_default_na=False)
        return from_json(content, ExternalTest), _numeric(table)
    except (OSError, Damaged, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{out}: {SETTINGS} or {TABLE} cannot be read ({error}); evaluate the predictions again"
        ) from None


def _object(path: Path) -> dict[str, Any]:
    """What is in a JSON file of ours; nothing where it is damaged."""
    try:
        return report_json.load(path)
    except (OSError, Damaged):
        return {}


def _text(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    """The same numbers as were written; blank cells are NaN."""
    numbers = [name for name in table if name not in ("study", "patient")]
    found = table.assign(**{str(name): [float(text or "nan") for text in table[name]] for name in numbers})
    whole = ("category", *SET_ENDS, OUT_OF_RANGE)
    return found.astype({name: int for name in map(str, numbers) if name.endswith(whole)})
