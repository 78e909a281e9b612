import os
import subprocess
import sys
from pathlib import Path

import torch

from rlmaml.algorithms.adam import adam, init_adam
from tests.rlmaml.makers import assert_same

RATE = 0.01


def test_steps_of_adam_in_a_row_are_those_of_its_paper() -> None:
    # arXiv 1412.6980, algorithm 1
    generator = torch.Generator().manual_seed(0)
    params = {"x": torch.randn(3, generator=generator, dtype=torch.float64)}
    state, expected = init_adam(params), params["x"]
    m = v = torch.zeros(3, dtype=torch.float64)
    for step in (1, 2, 3):
        gradient = torch.randn(3, generator=generator, dtype=torch.float64)
        before = {name: tensor.clone() for name, tensor in {**params, **state}.items()}
        new, new_state = adam(params, {"x": gradient}, state, RATE)
        assert all(torch.equal({**params, **state}[name], tensor) for name, tensor in before.items())
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = expected - RATE * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        params, state = new, new_state
        assert_same(params["x"], expected)
        assert float(state["step"]) == step


STEP = """
import os, sys, torch
from rlmaml.algorithms.adam import adam, init_adam
before = dict(os.environ)
adam({"x": torch.zeros(2)}, {"x": torch.ones(2)}, init_adam({"x": torch.zeros(2)}), 0.1)
print(dict(os.environ) == before, "torch._inductor" in sys.modules)
"""


def test_a_step_loads_no_compiler_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
    assert not list(tmp_path.iterdir())
