"""What squeue and sacct print is read, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cac_hpc.cluster import queue_records
from cac_hpc.settings import slurm_notation
from tests.support.standins import HEADER, accounted, queued

ANY = st.text(st.characters(exclude_categories=["Cs"]))
SLURMISH = st.text(st.sampled_from("0123456789_[]-,:%+|. \nABCDKMGTn")) | ANY


@pytest.mark.parametrize(
    ("code", "number"),
    [("0:0", None), ("1:0", None), ("2:0", None), ("75:0", None), ("128:0", None), ("129:0", 1), ("130:0", 2),
     ("192:0", 64), ("193:0", None), ("255:0", None), ("0:34", 34), ("FAILED 0:9", 9), ("", None), ("?", None),
     ("9", None), ("0:999999", None)],
)  # fmt: skip
def test_signals_of_exit_codes(code, number):
    assert queue_records.ending_signal(code) == number


@pytest.mark.parametrize(
    "case",
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12+1", ["12"]),
        ("12_[2-4%56]", ["12_2", "12_3", "12_4"]),
        ("12_[0,4-8:2,9]", ["12_0", "12_4", "12_6", "12_8", "12_9"]),
        ("12_[0-1,...]", ["12_0", "12_1", "12_*"]),
        ("12_[0-1,5", ["12_0", "12_1", "12_5", "12_*"]),
        ("12_[0-999999999]", ["12_*"]),
        ("12_[7-3]", ["12_*"]),
        ("slurm_load_jobs error", []),
        ("", []),
    ],
)
def test_ids_stand_for_jobs(case):
    assert queue_records.job_ids(case[0]) == case[1]


def test_a_task_of_a_range_that_was_cut_short_is_in_the_queue():
    listing = queue_records.read_queue(queued("PENDING", job="77_[3-5,...]"))
    assert listing.find("77_4").state == listing.find("77_9").state == "PENDING"
    assert listing.find("78") is None


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 20), st.none() | st.integers(1, 999))
def test_pending_ranges_are_read_as_python_counts(first, length, step, limit):
    text = f"7_[{first}-{first + length}:{step}" + ("" if limit is None else f"%{limit}") + "]"
    assert queue_records.job_ids(text) == [f"7_{index}" for index in range(first, first + length + 1, step)]


@given(SLURMISH)
def test_no_text_breaks_the_parsers(text):
    queue_records.job_ids(text)
    slurm_notation.num_bytes(text)
    queue_records.read_queue(text)
    queue_records.read_accounts(text)
    accounts = queue_records.read_accounts(f"{HEADER}\n{text}\n{accounted('FAILED', job='9_1')}")
    assert accounts["9_1"][-1].state == "FAILED"
    listing = queue_records.read_queue(f"{text}\n{queued('RUNNING', job='9_1')}")
    assert listing.find("9_1").state == "RUNNING"


@given(st.permutations(queue_records.ACCOUNT_FIELDS[:-1]), st.lists(st.sampled_from(["Foo", "Bar"]), max_size=2))
def test_columns_are_found_wherever_they_are(fields, unknown):
    columns = [*unknown, *fields, "JobName"]
    values = {"JobID": "9_1", "State": "TIMEOUT", "ReqMem": "4Gn", "JobName": "a|b"}
    text = "|".join(columns) + "\n" + "|".join(values.get(name, "") for name in columns)
    found = queue_records.read_accounts(text)["9_1"][0]
    assert (found.state, found.asked_bytes, found.name) == ("TIMEOUT", 4 * 1024**3, "a|b")
