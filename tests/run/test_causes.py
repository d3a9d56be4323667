"""Causes: every sentence and command in golden/causes.txt, what may leave the run, and ledgers from before."""

import dataclasses
import difflib
import errno
import json
import re
from pathlib import Path

import pytest

from cac_hpc.report import aggregation, publishing
from cac_hpc.run import causes, disk, ledger, task_states
from cac_hpc.run.cause_sentences import SENTENCES
from cac_hpc.run.causes import Cause
from cac_hpc.settings.errors import InputError
from tests.support.reports import make_run, report_of
from tests.support.runs import job_here
from tests.support.standins import bare_run, finish

GOLDEN = Path(__file__).parent / "golden" / "causes.txt"
ROOT = Path("/runs/jdoe's run")
OWN = "jdoe gpu17 4711 hospital /home secret"  # what no shared sentence may hold
FIELDS = {  # a value of every field
    "stage": "folds", "task": 3, "job": "77_3", "node": "gpu17.hospital.org", "rank": 1, "process": 4711,
    "program": "torchrun", "place": "epoch 2 step 7 of 19 (training)", "signal": "SIGTERM", "exit_code": -9,
    "kind": "OSError", "errno": errno.EACCES, "line": "shards.py:33", "device": "NVIDIA H200",
    "file": "/home/jdoe/secret/labels.csv", "user": "jdoe", "epoch": 2, "step": 7, "start": 1, "count": 2,
    "value": "nan", "seconds": 30.4, "elapsed": "00:20:00", "limit_bytes": 2 * 1024**3, "peak_bytes": 1.907 * 1024**3,
    "studies": "jdoe-1, jdoe-2", "advice": "lower train.learning_rate from 0.001", "words": "WORDS",
    "slurm": "0:9 gpu17",
    "detail": "'/home/jdoe/secret project/x.h5' on gpu17.hospital.org: no",
}  # fmt: skip


def examples(code):
    """A cause with every field, and one with as few as there may be."""
    template = SENTENCES[code]
    always = re.sub(r"\[[^]]*\]", "", template.replace("[{after}|saved]", "{after}"))
    given = FIELDS | {"errno": FIELDS["errno"] if code in ("os_error", "disk_full") else None}
    after = Cause("rank_died", node=FIELDS["node"], rank=1, process=4711, place="epoch 1 step 2 (reading)")
    yield Cause(code, **given, after=after if "{after}" in template else None)
    if always != template:
        wanted = {name: given[name] for name in given if f"{{{name}}}" in always}
        some = wanted | {"errno": given["errno"], "stage": "pack", "exit_code": 3, "rank": 1}
        some |= {name: given[name] for name in ("kind", "line")}
        yield Cause(code, **some, after=after if "{after}" in always else None)


def rendered():
    lines = [
        "Every cause, with all its fields and with few: the sentence, what of it may leave the run, the command.",
        "",
    ]
    for code in SENTENCES:
        lines += [code]
        for cause in examples(code):
            said, shared = causes.sentence(cause), causes.sentence(causes.shareable(cause, ROOT))
            lines += [f"    {said}", *([f"    shared: {shared}"] if shared != said else [])]
            helps = causes.command(cause, ROOT)
            lines += [f"    $ {helps}"] if helps != causes.command(Cause("text"), ROOT) else []
    return "\n".join(lines) + "\n"


def test_the_sentences_are_those_of_the_golden_file():
    diff = difflib.unified_diff(GOLDEN.read_text(encoding="utf-8").splitlines(), rendered().splitlines(), lineterm="")
    assert not list(diff), "python -m tests.run.test_causes writes the file again; read what has changed"


@pytest.mark.parametrize("code", SENTENCES)
def test_nothing_identifying_is_in_what_leaves_the_run(code):
    for cause in examples(code):
        shared = causes.shareable(cause, ROOT)
        for text in (str(shared), json.dumps(causes.to_json(shared))):
            assert [word for word in OWN.split() if word in text] == [], text
            assert "?" not in text.replace("is the network up?", "").replace("exit code ?", "")


