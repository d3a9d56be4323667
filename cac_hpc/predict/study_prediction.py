"""One study through a bundle, in a worker: read as the training studies were, asked, its page written.

Axes: Z slice, S row and column of a packed slice, C candidate, K category.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import intake, scoring, shard_writing
from cac_hpc.machine.workers import Say
from cac_hpc.predict import bundle as bundles
from cac_hpc.predict import bundle_files, prediction_pages, training_range
from cac_hpc.predict import ensemble as ensembles
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.ensemble import Answer, Ensemble, Prediction
from cac_hpc.settings.data import Format
from cac_hpc.settings.predict_command import Gate
from cac_hpc.train import bags, lesion_results
from cac_hpc.volumes import files
from cac_hpc.volumes.study import Study

NO_CANDIDATES = "no_heart: no heart was found, so there is no calcium in or near it to decide on"
Json = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """What was read of a study: candidates and views where a heart was found; packed slices of a network of slices."""

    study: Study
    found: Candidates | None
    seen: Views | None
    hu_ZSS: np.ndarray
    known: bool  # whether one of its slices is in the bundle


Also = Callable[[Path, Path, Bundle, Content, Prediction], str]


@dataclass(frozen=True)
class StudyTask:
    """All that a worker needs to predict one study.

    listing, digest: of its files and of the bundle when the work was planned. out: folder of its results. also: what
    can be pickled and is called with the folder and the results of each study that is predicted; it returns a code that
    goes to the study's warnings, "" for none.
    """

    study: str
    folder: Path
    listing: str
    bundle: Path
    digest: str
    out: Path
    gate: Gate = "warn"
    pictures: bool = True
    device: str = "cpu"
    also: Also | None = None
    format: Format = "auto"


@dataclass(frozen=True)
class Outcome:
    """What becomes of a study, plain values: its row of predictions.csv, facts of studies.csv, rows of other tables."""

    row: Json
    facts: Json | None = None
    lesions: Sequence[Json] = ()
    rejected: Sequence[Json] = ()
    num_files: int = 0


@dataclass
class _Kept:
    """What `intake.read_study` hands on."""

    bundle: Bundle
    with_slices: bool
    known: bool = False
    slices: list[np.ndarray] = field(default_factory=list)
    lesions: list[tuple[Candidates, Views]] = field(default_factory=list)

    def keep(self, hu_HW: np.ndarray, position_mm: float) -> None:
        self.known = self.known or bundles.slice_digest(hu_HW, self.bundle.salt) in self.bundle.known
        if self.with_slices:
            self.slices.append(np.array(hu_HW, np.int16))

    def keep_lesions(self, found: Candidates, seen: Views) -> None:
        self.lesions.append((found, seen))


@functools.cache
def _loaded(path: Path, digest: str, device: str) -> tuple[Bundle, Ensemble]:
    """Once in the life of a worker."""
    torch.set_num_threads(1)  # the same bits, however many workers there are
    bundle = bundle_files.read(path)
    if bundle.digest != digest:
        raise OSError(errno.ESTALE, "the bundle is another one than at the start")
    return bundle, ensembles.of_bundle(bundle, device)


def predict_study(task: StudyTask, say: Say) -> Json:
    """What a worker does; the outcome as a dictionary."""
    bundle, ensemble = _loaded(task.bundle, task.digest, task.device)
    content = read(task, bundle, with_slices=not ensemble.of_candidates)
    shard_writing.check_clean(task.study, content.study)
    rejected = [{"study": task.study, **asdict(refusal)} for refusal in content.study.refusals]
    num_files, facts = content.study.num_files, content.study.facts
    fault = scoring.main_fault(content.study) if facts is None else ""
    if not fault and ensemble.of_candidates and content.found is None:
        fault = NO_CANDIDATES
    if fault or facts is None:
        return asdict(refused(task, fault, bundle, facts=facts, rejected=rejected, num_files=num_files))
    outside = training_range.outside(bundle.training, facts)
    if outside and task.gate == "refuse":
        marks = {"known": int(content.known), "out_of_range": "; ".join(outside), "warnings": facts["warnings"]}
        fault = "out_of_range: " + "; ".join(outside)
        return asdict(refused(task, fault, bundle, marks, facts, rejected, num_files))
    row, lesions = _predicted(task, bundle, ensemble, content, outside)
    return asdict(Outcome(row, {"study": task.study, **facts}, lesions, rejected, num_files))


def read(task: StudyTask, bundle: Bundle, with_slices: bool) -> Content:
    """Read a study as those were packed that the bundle was trained on.

    Args:
        with_slices: whether its packed slices are wanted.
    """
    entries, kept = files.list_files(task.folder, task.format), _Kept(bundle, with_slices)
    if files.digest(entries) != task.listing:
        study = intake.refuse_study(entries, "changed_while_read", "not the files that were there at the start")
    else:
        study = intake.read_study(entries, bundle.pack, kept.keep, kept.keep_lesions)
    hu_ZSS = np.stack(kept.slices) if kept.slices and study.facts else np.zeros((0, 0, 0), np.int16)
    found, seen = kept.lesions[0] if kept.lesions else (None, None)
    return Content(study, found, seen, hu_ZSS, kept.known)


def _predicted(
    task: StudyTask, bundle: Bundle, ensemble: Ensemble, content: Content, outside: tuple[str, ...]
) -> tuple[Json, list[Json]]:
    """A study's row of predictions.csv and its rows of lesions.csv."""
    facts, probability_ZK = content.study.facts or {}, np.zeros((0, len(bundle.names)))
    if ensemble.of_candidates:
        assert content.found is not None
        answer = ensembles.answer_lesions(ensemble, content.found)
    else:
        answer, probability_ZK = ensembles.answer_slices(ensemble, content.hu_ZSS)
    prediction = Prediction(
        study=task.study,
        answer=answer,
        rule_score=facts.get("agatston_score"),
        known=content.known,
        out_of_range=outside,
        warnings=facts["warnings"],
        prediction_set=ensembles.prediction_set(answer, bundle.sets),
    )
    if task.also and (warning := task.also(task.folder, task.out, bundle, content, prediction)):
        prediction = replace(prediction, warnings=f"{prediction.warnings} {warning}".strip())
    lesions = _lesions(task.study, content.found, answer) if ensemble.of_candidates else []
    pictures = _pictures(content, answer, probability_ZK, bundle) if task.pictures else []
    prediction_pages.write_study(task.out, prediction, bundle, facts, lesions, pictures)
    return _row(prediction, bundle, lesions), lesions


