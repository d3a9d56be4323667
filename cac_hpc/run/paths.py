"""Every file name that two jobs share, and the one way a file comes to its final name."""

from __future__ import annotations

import difflib
import errno
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cac_hpc.run.config import InputError


def did_you_mean(path: Path) -> str:
    """Ask whether another name in the folder of a file that is not there was meant; the end of a sentence, or empty."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = [name for name in names if Path(name).stem == path.stem] or difflib.get_close_matches(
        path.name, names, 1, 0.75
    )
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close and not path.exists() else ""


def prediction_plan(out: Path) -> Path:
    """What jobs/predict.py has planned, in the folder of its results."""
    return out / "parts" / "plan.json"


@dataclass(frozen=True)
class FoldPaths:
    """``RUN/folds/fold-K``; a fold is done when predictions.csv is there."""

    root: Path

    @property
    def history(self) -> Path:
        return self.root / "history.csv"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions.csv"

    def view(self, name: str) -> Path:
        """Predictions of the same slices where a part of each is blank."""
        return self.root / f"predictions_{name}.csv"

    @property
    def scores(self) -> Path:
        """Of a lesion model: score and probabilities of each test study."""
        return self.root / "scores.csv"

    @property
    def lesions(self) -> Path:
        """Of a lesion model: every candidate of the test studies."""
        return self.root / "lesions.csv"

    @property
    def speed(self) -> Path:
        """Times and rates of the epochs: unlike history.csv they differ from run to run."""
        return self.root / "speed.csv"

    @property
    def model(self) -> Path:
        """The weights that were tested."""
        return self.root / "model.pt"

    @property
    def stop(self) -> Path:
        """Made by anybody, asks the fold to save and end; gone when it has."""
        return self.root / "stop"

    @property
    def heartbeats(self) -> Path:
        return self.root / "heartbeats"

    def heartbeat(self, rank: int) -> Path:
        return self.heartbeats / f"rank-{rank:04d}.json"

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    def attempt(self, number: int) -> Path:
        """One file for every start of the fold, numbered from 1."""
        return self.attempts / f"{number:04d}.json"

    def rendezvous(self, key: str) -> Path:
        """Where the first node of a job says how the others find it."""
        return self.root / "rendezvous" / f"{key}.json"

    def checkpoint(self, epochs: int, step: int) -> Path:
        """After whole epochs and that many steps of the next one."""
        return self.root / "checkpoints" / f"epoch-{epochs:04d}-step-{step:06d}.pt"

    def checkpoints(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        return sorted((self.root / "checkpoints").glob("epoch-*-step-*.pt"))


@dataclass(frozen=True)
class DatasetPaths:
    """A packed dataset; sealed when dataset.json is there."""

    root: Path

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def studies(self) -> Path:
        return self.root / "studies.csv"

    @property
    def rejected(self) -> Path:
        return self.root / "rejected.csv"

    @property
    def intake(self) -> Path:
        """What became of every file and study, as numbers."""
        return self.root / "intake.json"

    @property
    def tables(self) -> tuple[Path, ...]:
        """What the seal holds digests of, beside the shards."""
        return self.studies, self.rejected, self.intake

    @property
    def seal(self) -> Path:
        return self.root / "dataset.json"

    def shard(self, index: int) -> Path:
        return self.root / "shards" / f"shard-{index:05d}.h5"

    def shard_facts(self, index: int) -> Path:
        """What the seal needs to know of a shard; written after it, so it also says that the shard is done."""
        return self.shard(index).with_suffix(".json")


@dataclass(frozen=True)
class TrialPaths:
    """``RUN/trials/fold-K``: the trials of one fold; it is done when choice.json is there."""

    root: Path

    @property
    def studies(self) -> Path:
        """The rows of studies.csv of training and validation studies: all that its trials know of labels."""
        return self.root / "studies.csv"

    @property
    def choice(self) -> Path:
        """The settings that the fold is trained and tested with, and by which figures they were chosen."""
        return self.root / "choice.json"

    def settings(self, trial: int) -> Path:
        """What a trial tries, where that follows from the trials before it."""
        return self.root / f"trial-{trial:04d}" / "settings.json"

    def part(self, trial: int, part: int) -> FoldPaths:
        """One training of a trial: of one seed and one inner division."""
        return FoldPaths(self.root / f"trial-{trial:04d}" / f"part-{part}")

    def rung(self, trial: int, part: int, rung: int) -> Path:
        """What a part has predicted of its validation patients when it was trained up to a rung."""
        return self.part(trial, part).root / f"rung-{rung}.json"


@dataclass(frozen=True)
class RunPaths:
    """A run folder."""

    root: Path
    report_in: Path | None = None  # where its report is made, until it is whole

    @property
    def mask_scores(self) -> Path:
        """Scores that were computed from masks, to be used as labels; beside the run, which appears whole."""
        return self.root.with_name(f".{self.root.name}.mask_scores.json")

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def code_changes(self) -> Path:
        """Files of the run's code that are not as they were copied, one JSON line each time one is noticed."""
        return self.root / "code_changes.jsonl"

    @property
    def groups(self) -> Path:
        """Of which group each study is, where split.group asks for it."""
        return self.root / "groups.json"

    @property
    def splits(self) -> Path:
        return self.root / "splits.json"

    @property
    def lock(self) -> Path:
        return self.root / "local.lock"

    @property
    def slurm(self) -> Path:
        return self.root / "slurm"

    @property
    def excluded(self) -> Path:
        """Nodes that failed their check, one JSON line each."""
        return self.slurm / "excluded_nodes.jsonl"

    def drill(self, name: str) -> Path:
        return self.root / "drill" / name

    @property
    def report(self) -> Path:
        return self.report_in or self.root / "report"

    @property
    def report_json(self) -> Path:
        """Every number of the report; complete reports have it, for it is written last."""
        return self.report / "report.json"

    @property
    def trials_plan(self) -> Path:
        """What is tried in every fold."""
        return self.root / "trials" / "plan.json"

    def trials(self, fold: int) -> TrialPaths:
        return TrialPaths(self.root / "trials" / f"fold-{fold}")

    def fold(self, index: int) -> FoldPaths:
        return FoldPaths(self.root / "folds" / f"fold-{index}")

    def dataset(self, packed_dir: str | None) -> DatasetPaths:
        return DatasetPaths(Path(packed_dir) if packed_dir else self.root / "dataset")


