"""Every reason of every version for which a job is pending has its class."""

import subprocess
import sys
from pathlib import Path

import pytest

from cac_hpc.cluster import pending, queue_records
from tests.support import vocabulary

WORDS = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
reason = next(getattr(library, name) for name in ("job_reason_string", "job_state_reason_string")
              if hasattr(library, name))
reason.restype = library.job_state_string.restype = ctypes.c_char_p
words = [reason(number) for number in range(500)]
state = [library.job_state_string(number) for number in (*range(64), *(1 << bit for bit in range(8, 31)))]
print("\\n".join(sorted({word.decode() for word in words + [b"-"] + state if word})))
"""


@pytest.mark.parametrize("version", sorted(vocabulary.ABSENT))
def test_every_reason_of_a_version_has_its_class(version):
    names = vocabulary.reasons(version)
    assert len(names) == vocabulary.NUM_REASONS[version]
    kinds = {name: kind for kind, listed in vocabulary.KINDS.items() for name in listed.split()}
    found = {name: pending.reason_for(name) for name in names}
    assert {name: reason and reason.kind for name, reason in found.items()} == {name: kinds[name] for name in names}
    for name, reason in found.items():
        assert reason.words, name
        assert (reason.kind in ("held", "never starts")) <= bool(reason.help), name


@pytest.mark.parametrize(("said", "kind"), sorted(vocabulary.SENTENCES.items()))
def test_every_sentence_of_the_controller_has_its_class(said, kind):
    assert pending.reason_for(said).kind == kind


@pytest.mark.parametrize(
    "said", ["SomethingNew", "QOSMaxTeaPerJob", "AssocGrp", "JobHeldByRobot", "Constraint", "x held"]
)
def test_a_reason_that_nobody_knows_is_taken_for_none_of_the_known_ones(said):
    assert pending.reason_for(said) is None


def test_the_vocabulary_of_the_slurm_that_is_installed():
    library = next(Path("/usr/lib").glob("**/libslurmfull.so"), None)
    if library is None:
        pytest.skip("no SLURM is installed")
    said = subprocess.run([sys.executable, "-c", WORDS, library], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    known = {word for word in said.stdout.split() if word not in "-?"}
    assert {"PENDING", "JobHeldUser"} <= known
    assert [word for word in known if not pending.reason_for(word) and word not in queue_records.STATES] == []
