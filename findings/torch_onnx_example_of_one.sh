#!/usr/bin/env bash
# torch.onnx.export with a dynamic first axis and an example of one row; and what it writes beside the network.
#
# Valid input: dynamic_shapes names a torch.export.Dim for the axis; an example of one row is nowhere forbidden.
# Guess before running: torch 2.13.0 either writes a file whose first axis is dynamic, or refuses, as torch.export does.
# Seen on 2026-11-30: of a product with a matrix per member, (N, I) with (M, I, O), it writes a file that takes one row
# and no other number, without an error; onnxruntime 1.32.0 refuses two. A linear layer has its dynamic axis. With an
# example of two rows both have. torch.export.export refuses an example of one row for both. Each node of every file
# names the source files that it comes from, with their whole paths on the machine that wrote it.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxscript==0.7.2
cat > try.py <<'PY'
import logging
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

logging.disable(logging.WARNING)


class Members(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 4, 3))

    def forward(self, x):
        return torch.matmul(x, self.weight)


def taken(path, rows):
    try:
        onnxruntime.InferenceSession(path).run(None, {"x": np.zeros((rows, 4), np.float32)})
    except Exception as error:
        return type(error).__name__
    return "taken"


for name, network in (("members", Members()), ("linear", nn.Linear(4, 3))):
    for rows in (1, 2):
        x, shapes = (torch.zeros(rows, 4),), ({0: torch.export.Dim("N")},)
        torch.onnx.export(network, x, "network.onnx", input_names=["x"], dynamic_shapes=shapes, verbose=False)
        model = onnx.load("network.onnx")
        axis = model.graph.input[0].type.tensor_type.shape.dim[0]
        text = " ".join(entry.value for node in model.graph.node for entry in node.metadata_props)
        print(f"{name}, example of {rows}: axis {axis.dim_param or axis.dim_value}, two rows {taken('network.onnx', 2)}")
        print(f"  paths of this machine in it: {os.getcwd() in text}")
        try:
            torch.export.export(network, x, dynamic_shapes=shapes)
            print("  torch.export: no error")
        except Exception as error:
            print(f"  torch.export: {type(error).__name__}")
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
members, example of 1: axis 1, two rows InvalidArgument
  paths of this machine in it: True
  torch.export: UserError
members, example of 2: axis N, two rows taken
  paths of this machine in it: True
  torch.export: no error
linear, example of 1: axis N, two rows taken
  paths of this machine in it: True
  torch.export: UserError
linear, example of 2: axis N, two rows taken
  paths of this machine in it: True
  torch.export: no error
EXPECTED
diff expected seen
