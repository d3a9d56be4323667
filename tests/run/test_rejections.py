"""One table of reason codes, which is complete."""

from pathlib import Path

import pytest

from cac_hpc.run import rejections
from cac_hpc.settings.config import plain
from cac_hpc.settings.pack import Checks

ROOT = Path(__file__).resolve().parents[2]
MODULES = (path for path in (ROOT / "cac_hpc").glob("*/*.py") if path.stem != "rejections")
CODE = "".join(path.read_text(encoding="utf-8") for path in MODULES)


@pytest.mark.parametrize("code", sorted(rejections.REASONS))
def test_every_reason_is_given_somewhere(code):
    assert f'"{code}"' in CODE


def test_the_checks_of_the_settings_are_reasons():
    assert set(plain(Checks())) <= set(rejections.REASONS)


def test_an_unknown_reason_is_a_mistake_of_ours():
    with pytest.raises(AssertionError):
        rejections.Refused("bad_luck", "nothing")
