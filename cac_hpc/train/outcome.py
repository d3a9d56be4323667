"""A trained fold tested, and what it leaves: its weights, history, predictions, and the facts about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from cac_hpc.run import digests, paths
from cac_hpc.train import checkpoint, hardware, models, occlusion, passes, predictions, workload
from cac_hpc.train.passes import Attempt


def test_and_publish(attempt: Attempt, seconds: float) -> None:
    """Test the weights that the validation chose, and publish: predictions.csv is the last file."""
    trainer, cfg, files = attempt.trainer, attempt.cfg, attempt.files
    tested = trainer.best_epoch if cfg.train.evaluate == "best" else cfg.train.epochs
    if cfg.train.evaluate == "best":
        trainer.model.load_state_dict(trainer.best)
    probability, _ = passes.evaluate(attempt, attempt.data.test, "testing")
    views = _views(attempt)
    if not attempt.world.is_main:
        return
    attempt.heart.moved("publishing")
    weights = {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()}
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
    trainer, cfg, data = attempt.trainer, attempt.cfg, attempt.data
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
        "parameters": models.num_parameters(trainer.model),
        "layers": models.layers(trainer.model, cfg.pack.size, cfg.model.dropout),
        "flops_per_slice": workload.flops(cfg.model, cfg.pack.size, len(cfg.labels.names)),
        "train_slices": len(data.train),
        "val_slices": len(data.val),
        "test_slices": len(data.test),
        "inexact": trainer.inexact,
    }


def _views(attempt: Attempt) -> dict[str, bytes]:
    """What is predicted where a part of each slice is blank, of the test slices of studies whose heart was found."""
    data = attempt.data
    seen = data.test[data.box_N4[data.test].any(axis=1)]
    return {
        name: _table(attempt, seen, passes.evaluate(attempt, seen, "testing", seen=name)[0])
        for name in (occlusion.VIEWS if len(seen) else ())
    }


def _table(attempt: Attempt, rows: np.ndarray, probability: np.ndarray) -> bytes:
    """predictions.csv of these rows."""
    table = attempt.data.table
    return predictions.to_csv(table.study[rows], table.slice[rows], attempt.fold, table.label[rows], probability)


def write_rows(attempt: Attempt) -> None:
    """history.csv and speed.csv, whole each time."""
    for path, rows in ((attempt.files.history, attempt.trainer.history), (attempt.files.speed, attempt.trainer.speed)):
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
        paths.write_text(path, text, attempt.fence.check)
