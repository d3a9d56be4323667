"""Options of launching: a YAML file, ``--section.key VALUE`` for one value, ``--section FILE`` for a whole section.

Unknown keys and wrong values are refused here, before anything is submitted.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.settings import composition, config, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.given_paths import absolute_paths
from cac_hpc.settings.setting_names import names
from cac_hpc.settings.typed_values import build, shown

LAUNCHER = ("config", "resume", "wait", "dry_run", "print_config", "help")  # options that are no settings


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What the launcher does with the settings; no part of them. given: key and value of each option that sets one."""

    given: tuple[tuple[str, str], ...] = ()
    resume: str | None = None
    wait: bool = False
    dry_run: bool = False


def parse_launch(doc: str | None, argv: Sequence[str] | None = None) -> tuple[Config, LaunchOptions]:
    """Read ``--config FILE [--section.key VALUE ...] [--resume RUN] [--wait] [--dry_run]``.

    Returns: the checked settings with absolute paths, and the launcher's options.
    Raises: InputError, naming key or file, what was found and what was wanted.
    """
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    text = "go on with this run: only what has no valid result; other settings as --section.key VALUE or --section FILE"
    launcher.add_argument("--resume", metavar="RUN", help=f"{text}, never with --config or --run")
    launcher.add_argument("--wait", action="store_true", help="follow the run to its end")
    launcher.add_argument("--dry_run", action="store_true", help="check all, write the scripts, submit nothing")
    launcher.add_argument("--print_config", action="store_true", help="show the settings that result, do nothing")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        _show_help(doc, launcher)
    if sum(argument.partition("=")[0] == "--resume" for argument in arguments) > 1:
        raise InputError("--resume: found it more than once, wanted one run to go on with")
    try:
        known, arguments = launcher.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        empty = "--resume: found nothing after it, wanted the folder of a run"
        raise InputError(empty if error.argument_name == "--resume" else str(error)) from None
    if not arguments and known.resume is None:
        raise InputError("no settings given, wanted --config FILE (try configs/demo.yaml)")
    given = _options(arguments)
    cfg = build(Config, composition.compose(given, _resumed(known.resume, given)))
    if known.print_config:
        print(config.to_yaml(cfg), end="")
        raise SystemExit(0)
    options = LaunchOptions(given=tuple(given), resume=known.resume, wait=known.wait, dry_run=known.dry_run)
    return absolute_paths(cfg), options


def new_run(run: Path, given: Sequence[tuple[str, str]]) -> str:
    """The command that starts a new run with the settings of another.

    Args:
        run: the other one. given: options that change its settings, as key and value; run among them names the new one.
    """
    numbered = (run.with_name(f"{run.name}_{number}") for number in itertools.count(2))
    free = str(next(folder for folder in numbered if not folder.exists()))
    options = {"config": str(run / "config.yaml"), "run": free} | {
        key: value for key, value in given if key != "config"
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return shlex.join(["python", "jobs/launch_cv.py", *words])


def _options(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Each ``--KEY VALUE`` or ``--KEY=VALUE`` of the command line.

    Raises: InputError if something else stands there.
    """
    found, rest = [], iter(arguments)
    for argument in rest:
        key, given, value = argument[2:].partition("=")
        if not argument.startswith("--") or not key:
            raise InputError(
                f"{shown(argument)}: found no option before it, wanted --config FILE or --section.key VALUE"
            )
        near = difflib.get_close_matches(key, LAUNCHER, n=1, cutoff=0.75)
        if near and key not in (*LAUNCHER, *names()):
            raise InputError(f"no option {shown(argument)} (did you mean --{near[0]}?)")
        value = value if given else next(rest, "--")
        if not given and value.startswith("--"):
            raise InputError(f"--{shown(key)[1:-1]}: found nothing after it, wanted --section.key VALUE")
        found.append((key, value))
    return found


def _resumed(run: str | None, given: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """The settings of the run that is gone on with, where it is now, even if it was moved.

    Raises: InputError if another run or other settings are named beside it.
    """
    if run is None:
        return None
    folder = stored_settings.run_folder(run)
    for key, value in given:
        if key in ("config", "run"):
            raise InputError(
                f"--{key} {value} with --resume {run}: found both, wanted one of them; to change how the run"
                f" goes on: --resume {run} --section.key VALUE, or --section FILE; for a new run with its settings: "
                f"{new_run(folder, given)}"
            )
    return stored_settings.read(folder / stored_settings.CONFIG) | {"run": str(folder)}


def _show_help(doc: str | None, launcher: argparse.ArgumentParser) -> None:
    from cac_hpc.settings import launch_help

    own = [(action.option_strings[0], action.nargs != 0, action.help or "") for action in launcher._actions]
    own.append(("--config", True, "YAML file with the settings, for example configs/demo.yaml"))
    launch_help.parser(doc, own).parse_args(["--help"])