def test_every_code_that_the_package_names_has_a_sentence_and_the_reverse():
    package = Path(causes.__file__).parents[1]
    named = set()
    for path in package.rglob("*.py"):
        named |= set(re.findall(r'(?:Cause\(\s*|code=|code = )"(\w+)"', path.read_text(encoding="utf-8")))
    files = ("run/cause_sentences.py", "run/causes.py", "cluster/verdicts.py")
    text = "".join((package / name).read_text("utf-8") for name in files)
    assert named - {"x"} <= set(SENTENCES)
    assert {code for code in set(SENTENCES) - named if text.count(f'"{code}"') < 2} == set()


def test_every_field_has_an_example_and_leaves_only_where_it_is_said():
    assert set(FIELDS) | {"code", "help", "after"} == {field.name for field in dataclasses.fields(Cause)}
    shared = causes.shareable(Cause("text", **FIELDS, help="rm /home/jdoe"), ROOT)
    assert {name for name in FIELDS if getattr(shared, name) == FIELDS[name]} == set(causes.SHARED) - {"code"}
    assert (shared.node, shared.user, shared.file) == ("a node", "a user", "a file")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/home/Jane Doe/labels.csv", "a file"),
        ("~jdoe", "a file"),
        (f"{ROOT}/folds/fold-1/model.pt", "folds/fold-1/model.pt"),
        (str(ROOT), "a file"),
        ("/data/jdoe/packed/shards/shard-00003.h5", "shard-00003.h5"),
        ("/data/jdoe/packed/rejected.csv", "rejected.csv"),
    ],
)
def test_of_a_file_that_the_system_refuses_only_a_name_of_ours_leaves(file, said):
    cause = causes.of(PermissionError(errno.EACCES, "no access to /home/jdoe", file))
    shared = causes.sentence(causes.shareable(cause, ROOT))
    assert shared == f"PermissionError: [Errno 13] Permission denied: '{said}' (nowhere)"


def raised(error):
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_of_an_exception_that_is_not_ours_the_class_and_the_line_leave():
    cause = causes.of(raised(KeyError("/home/jdoe")), rank=1, node="gpu17")
    assert causes.sentence(cause).startswith("rank 1 on gpu17: KeyError: '/home/jdoe' (test_causes.py:")
    assert causes.sentence(causes.shareable(cause, ROOT)).startswith("rank 1 on a node: KeyError (test_causes.py:")
    assert causes.of(raised(InputError("/home/jdoe: no"))).detail == "/home/jdoe: no"


def test_an_error_carries_its_cause_and_what_helps():
    error = InputError(causes.error("shard-00001.h5: damaged", f"{causes.PACK} --shard 1"))
    assert str(error) == "shard-00001.h5: damaged; to go on: python jobs/pack.py --run RUN --shard 1"
    cause = causes.of(raised(error))
    assert causes.sentence(cause) == "shard-00001.h5: damaged"
    assert causes.command(cause, Path("/a RUN/b")) == "python jobs/pack.py --run '/a RUN/b' --shard 1"
    full = causes.of(OSError(errno.ENOSPC, disk.no_space(errno.ENOSPC), "/home/jdoe/x"))
    assert "make room there" in causes.sentence(causes.shareable(full, ROOT))


def test_words_in_a_text_are_no_places_to_fill_in():
    cause = Cause("exception", kind="ValueError", line="x.py:1", detail="{node} RUN [job]", node="n1")
    assert causes.sentence(cause) == "ValueError: {node} RUN [job] (x.py:1)"


def nested(depth):
    return {"code": "fruitless", "after": nested(depth - 1)} if depth else {"code": "rank_lost"}


def test_causes_come_back_from_the_ledger_as_they_were_and_damaged_ones_are_said_to_be(tmp_path):
    path = tmp_path / "ledger.jsonl"
    cause = next(examples("fruitless"))
    ledger.record(path, "folds", 3, "ended", cause, ok=False)
    for wrong in ({"code": 3}, {"code": "rank_died", "rank": "one"}, {"code": "rank_died", "rank": True}, [], "text",
                  {"code": "fruitless", "after": {"code": None}}, {"code": "silent", "seconds": float("inf")},
                  {"code": "slurm_out_of_memory", "limit_bytes": 10**400}, nested(40)):  # fmt: skip
        line = {"time": "2026-01-01T00:00:00+00:00", "stage": "folds", "task": 3, "event": "ended", "cause": wrong}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    ledger.append(path, stage="folds", task=3, event="ended", cause={"code": "of_tomorrow", "colour": "red"})
    first, *unreadable, last = ledger.read(path)
    assert [event["cause"].detail for event in unreadable] == ["its cause cannot be read"] * 9
    assert first["cause"] == cause
    assert str(last["cause"]) == "cause of_tomorrow"
    assert causes.sentence(causes.shareable(causes.from_json(nested(5)), ROOT)).endswith("ended so: a rank was lost")
    strange = causes.from_json({"code": "os_error", "kind": "OSError", "line": "x.py:1", "errno": 2**50})
    assert causes.sentence(causes.shareable(strange, ROOT)) == f"OSError: [Errno {2**50}] refused (x.py:1)"


