"""predictions.csv comes back as it was written, whatever studies are called."""

import numpy as np
import pytest

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


def test_rows_that_are_read_in_parts_are_one_table(tmp_path, monkeypatch):
    path = tmp_path / "predictions.csv"
    rng = np.random.default_rng(0)
    study, probability = np.repeat(["10", "2", "b"], 4), rng.dirichlet(np.ones(6), 12).astype(np.float32)
    path.write_bytes(predictions.to_csv(study, np.tile(np.arange(4), 3), 1, np.arange(12) % 6, probability))
    whole = predictions.read_predictions(path, 1, 6)
    monkeypatch.setattr(predictions, "AT_ONCE", 5)  # parts of a study, too
    found = predictions.read_predictions(path, 1, 6)
    for name, value in vars(whole).items():
        assert np.array_equal(getattr(found, name), value), name
        assert getattr(found, name).dtype == value.dtype, name
    assert found.studies.tolist() == ["10", "2", "b"]
    assert np.array_equal(found.probability, probability)
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text, text[-1].replace("b,3", "10,0")]))
    with pytest.raises(ValueError, match="study '10' slice 0 stands there twice"):
        predictions.read_predictions(path, 1, 6)


def test_a_number_of_more_than_32_bits_stays_what_it_is(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text(f"study,slice,fold,label,p0,p1\na,{2**32},0,1,0.5,0.5\n")
    assert predictions.read_predictions(path, 0, 2).slice.tolist() == [2**32]
    path.write_text(f"study,slice,fold,label,p0,p1\na,{2**70},0,1,0.5,0.5\n")
    with pytest.raises(ValueError, match=r"predictions\.csv: "):
        predictions.read_predictions(path, 0, 2)
