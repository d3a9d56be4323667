"""Every picture of a report, by the name of its file: a new one goes here. The owner of matplotlib and Pillow.

PNG and SVG; same numbers, same bytes. One column of a paper is 89 mm wide, two are 183 mm; letters are 7 to 8 points
there. Colours: Okabe and Ito, which the colour-blind distinguish; shares of a whole in one hue from light to dark.
Axes: N slice, S row and column.
"""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter
from PIL import Image

from cac_hpc.dataset import plan, shards
from cac_hpc.machine import workers
from cac_hpc.machine.workers import Lost, Worker
from cac_hpc.report import wording
from cac_hpc.run import logs, paths
from cac_hpc.run.config import InputError, ReportConfig
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.statistics import results
from cac_hpc.statistics.results import Absent, Bin, Example, Examples, Layer, Level, Report, Training

PATIENCE_S = 600.0  # for one shard's slices
GALLERIES = {"slices": "Sample slices", "misclassified": "Misclassified slices"}  # by how names of files begin
CURVES = ("epoch", "train_loss", "val_loss", "learning_rate")
COLUMN, PAGE = 89 / 25.4, 183 / 25.4  # inches
CAPTION = 24  # characters in a line, a sixth of a page wide
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar sign in a name begins no formula
    "svg.fonttype": "path",  # looks the same on machines without the font
}


@dataclass(frozen=True)
class Picture:
    """A figure at the end of a section of the page, below which its caption stands."""

    section: str  # its id in page.html
    caption: str
    draw: Callable[[Path, Report, str, int], None]  # stem of its files, what it is of in words, dots per inch


def training(report: Report) -> list[Training]:
    """Of every fold that is there.

    Raises: Damaged if metrics.json of one has something else.
    """
    return [results.from_json(facts, Training) for facts in report.training]


def network(report: Report) -> list[Layer]:
    """The layers that every fold has trained, empty where nobody knows."""
    return next((fold.layers or [] for fold in training(report)), [])


def draw(
    folder: Path, report: Report, histories: Mapping[int, Path], dataset: DatasetPaths, shown: ReportConfig
) -> None:
    """Draw what the report holds, the curves of its folds and the slices that it names.

    Args:
        histories: history.csv of each fold. dataset: that the slices are of. shown: dots per inch, and the window.
    """
    dpi, names = shown.figure_dpi, wording.category_names(report)
    where = ", ".join([f"{report.folds_found} of {report.split.folds} folds", *_marks(report)])
    for level, of_level in report.levels.items():
        title = f"{level.capitalize()} level, {where}, {wording.counted(level, of_level)}"
        _draw_level(folder, level, of_level, names, title, dpi)
    for stem, picture in PICTURES.items():
        picture.draw(folder / stem, report, where, dpi)
    curves = {fold.fold: _history(histories[fold.fold]) for fold in training(report)}
    if curves := {fold: table for fold, table in curves.items() if table}:
        draw_history(folder / "history", curves, f"Loss and learning rate by epoch, {where}", dpi)
    if layers := network(report):
        parameters = f"The network: {sum(layer.parameters for layer in layers):,} parameters"
        draw_network(folder / "network", layers, ", ".join([parameters, *_marks(report)]), dpi)
    _draw_slices(folder, report, dataset, shown)


def stems(prefix: str, found: Examples) -> Iterator[tuple[str, Example]]:
    """The file's stem of every slice that is shown, and the slice."""
    for number, example in enumerate(found.slices, start=1):
        yield f"{prefix}_{number:02d}", example


def window_name(window_hu: Sequence[float]) -> str:
    """The contrast window of the slices, as radiologists say it."""
    low, high = window_hu
    return f"window width {high - low:g} HU, level {(high + low) / 2:g} HU"


def _draw_level(folder: Path, level: str, of_level: Level, names: Sequence[str], title: str, dpi: int) -> None:
    matrix, unit = np.array(of_level.pooled.confusion_matrix), wording.units(level, of_level)
    draw_confusion(folder / f"confusion_{level}", matrix, names, title, unit, dpi)
    draw_reliability(folder / f"reliability_{level}", of_level.calibration.reliability, title, unit, dpi)


def _draw_folds(stem: Path, report: Report, where: str, dpi: int) -> None:
    if levels := {level: found for level, found in report.levels.items() if found.pooled.n}:
        draw_folds(stem, levels, f"Accuracy by fold, {where}", dpi)


