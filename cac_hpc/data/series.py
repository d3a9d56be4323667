"""Which of a study's slices make its series, in which order, and whether they stand as a scanner leaves them."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cac_hpc.data.header import Header
from cac_hpc.run.config import PackConfig
from cac_hpc.run.reasons import Refused

SAME_MM = 0.01  # two slices nearer to each other are at one position
SHEAR_DEGREES = 0.1  # between the slices' normal and the direction in which they are stacked, at most
PROJECTIONS = {"MIP", "MINIP", "MAX_IP", "MIN_IP", "PROJECTION IMAGE", "VOLUME_RENDER"}  # parts of ImageType
GAP = 1.5  # a step that is so many times as long as others, or as the slices are thick, leaves something out

SAME = ("kvp", "kernel", "bits_stored", "signed", "padding", "field_of_view_mm", "phase_percent", "synchronization")
RANKS = ("it is tilted", "it is derived", "it has fewer slices", "its number is higher", "its files come later")

Group = list[int]  # indices of slices


@dataclass(frozen=True)
class Candidate:
    """A slice that could be of the series.

    position: of its first pixel, in mm. folder: stands, with the series number, for a series whose header names none.
    """

    header: Header
    position: tuple[float, ...]
    folder: bytes


@dataclass(frozen=True)
class Choice:
    """The series of a study.

    slices: indices of its candidates, ascending along the normal, those at one position side by side. position_mm: of
    each, along the normal. others: every other candidate and why it is not in the series.
    warnings: codes of the checks that failed and were set to warn.
    """

    slices: Group
    position_mm: np.ndarray
    others: dict[int, Refused]
    warnings: list[str] = field(default_factory=list)

    @property
    def repeated(self) -> np.ndarray:
        """Of each slice, whether it is at the position of the one before."""
        return np.concatenate([[False], np.diff(self.position_mm) < SAME_MM])


class NoSeries(Refused):
    """A study has no series to be used; ``others`` says why of every candidate."""

    def __init__(self, reason: str, detail: str, others: dict[int, Refused]) -> None:
        super().__init__(reason, detail)
        self.others = others


def choose(candidates: Sequence[Candidate], cfg: PackConfig) -> Choice:
    """Choose the series by the rule of the settings, order it and check how it stands.

    The rule: axial, slice thickness and description as asked, enough slices; of those the upright before the tilted,
    the original images before derived ones, then the most slices, then the lowest series number. Of several phases the
    one that is at every position, then the lowest.

    Raises: NoSeries, with a reason for every candidate.
    """
    others: dict[int, Refused] = {}
    every = _groups(candidates)
    groups = _fitting(every, candidates, cfg, others)
    if not groups:
        raise NoSeries("study_refused", "no file is of a series that can be used", others)
    chosen, phases = _one_phase(_best(groups, candidates, cfg, others), candidates)
    others |= phases
    choice = _in_order(chosen, candidates, others)
    name = _name(candidates[choice.slices[0]])
    fragments = [
        candidates[index]
        for group in every
        for index in group
        if index in choice.others and (len(group) < cfg.min_slices or _name(candidates[index]) == name)
    ]
    choice.warnings.extend(_failed_checks(choice, candidates, fragments, cfg))
    return choice


def _name(candidate: Candidate) -> object:
    return candidate.header.series or candidate.folder


def refuse_or_warn(refused: Refused, cfg: PackConfig) -> str:
    """Raise what the settings do not forgive; the code of what they do."""
    if getattr(cfg.checks, refused.reason, "refuse") == "refuse":
        raise refused
    return refused.reason


def _groups(candidates: Sequence[Candidate]) -> list[Group]:
    """Slices of one series, size, orientation, spacing and rescale."""
    alike: dict[object, Group] = defaultdict(list)  # the slices of a series share few header objects, often one
    for index, candidate in enumerate(candidates):
        alike[id(candidate.header), candidate.folder].append(index)
    groups: dict[object, Group] = defaultdict(list)
    for group in alike.values():
        header, folder = candidates[group[0]].header, candidates[group[0]].folder
        groups[_geometry(header, folder), header.slope, header.intercept].extend(group)
    return [sorted(group) for group in groups.values()]


def _geometry(header: Header, folder: bytes) -> object:
    cosines = tuple(round(cosine, 4) + 0.0 for cosine in header.orientation)  # + 0.0: no negative zero
    spacing = tuple(round(value, 5) for value in header.spacing)
    name = header.series or folder, str(header.series_number)
    return name, header.rows, header.columns, cosines, spacing


def _fitting(
    groups: list[Group], candidates: Sequence[Candidate], cfg: PackConfig, others: dict[int, Refused]
) -> list[Group]:
    """The groups that the rule admits; why the others are not goes to ``others``."""
    fitting = []
    for group in groups:
        if refused := _misfit([candidates[index] for index in group], cfg):
            others |= dict.fromkeys(group, refused)
        else:
            fitting.append(group)
    return fitting


def _misfit(group: list[Candidate], cfg: PackConfig) -> Refused | None:
    """Why a group cannot be the series."""
    first, rule = group[0].header, cfg.series
    lean = _lean_degrees(first)
    if lean > 45 or (lean > rule.max_lean_degrees and _shear_degrees(group) < lean / 2):  # a tilt stacks upright
        return Refused("not_axial", f"the slice normal leans {lean:.1f} degrees off the body axis")
    if projection := PROJECTIONS & set(first.image_type):
        return Refused("other_series", f"ImageType says {min(projection)}")
    low, high = rule.thickness_mm
    if not math.isnan(first.thickness_mm) and not low <= first.thickness_mm <= high:
        return Refused(
            "other_series", f"SliceThickness {first.thickness_mm:g} mm, pack.series wants {low:g} to {high:g}"
        )
    if rule.description is not None and not re.search(rule.description, first.description, re.IGNORECASE):
        return Refused("other_series", "SeriesDescription does not match pack.series.description")
    if len(group) < cfg.min_slices:
        return Refused("too_few_slices", f"a series of {len(group)} slices, pack.min_slices is {cfg.min_slices}")
    return None


def _best(groups: list[Group], candidates: Sequence[Candidate], cfg: PackConfig, others: dict[int, Refused]) -> Group:
    """The group of the lowest rank; why the others are not chosen goes to ``others``."""
    ranks = [_rank(group, candidates, cfg) for group in groups]
    best = min(ranks)
    chosen = groups[ranks.index(best)]
    for group, rank in zip(groups, ranks, strict=True):
        if rank != best:
            why = next(word for word, mine, its in zip(RANKS, rank, best, strict=True) if mine != its)
            others |= dict.fromkeys(group, Refused("other_series", f"{why}; the chosen has {len(chosen)} slices"))
    return chosen


def _rank(group: Group, candidates: Sequence[Candidate], cfg: PackConfig) -> tuple[bool, bool, int, float, int]:
    """The lowest is chosen; where two differ first is why, in RANKS."""
    first = candidates[group[0]].header
    tilted = _lean_degrees(first) > cfg.series.max_lean_degrees
    original = any("ORIGINAL" in candidates[index].header.image_type for index in group)
    derived = cfg.series.prefer_original and not original
    number = first.series_number
    return tilted, derived, -len(group), math.inf if math.isnan(number) else number, group[0]


def _one_phase(group: Group, candidates: Sequence[Candidate]) -> tuple[Group, dict[int, Refused]]:
    """Where slices repeat positions, one phase or acquisition, if it is at every position and repeats none."""
    num_positions = _num_positions(group, candidates)
    if num_positions == len(group):
        return group, {}
    for kind in ("phase_percent", "trigger_ms", "acquisition"):
        phases: dict[str, Group] = defaultdict(list)
        for index in group:
            phases[str(getattr(candidates[index].header, kind))].append(index)
        whole = {
            value: phase
            for value, phase in phases.items()
            if len(phase) == num_positions == _num_positions(phase, candidates)
        }
        if whole:
            chosen = whole[min(whole, key=lambda value: (value == "nan", float(value)))]
            refused = Refused("other_phase", f"of {len(phases)} phases or acquisitions, by {kind}")
            return chosen, dict.fromkeys(sorted(set(group) - set(chosen)), refused)
    return group, {}


def _num_positions(group: Group, candidates: Sequence[Candidate]) -> int:
    """Positions that are further apart than SAME_MM along the normal."""
    normal = _normal(candidates[group[0]].header)
    position = np.sort([np.dot(candidates[index].position, normal) for index in group])
    return 1 + int((np.diff(position) >= SAME_MM).sum())


def _in_order(group: Group, candidates: Sequence[Candidate], others: dict[int, Refused]) -> Choice:
    normal = _normal(candidates[group[0]].header)
    position = np.array([candidates[index].position for index in group]) @ normal
    order = np.argsort(position, kind="stable")
    return Choice([group[index] for index in order], position[order], others)


def _failed_checks(
    choice: Choice, candidates: Sequence[Candidate], fragments: Sequence[Candidate], cfg: PackConfig
) -> list[str]:
    """Codes of the failed checks that are set to warn.

    Args:
        fragments: slices that are of no series.
    Raises: NoSeries for the first that is set to refuse.
    """
    chosen = [candidates[index] for index in choice.slices]
    headers = list({id(candidate.header): candidate.header for candidate in chosen}.values())
    unique = [candidate for candidate, again in zip(chosen, choice.repeated, strict=True) if not again]
    warnings = []
    for refused in (
        *_of_number(len(unique), cfg),
        *_of_equality(headers),
        *_of_rescale(choice, candidates),
        *_of_spacing(unique, fragments, cfg),
    ):
        try:
            warnings.append(refuse_or_warn(refused, cfg))
        except Refused as final:
            lost = dict.fromkeys(choice.slices, final)
            raise NoSeries(final.reason, final.detail, choice.others | lost) from None
    return warnings


def _of_number(count: int, cfg: PackConfig) -> Iterable[Refused]:
    if count < cfg.min_slices:
        yield Refused("too_few_slices", f"{count} slices, pack.min_slices is {cfg.min_slices}")
    if count > cfg.max_slices:
        yield Refused("too_many_slices", f"{count} slices, pack.max_slices is {cfg.max_slices}")


def _of_equality(headers: Sequence[Header]) -> Iterable[Refused]:
    """What must be the same on all slices of a series."""
    if any(header.lossy for header in headers):
        yield Refused("lossy_compression", "the header or its transfer syntax says so")
    if len(thicknesses := {f"{header.thickness_mm:.2f}" for header in headers}) > 1:
        yield Refused("mixed_thickness", f"{len(thicknesses)} slice thicknesses")
    for name in SAME:
        if len(values := {_shown(getattr(header, name)) for header in headers}) > 1:
            yield Refused("mixed_acquisition", f"{len(values)} values of {name}")
            return


def _shown(value: object) -> str:
    """A value as it is compared: what differs in the third decimal of a number is how it was printed."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _of_rescale(choice: Choice, candidates: Sequence[Candidate]) -> Iterable[Refused]:
    """No other slices of the series differ in their rescale alone."""
    first = candidates[choice.slices[0]]
    mine = _geometry(first.header, first.folder)
    rescale = (first.header.slope, first.header.intercept)
    strays = [
        index
        for index in choice.others
        if _geometry(candidates[index].header, candidates[index].folder) == mine
        and (candidates[index].header.slope, candidates[index].header.intercept) != rescale
    ]
    if strays:
        yield Refused("mixed_rescale", f"{len(strays)} slices of the series have another slope or intercept")


