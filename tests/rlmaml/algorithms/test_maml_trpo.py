import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rlmaml.algorithms.maml_trpo import MamlTrpo, centred
from rlmaml.algorithms.meta_algorithm import Learner, replay
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.distributions import Distribution, detach
from rlmaml.core.losses import POLICY_GRADIENTS, policy_gradient
from rlmaml.core.parameters import detached, entries, for_every_task, repeated, unflatten
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import surrogate_losses
from rlmaml.core.types import Batch, Meta
from rlmaml.rules.gradient_rule import GradientRule, gradient_rule
from rlmaml.sampling.collect import episodes_of
from rlmaml.settings.methods.maml_trpo import MamlTrpoSettings
from rlmaml.settings.whole import Settings, configure
from rlmaml_envs import make_tasks_env
from tests.rlmaml import tabular
from tests.rlmaml.makers import (
    adapted_batches,
    assert_same,
    categorical_policy,
    central_differences,
    central_differences_in_rows,
    dense_hessian,
    double_batch,
    gaussian_policy,
    learner,
    random_theta,
    rows_as_meta,
    same_task,
    vector,
    with_both,
)
from tests.rlmaml.tabular import CHAIN, curvature_terms, exact_batch, rational_theta

NUM_TASKS = 3
CASES: dict[str, dict[str, Any]] = {
    "one step": {},
    "two steps": {"inner_steps": 2},
    "stage weights": {"inner_steps": 2, "stage_weights": (1.0, 2.0, 3.0)},
    "likelihood ratio": {"inner_loss": "likelihood_ratio"},
    "dice": {"inner_loss": "dice"},
    "learned step sizes": {"inner_steps": 2, "learn_step_sizes": True},
    "first order": {"first_order": True},
}
EVERY_CASE = pytest.mark.parametrize("name", CASES)
GAUSSIAN = gaussian_policy()
POLICIES: dict[str, Policy] = {"gaussian": GAUSSIAN, "categorical": categorical_policy()}
DOWNHILL = {"damping": 1e8, "max_kl": 5e3, "cg_iterations": 5, "preconditioner": "none"}
"""Damping so large that the natural gradient is the gradient, and a bound on the KL so far that a step is 0.1 long."""


class Posed(NamedTuple):
    """Everything that an update is given."""

    settings: Settings
    learner: Learner
    meta: Meta
    batches: list[Batch]

    def update(self, **changes: Any) -> tuple[Meta, Any]:
        new, _, report = make_meta_algorithm(self.settings.changed(**changes)).update(
            self.learner, self.meta, {}, self.batches
        )
        return new, report

    def step(self, **changes: Any) -> tuple[Tensor, Any]:
        new, report = self.update(**changes)
        return vector(new) - vector(self.meta), report

    def weights(self) -> tuple[float, ...]:
        weights: tuple[float, ...] = self.settings.outer.weights(len(self.batches) - 1)
        return weights


def make_posed(policy: Policy = GAUSSIAN, **changes: Any) -> Posed:
    """Learned rates are not where they start, so that nothing is left to chance."""
    exact = {"curvature_fraction": 1.0, "jacobian_fraction": 1.0, "preconditioner": "none"}
    options = {"damping": 0.03, "inner_step_sizes": (0.5, 0.3), "cg_iterations": 40, **exact}
    settings = configure("maml-trpo", **{**options, **changes})
    rule, theta = gradient_rule(settings.inner, policy), random_theta(policy)
    offset = torch.tensor([0.2, -0.3], dtype=torch.float64)
    meta = Meta(theta, {name: rate + offset[: len(rate)] for name, rate in rule.rates(theta).items()})
    return Posed(settings, learner(policy, rule), meta, adapted_batches(policy, rule, meta, NUM_TASKS))


