import itertools

import pytest
import torch
from torch import Tensor

from rlmaml.algorithms.meta_algorithm import replay
from rlmaml.core.distributions import detach
from rlmaml.core.exploration import credit_losses, credits_of, mean_returns, standardised_returns
from rlmaml.core.losses import log_likelihood, policy_gradient
from rlmaml.core.parameters import flatten, for_every_task, repeated
from rlmaml.core.surrogate import surrogate_losses
from rlmaml.core.task_sums import ALONE, mean_over_usable
from rlmaml.core.types import Batch, Meta, Params
from rlmaml.rules.gradient_rule import GradientRule
from tests.rlmaml import tabular
from tests.rlmaml.makers import learner
from tests.rlmaml.tabular import CHAIN, POLICY, Process

EPISODES, SIZE, TASKS = 2, 1.5, 6000
RULE = GradientRule(1, (SIZE,), policy_gradient(log_likelihood))


def exact_meta_gradient(process: Process) -> Tensor:
    """Of ``E[J(φ(θ, τ))]``, over all pairs of episodes τ that the step may be computed from."""
    numbers = flatten(tabular.rational_theta().values()).requires_grad_()
    log_probs = tabular.log_policy(numbers)
    likelihoods, pulls = [], []
    for states, actions, rewards, _ in tabular.trajectories(process):
        scores = torch.stack([log_probs[s, a] for s, a in zip(states, actions, strict=True)])
        to_go = torch.tensor([sum(rewards[t:]) for t in range(process.horizon)], dtype=torch.float64)
        (pull,) = torch.autograd.grad((scores * to_go).mean(), numbers, create_graph=True)
        likelihoods.append(scores.sum())
        pulls.append(pull)
    objective = torch.zeros((), dtype=torch.float64)
    for pair in itertools.product(range(len(pulls)), repeat=EPISODES):
        adapted = numbers + SIZE * torch.stack([pulls[i] for i in pair]).mean(0)
        probability = torch.stack([likelihoods[i] for i in pair]).sum().exp()
        objective = objective + probability * tabular.expected_return(process, adapted)
    (gradient,) = torch.autograd.grad(objective, numbers)
    return gradient


def sample(process: Process, params: Params, episodes: int, seed: int) -> Batch:
    """Episodes of every task under its parameters; advantages are undiscounted returns to go."""
    generator = torch.Generator().manual_seed(seed)
    following, given = torch.tensor(process.following), torch.tensor(process.rewards, dtype=torch.float64)
    count = len(params["layer0.bias"])
    state, states, actions, rewards = torch.zeros(count, episodes, dtype=torch.long), [], [], []
    for _ in range(process.horizon):
        logits = torch.einsum("tes,tas->tea", torch.eye(3, dtype=torch.float64)[state], params["layer0.weight"])
        logits = logits + params["layer0.bias"].unsqueeze(1)
        uniform = torch.rand(count, episodes, generator=generator, dtype=torch.float64)
        action = (uniform > torch.softmax(logits, -1)[..., 0]).long()
        states.append(state)
        actions.append(action)
        rewards.append(given[state, action])
        state = following[state, action]
    earned = torch.stack(rewards, -1)
    to_go = earned.flip(-1).cumsum(-1).flip(-1)
    observations = torch.eye(3, dtype=torch.float64)[torch.stack(states, -1)]
    ones = torch.ones_like(earned)
    bare = Batch(observations, torch.stack(actions, -1), earned, ones, to_go, ones.bool(), ones, to_go)
    log_probs = POLICY.unroll(params, bare)[0].distribution.log_prob(bare.actions)
    return bare._replace(log_probs=log_probs)


def sampled_stages(process: Process) -> list[Batch]:
    """Episodes of every task before and after an inner step."""
    here = for_every_task(Meta(tabular.rational_theta(), {}), TASKS)
    pre = sample(process, here.params, EPISODES, seed=0)
    adapted = RULE.step(POLICY, here, RULE.begin(here), pre, 0).params
    return [pre, sample(process, adapted, EPISODES, seed=1)]


def estimates(process: Process, *, credited: bool, rule: GradientRule = RULE) -> Tensor:
    """The meta-gradient of every task by itself, in units of the return."""
    stages, points = sampled_stages(process), repeated(Meta(tabular.rational_theta(), {}), TASKS)
    policies = [said.distribution for said in replay(learner(POLICY, rule), points, stages, create_graph=True).outputs]
    old = [detach(policy) for policy in policies]
    losses = surrogate_losses(policies[1], old[1], stages[1])
    if credited:
        mean = mean_over_usable(ALONE, [batch.valid for batch in stages])
        losses = losses + credit_losses(policies, old, stages, credits_of(stages, (0.0, 1.0), mean))
    gradients = torch.autograd.grad(-process.horizon * losses.sum(), list(points.params.values()))
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)


def standard_errors_off(per_task: Tensor, exact: Tensor) -> Tensor:
    errors = per_task.std(0) / len(per_task) ** 0.5
    return torch.div((per_task.mean(0) - exact).abs(), errors + 1e-12)


def test_with_credit_the_meta_gradient_is_unbiased_and_without_it_is_not() -> None:
    exact = exact_meta_gradient(CHAIN)
    assert float(standard_errors_off(estimates(CHAIN, credited=True), exact).max()) < 4
    assert float(standard_errors_off(estimates(CHAIN, credited=False), exact).max()) > 5


def batch_of(rewards: list[list[list[float]]], valid: list[list[list[int]]], scale: float) -> Batch:
    earned, counted = torch.tensor(rewards).double(), torch.tensor(valid).bool()
    nothing = torch.zeros_like(earned)
    seen = nothing.unsqueeze(-1)
    return Batch(seen, seen, earned, nothing, nothing, counted, nothing + scale, nothing)


def test_returns_beside_those_of_the_other_tasks_by_hand() -> None:
    # returns 1 + 2 and 4 of task 0, mean 3.5, in episodes of 2 and 1 steps; 6 of task 1, whose second simulation failed
    batch = batch_of([[[1, 2], [4, 9]], [[5, 1], [8, 8]]], [[[1, 1], [1, 0]], [[1, 1], [0, 0]]], scale=0.5)
    assert mean_returns(batch).tolist() == [3.5, 6.0]
    mean = mean_over_usable(ALONE, [batch.valid])
    expected = [(3.5 - 6.0) / (1.5 * 0.5), (6.0 - 3.5) / (2 * 0.5)]
    assert standardised_returns(batch, mean).tolist() == pytest.approx(expected)


def test_a_task_whose_advantages_are_all_the_same_is_neither_credited_nor_blamed() -> None:
    batch = batch_of([[[0]], [[4]]], [[[1]], [[1]]], scale=1e-8)
    assert standardised_returns(batch, mean_over_usable(ALONE, [batch.valid])).tolist() == [0.0, 0.0]


def test_a_stage_is_credited_with_all_later_ones_as_they_are_weighed() -> None:
    stages = [batch_of([[[0]], [[each]]], [[[1]], [[1]]], scale=1.0) for each in (100, 3, 5)]
    mean = mean_over_usable(ALONE, [batch.valid for batch in stages])
    first, second = credits_of(stages, (0.1, 0.25, 0.65), mean)
    assert first.tolist() == pytest.approx([-(0.25 * 3 + 0.65 * 5), 0.25 * 3 + 0.65 * 5])
    assert second.tolist() == pytest.approx([-0.65 * 5, 0.65 * 5])
