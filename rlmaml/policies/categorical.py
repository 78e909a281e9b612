"""A perceptron for the logits of a choice."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Categorical
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.types import Params
from rlmaml.policies.gaussian import describe_perceptron
from rlmaml.policies.of_observations import OfObservations
from rlmaml.policies.perceptron import (
    CONTEXT,
    check_scales,
    context_diagonal,
    init_context,
    init_perceptron,
    last_layer,
    layer_factors,
    policy_perceptron,
)
from rlmaml.policies.sizes import Sizes, check_actions
from rlmaml.settings.policy import CategoricalSettings


class CategoricalPolicy(OfObservations):
    """Kind ``categorical``.

    Args:
        settings: of the network.
        sizes: of observations, and how many actions there are to choose from.

    Raises:
        UserError: the environment's actions are no choices, or the scales do not fit its observations.
    """

    def __init__(self, settings: CategoricalSettings, sizes: Sizes) -> None:
        check_actions("categorical", sizes, discrete=True)
        check_scales(settings.observation_scales, sizes.observation, extended=sizes.extended)
        self.settings, self.sizes = settings, sizes
        self.head = last_layer(settings.hidden)
        self.context: tuple[str, ...] = (CONTEXT,) if settings.context else ()
        self.exploration: tuple[str, ...] = ()

    def init(self, seed: int) -> Params:
        """Fresh theta."""
        sizes = (self.sizes.observation + self.settings.context, *self.settings.hidden, self.sizes.action)
        return {**init_perceptron(sizes, seed), **init_context(self.settings.context)}

    def fisher_blocks(self, params: Params, batch: Any, step_weights: Tensor) -> FisherBlocks | None:
        """Factors of every layer."""
        settings = self.settings
        layers = layer_factors(
            params,
            settings.activation,
            settings.observation_scales,
            batch.observations,
            step_weights,
            lambda logits: Categorical(logits).fisher_roots(),
        )
        return FisherBlocks(layers, context_diagonal(params, layers))

    def numbers(self, params: Params) -> dict[str, float]:  # noqa: ARG002
        """Nothing."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Layers, scales and context."""
        return describe_perceptron(self.settings) | {"context": self.settings.context}

    def deterministic(self, params: Params) -> torch.nn.Module:  # noqa: ARG002
        """Refused: exported files hold actions that are vectors.

        Raises:
            UserError: always.
        """
        raise UserError("A categorical policy cannot be exported: its actions are choices and no controls.")

    def _said(self, params: Params) -> Callable[[Tensor], Categorical]:
        logits_of = policy_perceptron(params, self.settings)
        return lambda observations: Categorical(logits_of(observations))
