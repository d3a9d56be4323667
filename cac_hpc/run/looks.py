"""Looks at test figures: each is an event in its run's ledger, and a run knows how many came before it was set up.

Whoever has seen how a configuration does on the test patients, and then sets up another, has chosen by them. That
cannot be prevented, but counted: of a new run, the looks at all runs of the same patients that are beside it or named
in its settings. A page that is opened by hand, or a report that was copied, is seen without us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cac_hpc.run import disk, ledger, logs
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError

if TYPE_CHECKING:
    from cac_hpc.settings.config import Config

EVENT = "shown"
How = Literal["terminal", "page", "archive", "comparison", "bundle", "ssh"]
KEY = "shown_before"  # in provenance.json
SHOWN = 5  # runs that a sentence names


@dataclass(frozen=True)
class Looks:
    """How many times the test figures of a run had been shown; run: name of its folder."""

    run: str
    run_id: str
    times: int


def event(how: How) -> dict[str, Any]:
    """What a line of the ledger says of a look, but for its time."""
    return {"stage": "aggregate", "task": None, "event": EVENT, "how": how}


def note(root: Path, how: How) -> None:
    """Tell the ledger of a run that its test figures were shown; a ledger that cannot be written stops nobody."""
    run = RunPaths(root)
    if not run.ledger.is_file():
        return
    try:
        ledger.append(run.ledger, **event(how))
    except (OSError, InputError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        logs.log.warning("%s: this look at test figures is not counted (%s)", run.ledger, why)


def find_before(run: RunPaths, cfg: Config) -> list[Looks]:
    """The looks there were at runs of the same patients, before this run: one entry per run, by name.

    Runs count that lie beside this one, or that its settings name, and of which dataset, DICOM folder or sealed
    studies.csv is the same; and what these runs counted themselves, though it may be gone. Copies of a run count once.
    """
    found: dict[str, Looks] = {}
    for root in _others(run, cfg):
        seen = [*_own(root), *read_before(RunPaths(root))]
        for looks in seen if seen and _same_patients(run, cfg, root) else []:
            if looks.run_id not in found or found[looks.run_id].times < looks.times:
                found[looks.run_id] = looks
    return sorted(found.values(), key=lambda looks: (looks.run, looks.run_id))


def told(times: int, runs: Sequence[str], whose: str = "this configuration") -> str:
    """How often the test figures had been shown, in words, without a full stop.

    Args:
        runs: names of those that they are of. whose: the configuration that came after it.
    """
    more = [f"{len(runs) - SHOWN} more"] if len(runs) > SHOWN else []
    named, count = ", ".join([*runs[:SHOWN], *more]), "once" if times == 1 else f"{times} times"
    word = "run" if len(runs) == 1 else "runs"
    return f"the test figures of these patients had been shown {count} ({word} {named}) before {whose} was set"


def told_of(before: Sequence[Looks]) -> str:
    """The same, of a run that is made now."""
    return told(sum(looks.times for looks in before), names(before))


def names(before: Sequence[Looks]) -> list[str]:
    return list(dict.fromkeys(looks.run for looks in before))


def to_json(before: Sequence[Looks]) -> dict[str, Any]:
    """What a new run keeps of them in its provenance.json."""
    return {KEY: [asdict(looks) for looks in before]}


def read_before(run: RunPaths) -> list[Looks]:
    """What a run has kept of them; nothing of a run of an earlier version."""
    try:
        kept = disk.read_json(run.provenance).get(KEY) or []
        found = [Looks(str(one["run"]), str(one["run_id"]), int(one["times"])) for one in kept]
    except (OSError, ValueError, AttributeError, TypeError, LookupError):
        return []
    return [looks for looks in found if looks.times > 0 and Path(looks.run).name == looks.run]


def _others(run: RunPaths, cfg: Config) -> Iterator[Path]:
    """Folders of other runs: those that the settings name, and those beside this one."""
    own = run.root.resolve()
    named = [cfg.report.compare, cfg.split.contrast_to, cfg.trials.contrast_to]
    try:
        beside = sorted(run.root.absolute().parent.iterdir())
    except OSError:
        beside = []
    for root in dict.fromkeys([*(Path(name).resolve() for name in named if name), *(one.resolve() for one in beside)]):
        if root != own and RunPaths(root).config.is_file():
            yield root


def _own(root: Path) -> list[Looks]:
    """The looks at a run, if there were any."""
    try:
        times = sum(event["event"] == EVENT for event in ledger.read(RunPaths(root).ledger))
    except OSError:
        times = 0
    run_id = _fact(RunPaths(root).provenance, "run_id") or str(root)  # the path of a run of an earlier version
    return [Looks(root.name, run_id, times)] if times else []


def _same_patients(run: RunPaths, cfg: Config, other: Path) -> bool:
    from cac_hpc.settings import config  # not for who only notes a look

    try:
        theirs = stored_settings.read(RunPaths(other).config).get("data")
    except (OSError, InputError):
        return False
    data = theirs if isinstance(theirs, dict) else {}
    packed_dir = value if isinstance(value := data.get("packed_dir"), str) else None
    if _roots(data) & _roots(config.plain(cfg.data)):
        return True
    mine, packed = run.dataset(cfg.data.packed_dir), RunPaths(other).dataset(packed_dir)
    if mine.root.resolve() == packed.root.resolve():
        return True
    sealed = _fact(mine.seal, "studies_sha256")
    return sealed is not None and sealed == _fact(packed.seal, "studies_sha256")


def _roots(data: Mapping[str, Any]) -> set[Path]:
    """The folders of studies of a run, by its settings in the section data, which may be of any version."""
    cohorts = found if isinstance(found := data.get("cohorts"), list) else []
    given = [one.get("dicom_root") for one in (data, *cohorts) if isinstance(one, dict)]
    return {Path(root).resolve() for root in given if root and isinstance(root, str)}


def _fact(path: Path, key: str) -> str | None:
    """What a JSON file says of one thing; None where it cannot be read."""
    try:
        return str(disk.read_json(path)[key])
    except (OSError, ValueError, TypeError, LookupError):
        return None