EXTERNAL_TEST = "external.json"  # what an external test was made of, beside its report


def is_external_test(folder: Path) -> bool:
    """Whether a folder holds an external test, and is no run."""
    return (folder / EXTERNAL_TEST).is_file() and not RunPaths(folder).config.is_file()


STATUSES = ("COMPLETE", "PARTIAL", "PROVISIONAL", "EXTERNAL")  # of a report


PAGES = (("html", True), ("html", False), ("md", True))  # the pages that people open, the best one first


def page_name(status: str, suffix: str, images: bool = True) -> str:
    """File name of a report's page, html or md: it says if that is not the whole report, or has no slices in it."""
    marks = [status] * (status != "COMPLETE") + ["without_images"] * (not images)
    return f"{'_'.join(['report', *marks])}.{suffix}"


def no_check() -> None:
    """Nothing stands in the way of a file's final name."""


@contextmanager
def atomic(path: Path, check: Callable[[], None] = no_check) -> Iterator[Path]:
    """Yield a scratch name beside ``path``; when the block ends well, its file is on disk under the final name.

    The scratch name is new each time, so the left-overs of a killed attempt are never in the way.

    Args:
        check: called when the file is whole, right before it gets its name; what it raises prevents that.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            sync(scratch)
            check()
            scratch.replace(path)
            sync(path.parent)
        finally:
            scratch.unlink(missing_ok=True)


FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's share of it


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the operating system refuses in the block is told with this path where it has none; a full disk with what
    to do, also where a library has told of it in words of its own."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        cause = _cause(error) if type(error) in (RuntimeError, ValueError) else error
        if not isinstance(cause, OSError) or (cause is not error and cause.errno not in FULL):
            raise
        if cause.errno in FULL:
            raise OSError(cause.errno, no_space(cause.errno), str(cause.filename or path)) from error
        if cause.filename is None:
            raise OSError(cause.errno or errno.EIO, cause.strerror or str(cause), str(path)) from error
        raise


def no_space(code: int) -> str:
    """What a full disk, or a used quota, means to the user."""
    return f"{os.strerror(code)}; make room there, then start this again: nothing that is done is lost"


def _cause(error: BaseException) -> BaseException | None:
    """The operating system's error that an exception of a library followed from."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def open_own(path: Path, mode: str, buffering: int = -1) -> IO[Any]:
    """Open a file under a name that others know, to write into it: the file itself, never what a link leads to.

    Args:
        mode, buffering: as `open` takes them.
    Raises: InputError if it is a link, a pipe or anything else but a plain file.
    """

    def opener(name: str, flags: int) -> int:
        if path.is_symlink():
            raise _not_own(path, "a link")
        try:  # a link that came just now is not followed, and a pipe that nobody reads does not wait
            opened = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _not_own(path, "a pipe or socket") if error.errno == errno.ENXIO else error from None
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise _not_own(path, "a pipe, folder or device")
        return opened

    file: IO[Any] = open(path, mode, buffering, None if "b" in mode else "utf-8", opener=opener)  # noqa: SIM115
    return file


def _not_own(path: Path, found: str) -> InputError:
    return InputError(f"{path}: found {found}, wanted a plain file; remove it, then start the same command again")


def write_bytes(path: Path, content: bytes, check: Callable[[], None] = no_check) -> None:
    with atomic(path, check) as scratch, scratch.open("xb") as file:
        file.write(content)


def write_text(path: Path, text: str, check: Callable[[], None] = no_check) -> None:
    write_bytes(path, text.encode("utf-8"), check)


def write_json(path: Path, content: Any, check: Callable[[], None] = no_check) -> None:
    """Write strict JSON (no NaN), readable by people."""
    write_text(path, json_text(content), check)


def json_text(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises: OSError; ValueError if it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("lists or objects in each other without end") from None


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where it cannot be read."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sync(path: Path) -> None:
    """Have a file or folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
