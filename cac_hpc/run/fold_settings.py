"""The settings of one fold: those of its run, or what it has chosen among its trials."""

from __future__ import annotations

from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import composition, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError


def load(run: RunPaths, fold: int) -> Config:
    """The settings that a fold is trained and tested with.

    Raises: InputError if the run's settings are missing or wrong, or the fold has trials and has not chosen yet.
    """
    cfg, choice = stored_settings.load(run.config), run.trials(fold).choice
    if not cfg.trials.active:
        return cfg
    try:
        return composition.changed(cfg, disk.read_json(choice)["settings"])
    except OSError:
        raise InputError(f"{choice}: not there, wanted the choice among the trials of fold {fold}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{choice}: damaged; delete it, and it is made again from the trials") from None