def policies_by_hand(
    posed: Posed, meta: Meta, task: int, data: list[Batch] | None = None, bends_on: list[Batch] | None = None
) -> list[Distribution]:
    """Of every stage on one task, from formulas without a task axis.

    ``data`` is what the policies are asked about. With ``bends_on`` the values are as without, but the derivative of an
    inner step's direction is that of its direction on those episodes.
    """
    inner, policy, params = posed.settings.inner, posed.learner.policy, meta.params
    form, given = POLICY_GRADIENTS[inner.inner_loss], (*inner.inner_step_sizes, *inner.inner_step_sizes[-1:] * 3)

    def direction(batch: Batch) -> list[Tensor]:
        one = same_task(batch, task, 1)
        log_ratio = policy.unroll(params, one)[0].distribution.log_prob(one.actions) - one.log_probs
        loss = form(log_ratio[0], one.advantages[0], one.valid[0])
        return list(torch.autograd.grad(loss, list(params.values()), create_graph=True))

    said = []
    for k, batch in enumerate(posed.batches):
        asked = same_task((data or posed.batches)[k], task, 1)
        said.append(policy.unroll(params, asked)[0].distribution)
        if k == inner.inner_steps:
            break
        gradients = direction(batch)
        if bends_on is not None:
            bends = direction(bends_on[k])
            gradients = [g.detach() + (b - b.detach()) for g, b in zip(gradients, bends, strict=True)]
        if posed.settings.flat()["first_order"]:
            gradients = [gradient.detach() for gradient in gradients]
        sizes = [meta.rates[name][k].exp() if meta.rates else given[k] for name in params]
        params = {
            name: value - size * gradient
            for (name, value), size, gradient in zip(params.items(), sizes, gradients, strict=True)
        }
    return said


def mean_by_hand(
    posed: Posed,
    meta: Meta,
    what: Callable[[Distribution, Distribution, Batch], Tensor],
    episodes: int | None = None,
    bends_on: list[Batch] | None = None,
) -> Tensor:
    """``mean_i Σ_k w_k mean_steps what(new, old, batch)``; the old policies are those at the posed's own point."""
    total = torch.zeros((), dtype=torch.float64)
    data = [Batch(*(field[:, :episodes] for field in batch)) for batch in posed.batches]
    for task in range(NUM_TASKS):
        old = [detach(policy) for policy in policies_by_hand(posed, recorded(posed.meta), task, data)]
        new = policies_by_hand(posed, meta, task, data, bends_on)
        for weight, one, other, batch in zip(posed.weights(), new, old, data, strict=True):
            its = same_task(batch, task, 1)
            total = total + weight * what(one, other, its)[its.valid].mean() / NUM_TASKS
    return total


def recorded(meta: Meta) -> Meta:
    return Meta(*({name: tensor.detach().requires_grad_() for name, tensor in part.items()} for part in meta))


def kl(new: Distribution, old: Distribution, batch: Batch) -> Tensor:
    return old.kl(new)  # type: ignore[arg-type]


def loss(new: Distribution, old: Distribution, batch: Batch) -> Tensor:
    return -(new.log_prob(batch.actions) - old.log_prob(batch.actions)).exp() * batch.advantages


def metric(posed: Posed, episodes: int | None = None, bends_on: list[Batch] | None = None) -> Tensor:
    """Dense Hessian of the mean KL at the posed's point, on the states of the first episodes."""
    point = recorded(posed.meta)
    with_axis = Meta(*({name: tensor.unsqueeze(0) for name, tensor in part.items()} for part in point))
    inside = Meta(*({name: tensor[0] for name, tensor in part.items()} for part in with_axis))
    return dense_hessian(mean_by_hand(posed, inside, kl, episodes, bends_on), entries(with_axis))


def numeric_gradient(posed: Posed) -> Tensor:
    """Of the meta-objective, by finite differences; every row of points is a task of its own."""

    def values(rows: Tensor, task: int) -> Tensor:
        batches = [same_task(batch, task, len(rows)) for batch in posed.batches]
        points = rows_as_meta(rows, posed.meta)
        outputs = replay(posed.learner, points, batches, create_graph=False).outputs
        per_stage = [
            weight * surrogate_losses(said.distribution, constant(old, len(rows)), batch)
            for weight, said, old, batch in zip(posed.weights(), outputs, old_of(task), batches, strict=True)
        ]
        return torch.stack(per_stage).sum(0)

    def old_of(task: int) -> list[Distribution]:
        return [detach(each) for each in policies_by_hand(posed, recorded(posed.meta), task)]

    per_task = [
        central_differences_in_rows(functools.partial(values, task=task), vector(posed.meta))
        for task in range(NUM_TASKS)
    ]
    return torch.stack(per_task).mean(0)


