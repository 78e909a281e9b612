import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from envs import make_tasks_env
from rlmaml.algorithms.maml_trpo import (
    adapted_stages,
    curvature_product,
    first_episodes,
    mean_kl,
    surrogate_loss,
    trust_region_step,
    update,
)
from rlmaml.base.errors import NonFiniteError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.base.threads import torch_threads
from rlmaml.core import distributions
from rlmaml.core.adapt import adapt
from rlmaml.core.advantages import normalise
from rlmaml.core.distributions import Distribution, Gaussian
from rlmaml.core.losses import INNER_LOSSES
from rlmaml.core.parameters import flatten, sum_over_tasks, unflatten, with_step_sizes
from rlmaml.core.types import Batch, Params
from rlmaml.policies.policy import CategoricalMLP, GaussianMLP, Policy
from rlmaml.sampling.episodes import as_lists, stage_by_stage, to_batch
from rlmaml.settings.config import TrainConfig
from tests.rlmaml.makers import (
    assert_same,
    central_differences,
    dense_hessian,
    double_batch,
    padded_batch,
    random_batch,
    random_task_params,
    random_theta,
    repeated,
    select_tasks,
    vector,
)

NUM_TASKS = 3
CONFIG = TrainConfig(curvature_fraction=1.0, damping=0.0, inner_step_sizes=(0.5, 0.3), cg_iterations=30)
CONFIGS: dict[str, dict[str, Any]] = {
    "one step": {},
    "two steps": {"inner_steps": 2},
    "stage weights": {"inner_steps": 2, "stage_weights": (1.0, 2.0, 3.0)},
    "likelihood ratio": {"inner_loss": "likelihood_ratio"},
    "dice": {"inner_loss": "dice"},
    "first order": {"first_order": True},
}
EVERY_CONFIG = pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
POLICIES: dict[str, Policy] = {
    "gaussian": GaussianMLP(observation_size=3, action_size=2, hidden=(4,)),
    "categorical": CategoricalMLP(observation_size=3, num_actions=3, hidden=(3,)),
}
GAUSSIAN = POLICIES["gaussian"]


def sampled(policy: Policy, theta: Params, config: TrainConfig, num_episodes: int = 5) -> list[Batch]:
    """One batch per stage, each sampled with the parameters of its stage."""
    params, batches = repeated(theta, NUM_TASKS), []
    policy_params = {name: p for name, p in params.items() if not name.startswith("log_step_size")}
    for step in range(config.inner_steps + 1):
        batches.append(random_batch(policy, policy_params, NUM_TASKS, num_episodes, seed=step))
        size = config.step_sizes(step + 1)[-1]
        loss = INNER_LOSSES[config.inner_loss]
        policy_params = adapt(policy, policy_params, batches[-1], loss=loss, step_size=size)
    return batches


def policies_at(policy: Policy, theta: Params, batches: list[Batch], config: TrainConfig) -> list[Distribution]:
    return [distributions.detach(stage) for stage in adapted_stages(policy, theta, batches, config).policies]


def trust_region_of(policy: Policy, config: TrainConfig) -> tuple[Params, list[Batch], list[Distribution]]:
    theta = random_theta(policy)
    batches = sampled(policy, theta, config)
    return theta, batches, policies_at(policy, theta, batches, config)


def weighted_mean_advantage(batches: list[Batch], config: TrainConfig) -> Tensor:
    means = [torch.stack([a[v].mean() for a, v in zip(b.advantages, b.valid, strict=True)]).mean() for b in batches]
    weights = torch.tensor(config.normalised_stage_weights(), dtype=torch.float64)
    return (weights * torch.stack(means)).sum()


@EVERY_CONFIG
def test_before_the_step_the_kl_is_exactly_zero_and_the_ratio_exactly_one(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, **changes)
    theta, batches, old = trust_region_of(GAUSSIAN, config)
    for differentiable in (True, False):
        stages = adapted_stages(GAUSSIAN, theta, batches, config, differentiable=differentiable)
        for new, before, batch in zip(stages.policies, old, stages.batches, strict=True):
            ratio = new.log_prob(batch.actions) - before.log_prob(batch.actions)
            assert not ratio.any()
        assert float(mean_kl(stages, old).detach()) == 0.0
        assert_same(surrogate_loss(stages, old).detach(), -weighted_mean_advantage(batches, config))


