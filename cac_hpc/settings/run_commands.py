"""Options of the jobs that are given a run, or one file, and little besides."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.settings.errors import InputError
from cac_hpc.settings.stored_settings import run_folder


def parse_stage(
    doc: str | None,
    argv: Sequence[str] | None = None,
    *,
    numbers: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    required: Sequence[str] = (),
) -> tuple[Path, dict[str, Any]]:
    """Read ``--run RUN`` and the stage's own options, given as name to help text: whole numbers, texts, flags.

    Raises: InputError if RUN is not the folder of a run.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("--run", required=True, metavar="RUN", help="the run folder")
    for kind, options in ((int, numbers), (str, texts)):
        for name, text in (options or {}).items():
            parser.add_argument(f"--{name}", type=kind, metavar=name[0].upper(), help=text, required=name in required)
    return _parse_run(parser, flags or {}, argv)


def parse_run(
    doc: str | None,
    argv: Sequence[str] | None = None,
    *,
    flags: Mapping[str, str] | None = None,
    texts: Mapping[str, tuple[str, str]] | None = None,
    others: Callable[[Path], bool] | None = None,
    text: str = "the run folder",
) -> tuple[Path, dict[str, Any]]:
    """Read ``RUN``, the named flags, and options with a text, given as name to what stands for it and help text.

    Args:
        others: which other folders are taken, too. text: help on RUN.
    Raises: InputError if RUN is not the folder of a run.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help=text)
    for name, (stands_for, text) in (texts or {}).items():
        parser.add_argument(f"--{name}", metavar=stands_for, help=text)
    return _parse_run(parser, flags or {}, argv, others)


def parse_file(doc: str | None, text: str, argv: Sequence[str] | None = None) -> Path:
    """Read ``FILE``.

    Args:
        text: help on what the file holds.
    Raises: InputError if it is not there.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help=text)
    path = Path(parser.parse_args(argv).file)
    if not path.is_file():
        raise InputError(f"{path}: not there, wanted a file")
    return path


def _parse_run(
    parser: argparse.ArgumentParser,
    flags: Mapping[str, str],
    argv: Sequence[str] | None,
    others: Callable[[Path], bool] | None = None,
) -> tuple[Path, dict[str, Any]]:
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    asked = vars(parser.parse_args(argv))
    given = asked.pop("run")
    if others and given and others(Path(given)):
        return Path(given).absolute(), asked
    return run_folder(given), asked