def constant(distribution: Distribution, count: int) -> Distribution:
    return type(distribution)(*(field.expand(count, *field.shape[1:]) for field in distribution))


def downhill(posed: Posed) -> Tensor:
    """The meta-gradient, read off an update that follows it."""
    step, report = posed.step(**DOWNHILL)
    assert report.accepted
    gradient: Tensor = -step / step.norm() * report.gradient_norm
    return gradient


@EVERY_CASE
def test_the_replayed_policies_are_those_that_sampled_with_and_without_a_graph(name: str) -> None:
    posed = make_posed(**CASES[name])
    points = repeated(posed.meta, NUM_TASKS)
    for create_graph in (True, False):
        outputs = replay(posed.learner, points, posed.batches, create_graph=create_graph).outputs
        for said, batch in zip(outputs, posed.batches, strict=True):
            assert torch.equal(said.distribution.log_prob(batch.actions), batch.log_probs)
    assert posed.update()[1].replay_gap == 0.0


def test_the_loss_before_the_step_sees_advantages_that_do_not_average_to_zero() -> None:
    posed = make_posed(inner_steps=2, stage_weights=(1.0, 0.0, 3.0))
    shifted = [with_both(b, torch.add, 1.0 + k) for k, b in enumerate(posed.batches)]
    # stage 0 has mean advantage 1 and weight 1/4, stage 2 has mean 3 and weight 3/4
    report = posed._replace(batches=shifted).update()[1]
    assert report.loss_before == pytest.approx(-(1 / 4 + 3 * 3 / 4), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name != "first order"])
def test_the_meta_gradient_is_that_of_finite_differences(name: str) -> None:
    posed = make_posed(**CASES[name])
    numeric = numeric_gradient(posed)
    assert_same(downhill(posed), numeric, rtol=1e-5, atol=1e-6 * float(numeric.norm()))
    assert numeric.norm() > 1e-2


@EVERY_CASE
def test_the_meta_gradient_is_that_of_formulas_without_a_task_axis(name: str) -> None:
    posed = make_posed(**CASES[name])
    point = recorded(posed.meta)
    gradient = torch.autograd.grad(mean_by_hand(posed, point, loss), entries(point))
    expected = torch.cat([entry.reshape(-1) for entry in gradient])
    assert_same(downhill(posed), expected, rtol=1e-5, atol=1e-6 * float(expected.norm()))


def test_the_first_order_meta_gradient_is_the_gradient_at_the_adapted_parameters() -> None:
    posed, whole = make_posed(first_order=True), make_posed()
    points = repeated(posed.meta, NUM_TASKS)
    adapted = replay(posed.learner, points, posed.batches[:-1], create_graph=False).adaptations[-1].params
    leaves = {name: tensor.requires_grad_() for name, tensor in detached(adapted).items()}
    said = posed.learner.policy.unroll(leaves, posed.batches[-1])[0].distribution
    total = surrogate_losses(said, detach(said), posed.batches[-1]).mean()
    expected = torch.cat([g.sum(0).reshape(-1) for g in torch.autograd.grad(total, list(leaves.values()))])
    assert_same(downhill(posed), expected, rtol=1e-5, atol=1e-6 * float(expected.norm()))
    assert (downhill(whole) - expected).norm() > 0.1 * expected.norm()


