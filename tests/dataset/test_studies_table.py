"""studies.csv and rejected.csv without pandas: the same bytes as with it, and the same studies when they are read."""

import io

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import sealed, studies_table
from cac_hpc.run import escaping
from cac_hpc.settings.model import ModelConfig

VALUES = {
    "text": ["a", "b c", 'quo"te', "com,ma", "two\nlines", "", "-1", "ä"],
    "whole": [0, 1, -7, 2**40],
    "fraction": [0.1, 1.0, 1e-7, 1e22, -0.0, 1 / 3, 123456789.125],
    "mixed": [3, 0.5, 2.0],
    "truth": [True, False],
    "nothing": [None],
}


def rows(seed):
    """Rows as facts of studies are: some values are None, some are not there."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(rng.integers(1, 9)):
        row = {"study": f"{len(made):03d}"}
        for kind, values in VALUES.items():
            full, some, rare = (values[rng.integers(len(values))] for _ in range(3))
            row |= {kind: full, f"some_{kind}": some if rng.random() < 0.7 else None}
            row |= {f"rare_{kind}": rare} if rng.random() < 0.5 else {}
        made.append(row | {"candidates": int(rng.integers(9)) if rng.random() < 0.7 else None})
    return made


@pytest.mark.parametrize("seed", range(20))
def test_a_table_of_studies_is_written_as_pandas_writes_it(seed):
    made, text = rows(seed), io.StringIO()
    studies_table.write(text, made, ["candidates", "heart_row"])
    expected = pd.DataFrame(made).astype({"candidates": "Int64"}).to_csv(index=False, lineterminator="\n")
    assert text.getvalue() == expected


def test_refused_files_are_written_as_pandas_writes_them():
    columns = ["study", "file", "detail"]
    refused = [{"study": "=1+1", "file": 3, "detail": 'a "b", c'}, {"study": "x\ry", "file": 12, "detail": "-5"}]
    for some in (refused, []):
        assert escaping.csv_of_rows(columns, some) == escaping.csv_text(pd.DataFrame(some, columns=columns))


@pytest.mark.parametrize("kind", ["lesions", "slices"])
@pytest.mark.parametrize("found", [[True, False, True], [True, None, False], [None] * 3])
def test_the_same_studies_can_be_used_as_by_pandas(tmp_path, kind, found):
    path, model = tmp_path / "studies.csv", ModelConfig(kind=kind)
    made = [{"study": f"{number:03d}", "has_candidates": value} for number, value in enumerate(found)]
    with path.open("w", newline="") as file:
        studies_table.write(file, made)
    names = [study["study"] for study in studies_table.usable(studies_table.read(path), model)]
    assert names == sealed.usable(sealed.read_table(path), model)["study"].tolist()
