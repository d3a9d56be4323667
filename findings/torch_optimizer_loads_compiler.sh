#!/usr/bin/env bash
# What a process loads that trains a network with torch and compiles nothing.
#
# Valid input: a linear layer, an optimizer, one step; and the two documented ways to ask for deterministic algorithms.
# Guess before running: torch 2.13.0 loads its compiler (torch._dynamo, torch._inductor, sympy) where torch.compile is
# called, and nowhere else; torch.use_deterministic_algorithms and torch.set_deterministic_debug_mode differ in words.
# Seen on 2026-11-30: the first optimizer that is made loads torch._dynamo, torch._inductor, sympy and
# torch.distributed.tensor, although nothing is ever compiled; each rank of a distributed training pays for that, about
# as long as importing torch takes. Without an optimizer, wrapping a network in DistributedDataParallel does the same,
# so training by hand would not save it. use_deterministic_algorithms loads the same; set_deterministic_debug_mode switches
# the same on and loads nothing.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import subprocess
import sys

WATCHED = ("torch._dynamo", "torch._inductor", "sympy", "torch.distributed.tensor")
WAYS = {
    "a step by hand": """
loss = network(torch.ones(2, 3)).sum()
loss.backward()
with torch.no_grad():
    for parameter in network.parameters():
        parameter -= 0.1 * parameter.grad
""",
    "distributed data parallel, one rank": """
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
torch.nn.parallel.DistributedDataParallel(network)
torch.distributed.destroy_process_group()
""",
    "an optimizer": "torch.optim.SGD(network.parameters(), lr=0.1)",
    "use_deterministic_algorithms": "torch.use_deterministic_algorithms(True)",
    "set_deterministic_debug_mode": "torch.set_deterministic_debug_mode('error')",
}
TRY = """
import sys
import time
start = time.process_time()
import torch
imported = time.process_time() - start
network = torch.nn.Linear(3, 1)
start = time.process_time()
{way}
took = time.process_time() - start
print(torch.are_deterministic_algorithms_enabled(), took > 0.3 * imported,
      *(name for name in {watched} if name in sys.modules))
"""
for name, way in WAYS.items():
    code = TRY.format(way=way, watched=WATCHED)
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    on, long, loaded = said[0], said[1], said[2:]
    print(f"{name}: deterministic {on}; loaded {' '.join(loaded) or 'nothing'}")
    print(f"  at least a third of the time of importing torch: {long}")
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
a step by hand: deterministic False; loaded nothing
  at least a third of the time of importing torch: False
distributed data parallel, one rank: deterministic False; loaded torch._dynamo torch._inductor sympy torch.distributed.tensor
  at least a third of the time of importing torch: True
an optimizer: deterministic False; loaded torch._dynamo torch._inductor sympy torch.distributed.tensor
  at least a third of the time of importing torch: True
use_deterministic_algorithms: deterministic True; loaded torch._dynamo torch._inductor sympy torch.distributed.tensor
  at least a third of the time of importing torch: True
set_deterministic_debug_mode: deterministic True; loaded nothing
  at least a third of the time of importing torch: False
EXPECTED
diff expected seen
