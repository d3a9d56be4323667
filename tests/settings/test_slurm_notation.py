"""Tables, times, sizes, counts and GPUs as SLURM writes them."""

import math

import pytest

from cac_hpc.settings import slurm_notation
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-00:00:00", 1440), ("2-12:30:00", 3630), ("1-6", 1800), ("1-6:30", 1830), ("12:00:00", 720), ("30:00", 30),
        ("90", 90), ("0:30", 0.5), ("infinite", math.inf), ("UNLIMITED", math.inf), ("n/a", None), ("", None),
        ("soon", None), ("1:2:3:4", None),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_writes_them(text, expected):
    assert slurm_notation.minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("6000", 6000), ("2T", 2097152), ("187.5G", 192000), ("4000+", 4000), ("512M", 512), ("2048K", 2),
     ("UNLIMITED", None), ("", None), ("-5", None)],
)  # fmt: skip
def test_memory_is_read_in_megabytes(text, expected):
    assert slurm_notation.megabytes(text) == expected


@pytest.mark.parametrize(
    ("gres", "expected"),
    [("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:2(S:0,1),gpu:v100:1", 3), ("(null)", None),
     ("craynetwork:4", None), ("gpu:h100:8,shard:64", 8), ("gpu", 1), ("gpu:0", 0), ("", None)],
)  # fmt: skip
def test_gpus_are_counted_whatever_their_model(gres, expected):
    assert slurm_notation.gpus(gres) == expected


@pytest.mark.parametrize(("gres", "gpus"), [("gpu:1080ti", 1), ("gpu:1080ti:2", 2), ("gpu:2,craynetwork:1", 2)])
def test_what_gres_asks_is_counted_as_slurm_does(gres, gpus):
    assert ClusterConfig(gres=gres, ranks_per_node=1).gpus_asked == gpus


@pytest.mark.parametrize("gres", ["gpu:a100", "gpu:1080ti", "gpu:0"])
def test_gres_must_be_enough_for_all_ranks(gres):
    with pytest.raises(InputError, match=rf"cluster.gres is '{gres}', but must be a GPU for each of"):
        ClusterConfig(gres=gres, ranks_per_node=2)


@pytest.mark.parametrize(
    ("host", "hosts", "inside"),
    [
        ("n1", "n1", True), ("n1", "n10", False), ("n10", "n1", False), ("n2", "n[1-3]", True), ("n4", "n[1-3]", False),
        ("n7", "n[1-3,7]", True), ("n07", "n[01-10]", True), ("n7", "n[01-10]", False), ("b", "a[1-2],b,c[3]", True),
        ("r1n12", "r[1-2]n[10-20]", True), ("r3n12", "r[1-2]n[10-20]", False), ("c3-ib", "a1,c[3]-ib", True),
        ("nowhere", "", False), ("n1", "n[", False), ("n1", "n[x-y]", False),
    ],
)  # fmt: skip
def test_hosts_are_found_in_lists_as_slurm_writes_them(host, hosts, inside):
    assert slurm_notation.in_hostlist(host, hosts) == inside


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([], []), ([3], ["3"]), ([0, 1, 2, 3, 7], ["0-3", "7"]), ([9, 2, 8, 2], ["2", "8-9"]), ([1, 3], ["1", "3"])],
)
def test_numbers_are_written_as_ranges(numbers, expected):
    assert slurm_notation.ranges(numbers) == expected