def _pictures(
    content: Content, answer: Answer, probability_ZK: np.ndarray, bundle: Bundle
) -> list[prediction_pages.Picture]:
    if answer.score is not None:
        assert content.seen is not None
        assert content.found is not None
        return prediction_pages.of_candidates(content.seen, content.found, answer.probability_C)
    return prediction_pages.of_slices(content.hu_ZSS, probability_ZK, answer.category, bundle)


def _row(prediction: Prediction, bundle: Bundle, lesions: Sequence[Json]) -> Json:
    """A row of predictions.csv."""
    answer = prediction.answer
    chances = {f"p{index}": chance for index, chance in enumerate(answer.probability)}
    scores, (low, high) = answer.fold_scores, prediction.prediction_set or (None, None)
    return {
        "study": prediction.study,
        "score": answer.score,
        "category": bundle.names[answer.category],
        "category_index": answer.category,
        **chances,
        "set_low": low,
        "set_high": high,
        "set_coverage": bundle.sets.coverage if bundle.sets else None,
        "score_low": min(scores) if scores else None,
        "score_high": max(scores) if scores else None,
        "folds_agreeing": answer.fold_categories.count(answer.category),
        "rule_score": prediction.rule_score,
        "lesions": sum(one["counted"] for one in lesions) if answer.score is not None else None,
        "known": int(prediction.known),
        "out_of_range": "; ".join(prediction.out_of_range),
        "warnings": prediction.warnings,
        "fault": "",
    }


def _lesions(study: str, found: Candidates | None, answer: Answer) -> list[Json]:
    """Rows of lesions.csv, as those of a run's folds."""
    assert found is not None
    columns = lesion_results.candidate_columns(bags.bag_of(found), np.arange(len(found)), answer.probability_C)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {"study": study, "candidate": number, **dict(zip(columns, row, strict=True))}
        for number, row in enumerate(rows, start=1)
    ]


def refused(
    task: StudyTask,
    fault: str,
    bundle: Bundle,
    marks: Mapping[str, Any] | None = None,
    facts: Json | None = None,
    rejected: Sequence[Json] = (),
    num_files: int = 0,
) -> Outcome:
    """The outcome of a study that is not predicted, its page written.

    Args:
        marks: further cells of its row. facts: as far as it was read.
    """
    empty = {"known": None, "out_of_range": "", "warnings": "", **(marks or {})}
    prediction_pages.write_refused(task.out, task.study, fault, bundle, rejected, num_files)
    with_name = None if facts is None else {"study": task.study, **facts}
    return Outcome({"study": task.study, **empty, "fault": fault}, with_name, (), rejected, num_files)
