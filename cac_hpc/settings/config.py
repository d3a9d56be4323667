"""All settings of a run, with the checks of what one section says of another; as plain values, and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cac_hpc.settings.checks import ADDED, require
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.data import OWN, DataConfig
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.model import ModelConfig
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.report import ReportConfig
from cac_hpc.settings.split import SplitConfig
from cac_hpc.settings.train import TrainConfig
from cac_hpc.settings.trials import TrialsConfig

# settings that change no prediction
WITHOUT_EFFECT = ("train.allow_inexact_resume", "train.checkpoint_minutes", "train.occlusion", "train.residency")
ABSENT = object()  # in place of a setting that one of two does not have


@dataclass(frozen=True, kw_only=True)
class Config:
    """All settings of a run, checked against each other."""

    run: str  # the run folder: everything the run is lives there
    data: DataConfig
    labels: LabelsConfig
    pack: PackConfig
    split: SplitConfig
    model: ModelConfig
    train: TrainConfig
    cluster: ClusterConfig
    report: ReportConfig
    trials: TrialsConfig = field(default=TrialsConfig(), metadata=ADDED)

    def __post_init__(self) -> None:
        require(bool(self.run), "run", self.run, "the path of the run folder")
        self._check_cohorts()
        rule, wanted = self.pack.several_studies, "refuse: with labels.source sr a report must be of the only study"
        require(rule == "refuse" or self.labels.source != "sr", "pack.several_studies", rule, wanted)
        smallest = 2 ** len(self.model.filters)
        sizes = " -> ".join(str(self.pack.size // 2**count) for count in range(len(self.model.filters) + 1))
        wanted = f"at least {smallest}: model.filters halves it {len(self.model.filters)} times ({sizes})"
        require(self.pack.size >= smallest, "pack.size", self.pack.size, wanted)
        ranks, size = self.cluster.ranks, self.train.batch_size
        wanted = f"at least {ranks}, one slice per rank (cluster.nodes_per_fold x cluster.ranks_per_node)"
        require(size >= ranks, "train.batch_size", size, wanted)
        self._check_group()
        self._check_tried()

    def _check_group(self) -> None:
        """Patients form groups by what is known of them."""
        known = ("scanner", *(["site"] if self.data.cohorts else []), *self.labels.group_columns)
        group, wanted = self.split.group, f"one of {', '.join(known)} (labels.group_columns names columns), or null"
        require(group is None or group in known, "split.group", group, wanted)

    def _check_cohorts(self) -> None:
        """Each cohort could be a run of its own, and no setting is of one of them alone."""
        if not self.data.cohorts:
            self.labels.check_source()
            return
        for name in ("sheet", "masks"):
            given, wanted = getattr(self.labels, name), f"left out: each of data.cohorts has its own {name}"
            require(given is None, f"labels.{name}", given, wanted)
        given, wanted = self.pack.regions, "a path with {cohort} in it, as studies of two cohorts may have one name"
        require(given is None or "{cohort}" in given, "pack.regions", given, wanted)
        for index, one in enumerate(self.data.cohorts):
            own, every = one.group_columns or (), self.labels.group_columns
            wanted = f"some of labels.group_columns, {', '.join(every) or 'which has none'}"
            require({*own} <= {*every}, f"data.cohorts[{index}].group_columns", own, wanted)
        num_named = sum(one.cfg.labels.patient_column is not None for one in self.by_cohort())
        wanted = "false where fewer than two of data.cohorts have a patient_column"
        require(not self.data.shared_patients or num_named > 1, "data.shared_patients", True, wanted)

    def by_cohort(self) -> list[OneCohort]:
        """The cohorts, each with the settings of a run of it alone; this run itself where it has no data.cohorts.

        Raises: InputError if these cannot be.
        """
        return [self._alone(index) for index in range(len(self.data.cohorts))] or [OneCohort("", "", self)]

    def _alone(self, index: int) -> OneCohort:
        own, regions = self.data.cohorts[index], self.pack.regions
        data = dataclasses.replace(
            self.data, dicom_root=own.dicom_root, format=own.format or self.data.format, cohorts=(),
            shared_patients=False, subgroups=tuple(name for name in self.data.subgroups if name != "site"),
        )  # fmt: skip
        pack = dataclasses.replace(self.pack, regions=regions and regions.replace("{cohort}", own.name))
        cohort = OneCohort(own.name, f"data.cohorts[{index}]", self)
        with cohort.named():
            labels = dataclasses.replace(self.labels, **own.of_labels)
            alone = dataclasses.replace(self, data=data, labels=labels, pack=pack, split=SplitConfig())
        return dataclasses.replace(cohort, cfg=alone)

    def _check_tried(self) -> None:
        """Settings of trials are there where something is tried: else they would do nothing, without a word."""
        if self.trials.active:
            return
        wanted = "left out, as nothing is tried; or set trials.settings or trials.configurations"
        for key, section in (("trials.pruning", self.trials.pruning), ("trials", self.trials)):
            for spec in dataclasses.fields(section):
                value, usual = getattr(section, spec.name), getattr(type(section)(), spec.name)
                require(value == usual, f"{key}.{spec.name}", plain(value), wanted)

    @property
    def num_workers(self) -> int:
        """Processes that train trials."""
        return (self.trials.workers or self.split.folds) if self.trials.active else 0

    @property
    def gpus_asked(self) -> int:
        """GPUs that a job of folds asks for on each node."""
        return self.cluster.gpus_asked if self.train.device == "cuda" else 0


@dataclass(frozen=True)
class OneCohort:
    """A cohort of a run. name: "" if it is the only one. place: of its settings. cfg: those of a run of it alone."""

    name: str
    place: str
    cfg: Config

    def key(self, of: str) -> str:
        """What stands for a study or a patient of it in the run. No name has a point, so no two become one."""
        return f"{self.name}.{of}" if self.name else of

    def said(self, text: str) -> str:
        """What is said of a single cohort, with the names that the settings have in this one."""
        return OWN.sub(f"{self.place}.", text) if self.name else text

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors name the settings of this cohort."""
        try:
            yield
        except InputError as error:
            raise (InputError(self.said(str(error))) if self.name else error) from error.__cause__


def to_yaml(cfg: Config) -> str:
    from cac_hpc.settings import yaml_documents  # imports PyYAML

    return yaml_documents.write(plain(cfg))


def plain(section: Any) -> Any:
    """Settings as dictionaries, lists and plain values, the same after a round trip through YAML or JSON."""
    if dataclasses.is_dataclass(section):
        return {
            spec.name: plain(value)
            for spec in dataclasses.fields(section)
            if (value := getattr(section, spec.name)) != spec.default or spec.metadata.get("written", True)
        }
    if isinstance(section, tuple | list):
        return [plain(value) for value in section]
    return section


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Name every setting in which two plain settings differ, as ``key: one / other``; what one lacks is ``not set``."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        return [
            line
            for name in names
            for line in differences(one.get(name, ABSENT), other.get(name, ABSENT), f"{key}.{name}" if key else name)
        ]
    lists = isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
    if lists and all(isinstance(part, dict) for part in (*one, *other)):  # sections in a list
        pairs = enumerate(zip(one, other, strict=True))
        return [line for index, (first, second) in pairs for line in differences(first, second, f"{key}[{index}]")]
    shown = ("not set" if side is ABSENT else repr(side) for side in (one, other))
    return [] if one == other else [f"{key}: {' / '.join(shown)}"]
