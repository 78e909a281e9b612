"""What a run starts from: a policy that fits the environment, and theta from the seed."""

import math
from typing import Any

from rlmaml.config import TrainConfig
from rlmaml.errors import UserError
from rlmaml.parameters import with_step_sizes
from rlmaml.policy import GaussianMLP, Policy
from rlmaml.seeding import RandomStreams
from rlmaml.types import Params


def make_policy(config: TrainConfig, env: Any) -> GaussianMLP:
    """The policy of a configuration, sized for an environment's observations and actions.

    Raises:
        UserError: see :func:`sized_policy`.
    """
    return sized_policy(config, math.prod(env.single_observation_space.shape), math.prod(env.single_action_space.shape))


def sized_policy(config: TrainConfig, observation_size: int, action_size: int) -> GaussianMLP:
    """The Gaussian policy of a configuration.

    Raises:
        UserError: the observation has another size than the configured ``observation_scales``.
    """
    given = len(config.observation_scales)
    if given > observation_size or (0 < given < observation_size and not config.observe_task):
        raise UserError(
            f"--observation-scales has {given} numbers, but observations of {config.env_id}, {config.variant}, have "
            f"{observation_size}. Give one for each, or none."
        )
    return GaussianMLP(
        observation_size=observation_size,
        action_size=action_size,
        hidden=config.hidden,
        activation=config.activation,
        initial_std=config.initial_std,
        observation_scales=config.observation_scales,
    )


def initial_theta(config: TrainConfig, policy: Policy) -> Params:
    """Theta before the first meta-iteration, on the configured device; it follows from the seed alone."""
    theta = policy.init(RandomStreams(config.seed).parameter_seed())
    if config.learn_step_sizes:
        theta = with_step_sizes(theta, config.step_sizes(config.inner_steps))
    return {name: tensor.to(config.device) for name, tensor in theta.items()}
