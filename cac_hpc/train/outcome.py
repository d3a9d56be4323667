"""A trained fold tested, and what it leaves: its weights, history, predictions, and the facts about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from cac_hpc.run import digests, paths
from cac_hpc.train import checkpoint, hardware, models, networks, occlusion, passes, predictions
from cac_hpc.train.passes import Attempt


def test_and_publish(attempt: Attempt, seconds: float) -> None:
    """Test the weights that the validation chose, and publish: predictions.csv is the last file."""
    state, cfg, files = attempt.state, attempt.cfg, attempt.files
    tested = state.best_epoch if cfg.train.evaluate == "best" else cfg.train.epochs
    if cfg.train.evaluate == "best":
        state.model.load_state_dict(state.best)
    probability, _ = passes.evaluate(attempt, attempt.data.test, "testing")
    views = _views(attempt)
    if not attempt.world.is_main:
        return
    attempt.heart.moved("publishing")
    weights = {name: tensor.cpu() for name, tensor in state.model.state_dict().items()}
    check = attempt.fence.check
    checkpoint.save(files.model, {"belongs_to": attempt.belongs_to, "weights": weights, "epoch": tested}, check)
    write_rows(attempt)
    content = _table(attempt, attempt.data.test, probability)
    for name, view in views.items():
        paths.write_bytes(files.view(name), view, check)
    paths.write_json(files.metrics, _facts(attempt, tested, seconds, content, views), check)
    paths.write_bytes(files.predictions, content, check)
    files.stop.unlink(missing_ok=True)  # too late: there is nothing left to stop


def _facts(attempt: Attempt, tested: int, seconds: float, content: bytes, views: Mapping[str, bytes]) -> dict[str, Any]:
    """metrics.json: whose the predictions are, what they were made with, and what tells that they are unchanged."""
    state, cfg, data = attempt.state, attempt.cfg, attempt.data
    return {
        "fold": attempt.fold,
        "attempt": attempt.fence.number,
        "splits_sha256": attempt.belongs_to["splits"],
        "predictions_bytes": len(content),
        "predictions_sha256": digests.bytes_sha256(content),
        "views_sha256": {name: digests.bytes_sha256(view) for name, view in views.items()},
        "epochs": cfg.train.epochs,
        "tested_epoch": tested,
        "chosen_by": cfg.train.evaluate,
        "ranks": attempt.world.size,
        "threads": torch.get_num_threads(),
        "device": hardware.name(attempt.world),
        "precision": cfg.train.precision,
        "torch": str(torch.__version__),
        "residency": data.loaded.kind,
        "shuffle_window": cfg.train.shuffle_window,
        "seconds": seconds,
        "parameters": networks.num_parameters(state.model),
        "layers": networks.layers(state.model, data.units.kind, cfg.pack.size, cfg.model.dropout),
        "flops_per_slice": models.chosen(cfg).flops(cfg.model, cfg.pack.size, len(cfg.labels.names)),
        "train_slices": data.num_slices(data.train),
        "val_slices": data.num_slices(data.val),
        "test_slices": data.num_slices(data.test),
        "inexact": state.inexact,
    }


def _views(attempt: Attempt) -> dict[str, bytes]:
    """What is predicted where a part of each slice is blank, of the test slices of studies whose heart was found."""
    data = attempt.data
    rows = data.units.rows(data.test)
    seen = data.units.of_rows(rows[data.box_N4[rows].any(axis=1)])
    return {
        name: _table(attempt, seen, passes.evaluate(attempt, seen, "testing", seen=name)[0])
        for name in (occlusion.VIEWS if len(seen) else ())
    }


def _table(attempt: Attempt, unit_U: np.ndarray, probability_UK: np.ndarray) -> bytes:
    """predictions.csv of these units, a row per slice.

    A study that is predicted as a whole stands there once for each of its slices, with the same probabilities: the
    report's figures of slices are then those of studies, each counted as often as it has slices.
    """
    table, rows = attempt.data.loaded.table, attempt.data.units.rows(unit_U)
    probability = np.repeat(probability_UK, attempt.data.units.counts(unit_U), axis=0)
    return predictions.to_csv(table.study[rows], table.slice[rows], attempt.fold, table.label[rows], probability)


def write_rows(attempt: Attempt) -> None:
    """history.csv and speed.csv, whole each time."""
    for path, rows in ((attempt.files.history, attempt.state.history), (attempt.files.speed, attempt.state.speed)):
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        paths.write_text(path, text, attempt.fence.check)
