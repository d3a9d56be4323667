"""What figures say in letters and numbers."""

import io
from itertools import pairwise
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cac_hpc.plots import canvas, charts, images, learning, performance
from cac_hpc.results.calibration import Bin
from cac_hpc.results.figures import Figure


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, instead of files."""
    found = []

    def save(figure, stem, dpi, kinds):
        figure.savefig(io.BytesIO())  # lays it out
        found.append(figure)

    monkeypatch.setattr(canvas, "save", save)
    return found


def labels(axis):
    return [label.get_text().replace("\N{MINUS SIGN}", "-") for label in axis.get_ticklabels()]


def test_scores_are_read_off_at_the_edges_of_the_categories(drawn, tmp_path):
    score = np.array([0.0, 8.0, 3000.0])
    performance.draw_scores(tmp_path / "scores", score, {"rule": score}, (0, 10, 100, 400, 1000), "Scores", 50)
    (axes,) = drawn[0].axes
    for axis in (axes.xaxis, axes.yaxis):
        assert labels(axis) == ["0", "10", "100", "400", "1000"]
        assert not axis.get_minorticklocs().size


@pytest.mark.parametrize("rates", [[0.001, 0.001, 0.001], [0.001, 0.0005, 1e-6]])
def test_learning_rates_are_read_off_as_numbers(drawn, tmp_path, rates):
    history = {"epoch": np.arange(1, 4), "train_loss": np.ones(3), "val_loss": np.ones(3), "learning_rate": rates}
    learning.draw_history(tmp_path / "history", {0: history}, "Loss", 50)
    axis = drawn[0].axes[2].yaxis
    low, high = axis.get_view_interval()
    shown = {f"{tick:g}": text for tick, text in zip(axis.get_ticklocs(), labels(axis), strict=True)}
    assert "0.001" in shown
    assert all(text == number for number, text in shown.items() if low <= float(number) <= high)


def test_captions_of_slices_stand_apart(drawn, tmp_path):
    longest = "study 001, slice 10\ntrue: Moderate/High\npredicted: Moderate/High (0.62)"
    images.draw_slices(tmp_path / "slices", np.zeros((7, 8, 8), np.uint8), [longest] * 7, "Slices", 50)
    boxes = [axes._left_title.get_window_extent() for axes in drawn[0].axes if axes._left_title.get_text()]
    assert len(boxes) == 7
    for one, other in pairwise(boxes[:6]):
        assert one.x1 < other.x0


def test_a_mark_at_the_edge_of_the_axes_is_whole(drawn, tmp_path):
    one, bins = Figure(1.0, 30, 0.9, 1.0, "Wilson", None), [Bin(0.9, 1.0, 30, 0.95, 1.0, 0.9, 1.0, "Wilson", None)]
    charts.draw_pairs(tmp_path / "pairs", {"accuracy": (one, one)}, ("here", "there"), "Figures", 50)
    performance.draw_reliability(tmp_path / "reliability", bins, "Reliability", "patients", 50)
    for figure in drawn:
        marks = [line for line in figure.axes[0].lines if line.get_marker() != "None" and len(line.get_xdata())]
        assert marks
        assert not any(line.get_clip_on() for line in marks)


def test_folds_that_test_a_group_go_by_its_name(drawn, tmp_path):
    figures = {name: Figure(0.5, 10, 0.2, 0.8, "Wilson", None) for name in ("accuracy", "majority_accuracy")}
    folds = [SimpleNamespace(fold=fold, figures=figures) for fold in range(3)]
    level = SimpleNamespace(folds=folds, pooled=SimpleNamespace(figures=figures))
    performance.draw_folds(tmp_path / "folds", {"patient": level}, {0: "east", 2: "west"}, "Accuracy by fold", 50)
    assert labels(drawn[0].axes[0].yaxis) == ["east", "fold 1", "west", "pooled [95 %]"]


def test_a_figure_is_laid_out_once_and_drawn_once_for_each_of_its_files(tmp_path, monkeypatch):
    counted = []
    for made, name in ((matplotlib.figure.Figure, "draw"), (ConstrainedLayoutEngine, "execute")):
        of = getattr(made, name)
        monkeypatch.setattr(made, name, lambda *given, of=of, name=name: counted.append(name) or of(*given))
    performance.draw_confusion(tmp_path / "confusion", np.eye(2, dtype=int), ["low", "high"], "Matrix", "patients", 50)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png", ".svg"]
    assert counted == ["execute", "draw", "draw"]
