import dataclasses
from math import log
from pathlib import Path

import pytest
import torch

from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.meta_algorithm import replay
from rlmaml.algorithms.promp import FACTORS, Promp
from rlmaml.core.distributions import Categorical
from rlmaml.core.parameters import meta_vector, repeated
from rlmaml.core.surrogate import divergences
from rlmaml.core.types import Batch
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.methods.maml_trpo import MamlTrpoSettings
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.rlmaml.algorithms.cases import Problem, make_problem
from tests.rlmaml.makers import assert_same


def with_outer(problem: Problem, **changes: object) -> Problem:
    outer = dataclasses.replace(problem.settings.outer, **changes)
    steps = problem.settings.inner.inner_steps
    algorithm = Promp(outer, steps)
    return problem._replace(algorithm=algorithm, state=algorithm.init(problem.meta))


def coin(heads: float) -> Categorical:
    """Two steps of one episode of one task, and one of padding, in each of which the first action is this probable."""
    return Categorical(torch.tensor([heads, 1 - heads], dtype=torch.float64).log().expand(1, 1, 3, 2))


def test_the_loss_between_other_policies_is_the_clipped_surrogate_with_entropies_and_factors_by_hand() -> None:
    nothing = torch.zeros(1, 1, 3, dtype=torch.float64)
    stage = Batch(*[nothing] * 8)._replace(
        actions=torch.tensor([[[0, 1, 0]]]),
        advantages=torch.tensor([[[2.0, -1.0, 50.0]]]).double(),
        valid=torch.tensor([[[True, True, False]]]),
    )
    outer = configure("promp", inner_steps=2, stage_weights=(1.0, 0.0, 3.0), clip=0.3, entropy_bonus=0.1).outer
    # every coin was fair: ratios are 1.6 and 0.4, then 1.8 and 0.2, where nothing is weighed, then 1.2 and 0.8
    new, factors = [coin(0.8), coin(0.9), coin(0.6)], torch.tensor([2.0, 3.0]).double()
    (loss,) = Promp(outer, 2)._losses(new, [coin(0.5)] * 3, [stage] * 3, factors, iteration=0).tolist()
    first = (min(1.6 * 2, 1.3 * 2) + min(-0.4, -0.7)) / 2
    last = (1.2 * 2 - 0.8) / 2
    entropies = [-(p * log(p) + (1 - p) * log(1 - p)) for p in (0.8, 0.6)]
    kls = [0.5 * log(0.5 / 0.8) + 0.5 * log(0.5 / 0.2), 0.5 * log(0.5 / 0.9) + 0.5 * log(0.5 / 0.1)]
    gain = 0.25 * (first + 0.1 * entropies[0]) + 0.75 * (last + 0.1 * entropies[1])
    assert loss == pytest.approx(-gain + 2 * kls[0] + 3 * kls[1], rel=1e-12)


