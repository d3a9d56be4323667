"""``jobs/predict.py`` with parts of one study, killed when CAC_TEST_PARTS parts are written."""

import os
import signal
import sys
from pathlib import Path

from cac_hpc.predict import parts, prediction
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import predict_command

parts.PER_PART = 1
write, left = parts.write, int(os.environ["CAC_TEST_PARTS"])


def write_and_die(*of):
    global left
    write(*of)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    parts.write = write_and_die
    code = Path(__file__).resolve().parents[2]
    sys.exit(exit_code(lambda: prediction.predict(predict_command.parse_predict(__doc__), code)))
