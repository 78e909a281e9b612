"""Where every tensor is computed, in a meta-iteration that uses two devices."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.utils import _pytree as pytree

from rlmaml.algorithms.meta_algorithm import MetaAlgorithm
from rlmaml.core import devices
from rlmaml.core.types import Params
from rlmaml.deploy import adaptable
from rlmaml.deploy.adaptable import as_policy
from rlmaml.evaluation.evaluate import evaluate
from rlmaml.policies.sizes import sizes_of
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling import rollout as sampling
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import IterationReport, Learned, MetaLearner, meta_iteration
from tests.rlmaml.delegation import lent
from tests.rlmaml.makers import assert_same, vector
from tests.rlmaml.scripted import ScriptedEnvironment

PRECISIONS = {"cpu": torch.float32, "cuda": torch.float64}
"""The stand-in for a device: a tensor that crosses without being moved has the wrong precision."""

METHODS: dict[str, dict[str, Any]] = {
    "maml-trpo": {"algorithm": "maml-trpo", "curvature_fraction": 0.5, "learn_step_sizes": True},
    "reptile": {"algorithm": "reptile", "outer_step": "adam"},
    "maml-trpo, gru": {"algorithm": "maml-trpo", "policy": "gru", "memory": 3},
}


def settings_of(method: str, device: str, rollout_device: str) -> Settings:
    common: dict[str, Any] = {
        "num_tasks": 2,
        "num_episodes": 4,
        "hidden": (4,),
        "threads": 1,
        "inner_step_sizes": (0.05,),
    }
    return configure(**METHODS[method], **common, device=device, rollout_device=rollout_device)


def precisions(value: Any) -> set[torch.dtype]:
    """Of all floating-point numbers in a value."""
    leaves = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
    assert leaves
    return {leaf.dtype for leaf in leaves if leaf.is_floating_point()}


def stand_in(value: Any, device: Any) -> Any:
    """``move`` where devices are precisions."""
    precision = PRECISIONS[str(device)]
    moved = lambda leaf: leaf.to(precision) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf
    return pytree.tree_map(moved, value)


@contextlib.contextmanager
def pretended_devices(rollout_device: str) -> Iterator[None]:
    """Devices are precisions wherever :func:`rlmaml.core.devices.move` is used, and where a rollout makes tensors."""
    with pytest.MonkeyPatch.context() as patch:
        for module in [module for name, module in sys.modules.items() if name.startswith("rlmaml.")]:
            if getattr(module, "move", None) is devices.move and module is not devices:
                patch.setattr(module, "move", stand_in)
        made, noise = sampling._as_tensor, sampling.draw_noise
        patch.setattr(sampling, "_as_tensor", lambda *given: stand_in(made(*given), rollout_device))
        patch.setattr(sampling, "draw_noise", lambda *given: stand_in(noise(*given), rollout_device))
        yield


class Watched(NamedTuple):
    """What came in where."""

    rule: list[set[torch.dtype]]
    algorithm: list[set[torch.dtype]]
    policy: list[set[torch.dtype]]


def watching(method: MetaLearner, patch: pytest.MonkeyPatch) -> tuple[MetaLearner, Watched]:
    """The same method, whose inner rule, meta-algorithm and acting policy write down in which precision they work."""
    seen = Watched([], [], [])

    class Spy:
        def __init__(self, of: Any) -> None:
            self.of = of

        def __getattr__(self, name: str) -> Any:
            return getattr(self.of, name)

    @lent(InnerRule, of="of")
    class SpiedRule(Spy):
        def during(self, iteration: int) -> Any:
            return SpiedRule(self.of.during(iteration))

        def step(self, policy: Any, *given: Any, **options: Any) -> Any:
            after = self.of.step(policy, *given, **options)
            seen.rule.append(precisions((given[:3], after)))
            return after

    @lent(MetaAlgorithm, of="of")
    class SpiedAlgorithm(Spy):
        def update(self, learner: Any, *given: Any) -> Any:
            done = self.of.update(learner, *given)
            seen.algorithm.append(precisions((given, done[:2])))
            return done

    act = method.policy.act

    def spied_act(params: Params) -> Any:
        step = act(params)

        def acting(what: Any, carry: Any) -> Any:
            result = step(what, carry)
            seen.policy.append(precisions((params, what, carry, list(result[0]), result[1])))
            return result

        return acting

    patch.setattr(method.policy, "act", spied_act)
    spies: dict[str, Any] = {"rule": SpiedRule(method.rule), "algorithm": SpiedAlgorithm(method.algorithm)}
    return method._replace(**spies), seen


def environment() -> Any:
    """A scripted environment with the spaces that size a policy."""
    env: Any = ScriptedEnvironment(8, {1: (3, "terminated"), 2: (2, "truncated"), 5: (2, "unstable")})
    env.horizon = 4
    env.single_observation_space, env.single_action_space = spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,))
    return env


def run(settings: Settings, patch: pytest.MonkeyPatch) -> tuple[Learned, IterationReport, Watched]:
    env = environment()
    method = make_method(settings, env)
    learned = begin(settings, method)
    spied, seen = watching(method, patch)
    for iteration in range(2):
        learned, report = meta_iteration(env, spied, learned, settings, iteration)
    return learned, report, seen


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("device", "rollout_device"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_every_tensor_is_moved_to_where_it_is_computed_and_back(
    method: str, device: str, rollout_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretended_devices(rollout_device):
        learned, report, seen = run(settings_of(method, device, rollout_device), monkeypatch)
    assert seen.rule
    assert seen.algorithm
    assert all(found == {PRECISIONS[device]} for found in (*seen.rule, *seen.algorithm))
    assert len(seen.policy) >= 8
    assert all(found == {PRECISIONS[rollout_device]} for found in seen.policy)
    assert precisions(learned.meta) == {torch.float32}
    assert not learned.state or precisions(learned.state) == {torch.float32}
    assert precisions((report.rollouts, report.outcomes)) == {torch.float32}


@pytest.mark.parametrize("trust_region", [None, 0.05])
@pytest.mark.parametrize(("device", "rollout_device"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_in_an_evaluation_and_on_the_robot_too(
    trust_region: float | None, device: str, rollout_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("maml-trpo", device, rollout_device)
    with pretended_devices(rollout_device):
        env = environment()
        method = make_method(settings, env)
        meta = begin(settings, method).meta
        rule = adaptation_rule(settings, method.policy, trust_region)
        spied, seen = watching(method._replace(rule=rule), monkeypatch)
        report = evaluate(env, spied.policy, spied.rule, meta, settings, num_tasks=2, steps=1, seed=0)
        monkeypatch.setattr(adaptable, "adaptation_rule", lambda *given: spied.rule)
        fresh = as_policy(Checkpoint(meta, 0, settings, sizes_of(env)))
        policy = replace(fresh, network=spied.policy).on(device, rollout_device)
        episodes = policy.record(env, 0)
        adapted = policy.adapt(episodes, trust_region=trust_region)
    assert len(seen.rule) == 2
    assert all(found == {PRECISIONS[device]} for found in seen.rule)
    assert all(found == {PRECISIONS[rollout_device]} for found in seen.policy)
    assert precisions((report.rollouts, report.returns, adapted.meta)) == {torch.float32}
    assert episodes.rewards.dtype == np.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("device", "rollout_device"), [("cuda", "cpu"), ("cpu", "cuda"), ("cuda", "cuda")])
def test_on_a_gpu_the_same_is_learned_but_for_rounding(
    method: str, device: str, rollout_device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _, _ = run(settings_of(method, "cpu", "cpu"), monkeypatch)
    learned, report, _ = run(settings_of(method, device, rollout_device), monkeypatch)
    assert_same(vector(learned.meta), vector(expected.meta), rtol=1e-2, atol=1e-3)
    leaves = pytree.tree_leaves((learned, report.rollouts, report.outcomes))
    assert {leaf.device for leaf in leaves if isinstance(leaf, Tensor)} == {torch.device("cpu")}