@pytest.mark.parametrize("name", ["promp", "maml-ppo"])
def test_in_the_first_epoch_ratios_are_1_and_the_gradient_is_that_of_the_surrogate_whatever_the_penalty(
    name: str,
) -> None:
    problem = make_problem(name)
    shifted = [stage._replace(advantages=stage.advantages + k + 1) for k, stage in enumerate(problem.stages)]
    problem = problem._replace(stages=shifted)  # centred ones would make a loss of 0
    plain = MamlTrpo(MamlTrpoSettings(stage_weights=problem.settings.outer.stage_weights, cg_iterations=1))
    expected = problem._replace(algorithm=plain).update().report.numbers()
    shares = problem.settings.outer.weights(len(problem.stages) - 1)
    earned = [(stage.advantages * stage.valid).sum((1, 2)) / stage.valid.sum((1, 2)) for stage in problem.stages]
    by_hand = -sum(share * float(one.mean()) for share, one in zip(shares, earned, strict=True))
    assert expected["loss_before"] == pytest.approx(by_hand, abs=1e-12)
    assert abs(by_hand) > 0.5
    for penalty in (0.0, 50.0):
        report = with_outer(problem, kl_penalty=penalty, epochs=1).update().report.numbers()
        assert report["loss_before"] == report["loss_after"] == pytest.approx(expected["loss_before"], abs=1e-12)
        assert report["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-9)


def test_one_epoch_is_a_step_of_adam_against_the_gradient() -> None:
    # the bias-corrected moments of a first gradient g are g and g²: every entry goes the step size
    problem = with_outer(make_problem("promp"), epochs=1, outer_step_size=1e-3)
    new, state, report = problem.update()
    step = meta_vector(new) - meta_vector(problem.meta)
    assert_same(step.abs(), torch.full_like(step, 1e-3), rtol=1e-3)
    assert report.numbers()["step_norm"] == pytest.approx(float(step.norm()))
    assert float(state["step"]) == 1


def test_further_epochs_lower_the_loss_and_a_penalty_holds_the_policies_before_each_inner_step() -> None:
    problem = make_problem("promp")
    free, held = (
        with_outer(problem, kl_penalty=penalty, epochs=25, outer_step_size=0.004).update().report.numbers()
        for penalty in (0.0, 5.0)
    )
    assert free["loss_after"] < free["loss_before"] - 1e-3
    assert held["kl_inner"] < 0.5 * free["kl_inner"]


def test_the_divergences_of_the_report_are_those_of_the_new_policies() -> None:
    problem = make_problem("promp")
    new, _, report = problem.update()
    old, after = (
        replay(problem.learner, repeated(meta, 4), problem.stages, create_graph=False).outputs
        for meta in (problem.meta, new)
    )
    kls = [
        float(divergences(a.distribution, b.distribution, batch).mean().detach())
        for a, b, batch in zip(old, after, problem.stages, strict=True)
    ]
    numbers = report.numbers()
    assert (numbers["kl_inner"], numbers["kl"]) == pytest.approx((max(kls[:2]), kls[2]), rel=1e-9)
    assert min(kls) > 1e-6


def test_an_update_holds_its_policies_by_the_factors_of_its_state_also_by_those_of_a_checkpoint(tmp_path: Path) -> None:
    problem = with_outer(make_problem("promp"), kl_penalty=0.25, epochs=6, outer_step_size=0.004)
    free = problem.update()
    held = problem._replace(state=problem.state | {FACTORS: 20 * problem.state[FACTORS]})
    save_checkpoint(tmp_path / "held", Checkpoint(held.meta, 1, held.settings, Sizes(3, 2), held.state))
    stored = held._replace(state=load_checkpoint(tmp_path / "held").state)
    for ours in (held.update(), stored.update()):
        numbers, others = ours.report.numbers(), free.report.numbers()
        assert numbers["kl_factor"] == 5.0 == 20 * others["kl_factor"]
        assert 1e-6 < numbers["kl_inner"] < 0.5 * others["kl_inner"]
        assert float((meta_vector(ours.meta) - meta_vector(free.meta)).norm()) > 0.1 * others["step_norm"]


@pytest.mark.parametrize(("target", "changes"), [(1e-9, 2.0), (1e3, 0.5), (0.0, 1.0)])
def test_a_factor_doubles_above_its_target_and_halves_below(target: float, changes: float) -> None:
    problem = with_outer(make_problem("promp"), kl_target=target, kl_penalty=0.25)
    assert problem.state[FACTORS].tolist() == [0.25, 0.25]
    state = problem.update().state
    assert state[FACTORS].tolist() == [0.25 * changes] * 2


def test_each_stages_factor_follows_its_own_divergence_by_hand() -> None:
    settings = configure("promp", inner_steps=4, kl_target=0.1).outer
    factors = Promp(settings, 4)._adapted(torch.tensor([1.0, 1.0, 1.0, 3.0]), [0.149, 0.151, 0.067, 0.066])
    assert factors.tolist() == [1.0, 2.0, 1.0, 1.5]


def test_the_schedule_shortens_adams_steps() -> None:
    problem = with_outer(make_problem("promp"), epochs=1, outer_step_size=1e-3, cosine_iterations=5)
    late = dataclasses.replace(problem.learner.streams, iteration=5)
    steps = [
        float((meta_vector(each.update().meta) - meta_vector(problem.meta)).norm())
        for each in (problem, problem._replace(learner=problem.learner._replace(streams=late)))
    ]
    assert steps[1] == pytest.approx(0.1 * steps[0], rel=1e-6)
