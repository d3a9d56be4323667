"""What a run will do, settled before anything is submitted: which studies, with which labels, in which shards."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from cac_hpc.calcium import candidates
from cac_hpc.dataset import held_out, integrity, kept_plan, regions, stratification, study_folders
from cac_hpc.dataset.held_out import Groups
from cac_hpc.dataset.splits import Fold
from cac_hpc.dataset.study_listing import Listed, list_cohorts
from cac_hpc.labels import group_values, label_rows
from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import SOURCES, Matched, match_labels
from cac_hpc.labels.spelling import near_equal
from cac_hpc.machine import memory, workers
from cac_hpc.run import digests, disk
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings.config import Config, OneCohort, plain
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files
from cac_hpc.volumes.files import Entry

# with the dataset; cohorts, too
KEPT = ("sha256", "shards", "listings", "unlabelled", "rows_without_study", "stray", "near_equal")
OPTIONAL = ("vessels", "groups", "site")  # of labels: kept where they are known


@dataclass(frozen=True)
class DatasetPlan:
    """The studies of every shard and the digest of all that the packed dataset depends on.

    folders: of each cohort those of its studies, labelled or not, as `study_folders.by_key` has them. folds: as they
    come out if every labelled study can be read; of slices, from the sealed dataset. Studies go by their
    keys: their names, or pseudonyms. near_equal: groups of nearly equal study numbers of different
    patients, which pseudonyms hide. listings: digest of each study's files. unlabelled: number of files
    of each study that is left out. stray: of files beside the study folders. cohorts: of each of several, the keys of
    the studies that are left out, and its rows and files of those numbers. groups: where split.group asks for them.
    """

    folders: dict[str, dict[str, Path]]
    folds: list[Fold]
    groups: Groups | None
    shards: list[list[str]]
    labels: dict[str, Label]
    listings: dict[str, str]
    unlabelled: dict[str, int]
    rows_without_study: int
    stray: int
    near_equal: int
    cohorts: dict[str, dict[str, Any]]
    sha256: str
    num_files: int
    num_bytes: int
    warnings: list[str]


@memory.many_objects()
def make_plan(cfg: Config) -> DatasetPlan:
    """List the studies, join them with their labels and try the folds; writes nothing.

    Raises: InputError naming file, study or setting, for whatever can be seen to be wrong before reading an image.
    """
    folders = study_folders.by_key(cfg)
    with workers.ahead(lambda: list_cohorts(cfg, folders)) as listing:
        parts = _parts(cfg, folders)
        labels = group_values.one_spelling({study: label for part in parts for study, label in part.labels.items()})
        groups = _groups(labels, cfg, folders)
        folds = _folds(labels, cfg, groups)
        listed = listing()
    listings = {part.site: _listings(part, listed[part.site]) for part in parts}
    unlabelled = {part.site: _unlabelled(part, listed[part.site]) for part in parts}
    step, studies = cfg.pack.studies_per_shard, [list(part.labels) for part in parts]
    return DatasetPlan(
        folders=folders,
        folds=folds,
        groups=groups,
        shards=[some[first : first + step] for some in studies for first in range(0, len(some), step)],
        labels=labels,
        listings={study: digest for some in listings.values() for study, digest in some.items()},
        unlabelled={study: count for some in unlabelled.values() for study, count in some.items()},
        rows_without_study=sum(len(part.matched.rows_without_study) for part in parts),
        stray=sum(found.stray for found in listed.values()),
        near_equal=sum(len(part.alike) for part in parts),
        cohorts={
            part.site: {
                "unlabelled": list(unlabelled[part.site]),
                "rows_without_study": len(part.matched.rows_without_study),
                "stray": listed[part.site].stray,
            }
            for part in parts
            if part.site
        },
        sha256=digests.content_sha256(_content(parts, listings, cfg)),
        num_files=sum(sum(found.num_files.values()) for found in listed.values()),
        num_bytes=sum(found.num_bytes for found in listed.values()),
        warnings=[line for part in parts for line in part.warnings] + _in_several(labels, cfg),
    )


@dataclass(frozen=True)
class _Part:
    """What the labels of one cohort say; studies go by their keys, names are by key."""

    cohort: OneCohort
    names: Mapping[str, str]
    matched: Matched
    alike: list[str]
    labels: dict[str, Label]
    warnings: list[str]

    @property
    def site(self) -> str:
        return self.cohort.name


def _parts(cfg: Config, folders: Mapping[str, dict[str, Path]]) -> list[_Part]:
    """What the labels of each cohort say.

    Args:
        folders: of each cohort, those of its studies by key.
    Raises: InputError as `make_plan`, naming the settings of the cohort.
    """
    cohorts, rows = cfg.by_cohort(), dict[str, list[Row]]()
    names = {site: {key: files.study_name(folder) for key, folder in some.items()} for site, some in folders.items()}
    for cohort in cohorts:
        with cohort.named():
            rows[cohort.name] = _rows(cohort.cfg, folders[cohort.name], names[cohort.name])
    shared = [row for some in rows.values() for row in some] if cfg.data.shared_patients else None
    parts = []
    for cohort in cohorts:
        with cohort.named():
            parts.append(_part(cohort, names[cohort.name], rows[cohort.name], shared))
    return parts


def _rows(cfg: Config, folders: Mapping[str, Path], names: Mapping[str, str]) -> list[Row]:
    """What the source of the labels says of the studies of a single cohort."""
    if cfg.labels.source == "masks":
        from cac_hpc.dataset import mask_labels  # it takes half a second, which other sources of labels do not need

        return mask_labels.read_rows(cfg, {names[key]: folder for key, folder in folders.items()})
    return SOURCES[cfg.labels.source](cfg.labels, list(names.values()), Path(cfg.data.dicom_root))


def _part(cohort: OneCohort, names: Mapping[str, str], rows: list[Row], shared: list[Row] | None) -> _Part:
    """Join the studies of a cohort with their labels.

    Args:
        names: of its studies by key. rows: of its labels.
        shared: those of all cohorts, if they name the same people.
    """
    cfg = cohort.cfg
    matched = match_labels(cfg.labels, list(names.values()), cfg.data.dicom_root, given=rows, people=shared)
    alike = _near_equal(matched, cfg)
    labels = _by_key(matched, names, cohort, shared is not None)
    said = _warnings(matched, alike) if cfg.data.pseudonym_key is None else _counts(matched, alike)
    said += regions.without_mask([names[study] for study in labels], cfg.pack)
    return _Part(
        cohort=cohort,
        names=names,
        matched=matched,
        alike=alike,
        labels=labels,
        warnings=[f"cohort {cohort.name}: {cohort.said(line)}" for line in said] if cohort.name else said,
    )


def _listings(part: _Part, listed: Listed) -> dict[str, str]:
    """Digest of the files of each study that has a label, its mask included."""
    pack = part.cohort.cfg.pack
    return {study: regions.listing(listed.digests[study], part.names[study], pack) for study in part.labels}


def _unlabelled(part: _Part, listed: Listed) -> dict[str, int]:
    """Number of files of each study that has no label."""
    return {study: count for study, count in listed.num_files.items() if study not in part.labels}


def _groups(labels: Mapping[str, Label], cfg: Config, folders: Mapping[str, Mapping[str, Path]]) -> Groups | None:
    """The groups that split.group asks for.

    Args:
        folders: of each cohort, those of its studies by key.
    """
    formats = {cohort.name: cohort.cfg.data.format for cohort in cfg.by_cohort()}

    def entries(study: str) -> list[Entry]:
        site = labels[study].site
        return files.list_files(folders[site][study], formats[site])

    return held_out.settle(labels, entries, cfg.split, RunPaths(Path(cfg.run)).groups)


def _content(parts: Sequence[_Part], listings: Mapping[str, Mapping[str, str]], cfg: Config) -> dict[str, Any]:
    """All that the packed dataset depends on; with several cohorts that of each, by its name.

    Args:
        listings: of each cohort, digest of the files of its labelled studies.
    """
    if not cfg.data.cohorts:
        return _content_of(parts[0], listings[parts[0].site])
    found = {part.site: _content_of(part, listings[part.site]) for part in parts}
    return {"cohorts": found, "shared_patients": cfg.data.shared_patients}


def _content_of(part: _Part, listings: Mapping[str, str]) -> dict[str, Any]:
    cfg = part.cohort.cfg
    pack = plain(replace(cfg.pack, regions=None))  # the masks themselves are in the listings
    del pack["limits"]["rejected_studies"]  # only the seal asks for it; the other limits choose studies
    return {
        "format_version": integrity.FORMAT_VERSION,
        "candidates_version": candidates.VERSION if cfg.pack.candidates else None,
        "pack": pack,
        "labels": {key: value for key, value in plain(cfg.labels).items() if key not in ("sheet", "masks")},
        "sheet": label_rows.content(cfg.labels) if cfg.labels.source == "sheet" else _written(part.labels),
        "files": listings,
        **({"format": cfg.data.format} if cfg.data.format != "auto" else {}),  # as it was before there was one
        **_grouping(cfg),
    }


def _in_several(labels: Mapping[str, Label], cfg: Config) -> list[str]:
    """How many people are in more than one cohort, where the sheets may say so."""
    if not cfg.data.shared_patients:
        return []
    sites: dict[str, set[str]] = {}
    for label in labels.values():
        sites.setdefault(label.patient, set()).add(label.site)
    count = sum(len(found) > 1 for found in sites.values())
    return [f"{count} of {len(sites)} patients are in several cohorts (data.shared_patients)"]


def _grouping(cfg: Config) -> dict[str, Any]:
    """What decides on groups in a dataset; nothing where there are none, as it was before."""
    if not cfg.data.subgroups and not cfg.labels.group_columns:
        return {}
    return {"subgroups": sorted(cfg.data.subgroups), "smallest_group": cfg.data.smallest_group}


def cohort_lines(plan: DatasetPlan) -> list[str]:
    """How many studies each of several cohorts has."""
    labelled = Counter(label.site for label in plan.labels.values())
    return [
        f"cohort {name}: {amount(labelled[name] + len(own['unlabelled']), 'study')}, "
        f"{labelled[name]} of them with a label"
        for name, own in plan.cohorts.items()
    ]


def check_dataset(dataset: DatasetPaths, plan: DatasetPlan) -> None:
    """A dataset folder that is already there must be this one.

    Raises: InputError if it holds or is becoming another dataset, or its plan is damaged.
    """
    if dataset.plan.exists() and kept_plan.read_plan(dataset)["sha256"] != plan.sha256:
        raise InputError(
            f"{dataset.root}: holds a dataset packed from other files, labels or settings than these; "
            "choose another data.packed_dir or run folder, or delete that one"
        )


def write_plan(dataset: DatasetPaths, plan: DatasetPlan) -> None:
    """Keep the plan beside the dataset, labels included: the sheet may change before the dataset is sealed."""
    if not dataset.plan.exists():
        kept = {name: getattr(plan, name) for name in (*KEPT, *(["cohorts"] if plan.cohorts else []))}
        disk.write_json(dataset.plan, kept | {"labels": _written(plan.labels)})


def _written(labels: Mapping[str, Label]) -> dict[str, dict[str, Any]]:
    """Labels as plain JSON, vessels, groups and site where they are known."""
    names = [field.name for field in fields(Label)]
    return {
        study: {name: value for name in names if (value := getattr(label, name)) or name not in OPTIONAL}
        for study, label in labels.items()
    }


def _folds(labels: Mapping[str, Label], cfg: Config, groups: Groups | None) -> list[Fold]:
    patient = {study: label.patient for study, label in labels.items()}
    category = {study: label.category for study, label in labels.items()}
    slices = _sealed_slices(cfg) if cfg.split.unit == "slice" else None
    folds = stratification.make_folds(patient, category, cfg.split, slices, groups)
    if cfg.trials.active and cfg.trials.inner_folds:
        for index, fold in enumerate(folds):  # the seal divides them again, of the studies that could be read
            seen = {study: patient[study] for study in (*fold.train, *fold.val)}
            stratification.inner_divisions(seen, category, cfg.trials.inner_folds, cfg.trials.seed, index)
    return folds


def _sealed_slices(cfg: Config) -> dict[str, int]:
    """The number of slices of each study of a sealed dataset; `contrast.check` has seen that it is the right one."""
    with RunPaths(Path(cfg.run)).dataset(cfg.data.packed_dir).studies.open(encoding="utf-8", newline="") as file:
        return {row["study"]: int(row["slices"]) for row in csv.DictReader(file)}


def _by_key(matched: Matched, names: Mapping[str, str], cohort: OneCohort, shared: bool) -> dict[str, Label]:
    """Labels by study key instead of name; without a patient column the patient is the study.

    Args:
        names: of the studies by key. shared: whether patients are the same people in all cohorts, else those of each
            are others.
    """
    labels, named = {}, cohort.cfg.labels.patient_column
    for study, name in names.items():
        if label := matched.labels.get(name):
            person = (label.patient if shared else cohort.key(label.patient)) if named else study
            as_it_is = (label.study, label.patient, label.site) == (study, person, cohort.name)
            labels[study] = label if as_it_is else replace(label, study=study, patient=person, site=cohort.name)
    return labels


def _near_equal(matched: Matched, cfg: Config) -> list[str]:
    """Nearly equal numbers of different patients; they may come into different parts of a fold.

    Raises: InputError naming all of them, unless the settings say that they are different people.
    """
    patient = {study: label.patient for study, label in matched.labels.items()}
    groups = [" and ".join(map(repr, studies)) for studies in near_equal(patient)]
    if groups and cfg.report.near_equal_ids == "refuse":
        raise InputError(
            f"{cfg.labels.origin}: nearly equal study numbers of different patients: {', '.join(groups)}; give them "
            "one patient in the sheet (labels.patient_column) or, if they are different people, go on: "
            "--report.near_equal_ids warn"
        )
    return [f"nearly equal study numbers of different patients: {group}" for group in groups]


def _warnings(matched: Matched, alike: Sequence[str]) -> list[str]:
    left_out = [f"left out: study {study!r}: {why}" for study, why in matched.unlabelled.items()]
    return [*matched.warnings, *alike, *left_out, *(f"left out: {row}" for row in matched.rows_without_study)]


def _counts(matched: Matched, alike: Sequence[str]) -> list[str]:
    """What may be said where the names of studies are to stay secret."""
    found = {
        "remarks about the labels": [warning for warning in matched.warnings if warning not in matched.hidden],
        "groups of nearly equal study numbers": alike,
        "studies left out": matched.unlabelled,
        "rows left out": matched.rows_without_study,
    }
    counts = [
        f"{len(items)} {what}; without data.pseudonym_key they are named" for what, items in found.items() if items
    ]
    return [*matched.hidden, *counts]
