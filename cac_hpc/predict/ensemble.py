"""The networks of a run's folds, asked together: one study in, its score, category and probabilities out.

Axes: F fold, C candidate, L lesion, Z slice of the study, S row and column of a packed slice, K category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cac_hpc.calcium import baseline, candidates
from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.labels import labels
from cac_hpc.predict import bundle_files
from cac_hpc.predict.bundle import Bundle
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import given_paths, stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.statistics import pooling, prediction_sets
from cac_hpc.statistics.prediction_sets import Calibration
from cac_hpc.train import augment_slices, checkpoint, lesion_model, lesion_results, models, networks, ordinal
from cac_hpc.train.lesion_model import LesionClassifier
from cac_hpc.train.ordinal import Errors

BATCH = 16  # slices that a network is given at once


@dataclass(frozen=True)
class Answer:
    """What the networks say of a study.

    score: Agatston, of a lesion model. probability: of each category, they sum to 1. fold_scores, fold_categories,
    fold_probability_FK: of each fold by itself. probability_C: that each candidate is coronary calcium.
    """

    score: float | None
    category: int
    probability: tuple[float, ...]
    fold_scores: tuple[float, ...]
    fold_categories: tuple[int, ...]
    probability_C: np.ndarray
    fold_probability_FK: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What is said of a study, and what must be known before it is used.

    rule_score: the Agatston rule in the heart's region. known: the patient was among the training studies.
    out_of_range: a sentence for each attribute in which the study is outside of them. prediction_set: its lowest and
    highest category; None of a bundle without any.
    """

    study: str
    answer: Answer
    rule_score: float | None
    known: bool
    out_of_range: tuple[str, ...]
    warnings: str
    prediction_set: tuple[int, int] | None = None


@dataclass(frozen=True)
class Ensemble:
    """Networks of one kind, whose answers are averaged.

    errors: of the scores of each fold of a lesion model, which were trained on scores multiplied by the spacing of the
    slices / 3 mm if spacing_factor. windows_hu, patient_rule, top_k: of networks of slices, as in the settings
    train.window_hu (of each), report.patient_rule and report.top_k.
    """

    kind: str
    models: Sequence[nn.Module]
    errors: Sequence[Errors]
    edges: tuple[float, ...]
    names: tuple[str, ...]
    windows_hu: Sequence[tuple[float, float]] = ()
    patient_rule: str = "mean"
    top_k: int = 1
    spacing_factor: bool = True

    @property
    def of_candidates(self) -> bool:
        """Whether it decides on candidates, not on slices."""
        return models.MODELS[self.kind].row == "candidate"

    @property
    def mean_errors(self) -> Errors:
        """The errors of its scores, the mean over the folds."""
        scale, gross = np.mean([[one.scale, one.gross] for one in self.errors], axis=0).tolist()
        return Errors(scale, gross)


def of_bundle(bundle: Bundle, device: str = "cpu") -> Ensemble:
    """The networks of a bundle, on the device."""
    built = [bundle.network(fold) for fold in range(len(bundle.weights))]
    return Ensemble(
        bundle.kind,
        [model.to(device, memory_format=torch.channels_last) for model in built],  # type: ignore[call-overload]
        tuple(bundle.errors or ()),
        bundle.edges,
        bundle.names,
        [bundle.of_fold(fold).window_hu for fold in range(len(built))],
        bundle.patient_rule,
        bundle.top_k,
        bundle.pack.spacing_factor,
    )


def read_lesions(path: Path) -> Ensemble:
    """A lesion model: of a bundle, of a run, all of whose folds are trained, or of one fold, its model.pt.

    Raises: InputError if there is none, or it cannot be used.
    """
    if path.exists() and bundle_files.is_bundle(path):
        found = of_bundle(bundle_files.read(path))
        if not found.of_candidates:
            raise InputError(f"--model {path}: found a bundle of model.kind {found.kind}, wanted lesions")
        return found
    files = _of_run(path) if path.is_dir() else [path]
    read = [_read_fold(file) for file in files]
    if any((one.edges, one.names) != (read[0].edges, read[0].names) for one in read):
        raise InputError(
            f"--model {path}: found folds of different labels.edges or labels.names, wanted those of one run"
        )
    return Ensemble(
        "lesions",
        [one.models[0] for one in read],
        [one.errors[0] for one in read],
        read[0].edges,
        read[0].names,
        spacing_factor=read[0].spacing_factor,
    )


def _of_run(root: Path) -> list[Path]:
    """The models of all folds of a run."""
    run = RunPaths(root)
    if not run.config.is_file():
        raise InputError(
            f"--model {root}: found no model, wanted a bundle, RUN/folds/fold-K/model.pt or a run with trained folds"
        )
    files = [run.fold(fold).model for fold in range(stored_settings.load(run.config).split.folds)]
    if missing := [file.parent.name for file in files if not file.is_file()]:
        raise InputError(
            f"--model {root}: found no model.pt of {', '.join(missing)}, wanted all {len(files)} folds of the run; "
            "train them, or name the model.pt of one fold"
        )
    return files