EXACT_STEP = 0.1


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_on_an_enumerated_process_the_meta_gradient_is_exact_but_for_the_known_term(name: str) -> None:
    # The batch after adaptation holds the trajectories of before, weighed by how much more likely they have become.
    missing: dict[str, Callable[[tabular.Curvature], Tensor]] = {
        "log_likelihood": lambda terms: terms.h1 + terms.h12 + terms.h12.T,
        "likelihood_ratio": lambda terms: terms.h12 + terms.h12.T,
        "dice": lambda terms: torch.zeros_like(terms.h12),
    }
    theta = rational_theta()
    start = vector(theta)

    def exact_gradient(numbers: Tensor) -> Tensor:
        numbers = numbers.detach().requires_grad_()
        return torch.autograd.grad(tabular.expected_return(CHAIN, numbers), numbers)[0]

    adapted = start + EXACT_STEP * exact_gradient(start)
    before = exact_batch(CHAIN)
    said = tabular.POLICY.unroll(unflatten(adapted, theta), before)[0].distribution
    log_probs = said.log_prob(before.actions)
    likelier = (log_probs - before.log_probs).sum(-1, keepdim=True).exp()
    after = with_both(before._replace(log_probs=log_probs), torch.mul, likelier)

    rule = GradientRule(1, (EXACT_STEP * CHAIN.horizon,), policy_gradient(POLICY_GRADIENTS[name]))
    algorithm = MamlTrpo(MamlTrpoSettings(**DOWNHILL, curvature_fraction=1.0))  # type: ignore[arg-type]
    meta = Meta(theta, {})
    new, _, report = algorithm.update(learner(tabular.POLICY, rule), meta, {}, [before, after])
    step = vector(new) - start
    ours = step / step.norm() * report.gradient_norm * CHAIN.horizon

    exact = central_differences(lambda x: tabular.expected_return(CHAIN, x + EXACT_STEP * exact_gradient(x)), start)
    bias = EXACT_STEP * missing[name](curvature_terms(CHAIN, start)) @ exact_gradient(adapted)
    assert_same(ours, exact - bias, rtol=1e-5, atol=1e-6)
    assert (bias.norm() > 0.01) == (name != "dice")
    assert report.replay_gap < 1e-12


def check_natural(posed: Posed, curvature: Tensor) -> Any:
    """The update solves ``(curvature + damping) s = −gradient``, up to a factor."""
    gradient = downhill(posed)
    step, report = posed.step()
    damped = curvature + posed.settings.outer.damping * torch.eye(len(gradient), dtype=torch.float64)
    natural = torch.linalg.solve(damped, -gradient)
    assert_same(step / step.norm(), natural / natural.norm(), rtol=0, atol=1e-5)
    assert float(torch.cosine_similarity(step, -gradient, dim=0)) < 0.95
    assert report.accepted
    assert report.gradient_norm == pytest.approx(float(gradient.norm()))
    assert report.step_norm == pytest.approx(float(step.norm()))
    assert report.cg_residual < 1e-4
    return natural


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "gaussian") for name in CASES), ("one step", "categorical"), ("dice", "categorical")]
)
def test_an_update_is_a_natural_gradient_step(name: str, kind: str) -> None:
    posed = make_posed(POLICIES[kind], **CASES[name])
    check_natural(posed, metric(posed))


@pytest.mark.parametrize(("fraction", "num_episodes"), [(0.4, 2), (0.5, 3), (0.01, 1), (1.0, 5)])
def test_the_metric_is_that_of_fully_adapted_policies_on_the_states_of_the_first_episodes(
    fraction: float, num_episodes: int
) -> None:
    posed = make_posed(curvature_fraction=fraction, damping=0.25)
    whole = make_posed(damping=0.25)
    natural = check_natural(posed, metric(posed, num_episodes))
    if fraction < 1:
        ours, others = (torch.nn.functional.normalize(each, dim=0) for each in (natural, whole.step()[0]))
        assert float((ours - others).norm()) > 0.01


def centred_over(values: Tensor, valid: Tensor) -> Tensor:
    means = torch.stack([own[counts].mean() for own, counts in zip(values, valid, strict=True)])
    return values - means.view(-1, 1, 1)


