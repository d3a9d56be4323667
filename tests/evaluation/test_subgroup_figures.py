"""Groups of a run's patients: whose studies differ in a fact is of none, and whom nobody knows is counted."""

import numpy as np

from cac_hpc.evaluation.subgroup_figures import _grouping


def test_a_patient_whose_studies_differ_is_of_no_group():
    patient = np.array([0, 0, 1, 1, 2, 3, 4, 4])
    group = np.array([0, 1, 1, -1, -1, 2, 0, 0])  # of studies; 2 is withheld
    found = _grouping("sex", group, ["female", "male", "withheld"], patient, 5)
    assert found.group_P.tolist() == [-1, 1, -1, -1, 0]
    assert (found.several, found.withheld, found.unknown) == (1, 1, 1)
