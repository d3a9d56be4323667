"""Facts of studies by which patients form groups: the one place that gives the value of each of them.

They are read at packing where data.subgroups asks for them, coarse; kept in the facts of the shards, which stay where
the dataset is; and come into studies.csv at the seal, where they are withheld from patients too few of whom are alike.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cac_hpc.calcium import measures
from cac_hpc.calcium.heart import Heart
from cac_hpc.dataset.sealed import GROUP, GROUPS
from cac_hpc.dataset.whole_volumes import MEASURED
from cac_hpc.settings.config import Config
from cac_hpc.volumes.person import CONTRADICTORY
from cac_hpc.volumes.scanner import UNKNOWN, without_identity
from cac_hpc.volumes.study import Study

if TYPE_CHECKING:
    import pandas as pd

WITHHELD = "withheld"
ORDERED = ("age_group", "kvp", "thickness", "noise", "body_size")  # whose groups have an order
# edges: a group begins at its edge, the edge included
NOISE_HU = (10, 20, 30)
BODY_SIZE_MM = (250, 300, 350)
KVP = (90, 110, 130)
THICKNESS_MM = (1, 2, 2.75, 3.5)
Values = dict[str, dict[str, str]]  # by study, then by column
Said = tuple[tuple[str, ...], ...]  # of each study of a patient: its site, and what is said of people


def of_study(study: Study, hu_ZHW: np.ndarray | None, heart: Heart | None, wanted: Collection[str]) -> dict[str, str]:
    """What is kept of a study in the facts of its shard.

    Args:
        hu_ZHW, heart: None where the volume was not read, or no heart is found in it.
        wanted: data.subgroups.
    """
    said = study.described
    found = {"sex": said.sex, "age_group": said.age_group, "scanner": without_identity(said.scanner, study.identity)}
    for name in (name for name in MEASURED if name in wanted):
        found[name] = UNKNOWN if hu_ZHW is None or heart is None else _measured(name, hu_ZHW, heart)
    return {name: value for name, value in found.items() if name in wanted}


def _measured(name: str, hu_ZHW: np.ndarray, heart: Heart) -> str:
    if name == "noise":
        return coarse(measures.noise_hu(hu_ZHW, heart), NOISE_HU, "HU")
    return coarse(measures.effective_diameter_mm(heart), BODY_SIZE_MM, "mm")


def coarse(value: float, edges: Sequence[float], unit: str) -> str:
    """The group of a number; UNKNOWN of NaN."""
    if math.isnan(value):
        return UNKNOWN
    place = int(np.searchsorted(edges, value, side="right"))
    if place == 0:
        return f"under {edges[0]:g} {unit}"
    low = f"{edges[place - 1]:g}"
    return f"{low} {unit} and over" if place == len(edges) else f"{low} to under {edges[place]:g} {unit}"


def for_table(planned: Mapping[str, Any], packed: Sequence[Mapping[str, Any]], cfg: Config) -> tuple[Values, Any]:
    """What studies.csv says of each study that is used, and for intake.json how often each value occurs.

    Args:
        planned: plan.json. packed: the facts of every shard.
    """
    labels = planned["labels"]
    of_sheets = [*cfg.labels.group_columns, *(name for label in labels.values() for name in label.get("groups", {}))]
    columns = [f"{GROUP}{name}" for name in dict.fromkeys(of_sheets)]
    wanted = [name for name in GROUPS if name in cfg.data.subgroups]
    if not wanted and not columns:
        return {}, None
    raw = {study: values for shard in packed for study, values in shard.get("groups", {}).items()}
    rows: Values = {}
    for facts in (facts for shard in packed for facts in shard["studies"]):
        study = facts["study"]
        of_sheet = {f"{GROUP}{name}": value for name, value in labels[study].get("groups", {}).items()}
        rows[study] = {name: raw.get(study, {}).get(name, UNKNOWN) for name in wanted}
        rows[study] |= {name: of_sheet.get(name, UNKNOWN) for name in columns}
    contradictory = Counter(name for row in rows.values() for name, value in row.items() if value == CONTRADICTORY)
    for row in rows.values():
        row.update({name: UNKNOWN for name, value in row.items() if value == CONTRADICTORY})
    patient, site = ({study: labels[study].get(name, "") for study in rows} for name in ("patient", "site"))
    people = withholding_order(wanted, columns)
    withhold(rows, patient, people, cfg.data.smallest_group, site)
    counts = {name: dict(sorted(Counter(row[name] for row in rows.values()).items())) for name in (*wanted, *columns)}
    kept = {"smallest_group": cfg.data.smallest_group, "people": people, "studies": counts}
    return rows, kept | {"contradictory": dict(sorted(contradictory.items()))}


def withholding_order(wanted: Sequence[str], columns: Sequence[str]) -> list[str]:
    """What is known of people, what is withheld first in front: size, columns of the sheet from the last, age, sex."""
    return [name for name in ("body_size", *reversed(columns), "age_group", "sex") if name in (*wanted, *columns)]


def withhold(
    rows: Values,
    patient: Mapping[str, str],
    people: Sequence[str],
    smallest: int,
    site: Mapping[str, str] | None = None,
) -> None:
    """Withhold values in place, until each patient is like `smallest` - 1 others in all that is said of people.

    Patients are alike whose studies say the same. Column by column, the first first, the value is withheld from all
    patients of whom too few are alike. If some are left from whom all is withheld, and these are too few, it is
    withheld from the next smallest group as well, so that nobody is found by what he is not. Too few patients in all:
    everything is withheld.

    Args:
        people: columns that say something of people, in the order in which they are withheld.
        site: of each study, which its key tells, so that it is never withheld: patients are alike within it.
    Source: Samarati and Sweeney 1998, k-anonymity; Sweeney 2002, Int J Uncertain Fuzz 10:571, local suppression.
    """
    studies: dict[str, list[str]] = {}
    for study in rows:
        studies.setdefault(patient[study], []).append(study)

    def alike() -> dict[Said, list[str]]:
        found: dict[Said, list[str]] = {}
        for name, own in studies.items():
            said = {((site or {}).get(study, ""), *(rows[study][column] for column in people)) for study in own}
            found.setdefault(tuple(sorted(said)), []).append(name)
        return found

    def hide(patients: Sequence[str], columns: Sequence[str]) -> None:
        for study in (study for name in patients for study in studies[name]):
            rows[study].update(dict.fromkeys(columns, WITHHELD))

    for column in people:
        for group in alike().values():
            if len(group) < smallest:
                hide(group, [column])
    while people and (more := _too_few(alike(), smallest)):
        hide(more, people)


def _too_few(alike: Mapping[Said, Sequence[str]], smallest: int) -> Sequence[str]:
    """The next patients from whom all is withheld, where those of the same site of whom it is are too few."""
    for said, group in sorted(alike.items()):
        if _is_silent(said) and len(group) < smallest:
            sites = {site for site, *_ in said}
            others = [
                (len(other), its)
                for its, other in alike.items()
                if not _is_silent(its) and {of[0] for of in its} == sites
            ]
            if others:
                return alike[min(others)[1]]
    return ()


def _is_silent(said: Said) -> bool:
    return all(set(values) == {WITHHELD} for _, *values in said)


def of_studies(studies: pd.DataFrame, facts: Collection[str]) -> dict[str, tuple[np.ndarray, list[str]]]:
    """By fact, the number of the group of each study, -1 where it is unknown, and the groups' names in their order.

    Args:
        studies: studies.csv, of the studies that count; each of its columns of a sheet is a fact.
        facts: data.subgroups.
    """
    import pandas as pd  # of those who pack nobody needs it

    found = {}
    for column in (*facts, *(name for name in map(str, studies.columns) if name.startswith(GROUP))):
        values, name_of = _column(studies, column)
        code_N, distinct = pd.factorize(values)  # -1 of empty cells
        each, fact = [name_of(value) for value in distinct.tolist()], column.removeprefix(GROUP)
        names = sorted({*each} - {UNKNOWN}, key=lambda group, fact=fact: order(fact, group))  # type: ignore[misc]
        place = {name: number for number, name in enumerate(names)} | {UNKNOWN: -1}
        found[fact] = np.array([*(place[name] for name in each), -1], int)[code_N], names
    return found


def _column(studies: pd.DataFrame, fact: str) -> tuple[pd.Series, Callable[[Any], str]]:
    """What studies.csv has of a fact, and how a value of it becomes a group."""
    if fact in NUMBERS:
        column, edges, unit = NUMBERS[fact]
        return studies[column], lambda value: coarse(float(value), edges, unit)
    if fact == "kernel":
        return studies["kernel"] + " (" + studies["kernel_class"] + ")", str
    return studies.reindex(columns=[fact])[fact], str  # all empty where it was packed without it


NUMBERS: dict[str, tuple[str, Sequence[float], str]] = {  # facts that other columns of studies.csv have in full
    "kvp": ("kvp", KVP, "kVp"),
    "thickness": ("slice_thickness_mm", THICKNESS_MM, "mm"),
}


def order(fact: str, group: str) -> tuple[float, bool, str]:
    """By what groups of a fact are sorted: their numbers where they have any, else their names."""
    number = re.search(r"\d+(\.\d+)?", group) if fact in ORDERED else None
    return float(number[0]) if number else math.inf, not group.startswith("under"), group.casefold()
