"""Which reader the figures speak for: every reason, on patients whose predictions are made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cac_hpc.evaluation import comparison, readers
from cac_hpc.results.comparison import LeftOut
from cac_hpc.results.readers import JudgedPatients, Reader, Readers, Trust
from cac_hpc.sections import reader_parts
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics.pooling import Units

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


def judged(count=60, **predicted):
    said = {"largest": np.zeros(60, int)} | predicted
    by_level = {
        key: dict.fromkeys(("slice", "patient"), units(one[:count], LABEL[:count])) for key, one in said.items()
    }
    found = comparison.compare_readers(by_level, "model", CFG)
    return [Reader(key, key, one.pooled, one.compared, None) for key, one in found.items()]


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
    assert readers.trust(judged(**said)) == wanted


def sentence(**said):
    found = judged(**said)
    empty = JudgedPatients([], [], [], [], {}, {})
    return reader_parts.trust(Readers(None, LeftOut(0), found, readers.trust(found), [], empty, []))


def test_a_model_that_is_no_better_than_guessing_is_called_worse_only_where_that_is_sure():
    text = sentence(rule=wrong(0.66), model=wrong(0.3, 1))
    assert "rule: it is right in 21 of 60" in text
    assert "the model (right in 18) is not; these patients do not show which of the two is better" in text
    assert "which is worse" not in text
    assert "the model in 30, which is worse" in sentence(rule=wrong(0.05), model=wrong(0.5))


def test_patients_who_were_tested_several_times_are_not_counted_as_more_patients():
    found = [
        replace(reader, levels={"patient": replace(reader.levels["patient"], patients=20)})
        for reader in judged(rule=off(3, 0.1), model=off(1, 0.1))
    ]
    empty = JudgedPatients([], [], [], [], {}, {})
    text = reader_parts.trust(Readers(None, LeftOut(0), found, readers.trust(found), [], empty, []))
    assert text.startswith("Trust the rule: it is right in 54 of 60 tests of 20 patients")
    assert "two or more categories off in 0 of 60 tests of 20 patients, the rule in 6" in text


def test_every_reader_that_may_be_as_good_as_the_model_is_named():
    text = sentence(rule=wrong(0.5), model=wrong(0.05), run=wrong(0.1))
    assert text.endswith("; these patients do not show whether run (54) is worse.")
    assert "run 54, accuracy" not in text


def off(by, share):
    """Predictions of which the first share is so many categories off, without a way around."""
    predicted = LABEL.copy()
    first = slice(0, int(share * len(LABEL)))
    predicted[first] = np.where(LABEL[first] >= by, LABEL[first] - by, LABEL[first] + by)
    return predicted


def test_a_reader_with_fewer_large_errors_than_the_one_to_trust_is_named():
    text = sentence(rule=off(3, 0.1), model=off(1, 0.1))
    assert text.startswith("Trust the rule: it is right in 54 of 60 patients")
    assert "But the model makes fewer large errors: it is two or more categories off in 0 of 60 patients, the" in text
    assert "the rule in 6, and the 95 % interval of the difference does not reach 0." in text
    text = sentence(rule=off(1, 0.5), control=off(3, 0.5), model=off(3, 0.1))
    assert text.startswith("Trust the model")
    assert "But the rule makes fewer large errors" in text
    assert "the control makes" not in text
    assert "large errors" not in sentence(rule=off(3, 0.02), model=off(1, 0.02))