def _read_fold(file: Path) -> Ensemble:
    """The model of one fold, with the categories that it was trained for."""
    try:
        content = checkpoint.load(file)
    except FileNotFoundError:
        raise InputError(
            f"--model {file}: found no model, wanted a bundle, RUN/folds/fold-K/model.pt or a run with trained folds"
            f"{given_paths.did_you_mean(file)}"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{file}: cannot be used, {error}") from None
    if content.get("features") != list(NAMES) or content.get("candidates") != candidates.VERSION:
        raise InputError(
            f"{file}: found no lesion model, or one of other features, wanted one of candidates' version "
            f"{candidates.VERSION} with {len(NAMES)} features"
        )
    try:
        return _of_content(content)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            f"{file}: cannot be used, it lacks what a lesion model has ({error!r}); train it again"
        ) from None


def _of_content(content: Mapping[str, Any]) -> Ensemble:
    model = lesion_model.from_weights(content["weights"], NAMES)
    errors = Errors(float(content["calibration_scale"]), float(content["calibration_gross"]))
    edges, names = tuple(map(float, content["edges"])), tuple(map(str, content["names"]))
    factor = bool(content.get("spacing_factor", True))
    return Ensemble("lesions", [model], [errors], edges, names, spacing_factor=factor)


def answer_lesions(ensemble: Ensemble, found: Candidates) -> Answer:
    """What a lesion model says of a study's candidates.

    A candidate counts if the mean of the folds' probabilities is above 0.5; the score is the sum of the Agatston scores
    of the lesions of those that count.
    """
    asked = [model for model in ensemble.models if isinstance(model, LesionClassifier)]
    probability_FC = np.stack([lesion_model.probabilities(model, found.feature_CF) for model in asked])
    probability_C = np.asarray(probability_FC.mean(axis=0))
    score, fold_scores = score_of(found, probability_C), [score_of(found, one_C) for one_C in probability_FC]
    category, *fold_categories = labels.categories([score, *fold_scores], ensemble.edges).tolist()
    errors = ensemble.mean_errors
    chance_K = ordinal.probabilities(np.array([score]), errors.scale, ensemble.edges, errors.gross)[0]
    chance_FK = [
        ordinal.probabilities(np.array([of_fold]), one.scale, ensemble.edges, one.gross)[0]
        for of_fold, one in zip(fold_scores, ensemble.errors, strict=True)
    ]
    said = (tuple(chance_K.tolist()), tuple(fold_scores), tuple(fold_categories))
    return Answer(score, category, *said, probability_C, np.stack(chance_FK))


def score_of(found: Candidates, probability_C: np.ndarray) -> float:
    """Agatston score of the candidates that count at these probabilities."""
    counted_L = lesion_results.counted(probability_C)[found.candidate_L]
    return round(float(found.agatston_L.astype(float) @ counted_L), baseline.DIGITS)  # as a run's scores


def answer_slices(ensemble: Ensemble, hu_ZSS: np.ndarray) -> tuple[Answer, np.ndarray]:
    """What a network of slices, or of whole studies, says of a study's slices.

    The probabilities of each slice are the mean over the folds; of them the patient rule makes those of the study.

    Args:
        hu_ZSS: int16 HU, packed as the settings say.
    Returns: the answer, and the probabilities of the slices (Z, K); of a network of studies one row for all.
    """
    asked = zip(ensemble.models, ensemble.windows_hu, strict=True)
    probability_FZK = np.stack([_of_slices(ensemble, model, window_hu, hu_ZSS) for model, window_hu in asked])
    probability_ZK = probability_FZK.mean(axis=0)
    rule = pooling.pooling_rules(ensemble.top_k)[ensemble.patient_rule]
    one_Z = np.zeros(len(probability_ZK), np.int64)
    chance_K, *fold_FK = (rule(of_slices_ZK, one_Z, 1)[0] for of_slices_ZK in (probability_ZK, *probability_FZK))
    fold_categories = tuple(int(of_fold_K.argmax()) for of_fold_K in fold_FK)
    total = float(chance_K.sum())
    probability = tuple(float(chance) / total for chance in chance_K)
    said = (int(chance_K.argmax()), probability, (), fold_categories)
    return Answer(None, *said, np.zeros(0), np.stack(fold_FK)), probability_ZK


def prediction_set(answer: Answer, calibration: Calibration | None) -> tuple[int, int] | None:
    """Lowest and highest category of a study's prediction set; None of a bundle without any."""
    if calibration is None:
        return None
    categories_F = np.array(answer.fold_categories)
    return prediction_sets.of_new(answer.fold_probability_FK, categories_F, answer.category, calibration)


@torch.inference_mode()
def _of_slices(ensemble: Ensemble, model: nn.Module, window_hu: tuple[float, float], hu_ZSS: np.ndarray) -> np.ndarray:
    """Softmax of one network, (Z, K) float64, in single precision; of a network of studies (1, K)."""
    device, whole = next(model.parameters()).device, models.MODELS[ensemble.kind].unit == "study"
    parts = []
    for first in range(0, len(hu_ZSS), len(hu_ZSS) if whole else BATCH):
        part = hu_ZSS if whole else hu_ZSS[first : first + BATCH]
        x_NCHW = augment_slices.window(torch.from_numpy(part).to(device), *window_hu)
        count_U = torch.tensor([len(part)], device=device) if whole else None
        parts.append(networks.logits(model, x_NCHW, None, count_U).float().softmax(dim=1).cpu())
    return torch.cat(parts).numpy().astype(np.float64)