def test_advantages_and_those_of_the_inner_loss_are_each_centred_by_their_own_mean() -> None:
    batch = make_posed(**CASES["one step"]).batches[0]
    few = batch._replace(inner_advantages=2.0 * batch.advantages + 1.0)
    done = centred(few)
    for ours, raw in ((done.advantages, few.advantages), (done.inner_advantages, few.inner_advantages)):
        assert_same(ours, torch.where(few.valid, centred_over(raw, few.valid), 0.0))
    assert_same(done.inner_advantages, 2.0 * done.advantages)


@pytest.mark.parametrize("name", ["one step", "learned step sizes"])
def test_the_metrics_jacobians_see_how_steps_bend_on_the_first_episodes_with_centred_advantages(name: str) -> None:
    posed, exact = (make_posed(**CASES[name], jacobian_fraction=fraction, damping=0.25) for fraction in (0.3, 1.0))
    few = []
    for batch in posed.batches:
        first = Batch(*(field[:, :2] for field in batch))
        few.append(with_both(first, centred_over, first.valid))
    natural = check_natural(posed, metric(posed, bends_on=few))
    ours, others = (torch.nn.functional.normalize(each, dim=0) for each in (natural, exact.step()[0]))
    assert float((ours - others).norm()) > 0.01


@pytest.mark.parametrize("name", ["two steps", "learned step sizes"])
def test_without_a_part_for_the_jacobians_the_metric_takes_steps_for_the_identity(name: str) -> None:
    posed, first_order = make_posed(**CASES[name], jacobian_fraction=0.0), make_posed(**CASES[name], first_order=True)
    check_natural(posed, metric(first_order))


@pytest.mark.parametrize("name", ["one step", "stage weights", "learned step sizes"])
def test_the_preconditioner_changes_how_fast_the_natural_gradient_is_found_and_not_which(name: str) -> None:
    posed = make_posed(**CASES[name])
    step, report = posed.step(preconditioner="kronecker")
    plain, _ = posed.step()
    assert report.cg_residual < 1e-4
    assert_same(step / step.norm(), plain / plain.norm(), rtol=0, atol=1e-3)
    early = [posed.step(preconditioner=kind, cg_iterations=3)[1].cg_residual for kind in ("kronecker", "none")]
    assert early[0] < early[1]


@EVERY_CASE
def test_accepted_steps_respect_max_kl_and_lower_the_loss(name: str) -> None:
    posed = make_posed(**CASES[name])
    for max_kl in (0.1, 1e-3) if name == "one step" else (0.01,):
        new, report = posed.update(max_kl=max_kl, damping=1e-5, cg_iterations=20)
        assert report.accepted
        after = recorded(new)
        expected = [float(mean_by_hand(posed, after, what).detach()) for what in (kl, loss)]
        assert (report.kl, report.loss_after) == pytest.approx(expected, rel=1e-9)
        assert 0 < report.kl <= max_kl
        assert report.loss_after < report.loss_before - 1e-3
        assert report.loss_before == pytest.approx(0.0, abs=1e-12)  # normalised advantages, ratio 1


def test_without_an_admissible_step_meta_is_handed_back_itself() -> None:
    posed = make_posed()
    indifferent = [with_both(batch, torch.zeros_like) for batch in posed.batches]
    new, report = posed._replace(batches=indifferent).update()
    assert new is posed.meta
    assert not report.accepted
    assert (report.step_norm, report.kl, report.gradient_norm, report.cg_residual) == (0.0, 0.0, 0.0, 0.0)
    # one try, under a bound on the KL that is below what rounding leaves of any step
    new, report = posed.update(max_kl=1e-40, backtrack_tries=1)
    assert new is posed.meta
    assert report.gradient_norm > 1e-3
    assert (report.accepted, report.line_search_tries, report.loss_after) == (False, 1, report.loss_before)


