"""All that the trials of a fold know of labels: the rows of studies.csv that they may see, and how they are divided.

A process that trains trials of a fold opens no other table: labels of patients whom the fold tests are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cac_hpc.dataset import sealed, stratification
from cac_hpc.dataset.splits import Fold
from cac_hpc.run import causes, digests, disk, result_files
from cac_hpc.run.causes import PACK
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.trials import TrialsConfig

if TYPE_CHECKING:
    import pandas as pd

SEEN = {"validation": ("train", "val"), "test": ("train", "val", "test")}  # parts, by trials.select_on
PART = "part"  # the column that says which part of the fold a study is in


@dataclass(frozen=True)
class TrialStudies:
    """What the trials of one fold are trained and looked at with; digest: of their studies.csv.

    divisions: of the studies into training, validation, and those that are looked at as test studies, which are none
    unless trials.select_on says so.
    """

    studies: pd.DataFrame
    divisions: tuple[Fold, ...]
    digest: str


def write(run: RunPaths, folds: Sequence[Fold], dataset: DatasetPaths, cfg: Config) -> list[str]:
    """Write each fold's studies.csv, before splits.json is there.

    Returns: their digests, for splits.json.
    Raises: InputError if a fold has too few patients for trials.inner_folds.
    """
    import pandas as pd

    every, written = pd.read_csv(dataset.studies, dtype=str, keep_default_na=False), []
    for index, fold in enumerate(folds):
        part = {study: name for name in SEEN[cfg.trials.select_on] for study in fold.parts[name]}
        rows = every[every["study"].isin(list(part))]
        table = rows.assign(**{PART: rows["study"].map(part)})
        path = run.trials(index).studies
        disk.write_text(path, table.to_csv(index=False, lineterminator="\n"))
        written.append(digests.file_sha256(path))
        divide(sealed.read_table(path), cfg.trials, index)
    return written


def read(run: RunPaths, fold: int, cfg: Config) -> TrialStudies:
    """The studies of a fold's trials, as the seal wrote them.

    Raises: InputError if they are missing or were changed.
    """
    path = run.trials(fold).studies
    wanted = result_files.read_kept(run.splits, ["folds", "studies_sha256", "trials_sha256"])["trials_sha256"][fold]
    if not path.is_file() or (found := digests.file_sha256(path)) != wanted:
        fault = "not as it was sealed" if path.is_file() else "not there"
        raise InputError(causes.error(f"{path}: {fault}", f"{PACK} --seal"))
    studies = sealed.read_table(path)
    return TrialStudies(studies, divide(studies, cfg.trials, fold), found)


def divide(studies: pd.DataFrame, cfg: TrialsConfig, fold: int) -> tuple[Fold, ...]:
    """The fold's own training and validation studies, or as many other divisions of these as are wanted."""
    part = {name: tuple(sorted(rows["study"])) for name, rows in studies.groupby(PART)}
    test = part.get("test", ())
    if cfg.inner_folds is None:
        return (Fold(part["train"], part["val"], test),)
    rows = studies[studies[PART] != "test"]
    patient, category = (dict(zip(rows["study"], rows[name], strict=True)) for name in ("patient", "category"))
    inner = stratification.inner_divisions(patient, category, cfg.inner_folds, cfg.seed, fold)
    return tuple(Fold(train, val, test) for train, val in inner)
