"""The intake summary for people: its tables on the terminal, and what they should know before they train on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cac_hpc.dataset import fact_names
from cac_hpc.dataset.sealed import GROUP
from cac_hpc.dataset.summary import NAMED, counted
from cac_hpc.run import logs
from cac_hpc.run.logs import amount

MIXED = {  # what should be the same in a cohort, and what comes of it
    "energy_class": "tube voltages: calcium is the brighter the lower the voltage is",
    "kernel_class": "kernels: sharp ones raise noise, and noise counts as calcium",
}
MOST_NAMED = 10  # labels for a second look


def show(summary: dict[str, Any]) -> None:
    """Print the summary."""
    screen = logs.console()
    for table in (_flow(summary), _categories(summary), *_cohorts(summary), _acquisition(summary)):
        screen.print(table)
    for line in _remarks(summary):
        screen.print(line, markup=False)


def _flow(summary: dict[str, Any]) -> Any:
    files, studies = summary["files"], summary["studies"]
    rows: list[list[object]] = [["files found", files["found"]]]
    rows += [[f"  rejected: {reason}", count] for reason, count in files["rejected"].items()]
    rows += [["files used", files["used"]], ["studies found", studies["found"]]]
    rows += [["  without a label", studies["without_label"]]] if studies["without_label"] else []
    rows += [[f"  refused: {reason}", count] for reason, count in studies["refused"].items()]
    rows += [["studies used", studies["used"]], ["slices", summary["slices"]]]
    return logs.table("Intake", ["", "number"], rows, numbers=True)


def _categories(summary: dict[str, Any]) -> Any:
    counts = summary["categories"]
    rows = list(zip(summary["category_names"], counts["labelled"], counts["used"], strict=True))
    return logs.table("Studies per category", ["category", "labelled", "used"], rows, numbers=True)


def _cohorts(summary: dict[str, Any]) -> list[Any]:
    rows = [
        [name, *(one["studies"][key] for key in ("found", "without_label", "used")), counted(one["studies"]["refused"])]
        for name, one in summary.get("cohorts", {}).items()
    ]
    head = ["cohort", "studies found", "without a label", "used", "refused"]
    return [logs.table("Cohorts", head, rows)] if rows else []


def _acquisition(summary: dict[str, Any]) -> Any:
    rows: list[list[object]] = []
    for name, found in summary["acquisition"].items():
        if name in NAMED:
            counts = ", ".join(f"{value} {count}" for value, count in found.items())
            rows.append([fact_names.in_words(name), counts, "", "", "", ""])
        elif found["known"]:
            outliers = logs.first_of([f"{study}: {value:g}" for study, value in found["outliers"].items()], 6)
            title = fact_names.in_words(name) + (f" ({found['unit']})" if found["unit"] else "")
            rows.append([title, *(f"{found[key]:g}" for key in ("min", "median", "max")), found["known"], outliers])
    return logs.table("Acquisition", ["", "lowest", "median", "highest", "studies", "outliers"], rows)


def _mixed(found: dict[str, int], what: str) -> str | None:
    """That studies differ in what should be the same, if they do."""
    counts = ", ".join(f"{count} {name}" for name, count in found.items())
    return f"the cohort mixes {what} ({counts})" if len(found) > 1 else None


def _remarks(summary: dict[str, Any]) -> list[str]:
    """What people should know before they train on it."""
    identity, lines = summary["identity"], []
    if summary["warnings"]:
        lines.append(
            "used with a warning: " + ", ".join(f"{count} {code}" for code, count in summary["warnings"].items())
        )
    lines += [mixed for name, what in MIXED.items() if (mixed := _mixed(summary["acquisition"][name], what))]
    if summary["no_heart"]:
        found = f"no heart is found in {amount(summary['no_heart'], 'study')}"
        lines.append(f"{found}: there are no candidates, and the Agatston rule has a score only in masks")
    if missing := summary.get("no_aorta"):  # datasets packed before do not say
        found = f"the ascending aorta is not seen in {amount(missing, 'study')}"
        lines.append(f"{found}: places of candidates by it are those by its usual place, which misleads a lesion model")
    lines += _groups(summary.get("subgroups"))
    if contradicted := summary["second_look"]:
        lines.append(f"labels that the scan contradicts, for a second look: {len(contradicted)}; none was changed")
        lines += [f"  study {one['study']!r}: {_contradiction(one)}" for one in contradicted[:MOST_NAMED]]
        lines += [f"  and {len(contradicted) - MOST_NAMED} more, in intake.json"] * (len(contradicted) > MOST_NAMED)
    if identity["identity"] or identity["private"]:
        lines.append(
            f"names, ids or dates are in the headers of {amount(identity['identity'], 'study')}, with "
            f"{amount(identity['private'], 'private element')}: none of it was packed"
        )
    if identity["key_is_identity"]:
        lines.append(
            f"names or ids of their headers are the keys of {amount(identity['key_is_identity'], 'study')}: "
            "data.pseudonym_key hides them"
        )
    return lines


def _groups(found: Mapping[str, Any] | None) -> list[str]:
    """How many studies are in each group, where there are any."""
    if not found:
        return []
    counts = [
        f"  {name.removeprefix(GROUP)}: {', '.join(f'{group} {count}' for group, count in of.items())}"
        + (f"; contradictory {found['contradictory'][name]}" if name in found["contradictory"] else "")
        for name, of in found["studies"].items()
    ]
    about = f"groups, of people withheld where fewer than {found['smallest_group']} patients are alike:"
    return [about, *counts]


def _contradiction(one: Mapping[str, Any]) -> str:
    reported = "above the last edge" if one["reported"] is None else f"{one['reported']:g}"
    counted = ", ".join(f"the {reader} counts {score:.0f}" for reader, score in one["counted"].items())
    return f"{reported} is reported, {counted}"
