"""One patient and one study in a folder; what they are called is compared and never written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import acquisition
from tests.support.poison import another, edit, on, other_series, read, slices_of, write_chest


def subject(**values):
    return acquisition.subject(values)


FIRST = {"PatientID": "A1", "PatientName": "Doe^Jane", "PatientBirthDate": "19500102", "PatientSex": "F"}


@pytest.fixture
def chest(tmp_path):
    write_chest(tmp_path / "study", **FIRST, StudyInstanceUID="1.2.3")
    return tmp_path / "study"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientID", "B2"), ("PatientName", "Roe^Richard"), ("PatientBirthDate", "19600203"), ("PatientSex", "M")],
)
def test_scans_of_two_patients_in_one_folder_are_refused_by_the_attribute_that_differs(keyword, value, chest):
    other_series(15, **{**FIRST, keyword: value}, StudyInstanceUID="1.2.3")(chest)
    found = read(chest, several_studies="latest")
    assert found.codes == {"several_patients"}
    details = {refusal.detail for refusal in found.study.refusals}
    assert details == {f"2 values of {keyword}: scans of several patients in one folder"}


def test_whoever_is_in_a_file_that_is_no_slice_of_a_series_counts_too(chest):
    another("scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], PatientID="B2")(chest)
    assert read(chest).reasons.pop("scout") == "localizer"
    assert read(chest).codes == {"localizer", "several_patients"}


def test_a_patient_whose_name_is_spelled_otherwise_is_one(chest):
    other_series(11, **{**FIRST, "PatientName": "DOE^jane^^"}, StudyInstanceUID="1.2.3")(chest)
    assert read(chest).codes == {"other_series"}


@pytest.mark.parametrize(
    "other",
    [
        {"PatientName": "Doe, Jane"}, {"PatientName": "Doe^Jane^^Mrs"}, {"PatientName": "Anonymized"},
        {"PatientSex": "O"}, {"PatientBirthDate": "1950"}, {"PatientID": " 0a1"},
    ],
    ids=str,
)  # fmt: skip
def test_other_ways_to_write_the_same_are_no_second_patient(other):
    acquisition.check_one_patient([subject(**FIRST), subject(**FIRST | other)])


def test_a_name_in_another_character_set_is_no_second_patient():
    names = ["Müller^Jürgen".encode(code).decode("latin-1") for code in ("latin-1", "utf-8")]
    acquisition.check_one_patient([subject(PatientName=name) for name in names])


@given(st.lists(st.sampled_from(["", "A1", " a1 "]), min_size=1), st.lists(st.sampled_from(["", "Doe^J", "DOE^J^"])))
def test_an_attribute_that_is_empty_names_nobody(ids, names):
    found = [subject(PatientID=one) for one in ids] + [subject(PatientName=name) for name in names]
    acquisition.check_one_patient(found)
    with pytest.raises(Refused, match="values of PatientSex"):
        acquisition.check_one_patient([*found, subject(PatientSex="M"), subject(PatientSex="F")])


def second_study(date, uid="1.2.9"):
    return other_series(15, **FIRST, StudyInstanceUID=uid, StudyDate=date)


@pytest.mark.parametrize("date", ["20200102", "20230101", ""])
def test_two_studies_in_one_folder_are_refused(date, chest):
    second_study(date)(chest)
    assert read(chest).codes == {"several_studies"}


def test_two_dates_under_one_uid_are_two_studies(chest):
    second_study("20230101", "1.2.3")(chest)
    assert read(chest).codes == {"several_studies"}


@pytest.mark.parametrize(
    ("rule", "date", "used"),
    [
        ("earliest", "20230101", 12),
        ("latest", "20230101", 15),
        ("earliest", "2019.01.01", 15),
        ("latest", "20190101", 12),
    ],
)
def test_the_rule_takes_a_study_by_its_date(rule, date, used, chest):
    second_study(date)(chest)
    found = read(chest, several_studies=rule)
    assert (len(found.slices), found.codes) == (used, {"other_study"})


@pytest.mark.parametrize("date", ["20200102", "", "soon", "00000000", "99999999"])
def test_where_dates_do_not_tell_which_study_is_meant_all_are_refused(date, chest):
    second_study(date)(chest)
    assert read(chest, several_studies="latest").codes == {"several_studies"}


def test_studies_without_any_identity_are_one(tmp_path):
    write_chest(tmp_path / "study")
    on(slice(None), StudyInstanceUID=None, StudyDate=None, PatientID=None, PatientName=None)(tmp_path / "study")
    edit(slices_of(tmp_path / "study")[3], PatientID="A1", StudyInstanceUID="1.2.3")
    assert read(tmp_path / "study").codes == set()


def test_nothing_of_a_patient_is_in_what_is_said(chest):
    other_series(15, PatientID="B2", PatientName="Roe^Richard", PatientBirthDate="19600203")(chest)
    said = str(read(chest).study.refusals)
    assert not any(value in said for value in ("A1", "B2", "Doe", "Roe", "1950", "1960", "2020", "1.2.3"))
