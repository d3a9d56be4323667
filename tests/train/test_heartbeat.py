"""Which rank is lost, judged from pulses: one case for each kind of loss, and none where nobody is lost."""

import dataclasses
import os

import pytest

from cac_hpc.machine import processes
from cac_hpc.run.paths import FoldPaths
from cac_hpc.train import heartbeat
from cac_hpc.train.fencing import Fence
from cac_hpc.train.heartbeat import Heartbeat, Peer, Pulse, verdict
from tests.support.waiting import wait_for

US = processes.start_time(os.getpid())
OWN = Pulse("g", 0, "a", os.getpid(), US, phase="training", epoch=2, step=7)
FAR = dataclasses.replace(OWN, rank=1, node="b", pid=1, started=0)


def judge(pulse, heard_s=100.0, moved_s=100.0, now_s=100.0, own_moved_s=100.0, patience_s=30.0):
    found = verdict(OWN, own_moved_s, [Peer(1, pulse, heard_s, moved_s)], now_s, patience_s)
    return found and str(found)


def test_nobody_is_lost_as_long_as_pulses_come():
    assert judge(FAR) is None
    assert judge(FAR, heard_s=90) is None
    assert judge(FAR, now_s=500, heard_s=499, moved_s=480, own_moved_s=480) is None
    assert judge(dataclasses.replace(FAR, end="done"), now_s=500) is None
    assert judge(None, heard_s=0) is None


def test_a_silent_rank_is_named_with_its_node_and_where_it_was():
    found = judge(FAR, heard_s=80)
    assert found == (
        "rank 1 on b gave no sign of life for 20 s, last in epoch 2 step 7 (training): "
        "its process 1 is stopped, or its node is lost"
    )


def test_a_rank_whose_process_is_gone_died_and_a_new_process_of_its_number_is_not_it():
    assert judge(dataclasses.replace(FAR, node="a", pid=os.getpid(), started=US)) is None
    found = judge(dataclasses.replace(FAR, node="a", pid=os.getpid(), started=US - 1))
    assert found == f"rank 1 on a died in epoch 2 step 7 (training): its process {os.getpid()} is gone"


def test_a_rank_that_failed_is_named_after_a_grace_in_which_others_may_end_by_themselves():
    failed = dataclasses.replace(FAR, end="ValueError: an accident")
    assert judge(failed, heard_s=97) is None
    assert judge(failed, heard_s=94) == "rank 1 on b failed: ValueError: an accident"


def test_a_rank_that_never_came_is_named_in_the_end():
    assert judge(None, heard_s=0, now_s=601) == "rank 1 has not started within 600 s"


@pytest.mark.parametrize(
    ("phase", "step", "own_step", "found"),
    [
        ("training", 6, 7, "rank 1 on b hangs in epoch 2 step 6 (training): nothing has moved for 30 s"),
        ("reading", 7, 7, "rank 1 on b hangs in epoch 2 step 7 (reading): nothing has moved for 30 s"),
        ("training", 7, 6, "rank 0 on a hangs in epoch 2 step 6 (training): nothing has moved for 30 s"),
        ("training", 7, 7, "no rank has moved for 30 s, all wait for each other in epoch 2 step 7 (training): is the"),
        ("saving", 7, 7, None),  # a slow disk
    ],
)
def test_at_a_standstill_who_is_behind_holds_up_the_others(phase, step, own_step, found):
    own = dataclasses.replace(OWN, step=own_step)
    peer = Peer(1, dataclasses.replace(FAR, phase=phase, step=step), 199, 169)
    why = verdict(own, 169, [peer], 200, 30)
    assert str(why).startswith(found) if found else why is None, why


def test_patience_follows_from_the_slowest_step(tmp_path):
    heart = Heartbeat(FoldPaths(tmp_path), Fence(tmp_path, 1), 0, 1, print)
    assert heart._patience_s == heartbeat.START_S
    heart.measured(0.1)
    assert heart._patience_s == heartbeat.LEAST_S
    heart.measured(4.0)
    heart.measured(0.1)
    assert heart._patience_s == 4 * heartbeat.STEPS


def test_a_pulse_of_an_earlier_start_is_not_heard_and_the_last_word_says_how_it_ended(tmp_path):
    files = FoldPaths(tmp_path)
    with pytest.raises(ValueError, match="an accident"), Heartbeat(files, Fence(tmp_path, 1), 1, 2, print):
        raise ValueError("an accident")
    assert [pulse.end for pulse in heartbeat.read_pulses(files)] == ["ValueError: an accident"]
    with Heartbeat(files, Fence(tmp_path, 2), 0, 2, print) as heart:
        assert heart._listen(grace_s=0) is None
        files.stop.touch()
        wait_for(lambda: heart.stop_asked_by, 10, "the stop file to be seen")
    assert [pulse.end for pulse in heartbeat.read_pulses(files)] == ["done", "ValueError: an accident"]
