"""Each fold's network as an ONNX file, compared with torch. The owner of onnx and onnxruntime, of the extra ``onnx``.

Axes: N slice or candidate, S row and column of a packed slice, F feature, K category.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cac_hpc.calcium import candidates
from cac_hpc.predict.bundle import Bundle
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.train import augment_slices
from cac_hpc.train.models import MODELS

NEEDED = ("onnx", "onnxruntime", "onnxscript")
OPSET = 20  # what torch 2.13 writes without converting
EXAMPLE = 2  # units of the example: torch fixes the batch to one where the example has one
CHECKED = (1, 2, 17)  # units of the batches that both compute
TOLERANCE = 1e-5  # of probabilities; both compute in float32, in another order
PROBABILITY, BATCH = "probability", "N"


class _OfCandidates(nn.Module):
    """Features (N, F) of candidates to the probability that each is coronary calcium, (N,): the mean over members."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        probability_N: Tensor = self.network(features).sigmoid().mean(dim=0)
        return probability_N


class _OfSlices(nn.Module):
    """Packed slices (N, S, S) float32 HU to the probabilities of the categories (N, K)."""

    def __init__(self, network: nn.Module, window_hu: tuple[float, float]) -> None:
        super().__init__()
        self.network, self.window_hu = network, window_hu

    def forward(self, hu: Tensor) -> Tensor:
        probability_NK: Tensor = self.network(augment_slices.window(hu, *self.window_hu)).softmax(dim=1)
        return probability_NK


def check_installed() -> None:
    """Raises: InputError if the extra is not installed."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(
            f'--onnx: found no {", ".join(missing)}, wanted the extra onnx: pip install -c constraints.txt -e ".[onnx]"'
        )


def files(bundle: Bundle) -> dict[str, bytes]:
    """An ONNX file of each fold, by its name in a bundle; the same weights give the same bytes.

    Raises: InputError if the extra onnx is not installed; WorkError if a file does not compute what torch does.
    """
    check_installed()
    return {f"fold-{fold}.onnx": _file(bundle, fold) for fold in range(len(bundle.weights))}


def _file(bundle: Bundle, fold: int) -> bytes:
    network = bundle.network(fold)
    of_candidates = MODELS[bundle.kind].row == "candidate"
    whole = _OfCandidates(network) if of_candidates else _OfSlices(network, bundle.of_fold(fold).window_hu)
    name = "features" if of_candidates else "hu"
    content = _exported(whole.eval(), name, example(bundle, EXAMPLE))
    for count in CHECKED:
        found = _largest_difference(whole, content, name, example(bundle, count))
        if not found <= TOLERANCE:
            raise WorkError(
                f"fold-{fold}.onnx differs from torch by {found:.2g} in a batch of {count}, wanted {TOLERANCE} at most"
            )
    return content


def example(bundle: Bundle, count: int) -> Tensor:
    """What a network is given, drawn at random: features of candidates, or slices in HU."""
    rng = np.random.default_rng(count)
    if MODELS[bundle.kind].row == "candidate":
        feature_NF = rng.normal(0, 30, (count, len(candidates.NAMES))).astype(np.float32)
        feature_NF[:, candidates.NAMES.index("region_share")] = rng.uniform(0, 1, count)
        return torch.from_numpy(feature_NF)
    size = bundle.pack.size
    return torch.from_numpy(rng.normal(0, 300, (count, size, size)).astype(np.float32))


def _exported(network: nn.Module, name: str, x: Tensor) -> bytes:
    """The network as ONNX, all of it in one file, whose first axis is as long as the batch."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (x,),
            path,
            input_names=[name],
            output_names=[PROBABILITY],
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        model = _imported("onnx").load(path)
    _without_places(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _without_places(model: Any) -> None:
    """Take out what torch notes of where it was: lines of code with their paths, as of every node."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for function in model.functions:
        for part in (function, *function.node, *function.value_info):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")


def _largest_difference(network: nn.Module, content: bytes, name: str, x: Tensor) -> float:
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (found,) = session.run([PROBABILITY], {name: x.numpy()})
    with torch.inference_mode():
        wanted = network(x).numpy()
    return float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")


def _imported(name: str) -> Any:
    return importlib.import_module(name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of packages that it does not find, and of its own use of what is deprecated."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