def _draw_baseline(stem: Path, report: Report, where: str, dpi: int) -> None:
    """What the Agatston rule says of the same units: its scores, and its confusion matrices as files of their own."""
    if isinstance(found := report.rule, Absent):
        return
    for level, one in found.levels.items():
        if one.matrices:
            matrix, unit = np.array(one.matrices.reference.confusion_matrix), wording.units(level, report.levels[level])
            title = f"The Agatston rule, {level} level, {where}, {one.n.reference} {unit}"
            names = wording.category_names(report)
            draw_confusion(stem.with_name(f"confusion_{level}_rule"), matrix, names, title, unit, dpi)
    patients, edges = found.patients, [one.score_up_to for one in report.categories if one.score_up_to is not None]
    known = [pair for pair in zip(patients.score, patients.rule_score, strict=True) if pair[0] is not None]
    reported, of_rule = np.array(known, float).reshape(-1, 2).T
    title = f"Agatston score, by the rule and as reported, {where}, n = {len(known)}"
    draw_scores(stem, reported, of_rule, edges, title, dpi)


PICTURES = {  # by the stems of their files
    "folds": Picture(
        "verdict",
        "Accuracy of every fold, pooled with its 95 % interval, and what always guessing the largest category reaches.",
        _draw_folds,
    ),
    "scores": Picture(
        "rule",
        "Score of the rule over the reported one, a point for each test of a patient; the grid is the categories'.",
        _draw_baseline,
    ),
}


def _marks(report: Report) -> list[str]:
    mark = wording.status_mark(report)
    return [mark] if mark else []


def _history(path: Path) -> dict[str, np.ndarray]:
    """Columns of history.csv; empty where it is not there, or damaged, which is said."""
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path)
        columns = {name: table[name].to_numpy(float) for name in CURVES}
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s: cannot be read, its fold is left out of the curves (%s)", path, error)
        return {}
    return columns if len(table) else {}


def _draw_slices(folder: Path, report: Report, dataset: DatasetPaths, shown: ReportConfig) -> None:
    """Each slice as a picture of its own, and all of a kind as one figure."""
    examples = (report.examples.samples, report.examples.misclassified)
    wanted = {kind: dict(stems(kind, found)) for kind, found in zip(GALLERIES, examples, strict=True)}
    keys = [(one.study, one.slice) for of_kind in wanted.values() for one in of_kind.values()]
    pixels = _read_slices(dataset, keys) if keys else None
    if pixels is None:
        return
    for kind, of_kind in wanted.items():
        greys = [_grey(pixels[one.study, one.slice], shown.window_hu) for one in of_kind.values()]
        for stem, slice_SS in zip(of_kind, greys, strict=True):
            save_slice(folder / f"{stem}.png", slice_SS)
        if greys:
            captions = [logs.harmless(_caption(one, wording.category_names(report))) for one in of_kind.values()]
            title = ", ".join([GALLERIES[kind], window_name(shown.window_hu), *_marks(report)])
            draw_slices(folder / f"{kind}_all", np.stack(greys), captions, title, shown.figure_dpi)


def _caption(example: Example, names: Sequence[str]) -> str:
    return (
        f"study {example.study}, slice {example.slice}\ntrue: {names[example.true]}\n"
        f"predicted: {names[example.predicted]} ({example.probability:.2f})"
    )


def _grey(hu: np.ndarray, window_hu: Sequence[float]) -> np.ndarray:
    """HU as uint8, black at the window's lower edge and below, white at its upper edge and above."""
    low, high = window_hu
    return np.asarray((np.clip((hu - low) / (high - low), 0, 1) * 255).round(), np.uint8)


def _read_slices(dataset: DatasetPaths, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], np.ndarray] | None:
    """HU of slices (S, S) int16 by study and slice; None if a shard is not there any more, or damaged."""
    sealed = shards.read_checked(dataset.seal).get("shards", [])
    found: dict[tuple[str, int], np.ndarray] = {}
    worker = Worker(_read, PATIENCE_S, workers.GIB * 4, threading.Event())  # damaged HDF5 may end its process
    try:
        for studies, shard in zip(plan.read_plan(dataset)["shards"], sealed, strict=False):
            if mine := [key for key in keys if key[0] in set(studies)]:
                found |= worker.run((dataset.root / shard["file"], mine), lambda said: None)
    except (Lost, OSError, InputError):
        return None
    finally:
        worker.close()
    return found if set(keys) <= set(found) else None


def _read(task: tuple[Path, list[tuple[str, int]]], say: workers.Say) -> Any:
    """In the worker: slices of one shard."""
    return shards.read_slices(*task)


