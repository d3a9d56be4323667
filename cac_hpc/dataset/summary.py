"""The intake summary: what became of every file and study, and before packing what the first studies' headers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.dataset import plan
from cac_hpc.dataset.sealed import GROUP
from cac_hpc.labels import second_look
from cac_hpc.run import logs
from cac_hpc.settings.config import Config
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import Checks, PackConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.formats import reader_of

Json = dict[str, Any]
Part = tuple[Json, dict[str, Any], list[Json], list[Json]]  # plan, counts and facts of studies, rows of rejected.csv
MEASURED = {  # facts of a study, and their units
    "slices": "",
    "slice_spacing_mm": "mm",
    "slice_thickness_mm": "mm",
    "row_spacing_mm": "mm",
    "field_of_view_mm": "mm",
    "kvp": "kV",
    "energy_kev": "keV",
    "phase_percent": "% of RR",
}
IDENTITY = ("identity", "private", "key_is_identity")  # counts of files
NAMED = ("energy_class", "kernel_class", "kernel", "gating")
SETTINGS = {  # what lets refused studies be used, where it is no check
    "too_few_slices": "lower pack.min_slices",
    "too_many_slices": "raise pack.max_slices",
    "several_studies": "set pack.several_studies",
    "over_time": "raise pack.limits.minutes",
    "over_memory": "raise pack.limits.memory_gb",
    "no_heart": "set pack.slices: true, to use them without candidates",
}
WRONG_SCORES = ("contrast_agent", "implausible_hu")
MIXED = {  # what should be the same in a cohort, and what comes of it
    "energy_class": "tube voltages: calcium is the brighter the lower the voltage is",
    "kernel_class": "kernels: sharp ones raise noise, and noise counts as calcium",
}
MOST_NAMED = 10  # labels for a second look
MOST_FILES = 400  # then no further study is looked at: a tenth of a second


def summarise(
    planned: dict[str, Any], packed: Sequence[dict[str, Any]], rejected: Sequence[dict[str, Any]], cfg: Config
) -> dict[str, Any]:
    """Count what the stages pack and plan have left.

    Args:
        planned: plan.json. packed: the facts of every shard. rejected: the rows of rejected.csv.
    Returns: plain JSON; files found = used + rejected, studies found = used + refused + without a label.
    """
    counts = {study: count for shard in packed for study, count in shard["counts"].items()}
    facts = [study for shard in packed for study in shard["studies"]]
    labels, num_categories = planned["labels"], len(cfg.labels.names)
    cohorts = {
        name: _flow_of(*part, num_categories) for name, part in _by_cohort(planned, counts, facts, rejected).items()
    }
    return {
        **_flow_of(planned, counts, facts, rejected, num_categories),
        "category_names": list(cfg.labels.names),
        "acquisition": {name: _measured(name, facts) for name in MEASURED}
        | {name: _counted(study[name] or "unknown" for study in facts) for name in NAMED},
        "crop": _crop(facts, cfg) if cfg.pack.crop == "heart" else None,
        "no_heart": sum(map(_has_no_heart, facts)),
        "no_aorta": sum(study.get("aorta_found") is False for study in facts),
        "warnings": _counted(code for study in facts for code in study["warnings"].split()),
        "second_look": _second_look(labels, facts),
        "identity": {name: sum(count[name] for count in counts.values()) for name in IDENTITY},
        **({"cohorts": cohorts, "shared_patients": cfg.data.shared_patients} if cohorts else {}),
    }


def _by_cohort(
    planned: Json, counts: Mapping[str, Any], facts: Sequence[Json], rejected: Sequence[Json]
) -> dict[str, Part]:
    """What `summarise` counts, of each of several cohorts."""
    labels, found = planned["labels"], dict[str, Part]()
    for name, own in planned.get("cohorts", {}).items():
        labelled = {study for study in counts if labels[study]["site"] == name}
        known = {*labelled, *own["unlabelled"], plan.beside(name)}
        found[name] = (
            planned | own | {"unlabelled": {study: planned["unlabelled"][study] for study in own["unlabelled"]}},
            {study: counts[study] for study in counts if study in labelled},
            [study for study in facts if study["study"] in labelled],
            [row for row in rejected if row["study"] in known],
        )
    return found


def _flow_of(
    planned: Json, counts: Mapping[str, Any], facts: Sequence[Json], rejected: Sequence[Json], num_categories: int
) -> Json:
    """What became of files and studies."""
    used = {study["study"] for study in facts}
    reasons: dict[str, list[tuple[str, str]]] = {study: [] for study in counts}
    for row in rejected:
        reasons.setdefault(row["study"], []).append((row["reason"], row["detail"]))
    return {
        "files": _files(planned, counts, rejected),
        "studies": {
            "found": len(counts) + len(planned["unlabelled"]),
            "without_label": len(planned["unlabelled"]),
            "labelled": len(counts),
            "used": len(used),
            "refused": _counted(main_reason(reasons[study]) for study in counts if study not in used),
            "rows_without_study": planned["rows_without_study"],
        },
        "slices": sum(study["slices"] for study in facts),
        "categories": {
            name: np.bincount(
                [planned["labels"][study]["category"] for study in studies], minlength=num_categories
            ).tolist()
            for name, studies in (("labelled", list(counts)), ("used", sorted(used)))
        },
    }


def _second_look(labels: Mapping[str, Any], facts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Studies whose label the scan contradicts, with what was reported and counted."""
    found = []
    for study in facts:
        reported, counted = labels[study["study"]].get("score"), second_look.counted_of(study)
        if second_look.is_contradicted(reported, counted.values()):
            found.append({"study": study["study"], "reported": reported, "counted": counted})
    return found


