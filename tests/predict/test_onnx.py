"""The folds' networks as ONNX: the same numbers as torch, in any batch, and nothing of where they were made."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cac_hpc.calcium import candidates
from cac_hpc.predict import onnx_files
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.train import augment_slices, lesion_model
from tests.support.exporting import SIZE, small_bundle
from tests.support.runs import REPO

onnx = pytest.importorskip("onnx", reason='needs the extra onnx: pip install -e ".[onnx]"')
onnxruntime = pytest.importorskip("onnxruntime", reason='needs the extra onnx: pip install -e ".[onnx]"')


@pytest.fixture(scope="module", params=["lesions", "slices"])
def made(request):
    """A bundle, and its ONNX files."""
    found = small_bundle(request.param, folds=1)
    return found, onnx_files.files(found)["fold-0.onnx"]


@pytest.mark.parametrize("count", [1, 2, 17, 100])
def test_onnxruntime_computes_what_torch_does(made, count):
    bundle, content = made
    x = onnx_files.example(bundle, count)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    (found,) = session.run([result.name], {given.name: x.numpy()})
    network = bundle.network(0)
    with torch.inference_mode():
        if bundle.kind == "lesions":
            wanted = lesion_model.probabilities(network, x.numpy())
            assert (given.name, given.shape) == ("features", ["N", len(candidates.NAMES)])
        else:
            wanted = network(augment_slices.window(x, *bundle.window_hu)).softmax(dim=1).numpy()
            assert (given.name, given.shape) == ("hu", ["N", SIZE, SIZE])
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= onnx_files.TOLERANCE
    assert np.ptp(wanted) > 0 or count == 1


def test_the_file_is_whole_and_tells_nothing_of_this_place(made):
    _, content = made
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert all(one.data_location == onnx.TensorProto.DEFAULT for one in model.graph.initializer)
    assert [one.version for one in model.opset_import if one.domain == ""] == [onnx_files.OPSET]
    for path in (REPO, sys.prefix, torch.__path__[0]):
        assert str(path).encode() not in content
    assert b".py" not in content


def test_a_file_that_computes_something_else_is_not_handed_out(made, monkeypatch):
    bundle, content = made
    monkeypatch.setattr(onnx_files, "_exported", lambda *of: content)
    other = small_bundle(bundle.kind, folds=2).weights[1:]
    with pytest.raises(WorkError, match=r"fold-0.onnx differs from torch by .* in a batch of 1"):
        onnx_files.files(replace(bundle, weights=other))


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(onnx_files, "NEEDED", ("onnx", "not_there_at_all"))
    with pytest.raises(InputError, match=r"found no not_there_at_all, wanted the extra onnx: pip install"):
        onnx_files.files(small_bundle(folds=1))
