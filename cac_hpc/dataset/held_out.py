"""Groups of patients that folds hold out, or are stratified on: of which group each study is, settled at launch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.labels.labels import Label
from cac_hpc.run import causes, disk, logs
from cac_hpc.run.causes import NEW_RUN
from cac_hpc.run.logs import amount
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig
from cac_hpc.volumes import dicom_study
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.scanner import UNKNOWN

READERS = 16  # headers read at the same time: on a network drive each waits for its answer
SEVERAL = "several"  # in place of a group, of a patient with studies of more than one
NAMED = 10  # groups, or studies, that a message names
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Groups:
    """By which fact patients form groups, the group of each study, and the groups that have a fold, in their order."""

    fact: str
    of_study: Mapping[str, str]
    tested: tuple[str, ...]

    def of_patients(self, patient: Mapping[str, str]) -> dict[str, str]:
        """The group of each patient, SEVERAL where studies are of more than one.

        Args:
            patient: of each study.
        """
        every = self.all_of_patients(patient)
        return {name: SEVERAL if len(groups) > 1 else next(iter(groups)) for name, groups in every.items()}

    def all_of_patients(self, patient: Mapping[str, str]) -> dict[str, set[str]]:
        """All groups of each patient's studies."""
        found: dict[str, set[str]] = {}
        for study, name in patient.items():
            found.setdefault(name, set()).add(self.of_study[study])
        return found


def settle(
    labels: Mapping[str, Label], entries: Callable[[str], Sequence[Entry]], cfg: SplitConfig, kept: Path
) -> Groups | None:
    """The groups that the settings ask for; those of a run that has them already are taken as they are.

    Args:
        labels: of the studies. entries: lists the files of a study, whose scanner is in the header of the first image.
        kept: groups.json of the run.
    Raises: InputError if there are fewer than two groups to be tested.
    """
    if cfg.group is None:
        return None
    if kept.exists() and (known := read(kept)).of_study.keys() == labels.keys():
        return known
    of_study = dict(zip(labels, _groups(labels, entries, cfg.group), strict=True))
    found = Groups(cfg.group, of_study, ())
    counts = Counter(found.of_patients({study: label.patient for study, label in labels.items()}).values())
    names = sorted(name for name, count in counts.items() if name not in (UNKNOWN, SEVERAL))
    if cfg.scheme != "leave_one_out":
        return found
    tested = tuple(name for name in names if counts[name] >= cfg.smallest_group)
    if len(tested) < 2:
        sizes = logs.first_of([f"{logs.harmless(name)} {count}" for name, count in counts.most_common()], NAMED)
        raise InputError(
            f"split.group is {cfg.group}, but of {cfg.smallest_group} patients or more (split.smallest_group) are "
            f"{amount(len(tested), 'group')}; wanted two at least, found patients of: {sizes}"
        )
    return Groups(cfg.group, of_study, tested)


def _groups(labels: Mapping[str, Label], entries: Callable[[str], Sequence[Entry]], fact: str) -> list[str]:
    """The group of each study; UNKNOWN where neither sheet nor header says it."""
    if fact == "site":
        return [label.site for label in labels.values()]
    if fact != "scanner":
        return [label.groups.get(fact) or UNKNOWN for label in labels.values()]
    with ThreadPoolExecutor(READERS) as pool, logs.progress("headers read for split.group", len(labels)) as advance:
        found = []
        for scanner in pool.map(lambda study: dicom_study.read_scanner(entries(study)), labels):
            found.append(scanner)
            advance()
    return found


def write(path: Path, groups: Groups | None) -> None:
    """Write groups.json, once; nothing where patients form none."""
    if groups is not None and not path.exists():
        disk.write_json(path, {"format": FORMAT_VERSION, **vars(groups)})


def read(path: Path) -> Groups:
    """The groups of a run.

    Raises: InputError if they are missing or damaged.
    """
    try:
        content = disk.read_json(path)
        of_study, tested = dict(content["of_study"]), tuple(map(str, content["tested"]))
        if content["format"] == FORMAT_VERSION and all(isinstance(name, str) for name in of_study.values()):
            return Groups(str(content["fact"]), of_study, tested)
    except OSError:
        raise InputError(causes.error(f"{path}: not there, wanted the groups of patients", NEW_RUN)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise InputError(causes.error(f"{path}: damaged, wanted the groups of patients", NEW_RUN))


def check_packed(groups: Groups, packed: Mapping[str, str]) -> None:
    """The scanners of the series that were packed are those that the launch found.

    Args:
        packed: scanner of each study.
    Raises: InputError naming the studies in which another series was taken, of another scanner.
    """
    wrong = [study for study, scanner in packed.items() if groups.of_study[study] != scanner]
    if wrong:
        some, first = logs.first_of([*map(repr, wrong)], NAMED), wrong[0]
        found = f"{logs.harmless(packed[first])} of the packed series of {first!r}"
        raise InputError(
            f"split.group is scanner: {amount(len(wrong), 'study')} ({some}) with images of several scanners; "
            f"found {found}, at launch {logs.harmless(groups.of_study[first])} by their first image; "
            "leave one series in each folder, and start a new run"
        )


def notes(groups: Groups, patient: Mapping[str, str], cfg: SplitConfig) -> Iterator[str]:
    """What is not tested, and why; of a scheme that is stratified only, patients of several groups.

    Args:
        patient: of each study.
    """
    of_patient = groups.of_patients(patient)
    counts = Counter(of_patient.values())
    if several := counts[SEVERAL]:
        what = "they are tested nowhere, and train where none of their groups is tested" * bool(groups.tested)
        yield f"{several} patients have studies of several groups (split.group){': ' * bool(what)}{what}"
    if not groups.tested:
        return
    small = {name: count for name, count in counts.items() if name not in (*groups.tested, SEVERAL, UNKNOWN)}
    if small:
        sizes = ", ".join(f"{logs.harmless(name)} {count}" for name, count in sorted(small.items())[:NAMED])
        yield (
            f"groups of fewer than {cfg.smallest_group} patients (split.smallest_group) train in every fold and are "
            f"not tested: {sizes}"
        )
    if unknown := [study for study, name in patient.items() if of_patient[name] == UNKNOWN]:
        some = logs.first_of([*map(repr, unknown)], NAMED)
        yield f"studies of an unknown group train in every fold, which may be of the tested group: {some}"


def table(groups: Groups, patient: Mapping[str, str], tested: Sequence[Iterable[str]]) -> list[list[str]]:
    """A row for each group, below the names of the columns: its patients, and how many of them each fold tests, or
    which fold tests it.

    Args:
        tested: the studies that each fold tests.
    """
    of_patient = groups.of_patients(patient)
    counts = Counter(of_patient.values())
    names = sorted(counts, key=lambda one: (one in (SEVERAL, UNKNOWN), one))
    if groups.tested:
        fold_of = {name: str(fold) for fold, name in enumerate(groups.tested)}
        rows = [[logs.harmless(name), str(counts[name]), fold_of.get(name, "none")] for name in names]
        return [[groups.fact, "patients", "tested in fold"], *rows]
    in_fold = [Counter(of_patient[name] for name in {patient[study] for study in fold}) for fold in tested]
    rows = [[logs.harmless(name), str(counts[name]), *(str(fold[name]) for fold in in_fold)] for name in names]
    return [[groups.fact, "patients", *(f"fold {fold}" for fold in range(len(in_fold)))], *rows]