def _has_no_heart(study: Mapping[str, Any]) -> bool:
    return study.get("heart_row", 0) is None or study.get("has_candidates") is False


def _files(
    planned: dict[str, Any], counts: Mapping[str, Mapping[str, int]], rejected: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    in_studies = sum(count["files"] for count in counts.values())
    found = in_studies + planned["stray"] + sum(planned["unlabelled"].values())
    used = sum(count["used"] for count in counts.values())
    assert found == used + len(rejected), (found, used, len(rejected))
    return {"found": found, "used": used, "rejected": _counted(row["reason"] for row in rejected)}


def show(summary: dict[str, Any]) -> None:
    """Print the summary."""
    screen = logs.console()
    for table in (_flow(summary), _categories(summary), *_cohorts(summary), _acquisition(summary)):
        screen.print(table)
    for line in _remarks(summary):
        screen.print(line, markup=False)


def _counted(names: Any) -> dict[str, int]:
    """How often each name occurs, the most frequent first."""
    return _sorted(Counter(names))


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def main_reason(refusals: Sequence[tuple[str, str]]) -> str:
    """The reason that a study is not used: that of the one slice which spoils it, else that of most files.

    Args:
        refusals: reason and detail of each of its files.
    """
    reasons = Counter(reason for reason, _ in refusals)
    if "study_refused" in reasons:
        spoilt = next(detail for reason, detail in refusals if reason == "study_refused")
        return spoilt.rpartition(": ")[2]
    return reasons.most_common(1)[0][0] if reasons else "no_files"


def counted(refused: Mapping[str, int]) -> str:
    """Numbers of refused studies by reason, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in _sorted(refused).items())


def forgiven_by(refused: Mapping[str, int], pack: PackConfig) -> str | None:
    """The check that, as a warning, lets studies be used that are refused for the most frequent reason; None if that is
    no such check, or one without which scores would be wrong or nothing would be left of a study."""
    reason = next(iter(_sorted(refused)), "")
    needed = (*WRONG_SCORES, *(() if pack.slices else ("no_heart",)))
    return f"pack.checks.{reason}" if reason in Checks.__dataclass_fields__ and reason not in needed else None


def advice(refused: Mapping[str, int], pack: PackConfig) -> str:
    """What to do about studies that are refused, by the most frequent reason."""
    check, reason = forgiven_by(refused, pack), next(iter(_sorted(refused)), "")
    change = f"set {check}: warn" if check else SETTINGS.get(reason)
    return "fix them" + (f", or {change}" if change else "")


def _measured(name: str, facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Range of a number over the studies, and those far from the others.

    Far: more than five times the median distance from the median, and more than a tenth of it.
    """
    known = {study["study"]: study[name] for study in facts if study[name] is not None}
    if not known:
        return {"unit": MEASURED[name], "known": 0}
    values = np.array(list(known.values()), dtype=float)
    median = float(np.median(values))
    far = np.maximum(5 * np.median(np.abs(values - median)), 0.1 * abs(median))
    return {
        "unit": MEASURED[name],
        "known": len(known),
        "min": float(values.min()),
        "median": median,
        "max": float(values.max()),
        "outliers": {study: value for study, value in known.items() if abs(value - median) > far},
    }


def _crop(facts: Sequence[dict[str, Any]], cfg: Config) -> dict[str, Any]:
    """What cropping to the heart made of the studies in which it was found, and how many stayed whole."""
    cut = [study for study in facts if "no_heart" not in study["warnings"].split()]
    counts = {"studies": len(cut), "whole": len(facts) - len(cut), "margin_mm": cfg.pack.crop_margin_mm}
    if not cut:
        return counts
    side, height, rows, columns, pixel_mm, width = (
        np.array([study[name] for study in cut], float)
        for name in ("crop_columns", "crop_rows", "rows", "columns", "column_spacing_mm", "field_of_view_mm")
    )
    measured = {
        "side_mm": side * pixel_mm,
        "share": side * height / (rows * columns),
        "pixel_mm": side * pixel_mm / cfg.pack.size,
        "whole_pixel_mm": width / cfg.pack.size,
    }
    ranges = {
        name: {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
        for name, values in measured.items()
    }
    return counts | ranges


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
            rows.append([name, ", ".join(f"{value} {count}" for value, count in found.items()), "", "", "", ""])
        elif found["known"]:
            outliers = ", ".join(f"{study}: {value:g}" for study, value in list(found["outliers"].items())[:6])
            more = f" and {len(found['outliers']) - 6} more" if len(found["outliers"]) > 6 else ""
            title = name.removesuffix("_mm").replace("_", " ") + (f" ({found['unit']})" if found["unit"] else "")
            rows.append(
                [title, *(f"{found[key]:g}" for key in ("min", "median", "max")), found["known"], outliers + more]
            )
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
        found = f"no heart is found in {summary['no_heart']} studies"
        lines.append(f"{found}: they have no candidates, and the Agatston rule a score only in masks")
    if missing := summary.get("no_aorta"):  # datasets packed before do not say
        found = f"the ascending aorta is not seen in {missing} studies"
        lines.append(f"{found}: places of candidates by it are those by its usual place, which misleads a lesion model")
    lines += _groups(summary.get("subgroups"))
    if contradicted := summary["second_look"]:
        lines.append(f"labels that the scan contradicts, for a second look: {len(contradicted)}; none was changed")
        lines += [f"  study {one['study']!r}: {_contradiction(one)}" for one in contradicted[:MOST_NAMED]]
        lines += [f"  and {len(contradicted) - MOST_NAMED} more, in intake.json"] * (len(contradicted) > MOST_NAMED)
    if identity["identity"] or identity["private"]:
        lines.append(
            f"{identity['identity']} studies carry names, ids or dates in their headers, {identity['private']} private "
            "elements: none of it was packed"
        )
    if identity["key_is_identity"]:
        lines.append(
            f"{identity['key_is_identity']} study keys are names or ids of their headers: data.pseudonym_key hides them"
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


@dataclass(frozen=True)
class Preview:
    """lines: of each study with files that are left out how many of these, and why.

    looked_at: labelled studies whose headers were read. refused: by reason those of them that cannot be used.
    """

    lines: list[str]
    looked_at: int
    refused: Counter[str]


def preview(cfg: Config, labelled: Collection[str]) -> Preview:
    """Read the headers of the first studies.

    Args:
        labelled: keys of the studies that have a label.
    """
    studies, num_studies, num_files = _in_turn(cfg), 0, 0
    found = Preview([], 0, Counter())
    for study, (folder, wanted) in studies.items():
        if num_files >= MOST_FILES:
            break
        entries = files.list_files(folder, wanted)
        num_files, num_studies = num_files + len(entries), num_studies + 1
        used, refused = reader_of(entries).by_headers(entries, cfg.pack)
        reasons = [(why.reason, why.detail) for why in refused]
        if reasons:
            found.lines.append(f"study {study!r}: {used or 'no'} slices are taken; left out are")
            counts = Counter(reasons).most_common()
            found.lines.extend(
                f"  {count} file{'s' * (count != 1)}, {reason}: {detail}" for (reason, detail), count in counts
            )
        if not used and study in labelled:
            found.refused[main_reason(reasons)] += 1
    found.lines.append(
        f"looked at: headers of {num_studies} of {len(studies)} studies; rejected.csv will name every file left out"
    )
    first = list(studies)[:num_studies]
    return Preview(found.lines, sum(study in labelled for study in first), found.refused)


def _in_turn(cfg: Config) -> dict[str, tuple[Path, Format]]:
    """The folder of each study and its format: the first of each cohort, then the second of each, and so on."""
    folders, cohorts = plan.study_folders(cfg), cfg.by_cohort()
    each = [[(one, cohort.cfg.data.format) for one in folders[cohort.name].items()] for cohort in cohorts]
    turns = (one for turn in zip_longest(*each) for one in turn if one)
    return {study: (folder, wanted) for (study, folder), wanted in turns}


def preview_fault(found: Preview, num_labelled: int, cfg: Config) -> str | None:
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
        f"{refused} of the {found.looked_at} studies looked at cannot be used ({counted(found.refused)}), "
        f"pack.limits.rejected_studies allows {allowed:.0%} of {num_labelled}"
    )
    change = advice(found.refused, cfg.pack)
    if refused == num_labelled:
        raise InputError(f"{why}: {change}")
    if refused > allowed * num_labelled:
        raise InputError(f"{why}: {change}, or raise pack.limits.rejected_studies")
    return f"{why}; if as many of the others are refused, the dataset is not sealed: {change}, or raise it"
