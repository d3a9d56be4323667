"""Pages of predictions: one for each study, one for all; HTML that loads nothing, with the look of a report's page.

Axes: Z slice, S row and column of a slice, C candidate, K category.
"""

from __future__ import annotations

import base64
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.views import Views
from cac_hpc.labels import labels
from cac_hpc.plots import panels
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.ensemble import Answer, Prediction
from cac_hpc.predict.training_range import CODES, NUMBERS
from cac_hpc.report import templates
from cac_hpc.run import disk
from cac_hpc.run.rejections import REASONS
from cac_hpc.sections import formatting, lesion_panels
from cac_hpc.sections.lesion_panels import Verdict
from cac_hpc.train import lesion_results
from cac_hpc.volumes.volume_study import WARNINGS

HERE = Path(__file__).parent
LISTED = 20  # rejected candidates that pictures and page name
SLICES = 4  # of a network of slices, that are shown
MEANINGS = {code: meaning for code, (meaning, _) in REASONS.items()} | WARNINGS  # of warnings
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """What is shown of a study: a text and an address that needs no file."""

    text: str
    address: str


def of_candidates(seen: Views, found: Candidates, probability_C: np.ndarray) -> list[Picture]:
    """The projection and some slices, with outlines of what counted and what did not."""
    drawn = lesion_panels.panels(seen, found, verdicts(found, probability_C))
    return [Picture(panel.text, _address("image/svg+xml", lesion_panels.svg(panel).encode())) for panel in drawn]


def verdicts(found: Candidates, probability_C: np.ndarray) -> dict[int, Verdict]:
    """What was decided of each candidate, by its number from 1; what counted and what came nearest to it is listed."""
    counted_C = lesion_results.counted(probability_C)
    listed = {*np.flatnonzero(counted_C).tolist(), *_nearest(found.agatston_C, probability_C)}
    return {
        index + 1: Verdict(float(probability_C[index]), bool(counted_C[index]), index in listed)
        for index in range(len(found))
    }


def _nearest(agatston_C: np.ndarray, probability_C: np.ndarray) -> list[int]:
    """The rejected candidates with the most score times probability, so many as are named."""
    order = np.argsort(-agatston_C * np.maximum(probability_C, 1e-6), kind="stable")
    nearest: list[int] = order[~lesion_results.counted(probability_C[order])][:LISTED].tolist()
    return nearest


def of_slices(hu_ZSS: np.ndarray, probability_ZK: np.ndarray, category: int, bundle: Bundle) -> list[Picture]:
    """The slices with the highest probability of the category, in their order, as the networks see them."""
    if len(probability_ZK) != len(hu_ZSS):  # of a network of studies: none is known to matter
        return []
    low, high = bundle.widest_hu
    chosen = np.sort(np.argsort(-probability_ZK[:, category], kind="stable")[:SLICES])
    grey_NSS = ((np.clip(hu_ZSS[chosen], low, high) - low) * (255 / (high - low))).astype(np.uint8)
    return [
        Picture(
            f"slice {number}, p {probability_ZK[number, category]:.2f}",
            _address("image/png", panels.png(grey_SS)),
        )
        for number, grey_SS in zip(chosen.tolist(), grey_NSS, strict=True)
    ]


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_study(
    folder: Path,
    prediction: Prediction,
    bundle: Bundle,
    facts: Json,
    lesions: Sequence[Json],
    pictures: Sequence[Picture],
) -> None:
    """Write the page of a study that was predicted.

    Args:
        folder: of the study's results. facts: of its series. lesions: its rows of lesions.csv.
    """
    answer = prediction.answer
    low = min(answer.fold_scores, default=None)
    values = {
        "study": prediction.study,
        "fault": "",
        "found": answer,
        "ends": prediction.prediction_set,
        "notes": _notes(prediction),
        "doubtful": prediction.known or bool(prediction.out_of_range),
        "score": None if answer.score is None else formatting.short(answer.score),
        "spread": "" if low is None else f"{formatting.short(low)} to {formatting.short(max(answer.fold_scores))}",
        "agreeing": answer.fold_categories.count(answer.category),
        "by_rule": _by_rule(prediction, bundle),
        "set": set_text(prediction.prediction_set, bundle),
        "folds": _folds(answer, bundle),
        "candidates": _listed(lesions),
        "counted": sum(one["counted"] for one in lesions),
        "rejected": sum(not one["counted"] for one in lesions),
        "pictures": pictures,
        "facts": _facts(facts),
    }
    _write(folder / "page.html", "study.html", bundle, values)


