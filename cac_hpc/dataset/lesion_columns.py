"""The candidates of several studies as columns of a shard, and back.

Axes: T study; C, L, V, F as in `candidates`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cac_hpc.calcium import candidates
from cac_hpc.calcium.candidates import Candidates

NO_CANDIDATES = Candidates(
    feature_CF=np.zeros((0, len(candidates.NAMES)), np.float32),
    candidate_L=np.zeros(0, np.int32),
    slice_L=np.zeros(0, np.int32),
    agatston_L=np.zeros(0, np.float32),
    voxel_V3=np.zeros((0, 3), np.int16),
    start_C1=np.zeros(1, np.int64),
)


def joined(found: Sequence[Candidates]) -> dict[str, np.ndarray]:
    """What is written of candidates, by dataset; numbers of candidates and voxels go on from study to study."""
    each = [NO_CANDIDATES, *found]  # of none are the types and shapes
    first_C = np.cumsum([0, *(len(study) for study in each)])
    counts = np.concatenate([np.diff(study.start_C1) for study in each])
    return {
        "candidate_study": np.repeat(np.arange(-1, len(found)), [len(study) for study in each]).astype("<i4"),
        "candidate_feature": np.concatenate([study.feature_CF for study in each]).astype("<f4"),
        "candidate_start": np.concatenate([[0], np.cumsum(counts)]).astype("<i8"),
        "candidate_voxel": np.concatenate([study.voxel_V3 for study in each]).astype("<i2"),
        "lesion_candidate": np.concatenate(
            [study.candidate_L + first for study, first in zip(each, first_C, strict=False)]
        ).astype("<i4"),
        "lesion_slice": np.concatenate([study.slice_L for study in each]).astype("<i4"),
        "lesion_agatston": np.concatenate([study.agatston_L for study in each]).astype("<f4"),
    }


def divided(column: Mapping[str, np.ndarray], num_studies: int) -> Iterator[Candidates]:
    """The candidates of each study, from what `joined` gave of so many."""
    first_T = np.searchsorted(column["candidate_study"], np.arange(num_studies + 1))
    lesion_T, start_C1 = np.searchsorted(column["lesion_candidate"], first_T), column["candidate_start"]
    for index in range(num_studies):
        first, last = first_T[index : index + 2]
        lesions = slice(*lesion_T[index : index + 2])
        yield Candidates(
            feature_CF=column["candidate_feature"][first:last],
            candidate_L=column["lesion_candidate"][lesions] - np.int32(first),
            slice_L=column["lesion_slice"][lesions],
            agatston_L=column["lesion_agatston"][lesions],
            voxel_V3=column["candidate_voxel"][start_C1[first] : start_C1[last]],
            start_C1=start_C1[first : last + 1] - start_C1[first],
        )
