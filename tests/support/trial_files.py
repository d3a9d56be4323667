"""Trials whose parts have predicted as told, without training, in the files that trials leave."""

import numpy as np
import pandas as pd

from cac_hpc.dataset import splits
from cac_hpc.evaluation import trials
from cac_hpc.run import composition, config, paths, settings
from cac_hpc.statistics import metrics
from cac_hpc.trials import choice, plan, sampling
from cac_hpc.trials.plan import Rung
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
        predicted: function of (fold, trial, part, rung, labels) to the predicted categories.
        folds: those that have trials; else all. patients_of: the parts of a fold that trials were looked at on.
    """
    cfg = settings.load(run.config)
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
    cfg = settings.load(run.config)
    of, num_categories = plan.read(run.trials_plan), len(cfg.labels.names)
    looked = {fold: trials._read_fold(of, run.trials(fold)) for fold in folds}
    if cfg.trials.select_on == "test":
        looked = dict.fromkeys(folds, trials._together(looked))
    for fold, of_fold in looked.items():
        made = choice.choose(cfg, num_categories, trials._results(of, of_fold))
        paths.write_json(run.trials(fold).choice, config.plain(made))
        own = composition.changed(cfg, made.settings)
        if run.fold(fold).predictions.is_file():
            reports.vouch(run, fold, settings={"model": config.plain(own.model), "train": config.plain(own.train)})


def _labels(studies, fold, cfg, patients_of):
    parts = patients_of or (WHERE[cfg.trials.select_on] + (("train",) if cfg.trials.inner_folds else ()))
    members = studies.loc[[study for part in parts for study in fold.parts[part]]]
    return members.groupby("patient")["category"].max()


def _write_fold(run, cfg, of, fold, labels, predicted):
    figures = [{} for _ in of.rungs]
    for trial in range(of.number):
        for rung in range(len(of.rungs)):
            parts = [_part(cfg, of, fold, trial, part, rung, labels, predicted) for part in range(of.parts)]
            for part in parts:
                path = run.trials(fold).rung(trial, part.part, rung)
                path.parent.mkdir(parents=True, exist_ok=True)
                plan.write_rung(path, part)
            figures[rung][trial] = choice.figure(parts, cfg.trials.select_by, len(cfg.labels.names), of.seeds)
            if rung < len(of.rungs) - 1 and not sampling.goes_on(cfg, trial, rung, figures[rung]):
                break


def _part(cfg, of, fold, trial, part, rung, labels, predicted):
    mine = labels.iloc[part // of.seeds :: of.divisions]
    label_P = mine.to_numpy(int)
    said_P = predicted(fold, trial, part, rung, label_P)
    own = of.settings[trial] if trial < len(of.settings) else {"train.learning_rate": 0.001 * (1 + trial) * (1 + fold)}
    epochs = of.rungs[rung] or cfg.train.epochs
    return Rung(fold, trial, part, rung, dict(own), epochs, epochs, tuple(mine.index), tuple(label_P.tolist()),
                tuple(np.asarray(said_P).tolist()), 1000 + 10 * trial, 2.0)  # fmt: skip


def kappa(label, predicted):
    return float(metrics.values(metrics.confusion(np.array(label), np.array(predicted), 6))["kappa_quadratic"][0])
