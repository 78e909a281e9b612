"""A perceptron for the mean of the actions, and a state-independent standard deviation."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.distributions import Gaussian
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.types import Params
from rlmaml.policies.matrices import factorised, filled, kept_entries, left_of, matrix_shapes
from rlmaml.policies.of_observations import OfObservations
from rlmaml.policies.perceptron import (
    CONTEXT,
    Perceptron,
    check_scales,
    context_diagonal,
    for_observations,
    init_context,
    init_perceptron,
    last_layer,
    layer_factors,
    layer_shapes,
    policy_perceptron,
)
from rlmaml.policies.reduced import described_reduction
from rlmaml.policies.sizes import Sizes, check_actions
from rlmaml.settings.policy import GaussianSettings

MIN_STD = 1e-6
LOG_STD = "log_std"


class GaussianPolicy(OfObservations):
    """Kind ``gaussian``. The standard deviation is never below 1e-6.

    Args:
        settings: of the network.
        sizes: of observations and actions.

    Raises:
        UserError: the environment's actions are choices, or the scales do not fit its observations; or what is left of
            pruned matrices is that of another policy.
    """

    def __init__(self, settings: GaussianSettings, sizes: Sizes) -> None:
        check_actions("gaussian", sizes, discrete=False)
        check_scales(settings.observation_scales, sizes.observation, extended=sizes.extended)
        self.settings, self.sizes = settings, sizes
        self.widths = (sizes.observation + settings.context, *settings.hidden, sizes.action)
        shapes = matrix_shapes(layer_shapes(self.widths), settings.rank)
        self.kept = kept_entries(settings.kept, shapes)
        weight, bias = last_layer(settings.hidden)
        self.head = (*(name for name in shapes if name.startswith(weight)), bias)
        self.context: tuple[str, ...] = (CONTEXT,) if settings.context else ()
        self.exploration: tuple[str, ...] = (LOG_STD,)

    def init(self, seed: int) -> Params:
        """Fresh theta: factors are those of fresh matrices, and what is pruned is left out of them."""
        layers = left_of(factorised(init_perceptron(self.widths, seed), self.settings.rank), self.kept)
        log_std = initial_log_std(self.settings.initial_std, self.sizes.action)
        return {**layers, LOG_STD: log_std, **init_context(self.settings.context)}

    def fisher_blocks(self, params: Params, batch: Any, step_weights: Tensor) -> FisherBlocks | None:
        """Factors of every layer; the logarithm of a standard deviation has a Fisher information of 2.

        None where matrices are factored or pruned: then their Fisher information is no product of two factors.
        """
        if self.kept or self.settings.rank:
            return None

        def roots_of(mean: Tensor) -> Tensor:
            return gaussian(mean, params[LOG_STD]).fisher_roots()

        settings = self.settings
        layers = layer_factors(
            params, settings.activation, settings.observation_scales, batch.observations, step_weights, roots_of
        )
        total = step_weights.flatten(1).sum(1, keepdim=True)
        stds = {LOG_STD: 2 * total.expand(-1, self.sizes.action)}
        return FisherBlocks(layers, stds | context_diagonal(params, layers))

    def numbers(self, params: Params) -> dict[str, float]:
        """The standard deviation, a mean over the action's dimensions."""
        return {"std": mean_std(params[LOG_STD])}

    def describe(self) -> dict[str, Any]:
        """Layers, scales and context; also the rank of factored matrices, and how much was pruned of which."""
        described = describe_perceptron(self.settings) | {"context": self.settings.context}
        return described | described_reduction(self.settings.rank, self.kept)

    def deterministic(self, params: Params) -> torch.nn.Module:
        """The mean as a module of raw observations."""
        return Perceptron(for_observations(filled(params, self.kept), self.settings), self.settings.activation)

    def _said(self, params: Params) -> Callable[[Tensor], Gaussian]:
        mean_of = policy_perceptron(filled(params, self.kept), self.settings)
        return lambda observations: gaussian(mean_of(observations), params[LOG_STD])


def gaussian(mean: Float[Tensor, "*axes action"], log_std: Float[Tensor, "*task action"]) -> Gaussian:
    """The distribution of some means; with a task axis, ``log_std`` has that of the means."""
    floored = log_std.clamp(min=math.log(MIN_STD))
    per_task = floored.view(len(floored), *[1] * (mean.dim() - 2), -1) if floored.dim() == 2 else floored
    return Gaussian(mean, per_task.expand_as(mean))


def initial_log_std(std: float, size: int) -> Float[Tensor, " action"]:
    """The entry from which the standard deviation starts."""
    return torch.full((size,), math.log(std))


def mean_std(log_std: Float[Tensor, "*axes action"]) -> float:
    """Mean standard deviation."""
    return float(log_std.exp().mean())


def describe_perceptron(settings: Any) -> dict[str, Any]:
    """What a user of a perceptron's files must know."""
    return {
        "hidden": list(settings.hidden),
        "activation": settings.activation,
        "observations_divided_by": list(settings.observation_scales) or 1.0,
    }
