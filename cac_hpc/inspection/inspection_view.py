"""What an inspection shows: tables for people, and the same as JSON."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from cac_hpc.inspection.found import Found
from cac_hpc.inspection.series_found import SeriesFound
from cac_hpc.run import logs
from cac_hpc.run.logs import amount

SERIES = ("n", "slices", "apart", "thick", "pixel", "kernel", "kVp", "ECG", "agent", "taken")
ALIKE = "Series, those that are alike together: n of them, lengths in mm, ECG gating, contrast agent"
MOST_KINDS = 12  # of series that are shown


def show(found: Found) -> None:
    """Print what was found."""
    screen = logs.console()
    for line in _headline(found):
        screen.print(line, markup=False, soft_wrap=True)
    kinds = _kinds(found)
    screen.print(logs.table(ALIKE, SERIES, [row for row, _ in kinds[:MOST_KINDS]]))
    for line in [*_reasons(kinds), *_others(found)]:
        screen.print(line, markup=False, soft_wrap=True)
    for sheet in found.sheets:
        if sheet.fault:
            screen.print(f"Sheet {sheet.path}: {sheet.fault}", markup=False, soft_wrap=True)
            continue
        rows = [[one.name, one.role, one.filled, one.numbers, one.studies] for one in sheet.columns]
        named = f"{sheet.matched} of {len(found.place.studies)} studies named"
        title = f"Sheet {sheet.path}: {amount(sheet.rows, 'row')}, {named}"
        if sheet.dropped:
            title += f" without {sheet.dropped.setting.removeprefix('id_')} {sheet.dropped.text!r}"
        screen.print(logs.table(title, ["column", "taken for", "filled", "numbers", "name a study"], rows))
        for doubt in sheet.doubts:
            screen.print(doubt, markup=False, soft_wrap=True)
    for line in _masks(found):
        screen.print(line, markup=False, soft_wrap=True)


def to_json(found: Found) -> dict[str, Any]:
    """What was found, without cells of sheets."""
    sheets = [dataclasses.asdict(one) for one in found.sheets]
    for sheet, one in zip(sheets, found.sheets, strict=True):
        sheet["dropped"] = {one.dropped.setting: one.dropped.text} if one.dropped else None
    return {
        "root": str(found.place.root),
        "studies": list(found.place.studies),
        "remarks": found.place.remarks,
        "looked_at": {
            name: {
                "files": study.num_files,
                "series": [dataclasses.asdict(series) for series in study.series],
                "other_files": dict(study.others),
            }
            for name, study in found.looked_at.items()
        },
        "volumes": dict(found.volumes),
        "studies_with_reports": found.reports,
        "sheets": sheets,
        "masks": [dataclasses.asdict(one) for one in found.masks],
    }


def _headline(found: Found) -> list[str]:
    place, looked_at = found.place, found.looked_at
    usable = sum(study.taken is not None for study in looked_at.values())
    volumes = ", ".join(f"{count} with {name} files" for name, count in found.volumes.items())
    return [
        f"{place.root}: one folder or file for each of {len(place.studies)} studies; headers of {len(looked_at)} "
        f"looked at{f' ({volumes})' if volumes else ''}; of {usable} of these a series would be taken",
        *place.remarks,
    ]


Kind = tuple[list[object], str]  # a row of the table, and why series of the kind are not taken


def _kinds(found: Found) -> list[Kind]:
    """Series that are alike, the most frequent first."""
    groups: dict[tuple[object, ...], list[SeriesFound]] = {}
    for study in found.looked_at.values():
        for one in study.series:
            groups.setdefault((*_like(one), bool(one.taken), one.why.partition(":")[0]), []).append(one)
    ordered = sorted(groups.values(), key=lambda same: (not same[0].taken, -len(same)))
    return [(_row(same), "" if same[0].taken else same[0].why) for same in ordered]


def _like(one: SeriesFound) -> tuple[object, ...]:
    return one.spacing_mm, one.thickness_mm, one.kernel, one.kvp, one.gating, one.contrast_agent, one.lies


def _row(same: Sequence[SeriesFound]) -> list[object]:
    first = same[0]
    pixels, slices = sorted(one.pixel_mm for one in same), sorted(one.slices for one in same)
    return [
        len(same),
        _range(slices),
        _mm(first.spacing_mm),
        _mm(first.thickness_mm),
        _range([f"{value:.2f}" for value in pixels]),
        first.kernel or "?",
        "?" if first.kvp is None else f"{first.kvp:g}",
        first.gating.lower() or "?",
        "yes" if first.contrast_agent else "no",
        ("yes" if first.taken else "no") + ("" if first.lies == "axial" else f" ({first.lies})"),
    ]


def _range(ascending: Sequence[object]) -> str:
    low, high = ascending[0], ascending[-1]
    return str(low) if low == high else f"{low}-{high}"


def _mm(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"


def _reasons(kinds: Sequence[Kind]) -> list[str]:
    why = Counter(reason for row, reason in kinds for _ in range(int(str(row[0]))) if reason)
    lines = [f"{count} series not taken: {reason}" for reason, count in why.most_common(6)]
    return [*lines, *([f"and {len(kinds) - MOST_KINDS} more kinds of series"] if len(kinds) > MOST_KINDS else [])]


def _others(found: Found) -> list[str]:
    counts = sum((study.others for study in found.looked_at.values()), Counter[str]())
    in_series = {"other_series", "other_phase", "study_refused", "not_axial", "duplicate"}
    listed = ", ".join(f"{count} {reason}" for reason, count in counts.most_common() if reason not in in_series)
    reports = f"{found.reports} of the studies looked at hold a report with a calcium score" if found.reports else ""
    return [line for line in (f"Files of no series: {listed}" if listed else "", reports) if line]


def _masks(found: Found) -> list[str]:
    lines = []
    for one in found.masks:
        parts = f"; parts: {', '.join(one.parts[:8])}" if one.parts else ""
        lines.append(f"Masks {one.pattern}: {one.studies} of {len(found.place.studies)} studies have one; "
                     f"{one.checked} were read with their scans, {one.fitting} fit{parts}")  # fmt: skip
        lines += [f"  {remark}" for remark in one.remarks]
    return lines
