"""Slices of patients that a report shows, as pictures. Axes: N slice, S row and column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cac_hpc.dataset import excerpts
from cac_hpc.plots import images, panels
from cac_hpc.report import packed
from cac_hpc.results.examples import Example, Examples
from cac_hpc.results.report import Report
from cac_hpc.run import disk, logs
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.sections import wording
from cac_hpc.settings.report import ReportConfig

GALLERIES = {"slices": "Sample slices", "misclassified": "Misclassified slices"}  # by how names of files begin


def stems(prefix: str, found: Examples) -> Iterator[tuple[str, Example]]:
    """The file's stem of every slice that is shown, and the slice."""
    for number, example in enumerate(found.slices, start=1):
        yield f"{prefix}_{number:02d}", example


def window_name(window_hu: Sequence[float]) -> str:
    """The contrast window of the slices, as radiologists say it."""
    low, high = window_hu
    return f"window width {high - low:g} HU, level {(high + low) / 2:g} HU"


def draw(folder: Path, report: Report, dataset: DatasetPaths, shown: ReportConfig, marks: Sequence[str]) -> None:
    """Draw each slice as a picture of its own, and all of a kind as one figure; nothing if a shard is damaged or gone.

    Args:
        shown: dots per inch, and the window. marks: what stands in every title.
    """
    examples = (report.examples.samples, report.examples.misclassified)
    wanted = {kind: dict(stems(kind, found)) for kind, found in zip(GALLERIES, examples, strict=True)}
    numbers: dict[str, set[int]] = {}
    for one in (one for of_kind in wanted.values() for one in of_kind.values()):
        numbers.setdefault(one.study, set()).add(one.slice)
    pixels = packed.read(dataset, numbers, excerpts.slices) if numbers else {}
    if len(pixels) < sum(map(len, numbers.values())):
        return
    for kind, of_kind in wanted.items():
        greys = [_grey(pixels[one.study, one.slice], shown.window_hu) for one in of_kind.values()]
        for stem, slice_SS in zip(of_kind, greys, strict=True):
            disk.write_bytes(folder / f"{stem}.png", panels.png(slice_SS))
        if greys:
            captions = [logs.harmless(_caption(one, wording.category_names(report))) for one in of_kind.values()]
            title = ", ".join([GALLERIES[kind], window_name(shown.window_hu), *marks])
            images.draw_slices(folder / f"{kind}_all", np.stack(greys), captions, title, shown.figure_dpi)


def _caption(example: Example, names: Sequence[str]) -> str:
    return (
        f"study {example.study}, slice {example.slice}\ntrue: {names[example.true]}\n"
        f"predicted: {names[example.predicted]} ({example.probability:.2f})"
    )


def _grey(hu: np.ndarray, window_hu: Sequence[float]) -> np.ndarray:
    """HU as uint8, black at the window's lower edge and below, white at its upper edge and above."""
    low, high = window_hu
    return np.asarray((np.clip((hu - low) / (high - low), 0, 1) * 255).round(), np.uint8)
