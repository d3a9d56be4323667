"""Studies scored by a trained lesion model, and drawn: the options --model and --pictures of scoring calcium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.dataset import scoring
from cac_hpc.dataset.scoring import Masked, Scored
from cac_hpc.labels import labels
from cac_hpc.predict import ensemble as ensembles
from cac_hpc.predict import prediction_pages
from cac_hpc.predict.ensemble import Answer, Ensemble
from cac_hpc.run import disk, escaping, logs
from cac_hpc.sections import formatting, lesion_panels
from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.score_command import ScoreConfig
from cac_hpc.statistics import intervals
from cac_hpc.train import lesion_results
from cac_hpc.train.lesion_model import SHARE_WEIGHT

IN_MASK = 0.5  # of a candidate: with more in it, a mask says that it is coronary
COLUMNS = ("study", "candidate", "first_slice", "last_slice", "agatston", "volume_mm3", "max_hu", "region_share",
           "probability", "counted")  # fmt: skip


def score_studies(cfg: ScoreConfig) -> int:
    """Score every study by the rule and, if one is named, by a model; draw them if asked to; write candidates.csv.

    Returns: exit code, 1 if a study could not be scored.
    Raises: InputError as `scoring.score_studies`, and if the model cannot be used.
    """
    ensemble = ensembles.read_lesions(Path(cfg.model)) if cfg.model else None
    if ensemble and not ensemble.spacing_factor:
        raise InputError(
            f"--model {cfg.model}: trained with pack.spacing_factor false, but candidates are scored with the factor "
            "here; wanted another model, or jobs/predict.py with its bundle"
        )
    out, tables = given_paths.out_folder(cfg.out) if cfg.out else None, list[pd.DataFrame]()
    masked = list[Masked]()

    def judge(study: str, scored: Scored) -> dict[str, Any]:
        assert scored.candidates is not None
        answer = ensembles.answer_lesions(ensemble, scored.candidates) if ensemble else None
        probability_C = answer.probability_C if answer else _control(scored.candidates)
        tables.append(_table(study, scored.candidates, probability_C))
        if scored.masked is not None:
            tables[-1]["mask_share"] = scored.masked.share_C
            masked.append(scored.masked)
        if out and cfg.pictures:
            _draw(out / "pictures", study, scored, probability_C, ensemble)
        return _columns(answer, ensemble) if answer and ensemble else {}

    edges, names = (ensemble.edges, ensemble.names) if ensemble else (LabelsConfig.edges, LabelsConfig.names)
    code = scoring.score_studies(cfg, judge, edges, names)
    table = pd.concat(tables) if tables else pd.DataFrame(columns=list(COLUMNS))
    if masked:
        logs.say(_agreement(table, masked))
    if out:
        disk.write_text(out / "candidates.csv", escaping.csv_text(table, "%.6g"))
    return code


def _control(found: Candidates) -> np.ndarray:
    """That each candidate is coronary calcium, (C,), as an untrained model has it."""
    share_C = found.feature_CF[:, NAMES.index("region_share")].astype(float)
    return np.asarray(scipy.special.expit(SHARE_WEIGHT[0] * (share_C - 0.5)))


def _columns(answer: Answer, ensemble: Ensemble) -> dict[str, Any]:
    """What the model says of a study, for scores.csv."""
    return {
        "model_agatston": answer.score,
        "model_category": ensemble.names[answer.category],
        "model_probability": round(answer.probability[answer.category], 4),
    }


def _table(study: str, found: Candidates, probability_C: np.ndarray) -> pd.DataFrame:
    """Rows of candidates.csv."""
    slice_V = found.voxel_V3[:, 0].astype(int)
    ends = [np.minimum.reduceat, np.maximum.reduceat]
    first_C, last_C = (end(slice_V, found.start_C1[:-1]) if len(found) else slice_V for end in ends)
    feature = {name: found.feature_CF[:, NAMES.index(name)] for name in ("log_volume", "max_hu", "region_share")}
    columns = {
        "study": study,
        "candidate": np.arange(1, len(found) + 1),
        "first_slice": first_C,
        "last_slice": last_C,
        "agatston": found.agatston_C,
        "volume_mm3": np.expm1(feature["log_volume"]),
        "max_hu": feature["max_hu"],
        "region_share": feature["region_share"],
        "probability": probability_C,
        "counted": lesion_results.counted(probability_C).astype(int),
    }
    return pd.DataFrame(columns)[list(COLUMNS)]


def _agreement(table: pd.DataFrame, masked: Sequence[Masked]) -> str:
    """How many candidates of all studies are in a mask, and how many of these counted: precision and recall."""
    counted_C, in_mask_C = table["counted"].to_numpy(bool), table["mask_share"].to_numpy(float) > IN_MASK
    both = int((counted_C & in_mask_C).sum())
    missed, voxels = sum(one.missed for one in masked), sum(one.voxels for one in masked)
    texts = [f"candidates in masks {in_mask_C.sum()}, counted {counted_C.sum()}, both {both}"]
    for name, count in (("precision", counted_C.sum()), ("recall", in_mask_C.sum())):
        if count:
            low, high = intervals.wilson(both, count)
            texts.append(f"{name} {both / count:.2f} ({low:.2f} to {high:.2f})")
    return f"{', '.join(texts)}; {missed} of {voxels} voxels of masks at the threshold are in no candidate"


def _draw(folder: Path, study: str, scored: Scored, probability_C: np.ndarray, ensemble: Ensemble | None) -> None:
    """The figure of a study, and its panels."""
    found, views, score = scored.candidates, scored.views, scored.score
    assert found is not None
    assert views is not None
    assert score is not None
    verdicts = prediction_pages.verdicts(found, probability_C)
    num_counted = sum(one.counted for one in verdicts.values())
    total, names, edges = ensembles.score_of(found, probability_C), LabelsConfig.names, LabelsConfig.edges
    if ensemble:
        names, edges = tuple(ensemble.names), tuple(ensemble.edges)
    category, by_rule = (names[int(labels.categories([one], edges)[0])] for one in (total, score.agatston))
    who = "Trained model" if ensemble else "No model: candidates of which more than half lies in the heart's region"
    where = "the mask" if scored.masked else "the heart's region"
    texts = [
        logs.line(f"Study {study}"),
        f"{who}: {num_counted} counted, score {formatting.short(total)}, {category}.",
        f"Agatston rule in {where}: score {formatting.short(score.agatston)}, {by_rule}.",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    lesion_panels.draw(folder, study, lesion_panels.panels(views, found, verdicts), texts, 150)
