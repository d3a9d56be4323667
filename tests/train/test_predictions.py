"""predictions.csv comes back as it was written, whatever studies are called."""

import numpy as np

from cac_hpc.train import predictions


def test_names_that_look_like_numbers_stay_names(tmp_path):
    names = ["007", "7", "1E5", "NA", "", " x", "007"]
    probability = np.tile(np.float32([0.25, 0.75]), (7, 1))
    slices = np.array([0, 0, 0, 0, 0, 0, 1])
    path = tmp_path / "predictions.csv"
    path.write_bytes(predictions.to_csv(names, slices, 3, np.ones(7, np.int64), probability))
    found = predictions.read_predictions(path, 3, 2)
    assert sorted(zip(found.studies[found.study].tolist(), found.slice.tolist(), strict=True)) == sorted(
        zip(names, slices.tolist(), strict=True)
    )
    np.testing.assert_array_equal(found.probability, probability)