def _of_spacing(slices: Sequence[Candidate], fragments: Sequence[Candidate], cfg: PackConfig) -> Iterable[Refused]:
    """Steps between neighbours: all the same, along the normal, and none further beyond the ends."""
    if len(slices) < 2:
        return
    header, position = slices[0].header, np.array([candidate.position for candidate in slices])
    steps = np.diff(position, axis=0)
    usual, lengths = np.median(steps, axis=0), steps @ _normal(header)
    usual_mm = float(np.median(lengths))
    slab_mm = min(usual_mm, header.thickness_mm) if header.thickness_mm > 0 else usual_mm
    unbroken_mm = GAP * slab_mm + cfg.spacing_tolerance_mm
    if gaps := int((lengths > unbroken_mm).sum()):
        yield Refused("missing_slices", f"{gaps} gaps, up to {lengths.max():.2f} mm, wanted {unbroken_mm:.2f} at most")
    elif (off := float(np.linalg.norm(steps - usual, axis=1).max())) > cfg.spacing_tolerance_mm:
        yield Refused("uneven_spacing", f"steps depart by up to {off:.2f} mm from the usual {usual_mm:.2f} mm")
    if (shear := _shear_degrees(slices)) > SHEAR_DEGREES:
        yield Refused("gantry_tilt", f"slices are stacked {shear:.1f} degrees off their normal")
    for next_one in (position[0] - usual, position[-1] + usual):
        if any(math.dist(stray.position, next_one) <= cfg.spacing_tolerance_mm for stray in fragments):
            yield Refused("mixed_acquisition", "the slice that continues the series is of another")


def _normal(header: Header) -> np.ndarray:
    """Unit normal of the slice, pointing to ascending z."""
    normal = np.cross(header.orientation[:3], header.orientation[3:])
    length = float(np.linalg.norm(normal))
    return np.asarray(normal / length * (-1 if normal[2] < 0 else 1))


def _lean_degrees(header: Header) -> float:
    """Angle between the slice's normal and the body axis."""
    return _degrees(_normal(header), np.array([0.0, 0.0, 1.0]))


def _shear_degrees(slices: Sequence[Candidate]) -> float:
    """Angle between the normal and the direction in which the slices are stacked; 0 where that cannot be told."""
    normal = _normal(slices[0].header)
    position = np.array([candidate.position for candidate in slices])
    along = position @ normal
    direction = position[along.argmax()] - position[along.argmin()]
    return _degrees(normal, direction) if np.linalg.norm(direction) >= SAME_MM else 0.0


def _degrees(one: np.ndarray, other: np.ndarray) -> float:
    """Angle between two directions, whichever way they point."""
    cosine = abs(float(one @ other)) / float(np.linalg.norm(one) * np.linalg.norm(other))
    return math.degrees(math.acos(min(1.0, cosine)))
