"""Groups of patients that were tested by a model that never saw them, beside the same patients in patient folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from cac_hpc.dataset.groups import WITHHELD
from cac_hpc.dataset.held_out import SEVERAL
from cac_hpc.dataset.sealed import GROUP
from cac_hpc.evaluation import comparison
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.evaluation.outcome import Outcome
from cac_hpc.evaluation.pairing import Finished
from cac_hpc.results.figures import Absent, Difference, Figure
from cac_hpc.results.groups import Drops, GroupDrop, UnseenGroup, UnseenGroups
from cac_hpc.results.matrices import Pooled
from cac_hpc.results.serialization import Json
from cac_hpc.statistics import assessment
from cac_hpc.statistics.pooling import Units
from cac_hpc.volumes.scanner import UNKNOWN

FIGURES = ("accuracy", "kappa_quadratic", "two_or_more_off", "over_estimated_share", "under_estimated_share")
KAPPA, ONE_CATEGORY = "kappa_quadratic", "all patients are of one category"
PATIENT = "patient"


def of_run(inputs: Inputs) -> UnseenGroups | None:
    """Every group and its figures; None of a run that leaves none out."""
    groups = inputs.groups
    if groups is None or not groups.tested:
        return None
    patient = dict(zip(inputs.studies["study"], inputs.studies["patient"], strict=True))
    counts = Counter(groups.of_patients(patient).values())
    found = []
    for fold, name in enumerate(groups.tested):
        pooled = _pooled(inputs, [fold]) if fold in inputs.results else None
        trained = len({patient[study] for study in inputs.folds[fold].parts["train"]})
        found.append(UnseenGroup(name, counts[name], fold, trained, _of(pooled)))
    others = _without_rare(inputs, {name: counts[name] for name in sorted(counts.keys() - set(groups.tested))})
    found += [UnseenGroup(name, count, None, None, {}) for name, count in sorted(others.items())]
    return UnseenGroups(groups.fact, int(inputs.settings["split"].get("smallest_group", 10)), found)


def _without_rare(inputs: Inputs, counts: dict[str, int]) -> dict[str, int]:
    """Patients of groups that are not tested; values of a sheet that studies.csv withholds are not named."""
    withheld: Json = inputs.intake.get("subgroups") or {}
    if inputs.groups is None or f"{GROUP}{inputs.groups.fact}" not in withheld.get("people", ()):
        return counts
    rare = [name for name in counts.keys() - {SEVERAL, UNKNOWN} if counts[name] < withheld["smallest_group"]]
    left = {name: count for name, count in counts.items() if name not in rare}
    return left | ({WITHHELD: sum(counts[name] for name in rare)} if rare else {})


def _of(pooled: Pooled | None) -> dict[str, Figure]:
    """The figures that are told; kappa of patients of one category would be 0 whatever was predicted."""
    if pooled is None:
        return {}
    found = {name: pooled.figures[name] for name in FIGURES}
    if _of_one_category(pooled):
        found[KAPPA] = Figure(None, pooled.n, None, None, None, ONE_CATEGORY)
    return found


def _of_one_category(pooled: Pooled) -> bool:
    return sum(count > 0 for count in pooled.support) < 2


def _pooled(inputs: Inputs, folds: Iterable[int]) -> Pooled:
    units = {PATIENT: _units(inputs, _of_folds(inputs.outcome, folds))}
    return comparison.compare_readers({"model": units}, "model", inputs.report)["model"].pooled[PATIENT]


def _of_folds(outcome: Outcome, folds: Iterable[int]) -> Outcome:
    kept = [fold for fold in folds if fold in outcome.predictions]
    scores = None if outcome.scores is None else {fold: outcome.scores[fold] for fold in kept}
    return Outcome({fold: outcome.predictions[fold] for fold in kept}, scores)


def _units(inputs: Inputs, outcome: Outcome) -> Units:
    """The patients of an outcome."""
    tested = outcome.tested(inputs.studies, inputs.labels.edges, inputs.report)
    return assessment.units_of(tested)[PATIENT]


def drops(inputs: Inputs) -> Drops | Absent | None:
    """What is lost where a group was never seen, in the same draws of patients; None where no run is named for it."""
    groups, reference = inputs.groups, inputs.reference
    if groups is None or not groups.tested or reference is None:
        return None
    if isinstance(reference, Absent):
        return reference
    every = list(range(len(groups.tested)))
    parts = [*([fold] for fold in every), every]
    return Drops(reference.name, _trained(reference), [_drop(inputs, reference, folds) for folds in parts])


def _trained(reference: Finished) -> float:
    """Patients that trained a fold of the other run, on average."""
    of_folds = reference.report.cohort.folds
    return float(np.mean([sum(counts[0] for counts in fold) for fold in of_folds]))


def _drop(inputs: Inputs, reference: Finished, folds: Sequence[int]) -> GroupDrop:
    """The patients of one group, or of all."""
    assert inputs.groups
    own = _of_folds(inputs.outcome, folds)
    same = reference.outcome.of(own.studies)
    found = comparison.compare_units(
        {PATIENT: _units(inputs, same)}, {PATIENT: _units(inputs, own)}, inputs.report
    ).levels[PATIENT]
    assert found.matrices, "both are of the same patients"
    name = inputs.groups.tested[folds[0]] if len(folds) == 1 else None
    differences = {figure: found.figures[figure] for figure in FIGURES}
    if _of_one_category(found.matrices.other):
        differences[KAPPA] = Difference(None, None, None, None, None, None, ONE_CATEGORY)
    return GroupDrop(
        name=name,
        patients=found.matrices.other.patients,
        seen=_of(found.matrices.reference),
        unseen=_of(found.matrices.other),
        differences=differences,
    )
