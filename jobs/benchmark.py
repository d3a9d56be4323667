"""Measure our packing beside other programs, on a cohort made for it: ``pack``."""

from pathlib import Path

from cac_hpc import settings


def main() -> int:
    from cac_hpc import benchmark, logs

    asked = benchmark.parse(__doc__)
    logs.setup()
    benchmark.pack(asked, code=Path(__file__).resolve().parents[1])
    return 0


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
