"""A synthetic cohort on disk: a folder of CT files for each study and labels.csv with their scores."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cac_hpc.phantom import habitus, phantom, truth
from cac_hpc.run import logs
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.phantom_command import PhantomConfig
from cac_hpc.volumes import dicom

EDGES = LabelsConfig.edges  # Agatston scores; a category ends at its edge, the edge included
SHARES = (12, 7, 11, 12, 11, 15)  # studies of each category in the cohort that is imitated
Target = tuple[float, float]
TARGETS: tuple[Target, ...] = ((0, 0), (1.2, 9.8), (10.5, 99), (101, 399), (401, 990), (1005, 4000))  # per category
EASY_TARGETS: tuple[Target, ...] = ((0, 0), (2, 9), (40, 95), (180, 350), (550, 900), (1600, 4000))
SERIES = "Pro_Gated_CS_3.0_I30f_3_70%"
ABOVE = LabelsConfig.edges[-1]
BLANK, TEXT, ABSENT = 2, 4, 6  # rows of the sheet, from 0, whose score is left out, is text, or which are not there
STRAY = "no images,12.5"  # a row without a study


class Order(NamedTuple):
    """A study to be written, and where."""

    folder: Path
    truth: Path | None
    number: int  # in the cohort, from 1
    category: int
    settings: PhantomConfig


def write_cohort(settings: PhantomConfig) -> None:
    """Write ``OUT/<study>/`` with the files of each study and ``OUT/labels.csv``; OUT appears when all are complete.

    Raises: InputError if OUT or TRUTH exists and is not an empty folder, or voxels are too coarse for the low scores.
    """
    named = {"--out": settings.out} | ({"--truth": settings.truth} if settings.truth is not None else {})
    for option, folder in named.items():
        if Path(folder).exists() and not (Path(folder).is_dir() and not any(Path(folder).iterdir())):
            raise InputError(f"{option} {folder} exists and is not an empty folder: remove it or name another")
    with _complete_folder("--out", settings.out) as out:
        if settings.truth is None:
            _write_all(out, None, settings)
        else:
            with _complete_folder("--truth", settings.truth) as aside:
                _write_all(out, aside, settings)
    logs.log.info("%d studies and labels.csv are in %s", settings.studies, settings.out)


def categories(studies: int, seed: int) -> list[int]:
    """The category of each study: shares by largest remainder, at least 2 of each from 12 studies on, order by seed."""
    exact = np.array(SHARES) * studies / sum(SHARES)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: studies - counts.sum()]] += 1
    while studies >= 2 * len(SHARES) and counts.min() < 2:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    in_order = np.repeat(np.arange(len(SHARES)), counts)
    return [int(category) for category in np.random.default_rng([seed, 0]).permutation(in_order)]


def category_of(score: float) -> int:
    return int(np.searchsorted(EDGES, score, side="left"))


def render(index: int, category: int, settings: PhantomConfig) -> phantom.Study:
    """Make one study. The same seed, index, category and settings give the same bytes.

    Args:
        index: number of the study in its cohort, from 1.
        category: 0 to 5; the score of the stored voxels lies inside it.
    Raises: InputError if voxels are too coarse for a score that low.
    """
    targets = EASY_TARGETS if settings.easy else TARGETS
    protocol = habitus.protocol_of(index, settings)
    study = phantom.render(np.random.default_rng([settings.seed, index]), settings, targets[category], protocol)
    found = category_of(study.score)
    assert found == category, f"study {index} scores {study.score}, which is not in category {category}"
    return study


def printed_score(score: float) -> str:
    """A score with one decimal, rounded up: a category ends at its edge, so this never leaves the category."""
    return f"{math.ceil(round(score * 10, 6)) / 10:.1f}"


def _write_all(out: Path, aside: Path | None, settings: PhantomConfig) -> None:
    """Write the studies, several at a time, then the sheet and the lists of truth."""
    orders = [
        Order(out / folder_name(index, settings), aside, index, category, settings)
        for index, category in enumerate(categories(settings.studies, settings.seed), start=1)
    ]
    written = []
    with logs.progress("studies written", len(orders)) as advance:
        for facts in _write_side_by_side(orders):
            written.append(facts)
            advance()
    rows = [(order.folder.name, printed_score(study.score)) for order, study in zip(orders, written, strict=True)]
    (out / "labels.csv").write_text(sheet(rows, settings), encoding="utf-8")
    if aside is not None:
        truth.write_lists(aside, written)


def _write_side_by_side(orders: Sequence[Order]) -> Iterator[truth.Facts]:
    workers = min(len(orders), orders[0].settings.workers or len(os.sched_getaffinity(0)))
    if workers == 1:
        yield from map(_write_study, orders)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_study, orders)


def _write_study(order: Order) -> truth.Facts:
    """Render one study, write its files, and its mask where truth is asked for."""
    settings, index = order.settings, order.number
    study = render(index, order.category, settings)
    frame = study.frame
    rng = np.random.default_rng([settings.seed, index, 1])  # of the study's number alone: no header tells the category
    header = habitus.attributes(rng, frame.protocol, frame.field_of_view_mm, frame.thickness_mm)
    if settings.people:
        header |= habitus.person(np.random.default_rng([settings.seed, index, 2]))
    dicom.write_series(
        order.folder / series_name(index, settings),
        study.hu_ZHW,
        pixel_spacing_mm=frame.pixel_mm,
        slice_spacing_mm=frame.spacing_mm,
        first_z_mm=frame.first_z_mm,
        uid_entropy=uid_entropy(index, settings),
        attributes=header | attributes(index, settings),
        intercept_hu=frame.protocol.intercept_hu,
        descending=descending(index, settings),
    )
    if order.truth is not None:
        truth.write_mask(order.truth, order.folder.name, study)
    return truth.facts(order.folder.name, study)


@contextmanager
def _complete_folder(option: str, wanted: str) -> Iterator[Path]:
    """Yield a scratch folder beside ``wanted``; it gets that name when the block ends well, and goes otherwise."""
    path = Path(wanted).absolute()
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{option} {path}: {error.strerror}, wanted a folder that can be written") from error
    try:
        yield scratch
        scratch.replace(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def folder_name(index: int, settings: PhantomConfig) -> str:
    """The study's number: with a letter, a blank and %, or a dot in some."""
    plain = f"{index:03d}"
    odd = (plain, f"{index}A", f"{plain} 70%", f"{plain}.x")
    return odd[index % 4] if settings.surprises else plain


