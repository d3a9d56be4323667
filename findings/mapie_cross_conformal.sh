#!/usr/bin/env bash
# Cross-conformal sets of classes by MAPIE, held against the rule of the papers that it names.
#
# Valid input: CrossConformalClassifier as documented, conformity_score "lac", KFold(4), agg_scores "crossval"; two classes.
# Where 1 - a is wanted of n patients, CV+ (Romano, Sesia and Candes 2020, NeurIPS) names a class if more than
# a (n + 1) - 1 of them score as high as it does by the model of their fold. The promise rests on that count.
# Guess before running: sets of that rule; the only difference would be how ties are counted.
# Seen on 2026-11-30, MAPIE 1.6.0: a class is named where a (n - 1) patients or more score as high. Of 68 patients at 0.9
# that is 7 where the source needs 6, of 20 at 0.94 it is 2 for 1: there are sets of one class where the source names both.
# Of 20 at 0.9 both rules need 2, and the sets are equal. With fewer patients than 1 - a asks for the source names every
# class; MAPIE raises ValueError. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check mapie==1.6.0 scikit-learn==1.9.1 numpy==2.4.6
cat > try.py <<'PY'
import numpy as np
from mapie.classification import CrossConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import KFold

FOLDS, NEW = 4, np.linspace(0, 1, 1001)


class Middle(ClassifierMixin, BaseEstimator):
    """Logistic around the middle between the means of both classes."""

    def fit(self, x, y):
        self.classes_, self.n_features_in_ = np.unique(y), 1
        self.middle_ = (x[y == 0].mean() + x[y == 1].mean()) / 2
        return self

    def predict_proba(self, x):
        above = 1 / (1 + np.exp(-8 * (x[:, 0] - self.middle_)))
        return np.stack([1 - above, above], axis=1)

    def predict(self, x):
        return self.classes_[self.predict_proba(x).argmax(axis=1)]


def as_high(x, y):
    """For each new value and class: how many patients score as high by the model of their own fold."""
    count = np.zeros((len(NEW), 2), int)
    for train, test in KFold(FOLDS).split(x):
        model = Middle().fit(x[train], y[train])
        own = 1 - model.predict_proba(x[test])[np.arange(len(test)), y[test]]
        new = 1 - model.predict_proba(NEW[:, None])
        count += (own[:, None, None] >= new).sum(axis=0)
    return count


def shown(named):
    sizes = np.bincount(named.sum(axis=1), minlength=3)
    return f"none {sizes[0]}, one {sizes[1]}, both {sizes[2]}"


for patients, wanted in ((20, 0.9), (20, 0.94), (68, 0.9), (8, 0.9)):
    rng, y = np.random.default_rng(patients), np.arange(patients) % 2
    x = np.clip(rng.normal(0.3 + 0.4 * y, 0.25), 0, 1)[:, None]
    a, count = 1 - wanted, as_high(x, y)
    source, other = count > a * (patients + 1) - 1 + 1e-9, count >= a * (patients - 1) - 1e-9
    made = CrossConformalClassifier(Middle(), confidence_level=wanted, conformity_score="lac", cv=KFold(FOLDS))
    print(f"{patients} patients, {wanted} wanted: the source {shown(source)}")
    try:
        mapie = made.fit_conformalize(x, y).predict_set(NEW[:, None], agg_scores="crossval")[1][:, :, 0]
        print(f"  MAPIE {shown(mapie)}; equal to the source {(mapie == source).all()}, to a (n - 1) {(mapie == other).all()}")
    except ValueError as error:
        print("  MAPIE ValueError:", " ".join(str(error).split()))
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
20 patients, 0.9 wanted: the source none 0, one 828, both 173
  MAPIE none 0, one 828, both 173; equal to the source True, to a (n - 1) True
20 patients, 0.94 wanted: the source none 0, one 494, both 507
  MAPIE none 0, one 828, both 173; equal to the source False, to a (n - 1) True
68 patients, 0.9 wanted: the source none 0, one 750, both 251
  MAPIE none 0, one 782, both 219; equal to the source False, to a (n - 1) True
8 patients, 0.9 wanted: the source none 0, one 0, both 1001
  MAPIE ValueError: Number of samples of the score is too low, 1/confidence_level and 1/(1 - confidence_level) must be lower than the number of samples.
EXPECTED
diff expected seen
