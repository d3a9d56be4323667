"""Published matrices against what their texts claim: the study's own first."""

import json

import pytest

from cac_hpc.evaluation import published
from cac_hpc.settings.errors import InputError
from tests.support.reports import PRINTED
from tests.support.runs import REPO, job, job_here

STUDY = REPO / "configs" / "published" / "nguyen.yaml"


def findings(path):
    return {finding.claim: finding for finding in published.findings(published.read(path))}


def test_the_study_contradicts_its_own_matrix():
    assert (published.read(STUDY).matrix == PRINTED).all()
    found = findings(STUDY)
    assert {claim for claim, finding in found.items() if finding.agrees} == {"n"}
    assert found["errors"].said == "the matrix gives 46"
    assert (found["accuracy"].claimed, found["accuracy"].said) == ("96.5%", "the matrix gives 0.9668")
    assert found["kappa"].said == (
        "no kind of it fits: kappa_plain 0.9598, kappa_linear 0.9671, kappa_quadratic 0.9761"
    )
    assert found["errors and accuracy"].said == "32 errors of 1385 are an accuracy of 0.9769"


def test_the_tool_lists_the_studys_contradictions_and_what_was_not_claimed():
    done = job("check_table.py", STUDY)
    assert done.returncode == 1
    assert "errors = 32: CONTRADICTION, the matrix gives 46" in done.stdout
    assert "over: not claimed, the matrix gives 26" in done.stdout
    assert "under: not claimed, the matrix gives 20" in done.stdout
    assert done.stdout.endswith("7 contradictions\n")


CLAIMS = {"n": "1385", "errors": "46", "over": "26", "under": "20", "accuracy": "96.7 %", "kappa": "0.967"}


@pytest.mark.parametrize("kind", ["json", "yaml", "csv"])
def test_claims_that_the_matrix_gives_agree_and_an_unnamed_kappa_is_told_its_weighting(tmp_path, kind):
    path = tmp_path / f"table.{kind}"
    recall = ["0.984", "1.000", "0.954", "-", "0.987", "0.950"]
    if kind == "csv":
        lines = [",".join(map(str, row)) for row in PRINTED] + [f"{name},{text}" for name, text in CLAIMS.items()]
        path.write_text("\n".join([*lines, "recall," + ",".join(recall)]) + "\n")
    else:
        path.write_text(json.dumps({"matrix": PRINTED.tolist(), "claims": CLAIMS | {"recall": recall}}))
    found = findings(path)
    assert all(finding.agrees for finding in found.values()), found
    assert found["kappa"].said.startswith("it fits kappa_linear (")
    assert [claim for claim in found if claim.startswith("recall")] == [f"recall of {k}" for k in (0, 1, 2, 4, 5)]
    assert job_here("check_table.py", path).returncode == 0


def test_a_matrix_with_predictions_as_rows_is_turned(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(json.dumps({"rows": "predicted", "matrix": PRINTED.T.tolist(), "claims": {"over": "26"}}))
    assert findings(path)["over"].agrees


def test_digits_are_taken_as_printed(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("matrix: [[97, 3], [0, 0]]\nclaims: {accuracy: 0.970, recall_weighted: 0.9701, errors: 3}\n")
    found = findings(path)
    assert (found["accuracy"].agrees, found["recall_weighted"].agrees) == (True, False)
    path.write_text("matrix: [[97, 3], [0, 0]]\nclaims: {accuracy: 1.0, kappa: 0.0}\n")
    assert findings(path)["accuracy"].agrees  # to the digits given
    assert findings(path)["kappa"].agrees


def test_a_claim_of_what_is_undefined_is_a_contradiction(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("matrix: [[5, 0], [0, 0]]\nclaims: {kappa_plain: 1.0}\n")
    finding = findings(path)["kappa_plain"]
    assert (finding.agrees, finding.said) == (False, "the matrix gives nothing, it is undefined")


def test_claims_that_contradict_each_other_are_named(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("matrix: [[8, 2], [1, 9]]\nclaims: {errors: 3, over: 2, under: 2}\n")
    found = findings(path)
    assert not found["errors, over and under"].agrees
    assert found["errors, over and under"].said == "over and under are 4 together"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("claims: {n: 3}", "found no matrix"),
        ("matrix: [[1, 2], [3]]", "must be square"),
        ("matrix: [[1, -2], [3, 4]]", "of whole numbers"),
        ("matrix: [[1.5, 2], [3, 4]]", "of whole numbers"),
        ("matrix: [[0, 0], [0, 0]]", "counts nothing"),
        ("matrix: 5", "must be square"),
        (
            "matrix: [[1, 2], [3, 4]]\nclaim: {n: 10}",
            "found claim, wanted title, level, categories, rows, matrix, claims",
        ),
        ("matrix: [[1, 2], [3, 4]]\nclaims: {acuracy: 0.5}", "claim acuracy is not known, wanted one of accuracy"),
        ("matrix: [[1, 2], [3, 4]]\nclaims: {accuracy: about half}", "found 'about half', wanted a number"),
        ("matrix: [[1, 2], [3, 4]]\nclaims: {recall: [0.3]}", "claim recall has 1 values, wanted 2 values"),
        ("matrix: [[1, 2], [3, 4]]\nclaims: {accuracy: [0.3, 0.4]}", "claim accuracy has 2 values, wanted one value"),
        ("matrix: [[1, 2], [3, 4]]\ncategories: [a]", "found 1 categories, wanted 2"),
        ("matrix: [[1, 2], [3, 4]]\nrows: columns", "rows is 'columns', but must be true or predicted"),
        ("matrix: [[1, 2], [3, 4]", "while parsing"),
        ("- 1", "found no matrix"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, content, said):
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"table\.yaml: ") as caught:
        published.read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_exit_code_2(tmp_path):
    done = job_here("check_table.py", tmp_path / "none.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    assert job_here("check_table.py", tmp_path / "table.csv").returncode == 2
