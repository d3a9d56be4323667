"""Trials whose parts have predicted as told, without training, in the files that trials leave."""

import numpy as np
import pandas as pd

from cac_hpc.dataset import splits
from cac_hpc.run import disk
from cac_hpc.settings import composition, config, stored_settings
from cac_hpc.statistics import metrics
from cac_hpc.trials import choice, plan, standing
from cac_hpc.trials.plan import Rung
from cac_hpc.trials.standing import FoldTrials
from tests.support import reports

WHERE = {"validation": ("val",), "test": ("test",)}


def right_in(share, seed=0):
    """Predictions that are right in that share of the patients, as far as chance has it; else one category off.

    Args:
        share: of (fold, trial, part, rung), or the same for all.
    """

    def predicted(fold, trial, part, rung, label_P):
        rng = np.random.default_rng([seed, fold, trial, part, rung])
        wanted = share(fold, trial, part, rung) if callable(share) else share
        off_P = np.where(label_P < 3, 1, -1)
        return np.where(rng.random(len(label_P)) < wanted, label_P, label_P + off_P)

    return predicted


def write_trials(run, predicted, folds=None, patients_of=None):
    """Plan, rungs and choices of a run, and what its folds say of the settings that they were trained with.

    Args:
        predicted: function of (fold, trial, part, rung, labels) to the predicted categories, None where it failed.
        folds: those that have trials; else all. patients_of: the parts of a fold that trials were looked at on.
    """
    cfg = stored_settings.load(run.config)
    of, all_folds = plan.make(cfg), splits.read_splits(run.splits)
    run.trials_plan.parent.mkdir(exist_ok=True)
    plan.write(run.trials_plan, of)
    studies = pd.read_csv(run.dataset(None).studies, dtype={"study": str, "patient": str}).set_index("study")
    wanted = range(len(all_folds)) if folds is None else folds
    for fold in wanted:
        _write_fold(run, cfg, of, fold, _labels(studies, all_folds[fold], cfg, patients_of), predicted)
    choose(run, wanted)


def choose(run, folds):
    """Write the choices that follow from the trials, and that the folds were trained with them."""
    cfg = stored_settings.load(run.config)
    of, num_categories = plan.read(run.trials_plan), len(cfg.labels.names)
    trials = {fold: FoldTrials(run, fold, cfg, of) for fold in folds}
    for one in trials.values():
        one.look()
    together = standing.joined(list(trials.values())) if cfg.trials.select_on == "test" else None
    for fold, one in trials.items():
        made = choice.choose(cfg, num_categories, together or one.results)
        choice.write(run.trials(fold).choice, made)
        own = composition.changed(cfg, made.settings)
        if run.fold(fold).predictions.is_file():
            tables = disk.read_json(run.fold(fold).metrics).get("tables_sha256")  # of a model of lesions
            facts = {"settings": {"model": config.plain(own.model), "train": config.plain(own.train)}}
            reports.vouch(run, fold, **facts | ({"tables_sha256": tables} if tables else {}))


def _labels(studies, fold, cfg, patients_of):
    parts = patients_of or (WHERE[cfg.trials.select_on] + (("train",) if cfg.trials.inner_folds else ()))
    members = studies.loc[[study for part in parts for study in fold.parts[part]]]
    return members.groupby("patient")["category"].max()


def _write_fold(run, cfg, of, fold, labels, predicted):
    files, trials = run.trials(fold), FoldTrials(run, fold, cfg, of)
    trials.look()
    while not trials.final:
        for trial in (one for one in trials.trials if one.open and not one.final):
            rung = len(trial.rungs)
            files.part(trial.number, 0).root.mkdir(parents=True, exist_ok=True)
            disk.write_json(files.settings(trial.number), dict(trial.settings))
            for part in trial.open:
                path = files.rung(trial.number, part, rung)
                path.parent.mkdir(exist_ok=True)
                plan.write_rung(path, _part(cfg, of, fold, trial, part, rung, labels, predicted))
        trials.look()


def _part(cfg, of, fold, trial, part, rung, labels, predicted):
    mine = labels.iloc[part // of.seeds :: of.divisions]
    label_P = mine.to_numpy(int)
    said_P = predicted(fold, trial.number, part, rung, label_P)
    if said_P is None:
        return Rung(
            fold, trial.number, part, rung, dict(trial.settings), 0, 0, (), (), (), 0, 0.0, "found a loss of nan"
        )
    epochs = of.rungs[rung] or cfg.train.epochs
    size = 1000 + 10 * trial.number
    return Rung(fold, trial.number, part, rung, dict(trial.settings), epochs, epochs, tuple(mine.index),
                tuple(label_P.tolist()), tuple(np.asarray(said_P).tolist()), size, 2.0)  # fmt: skip


def kappa(label, predicted):
    return float(metrics.values(metrics.confusion(np.array(label), np.array(predicted), 6))["kappa_quadratic"][0])
