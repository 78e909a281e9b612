"""What sets one method apart from another, on the contract's problems."""

import dataclasses
from typing import Any

import pytest
import torch

from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.meta_algorithm import replay
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.core.parameters import repeated
from rlmaml.core.surrogate import entropies
from rlmaml.settings.methods.maml_trpo import MamlTrpoSettings
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.whole import as_method, configure
from tests.rlmaml.algorithms.cases import make_problem
from tests.rlmaml.algorithms.contract import assert_same_bits
from tests.rlmaml.makers import vector


def test_stage_weights_go_from_equal_ones_after_every_step_to_their_own_by_hand() -> None:
    settings = MamlTrpoSettings(stage_weights=(1.0, 0.0, 3.0), anneal_stage_weights=4)
    assert settings.weights(2, 0) == (0.0, 0.5, 0.5)
    assert settings.weights(2, 1) == pytest.approx((0.25 * 0.25, 0.75 * 0.5, 0.75 * 0.5 + 0.25 * 0.75))
    assert settings.weights(2, 4) == settings.weights(2, 99) == (0.25, 0.0, 0.75)
    assert MamlTrpoSettings(stage_weights=(1.0, 0.0, 3.0)).weights(2, 0) == (0.25, 0.0, 0.75)


def test_a_cosine_falls_from_1_to_a_tenth_and_stays_there() -> None:
    values = [MamlTrpoSettings(cosine_iterations=4).length(iteration) for iteration in range(7)]
    half = 2**-0.5
    assert values == pytest.approx([1.0, 0.55 + 0.45 * half, 0.55, 0.55 - 0.45 * half, 0.1, 0.1, 0.1])
    settings = MamlTrpoSettings(max_kl=0.2, cosine_iterations=4)
    assert [settings.during(iteration).max_kl for iteration in (0, 2, 9)] == pytest.approx([0.2, 0.11, 0.02])
    constant = MamlTrpoSettings(max_kl=0.2)
    assert constant.during(50) is constant


@pytest.mark.parametrize("name", ["rl2", "rma"])
def test_a_schedule_shortens_every_step_of_adam_of_a_method_with_memory(name: str) -> None:
    problem = make_problem(name)
    late = problem.learner._replace(streams=dataclasses.replace(problem.learner.streams, iteration=10))
    sizes = {f"{who}_step_size": 0.02 for who in ("outer", "student") if problem.settings.has(f"{who}_step_size")}
    tenth = problem.settings.changed(**{which: (1 - 0.9) * size for which, size in sizes.items()})
    scheduled = problem.settings.changed(cosine_iterations=10, **sizes)
    ours, theirs = (
        problem._replace(algorithm=make_meta_algorithm(settings), learner=late).update()
        for settings in (scheduled, tenth)
    )
    assert_same_bits(ours, theirs)
    assert not torch.equal(vector(ours.meta), vector(problem.meta))


def test_the_entropy_of_the_stages_policies_is_part_of_the_objective() -> None:
    problem = make_problem("maml-trpo")
    plain = problem.update().report.numbers()["loss_before"]
    outer = dataclasses.replace(problem.settings.outer, entropy_bonus=0.5)
    rewarded = problem._replace(algorithm=MamlTrpo(outer)).update()
    points = repeated(problem.meta, len(problem.stages[0].valid))
    said = replay(problem.learner, points, problem.stages, create_graph=False).outputs[-1].distribution
    entropy = float(entropies(said, problem.stages[1]).mean().detach())
    assert rewarded.report.numbers()["loss_before"] == pytest.approx(plain - 0.5 * entropy, rel=1e-9)


@pytest.mark.parametrize("name", ["cavia", "cavia, held near theta", "reptile, with a context"])
def test_a_context_of_theta_stays_as_it_is_while_everything_else_is_learned(name: str) -> None:
    problem = make_problem(name)
    after = problem.update().meta.params
    for name, tensor in problem.meta.params.items():
        assert torch.equal(after[name], tensor) == (name == "context"), name


@pytest.mark.parametrize(
    ("case", "std"), [("anil", False), ("anil, first order", False), ("anil, with the deviation", True)]
)
def test_the_head_alone_adapts_in_anil_and_the_deviation_where_asked_to_while_everything_is_learned(
    case: str, std: bool
) -> None:
    problem = make_problem(case)
    assert problem.learner.policy.exploration == ("log_std",)
    head = {*problem.learner.policy.head, *(["log_std"] if std else [])}
    points = repeated(problem.meta, len(problem.stages[0].valid))
    adapted = replay(problem.learner, points, problem.stages, create_graph=False).adaptations[-1].params
    after = problem.update().meta.params
    for name, tensor in problem.meta.params.items():
        assert torch.equal(adapted[name], points.params[name]) == (name not in head), name
        assert not torch.equal(after[name], tensor)


def test_meta_sgd_learns_a_size_for_every_single_parameter_and_signs_may_change() -> None:
    problem = make_problem("meta-sgd")
    assert {name: rate.shape[1:] for name, rate in problem.meta.rates.items()} == {
        name: tensor.shape for name, tensor in problem.meta.params.items()
    }
    assert any((rate < 0).any() for rate in problem.meta.rates.values())
    after = problem.update().meta.rates
    assert all((after[name] != rate).all() for name, rate in problem.meta.rates.items())


def test_the_oracle_is_told_the_task_and_the_random_policy_never_trained() -> None:
    assert configure("oracle").run.observe_task
    assert configure("random").run.iterations == 0
    assert configure("pretrained").inner.inner_steps == 0
    tuned = configure(inner_steps=3, stage_weights=(0.0, 2.0, 1.0), learn_step_sizes=True, hidden=(7,))
    for name in ("pretrained", "oracle", "random"):
        alone = as_method(tuned, name, "gaussian")
        assert (alone.network.hidden, alone.outer.stage_weights) == ((7,), (1.0,))


def test_e_maml_has_the_one_inner_loss_beside_which_its_credit_is_not_counted_twice() -> None:
    tuned = configure(inner_loss="likelihood_ratio")
    assert as_method(tuned, "e-maml", "gaussian").inner.inner_loss == "log_likelihood"
    with pytest.raises(UserError, match="--algorithm e-maml stands for 'log_likelihood'"):
        configure("e-maml", inner_loss="dice")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_made_of_settings_without_inner_steps_and_of_every_other_method(name: str) -> None:
    alone = configure(inner_steps=0, stage_weights=(1.0,), inner_loss="likelihood_ratio", hidden=(7,))
    kind = METHODS[name].policy or "gaussian"
    hidden = METHODS[name].defaults.get("hidden", (7,))
    own = as_method(alone, name, kind)
    assert own.network.hidden == hidden
    if own.inner.inner_steps and own.has("stage_weights"):
        assert own.outer.weights(1) == (0.0, 1.0)
    for other in METHODS:
        given = configure(other, hidden=(7,))
        assert as_method(given, name, kind).network.hidden == ((7,) if other == name else hidden)


@pytest.mark.parametrize("options", [{"first_order": True}, {"first_order_until": 7}, {"kl_target": 0.1}])
def test_what_only_some_methods_may_have_stands_in_the_way_of_none(options: dict[str, Any]) -> None:
    own = [name for name in ("maml-trpo", "promp", "meta-sgd") if configure(name).has(next(iter(options)))]
    assert own
    for name in own:
        given = configure(name, **options)
        for other in METHODS:
            assert as_method(given, other).algorithm == other
    assert as_method(configure(first_order=True), "maml++").inner.first_order_until == 20
