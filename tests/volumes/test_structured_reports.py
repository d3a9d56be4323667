"""Structured reports: the Agatston scores that they hold, and that nothing is made of a damaged or unclear one."""

import random
from collections import Counter

import pydicom
import pytest
from pydicom.dataset import Dataset

from cac_hpc.volumes import structured_reports
from cac_hpc.volumes.structured_reports import ReportError, read
from tests.support import poison, sr_files
from tests.support.damage import MUTATIONS
from tests.support.sr_files import (
    AGATSTON,
    LESION,
    METHOD,
    SCORE,
    SCT,
    SITE,
    SRT,
    VOLUME,
    coded,
    document,
    node,
    number,
    tree,
)

VESSELS = {"LM": 10.0, "LAD": 200.5, "LCX": 0.0, "RCA": 101.2}
TOTAL = 311.7
PERSON = {"PatientName": "Doe^J", "StudyID": "", "StudyTime": "", "PatientBirthDate": "", "PatientSex": "",
          "AccessionNumber": "", "ReferringPhysicianName": "", "StudyInstanceUID": "1.2.3"}  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The same scores as two programs write them."""
    folder = tmp_path_factory.mktemp("reports")
    poison.write_chest(folder / "study", num_slices=2, **PERSON)
    found = {"workstation": document(folder / "workstation.dcm", *tree(TOTAL, VESSELS))}
    if pytest.importorskip("highdicom", reason="no highdicom here: pip install cac_hpc[dicom]"):
        images = sr_files.headers(folder / "study")
        found["TID 1500"] = sr_files.measured(folder / "tid1500.dcm", images, TOTAL, VESSELS, is_verified=False)
    return found


@pytest.mark.parametrize("kind", ["workstation", "TID 1500"])
def test_total_and_vessels_are_read_whoever_wrote_them(reports, kind):
    found = read(reports[kind])
    assert (found.score, found.vessels) == (TOTAL, VESSELS)
    assert (found.complete, found.own, found.study) == (True, False, "1.2.3")
    assert found.verified == (kind == "workstation")
    assert structured_reports.is_report(reports[kind])


def test_other_objects_are_no_reports(tmp_path, reports):
    poison.write_chest(tmp_path, num_slices=1)
    dose = document(tmp_path / "dose", *tree(1), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67")
    assert not any(structured_reports.is_report(path) for path in [*tmp_path.glob("*.dcm"), dose, tmp_path])
    other = document(tmp_path / "other", number(("112191", "DCM"), "3"))
    assert structured_reports.is_report(other)
    assert read(other) is None


def total(value="12", *children, unit="1", name=SCORE, exact=None):
    return number(name, value, coded(METHOD, AGATSTON), *children, unit=unit, exact=exact)


def of(vessel, value, name=LESION):
    return number(name, value, coded(SITE, (SCT.get(vessel, vessel), "SCT")), coded(METHOD, AGATSTON))


GROUP, AORTA, DIAGONAL = ("125007", "DCM"), "15825003", "91750005"
READ = {  # what a report holds, and its score and vessels
    "text without method": ([number(LESION, "12.5")], 12.5, {}),
    "total of the coronary arteries": ([of("total", "7", SCORE)], 7, {}),
    "score by the UMLS": ([number(("C2825178", "UMLS"), "3", unit="{score}")], 3, {}),
    "method as the concept": ([number(AGATSTON, "44")], 44, {}),
    "an artery as the concept": (
        [total("5"), number((SCT["LAD"], "SCT"), "5", coded(METHOD, AGATSTON))], 5, {"LAD": 5}),
    "artery as a container": (
        [total("5"), node("CONTAINER", (SRT["RCA"], "SNM3"), number(LESION, "5"))], 5, {"RCA": 5}),
    "sum, without the left main": (
        [of("LAD", "1.1"), of("LCX", "2.2"), of("RCA", "0")], 3.3, {"LAD": 1.1, "LCX": 2.2, "RCA": 0}),
    "rounded numbers": ([total("312"), of("LAD", "201"), of("RCA", "111.9")], 312, {"LAD": 201, "RCA": 111.9}),
    "volume beside it": ([total("12"), number(LESION, "99", coded(METHOD, VOLUME), unit="1")], 12, {}),
    "mm3 and percentile beside it": (
        [total("12"), number(LESION, "99", unit="mm3"), number(LESION, "80", unit="%")], 12, {}),
    "with a method before without": ([number(LESION, "99"), total("12")], 12, {}),
    "the same twice": ([total("12"), node("CONTAINER", ("1", "L"), total("12"))], 12, {}),
    "aorta beside it": ([total("12"), of(AORTA, "500")], 12, {}),
    "a diagonal branch beside it": ([total("12"), of("LAD", "5"), of(DIAGONAL, "7")], 12, {"LAD": 5}),
    "the heart as the site": ([number(SCORE, "12", coded(SITE, ("80891009", "SCT")))], 12, {}),
    "exact beside the text": ([total("12", exact=12.0)], 12, {}),
    "with an exponent": ([total("1.2e1")], 12, {}),
    "lesions with regions": (
        [total("12"), node("CONTAINER", GROUP, node("SCOORD3D", ("111030", "DCM")), of("total", "9")),
         node("CONTAINER", GROUP, node("IMAGE", ("121191", "DCM")), of("total", "3"))], 12, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_score_is_read_by_its_code_its_method_and_its_site(tmp_path, name):
    content, score, vessels = READ[name]
    found = read(document(tmp_path / "SR", *content))
    assert (found.score, found.vessels) == (pytest.approx(score), vessels)


REFUSED = {
    "two totals": ([total("12"), total("13")], "several scores of total: 12, 13; wanted one"),
    "two of one artery": ([total("9"), of("LAD", "4"), of("LAD", "5")], "several scores of LAD: 4, 5"),
    "another sum": ([total("12"), of("LAD", "5"), of("RCA", "9.5")], r"total of 12, but LAD \+ RCA are 14.5"),
    "arteries missing": ([of("LAD", "5")], "scores of LAD and no total, wanted a total, or LAD, LCX, RCA"),
    "the aorta alone": ([of(AORTA, "5")], "scores of other parts of the body and no total"),
    "the heart's calcium": (
        [number(LESION, "5", coded(SITE, ("80891009", "SCT")))],
        "scores of other parts of the body",
    ),
    "a unit": ([total("12", unit="mm3")], "an Agatston score with a unit"),
    "no unit": ([total("12", unit=None)], "a score without a unit"),
    "two values": ([total("12", exact=13.0)], "stands in it with two values"),
    "below zero": ([total("-1")], "no number of 0 or more"),
    "a list": ([total("1\\2")], "no number of 0 or more"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_understood_in_two_ways_is_refused(tmp_path, name):
    content, said = REFUSED[name]
    with pytest.raises(ReportError, match=said):
        read(document(tmp_path / "SR", *content))


def test_a_score_under_a_code_of_its_maker_is_refused_with_the_code(tmp_path):
    item = number(("AGATS.TOTAL", "99MAKER"), "12")
    item.ConceptNameCodeSequence[0].CodeMeaning = "Total Agatston score"
    with pytest.raises(ReportError, match=r"has a score under code AGATS.TOTAL of 99MAKER, which is not known here"):
        read(document(tmp_path / "SR", node("CONTAINER", GROUP, item)))
    item.ConceptNameCodeSequence[0].CodeValue = "Doe, Jane"
    with pytest.raises(ReportError, match="under code of its maker, which"):
        read(document(tmp_path / "SR", item))
    assert read(document(tmp_path / "SR", item, total())).score == 12


def test_what_could_not_be_measured_is_no_score(tmp_path):
    assert read(document(tmp_path / "SR", total(""))) is None


@pytest.mark.parametrize(
    ("attributes", "complete", "verified", "own"),
    [
        ({}, True, True, False),
        ({"CompletionFlag": "PARTIAL"}, False, True, False),
        ({"CompletionFlag": None}, False, True, False),
        ({"PreliminaryFlag": "PRELIMINARY"}, False, True, False),
        ({"PreliminaryFlag": "FINAL"}, True, True, False),
        ({"VerificationFlag": "UNVERIFIED"}, True, False, False),
        ({"Manufacturer": "cac_hpc"}, True, True, True),
    ],
)
def test_how_far_a_report_can_be_relied_on_is_said(tmp_path, attributes, complete, verified, own):
    found = read(document(tmp_path / "SR", total(), **attributes))
    assert (found.complete, found.verified, found.own) == (complete, verified, own)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (("20200102", "101500"), ("20200102", "101500.5")),
        (("20200102", "101500.5"), ("20200102", "101501")),
        (("20191231", "235959"), ("20200101", "00")),
        (("2020", "1015"), ("20200101", "1015")),
        (("", ""), ("20200101", "1015")),
    ],
)
def test_the_time_of_a_report_can_be_compared(tmp_path, earlier, later):
    first, last = (
        read(document(tmp_path / "SR", total(), ContentDate=date, ContentTime=time)).made
        for date, time in (earlier, later)
    )
    assert first < last


def elements(ds):
    """All data sets below one, and itself."""
    yield ds
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def other_elements(rng: random.Random, path):
    """The report with an element or an item that is taken away, emptied, exchanged or there twice."""
    ds = pydicom.dcmread(path)
    sets = [one for one in elements(ds) if len(one)]
    one = rng.choice(sets)
    element = one[rng.choice(list(one.keys()))]
    change = rng.randrange(4)
    if change == 0:
        del one[element.tag]
    elif element.VR == "SQ":
        items = [Dataset() if change == 1 else item for item in element.value]
        element.value = [] if change == 2 else [*items, *items[:1]]
    else:
        element.value = None if change == 1 else rng.choice(["", "1", "x" * 17, "LM", "20200101", "mm3", "COMPLETE"])
    return ds


def outcome(path):
    """What is read, or why nothing is."""
    try:
        return read(path), ""
    except ReportError as error:
        return None, str(error)


@pytest.mark.parametrize("kind", ["workstation", "TID 1500"])
def test_of_damaged_reports_each_gives_one_line_or_the_right_score(reports, kind, tmp_path):
    """250 of each kind: bytes, and elements. A digit that changes is seen, as the vessels must add up."""
    rng, outcomes, path = random.Random(20), Counter(), tmp_path / "SR"
    data = reports[kind].read_bytes()
    for index in range(250):
        damaged = bytearray(data)
        if index % 2:
            rng.choice(MUTATIONS)(rng, damaged, rng.randrange(len(damaged)), len(damaged))
            path.write_bytes(damaged)
        else:
            with poison.quiet():
                other_elements(rng, reports[kind]).save_as(path, enforce_file_format=False)
        found, said = outcome(path)
        outcomes["refused" if said else "no report" if found is None else "read"] += 1
        assert "\n" not in said
        assert "Canary" not in said
        assert found is None or found.score == pytest.approx(TOTAL)
    assert min(outcomes["refused"], outcomes["read"]) > 25


def test_a_report_without_end_is_refused_soon(tmp_path):
    deep = total()
    for _ in range(60):
        deep = node("CONTAINER", GROUP, deep)
    with pytest.raises(ReportError, match="more than 50,000 items or 32 levels"):
        read(document(tmp_path / "deep", deep))
    plain = document(tmp_path / "plain", total()).read_bytes()
    content = plain[: plain.index(b"\x40\x00\x30\xa7SQ")]  # without its content
    (tmp_path / "deeper").write_bytes(content + 40 * bytes.fromhex("400030a753510000ffffffff feff00e0ffffffff"))
    with pytest.raises(ReportError, match="nested more than 24 deep"):
        read(tmp_path / "deeper")
    (tmp_path / "cut").write_bytes(plain[:-8])
    with pytest.raises(ReportError, match=r"cannot be read \(the last element is longer than the file\)"):
        read(tmp_path / "cut")
    (tmp_path / "large").write_bytes(plain + bytes(structured_reports.MOST_BYTES))
    with pytest.raises(ReportError, match="larger than 16 MB"):
        read(tmp_path / "large")
