"""The score sheet: what is read, and how every fault is named."""

import pandas as pd
import pytest

from cac_hpc.config import InputError, LabelsConfig
from cac_hpc.labels import categories, check_join, read_labels


def sheet(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return LabelsConfig(sheet=str(path))


def test_an_edge_belongs_to_the_category_that_ends_there():
    scores = [0, 0.5, 10, 10.5, 100, 100.5, 400, 1000, 1000.5]
    assert categories(scores, LabelsConfig.edges).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 5]


def test_study_numbers_stay_text_and_blanks_around_them_go(tmp_path):
    labels = read_labels(sheet(tmp_path, "study ,score\n 007 , 12.5 \n1A,0\n"))
    assert {study: (label.score, label.category, label.patient) for study, label in labels.items()} == {
        "007": (12.5, 2, "007"),
        "1A": (0.0, 0, "1A"),
    }


def test_an_excel_sheet_reads_like_a_csv_sheet(tmp_path):
    table = pd.DataFrame({"id": ["003", "4"], "agatston": ["5", "1200"], "person": ["a", "a"]})
    table.to_excel(tmp_path / "labels.xlsx", index=False)
    cfg = LabelsConfig(
        sheet=str(tmp_path / "labels.xlsx"), study_column="id", score_column="agatston", patient_column="person"
    )
    assert [(label.study, label.category, label.patient) for label in read_labels(cfg).values()] == [
        ("003", 1, "a"),
        ("4", 5, "a"),
    ]


@pytest.mark.parametrize("score", ["", "n/a", ">1000", "1,234", "-1", "nan", "1e3", "12 HU"])
def test_a_score_that_is_not_a_number_is_refused_with_row_and_study(tmp_path, score):
    with pytest.raises(InputError, match=r"labels.csv: row 3: study 'b' has score .*wanted a number"):
        read_labels(sheet(tmp_path, f'study,score\na,1\nb,"{score}"\n'))


def test_all_faulty_rows_are_named_at_once(tmp_path):
    with pytest.raises(InputError, match=r"row 2: .*'x'.*row 3: .*'y'.*row 4: study is empty.*row 6: study 'a' stands"):
        read_labels(sheet(tmp_path, "study,score\na1,x\na2,y\n,7\na,3\na,4\n"))


def test_a_missing_column_is_named_beside_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"found columns \['number', 'score'\], wanted also \['study'\]"):
        read_labels(sheet(tmp_path, "number,score\n1,2\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study,score,score \na,1,2\n", r"columns \['score'\] twice"),
        ("study,score\na,1\nb,2,3,4\n", "cannot be read as a sheet .*every row as long as the header"),
        ("study,score\na,0,\n", "cannot be read as a sheet"),
    ],
)
def test_a_sheet_that_could_be_read_in_two_ways_is_refused_on_one_line(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as error:
        read_labels(sheet(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_broken_excel_file_is_refused(tmp_path):
    path = tmp_path / "labels.xlsx"
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match="cannot be read as a sheet"):
        read_labels(LabelsConfig(sheet=str(path)))


def test_a_missing_sheet_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_labels(LabelsConfig(sheet=str(tmp_path / "nowhere.csv")))


def test_mismatches_are_listed_in_both_directions(tmp_path):
    labels = read_labels(sheet(tmp_path, "study,score\na,1\nb,2\n"))
    with pytest.raises(InputError, match="study 'c' has no row; study 'b' has no folder"):
        check_join(labels, ["a", "c"], "labels.csv", "scans")