def draw_confusion(stem: Path, matrix: np.ndarray, names: Sequence[str], title: str, unit: str, dpi: int) -> None:
    """Draw a confusion matrix: counts, coloured by their share of the true category.

    Args:
        stem: path without suffix. matrix: (K, K) counts, rows true, columns predicted. unit: what is counted.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with mpl.rc_context(STYLE):
        figure, axes = _one(1.35 * COLUMN, 1.2 * COLUMN)
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*matrix.shape):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]}", ha="center", va="center", color=colour)
        labels = [textwrap.fill(textwrap.shorten(name, 40, placeholder=" ..."), 18) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), labels)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set(xlabel="predicted category", ylabel="true category", title=_wrapped(title, figure))
        figure.colorbar(image, ax=axes, label=f"share of the true category's {unit}", shrink=0.85)
        _save(figure, stem, dpi)


def draw_history(stem: Path, histories: Mapping[int, Mapping[str, np.ndarray]], title: str, dpi: int) -> None:
    """Draw training and validation loss and the learning rate over the epochs, one line per fold.

    Args:
        histories: of each fold the columns epoch, train_loss, val_loss and learning_rate of its history.csv.
    """
    parts = {
        "train_loss": "training loss\n(class-weighted)",
        "val_loss": "validation loss",
        "learning_rate": "learning rate",
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.38 * PAGE), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(1, 3), parts.items(), strict=True):
            for fold, history in histories.items():
                colour, dashes = COLOURS[fold % len(COLOURS)], DASHES[(fold // len(COLOURS) + fold) % len(DASHES)]
                axes.plot(history["epoch"], history[name], dashes, label=f"fold {fold}", color=colour, linewidth=1.1)
            axes.set(xlabel="epoch", ylabel=label)
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[:12], labels[:12], loc="outside lower center", ncols=6)
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_reliability(stem: Path, bins: Sequence[Bin], title: str, unit: str, dpi: int) -> None:
    """Draw the accuracy of predictions over their probability, with intervals, and how many there are."""
    known = [row for row in bins if row.n]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 1.15 * COLUMN), layout="constrained")
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", label="perfectly calibrated")
        x, y = [row.confidence for row in known], [row.accuracy for row in known]
        for row in known:
            if row.low is not None:
                axes.plot([row.confidence] * 2, [row.low, row.high], color=COLOURS[0], linewidth=1)
        axes.plot(x, y, color=COLOURS[0], marker="o", markersize=3.5, linewidth=1, label="observed, 95 % interval")
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=_wrapped(title, figure))
        axes.legend(loc="lower right")
        for row in bins:
            counts.bar(row.above, row.n, row.up_to - row.above, align="edge", color="0.75", edgecolor="w")
        counts.set(xlabel="highest probability", ylabel=unit)
        _save(figure, stem, dpi)


def draw_scores(
    stem: Path, reported: np.ndarray, rule: np.ndarray, edges: Sequence[float], title: str, dpi: int
) -> None:
    """Draw the rule's scores over the reported ones, on scales that are linear up to 1 and logarithmic above.

    Args:
        reported, rule: (N,) scores. edges: between the categories.
    """
    top = 1.5 * max([edges[-1], *reported, *rule])
    with mpl.rc_context(STYLE):
        figure, axes = _one(COLUMN, COLUMN)
        axes.plot([0, top], [0, top], color="0.6", linewidth=0.8)
        for edge in edges:
            axes.axvline(edge, color="0.85", linewidth=0.6, zorder=0)
            axes.axhline(edge, color="0.85", linewidth=0.6, zorder=0)
        axes.plot(reported, rule, "o", color=COLOURS[0], markersize=3, alpha=0.7, markeredgewidth=0)
        ticks = sorted({0, *edges})
        for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            set_scale("symlog", linthresh=1)
            axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_minor_locator(NullLocator())
        axes.tick_params(axis="x", labelrotation=45)  # 400 and 1000 are close
        axes.set(xlim=(-0.2, top), ylim=(-0.2, top), xlabel="reported score", ylabel="score of the rule")
        axes.set_title(_wrapped(title, figure))
        _save(figure, stem, dpi)


def draw_folds(stem: Path, levels: Mapping[str, Level], title: str, dpi: int) -> None:
    """Draw the accuracy of each fold, the pooled one with its interval, and the largest category's share."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(PAGE, 0.32 * PAGE), layout="constrained")
        for axes, (level, found) in zip(figure.subplots(1, len(levels), squeeze=False)[0], levels.items(), strict=True):
            values = {fold.fold: fold.figures["accuracy"].value for fold in found.folds}
            folds = {fold: value for fold, value in values.items() if value is not None}
            pooled, majority = (found.pooled.figures[name] for name in ("accuracy", "majority_accuracy"))
            axes.plot(list(folds.values()), range(len(folds)), "o", color=COLOURS[0], markersize=4, clip_on=False)
            bottom = len(folds)
            if pooled.low is not None:
                axes.plot([pooled.low, pooled.high], [bottom] * 2, color="black", linewidth=1.2)
            axes.plot([pooled.value], [bottom], "D", color="black", markersize=5)
            axes.axvline(majority.value, color=COLOURS[1], linestyle="--", linewidth=1)
            axes.annotate(
                "always the largest category", (majority.value, 1), (2, 2), textcoords="offset points",
                xycoords=("data", "axes fraction"), color=COLOURS[1], fontsize=7,
            )  # fmt: skip
            axes.set_yticks([*range(len(folds)), bottom], [*(f"fold {fold}" for fold in folds), "pooled [95 %]"])
            axes.invert_yaxis()
            axes.set(xlim=(0, 1), xlabel=f"accuracy, {level} level")
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def draw_network(stem: Path, layers: Sequence[Layer], title: str, dpi: int) -> None:
    """Draw the network: a block for every layer that computes, as high as its image and as wide as it has channels."""
    with mpl.rc_context(STYLE):
        figure, axes = _one(PAGE, 0.36 * PAGE)
        left = 0.0
        for layer, labels in _blocks(layers):
            shape = layer.output
            height = np.log2(shape[-1]) if len(shape) == 3 else 0.75 * np.log2(max(shape[0], 2))
            width = 0.28 * np.log2(shape[0] + 1) if len(shape) == 3 else 0.3
            colour = COLOURS[0] if len(shape) == 3 else COLOURS[4]
            alpha = 0.25 if not layer.parameters else 0.75
            axes.add_patch(Rectangle((left, -height / 2), width, height, facecolor=colour, alpha=alpha, edgecolor="k"))
            middle = left + width / 2
            axes.text(middle, height / 2 + 0.2, " x ".join(map(str, shape)), ha="center", va="bottom", fontsize=6)
            axes.text(middle, -height / 2 - 0.2, "\n".join(labels), ha="center", va="top", fontsize=6)
            left += width + max(0.5, 2.6 - width)
        axes.set(xlim=(-1.3, left - 0.6), ylim=(-6.2, 5.2), title=_wrapped(title, figure))
        axes.axis("off")
        _save(figure, stem, dpi)


