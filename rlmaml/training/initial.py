"""What a run starts from: a policy that fits the environment, and theta from the seed."""

import math
from pathlib import Path
from typing import Any

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.parameters import with_step_sizes
from rlmaml.core.types import Params
from rlmaml.policies.policy import GaussianMLP, Policy
from rlmaml.settings.config import TrainConfig, option
from rlmaml.storage.checkpoint import CHECKPOINT, check_fits, load_checkpoint


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
    """Theta before the first meta-iteration, on the configured device; it follows from the configuration alone.

    Raises:
        UserError: see :func:`trained_network`.
    """
    theta = random_theta(config, policy)
    return theta | trained_network(config, theta) if config.start_from else theta


def random_theta(config: TrainConfig, policy: Policy) -> Params:
    """Theta of a run that starts from nothing; it follows from the seed alone."""
    theta = policy.init(RandomStreams(config.seed).parameter_seed())
    if config.learn_step_sizes:
        theta = with_step_sizes(theta, config.step_sizes(config.inner_steps))
    return {name: tensor.to(config.device) for name, tensor in theta.items()}


def trained_network(config: TrainConfig, fresh: Params) -> Params:
    """Weights and biases of the run at ``start_from``, without its standard deviation and step sizes.

    Raises:
        UserError: there is no run, or its policy is of another kind than ``fresh`` and the configuration.
    """
    checkpoint = load_checkpoint(Path(config.start_from) / CHECKPOINT, config.device)
    for name in ("hidden", "activation", "observation_scales"):
        theirs, ours = getattr(checkpoint.config, name), getattr(config, name)
        if theirs != ours:
            raise UserError(f"{option(name)} is {ours}, but {theirs} in {config.start_from}, where this run starts.")
    network = {name: tensor for name, tensor in fresh.items() if name.startswith("layer")}
    check_fits(checkpoint, network, f"{config.env_id}, {config.variant}")
    return {name: checkpoint.theta[name] for name in network}