def test_the_surrogate_loss_before_the_step_sees_advantages_that_do_not_average_to_zero() -> None:
    config = dataclasses.replace(CONFIG, inner_steps=2, stage_weights=(1.0, 0.0, 3.0))
    theta, batches, _ = trust_region_of(GAUSSIAN, config)
    shifted = [b._replace(advantages=b.advantages + 1.0 + k) for k, b in enumerate(batches)]
    old = policies_at(GAUSSIAN, theta, shifted, config)
    loss = surrogate_loss(adapted_stages(GAUSSIAN, theta, shifted, config), old)
    # stage 0 has mean advantage 1 and weight 1/4, stage 2 has mean 3 and weight 3/4
    assert float(loss.detach()) == pytest.approx(-(1 / 4 + 3 * 3 / 4), rel=1e-12)


@EVERY_CONFIG
def test_the_readapted_policy_is_the_one_that_sampled(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, **changes)
    _, batches, old = trust_region_of(GAUSSIAN, config)
    counted = [b for b, weight in zip(batches, config.normalised_stage_weights(), strict=True) if weight]
    for policy, batch in zip(old, counted, strict=True):
        assert_same(policy.log_prob(batch.actions), batch.log_probs)


def test_the_kl_is_from_the_old_to_the_new_policies_a_mean_over_valid_steps_and_tasks() -> None:
    config = dataclasses.replace(CONFIG, stage_weights=(1.0, 3.0))
    theta, batches, old = trust_region_of(GAUSSIAN, config)
    moved = unflatten(vector(theta) + 0.3 * vector(random_theta(GAUSSIAN, seed=5)), theta)
    stages = adapted_stages(GAUSSIAN, moved, batches, config)

    def expected(reverse: bool) -> float:
        total = 0.0
        for weight, before, new, batch in zip((0.25, 0.75), old, stages.policies, batches, strict=True):
            assert isinstance(before, Gaussian)
            assert isinstance(new, Gaussian)
            pair = [Independent(Normal(p.mean.detach(), p.log_std.detach().exp()), 1) for p in (before, new)]
            steps = kl_divergence(*(pair[::-1] if reverse else pair))
            total += weight * sum(float(steps[task][batch.valid[task]].mean()) for task in range(NUM_TASKS)) / NUM_TASKS
        return total

    assert float(mean_kl(stages, old).detach()) == pytest.approx(expected(reverse=False), rel=1e-12)
    assert abs(expected(reverse=True) / expected(reverse=False) - 1) > 0.01


