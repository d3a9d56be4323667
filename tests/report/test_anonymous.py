"""Reasons leave the run without the names of folders, nodes and users."""

import pytest

from cac_hpc.report import aggregation, anonymous
from cac_hpc.run import ledger, paths
from cac_hpc.train import fencing, heartbeat
from tests.support.reports import make_run

NODES = {"workstation", "gpu17.hospital.org"}


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("Permission denied: '/home/Jane Doe/secret project/labels.csv'", "Permission denied: 'labels.csv'"),
        ("/home/Jane Doe/secret project/labels.csv: not there", "labels.csv: not there"),
        ("No space left: '/scratch/my runs/jdoe/run/fold-1/x'", "No space left: 'x'"),
        ("it isn't there: '/home/jdoe/x.h5'", "it isn't there: 'x.h5'"),
        ("in /home/jdoe/", "in a folder"),
        ("~jdoe/x/y; C:\\Users\\jdoe", "y; a folder"),
        ("'D:\\\\Jane Doe\\\\a b.csv'", "'a b.csv'"),
        ("\\\\server\\share\\jdoe\\x.csv", "x.csv"),
        ("file:///home/jdoe/x.h5", "x.h5"),
        ("see scratch:/data/jdoe/a.h5 or host1:/data/jdoe/b", "see a.h5 or b"),
        ("cannot connect to jdoe@login3.hospital.org", "cannot connect to a user"),
        ("store tcp://n1:29500, 10.0.0.3:29500, login3:22", "store a node, a node, a node"),
        ("rank 1 on node gpu18.hospital.org was lost", "rank 1 on a node was lost"),
        ("rank 0 on special hangs in epoch 1", "rank 0 on a node hangs in epoch 1"),
        ("node gpu17 has no GPU", "a node has no GPU"),
        ("WORKSTATION says no", "a node says no"),
        ("its process 4711 is stopped, or its node is lost", "its process is stopped, or its node is lost"),
        ("see /runs/mine/folds/fold-1/x in /runs/mine", "see folds/fold-1/x in mine"),
    ],
)
def test_places_are_taken_out_of_a_reason(reason, said):
    assert anonymous.told(reason, ["/runs/mine"], NODES) == said


@pytest.mark.parametrize(
    "reason",
    [
        "ValueError: loss is nan (trainer.py:33), on epoch 3 of 4",
        "folds/fold-1/predictions.csv: they are not as they were written (metrics.json, predictions_sha256)",
        "it was killed by signal 9 (SIGKILL); slurm/logs/folds-1.out says more",
        "study '4/7': 3 slices predicted, the dataset has 1 / 2, counted from 0",
        "split.contrast_to is 'a', which has other settings (model.dense: 32 / 64)",
    ],
)
def test_a_reason_that_names_no_place_stays(reason):
    assert anonymous.told(reason, ["/runs/mine"], NODES) == reason


def test_nodes_are_known_from_the_ledger_and_the_signs_of_life(tmp_path):
    run = make_run(tmp_path, {(name, index): [index] * 2 for index, name in enumerate("abc")}, num_folds=3)
    ledger.record(run.ledger, "folds", 1, "started", node="alpha")
    run.excluded.parent.mkdir()
    ledger.append(run.excluded, node="beta", why="has no GPU", job=None)
    fence = fencing.take(run.fold(2), {"node": "gamma"})
    with heartbeat.Heartbeat(run.fold(2), fence, 0, 1, lambda *why: None):
        (pulse,) = heartbeat.read_pulses(run.fold(2))
    assert aggregation._nodes(run) == {"alpha", "beta", pulse.node}
    run.fold(1).predictions.unlink()
    ledger.record(run.ledger, "folds", 1, "ended", ok=False, reason="beta and alpha do not see '/home/jdoe/x y/z.h5'")
    assert not aggregation.aggregate(run.root)
    missing, _ = paths.read_json(run.report / "report.json")["missing_folds"]
    assert missing["reason"] == "a node and a node do not see 'z.h5'"
