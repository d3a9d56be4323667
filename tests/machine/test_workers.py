"""What breaks a worker stays in it, and a worker never outlives its caller."""

import contextlib
import errno
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from cac_hpc.machine import processes, workers
from cac_hpc.machine.workers import Lost, Worker
from tests.support import risky
from tests.support.runs import REPO
from tests.support.waiting import wait_for

MEMORY = 1 << 29
CALLER = """
import threading
from cac_hpc.machine.workers import Worker
from tests.support import risky

if __name__ == "__main__":
    Worker(risky.work, 600, 1 << 29, threading.Event()).run("hang", lambda pid: print(pid, flush=True))
"""
CALLER_FORKS = """
import threading
from cac_hpc.machine.workers import Worker
from tests.support import risky

if __name__ == "__main__":
    worker = Worker(risky.work, 600, 1 << 29, threading.Event())
    worker.fork()
    worker.run("hang", lambda pid: print(pid, flush=True))
"""
FORKED = """
import sys
import threading
from cac_hpc.machine.workers import Lost, Worker
from tests.support import risky

if __name__ == "__main__":
    worker, heard = Worker(risky.work, 2, 1 << 29, threading.Event(), ["colorsys"]), []
    worker.fork()
    for habit in sys.argv[1:]:
        try:
            worker.run(habit, heard.append)
        except Lost as lost:
            print(lost)
    commands = [open(f"/proc/{pid}/cmdline").read() for pid in heard[-1:]]
    worker.close()
    print(len(set(heard)), "by a fork" if commands == [open("/proc/self/cmdline").read()] else "by a program")
"""
FORKING = """
import os
import signal
from cac_hpc.machine import workers


def wait():
    os.write(1, b"%d\\n" % os.getpid())
    signal.pause()


if __name__ == "__main__":
    os.sched_getaffinity = lambda pid: {0, 1}
    workers.each([wait, wait])
"""


@pytest.fixture
def give_up():
    return threading.Event()


@pytest.fixture
def worker(give_up):
    made = Worker(risky.work, 2, MEMORY, give_up)
    yield made
    made.close()


def gone(pid):
    """Whether a process has ended; a dead one that nobody asked about has, too."""
    try:
        return re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.M) is not None
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("habit", "reason", "detail"),
    [
        ("segfault", "crashed", "ended by SIGSEGV"),
        ("leave", "crashed", "ended with exit code 3"),
        ("raise", "crashed", r"KeyError in risky\.py:\d+"),
        ("hang", "over_time", "no word for 2 s"),
        ("bomb", "over_memory", r"more than 0\.5 GB"),
    ],
)
def test_what_breaks_a_worker_is_told_and_the_next_task_done_by_another(worker, habit, reason, detail):
    heard = []
    with pytest.raises(Lost) as lost:
        worker.run(habit, heard.append)
    assert lost.value.reason == reason
    assert re.fullmatch(detail, lost.value.detail)
    assert worker.run("work", heard.append) == heard[1]
    assert gone(heard[0])
    assert heard[0] != heard[1]


@pytest.mark.timeout(60)
def test_a_worker_imports_nothing_from_the_folder_that_its_caller_is_in(worker, tmp_path, monkeypatch):
    (tmp_path / "socket.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert worker.run("work", lambda pid: None) > 0


@pytest.mark.timeout(60)
def test_a_worker_that_works_is_kept(worker):
    assert len({worker.run("work", lambda pid: None) for _ in range(3)}) == 1


@pytest.mark.timeout(60)
def test_a_worker_has_imported_what_its_work_needs_before_it_is_asked(worker, give_up):
    with pytest.raises(Lost, match="KeyError"):
        worker.run("need", lambda pid: None)
    with contextlib.closing(Worker(risky.work, 2, MEMORY, give_up, ["colorsys"])) as ready:
        ready.run("need", lambda pid: None)


@pytest.mark.timeout(60)
def test_what_the_operating_system_refuses_is_no_fault_of_the_task(worker):
    with pytest.raises(OSError, match="No space left on device"):
        worker.run("disk", lambda pid: None)


@pytest.mark.timeout(60)
def test_a_worker_that_died_between_two_tasks_is_told(worker):
    pid = worker.run("work", lambda pid: None)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid), 10, "the worker's end")
    with pytest.raises(Lost, match="crashed: ended by SIGKILL"):
        worker.run("work", lambda pid: None)
    assert worker.run("work", lambda pid: None) != pid


