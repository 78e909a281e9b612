"""A perceptron for the logits of a choice."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Categorical
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.policy import Act
from rlmaml.core.types import Carry, Memory, Outputs, Params
from rlmaml.policies.gaussian import describe_perceptron
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


class CategoricalPolicy:
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

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:  # noqa: ARG002
        """Nothing is remembered."""
        return ()

    def act(self, params: Params) -> Act:
        """The policy with these parameters."""
        logits_of = policy_perceptron(params, self.settings)
        return lambda seen, carry: (Categorical(logits_of(seen.observation)), carry)

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        """What the policy says at every step: it reads ``batch.observations`` alone."""
        logits_of = policy_perceptron(params, self.settings)
        return Outputs(Categorical(logits_of(batch.observations))), memory

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Uniform noise in [0, 1), one number per action."""
        return generator.random(shape, dtype=np.float32)

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
