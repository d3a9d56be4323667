"""What the templates of a report's page are given: of the whole report, then of its sections."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cac_hpc.appendix import checklists, methods_text
from cac_hpc.cluster.circumstances import MEDIANS, Circumstances
from cac_hpc.dataset import fact_names
from cac_hpc.report import lesion_pictures, pictures, slice_pictures
from cac_hpc.results.cohort import CategoryRange
from cac_hpc.results.examples import Example, ShownLesions, ShownPatient
from cac_hpc.results.report import Report
from cac_hpc.results.training import Layer, Training
from cac_hpc.sections import (
    cohort_parts,
    explore_parts,
    external_parts,
    formatting,
    lesion_parts,
    level_parts,
    method_parts,
    parts,
    trained,
    trial_settings,
    wording,
)

MODULES = {  # whose functions templates call
    "checklists": checklists,
    "cohort_parts": cohort_parts,
    "formatting": formatting,
    "lesion_parts": lesion_parts,
    "level_parts": level_parts,
    "method_parts": method_parts,
    "methods_text": methods_text,
    "trial_settings": trial_settings,
    "wording": wording,
}
FOLD_ROWS, FOLD_COLUMNS = 25, 8  # a table of more is folded away
KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
TRAINED = ("parameters", "epochs", "precision", "device", "ranks")
TRAINING = ("fold", "train_slices", "val_slices", "test_slices", "tested_epoch", "epochs", "ranks", "precision",
            "device", "residency")  # fmt: skip


@dataclass(frozen=True)
class Step:
    """From what was found to what was used, with what was lost by reason; the numbers close."""

    unit: str
    found: int
    used: int
    lost: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Gallery:
    """Slices that are shown, each with its picture, as far as that is there; picked: how many were to be shown."""

    title: str
    rule: str
    picked: int
    slices: Sequence[tuple[Example, str]]


def of_report(report: Report, circumstances: Circumstances) -> dict[str, object]:
    """What the templates are given, but for pictures: of the whole report, then of its sections."""
    intake, training = report.cohort.intake, trained.of_folds(report)
    return {
        **MODULES,
        "FOLD_ROWS": FOLD_ROWS,
        "FOLD_COLUMNS": FOLD_COLUMNS,
        "report": report,
        "names": wording.category_names(report),
        "mark": wording.status_mark(report),
        "pictures": pictures.PICTURES,
        "explored": asdict(explore_parts.explored(report)),
        "answers": parts.answers(report),
        "first_sections": parts.first(report),
        "later_sections": parts.later(report),
        "levels": wording.tested(report),
        "external_methods": external_parts.methods(report),
        "flow": _flow(intake),
        "category_rows": _category_rows(report.categories, intake["categories"]),
        "fold_rows": _fold_rows(report),
        "acquisition": _acquisition(intake["acquisition"]),
        "trained": {name: _together(training, name) for name in TRAINED},
        "networks": trained.networks(report),
        "layer_rows": _layer_rows,
        "training_rows": [[_text_or(getattr(fold, name), "") for name in TRAINING] for fold in training],
        "stage_rows": _stage_rows(circumstances),
        "speed_rows": _speed_rows(circumstances),
        "settings": _settings(report),
        "circumstances": circumstances,
        "digests": report.external.digests if report.external else vars(report.digests),
    }


def _settings(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(name, trial_settings.of_section(report, name, _flat(values))) for name, values in report.settings.items()]


def _together(training: Sequence[Training], name: str) -> str:
    """What the folds say of their training; where they differ, all of it."""
    values = (getattr(fold, name) for fold in training)
    between = " or " if name == "parameters" else ", "  # thousands have commas of their own
    return between.join(
        dict.fromkeys(f"{one:,}" if isinstance(one, int) else _text_or(one, "not recorded") for one in values)
    )


def _text_or(value: object, otherwise: str) -> str:
    return otherwise if value is None else str(value)


def _flow(intake: Mapping[str, Any]) -> list[Step]:
    studies, files = intake["studies"], intake["files"]
    lost = [("without a label", studies["without_label"]), *studies["refused"].items()]
    return [
        Step("studies", studies["found"], studies["used"], lost),
        *([Step("files", files["found"], files["used"], list(files["rejected"].items()))] if files["found"] else []),
    ]


def _acquisition(facts: Mapping[str, Any]) -> list[list[str]]:
    found = []
    for name, fact in facts.items():
        if "known" not in fact:
            found.append(
                [fact_names.in_words(name), ", ".join(f"{value}: {count}" for value, count in fact.items()), ""]
            )
        elif fact["known"]:
            unit = f" {fact['unit']}" if fact["unit"] else ""
            low, high, median = (f"{fact[key]:.4g}{unit}" for key in ("min", "max", "median"))
            between = f"all {low}" if low == high else f"{low} to {high}, median {median}"
            found.append([fact_names.in_words(name), between, str(fact["known"])])
    return found


def _category_rows(categories: Sequence[CategoryRange], counts: Mapping[str, Sequence[int]]) -> list[list[str]]:
    return [
        [category.name, _edge(category.score_above, "no score below"), _edge(category.score_up_to, "any"),
         str(labelled), str(used)]
        for category, labelled, used in zip(categories, counts["labelled"], counts["used"], strict=True)
    ]  # fmt: skip


def _edge(score: float | None, otherwise: str) -> str:
    return otherwise if score is None else f"{score:g}"


def _fold_rows(report: Report) -> list[list[str]]:
    return [
        [str(fold), *(" / ".join(map(str, counts)) for counts in patients),
         " / ".join(str(sum(part)) for part in zip(*patients, strict=True))]
        for fold, patients in enumerate(report.cohort.folds)
    ]  # fmt: skip


def _layer_rows(layers: Sequence[Layer]) -> list[list[str]]:
    return [
        [layer.layer, layer.detail, " x ".join(map(str, layer.output)), f"{layer.parameters:,}"] for layer in layers
    ]


def _stage_rows(circumstances: Circumstances) -> list[list[str]]:
    stages = circumstances.stages
    found = [
        [use.stage, str(use.tasks), str(use.starts), _rounded(use.seconds, 60), str(use.time_min),
         _rounded(use.peak_gib), f"{use.mem_gb:g}", _rounded(use.core_hours or None),
         _rounded(use.gpu_hours or None), _rounded(use.queue_s, 60)]
        for use in stages
    ]  # fmt: skip
    hours = (sum(use.core_hours for use in stages), sum(use.gpu_hours for use in stages))
    return [*found, ["all", "", "", "", "", "", "", *(_rounded(one or None) for one in hours), ""]]


def _speed_rows(circumstances: Circumstances) -> list[list[str]]:
    return [
        [str(fold.fold), str(fold.epochs), *(_rounded(getattr(fold, name)) for name in MEDIANS)]
        for fold in circumstances.folds
    ]


def _rounded(value: float | None, per: float = 1) -> str:
    """Three digits, and more before the point."""
    return "-" if value is None else f"{value / per:.0f}" if value / per >= 100 else f"{value / per:.3g}"


def galleries(folder: Path, report: Report) -> list[Gallery]:
    galleries = []
    for (prefix, title), found in zip(
        slice_pictures.GALLERIES.items(), (report.examples.samples, report.examples.misclassified), strict=True
    ):
        drawn = (
            (one, address(folder / "figures" / f"{stem}.png")) for stem, one in slice_pictures.stems(prefix, found)
        )
        shown = [(one, picture) for one, picture in drawn if picture]
        galleries.append(Gallery(title, found.rule, len(found.slices), shown))
    return galleries


def patients(folder: Path, report: Report) -> list[tuple[ShownPatient, list[tuple[str, str]]]]:
    """Patients whose candidates are shown, each with its panels, what these are of and their pictures."""
    found = report.lesions
    if not isinstance(found, ShownLesions):
        return []
    return [
        (patient, [(_panel(path), address(path) or "") for path in lesion_pictures.files(folder / "figures", number)])
        for number, patient in enumerate(found.patients, start=1)
    ]


def patient_at(report: Report) -> dict[tuple[str, int], int]:
    """The number of each patient whose candidates are shown, by patient and fold."""
    found = report.lesions.patients if isinstance(report.lesions, ShownLesions) else []
    return {(one.patient, one.fold): number for number, one in enumerate(found, start=1)}


def _panel(path: Path) -> str:
    """What a panel shows, by the name of its file."""
    name = path.stem.split("-", 3)[3]
    return "projection of all slices" if name == "projection" else f"slice {int(name.removeprefix('slice-'))}"


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Settings of a section as dotted names and texts."""
    if not isinstance(values, Mapping):
        return [(prefix, "not set" if values is None else _text(values))]
    return [row for key, value in values.items() for row in _flat(value, f"{prefix}.{key}" if prefix else key)]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def address(path: Path) -> str | None:
    """A picture as an address that needs no file; None if it is not there."""
    if not path.is_file():
        return None
    return f"data:{KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
