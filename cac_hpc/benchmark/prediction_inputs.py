"""Studies to predict, and a model that predicts them: what `targets` measures predicting on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cac_hpc.benchmark import inputs
from cac_hpc.benchmark.inputs import ONE, READING, TWO
from cac_hpc.benchmark.turns import Program, Site
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig

DISTINCT, FOLDS = 2, 5  # studies that are different, the others are the same files again; networks of the model
WORKERS = {ONE: 1, TWO: 2}


def programs(site: Site, sizes: Sequence[int]) -> list[Program]:
    """Reading and rescaling with pydicom, and predicting."""
    source, model = _studies(site, sizes), site.folder / "model.zip"
    _write_bundle(model)

    def ours(workers: int, out: Path, size: int) -> list[str]:
        options = {"out": out / "results", "workers": workers}
        return [*inputs.job(site.code, "predict.py", model, source(size), **options), "--no_pictures"]

    prepared = {READING: inputs.peer(READING, source)}
    prepared |= {name: partial(ours, workers) for name, workers in WORKERS.items()}
    return [Program(name=name, prepare=one, code=site.code, source=source) for name, one in prepared.items()]


def _studies(site: Site, sizes: Sequence[int]) -> Callable[[int], Path]:
    """The same files in folders of each size."""
    slices, matrix = (30, 96) if site.tiny else (60, 512)
    made = inputs.phantom(site.folder / "phantoms", studies=DISTINCT, slices=slices, matrix=matrix)
    distinct = sorted(path for path in made.iterdir() if path.is_dir())
    roots = {size: site.folder / f"{size}-predicted" for size in sizes}
    for size, root in roots.items():
        for number in range(size):
            shutil.copytree(distinct[number % DISTINCT], root / f"{number:04d}", copy_function=os.link)
    return roots.__getitem__


def _write_bundle(path: Path) -> None:
    """A model that has learned nothing: what it takes does not depend on its weights."""
    import pandas as pd
    import torch

    from cac_hpc.calcium.candidates import NAMES
    from cac_hpc.predict import bundle_files, training_range
    from cac_hpc.predict.bundle import Bundle
    from cac_hpc.train.lesion_model import LesionClassifier
    from cac_hpc.train.ordinal import Errors

    torch.manual_seed(0)
    model = ModelConfig(kind="lesions")
    nothing = training_range.of_studies(pd.DataFrame({"kvp": [120.0]}))
    made = Bundle(
        kind="lesions",
        version="benchmark",
        pack=PackConfig(slices=False),
        model=model,
        window_hu=(-200.0, 800.0),
        names=LabelsConfig.names,
        edges=LabelsConfig.edges,
        patient_rule="mean",
        top_k=5,
        weights=[LesionClassifier(model.hidden, model.members, NAMES).state_dict() for _ in range(FOLDS)],
        errors=[Errors(0.3, 0.01)] * FOLDS,
        internal={},
        training=nothing,
        salt="",
        known=frozenset(),
        licence="",
    )
    bundle_files.write(made, path)