@pytest.mark.timeout(60)
def test_a_worker_can_be_started_before_it_is_needed(worker):
    worker.start()
    started = processes.children(os.getpid())
    worker.start()
    assert worker.run("work", lambda pid: None) == started[-1]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("habits", "told"),
    [
        (["work", "need", "work"], "1 by a fork"),
        (["segfault", "work"], "crashed: ended by SIGSEGV\n2 by a program"),
        (["leave", "work"], "crashed: ended with exit code 3\n2 by a program"),
        (["hang", "work"], "over_time: no word for 2 s\n2 by a program"),
        (["bomb", "work"], "over_memory: more than 0.5 GB\n2 by a program"),
    ],
)
def test_a_fork_has_what_it_needs_and_after_a_loss_a_program_goes_on(tmp_path, habits, told):
    (script := tmp_path / "caller.py").write_text(FORKED, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(REPO)}
    ran = subprocess.run([sys.executable, script, *habits], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == told


@pytest.mark.timeout(60)
def test_where_another_thread_is_no_process_is_forked(worker):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(worker.fork).result()
        pid = worker.run("work", lambda pid: None)
        assert Path(f"/proc/{pid}/cmdline").read_text() != Path("/proc/self/cmdline").read_text()


@pytest.mark.timeout(60)
def test_a_worker_that_died_when_all_give_up_is_no_loss(worker, give_up):
    pid = worker.run("work", lambda pid: None)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gone(pid), 10, "the worker's end")
    give_up.set()
    with pytest.raises(CancelledError):
        worker.run("work", lambda pid: None)


@pytest.mark.timeout(60)
def test_who_waits_for_others_does_something_meanwhile(give_up):
    done = threading.Event()
    workers.share(lambda: done.wait(10) or pytest.fail("nothing was done meanwhile"), 2, give_up, done.set)
    assert done.is_set()


@pytest.mark.timeout(60)
def test_ctrl_c_is_not_for_the_worker(worker):
    pid = worker.run("work", lambda pid: None)
    os.kill(pid, signal.SIGINT)
    assert worker.run("work", lambda pid: None) == pid


