"""What a sealed dataset must have: every shard that its seal names, as long as it was sealed."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cac_hpc.run import causes, disk, logs
from cac_hpc.run.causes import PACK, RESUME
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.model import ModelConfig

if TYPE_CHECKING:
    import pandas as pd

GROUP = "group_"  # in front of the name of a sheet's column of groups, in studies.csv
GROUPS = ("sex", "age_group", "scanner", "noise", "body_size")  # of data.subgroups: with own columns
SHOWN = 3  # shards that a message names


def read_studies(dataset: DatasetPaths) -> pd.DataFrame:
    """studies.csv: study, patient and site as text, empty cells NaN."""
    return read_table(dataset.studies)


def read_table(path: Path) -> pd.DataFrame:
    """A table like studies.csv."""
    import pandas as pd  # 60 MB, which the supervisor of a small job has not

    with path.open(encoding="utf-8", newline="") as file:
        named = next(csv.reader(file), [])
    texts = [name for name in named if name.startswith(GROUP) or name in ("study", "patient", "site", *GROUPS)]
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=[""])


def usable(studies: pd.DataFrame, model: ModelConfig) -> pd.DataFrame:
    """The studies that a model can be given: one of candidates only those in which a heart is found.

    Args:
        studies: studies.csv.
    """
    if not model.of_candidates or "has_candidates" not in studies:
        return studies
    return studies[studies["has_candidates"].astype(bool)]


def check(dataset: DatasetPaths) -> None:
    """All shards are there and can be opened; what is in them is checked by who reads them.

    Raises: InputError naming those that are not, whoever looks, and the command that makes them again; OSError if the
    operating system cannot read one from here.
    """
    if not dataset.seal.exists():
        raise InputError(f"{dataset.seal}: not there, wanted a sealed dataset; run the stages pack and seal first")
    if missing := [table.name for table in dataset.tables if not table.exists()]:
        raise InputError(causes.error(f"{dataset.root}: {', '.join(missing)} missing", PACK))
    if found := faults(dataset):
        again = "stage pack makes them again from the DICOM files, as they were sealed"
        wrong = logs.first_of(found, SHOWN)
        raise InputError(causes.error(f"{dataset.root}: sealed, but {wrong}; {again}", RESUME))


def faults(dataset: DatasetPaths) -> list[str]:
    """What is wrong with shards of a sealed dataset for everybody; empty if nothing is, or there is no seal.

    Raises: InputError if the seal is damaged; OSError, see `check`.
    """
    found = {shard["file"]: _fault(dataset, shard) for shard in _sealed(dataset)}
    return [f"{name} {fault}" for name, fault in found.items() if fault]


def _sealed(dataset: DatasetPaths) -> list[dict[str, Any]]:
    if not dataset.seal.exists():
        return []
    try:
        shards = disk.read_json(dataset.seal)["shards"]
        return [{"file": str(shard["file"]), "bytes": shard.get("bytes")} for shard in shards]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(causes.error(f"{dataset.seal}: damaged; delete it", PACK)) from None


def _fault(dataset: DatasetPaths, shard: dict[str, Any]) -> str | None:
    path = dataset.root / shard["file"]
    try:
        with path.open("rb") as file:
            file.read(4096)
            size = file.seek(0, 2)
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except IsADirectoryError:
        return "is a folder"
    except PermissionError:
        return "may not be read by this user"
    return f"has {size} bytes of {shard['bytes']}" if shard["bytes"] not in (None, size) else None
