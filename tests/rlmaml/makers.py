"""Random, non-degenerate values in double precision, and numerical derivatives to compare with."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal

from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.advantages import normalise
from rlmaml.core.parameters import as_meta, flatten, for_every_task, meta_vector, with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.task_sums import ALONE, TaskSums
from rlmaml.core.types import Batch, Memory, Meta, Params, Rollout, Seen
from rlmaml.policies.categorical import CategoricalPolicy
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.gru import GruPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.rollout import first_seen
from rlmaml.settings.policy import CategoricalSettings, GaussianSettings, RecurrentSettings


def gaussian_policy(
    observation_size: int = 3, action_size: int = 2, hidden: tuple[int, ...] = (4,), **settings: Any
) -> GaussianPolicy:
    """A Gaussian perceptron, small by default."""
    return GaussianPolicy(GaussianSettings(hidden=hidden, **settings), Sizes(observation_size, action_size))


def categorical_policy(
    observation_size: int = 3, num_actions: int = 3, hidden: tuple[int, ...] = (3,), **settings: Any
) -> CategoricalPolicy:
    """A categorical perceptron, small by default."""
    sizes = Sizes(observation_size, num_actions, discrete=True)
    return CategoricalPolicy(CategoricalSettings(hidden=hidden, **settings), sizes)


def gru_policy(
    observation_size: int = 3, action_size: int = 2, hidden: tuple[int, ...] = (4,), memory: int = 5, **settings: Any
) -> GruPolicy:
    """A policy with a memory, small by default."""
    sizes = Sizes(observation_size, action_size)
    return GruPolicy(RecurrentSettings(hidden=hidden, memory=memory, **settings), sizes)


def random_theta(policy: Policy, seed: int = 0) -> Params:
    """Parameters far from their initial values: the biases, too, are not 0."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor.double() + 0.4 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for name, tensor in policy.init(seed).items()
    }


def random_task_params(policy: Policy, num_tasks: int, seed: int = 0) -> Params:
    """Different parameters for every task."""
    thetas = [random_theta(policy, seed + 100 * task) for task in range(num_tasks)]
    return {name: torch.stack([theta[name] for theta in thetas]) for name in thetas[0]}


def single(params: Params) -> Params:
    """The same parameters in the precision in which policies act."""
    return {name: tensor.float() for name, tensor in params.items()}


def of_task(params: Params, task: int) -> Params:
    """The parameters of one task, without task axis."""
    return {name: tensor[task] for name, tensor in params.items()}


def torch_distribution(distribution: Any) -> Distribution:
    """The same distribution in torch's own words."""
    if hasattr(distribution, "logits"):
        return Categorical(logits=distribution.logits)
    return Independent(Normal(distribution.mean, distribution.log_std.exp()), 1)


def repeated(theta: Params, num_tasks: int) -> Params:
    """Theta along a task axis, recording gradients."""
    return with_task_axis(theta, num_tasks)


