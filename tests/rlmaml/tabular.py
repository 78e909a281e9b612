"""A small decision process with a softmax policy, whose expected return and its derivatives are known exactly.

The policy is a categorical perceptron without hidden layers on one-hot observations. Its probabilities at
:func:`rational_theta` are fractions, so that :func:`exact_batch`, which holds every trajectory in proportion to its
probability, is a finite batch of which every empirical mean is the expectation.
"""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from rlmaml.core.parameters import unflatten
from rlmaml.core.types import Batch, Params
from tests.rlmaml.makers import categorical_policy

PROBABILITIES = ((Fraction(1, 3), Fraction(2, 3)), (Fraction(1, 2), Fraction(1, 2)), (Fraction(3, 4), Fraction(1, 4)))
"""π(a | s) at :func:`rational_theta`."""
POLICY = categorical_policy(observation_size=3, num_actions=2, hidden=())


class Process(NamedTuple):
    """``following[s][a]`` is the next state, ``rewards[s][a]`` the reward; episodes start in state 0."""

    following: tuple[tuple[int, int], ...]
    rewards: tuple[tuple[float, float], ...]
    horizon: int


CHAIN = Process(following=((1, 2), (0, 2), (1, 0)), rewards=((1.0, -2.0), (0.5, 3.0), (-1.0, 4.0)), horizon=3)
BANDIT = Process(following=((0, 0), (1, 1), (2, 2)), rewards=((1.0, 3.0), (0.0, 0.0), (0.0, 0.0)), horizon=1)


class Step(NamedTuple):
    """A state-action pair at a time, with its probability of being visited."""

    state: int
    action: int
    time: int
    probability: float


def rational_theta() -> Params:
    """Parameters at which the policy has :data:`PROBABILITIES`; the biases are not 0."""
    bias = torch.tensor([0.3, -0.2], dtype=torch.float64)
    logits = torch.tensor([[math.log(p) for p in row] for row in PROBABILITIES], dtype=torch.float64)
    return {"layer0.weight": (logits - bias).T.contiguous(), "layer0.bias": bias}


def log_policy(numbers: Tensor) -> Tensor:
    """``log π(a | s)``, ``[state, action]``, of all parameters as one vector."""
    params = unflatten(numbers, rational_theta())
    return torch.log_softmax(params["layer0.weight"].T + params["layer0.bias"], -1)


def action_values(process: Process, numbers: Tensor) -> list[Tensor]:
    """``Q_t(s, a)`` for every t, by backward induction."""
    policy, values = log_policy(numbers).exp(), torch.zeros(3, dtype=torch.float64)
    rewards = torch.tensor(process.rewards, dtype=torch.float64)
    all_values = []
    for _ in range(process.horizon):
        q = rewards + values[torch.tensor(process.following)]
        values = (policy * q).sum(-1)
        all_values.append(q)
    return all_values[::-1]


def expected_return(process: Process, numbers: Tensor) -> Tensor:
    """J(θ), by backward induction: no trajectory is enumerated."""
    return (log_policy(numbers)[0].exp() * action_values(process, numbers)[0][0]).sum()


def trajectories(process: Process) -> Iterator[tuple[list[int], tuple[int, ...], list[float], Fraction]]:
    """States, actions, rewards and exact probability of every trajectory."""
    for actions in itertools.product(range(2), repeat=process.horizon):
        states, rewards, probability, state = [], [], Fraction(1), 0
        for action in actions:
            states.append(state)
            rewards.append(process.rewards[state][action])
            probability *= PROBABILITIES[state][action]
            state = process.following[state][action]
        yield states, actions, rewards, probability


def exact_batch(process: Process) -> Batch:
    """One task, every trajectory as often as its probability asks; advantages are undiscounted returns to go."""
    everything = list(trajectories(process))
    episodes = math.lcm(*(probability.denominator for *_, probability in everything))
    states, actions, to_go = [], [], []
    for its_states, its_actions, rewards, probability in everything:
        count = int(probability * episodes)
        states += [its_states] * count
        actions += [list(its_actions)] * count
        to_go += [[sum(rewards[t:]) for t in range(process.horizon)]] * count
    observations = torch.eye(3, dtype=torch.float64)[torch.tensor(states)].unsqueeze(0)
    chosen = torch.tensor(actions).unsqueeze(0)
    to_go_now = torch.tensor(to_go, dtype=torch.float64).unsqueeze(0)
    valid, scale = torch.ones(chosen.shape, dtype=torch.bool), torch.ones_like(to_go_now)
    bare = Batch(observations, chosen, to_go_now, to_go_now, to_go_now, valid, scale, to_go_now)
    return bare._replace(log_probs=POLICY.unroll(rational_theta(), bare)[0].distribution.log_prob(chosen))


def visits(process: Process) -> list[Step]:
    """Every state-action pair at every time, with the probability of its being visited."""
    reached, steps = {0: Fraction(1)}, []
    for time in range(process.horizon):
        following: dict[int, Fraction] = {}
        for state, probability in reached.items():
            for action in range(2):
                joint = probability * PROBABILITIES[state][action]
                steps.append(Step(state, action, time, float(joint)))
                target = process.following[state][action]
                following[target] = following.get(target, Fraction(0)) + joint
        reached = following
    return steps


class Curvature(NamedTuple):
    """The parts of the Hessian of J: ``h1 + h2 + h12 + h12ᵀ`` (arXiv 1810.06784)."""

    h1: Tensor
    h2: Tensor
    h12: Tensor


def curvature_terms(process: Process, numbers: Tensor) -> Curvature:
    """``E[Σ ∇log π ∇log πᵀ Q]``, ``E[Σ ∇²log π Q]`` and ``E[Σ ∇log π ∇Qᵀ]``, each as its definition says."""
    numbers = numbers.detach().requires_grad_()
    log_probs, values = log_policy(numbers), action_values(process, numbers)
    h1 = h2 = h12 = torch.zeros(len(numbers), len(numbers), dtype=torch.float64)
    for state, action, time, probability in visits(process):
        q = values[time][state, action]
        score = _gradient(log_probs[state, action], numbers)
        score_hessian = torch.stack([_gradient(entry, numbers) for entry in score]).detach()
        q_gradient, score = _gradient(q, numbers).detach(), score.detach()
        h1 = h1 + probability * torch.outer(score, score) * q.detach()
        h2 = h2 + probability * score_hessian * q.detach()
        h12 = h12 + probability * torch.outer(score, q_gradient)
    return Curvature(h1, h2, h12)


def _gradient(value: Tensor, numbers: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(numbers)
    (gradient,) = torch.autograd.grad(value, numbers, create_graph=True, allow_unused=True)
    return torch.zeros_like(numbers) if gradient is None else gradient
