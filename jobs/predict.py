"""Predict new studies with a bundle; exit code 1 if one has no prediction. The same command again goes on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import predict_command


def main() -> int:
    cfg = predict_command.parse_predict(__doc__)
    from cac_hpc.predict import prediction
    from cac_hpc.run import logs

    logs.setup()
    also = report = None
    if cfg.dicom:
        from cac_hpc.predict import dicom_out

        also = dicom_out.Writer(cfg.mass_factor)
    if cfg.labels:
        from cac_hpc.predict import external

        report = external.maker(cfg.labels, Path(cfg.out))
    return prediction.predict(cfg, code=Path(__file__).resolve().parents[1], also=also, report=report)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
