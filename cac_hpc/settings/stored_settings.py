"""Files of settings, among them that of a run, which holds plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError

if TYPE_CHECKING:
    from cac_hpc.settings.config import Config

CONFIG = "config.yaml"  # in the folder of a run, as the next
LEDGER = "ledger.jsonl"


def read(path: Path, where: str = "") -> dict[str, Any]:
    """What a file of settings holds. It may be any file: nothing of a wrong one is shown.

    Args:
        where: what messages begin with; else the path.
    Raises: InputError if the file is missing or holds something else.
    """
    from cac_hpc.settings import yaml_documents  # imports PyYAML, which --help and the report of a run do without

    where, wanted = where or str(path), "wanted a YAML file of settings"
    try:
        content = yaml_documents.read_file(path)
    except OSError as error:
        meant = given_paths.did_you_mean(path)
        raise InputError(f"{where}: {(error.strerror or str(error)).lower()}, {wanted}{meant}") from None
    except ValueError as error:
        raise InputError(f"{where}: found {error}, {wanted}") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else "a list" if isinstance(content, list) else "text without settings"
        raise InputError(f"{where}: found {found}, {wanted}")
    return content


def are_of_run(path: Path) -> bool:
    """Whether a file holds the settings of a run: then nothing in it is interpolated."""
    return path.name == CONFIG and path.with_name(LEDGER).exists()


def load(path: Path) -> Config:
    """Read the settings of a run, its config.yaml: plain values.

    Raises: InputError if the file is missing or wrong.
    """
    from cac_hpc.settings import typed_values
    from cac_hpc.settings.config import Config  # not for who only looks for the folder of a run

    content = read(path)
    try:
        return typed_values.build(Config, content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def run_folder(folder: str) -> Path:
    """The run in that folder.

    Raises: InputError if there is none.
    """
    run = Path(folder).absolute()
    if not folder or not (run / CONFIG).is_file():
        inside = run.name == CONFIG and run.is_file()
        meant = f"; did you mean {str(Path(folder).parent)!r}?" if inside else given_paths.did_you_mean(Path(folder))
        raise InputError(f"{folder or repr(folder)}: found no config.yaml there, wanted the folder of a run{meant}")
    return run
