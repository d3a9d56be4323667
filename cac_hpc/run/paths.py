"""Every file name that two jobs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cac_hpc.settings import stored_settings

EXTERNAL_TEST = "external.json"  # what an external test was made of, beside its report
STATUSES = ("COMPLETE", "PARTIAL", "PROVISIONAL", "EXTERNAL")  # of a report
PAGES = (("html", True), ("html", False), ("md", True))  # the pages that people open, the best one first


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
        return self.root / stored_settings.CONFIG

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def ledger(self) -> Path:
        return self.root / stored_settings.LEDGER

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


def is_external_test(folder: Path) -> bool:
    """Whether a folder holds an external test, and is no run."""
    return (folder / EXTERNAL_TEST).is_file() and not RunPaths(folder).config.is_file()


def page_name(status: str, suffix: str, images: bool = True) -> str:
    """File name of a report's page, html or md: it says if that is not the whole report, or has no slices in it."""
    marks = [status] * (status != "COMPLETE") + ["without_images"] * (not images)
    return f"{'_'.join(['report', *marks])}.{suffix}"


def prediction_plan(out: Path) -> Path:
    """What jobs/predict.py has planned, in the folder of its results."""
    return out / "parts" / "plan.json"
