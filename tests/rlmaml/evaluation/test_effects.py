import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional

from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.core.types import Adaptation, Batch, Memory, Meta, Params, Rollout
from rlmaml.evaluation.effects import Effects, _size, adaptation_effects, begun_at_zero
from rlmaml.evaluation.evaluate import adapted_in_stages
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.rules.memory_rule import MemoryRule
from rlmaml.sampling.collect import episodes_of, to_batch
from rlmaml.settings.whole import Settings, configure
from tests.rlmaml.makers import gaussian_policy, random_theta, single
from tests.rlmaml.scripted import ScriptedEnvironment

POLICY = gaussian_policy()
SETTINGS = configure(inner_step_sizes=(0.3, 0.2), inner_steps=2, threads=1)
NUM_TASKS = 3


class Adapted(NamedTuple):
    params: Params
    stages: list[Adaptation]
    rollouts: list[Rollout]

    def effects(self, settings: Settings) -> Effects:
        return adaptation_effects(POLICY, adaptation_rule(settings, POLICY), self.stages, self.rollouts[0])


def adapt(settings: Settings, ends: dict[int, tuple[int, str]]) -> Adapted:
    rule, params = adaptation_rule(settings, POLICY), single(random_theta(POLICY))
    meta = Meta(params, rule.rates(params))
    env = ScriptedEnvironment(NUM_TASKS * 4, ends)
    env.horizon = 6
    streams = RandomStreams(7, Phase.EVALUATION)
    collect = episodes_of(env, POLICY, settings.advantages, streams, range(NUM_TASKS), "cpu")
    stages = adapted_in_stages(POLICY, rule, meta, collect, streams, num_tasks=NUM_TASKS, steps=2)
    return Adapted(params, *(list(parts) for parts in zip(*stages, strict=True)))


def policy_of(params: Params, observations: Tensor) -> Any:
    """The policy as anybody would write it."""
    hidden = torch.tanh(functional.linear(observations, params["layer0.weight"], params["layer0.bias"]))
    mean = functional.linear(hidden, params["layer1.weight"], params["layer1.bias"])
    return Independent(Normal(mean, params["log_std"].exp()), 1)


def stepped(params: Params, batch: Batch, size: float) -> Params:
    """One step of policy gradient on one task."""
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    log_probs = policy_of(leaves, batch.observations[0]).log_prob(batch.actions[0])
    loss = -(log_probs * batch.advantages[0])[batch.valid[0]].mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {
        name: (leaf - size * gradient).detach()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(
    "ends", [{}, {1: (3, "terminated"), 5: (2, "truncated"), 6: (4, "unstable")}], ids=["complete", "ragged"]
)
def test_effects_are_those_of_the_inner_steps_that_were_taken(learned: bool, ends: dict[int, tuple[int, str]]) -> None:
    settings = SETTINGS.changed(learn_step_sizes=learned)
    adapted = adapt(settings, ends)
    params, _, rollouts = adapted
    effects = adapted.effects(settings)

    batches = [to_batch(sampled, settings.advantages) for sampled in rollouts]
    tasks = [slice(task, task + 1) for task in range(NUM_TASKS)]
    by_hand = [[params] * NUM_TASKS]
    for k, size in enumerate((0.3, 0.2)):
        own = [Batch(*(field[task] for field in batches[k])) for task in tasks]
        by_hand.append([stepped(now, batch, size) for now, batch in zip(by_hand[k], own, strict=True)])

    assert set(effects.layers) == set(params)
    for name, start in params.items():
        expected = [
            sum(float((now[name] - start).norm() / start.norm()) for now in stage) / NUM_TASKS for stage in by_hand[1:]
        ]
        torch.testing.assert_close(effects.layers[name], torch.tensor(expected), rtol=1e-4, atol=1e-6)
        assert min(expected) > 1e-3
    seen, valid = rollouts[0].observations, rollouts[0].valid
    before = [policy_of(params, seen[task]) for task in range(NUM_TASKS)]
    kls, entropies = [], []
    for stage in by_hand:
        after = [policy_of(now, seen[task]) for task, now in enumerate(stage)]
        divergences = torch.stack([kl_divergence(one, other) for one, other in zip(before, after, strict=True)])
        kls.append(divergences[valid].mean())
        entropies.append(torch.stack([policy.entropy() for policy in after])[valid].mean())
    torch.testing.assert_close(effects.kl, torch.stack(kls[1:]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(effects.entropy, torch.stack(entropies), rtol=1e-5, atol=1e-6)
    assert effects.kl.min() > 1e-3
    assert (effects.entropy[1:] - effects.entropy[0]).abs().min() > 1e-3


def test_the_entropy_at_first_by_hand() -> None:
    adapted = adapt(SETTINGS, {})
    effects = adapted._replace(stages=adapted.stages[:2]).effects(SETTINGS)
    by_hand = float(adapted.params["log_std"].sum()) + 2 * math.log(2 * math.pi * math.e) / 2
    assert float(effects.entropy[0]) == pytest.approx(by_hand, rel=1e-5)
    assert effects.entropy.shape == (2,)
    assert effects.kl.shape == (1,)


def test_no_step_size_no_effect() -> None:
    settings = SETTINGS.changed(inner_step_sizes=(1e-12,))
    effects = adapt(settings, {}).effects(settings)
    torch.testing.assert_close(effects.kl, torch.zeros(2), atol=1e-9, rtol=0)
    assert all(float(change.max()) < 1e-6 for change in effects.layers.values())
    assert effects.entropy.std() < 1e-6


def test_what_is_zero_in_theta_is_measured_by_its_size_and_not_against_it() -> None:
    adapted = adapt(SETTINGS, {})
    zero = {"layer0.bias": torch.zeros_like(adapted.stages[0].params["layer0.bias"])}
    stages = [one._replace(params=one.params | (zero if k == 0 else {})) for k, one in enumerate(adapted.stages)]
    effects = adapted._replace(stages=stages).effects(SETTINGS)
    assert "layer0.bias" not in effects.layers
    expected = [float(one.params["layer0.bias"].square().mean().sqrt()) for one in stages]
    assert expected[0] == 0
    assert effects.from_zero["layer0.bias"].tolist() == pytest.approx(expected)
    assert all(float(change.max()) < 10 for change in effects.layers.values())


def test_what_begins_at_zero_is_measured_by_its_size() -> None:
    context, memory = torch.tensor([[3.0, 4.0]]), Memory(torch.full((1, 1, 2), 2.0), torch.zeros(1), torch.zeros(1))
    assert begun_at_zero(MemoryRule(2)) == ("memory",)
    assert begun_at_zero(MemoryRule(2, reset=("context",))) == ("context", "memory")
    assert float(_size(Adaptation({"context": context}), "context")) == pytest.approx(12.5**0.5)
    assert float(_size(Adaptation({}, memory=memory), "memory")) == pytest.approx(2.0)
    assert float(_size(Adaptation({}), "memory")) == 0.0
