"""How settings are read: a YAML file, ``--section.key VALUE`` for one value, ``--section FILE`` for a whole section.

Unknown keys and wrong values are refused here, before anything is submitted. The owner of jsonargparse,
which shows what can be set.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cac_hpc.run import composition, config, logs, paths
from cac_hpc.run.config import (
    ClusterConfig,
    Config,
    DataConfig,
    InputError,
    LabelsConfig,
    ModelConfig,
    PackConfig,
    ReportConfig,
    SplitConfig,
    TrainConfig,
    TrialsConfig,
    WorkError,
    absolute_paths,
)
from cac_hpc.run.paths import RunPaths

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

SECTIONS = {
    "data": DataConfig,
    "labels": LabelsConfig,
    "pack": PackConfig,
    "split": SplitConfig,
    "model": ModelConfig,
    "train": TrainConfig,
    "cluster": ClusterConfig,
    "report": ReportConfig,
    "trials": TrialsConfig,
}


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What the launcher does with the settings; no part of them. given: key and value of each option that sets one."""

    given: tuple[tuple[str, str], ...] = ()
    resume: str | None = None
    wait: bool = False
    dry_run: bool = False


ALONE = ("source", "questions")  # of `ReportOptions`: what goes with --questions


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Whose report, and what becomes of it."""

    source: str  # a run folder, [USER@]HOST:FOLDER of one elsewhere, or an archive made before
    others: tuple[str, ...] = ()  # run folders to be compared with it
    out: str | None = None
    open: bool = False
    weights: bool = False
    without_images: bool = False
    questions: bool = False


def parse_launch(doc: str | None, argv: Sequence[str] | None = None) -> tuple[Config, LaunchOptions]:
    """Read ``--config FILE [--section.key VALUE ...] [--resume RUN] [--wait] [--dry_run]``.

    Returns: the checked settings with absolute paths, and the launcher's options.
    Raises: InputError, naming key or file, what was found and what was wanted.
    """
    launcher = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    text = "go on with this run: only what has no valid result; other settings as --section.key VALUE or --section FILE"
    launcher.add_argument("--resume", metavar="RUN", help=f"{text}, never with --config or --run")
    launcher.add_argument("--wait", action="store_true", help="follow the run to its end")
    launcher.add_argument("--dry_run", action="store_true", help="write the scripts, submit nothing")
    launcher.add_argument("--print_config", action="store_true", help="show the settings that result, do nothing")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(arguments):
        gc.disable()  # nothing is left when help was shown; collecting takes a tenth of the time until then
        _help(doc, launcher).parse_args(["--help"])
    if sum(argument.partition("=")[0] == "--resume" for argument in arguments) > 1:
        raise InputError("--resume: found it more than once, wanted one run to go on with")
    try:
        known, arguments = launcher.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        empty = "--resume: found nothing after it, wanted the folder of a run"
        raise InputError(empty if error.argument_name == "--resume" else str(error)) from None
    if not arguments and known.resume is None:
        raise InputError("no settings given, wanted --config FILE (try configs/demo.yaml)")
    given = composition.options(arguments)
    cfg = composition.build(Config, composition.compose(given, _resumed(known.resume, given)))
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
    names = (run.with_name(f"{run.name}_{number}") for number in itertools.count(2))
    free = str(next(name for name in names if not name.exists()))
    options = {"config": str(run / "config.yaml"), "run": free} | {
        key: value for key, value in given if key != "config"
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return shlex.join(["python", "jobs/launch_cv.py", *words])


def _resumed(run: str | None, given: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    """The settings of the run that is gone on with, where it is now, even if it was moved.

    Raises: InputError if another run or other settings are named beside it.
    """
    if run is None:
        return None
    for key, value in given:
        if key in ("config", "run"):
            raise InputError(
                f"--{key} {value} with --resume {run}: found both, wanted one of them; to change how the run"
                f" goes on: --resume {run} --section.key VALUE, or --section FILE; for a new run with its settings: "
                f"{new_run(Path(run), given)}"
            )
    folder = run_folder(run)
    return composition.read_stored(RunPaths(folder).config) | {"run": str(folder)}


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


def parse_report(doc: str | None, argv: Sequence[str] | None = None) -> ReportOptions:
    """Read ``RUN | [USER@]HOST:RUN | ARCHIVE [--out DIR] [--open] [--weights] [--without_images]``,
    ``RUN RUN [RUN ...] [--out DIR]``, or ``RUN --questions``.

    Raises: InputError if an option has nothing to act on.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument(
        "source",
        metavar="RUN",
        help="the run folder; [USER@]HOST:RUN, over ssh; an archive of --out; or an external test",
    )
    parser.add_argument("others", metavar="RUN", nargs="*", help="further run folders, compared with the first")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="put the report into this folder as one archive, or the comparison; unpack an archive",
    )
    parser.add_argument("--open", action="store_true", help="open the report with the desktop's browser")
    parser.add_argument("--weights", action="store_true", help="take the folds' weights along")
    parser.add_argument(
        "--without_images", action="store_true", help="leave out the pictures that show slices or hearts"
    )
    text = "print what the checklists ask people, as a file of answers to fill in, and nothing else"
    parser.add_argument("--questions", action="store_true", help=text)
    read = vars(parser.parse_intermixed_args(argv))
    asked = ReportOptions(**read | {"others": tuple(read["others"])})
    if asked.questions and (other := [name for name, value in read.items() if value and name not in ALONE]):
        raise InputError(f"--questions: found {', '.join(other)} with it, wanted RUN --questions alone")
    for name in ("open", "weights", "without_images"):
        if getattr(asked, name) and asked.others:
            raise InputError(f"--{name}: found {1 + len(asked.others)} runs to compare, wanted one run with it")
        if name != "open" and getattr(asked, name) and asked.out is None:
            raise InputError(f"--{name}: found no --out, wanted --out DIR, the folder that the archive goes to")
    return asked


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