def test_every_stage_is_checked_for_its_replay_gap_also_where_its_weight_is_zero() -> None:
    posed = make_posed(inner_steps=2, stage_weights=(0.0, 1.0, 0.0))
    for k, batch in enumerate(posed.batches):
        log_probs = batch.log_probs.clone()
        log_probs[2, 0, 1] += 0.125
        batches = [*posed.batches[:k], batch._replace(log_probs=log_probs), *posed.batches[k + 1 :]]
        assert posed._replace(batches=batches).update()[1].replay_gap == pytest.approx(0.125, rel=1e-12)


def navigation(**changes: Any) -> Posed:
    """Single precision, as in a run."""
    options = {"num_tasks": 6, "num_episodes": 8, "horizon": 30, "hidden": (16, 16)}
    settings = configure("maml-trpo", **{**options, **changes})
    run, policy = settings.run, gaussian_policy(2, 2, (16, 16))
    env = make_tasks_env(run.env_id, run.num_tasks * run.num_episodes, run.horizon, variant=run.variant)
    streams, rule = RandomStreams(run.seed), gradient_rule(settings.inner, policy)
    env.set_tasks(env.sample_tasks(run.num_tasks, streams.task_seeds(run.num_tasks)))
    theta = policy.init(streams.parameter_seed())
    meta = Meta(theta, rule.rates(theta))
    collect = episodes_of(env, policy, settings.advantages, streams, range(run.num_tasks), "cpu")
    per_task = for_every_task(meta, run.num_tasks)
    adaptation, batches = rule.begin(per_task), []
    for k in range(rule.steps + 1):
        batches.append(collect(adaptation, k).data)
        adaptation = rule.step(policy, per_task, adaptation, batches[k], k)
    return Posed(settings, learner(policy, rule), meta, batches)


@pytest.mark.parametrize("changes", [{}, {"inner_steps": 2}, {"learn_step_sizes": True}, {"first_order": True}])
def test_an_update_on_navigation_improves_the_adapted_policies(changes: dict[str, Any]) -> None:
    posed = navigation(**changes)
    _, report = posed.update()
    assert report.accepted
    assert 0 < report.kl <= posed.settings.outer.max_kl
    assert report.loss_after < report.loss_before - 1e-3
    assert abs(report.loss_before) < 1e-6  # normalised advantages, ratio 1
    assert report.replay_gap < 1e-5


def in_double_precision(posed: Posed) -> Posed:
    precise = Meta(*({name: tensor.double() for name, tensor in part.items()} for part in posed.meta))
    return posed._replace(meta=precise, batches=[double_batch(batch) for batch in posed.batches])


def test_the_meta_gradient_in_single_precision_is_that_of_double_precision_to_rounding() -> None:
    # measured: 1.2e-6 of its length, over three seeds
    single = navigation()
    precise = downhill(in_double_precision(single))
    assert float((downhill(single).double() - precise).norm() / precise.norm()) < 1e-5


@pytest.mark.parametrize(
    ("preconditioner", "iterations", "tolerance"),
    [("kronecker", 3, 1e-5), ("kronecker", 10, 1e-5), ("none", 10, 0.02), ("none", 20, 1e-5)],
)
def test_the_step_in_single_precision_is_that_of_double_precision_at_the_iterations_that_runs_use(
    preconditioner: str, iterations: int, tolerance: float
) -> None:
    # Measured over three seeds, relative to the step's length: 1.4e-6, as the gradients; but 2e-3 after 10 iterations
    # without a preconditioner, where conjugate directions have lost their conjugacy and the solution is on its way.
    single = navigation()
    changes = {"preconditioner": preconditioner, "cg_iterations": iterations}
    ours, report = single.step(**changes)
    precise, precise_report = in_double_precision(single).step(**changes)
    assert float((ours.double() - precise).norm() / precise.norm()) < tolerance
    assert report.accepted
    assert report.loss_after == pytest.approx(precise_report.loss_after, abs=1e-4)


def test_a_run_by_default_takes_as_many_iterations_as_precision_is_tested_at() -> None:
    outer = configure("maml-trpo").outer
    assert (outer.preconditioner, outer.iterations(preconditioned=True)) == ("kronecker", 3)