def test_a_ledger_from_before_the_codes_is_read_shown_and_goes_on(tmp_path):
    run = bare_run(tmp_path / "run")
    ledger.append(run.ledger, stage="folds", task=0, event="started", job=None, node="n1", attempt=1, pid=1)
    why = "rank 1 on n1 died in epoch 2 step 3 (training): its process 17 is gone"
    ledger.append(run.ledger, stage="folds", task=0, event="ended", ok=False, reason=why, attempt=1, lost=True)
    (state, _) = task_states.survey(run)
    assert (state.state, state.reason, state.cause.code) == ("failed", why, "text")
    assert state.cause.may_be_memory
    assert (
        str(causes.shareable(publishing.cause_of_fold(task_states.survey(run), 0), run.root))
        == "the run's ledger says why"
    )
    finish(run)
    ledger.record(run.ledger, "folds", 0, "started", node="n1", pid=1, attempt=2)
    ledger.record(run.ledger, "folds", 0, "ended", ok=True, attempt=2)
    assert task_states.survey(run)[0].state == "done"


def test_a_run_whose_ledger_is_from_before_the_codes_is_resumed(prepared_run):
    path = prepared_run / "ledger.jsonl"
    ledger.append(path, stage="pack", task=0, event="started", job=None, node="n1", attempt=0, pid=1)
    ledger.append(path, stage="pack", task=0, event="ended", ok=False, reason="rank 0: a bad day", attempt=0)
    assert f"pack 0: rank 0: a bad day\n    python jobs/launch_cv.py --resume {prepared_run}\n" in (
        job_here("status.py", prepared_run).stdout
    )
    resumed = job_here("launch_cv.py", "--resume", prepared_run, "--dry_run")
    assert (resumed.returncode, "pack: 2 tasks" in resumed.stdout) == (0, True), resumed.stderr


def test_the_report_names_no_place_that_a_cause_names(tmp_path):
    run = make_run(tmp_path, {(name, index): [index] * 2 for index, name in enumerate("abc")}, num_folds=3)
    run.fold(1).predictions.unlink()
    ledger.record(run.ledger, "folds", 1, "started", node="alpha")
    with pytest.raises(FileNotFoundError), ledger.stage(run.ledger, "folds", 1, rank=0):
        Path("/home/jdoe/x y/z.h5").stat()
    assert not aggregation.aggregate(run.root)
    missing, *_ = report_of(run)["missing_folds"]
    wanted = "rank 0 on a node: FileNotFoundError: [Errno 2] No such file or directory: 'a file' (pathlib.py:"
    assert missing["reason"].startswith(wanted)


if __name__ == "__main__":
    GOLDEN.write_text(rendered(), encoding="utf-8")


@pytest.mark.parametrize("given", [{}, [], {"code": 5}, {"code": "exception", "kind": "E", "line": 12}, "text"])
def test_an_end_counts_whatever_its_cause_is(tmp_path, given):
    path = tmp_path / "ledger.jsonl"
    ledger.record(path, "folds", 0, "ended", ok=False)
    event = json.loads(path.read_text(encoding="utf-8")) | {"cause": given}
    path.write_text(json.dumps(event) + "\n", encoding="utf-8")
    (found,) = ledger.read(path)
    assert (found["ok"], found["cause"].detail) == (False, "its cause cannot be read")


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize("error", [OSError(5, 5), OSError(5, ValueError("x")), Mute(), OSError(2, "x", "n" * 9000)])
def test_an_exception_is_recorded_and_raised_whatever_it_holds(tmp_path, error):
    with pytest.raises(type(error)), ledger.stage(tmp_path / "ledger.jsonl", "folds", 1):
        raise error
    ended = ledger.read(tmp_path / "ledger.jsonl")[-1]
    assert (ended["event"], ended["ok"]) == ("ended", False)
    assert len(causes.sentence(ended["cause"])) < 1200
