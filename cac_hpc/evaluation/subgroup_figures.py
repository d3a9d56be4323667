"""Figures of groups of patients: whose groups, by which facts. Axes: N patient test, P patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cac_hpc.dataset import groups
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.evaluation.readers import MODEL
from cac_hpc.results.groups import Subgroups
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.cuts import Judge
from cac_hpc.statistics.subgroups import Grouping, subgroups

PATIENT = "patient"


def of_run(inputs: Inputs, tested: Sequence[Tested]) -> Subgroups | None:
    """The figures of a run; None where no facts are asked for, or nobody was tested.

    Args:
        tested: all that was tested.
    """
    level = next(level for level in tested if level.name == PATIENT)
    studies = inputs.studies[inputs.studies["study"].isin(inputs.outcome.studies)]
    names = inputs.outcome.patient_names(studies)
    known = groups.of_studies(studies, inputs.subgroups)
    if not known or not len(names):
        return None
    patient_N = np.searchsorted(names, studies["patient"].to_numpy(str))
    groupings = [_grouping(fact, *of, patient_N, len(names)) for fact, of in known.items()]
    model = Judge(MODEL, "model", level.units, score=inputs.outcome.patient_scores(inputs.studies, inputs.labels.edges))
    return subgroups(model, groupings, inputs.labels.edges, inputs.report.cuts, level.unit)


def _grouping(fact: str, group_N: np.ndarray, names: list[str], patient_N: np.ndarray, num_patients: int) -> Grouping:
    """Args:
    group_N: number of each study's group, -1 where it is unknown. patient_N: whose it is.
    """
    known = group_N >= 0
    lowest, highest = np.full(num_patients, len(names)), np.full(num_patients, -1)
    np.minimum.at(lowest, patient_N[known], group_N[known])
    np.maximum.at(highest, patient_N[known], group_N[known])
    withheld = names.index(groups.WITHHELD) if groups.WITHHELD in names else -2
    several, silent = (highest >= 0) & (lowest != highest), highest == withheld
    return Grouping(
        fact=fact,
        names=names,
        group_P=np.where(several | silent, -1, highest),
        several=int(several.sum()),
        withheld=int((silent & ~several).sum()),
        unknown=int((highest < 0).sum()),
    )