def series_name(index: int, settings: PhantomConfig) -> str:
    """The folder of the files in the study's folder, empty for the same."""
    return SERIES if settings.surprises and index % 3 == 0 else ""


def uid_entropy(index: int, settings: PhantomConfig) -> list[str]:
    """What the UIDs of a study are made of: different images have different UIDs."""
    sizes = (settings.seed, settings.studies, settings.slices, settings.matrix, settings.field_of_view_mm, index)
    hard = (*settings.active, settings.anatomy_seed) if settings.active else ()
    turns = ("scanners", settings.scanners, settings.degraded) if settings.scanners else ()
    return ["cac_hpc phantom", *map(str, (*sizes, *hard, *turns))]


def attributes(index: int, settings: PhantomConfig) -> dict[str, object]:
    """Header elements that are odd: no study and series UID in some, UIDs that are none in others."""
    if not settings.surprises or index % 5 > 1:
        return {}
    made_up = None if index % 5 == 0 else f"1.2.840.0113619.02.{index}"  # no part of a UID starts with 0
    return {"StudyInstanceUID": made_up, "SeriesInstanceUID": made_up and f"{made_up}.01"}


def descending(index: int, settings: PhantomConfig) -> bool:
    """Whether instance numbers run from the head down."""
    return settings.surprises and index % 2 == 0


def sheet(rows: Sequence[tuple[str, str]], settings: PhantomConfig) -> str:
    """The label sheet as CSV.

    Args:
        rows: study and score of each.
    """
    if not settings.surprises:
        return "\n".join(["study,score", *(f"{study},{score}" for study, score in rows)]) + "\n"
    lines = ["study ,score ,remark"]
    for number, (study, _) in enumerate(rows):
        if number != ABSENT:
            lines.append(f"{study},{_odd_score(number, rows)},")
    return "\n".join([*lines, f"{STRAY},"]) + "\n"


def _odd_score(number: int, rows: Sequence[tuple[str, str]]) -> str:
    """Of those above the last edge the first says no more than that, the second has a comma in it."""
    score = rows[number][1]
    high = [at for at, (_, value) in enumerate(rows) if float(value) > ABOVE and at not in (BLANK, TEXT, ABSENT)]
    if number in high[:2]:
        return f">{ABOVE:g}" if number == high[0] else f'"{float(score):,}"'
    return {BLANK: "", TEXT: "n/a"}.get(number, score)
