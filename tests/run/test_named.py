"""The run folder stands in a message where our own commands name it, and no other word is touched."""

from pathlib import Path

import pytest

from cac_hpc.cluster import outlook
from cac_hpc.cluster.states import CANCEL_AND_RESUME, RESUME
from cac_hpc.run.paths import RunPaths

ROOT = "/data/a RUN/x"
QUOTED = "'/data/a RUN/x'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RESUME, f"python jobs/launch_cv.py --resume {QUOTED}"),
        (CANCEL_AND_RESUME, f"python jobs/cancel.py {QUOTED} && python jobs/launch_cv.py --resume {QUOTED}"),
        ("saved; to go on: " + RESUME + " --cluster.pack.mem_gb 4",
         f"saved; to go on: python jobs/launch_cv.py --resume {QUOTED} --cluster.pack.mem_gb 4"),
        ("damaged; python jobs/pack.py --run RUN.", f"damaged; python jobs/pack.py --run {QUOTED}."),
        ("make RUN/slurm writable on the nodes, then " + RESUME,
         f"make {QUOTED}/slurm writable on the nodes, then python jobs/launch_cv.py --resume {QUOTED}"),
        ("/scratch/RUN/shard.h5: not there; " + RESUME,
         f"/scratch/RUN/shard.h5: not there; python jobs/launch_cv.py --resume {QUOTED}"),
    ],
)  # fmt: skip
def test_the_placeholder_of_a_command_is_filled_in(text, said):
    assert outlook._named(text, RunPaths(Path(ROOT))) == said


@pytest.mark.parametrize(
    "text",
    ["/scratch/RUN/shard.h5: not there", "study 'RUN 3': no score", "the sheet says RUN", "RUN", "RUN.csv: missing",
     "python jobs/launch_cv.py --resume RUN_2", "python jobs/launch_cv.py --resume RUN/old", "x: --run RUN",
     "/home/jobs/x.py RUN", "python jobs/launch_cv.py --resume RUN.old"],
)  # fmt: skip
def test_what_people_named_stays(text):
    assert outlook._named(text, RunPaths(Path(ROOT))) == text