def random_valid(shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Episodes of different lengths, at least one step each; the first of every task is complete."""
    num_tasks, num_episodes, horizon = shape
    lengths = np.random.default_rng(seed).integers(1, horizon, size=(num_tasks, num_episodes), endpoint=True)
    lengths[:, 0] = horizon
    return torch.arange(horizon) < torch.from_numpy(lengths).unsqueeze(-1)


def random_batch(
    policy: Policy,
    params: Params,
    num_tasks: int,
    num_episodes: int = 5,
    horizon: int = 4,
    seed: int = 0,
    memory: Memory | None = None,
) -> Batch:
    """Steps sampled with ``params`` (theta or task parameters) at random observations, with padding."""
    generator = np.random.default_rng(seed)
    shape = (num_tasks, num_episodes, horizon)
    observations = torch.from_numpy(generator.standard_normal((*shape, 3)))
    noise = torch.from_numpy(policy.draw_noise(generator, shape))
    valid = random_valid(shape, seed)
    advantages = normalise(torch.from_numpy(generator.standard_normal(shape) + 0.3), valid)
    rewards = torch.from_numpy(generator.standard_normal(shape)) * valid
    actions, log_probs = sampled_steps(policy, params, observations, noise, rewards, memory)
    scale = torch.full(shape, 2.0, dtype=torch.float64)
    return Batch(observations, actions, rewards, log_probs, advantages, valid, scale, advantages)


def with_both(batch: Batch, change: Callable[..., Tensor], *by: Any) -> Batch:
    """The batch with changed advantages, and those that its inner loss reads changed in the same way."""
    names = ("advantages", "inner_advantages")
    return batch._replace(**{name: change(getattr(batch, name), *by) for name in names})


def sampled_steps(
    policy: Policy,
    params: Params,
    observations: Tensor,
    noise: Tensor,
    rewards: Tensor,
    memory: Memory | None = None,
) -> tuple[Tensor, Tensor]:
    """Actions ``[task, episode, time, ...]`` that a policy samples step after step, and their log-probabilities."""
    act = policy.act(params)
    carry = policy.start(params, tuple(observations.shape[:2])) if memory is None else memory.carry
    seen, actions, log_probs = first_seen(observations[:, :, 0], noise[:, :, 0].to(observations)), [], []
    if memory is not None:
        seen = seen._replace(last_action=memory.last_action, last_reward=memory.last_reward)
    with torch.no_grad():
        for t in range(observations.shape[2]):
            seen = seen._replace(observation=observations[:, :, t])
            distribution, carry = act(seen, carry)
            actions.append(distribution.sample(noise[:, :, t]))
            log_probs.append(distribution.log_prob(actions[-1]))
            seen = Seen(seen.observation, actions[-1], rewards[:, :, t], torch.zeros_like(seen.first_step))
    return torch.stack(actions, 2), torch.stack(log_probs, 2)


def adapted_batches(
    policy: Policy,
    rule: InnerRule,
    theta: Params | Meta,
    num_tasks: int,
    num_episodes: int = 5,
    steps: int | None = None,
    seed: int = 0,
) -> list[Batch]:
    """One batch per stage, each sampled with the task parameters of its stage."""
    meta = theta if isinstance(theta, Meta) else Meta(theta, {})
    per_task = for_every_task(meta, num_tasks)
    adaptation, batches = rule.begin(per_task), []
    for k in range((rule.steps if steps is None else steps) + 1):
        params, memory = adaptation.params, adaptation.memory
        batches.append(random_batch(policy, params, num_tasks, num_episodes, seed=seed + k, memory=memory))
        adaptation = rule.step(policy, per_task, adaptation, batches[k], k, streams_of(range(num_tasks)))
    return batches


def streams_of(tasks: Sequence[int]) -> RandomStreams:
    """Random streams of these tasks."""
    return RandomStreams(0, tasks=tasks)


def learner(policy: Policy, rule: InnerRule, sums: TaskSums = ALONE) -> Learner:
    """What meta-algorithms share, in one process, with random streams of their own."""
    return Learner(policy, rule, sums, streams_of(range(100)))


def random_rollout(shape: tuple[int, int, int] = (3, 5, 6), seed: int = 0, observation_size: int = 2) -> Rollout:
    """Episodes that do not come from any environment; about half of those that end do so by a time limit."""
    generator = np.random.default_rng(seed)
    valid = random_valid(shape, seed)
    truncated = torch.from_numpy(generator.random(shape[:2]) < 0.5)
    return Rollout(
        observations=torch.from_numpy(generator.standard_normal((*shape, observation_size))),
        actions=torch.from_numpy(generator.standard_normal((*shape, 2))),
        log_probs=torch.from_numpy(generator.standard_normal(shape)),
        rewards=torch.from_numpy(generator.standard_normal(shape)) * valid,
        terminated=~truncated,
        truncated=truncated,
        valid=valid,
        final_observations=torch.from_numpy(generator.standard_normal((*shape[:2], observation_size))),
        term_returns=torch.from_numpy(generator.standard_normal((*shape[:2], 1))),
        unstable=torch.zeros(shape[:2], dtype=torch.bool),
        tracked=torch.zeros(*shape[:2], 0, 0),
    )


def pad(values: Tensor, extra: int, garbage: float) -> Tensor:
    """``values[task, episode, time, ...]`` with more time steps, filled with garbage."""
    filling = torch.full((*values.shape[:2], extra, *values.shape[3:]), garbage).to(values.dtype)
    return torch.cat([values, filling], 2)


def padded_batch(batch: Batch, extra: int = 3) -> Batch:
    """The same valid steps among more, and worse, padding."""
    garbage = Batch(*(torch.full_like(field, 1) for field in batch))._replace(
        observations=torch.full_like(batch.observations, 7.0),
        log_probs=torch.full_like(batch.log_probs, -3.0),
        advantages=torch.full_like(batch.advantages, 11.0),
        inner_advantages=torch.full_like(batch.inner_advantages, 13.0),
    )
    dirty = Batch(*(where_valid(batch.valid, field, other) for field, other in zip(batch, garbage, strict=True)))
    padded = Batch(*(pad(field, extra, 2.0) for field in dirty))
    if not batch.actions.is_floating_point():
        padded = padded._replace(actions=pad(dirty.actions, extra, 1))
    return padded._replace(valid=pad(batch.valid, extra, 0))


def where_valid(valid: Tensor, values: Tensor, otherwise: Tensor) -> Tensor:
    """``values`` at valid steps, ``otherwise`` elsewhere."""
    return torch.where(valid.view(*valid.shape, *[1] * (values.dim() - 3)), values, otherwise)


def select_tasks(batch: Batch, tasks: Any) -> Batch:
    """The batch of some tasks, in the given order."""
    return Batch(*(field[tasks] for field in batch))


def double_batch(batch: Batch) -> Batch:
    """The same numbers in double precision."""
    return batch_as(batch, torch.float64)


def batch_as(batch: Batch, dtype: torch.dtype) -> Batch:
    """The same numbers in another precision."""
    return Batch(*(field.to(dtype) if field.is_floating_point() else field for field in batch))


def central_differences(function: Callable[[Tensor], Tensor], point: Tensor, width: float = 1e-5) -> Tensor:
    """Derivative along every entry of ``point``: ``[entry, *function's shape]``."""
    steps = width * torch.eye(len(point), dtype=point.dtype)
    return torch.stack([(function(point + step) - function(point - step)).detach() / (2 * width) for step in steps])


def central_differences_in_rows(function: Callable[[Tensor], Tensor], point: Tensor, width: float = 1e-5) -> Tensor:
    """Derivative along every entry of ``point`` of a function that maps every row of ``[row, entry]`` to a number."""
    steps = width * torch.eye(len(point), dtype=point.dtype)
    above, below = function(torch.cat([point + steps, point - steps])).detach().chunk(2)
    return (above - below) / (2 * width)


def rows_as_meta(rows: Tensor, like: Meta) -> Meta:
    """Vectors ``[row, entry]`` as meta-parameters with a task axis, one task per row."""
    every: Meta = torch.func.vmap(lambda row: as_meta(row, like))(rows)
    return every


def same_task(batch: Batch, task: int, count: int) -> Batch:
    """One task's batch as that of ``count`` tasks."""
    return Batch(*(field[task : task + 1].expand(count, *field.shape[1:]) for field in batch))


def dense_hessian(value: Tensor, points: list[Tensor]) -> Tensor:
    """Hessian with respect to theta, of which ``points`` are one copy per task."""
    gradient = summed(torch.autograd.grad(value, points, create_graph=True, materialize_grads=True))
    directions = torch.eye(len(gradient), dtype=gradient.dtype)
    rows = torch.autograd.grad(gradient, points, directions, is_grads_batched=True, retain_graph=True)
    return torch.cat([entry.sum(1).flatten(1) for entry in rows], 1)


def summed(per_task: Sequence[Tensor]) -> Tensor:
    """Per-task tensors added over tasks, as one vector."""
    return flatten(tensor.sum(0) for tensor in per_task)


def assert_same(actual: Tensor, expected: Tensor, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    """By default: the tensors agree to rounding in double precision."""
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)


def vector(params: Params | Meta) -> Tensor:
    """All parameters as one vector."""
    return (meta_vector(params) if isinstance(params, Meta) else flatten(params.values())).detach()
