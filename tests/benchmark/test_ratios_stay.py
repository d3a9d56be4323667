"""What stays as fast as it is: processor time against a reference of the same round, never seconds by the clock."""

import sys

import pytest

from cac_hpc.benchmark import inputs, targets, turns
from cac_hpc.benchmark.judging import FEWEST, VERDICTS, Goal, Term, judge
from cac_hpc.benchmark.turns import Measurement, Program, Site
from tests.support.runs import REPO

pytestmark = pytest.mark.timed


def ratio(folder, programs, limit):
    """The first program's processor time against the second's, on tiny input."""
    named = programs(Site(folder=folder, shared=folder, codes={"now": REPO}, tiny=True), [4])
    of, against = (Term(one.name, "cpu_seconds") for one in named)
    goal = Goal(what="ratio", of=of, against=against, limit=limit)
    what = Measurement(name="ratio", what="ratio", programs=lambda site, sizes: named, goals=(goal,), tiny=(4,))
    found = turns.measure(what, Site(folder=folder, shared=folder, codes={"now": REPO}, tiny=True), FEWEST)
    return judge(goal, found.rounds, found.sizes)


def test_help_takes_little_more_than_what_it_is_made_of_takes_to_be_imported(tmp_path):
    def programs(site, sizes):
        parts = [sys.executable, "-c", "import argparse, dataclasses, logging"]
        return [
            Program(name="help", prepare=lambda out, size: inputs.job(REPO, "launch_cv.py", "--help"), code=REPO),
            Program(name="parts", prepare=lambda out, size: parts, code=REPO),
        ]

    found = ratio(tmp_path, programs, 2.5)
    assert found.verdict != VERDICTS["missed"], found  # 2.0 when this was written


def test_packing_few_small_studies_takes_few_times_what_reading_them_takes(tmp_path):
    def programs(site, sizes):
        every = {one.name: one for one in targets.packers([targets.READING], site, sizes)}
        return [every[targets.ONE], every[targets.READING]]

    found = ratio(tmp_path, programs, 5.5)
    assert found.verdict != VERDICTS["missed"], found  # 4.6 when this was written, most of it start-up