@pytest.mark.timeout(60)
def test_who_waits_can_be_told_to_give_up(worker, give_up):
    heard = []

    def hear(pid):
        heard.append(pid)
        give_up.set()

    with pytest.raises(CancelledError):
        worker.run("hang", hear)
    assert gone(heard[0])


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("program", "end"),
    [
        (CALLER, signal.SIGKILL), (CALLER, signal.SIGTERM), (CALLER, signal.SIGINT),
        (CALLER_FORKS, signal.SIGKILL), (CALLER_FORKS, signal.SIGTERM), (CALLER_FORKS, signal.SIGINT),
        (FORKING, signal.SIGKILL), (FORKING, signal.SIGTERM),
    ],
)  # fmt: skip
def test_a_worker_dies_with_its_caller(tmp_path, program, end):
    script = tmp_path / "caller.py"
    script.write_text(program, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(REPO)}
    with subprocess.Popen(
        [sys.executable, script], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as caller:
        pid = int(caller.stdout.readline())
        assert not gone(pid)
        caller.send_signal(end)
    wait_for(lambda: gone(pid), 10, "the worker's end")


# independent pieces of work


def _note(folder, number):
    (folder / str(number)).write_text(str(os.getpid()))


@pytest.mark.parametrize("cpus", [1, 2])
def test_every_piece_is_done_once_by_as_many_processes_as_there_are_cpus(tmp_path, monkeypatch, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    workers.each([partial(_note, tmp_path, number) for number in range(20)])
    who = {path.read_text() for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 20
    assert (str(os.getpid()) in who) == (cpus == 1)
    assert len(who) <= cpus


def _killed_elsewhere(folder, number, caller):
    if number == 3 and os.getpid() != caller:
        os.kill(os.getpid(), signal.SIGKILL)
    _note(folder, number)


def test_where_a_fork_is_killed_every_piece_is_done_by_the_caller(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    workers.each([partial(_killed_elsewhere, tmp_path, number, os.getpid()) for number in range(6)])
    assert {path.read_text() for path in tmp_path.iterdir()} == {str(os.getpid())}
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("cpus", [1, 2])
def test_what_a_piece_raises_is_raised(tmp_path, monkeypatch, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    with pytest.raises(FileNotFoundError, match="missing"):
        workers.each([partial(_note, tmp_path / "missing", number) for number in range(3)])


def _note_after(folder, number, awaited):
    wait_for(awaited.exists, 20, "the caller's file")
    _note(folder, number)


def test_pieces_are_done_while_the_caller_does_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    with workers.meanwhile([partial(_note_after, tmp_path, 0, tmp_path / "caller"), partial(_note, tmp_path, 1)], 1):
        (tmp_path / "caller").touch()
        wait_for((tmp_path / "1").exists, 20, "the second piece")
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() != str(os.getpid())


def test_with_one_cpu_they_are_done_by_the_caller_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    with workers.meanwhile([partial(_note, tmp_path, 0)], 1):
        assert not (tmp_path / "0").exists()
    assert (tmp_path / "0").read_text() == str(os.getpid())


def test_where_the_caller_fails_its_forks_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    forks = []
    start = workers._forks
    monkeypatch.setattr(workers, "_forks", lambda *given: forks.extend(start(*given)) or forks)
    with pytest.raises(KeyError), workers.meanwhile([signal.pause], 1):
        raise KeyError
    assert [fork.exitcode for fork in forks] == [-signal.SIGKILL]


def test_ctrl_c_is_not_for_forks(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})

    caller = os.getpid()

    def interrupted():
        if os.getpid() != caller:
            os.kill(os.getpid(), signal.SIGINT)
        _note(tmp_path, 0)

    workers.each([interrupted])
    assert (tmp_path / "0").read_text() != str(os.getpid())


def test_more_processes_than_the_machine_admits_are_done_without(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})

    def refused(process):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", refused)
    workers.each([partial(_note, tmp_path, number) for number in range(2)])
    assert {path.read_text() for path in tmp_path.iterdir()} == {str(os.getpid())}


# work begun ahead of the need for its result


def _who_after(awaited):
    wait_for(awaited.exists, 20, "the caller's file")
    return os.getpid()


def test_work_begun_ahead_is_done_while_the_caller_does_something_else(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    with workers.ahead(partial(_who_after, tmp_path / "caller")) as result:
        (tmp_path / "caller").touch()
        assert result() != os.getpid()


def test_with_one_cpu_it_is_done_by_the_caller_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    with workers.ahead(partial(_who_after, tmp_path / "caller")) as result:
        (tmp_path / "caller").touch()
        assert result() == os.getpid()


@pytest.fixture
def begun(monkeypatch):
    """The forks that are started, and the end of the pipe that each result comes from."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    forks, ends, start, pipe = [], [], workers._forks, workers.Pipe

    def noted(duplex):
        ours, theirs = pipe(duplex)
        ends.append(ours)
        return ours, theirs

    monkeypatch.setattr(workers, "Pipe", noted)
    monkeypatch.setattr(workers, "_forks", lambda *given: forks.extend(start(*given)) or forks)
    return forks, ends


def test_where_its_fork_is_killed_the_caller_does_it_however_much_was_sent(begun):
    forks, ends = begun
    with workers.ahead(lambda: [os.getpid()] * 1_000_000) as result:  # more than a pipe holds
        assert ends[0].poll(20)
        forks[0].kill()
        assert set(result()) == {os.getpid()}


@pytest.mark.parametrize("cpus", [1, 2])
def test_what_it_raises_is_raised_where_the_result_is_asked_for(tmp_path, monkeypatch, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)))
    with workers.ahead((tmp_path / "missing").read_bytes) as result, pytest.raises(FileNotFoundError, match="missing"):
        result()


def test_a_fork_that_nobody_asks_ends_with_its_caller_s_part(begun):
    forks, _ = begun
    with pytest.raises(KeyError), workers.ahead(signal.pause):
        raise KeyError
    assert [fork.exitcode for fork in forks] == [-signal.SIGKILL]