def test_learned_step_sizes_at_their_start_leave_the_stages_where_they_were() -> None:
    config = dataclasses.replace(CONFIG, inner_steps=2, stage_weights=(1.0, 2.0, 3.0))
    theta, batches, old = trust_region_of(GAUSSIAN, config)
    stages = adapted_stages(GAUSSIAN, with_step_sizes(theta, config.step_sizes(2)), batches, config)
    for new, before in zip(stages.policies, old, strict=True):
        assert_same(new[0].detach(), before[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("learned", [False, True], ids=["given step sizes", "learned step sizes"])
@pytest.mark.parametrize("name", ["two steps", "stage weights", "likelihood ratio", "dice"])
def test_the_meta_gradient_is_that_of_finite_differences(name: str, learned: bool) -> None:
    config = dataclasses.replace(CONFIG, **CONFIGS[name])
    theta, batches, _ = trust_region_of(GAUSSIAN, config)
    theta = with_step_sizes(theta, config.step_sizes(config.inner_steps)) if learned else theta
    old = policies_at(GAUSSIAN, theta, batches, config)
    stages = adapted_stages(GAUSSIAN, theta, batches, config)
    gradient = sum_over_tasks(torch.autograd.grad(surrogate_loss(stages, old), stages.points))

    def value(point: Tensor) -> Tensor:
        return surrogate_loss(adapted_stages(GAUSSIAN, unflatten(point, theta), batches, config), old)

    assert_same(gradient, central_differences(value, vector(theta)), rtol=1e-6, atol=1e-8)
    assert gradient.norm() > 1e-2


@pytest.mark.parametrize("kind", POLICIES)
@EVERY_CONFIG
def test_the_curvature_product_is_the_dense_hessian_of_the_kl(changes: dict[str, Any], kind: str) -> None:
    config, policy = dataclasses.replace(CONFIG, **changes), POLICIES[kind]
    theta, batches, old = trust_region_of(policy, config)
    stages = adapted_stages(policy, theta, batches, config)
    product = curvature_product(policy, theta, batches, config)
    identity = torch.eye(len(vector(theta)), dtype=torch.float64)
    ours = torch.stack([product(row) for row in identity])
    if config.first_order:  # derivatives pass through the identity: the Hessian of the policies' own KL
        adapted = [field for stage in stages.policies for field in stage]
        assert all(field.requires_grad for field in adapted)
    assert_same(ours, dense_hessian(mean_kl(stages, old), stages.points), rtol=1e-9, atol=1e-11)
    assert_same(ours, ours.T, rtol=1e-9, atol=1e-11)
    assert ours.norm() > 1e-2


def test_the_curvature_product_sees_learned_step_sizes() -> None:
    config = dataclasses.replace(CONFIG, inner_steps=2)
    theta, batches, _ = trust_region_of(GAUSSIAN, config)
    theta = with_step_sizes(theta, config.step_sizes(2))
    old = policies_at(GAUSSIAN, theta, batches, config)
    stages = adapted_stages(GAUSSIAN, theta, batches, config)
    product = curvature_product(GAUSSIAN, theta, batches, config)
    ours = torch.stack([product(row) for row in torch.eye(len(vector(theta)), dtype=torch.float64)])
    assert_same(ours, dense_hessian(mean_kl(stages, old), stages.points), rtol=1e-9, atol=1e-11)
    assert ours[-1].norm() > 1e-6


def test_the_curvature_is_that_of_finite_differences_of_the_kl() -> None:
    theta, batches, old = trust_region_of(GAUSSIAN, CONFIG)
    direction = torch.nn.functional.normalize(vector(random_theta(GAUSSIAN, seed=5)), dim=0)

    def kl(width: float) -> float:
        point = unflatten(vector(theta) + width * direction, theta)
        return float(mean_kl(adapted_stages(GAUSSIAN, point, batches, CONFIG, differentiable=False), old).detach())

    width = 1e-4
    second_derivative = (kl(width) - 2 * kl(0.0) + kl(-width)) / width**2
    product = curvature_product(GAUSSIAN, theta, batches, CONFIG)
    assert float(direction @ product(direction)) == pytest.approx(second_derivative, rel=1e-5)


def test_damping_adds_its_multiple_of_the_vector() -> None:
    theta, batches, _ = trust_region_of(GAUSSIAN, CONFIG)
    direction = vector(random_theta(GAUSSIAN, seed=5))
    plain = curvature_product(GAUSSIAN, theta, batches, CONFIG)(direction)
    damped = curvature_product(GAUSSIAN, theta, batches, dataclasses.replace(CONFIG, damping=0.25))(direction)
    assert_same(damped - plain, 0.25 * direction)


@pytest.mark.parametrize(("fraction", "num_episodes"), [(0.4, 2), (0.5, 3), (0.01, 1), (1.0, 5)])
def test_a_fraction_of_the_curvature_is_taken_on_the_first_episodes(fraction: float, num_episodes: int) -> None:
    theta, batches, _ = trust_region_of(GAUSSIAN, CONFIG)
    direction = vector(random_theta(GAUSSIAN, seed=5))
    few = [Batch(*(field[:, :num_episodes] for field in batch)) for batch in batches]
    if fraction < 1:
        few = [batch._replace(advantages=normalise(batch.advantages, batch.valid)) for batch in few]
    expected = curvature_product(GAUSSIAN, theta, few, CONFIG)(direction)
    config = dataclasses.replace(CONFIG, curvature_fraction=fraction)
    assert_same(curvature_product(GAUSSIAN, theta, batches, config)(direction), expected)
    if fraction < 1:
        whole = curvature_product(GAUSSIAN, theta, batches, CONFIG)(direction)
        assert not torch.allclose(whole, expected, rtol=1e-2)


def test_all_of_the_episodes_are_the_batch_itself() -> None:
    batch = random_batch(GAUSSIAN, random_theta(GAUSSIAN), NUM_TASKS)
    assert first_episodes(batch, 5, None) is batch


def test_the_first_episodes_keep_a_scale_that_all_tasks_share() -> None:
    policy = GaussianMLP(observation_size=3, action_size=2, hidden=(4,))
    batch = random_batch(policy, random_theta(policy), num_tasks=2)
    few = first_episodes(batch, 2, 3.0)
    kept = batch.advantages[:, :2] * few.valid
    mean = kept.sum((1, 2), keepdim=True) / few.valid.sum((1, 2), keepdim=True)
    assert_same(few.advantages, (kept - mean) * few.valid)


def test_an_update_is_a_natural_gradient_step() -> None:
    config = dataclasses.replace(CONFIG, damping=0.03)
    theta, batches, old = trust_region_of(GAUSSIAN, config)
    new, report = update(GAUSSIAN, theta, batches[:-1], batches[-1], config, Stopwatch())
    stages = adapted_stages(GAUSSIAN, theta, batches, config)
    gradient = sum_over_tasks(torch.autograd.grad(surrogate_loss(stages, old), stages.points, retain_graph=True))
    metric = dense_hessian(mean_kl(stages, old), stages.points) + 0.03 * torch.eye(len(gradient), dtype=torch.float64)
    natural, step = torch.linalg.solve(metric, -gradient), vector(new) - vector(theta)
    assert float(torch.cosine_similarity(step, natural, dim=0)) == pytest.approx(1.0, abs=1e-8)
    assert float(torch.cosine_similarity(step, -gradient, dim=0)) < 0.9
    assert report.accepted
    assert report.gradient_norm == pytest.approx(float(gradient.norm()))
    assert report.step_norm == pytest.approx(float(step.norm()))
    assert report.cg_residual < 1e-4


@EVERY_CONFIG
def test_accepted_steps_respect_max_kl_and_lower_the_loss(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, **changes)
    theta, batches, old = trust_region_of(GAUSSIAN, config)
    for max_kl in (0.1, 1e-3):
        config = dataclasses.replace(config, max_kl=max_kl, damping=1e-5)
        new, report = update(GAUSSIAN, theta, batches[:-1], batches[-1], config, Stopwatch())
        assert report.accepted
        stages = adapted_stages(GAUSSIAN, new, batches, config, differentiable=False)
        kl, loss = float(mean_kl(stages, old).detach()), float(surrogate_loss(stages, old).detach())
        assert (report.kl, report.loss_after) == pytest.approx((kl, loss), rel=1e-9)
        assert 0 < kl <= max_kl
        assert loss < report.loss_before - 1e-3
        assert report.loss_before == pytest.approx(-float(weighted_mean_advantage(batches, config)), abs=1e-12)


def test_without_an_admissible_step_theta_is_handed_back_itself() -> None:
    theta, batches, _ = trust_region_of(GAUSSIAN, CONFIG)
    before = vector(theta).clone()
    indifferent = [batch._replace(advantages=torch.zeros_like(batch.advantages)) for batch in batches]
    new, report = update(GAUSSIAN, theta, indifferent[:-1], indifferent[-1], CONFIG, Stopwatch())
    assert new is theta
    assert torch.equal(vector(new), before)
    assert not report.accepted
    assert (report.step_norm, report.kl, report.gradient_norm, report.cg_residual) == (0.0, 0.0, 0.0, 0.0)


def test_a_line_search_that_fails_with_a_gradient_hands_theta_back_itself() -> None:
    # one try, under a bound on the KL that is below what rounding leaves of any step
    theta, batches, _ = trust_region_of(GAUSSIAN, CONFIG)
    config = dataclasses.replace(CONFIG, max_kl=1e-40, backtrack_tries=1)
    before = vector(theta).clone()
    new, report = update(GAUSSIAN, theta, batches[:-1], batches[-1], config, Stopwatch())
    assert new is theta
    assert torch.equal(vector(new), before)
    assert report.gradient_norm > 1e-3
    assert (report.accepted, report.line_search_tries) == (False, 1)
    assert report.loss_after == report.loss_before


def test_an_update_leaves_theta_and_the_batches_alone() -> None:
    theta, batches, _ = trust_region_of(GAUSSIAN, CONFIG)
    copies = [Batch(*(field.clone() for field in batch)) for batch in batches]
    before = vector(theta).clone()
    new, _ = update(GAUSSIAN, theta, batches[:-1], batches[-1], CONFIG, Stopwatch())
    assert torch.equal(vector(theta), before)
    assert not torch.equal(vector(new), before)
    assert not any(tensor.requires_grad for tensor in new.values())
    for batch, copy in zip(batches, copies, strict=True):
        assert all(torch.equal(field, same) for field, same in zip(batch, copy, strict=True))


@EVERY_CONFIG
def test_an_update_does_not_depend_on_the_order_of_tasks(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, damping=1e-3, cg_iterations=8, **changes)
    theta, batches, _ = trust_region_of(GAUSSIAN, config)
    permuted = [select_tasks(batch, [2, 0, 1]) for batch in batches]
    assert_steps_agree(theta, permuted, batches, config)


def test_a_trust_region_step_of_several_tasks_is_that_of_each_alone() -> None:
    params = random_task_params(GAUSSIAN, NUM_TASKS)
    batch = random_batch(GAUSSIAN, params, NUM_TASKS, num_episodes=5)
    stepped = trust_region_step(GAUSSIAN, params, batch, CONFIG, 0.02, Stopwatch())
    for task in range(NUM_TASKS):
        alone = {name: tensor[task : task + 1] for name, tensor in params.items()}
        own = trust_region_step(GAUSSIAN, alone, select_tasks(batch, [task]), CONFIG, 0.02, Stopwatch())
        assert all(torch.equal(stepped[name][task], tensor[0]) for name, tensor in own.items())


def test_a_trust_region_step_does_not_depend_on_the_number_of_threads() -> None:
    policy = GaussianMLP(observation_size=3, action_size=2, hidden=(64, 64))
    params = {name: tensor.float() for name, tensor in random_task_params(policy, 2).items()}
    double = random_batch(policy, random_task_params(policy, 2), 2, num_episodes=400)
    batch = Batch(*(field.float() if field.is_floating_point() else field for field in double))
    steps = []
    for threads in (1, 2):
        with torch_threads(threads):
            steps.append(vector(trust_region_step(policy, params, batch, CONFIG, 0.02, Stopwatch())))
    assert torch.equal(*steps)


def test_a_trust_region_steps_curvature_is_that_of_all_episodes() -> None:
    params = random_task_params(GAUSSIAN, NUM_TASKS)
    batch = random_batch(GAUSSIAN, params, NUM_TASKS, num_episodes=5)
    fractions = [dataclasses.replace(CONFIG, curvature_fraction=fraction) for fraction in (1.0, 0.2)]
    one, other = (trust_region_step(GAUSSIAN, params, batch, config, 0.02, Stopwatch()) for config in fractions)
    assert torch.equal(vector(one), vector(other))


def test_a_trust_region_step_raises_every_tasks_surrogate_return_within_its_kl_whatever_the_trained_one() -> None:
    params = random_task_params(GAUSSIAN, NUM_TASKS)
    batch = random_batch(GAUSSIAN, params, NUM_TASKS, num_episodes=5)
    # The trained inner steps, stage weights and trust region play no part.
    config = dataclasses.replace(CONFIG, inner_steps=2, stage_weights=(1.0, 2.0, 3.0), max_kl=9.0, damping=1e-5)
    stepped = trust_region_step(GAUSSIAN, params, batch, config, 0.02, Stopwatch())
    before, after = GAUSSIAN(params, batch.observations), GAUSSIAN(stepped, batch.observations)
    ratio = (after.log_prob(batch.actions) - before.log_prob(batch.actions)).exp()
    for task, valid in enumerate(batch.valid):
        kl = before.kl(after)[task][valid].mean()  # type: ignore[arg-type]
        assert 0 < float(kl) <= 0.02
        gain = ((ratio - 1) * batch.advantages)[task][valid].mean()
        assert float(gain) > 1e-4


@EVERY_CONFIG
def test_padding_changes_no_update(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(CONFIG, damping=1e-3, cg_iterations=8, curvature_fraction=0.4, **changes)
    theta, batches, _ = trust_region_of(GAUSSIAN, config)
    assert_steps_agree(theta, [padded_batch(batch) for batch in batches], batches, config)


def assert_steps_agree(theta: Params, batches: list[Batch], others: list[Batch], config: TrainConfig) -> None:
    one, other = (
        vector(update(GAUSSIAN, theta, which[:-1], which[-1], config, Stopwatch())[0]) - vector(theta)
        for which in (batches, others)
    )
    assert_same(one, other, rtol=1e-6, atol=1e-9)
    assert other.norm() > 1e-2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_advantages_that_are_not_finite_are_refused(value: float) -> None:
    theta, batches, _ = trust_region_of(GAUSSIAN, CONFIG)
    batches[-1].advantages[0, 0, 0] = value
    with pytest.raises(NonFiniteError, match="The loss or its gradient became NaN or infinite"):
        update(GAUSSIAN, theta, batches[:-1], batches[-1], CONFIG, Stopwatch())


def navigation_update(
    config: TrainConfig,
) -> tuple[GaussianMLP, Params, Sequence[Batch], Batch]:
    """Single precision, as in a run."""
    policy = GaussianMLP(observation_size=2, action_size=2, hidden=config.hidden)
    env = make_tasks_env("Navigation2D-v0", config.num_tasks * config.num_episodes, config.horizon, variant="finn2017")
    streams = RandomStreams(config.seed)
    theta = policy.init(streams.parameter_seed())
    env.set_tasks(env.sample_tasks(config.num_tasks, streams.task_seeds(config.num_tasks)))
    sample = partial(stage_by_stage, num_tasks=config.num_tasks, steps=config.inner_steps)
    rollouts, pre = as_lists(sample(env, policy, theta, config, streams, Stopwatch()))
    return policy, theta, pre, to_batch(rollouts[-1], config)


@pytest.mark.parametrize("changes", [{}, {"inner_steps": 2}, {"learn_step_sizes": True}, {"first_order": True}])
def test_an_update_on_navigation_improves_the_adapted_policies(changes: dict[str, Any]) -> None:
    config = TrainConfig(num_tasks=6, num_episodes=8, horizon=30, hidden=(16, 16), threads=1, **changes)
    policy, theta, pre, post = navigation_update(config)
    if config.learn_step_sizes:
        theta = with_step_sizes(theta, config.step_sizes(config.inner_steps))
    _, report = update(policy, theta, pre, post, config, Stopwatch())
    assert report.accepted
    assert 0 < report.kl <= config.max_kl
    assert report.loss_after < report.loss_before - 1e-3
    assert abs(report.loss_before) < 1e-6  # normalised advantages, ratio 1


def test_single_precision_agrees_with_double_precision_on_navigation() -> None:
    config = TrainConfig(num_tasks=6, num_episodes=8, horizon=30, hidden=(16, 16), cg_iterations=3, threads=1)
    policy, theta, pre, post = navigation_update(config)
    single, _ = update(policy, theta, pre, post, config, Stopwatch())
    precise = {name: tensor.double() for name, tensor in theta.items()}
    double, _ = update(policy, precise, [double_batch(batch) for batch in pre], double_batch(post), config, Stopwatch())
    steps = [flatten(new.values()).double() - vector(precise) for new in (single, double)]
    assert float((steps[0] - steps[1]).norm() / steps[1].norm()) < 0.01
