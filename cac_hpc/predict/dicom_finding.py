"""What DICOM objects are to say of a study: category, score and lesions, by which model. Axes: C candidate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cac_hpc.calcium.candidates import NAMES, RULE, Candidates
from cac_hpc.run import digests
from cac_hpc.train import lesion_results

if TYPE_CHECKING:
    from cac_hpc.predict.bundle import Bundle
    from cac_hpc.predict.ensemble import Prediction
    from cac_hpc.predict.study_prediction import Content


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is to be said of a study.

    category: its index among the names. score: Agatston, None of a slice network. found, counted_C: the candidates, and
    (C,) bool which of them count; None of a slice network. notes: warnings, a sentence each. version: of the program;
    model: what tells the model from others, such as a digest. mass_factor: mg per mm3 and HU, if it is known for this
    scanner and tube voltage.
    """

    category: int
    names: Sequence[str]
    edges: Sequence[float]
    version: str
    model: str
    score: float | None = None
    found: Candidates | None = None
    counted_C: np.ndarray | None = None
    notes: Sequence[str] = ()
    mass_factor: float | None = None

    @property
    def scheme_version(self) -> str:
        """What tells these categories from others."""
        return digests.bytes_sha256(json.dumps([list(self.names), list(self.edges)]).encode())[:8]

    @property
    def parameters(self) -> dict[str, str]:
        """What tells this model from others, for people."""
        ends = [*(f"to {edge:g}" for edge in self.edges), f"above {self.edges[-1]:g}"]
        categories = ", ".join(f"{name} {end}" for name, end in zip(self.names, ends, strict=True))
        return {"model": self.model, "threshold": f"{RULE.threshold_hu} HU", "Agatston score of categories": categories}

    def sizes(self, candidate: int, voxel_mm3: float) -> dict[str, float]:
        """Agatston score, volume in mm3, mass in mg (0 without a factor) and maximum in HU of a candidate.

        Source: calcium/agatston.py, of volume and mass.
        """
        found = self.found
        assert found is not None
        voxels = int(found.start_C1[candidate + 1] - found.start_C1[candidate])
        feature = dict(zip(NAMES, found.feature_CF[candidate].tolist(), strict=True))
        volume_mm3 = voxels * voxel_mm3
        mass_mg = (self.mass_factor or 0.0) * feature["mean_hu"] * volume_mm3
        score = float(found.agatston_C[candidate])
        return {"score": score, "volume": volume_mm3, "mass": mass_mg, "max_hu": feature["max_hu"]}


def of_prediction(bundle: Bundle, content: Content, prediction: Prediction, mass_factor: float | None) -> Finding:
    """What a bundle has found in a study."""
    answer = prediction.answer
    scored = answer.score is not None
    return Finding(
        category=answer.category,
        names=bundle.names,
        edges=bundle.edges,
        version=bundle.version,
        model=bundle.digest,
        score=answer.score,
        found=content.found if scored else None,
        counted_C=lesion_results.counted(answer.probability_C) if scored else None,
        notes=_notes(prediction),
        mass_factor=mass_factor,
    )


def _notes(prediction: Prediction) -> list[str]:
    """What must be known before a prediction is used."""
    notes = [f"Outside of the training range: {one}." for one in prediction.out_of_range]
    if prediction.known:
        notes.append("This patient was among the training studies of the model.")
    if prediction.warnings:
        notes.append(f"Read with a warning: {prediction.warnings.replace(' ', ', ')}.")
    return notes