def write_refused(
    folder: Path, study: str, fault: str, bundle: Bundle, rejected: Sequence[Json], num_files: int
) -> None:
    """Write the page of a study without a prediction, which says why.

    Args:
        rejected: its rows of rejected.csv.
    """
    reasons = Counter(str(row["reason"]) for row in rejected)
    values = {"study": study, "fault": fault, "reasons": reasons.most_common(), "num_files": num_files}
    _write(folder / "page.html", "study.html", bundle, values)


def write_index(out: Path, rows: Sequence[Json], bundle: Bundle, counts: Json) -> None:
    """Write index.html, a table of all studies.

    Args:
        rows: those of predictions.csv. counts: of studies, as predict.json has them.
    """
    values = {
        "rows": [_index_row(row, bundle) for row in rows],
        "counts": counts,
        "categories": [(name, sum(row.get("category") == name for row in rows)) for name in bundle.names],
        "with_scores": bundle.errors is not None,
    }
    _write(out / "index.html", "index.html", bundle, values)


def _write(path: Path, template: str, bundle: Bundle, values: Json) -> None:
    of_all = {"bundle": bundle, "short": formatting.short}
    disk.write_text(path, templates.render(HERE, template, {**of_all, **values}))


def _notes(prediction: Prediction) -> list[tuple[str, tuple[str, ...]]]:
    """What must be known before a prediction is used: a sentence, and its particulars."""
    found: list[tuple[str, tuple[str, ...]]] = []
    if prediction.known:
        found.append(("This patient was among the training studies: what is said here is no test of the model.", ()))
    if prediction.out_of_range:
        found.append(("Outside of the training range:", prediction.out_of_range))
    if prediction.warnings:
        said = tuple(f"{code}: {MEANINGS[code]}" if code in MEANINGS else code for code in prediction.warnings.split())
        found.append(("Read with a warning, as the bundle's settings allow:", said))
    return found


def _by_rule(prediction: Prediction, bundle: Bundle) -> tuple[str, str] | None:
    """Score and category of the Agatston rule."""
    if prediction.rule_score is None:
        return None
    category = int(labels.categories([prediction.rule_score], bundle.edges)[0])
    return formatting.short(prediction.rule_score), bundle.names[category]


def set_text(ends: tuple[int, int] | None, bundle: Bundle) -> str:
    """The categories that a prediction set names; nothing where there is none."""
    if ends is None:
        return ""
    low, high = (bundle.names[end] for end in ends)
    return low if low == high else f"{low} to {high}"


def set_of_row(row: Json, bundle: Bundle) -> str:
    """The categories that the prediction set in a row of predictions.csv names; nothing where there is none."""
    return set_text(None if row["set_low"] is None else (row["set_low"], row["set_high"]), bundle)


def _folds(answer: Answer, bundle: Bundle) -> list[tuple[int, str, str]]:
    """Fold, score and category of each network."""
    scores = [formatting.short(score) for score in answer.fold_scores] or [""] * len(answer.fold_categories)
    return [
        (fold, score, bundle.names[category])
        for fold, (score, category) in enumerate(zip(scores, answer.fold_categories, strict=True))
    ]


def _listed(lesions: Sequence[Json]) -> list[Json]:
    """What counted by its score, then of what was rejected what came nearest to it."""
    agatston_C, probability_C = (np.array([one[name] for one in lesions]) for name in ("agatston", "probability"))
    counted = sorted((one for one in lesions if one["counted"]), key=lambda one: -one["agatston"])
    return [*counted, *(lesions[index] for index in _nearest(agatston_C, probability_C))]


def _facts(facts: Json) -> list[tuple[str, str]]:
    """What is known of the series, in the words of the training range."""
    numbers = [
        (words, f"{float(facts[name]):.4g} {unit}".strip())
        for name, (words, unit) in NUMBERS.items()
        if facts.get(name) is not None
    ]
    return numbers + [(words, str(facts[name])) for name, words in CODES.items() if facts.get(name)]


def _index_row(row: Json, bundle: Bundle) -> dict[str, Any]:
    """A line of index.html."""
    found = dict(row)
    found["href"] = f"studies/{urllib.parse.quote(str(row['study']))}/page.html"
    found["marks"] = [
        mark
        for mark, there in (
            ("known", row.get("known")),
            ("out of range", row.get("out_of_range")),
            ("warning", row.get("warnings")),
        )
        if there
    ]
    if not row["fault"]:
        found["chance"] = row[f"p{row['category_index']}"]
        found["set"] = set_of_row(row, bundle)
    return found