def run_folder(folder: str) -> Path:
    """The run in that folder.

    Raises: InputError if there is none.
    """
    run = Path(folder).absolute()
    if not folder or not (run / "config.yaml").is_file():
        inside = run.name == "config.yaml" and run.is_file()
        meant = f"; did you mean {str(Path(folder).parent)!r}?" if inside else paths.did_you_mean(Path(folder))
        raise InputError(f"{folder or repr(folder)}: found no config.yaml there, wanted the folder of a run{meant}")
    return run


def out_folder(out: str | None) -> Path:
    """The folder that results go to; it is made when there is something to put into it.

    Raises: InputError if it is a file.
    """
    folder = Path(out or ".")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: found a file, wanted a folder")
    return folder


def load(path: Path) -> Config:
    """Read the settings of a run, its config.yaml: plain values.

    Raises: InputError if the file is missing or wrong.
    """
    stored = composition.read_stored(path)
    try:
        return composition.build(Config, stored)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def load_fold(run: RunPaths, fold: int) -> Config:
    """The settings that a fold is trained and tested with: the run's, or what the fold has chosen among its trials.

    Raises: InputError if the run's settings are missing or wrong, or the fold has trials and has not chosen yet.
    """
    cfg, choice = load(run.config), run.trials(fold).choice
    if not cfg.trials.active:
        return cfg
    try:
        return composition.changed(cfg, paths.read_json(choice)["settings"])
    except OSError:
        raise InputError(f"{choice}: not there, wanted the choice among the trials of fold {fold}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{choice}: damaged; delete it, and it is made again from the trials") from None


def exit_code(main: Callable[[], int]) -> int:
    """Run a job's main function; one line and no traceback where the input is wrong or the operating system refuses.

    Returns: the job's own code; 2 for wrong input, 1 for a full disk and the like.
    """
    try:
        return main()
    except InputError as error:
        logs.say(f"error: {error}", sys.stderr)
        return 2
    except WorkError as error:
        logs.say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        logs.say(f"error: {where}{error.strerror or error}", sys.stderr)
        return 1


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


def _help(doc: str | None, launcher: argparse.ArgumentParser) -> ArgumentParser:
    """The options of the launcher and all settings with their types and defaults, to be shown."""
    from jsonargparse import ArgumentParser  # takes a quarter of a second

    parser = ArgumentParser(description=doc, print_config=None)
    for action in launcher._actions:
        parser.add_argument(
            *action.option_strings, action="store_true" if action.nargs == 0 else "store", help=action.help
        )
    parser.add_argument("--config", help="YAML file with the settings, for example configs/demo.yaml")
    parser.add_argument("--run", type=str, required=True, help="the run folder")
    for name, section in SECTIONS.items():
        parser.add_class_arguments(section, name, sub_configs=True, skip={"cohorts"})
    parser.add_argument("--data.cohorts", metavar="LIST", help="several cohorts; write them in the file: docs/data.md")
    return parser
