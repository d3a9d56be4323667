"""Which reader the figures speak for: every reason, on patients whose predictions are made by hand."""

import numpy as np
import pytest

from cac_hpc.evaluation import comparison, readers
from cac_hpc.run.config import ReportConfig
from cac_hpc.statistics.results import Reader, Trust
from cac_hpc.statistics.units import Units

LABEL = np.arange(60) % 6
CFG = ReportConfig(draws=400)


def wrong(*share):
    """Predictions of which this share is one category off: of the first patients, or of those in between."""
    first, last = share if len(share) == 2 else (0, share[0])
    predicted = LABEL.copy()
    off = slice(int(first * len(LABEL)), int(last * len(LABEL)))
    predicted[off] = (predicted[off] + 1) % 6
    return predicted


def units(predicted, label=LABEL):
    number = np.arange(len(label))
    chance = np.eye(6, dtype=np.float32)[predicted]
    return Units(label, predicted, chance, number, number * 0, np.full(len(label), np.nan), len(label), len(label))


def trusted(count=60, **predicted):
    said = {"largest": np.zeros(60, int)} | predicted
    by_level = {
        key: dict.fromkeys(("slice", "patient"), units(one[:count], LABEL[:count])) for key, one in said.items()
    }
    found = comparison.compare_readers(by_level, "model", CFG)
    return readers.trust([Reader(key, key, one.pooled, one.compared, None) for key, one in found.items()])


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"rule": wrong(0.5), "model": wrong(0.05)}, Trust("model", "better", [])),
        ({"rule": wrong(0.1), "model": wrong(0.05)}, Trust("rule", "simpler", ["model"])),
        ({"rule": wrong(0.5), "control": wrong(0.1), "model": wrong(0.05)}, Trust("control", "simpler", ["model"])),
        ({"rule": wrong(0), "control": wrong(0), "model": wrong(0)}, Trust("rule", "simpler", ["model", "control"])),
        ({"rule": wrong(0.05), "model": wrong(0.5)}, Trust("rule", "model_worse", [])),
        ({"rule": wrong(0.4), "control": wrong(0.05), "model": wrong(0.6)}, Trust("control", "model_worse", [])),
        ({"rule": wrong(0.5), "model": wrong(0.05), "run": wrong(0.1)}, Trust("model", "better", ["run"])),
        ({"rule": wrong(1), "model": wrong(0.95)}, Trust(None, "chance", [])),
        ({"rule": wrong(0.5), "model": wrong(0), "count": 9}, Trust(None, "few", [])),
    ],
)  # fmt: skip
def test_the_reader_to_trust(said, wanted):
    assert trusted(**said) == wanted
