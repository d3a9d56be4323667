"""Bundles: small ones made in memory, and a complete run of lesions whose weights were drawn, not trained."""

import pandas as pd
import pytest
import torch

from cac_hpc.calcium import candidates
from cac_hpc.predict import training_range
from cac_hpc.predict.bundle import Bundle
from cac_hpc.report import aggregation, pictures
from cac_hpc.run import digests
from cac_hpc.settings import stored_settings
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.train import checkpoint, lesion_model, models
from cac_hpc.train.ordinal import Errors
from tests.support.lesions import make_lesion_run

SIZE, NUM_FOLDS = 16, 3
CANARY = "MUSTERMANN"  # in what names patients, studies and folders of the run
SCORES = (0.0, 8.0, 60.0, 300.0, 800.0, 3000.0)
STUDIES = [f"{CANARY}{number:02d}" for number in range(18)]
WRONG, ODD = STUDIES[4], STUDIES[7]  # predicted wrong; of a tube voltage of its own


def small_bundle(kind="lesions", folds=2, **changes):
    """A bundle whose weights were drawn by the fold's number."""
    made = {
        "kind": kind,
        "version": "0.1.0",
        "pack": PackConfig(size=SIZE, checks=PackConfig.checks),
        "model": ModelConfig(kind=kind, filters=(4, 8), dense=8, hidden=(8, 4)),
        "window_hu": (-200.0, 800.0),
        "names": LabelsConfig.names,
        "edges": LabelsConfig.edges,
        "patient_rule": "mean",
        "top_k": 5,
        "weights": [],
        "errors": [Errors(0.3 + fold, 0.01) for fold in range(folds)] if kind == "lesions" else None,
        "internal": {"level": None},
        "training": training_range.of_studies(pd.DataFrame({"slices": [40, 50], "gating": ["PROSPECTIVE", None]})),
        "salt": "salt",
        "known": frozenset({"0123456789abcdef"}),
        "licence": "",
        **changes,
    }
    made["weights"] = made["weights"] or [
        drawn_weights(made["model"], made["pack"].size, fold) for fold in range(folds)
    ]
    return Bundle(**made)


def drawn_weights(model, size, fold):
    """The weights of a network that has learned nothing, but says something, as at the end of a training."""
    with torch.random.fork_rng():
        torch.manual_seed(fold)
        network = models.MODELS[model.kind].build(model, size, 6)
        with torch.no_grad():
            for weight in network.parameters():
                weight.normal_(0, 0.1)
        lesion_model.advance(network, 1.0)
    return network.state_dict()


def complete_run(folder, kind="lesions"):
    """A run with its report, all of whose names are canaries."""
    studies = {
        study: (index % 6, SCORES[index % 6], _candidates(study, SCORES[index % 6]))
        for index, study in enumerate(STUDIES)
    }
    facts = {
        "kvp": {study: 100 if study == ODD else 120 for study in STUDIES},
        "kernel": {study: ("B35f", "FC12", "STANDARD")[index % 3] for index, study in enumerate(STUDIES)},
        "slice_spacing_mm": {study: (3.0, 3.0, 2.5)[index % 3] for index, study in enumerate(STUDIES)},
        "noise_hu": {study: 15 + index / 10 for index, study in enumerate(STUDIES)},
        "gating": dict.fromkeys(STUDIES, "PROSPECTIVE"),
        "agatston_score": {study: SCORES[index % 6] for index, study in enumerate(STUDIES)},
        "agatston_slices": dict.fromkeys(STUDIES, "1 0 0 0"),
        "agatston_empty_slices": dict.fromkeys(STUDIES, 0.5),
    }
    folder.mkdir(parents=True)
    run = make_lesion_run(folder, studies, facts=facts, num_folds=NUM_FOLDS, model={"kind": kind, "hidden": [8, 4]})
    run.dataset(None).rejected.write_text("study,file,reason,detail\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *of: None)  # half of a report's time
        assert aggregation.aggregate(run.root)
    write_models(run)
    return run


def _candidates(study, score):
    """Coronary calcium with the study's score, and other calcium."""
    return ([(score, 0.9, 0.3 if study == WRONG else 0.97)] if score else []) + [(150.0, 0.7, 0.04)]


def write_models(run):
    """model.pt of each fold, as a fold writes it."""
    cfg = stored_settings.load(run.config)
    for fold in range(NUM_FOLDS):
        about = {
            "belongs_to": {"fold": fold, "splits": digests.file_sha256(run.splits)},
            "weights": drawn_weights(cfg.model, cfg.pack.size, fold),
            "epoch": 3,
            "features": list(candidates.NAMES),
            "candidates": candidates.VERSION,
            "calibration_scale": 0.25 + fold,
            "calibration_gross": 0.01,
            "edges": list(cfg.labels.edges),
            "names": list(cfg.labels.names),
        }
        checkpoint.save(run.fold(fold).model, about)
