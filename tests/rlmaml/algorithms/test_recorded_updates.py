import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.core.types import Meta
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.settings.whole import configure
from tests.rlmaml.makers import adapted_batches, gaussian_policy, learner, random_theta, vector

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "recorded_updates.json").read_text())
"""Steps and reports of the version that updated parameter dictionaries by one function, on the same random data."""


@pytest.mark.parametrize("name", RECORDED)
def test_an_update_is_the_recorded_one(checked: None, name: str) -> None:
    # On the machine that recorded them all numbers are the same bit for bit. Other machines round differently, and ten
    # iterations of conjugate gradients with little damping make more of it: with the tasks in another order the step
    # changes by up to a tenth of "rtol" (1e-9 with one step, 2e-6 with dice and two). Nothing before them does.
    case = RECORDED[name]
    options: dict[str, Any] = {
        field: tuple(value) if isinstance(value, list) else value for field, value in case["settings"].items()
    }
    common: dict[str, Any] = {
        "curvature_fraction": 1.0,
        "damping": 1e-5,
        "inner_step_sizes": (0.5, 0.3),
        "cg_iterations": 10,
        "jacobian_fraction": 1.0,
        "preconditioner": "none",
    }
    settings = configure("maml-trpo", **common, **options)
    policy = gaussian_policy()
    rule = gradient_rule(settings.inner, policy)
    theta = random_theta(policy)
    meta = Meta(theta, rule.rates(theta))
    batches = adapted_batches(policy, rule, theta, 3)
    new, _, report = make_meta_algorithm(settings).update(learner(policy, rule), meta, {}, batches)

    step, expected = vector(new) - vector(meta), torch.tensor(case["step"], dtype=torch.float64)
    assert float((step - expected).norm()) <= case["rtol"] * float(expected.norm())
    numbers = report.numbers()
    assert numbers["gradient_norm"] == pytest.approx(case["report"]["gradient_norm"], rel=1e-9)
    assert numbers["loss_before"] == pytest.approx(case["report"]["loss_before"], abs=1e-12)
    for field in ("loss_after", "kl", "step_norm", "cg_residual"):
        assert numbers[field] == pytest.approx(case["report"][field], rel=10 * case["rtol"])
    for field in ("line_search_tries", "accepted"):
        assert numbers[field] == case["report"][field]
    assert (numbers["tasks_left_out"], numbers["replay_gap"] < 1e-6) == (0, True)
