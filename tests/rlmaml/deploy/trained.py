"""A robot and the policies that it is given."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import AdaptablePolicy, as_policy
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import sizes_of
from rlmaml.rules.adaptation_rule import adaptation_rule
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml_envs import TaskVectorEnv, make_tasks_env

HORIZON = 9
PLAIN = configure(
    num_tasks=1,
    num_episodes=6,
    horizon=HORIZON,
    hidden=(8,),
    threads=1,
    inner_steps=2,
    inner_step_sizes=(0.5, 0.3),
)
LEARNED = PLAIN.changed(learn_step_sizes=True, inner_loss="likelihood_ratio")
REMEMBERS = configure(
    policy="gru", num_tasks=1, num_episodes=6, horizon=HORIZON, hidden=(8,), memory=4, threads=1, inner_steps=2
)

LIVES = configure("rl2", num_tasks=4, num_episodes=6, horizon=HORIZON, hidden=(8,), memory=4, threads=1)
"""Adapts by memory alone."""
ROBUST = configure("robust", num_tasks=4, num_episodes=6, horizon=HORIZON, hidden=(8,), threads=1)
"""Does not adapt."""


def navigation(
    num_envs: int = 6, horizon: int = HORIZON, render_mode: str | None = None, *, observe_task: bool = False
) -> TaskVectorEnv:
    """A robot whose copies share one task."""
    env = make_tasks_env(
        *("Navigation2D-v0", num_envs, horizon),
        variant="finn2017",
        render_mode=render_mode,
        observe_task=observe_task,
    )
    env.set_tasks({"goal": np.array([[0.3, -0.2]])})
    return env


def checkpoint(settings: Settings = LEARNED) -> Checkpoint:
    """What three meta-iterations that learned nothing leave behind."""
    sizes = sizes_of(navigation(1))
    network = make_policy(settings.policy, settings.network, sizes)
    params = network.init(RandomStreams(settings.run.seed).parameter_seed())
    return Checkpoint(Meta(params, adaptation_rule(settings, network).rates(params)), 3, settings, sizes)


def student(**options: Any) -> AdaptablePolicy:
    """A student that was hardly taught, and that begins anew after every episode, unless options say otherwise."""
    settings = configure("rma", horizon=HORIZON, hidden=(8,), memory=4, latent=3, num_tasks=4, threads=1, **options)
    sizes = sizes_of(navigation(1, observe_task=True), extended=True)
    params = make_policy("latent", settings.network, sizes).init(0)
    return as_policy(Checkpoint(Meta(params, {}), 0, settings, sizes))


def moved(policy: AdaptablePolicy, by: float = 0.5) -> AdaptablePolicy:
    """The policy with weights far from their initial values, but for those of a teacher that are never learned."""
    kept, generator = [getattr(policy.network, "told", ""), *getattr(policy.network, "bounds", ())], torch.Generator()
    generator.manual_seed(0)
    weights = {
        name: tensor if name in kept else tensor + by * torch.randn(tensor.shape, generator=generator)
        for name, tensor in policy.weights.items()
    }
    return replace(policy, meta=policy.meta._replace(params=weights))


def trained_policy(settings: Settings = LEARNED) -> AdaptablePolicy:
    """A policy that was hardly trained."""
    return as_policy(checkpoint(settings))
