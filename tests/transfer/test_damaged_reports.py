"""A report.json that was damaged or made up ends what reads it in one line, and leaves nothing behind."""

import copy
import io
import json
import shutil
import tarfile

import numpy as np
import pytest

from cac_hpc.report import aggregation, terminal
from cac_hpc.results.serialization import Damaged
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.settings.report_command import ReportOptions
from cac_hpc.transfer import archive, retrieval, selection
from tests.support.reports import compare, make_run
from tests.support.runs import job_here

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two reported runs of the same patients."""
    made = []
    for name, shift in (("a", 1), ("b", 2)):
        folder = tmp_path_factory.mktemp(name)
        predicted = {(f"{n:02d}", n % 6): [(n + shift * (n % 4 == 0)) % 6] * 2 for n in range(24)}
        made.append(make_run(folder, predicted, report={"draws": 200}))
        assert aggregation.aggregate(made[-1].root)
    return made


@pytest.fixture(scope="module")
def summary(runs):
    return disk.read_json(runs[0].report_json)


def deep(text):
    return (text * 100_000).encode()


DAMAGED = {
    "empty": b"",
    "an object of nothing": b"{}",
    "a list": b"[]",
    "a text": b'"report"',
    "null": b"null",
    "cut": b'{"format_version": 9,',
    "nested lists": deep("["),
    "nested objects": deep('{"a":'),
    "not UTF-8": b'{"format_version": 9, "title": "\xff"}',
    "NaN": b'{"format_version": 9, "folds_found": NaN}',
    "infinite": b'{"format_version": 9, "folds_found": 1e999}',
    "a huge number": b'{"format_version": 9, "folds_found": ' + b"9" * 5000 + b"}",
    "a name twice": b'{"format_version": 9, "format_version": 7}',
    "the version alone": b'{"format_version": 9, "status": "COMPLETE"}',
    "UTF-16": '{"format_version": 9}'.encode("utf-16"),
}


def packed(path, content, stem="r", name=selection.SUMMARY, listed=None):
    """An archive whose list and digests are right."""
    sums = f"{digests.bytes_sha256(content)}  {listed or name}\n".encode()
    with tarfile.open(path, "w") as tar:
        for at, data in ((f"{stem}/SHA256SUMS", sums), (f"{stem}/{name}", content)):
            info = tarfile.TarInfo(at)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("case", [case for case in DAMAGED if case != "an object of nothing"])
def test_an_archive_with_a_summary_that_is_none_is_refused_and_leaves_nothing(case, tmp_path):
    made = packed(tmp_path / "x.tar", DAMAGED[case])
    with pytest.raises(InputError, match=rf"{made}: report/report\.json .*; nothing was unpacked") as refused:
        retrieval.retrieve(ReportOptions(source=str(made), out=str(tmp_path / "out")))
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_job_refuses_it_in_one_line(tmp_path):
    done = job_here("report.py", packed(tmp_path / "x.tar", DAMAGED["nested lists"]), "--out", tmp_path / "out")
    assert (done.returncode, len(done.stderr.splitlines()), done.stdout) == (2, 1, "")


@pytest.mark.parametrize("stem", ["-r", "--out", "-", ".r", "", "a b", "a\x1bb", "é", "r" * 250, ".."])
def test_an_archive_whose_name_means_something_to_programs_is_refused(stem, tmp_path):
    with pytest.raises(InputError, match="does not begin with SHA256SUMS"):
        archive.unpack(packed(tmp_path / "x.tar", b"{}", stem), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["report/tables/-rf.csv", "report/tables/a\u202eb.csv", "report/tables/a\nb.csv"])
def test_a_file_whose_name_means_something_to_programs_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="has the line"):
        archive.unpack(packed(tmp_path / "x.tar", b"{}", name=name), tmp_path / "out")


def test_an_archive_without_a_summary_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"report/report\.json is missing; nothing was|report\.json is missing, so"):
        archive.unpack(packed(tmp_path / "x.tar", b"x", name="report/tables/x.csv"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_crafted_headers_of_an_archive_are_refused(tmp_path):
    """Any bytes in the headers end as one InputError, or do no harm."""
    rng, good = np.random.default_rng(3), packed(tmp_path / "x.tar", b'{"format_version": 99}').read_bytes()
    refused = 0
    for number in range(120):
        content = bytearray(good)
        for at in rng.integers(0, 2048, 1 + number % 6):
            content[at] = rng.integers(256)
        for block in (0, 1024):  # with right sums, so that what is between is looked at
            header = content[block : block + 512]
            header[148:156] = b" " * 8
            content[block + 148 : block + 156] = f"{sum(header):06o}\0 ".encode()
        (tmp_path / "y.tar").write_bytes(content)
        try:
            archive.unpack(tmp_path / "y.tar", tmp_path / "out")
        except (InputError, OSError):
            refused += 1
            assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
        shutil.rmtree(tmp_path / "out")
    assert refused > 20


def test_a_size_below_nothing_is_refused(tmp_path):
    content = bytearray(packed(tmp_path / "x.tar", b"{}").read_bytes())
    content[124:136] = b"\xff" * 12  # -1 in base 256
    header = content[:512]
    header[148:156] = b" " * 8
    content[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError):
        archive.unpack(tmp_path / "x.tar", tmp_path / "out")


def places(content, path=()):
    """Every place in plain values, of lists the first and the last item alone."""
    yield path
    if isinstance(content, dict):
        for name in content:
            yield from places(content[name], (*path, name))
    elif isinstance(content, list):
        for at in dict.fromkeys([0, len(content) - 1] if content else []):
            yield from places(content[at], (*path, at))


OTHERS = (None, [], {}, "x", -1, 10**400, 0.5, True, [[]], [{}], {"a": {}})
GONE = object()


def changed(summary, path, value):
    made = copy.deepcopy(summary)
    at = made
    for name in path[:-1]:
        at = at[name]
    if value is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


def test_whatever_is_changed_in_a_summary_it_is_shown_or_refused(summary, tmp_path, capsys):
    rng = np.random.default_rng(5)
    where = [path for path in places(summary) if path and path[0] not in ("settings", "training", "examples", "audits")]
    refused, made, path = 0, terminal.parse(summary), tmp_path / "report.json"
    for at in (where[index] for index in rng.permutation(len(where))[:120]):
        other = (GONE, *OTHERS)[rng.integers(1 + len(OTHERS))]
        path.write_text(json.dumps(changed(summary, at, other)), encoding="utf-8")
        try:
            made = terminal.read(path)
        except Damaged:
            refused += 1
    assert refused > 5
    assert terminal.present(made, "here") in (0, 1), "the last that was taken"
    assert capsys.readouterr().out.endswith("here\n")


@pytest.fixture
def copies(runs, tmp_path):
    return [RunPaths(shutil.copytree(run.root, tmp_path / name)) for run, name in zip(runs, "ab", strict=True)]


def test_whatever_is_changed_in_a_summary_it_is_compared_or_refused(summary, copies):
    rng, refused = np.random.default_rng(6), 0
    named = [path for path in places(summary) if path and path[0] not in ("readers", "occlusion", "cohort", "examples")]
    few = [path for path in named if len(path) < 3 or path[0] in ("statistics", "training", "categories")]
    for at in (few[index] for index in rng.permutation(len(few))[:16]):
        other = (GONE, *OTHERS)[rng.integers(1 + len(OTHERS))]
        made = changed(summary, at, other)
        copies[0].report_json.write_text(json.dumps(made), encoding="utf-8")
        try:
            compare(*copies)
        except InputError:
            refused += 1
    assert refused


@pytest.mark.parametrize("case", DAMAGED)
def test_a_run_with_such_a_report_is_refused_by_name(case, copies, tmp_path):
    stored = copies[1].report_json
    stored.write_bytes(DAMAGED[case])
    with pytest.raises(InputError, match=r"b/report/report\.json: .*"):
        compare(*copies)
    if case != "an object of nothing":  # which may be a report of another version
        with pytest.raises(
            InputError, match=rf"{stored}: .*; python jobs/aggregate\.py --run {copies[1].root} makes it"
        ):
            terminal.show(copies[1].root)
        with pytest.raises(WorkError, match=r"report/report\.json: "):
            retrieval.retrieve(ReportOptions(source=str(copies[1].root), out=str(tmp_path / "out")))
        assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("content", [b"", b"study,slice\n", b"\xff\xfe", b"study,slice,fold,label,p0,p1,p2,p3,p4,p5\n"])
def test_predictions_that_are_none_are_refused_by_name(content, copies, summary):
    path = copies[0].fold(0).predictions
    path.write_bytes(content)
    made = copy.deepcopy(summary)
    made["training"][0]["predictions_sha256"] = digests.file_sha256(path)
    disk.write_json(copies[0].report_json, made)
    done = job_here("report.py", copies[0].root, copies[1].root)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
