"""Scores without the factor for the slice spacing, as some collections publish them: rule and candidates follow."""

from types import SimpleNamespace

import numpy as np
import pytest

from cac_hpc.calcium import candidates
from cac_hpc.dataset import intake
from cac_hpc.predict import scored
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.score_command import ScoreConfig
from cac_hpc.volumes import files
from tests.support import coca


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    hu_ZHW, _, pixel_mm, z_mm = coca.volume(1, 4, thick=True)
    coca.write_series(folder, 1, hu_ZHW, pixel_mm, z_mm, thickness_mm=5.0)
    return files.list_files(folder)


def test_without_the_factor_rule_and_candidates_score_as_if_slices_were_3_mm_apart(study):
    read, found = {}, {}
    for factor in (True, False):
        cfg = PackConfig(spacing_factor=factor)
        kept = {}
        read[factor] = intake.read_study(
            study, cfg, lambda *of: None, lambda *of, kept=kept: kept.update(found=of)
        ).facts
        found[factor], _ = kept["found"]
    assert read[False]["agatston_score"] > 100
    for name in ("agatston_score", "agatston_control"):
        assert read[True][name] == pytest.approx(read[False][name] * 5 / 3, rel=1e-4)
    np.testing.assert_allclose(found[True].agatston_C, found[False].agatston_C * 5 / 3, rtol=1e-5)
    column = candidates.NAMES.index("log_agatston")
    np.testing.assert_allclose(found[False].feature_CF[:, column], np.log1p(found[False].agatston_C), rtol=1e-5)


def test_a_model_of_scores_without_the_factor_is_not_asked_about_scores_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(scored.ensembles, "read_lesions", lambda path: SimpleNamespace(spacing_factor=False))
    with pytest.raises(InputError, match=r"trained with pack\.spacing_factor false"):
        scored.score_studies(ScoreConfig(folder=str(tmp_path), model="model.pt"))
