import re
from typing import Any

import pytest
import torch

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.rules.trust_region_rule import TrustRegionRule
from rlmaml.settings.command_line import parse
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.unread import check_read, sharing, unread, why_left
from rlmaml.settings.whole import Settings, configure
from tests.rlmaml.algorithms.cases import CASES, case_settings, make_problem, tensors_of
from tests.rlmaml.settings.test_command_line import Script, defaults

ADAM = {"adam_step_size": 0.5, "max_gradient_norm": 3.0}
BENDS, ANNEALED, WEIGHTS = {"jacobian_fraction": 1.0}, {"anneal_stage_weights": 5}, {"stage_weights": (7.0,)}
OTHER: dict[str, dict[str, Any]] = {
    name: ADAM for name, case in CASES.items() if case.algorithm in ("maml-trpo", "meta-sgd", "maml++", "anil", "cavia")
}
for name in (
    "maml-trpo",
    "maml-trpo, likelihood ratio",
    "maml-trpo, pruned and of low rank",
    "anil, with the deviation",
):
    OTHER[name] = ADAM | ANNEALED
OTHER |= {
    "anil, first order": ADAM | ANNEALED | BENDS,
    "cavia, first order": ADAM | BENDS,
    "fomaml": ADAM | BENDS,
    "pretrained": ADAM | BENDS | WEIGHTS,
    "oracle": ADAM | BENDS | WEIGHTS,
    "promp, adaptive": ANNEALED,
    "promp, held near theta": {"clip": 0.01},
    "robust": {"reward_scale": 7.0},
}
"""A case, with other values of all that nothing reads in it; nothing of the rest."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_to_be_unread_and_no_more_is_known_for_every_case(name: str) -> None:
    assert unread(case_settings(name, (4,), (0.1,))).keys() == OTHER.get(name, {}).keys()


@pytest.mark.parametrize(
    "name", ["maml-trpo", "fomaml", "pretrained", "promp, held near theta", "robust", "anil, first order"]
)
def test_what_is_said_to_be_unread_changes_no_bit_of_an_update(name: str) -> None:
    problem = make_problem(name)
    assert_unread(problem.settings, problem, OTHER[name])


def assert_unread(settings: Settings, problem: Any, changes: dict[str, Any]) -> None:
    """No bit of an update depends on what nothing is said to read."""
    assert changes.keys() <= unread(settings).keys()
    assert all(settings.flat()[field] != value for field, value in changes.items())
    ours, theirs = (
        problem._replace(settings=each, algorithm=make_meta_algorithm(each)).update()
        for each in (settings, settings.changed(**changes))
    )
    pairs = zip(tensors_of(ours.meta, ours.state), tensors_of(theirs.meta, theirs.state), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_with_one_epoch_of_one_minibatch_and_with_one_try_no_bit_depends_on_a_clip_and_a_shortening() -> None:
    problem = make_problem("rl2")
    assert_unread(problem.settings.changed(epochs=1, minibatches=1), problem, {"clip": 0.9})
    problem = make_problem("maml-trpo")
    assert_unread(problem.settings.changed(backtrack_tries=1), problem, {"backtrack": 0.1})


def test_weights_that_are_equal_already_are_not_annealed_by_rounding() -> None:
    for steps in (1, 3, 5):
        outer = configure(inner_steps=steps, stage_weights=(0.0, 1.0), anneal_stage_weights=50).outer
        assert {outer.weights(steps, iteration) for iteration in range(60)} == {outer.weights(steps, 60)}


def test_who_is_never_trained_is_still_adapted_within_a_trust_region_of_its_settings() -> None:
    settings = configure("random", damping=0.7, backtrack_tries=3)
    rule = adaptation_rule(settings, make_policy("gaussian", settings.network, Sizes(3, 2)), trust_region=0.05)
    assert isinstance(rule, TrustRegionRule)
    assert (rule.settings.damping, rule.settings.backtrack_tries, rule.settings.max_kl) == (0.7, 3, 0.05)
    assert not {"damping", "cg_iterations", "preconditioner", "backtrack", "backtrack_tries"} & unread(settings).keys()


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({}, {"max_gradient_norm": 3.0}, "--max-gradient-norm is 3.0, and nothing would read it: --outer-optimiser is"),
        (
            {"outer_optimiser": "adam"},
            {"max_kl": 0.3},
            "nothing would read it: --outer-optimiser is adam. Leave it out.",
        ),
        ({"outer_optimiser": "adam"}, {"curvature_fraction": 0.3}, "--outer-optimiser is adam. Leave it out."),
        ({"first_order": True}, BENDS, "with first order the curvature does not see"),
        ({"inner_steps": 0}, BENDS, "there is no inner step to look through"),
        ({"inner_steps": 0}, WEIGHTS, "there are no inner steps, and a single stage"),
        ({"algorithm": "promp", "epochs": 1}, {"clip": 0.1}, "--epochs is 1, and before the first step all ratios"),
        ({"algorithm": "promp", "inner_steps": 0}, {"kl_penalty": 1.0}, "it is on the policies before inner steps"),
        ({"algorithm": "rl2", "epochs": 1, "minibatches": 1}, {"clip": 0.1}, "with one epoch of one minibatch all"),
        ({"algorithm": "maml++"}, {"anneal_stage_weights": 7}, "stage weights are equal ones after every inner step"),
        ({"algorithm": "robust"}, {"reward_scale": 3.0}, "there is no memory to read rewards"),
        (
            {"algorithm": "random"},
            {"max_kl": 0.3},
            "--max-kl is 0.3, and nothing would read it: random is never trained",
        ),
        ({"algorithm": "anil", "policy": "categorical"}, {"adapt_std": True}, "this policy has no standard deviation"),
    ],
)
def test_an_option_that_nothing_reads_is_refused_where_it_is_given(
    options: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    start = configure(**options)
    settings = start.changed(**given)
    check_read(settings, start, ())
    (name,) = given
    words = {"--seed", "--" + name.replace("_", "-")}
    check_read(settings, settings, words)
    with pytest.raises(UserError, match=re.escape(message)):
        check_read(settings, start, words)


def test_what_is_switched_off_is_not_refused() -> None:
    start = configure("maml++")
    check_read(start.changed(anneal_stage_weights=0), start, {"--anneal-stage-weights"})


def test_a_command_line_is_refused_by_what_it_types_and_not_by_a_family_s_defaults() -> None:
    def of_a_family(variant: str | None, method: str) -> Settings:
        return defaults(variant, "maml-trpo").changed(adam_step_size=0.5)

    for same in ([], ["--adam-step-size", "0.5"]):
        assert parse(Script(), of_a_family, "What it does.", same)[1].outer.adam_step_size == 0.5
    with pytest.raises(UserError, match=r"--adam-step-size is 0\.7, and nothing would read it: .* Leave it out\.$"):
        parse(Script(), of_a_family, "What it does.", ["--adam_step_size=0.7"])
    with pytest.raises(UserError, match=r"Leave it out\. It is in the file of --config\."):
        parse(Script(), of_a_family, "What it does.", [], ("--adam-step-size", "0.7"))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_unread_is_a_field(method: str) -> None:
    settings = configure(method)
    assert unread(settings).keys() <= settings.flat().keys()


@pytest.mark.parametrize(
    ("shared", "readers"),
    [
        ({"hidden": (8,)}, "maml-trpo reptile pretrained rl2 random oracle"),
        ({"inner_steps": 2}, "maml-trpo reptile"),
        ({"max_kl": 0.5}, "maml-trpo pretrained oracle"),
        ({"outer_step_size": 0.3}, "reptile rl2"),
        ({"stage_weights": (0.0, 1.0), "inner_steps": 1}, "maml-trpo"),
        ({"learn_step_sizes": True}, "maml-trpo"),
        ({"inner_reward_power": 2.0, "inner_advantage_scale": 2.0}, "maml-trpo reptile pretrained random oracle"),
        ({"start_from": "other"}, "maml-trpo reptile pretrained rl2"),
        ({"memory": 8}, "rl2"),
        ({"parameter_noise": 0.1, "entropy_bonus": 0.1}, "maml-trpo reptile"),
    ],
)
def test_what_all_methods_are_given_is_taken_by_those_that_have_it_and_can_and_read_by_those_who_are_told(
    shared: dict[str, Any], readers: str
) -> None:
    first, *_ = shared
    for method in ("maml-trpo", "reptile", "pretrained", "rl2", "random", "oracle"):
        before = configure(method)
        after, taken = sharing(before, shared)
        read = taken - unread(after).keys()
        assert (first in read) == (method in readers.split()), method
        flat = after.flat()
        assert {name for name in read if flat[name] != shared[name]} == set()
        assert {name for name, value in before.flat().items() if flat[name] != value} <= shared.keys()


def test_a_value_that_a_method_cannot_have_leaves_the_others_and_why_is_said() -> None:
    shared = {"inner_loss": "dice", "hidden": (8,)}
    assert sharing(configure("fomaml"), shared)[1] == {"hidden"}
    assert sharing(configure(), shared)[1] == {"inner_loss", "hidden"}
    for method, given, reason in (
        ("fomaml", shared, "dice"),
        ("maml-trpo", {"max_kl": -1.0}, "--max-kl is -1.0; it must be"),
        ("reptile", {"max_kl": 0.1}, "there is no such option"),
        ("random", {"max_kl": 0.1}, "random is never trained"),
        ("oracle", {"start_from": "other"}, "it begins from nothing"),
        ("maml-trpo", {"outer_optimiser": "adam", "max_kl": 0.1}, "--outer-optimiser is adam"),
    ):
        name = "max_kl" if "max_kl" in given else next(iter(given))
        assert reason in why_left(configure(method), given, name), method
        after, taken = sharing(configure(method), given)
        assert name not in taken - unread(after).keys(), method


def test_a_typed_value_replaces_a_default_that_the_rest_would_make_illegal() -> None:
    start = configure(inner_steps=2, stage_weights=(0.0, 1.0, 1.0), learn_step_sizes=True)
    given = {"inner_steps": 0, "stage_weights": (1.0,), "learn_step_sizes": False}
    settings, taken = sharing(start, given)
    assert settings.outer.stage_weights == (1.0,)
    assert taken == given.keys()