def draw_slices(stem: Path, slices_NSS: np.ndarray, captions: Sequence[str], title: str, dpi: int) -> None:
    """Draw slices, six in a row, each with its caption.

    Args:
        slices_NSS: (N, S, S) uint8, at least one.
    """
    columns = min(6, len(slices_NSS))
    rows = -(-len(slices_NSS) // columns)
    captions = ["\n".join(textwrap.fill(line, CAPTION) for line in caption.splitlines()) for caption in captions]
    lines = 1 + max(caption.count("\n") for caption in captions)
    with mpl.rc_context(STYLE):
        cell = PAGE / 6
        figure = Figure(figsize=(cell * columns, (cell + 0.11 * lines) * rows + 0.3), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in every:
            axes.axis("off")
        for axes, slice_SS, caption in zip(every, slices_NSS, captions, strict=False):
            axes.imshow(slice_SS, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            axes.set_title(caption, fontsize=6, loc="left")
        figure.suptitle(_wrapped(title, figure), fontsize=8)
        _save(figure, stem, dpi)


def save_slice(path: Path, slice_SS: np.ndarray) -> None:
    """Write one slice (S, S) uint8 as PNG, pixel by pixel."""
    with paths.atomic(path) as scratch:
        Image.fromarray(slice_SS).save(scratch, format="PNG", optimize=True)


def _blocks(layers: Sequence[Layer]) -> list[tuple[Layer, list[str]]]:
    """The input and the layers with weights, with what stands below: their own label, those of layers that follow."""
    blocks: list[tuple[Layer, list[str]]] = []
    for layer in layers:
        label = f"{layer.layer} {layer.detail}".rstrip()
        if layer.parameters or not blocks or layer.layer == "Flatten":
            blocks.append((layer, [label]))
        else:
            blocks[-1][1].append(label)
    return blocks


def _one(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _wrapped(title: str, figure: Figure) -> str:
    """A title in lines that the figure is wide enough for."""
    return textwrap.fill(title, int(13 * figure.get_figwidth()))


def _save(figure: Figure, stem: Path, dpi: int) -> None:
    with mpl.rc_context({"svg.hashsalt": stem.name}):
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            with paths.atomic(stem.with_suffix(f".{kind}")) as scratch:
                figure.savefig(scratch, format=kind, dpi=dpi, metadata=metadata)
            figure.set_layout_engine("none")  # it is laid out now, for the second format, too
