"""What a run starts from: a policy that fits the environment, and theta from the seed."""

import math
from typing import Any

from rlmaml.config import TrainConfig
from rlmaml.parameters import with_step_sizes
from rlmaml.policy import GaussianMLP, Policy
from rlmaml.seeding import RandomStreams
from rlmaml.types import Params


def make_policy(config: TrainConfig, env: Any) -> GaussianMLP:
    """The Gaussian policy of a configuration, sized for an environment's observations and actions."""
    return GaussianMLP(
        observation_size=math.prod(env.single_observation_space.shape),
        action_size=math.prod(env.single_action_space.shape),
        hidden=config.hidden,
        activation=config.activation,
        initial_std=config.initial_std,
    )


def initial_theta(config: TrainConfig, policy: Policy) -> Params:
    """Theta before the first meta-iteration, on the configured device; it follows from the seed alone."""
    theta = policy.init(RandomStreams(config.seed).parameter_seed())
    if config.learn_step_sizes:
        theta = with_step_sizes(theta, config.step_sizes(config.inner_steps))
    return {name: tensor.to(config.device) for name, tensor in theta.items()}
