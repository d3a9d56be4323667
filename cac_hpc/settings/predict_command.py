"""Options of predicting, on this machine or as jobs."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cac_hpc.settings import evaluate_command
from cac_hpc.settings.checks import require, within
from cac_hpc.settings.data import Format
from cac_hpc.settings.labels import LabelsConfig

Gate = Literal["warn", "refuse"]


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Which bundle predicts which studies, how, and where the results go.

    shard, gather: what a job of --cluster is asked to do; people do not set them.
    """

    bundle: str  # a folder or file written by jobs/export.py
    folder: str  # one study, or a folder of them
    out: str
    single: bool = False  # the folder is one study, even if no CT slice lies in it directly
    format: Format = "auto"  # of the studies
    gate: Gate = "warn"  # what becomes of a study outside of the training range: predicted and marked, or refused
    workers: int | None = None  # processes; None takes one per CPU. The results do not depend on it
    pictures: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of a network of slices; auto: a GPU if there is one
    dicom: bool = False  # a Structured Report and a Segmentation of each study, which name its patient
    mass_factor: float | None = None  # mg per mm3 and HU, from a calibration of the scanner; None: no mass
    json: bool = False
    labels: LabelsConfig | None = None  # a sheet to hold the predictions against; its categories are the bundle's
    cluster: str | None = None  # a file of the section cluster
    shards: int | None = None  # tasks of the array; None: as many as the studies need
    shard: int | None = None
    gather: bool = False

    def __post_init__(self) -> None:
        within(self, "--", workers=(1, 256), shards=(1, None))
        there = importlib.util.find_spec("highdicom") is not None
        wanted = 'left out, or highdicom be installed: pip install -c constraints.txt -e ".[dicom]"'
        require(there or not self.dicom, "--dicom", self.dicom, wanted)
        factor = self.mass_factor
        require(factor is None or 0 < factor < 1, "--mass_factor", factor, "above 0 and below 1 mg per mm3 and HU")
        require(factor is None or self.dicom, "--mass_factor", factor, "left out where --dicom is not given")
        jobs = self.cluster or self.shard is not None
        require(self.shards is None or bool(jobs), "--shards", self.shards, "left out where --cluster is not given")
        out, folder = Path(self.out).resolve(), Path(self.folder).resolve()
        outside = folder not in (out, *out.parents)
        require(outside, "--out", self.out, f"a folder outside of {self.folder}, where studies are looked for")


def arguments(cfg: PredictConfig) -> list[str]:
    """The command line that gives these settings, from whatever folder; without those of --cluster."""
    found = [str(Path(cfg.bundle).absolute()), str(Path(cfg.folder).absolute()), "--out", str(Path(cfg.out).absolute())]
    found += ["--gate", cfg.gate, "--device", cfg.device]
    found += ["--format", cfg.format] if cfg.format != "auto" else []
    found += ["--mass_factor", repr(cfg.mass_factor)] if cfg.mass_factor is not None else []
    found += ["--dicom"] * cfg.dicom
    found += [] if cfg.labels is None else evaluate_command.label_arguments(cfg.labels)
    return found + ["--single"] * cfg.single + ["--no_pictures"] * (not cfg.pictures)


def parse_predict(doc: str | None, argv: Sequence[str] | None = None) -> PredictConfig:
    """Read ``BUNDLE STUDIES --out DIR [OPTION ...]``.

    Raises: InputError for a value that cannot be.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("bundle", metavar="BUNDLE", help="what jobs/export.py wrote: a folder or a file")
    text = "a study, DICOM files in a folder or a NIfTI or NRRD file, or a folder of studies"
    parser.add_argument("folder", metavar="STUDIES", help=text)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the results; the same again goes on")
    parser.add_argument("--single", action="store_true", help="STUDIES is one study, also if it has only folders in it")
    text = "of the studies; auto (default): of each what its files are"
    parser.add_argument("--format", choices=get_args(Format), default="auto", help=text)
    text = "a study outside of the training range: warn predicts it and says so (default), refuse gives the reason only"
    parser.add_argument("--gate", choices=get_args(Gate), default="warn", help=text)
    parser.add_argument("--workers", type=int, metavar="N", help="processes; one per CPU if left out")
    parser.add_argument("--no_pictures", dest="pictures", action="store_false", help="pages without pictures")
    text = "what a network of slices is computed on; auto (default): a GPU if there is one"
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=text)
    text = "also write a DICOM report and a segmentation of each study, for its archive: these NAME THE PATIENT"
    parser.add_argument("--dicom", action="store_true", help=text)
    text = "mg per mm3 and HU of this scanner and tube voltage, for the mass in the DICOM report"
    parser.add_argument("--mass_factor", type=float, metavar="F", help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    text = "YAML file of cluster settings: studies are divided among the tasks of a SLURM array, and this returns"
    parser.add_argument("--cluster", metavar="FILE", help=text)
    parser.add_argument("--shards", type=int, metavar="N", help="tasks of the array; as the studies need if left out")
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--gather", action="store_true", help=argparse.SUPPRESS)
    evaluate_command.add_labels(parser)
    read = vars(parser.parse_args(argv))
    return PredictConfig(labels=evaluate_command.labels_of(read), **read)
