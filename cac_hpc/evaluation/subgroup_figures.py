"""Figures of groups of patients: whose groups, by which facts. Axes: N patient test, P patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cac_hpc.dataset import groups
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.evaluation.readers import MODEL
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.cuts import Judge
from cac_hpc.statistics.results import Subgroups
from cac_hpc.statistics.subgroups import Grouping, subgroups

PATIENT = "patient"


def of_run(inputs: Inputs, tested: Sequence[Tested], names: np.ndarray) -> Subgroups | None:
    """The figures of a run; None where no facts are asked for, or nobody was tested.

    Args:
        tested: all that was tested. names: of the patients, as numbered in it.
    """
    facts, columns = inputs.subgroups, inputs.labels.group_columns
    level = next(level for level in tested if level.name == PATIENT)
    if not (facts or columns) or not len(names):
        return None
    studies = inputs.studies[inputs.studies["study"].isin(inputs.outcome.studies)]
    known = groups.of_patients(studies, facts, columns)
    model = Judge(MODEL, "model", level.units, score=inputs.outcome.patient_scores(inputs.studies, inputs.labels.edges))
    groupings = [_grouping(fact, values, names.tolist()) for fact, values in known.items()]
    return subgroups(model, groupings, inputs.labels.edges, inputs.report.cuts, level.unit)


def _grouping(fact: str, known: Mapping[str, frozenset[str]], names: Sequence[str]) -> Grouping:
    """Args:
    known: values of each patient. names: of the patients that were tested.
    """
    values = [known[name] for name in names]
    single = [next(iter(of)) if len(of) == 1 else "" for of in values]
    found = sorted({*single} - {"", groups.WITHHELD}, key=lambda group: groups.order(fact, group))
    place = {group: index for index, group in enumerate(found)}
    return Grouping(
        fact=fact,
        names=found,
        group_P=np.array([place.get(group, -1) for group in single], int),
        several=sum(len(of) > 1 for of in values),
        withheld=single.count(groups.WITHHELD),
        unknown=sum(not of for of in values),
    )
