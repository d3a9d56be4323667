"""The intake summary: what became of every file and study, counted as plain JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cac_hpc.dataset import study_folders
from cac_hpc.labels import second_look
from cac_hpc.settings.config import Config
from cac_hpc.settings.pack import Checks, PackConfig

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
        known = {*labelled, *own["unlabelled"], study_folders.beside(name)}
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
