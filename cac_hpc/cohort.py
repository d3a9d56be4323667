"""A synthetic cohort on disk: a folder of CT files for each study and labels.csv with their scores.

Axes: Z slices, H rows, W columns.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cac_hpc import agatston, dicom, logs, phantom
from cac_hpc.config import InputError, LabelsConfig, PhantomConfig

EDGES = LabelsConfig.edges  # Agatston scores; a category ends at its edge, the edge included
SHARES = (12, 7, 11, 12, 11, 15)  # studies of each category in the cohort that is imitated
TARGETS = ((0.0, 0.0), (2.0, 9.0), (40.0, 95.0), (180.0, 350.0), (550.0, 900.0), (1600.0, 4000.0))  # of each category
CARDIAC_PHASE = 75.0  # percent of the heart's cycle at which the exam is taken


@dataclass(frozen=True)
class Rendered:
    """One study: int16 HU in ascending z, where calcium is coronary (bool), and the Agatston score in there."""

    hu_ZHW: np.ndarray
    mask_ZHW: np.ndarray
    score: float


def write_cohort(settings: PhantomConfig) -> None:
    """Write ``OUT/<study>/`` with the files of each study and ``OUT/labels.csv``; OUT appears when all are complete.

    Raises: InputError if OUT exists and is not an empty folder, or voxels are too coarse for the low scores.
    """
    out = Path(settings.out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"--out {settings.out} exists and is not an empty folder: remove it or name another")
    rows = ["study,score"]
    numbered = list(enumerate(categories(settings.studies, settings.seed), start=1))
    with _complete_folder(out) as folder:
        for index, category in logs.track(numbered, "studies written"):
            study = f"{index:03d}"
            score = _write_study(folder / study, index, category, settings)
            rows.append(f"{study},{printed_score(score)}")
        (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    logs.log.info("%d studies and labels.csv are in %s", settings.studies, settings.out)


def categories(studies: int, seed: int) -> list[int]:
    """The category of each study: shares by largest remainder, at least 2 of each from 12 studies on, order by seed."""
    exact = np.array(SHARES) * studies / sum(SHARES)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: studies - counts.sum()]] += 1
    while studies >= 2 * len(SHARES) and counts.min() < 2:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    in_order = np.repeat(np.arange(len(SHARES)), counts)
    return [int(category) for category in np.random.default_rng([seed, 0]).permutation(in_order)]


def category_of(score: float) -> int:
    return int(np.searchsorted(EDGES, score, side="left"))


def render(index: int, category: int, settings: PhantomConfig) -> Rendered:
    """Make one study. The same seed, index, category and settings give the same bytes.

    The chest is drawn before the calcium, so nothing else depends on the category.

    Args:
        index: number of the study in its cohort, from 1.
        category: 0 to 5; the score of the rendered voxels lies inside it.
    Raises: InputError if voxels are too coarse for a score that low.
    """
    rng = np.random.default_rng([settings.seed, index])
    chest = phantom.draw_chest(rng, settings)
    if category > 0:
        heart = chest.around_coronaries()
        heart.hu_ZHW[heart.mask_ZHW] += _calcium_hu(rng, heart, category)[heart.mask_ZHW]
    score = _score(chest, 0.0)
    assert category_of(score) == category, f"study {index} scores {score}, which is not in category {category}"
    return Rendered(phantom.as_stored(chest.hu_ZHW), chest.mask_ZHW, score)


def printed_score(score: float) -> str:
    """A score with one decimal, rounded up: a category ends at its edge, so this never leaves the category."""
    return f"{math.ceil(round(score * 10, 6)) / 10:.1f}"


def exam_attributes(settings: PhantomConfig, index: int) -> dict[str, object]:
    """What the header of a gated calcium-scoring exam says besides geometry, by DICOM keyword: no patient, no dates.

    Drawn from the study's number alone, so that no header tells the category.
    """
    rng = np.random.default_rng([settings.seed, index, 1])
    heart_rate = int(rng.integers(52, 76))
    interval_ms = round(60_000 / heart_rate)
    nobody = (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName",
    )  # fmt: skip
    return dict.fromkeys(nobody, "") | {
        "PatientIdentityRemoved": "YES",
        "DeidentificationMethod": "synthetic, there is no patient",
        "BurnedInAnnotation": "NO",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "ManufacturerModelName": "Discovery NM/CT 570c",
        "SeriesDescription": f"CALCIUM SCORE GATED {CARDIAC_PHASE:.0f}%",
        "BodyPartExamined": "HEART",
        "PatientPosition": "HFS",
        "KVP": 120,
        "XRayTubeCurrent": int(rng.integers(35, 56)) * 10,
        "ExposureTime": 350,
        "ConvolutionKernel": "STANDARD",
        "SliceThickness": min(3.0, phantom.slice_spacing_mm(settings)),
        "ReconstructionDiameter": settings.field_of_view_mm,
        "GantryDetectorTilt": 0,
        "CardiacSynchronizationTechnique": "PROSPECTIVE",
        "CardiacSignalSource": "ECG",
        "TriggerSourceOrType": "EKG",
        "HeartRate": heart_rate,
        "NominalInterval": interval_ms,
        "TriggerTime": round(interval_ms * CARDIAC_PHASE / 100, 1),
        "NominalPercentageOfCardiacPhase": CARDIAC_PHASE,
    }


def _calcium_hu(rng: np.random.Generator, heart: phantom.Chest, category: int) -> np.ndarray:
    """HU (Z, H, W) of plaques of the one size that brings the score near a target drawn inside the category."""
    for _ in range(20):
        target = float(np.exp(rng.uniform(*np.log(TARGETS[category]))))
        num_plaques = max(1, round(rng.uniform(0.8, 1.2) * 2.2 * target**0.45))
        plaques = phantom.draw_plaques(rng, heart, num_plaques, length_mm=10 * min(1.0, target / 100) ** 0.3)
        smallest, largest, best_error, best_ZHW = 0.05, 2.5, np.inf, None
        for _ in range(18):  # halve the interval: the score never falls when the plaques grow
            size = (smallest + largest) / 2
            added_ZHW = phantom.calcium_hu(plaques, size, heart.grid)
            score = _score(heart, added_ZHW)
            if category_of(score) == category and abs(score - target) < best_error:
                best_error, best_ZHW = abs(score - target), added_ZHW
            if best_error < 0.05 * target:
                break
            smallest, largest = (size, largest) if score < target else (smallest, size)
        if best_ZHW is not None:
            return best_ZHW
    pixel_mm, spacing_mm = heart.grid.pixel_mm, heart.grid.spacing_mm
    raise InputError(
        f"--matrix and --slices give voxels of {pixel_mm:.2f} x {pixel_mm:.2f} x {spacing_mm:g} mm, too coarse for the "
        f"scores of category {category} (above {EDGES[category - 1]:g}): ask for more of either"
    )


def _score(chest: phantom.Chest, added_ZHW: np.ndarray | float) -> float:
    """The score of the voxels as they are stored."""
    stored_ZHW = phantom.as_stored(chest.hu_ZHW + added_ZHW)
    return agatston.score_volume(stored_ZHW, chest.mask_ZHW, chest.grid.pixel_mm, chest.grid.spacing_mm)


def _write_study(folder: Path, index: int, category: int, settings: PhantomConfig) -> float:
    """Render one study, write its files and return its score."""
    rendered = render(index, category, settings)
    spacing_mm = phantom.slice_spacing_mm(settings)
    sizes = (settings.seed, settings.studies, settings.slices, settings.matrix, settings.field_of_view_mm, index)
    dicom.write_series(
        folder,
        rendered.hu_ZHW,
        pixel_spacing_mm=settings.field_of_view_mm / settings.matrix,
        slice_spacing_mm=spacing_mm,
        first_z_mm=-spacing_mm * (len(rendered.hu_ZHW) - 1) / 2,
        uid_entropy=["cac_hpc phantom", *map(str, sizes)],
        attributes=exam_attributes(settings, index),
    )
    return rendered.score


@contextmanager
def _complete_folder(path: Path) -> Iterator[Path]:
    """Yield a scratch folder beside ``path``; it gets its final name when the block ends well, and goes otherwise."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}, wanted a folder that can be written") from error
    try:
        yield scratch
        scratch.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
