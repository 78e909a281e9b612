import dataclasses
import re
from typing import Any

import pytest
import torch

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.settings.command_line import parse
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.unread import check_read, unread
from rlmaml.settings.whole import Settings, configure
from tests.rlmaml.algorithms.cases import CASES, case_settings, make_problem, tensors_of
from tests.rlmaml.settings.test_command_line import Script, defaults

OTHER: dict[str, dict[str, Any]] = {
    "maml-trpo": {"adam_step_size": 0.5, "max_gradient_norm": 3.0, "anneal_stage_weights": 5},
    "fomaml": {"adam_step_size": 0.5, "max_gradient_norm": 3.0, "jacobian_fraction": 1.0},
    "pretrained": {"adam_step_size": 0.5, "max_gradient_norm": 3.0, "jacobian_fraction": 1.0},
    "promp, held near theta": {"clip": 0.01, "kl_penalty": 50.0, "kl_target": 1e-3},
    "robust": {"reward_scale": 7.0},
}
"""A case, with other values of all that nothing reads in it."""


@pytest.mark.parametrize("name", OTHER)
def test_what_is_said_to_be_unread_changes_no_bit_of_an_update(name: str) -> None:
    problem = make_problem(name)
    assert OTHER[name].keys() == unread(problem.settings).keys()
    changed = problem.settings.changed(**OTHER[name])
    for field, value in OTHER[name].items():
        assert problem.settings.flat()[field] != value
    ours, theirs = (
        problem._replace(algorithm=make_meta_algorithm(settings)).update() for settings in (problem.settings, changed)
    )
    pairs = zip(tensors_of(ours.meta, {}), tensors_of(theirs.meta, {}), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", sorted(CASES.keys() - OTHER.keys()))
def test_nothing_else_is_said_to_be_unread(name: str) -> None:
    assert unread(case_settings(name, (4,), (0.1,))).keys() <= {"adam_step_size", "max_gradient_norm"} | (
        {"jacobian_fraction"} if name.startswith("oracle") or name.endswith("first order") else set()
    ) | ({"anneal_stage_weights"} if "inner_steps" not in CASES[name].options else set())


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({}, "max_gradient_norm", "--max-gradient-norm is 0.0, and nothing would read it: --outer-optimiser is trust_"),
        (
            {"outer_optimiser": "adam"},
            "max_kl",
            "--max-kl is 0.01, and nothing would read it: --outer-optimiser is adam",
        ),
        ({"outer_optimiser": "adam"}, "curvature_fraction", "--outer-optimiser is adam. Leave it."),
        ({"first_order": True}, "jacobian_fraction", "with first order the curvature does not see"),
        ({"algorithm": "maml-trpo", "inner_steps": 0}, "jacobian_fraction", "there is no inner step to look through"),
        ({"algorithm": "promp", "epochs": 1}, "clip", "--epochs is 1, and before the first step all ratios are 1"),
        ({"algorithm": "promp", "inner_steps": 0}, "kl_penalty", "it is on the policies before inner steps"),
        ({"algorithm": "rl2", "epochs": 1, "minibatches": 1}, "clip", "with one epoch of one minibatch all ratios"),
        ({"algorithm": "maml++"}, "anneal_stage_weights", "stage weights are equal ones after every inner step"),
        ({"algorithm": "robust"}, "reward_scale", "there is no memory to read rewards"),
        ({"algorithm": "random"}, "max_kl", "--max-kl is 0.01, and nothing would read it: random is never trained"),
    ],
)
def test_an_option_that_nothing_reads_is_refused_where_it_is_given(
    options: dict[str, Any], given: str, message: str
) -> None:
    settings = configure(**options)
    check_read(settings, ())
    with pytest.raises(UserError, match=re.escape(message)):
        check_read(settings, {"--seed", "--" + given.replace("_", "-")})


def test_a_command_line_is_refused_by_what_it_types_and_not_by_a_family_s_defaults() -> None:
    def of_a_family(variant: str | None, method: str) -> Settings:
        return defaults(variant, "maml-trpo").changed(adam_step_size=0.5)

    assert parse(Script(), of_a_family, "What it does.", [])[1].outer.adam_step_size == 0.5
    with pytest.raises(UserError, match=r"--adam-step-size is 0\.5, and nothing would read it"):
        parse(Script(), of_a_family, "What it does.", ["--adam_step_size=0.5"])
    with pytest.raises(UserError, match=r"--adam-step-size is 0\.7, and nothing would read it"):
        parse(Script(), of_a_family, "What it does.", [], ("--adam-step-size", "0.7"))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_unread_is_a_field(method: str) -> None:
    settings = configure(method)
    assert unread(settings).keys() <= settings.flat().keys()
    if method == "random":
        assert unread(settings).keys() == {field.name for field in dataclasses.fields(settings.outer)}
