"""A perceptron on learned vectors of categories, as recommenders have it (MeLU, arXiv 1908.00413, section 3.1).

An observation holds the number of a value in each category, such as an age group or a film, and then flags of 0 or 1,
such as genres. A value is looked up as a vector, flags are the mean of the vectors of those that hold, and the decision
layers read all of them after one another. What is said is a mean without exploration: its deviation is 1. In an inner
step the decision layers are the head: what adapts in MeLU, while the vectors stay.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.types import Params
from rlmaml.policies.of_observations import OfObservations
from rlmaml.policies.perceptron import (
    CONTEXT,
    init_context,
    init_perceptron,
    num_layers,
    perceptron,
    with_context_as_bias,
)
from rlmaml.policies.sizes import Sizes, check_actions
from rlmaml.settings.policy import EmbeddedSettings

VECTOR_SCALE = 0.1
"""Standard deviation of a vector's first numbers."""
FLAGS = "flags"


class EmbeddedPolicy(OfObservations):
    """Kind ``embedded``.

    Args:
        settings: of the network.
        sizes: of observations and of what is predicted.

    Raises:
        UserError: what is predicted is a choice, or observations have another size than categories and flags.
    """

    def __init__(self, settings: EmbeddedSettings, sizes: Sizes) -> None:
        check_actions("embedded", sizes, discrete=False)
        if len(settings.categories) + settings.flags != sizes.observation:
            raise UserError(
                f"--categories are {len(settings.categories)} and --flags {settings.flags}, but observations here have "
                f"{sizes.observation} numbers."
            )
        self.settings, self.sizes = settings, sizes
        layers = range(len(settings.hidden) + 1)
        self.head = tuple(f"layer{i}.{name}" for i in layers for name in ("weight", "bias"))
        self.context: tuple[str, ...] = (CONTEXT,) if settings.context else ()
        self.exploration: tuple[str, ...] = ()

    def init(self, seed: int) -> Params:
        """Fresh theta: vectors normal with a deviation of 0.1, decision layers Glorot-uniform."""
        settings, generator = self.settings, torch.Generator().manual_seed(seed)
        counts = {vectors(i): count for i, count in enumerate(settings.categories)}
        counts |= {FLAGS: settings.flags} if settings.flags else {}
        tables = {
            name: VECTOR_SCALE * torch.randn(count, settings.embedding, generator=generator)
            for name, count in counts.items()
        }
        inputs = len(tables) * settings.embedding + settings.context
        layers = init_perceptron((inputs, *settings.hidden, self.sizes.action), seed)
        return {**tables, **layers, **init_context(settings.context)}

    def numbers(self, params: Params) -> dict[str, float]:  # noqa: ARG002
        """None."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Categories, flags, vectors, layers and context."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.settings).items()}

    def deterministic(self, params: Params) -> torch.nn.Module:  # noqa: ARG002
        """Refused.

        Raises:
            UserError: exported files read what a robot measures, and no numbers of categories.
        """
        raise UserError("A model of categories cannot be exported: it reads no measurements.")

    def _said(self, params: Params) -> Callable[[Tensor], Gaussian]:
        decide = perceptron(with_context_as_bias(params), self.settings.activation)

        def said(observations: Float[Tensor, "*axes obs"]) -> Gaussian:
            mean = decide(self._looked_up(params, observations))
            return Gaussian(mean, torch.zeros_like(mean))

        return said

    def _looked_up(self, params: Params, observations: Float[Tensor, "*axes obs"]) -> Float[Tensor, "*axes feature"]:
        has_task_axis = params[layer_weight(num_layers(params) - 1)].dim() == 3
        count = len(self.settings.categories)
        read = [
            looked_up(params[vectors(i)], observations[..., i].long(), has_task_axis=has_task_axis)
            for i in range(count)
        ]
        if self.settings.flags:
            holding = observations[..., count:].to(params[FLAGS])
            shares = holding / holding.sum(-1, keepdim=True).clamp(min=1.0)
            table = params[FLAGS]
            flat = shares.flatten(1, -2) @ table if has_task_axis else shares @ table
            read.append(flat.view(*shares.shape[:-1], -1))
        return torch.cat(read, -1)


def vectors(index: int) -> str:
    """Name of the entry with the vectors of a category's values, ``[*task, value, embedding]``."""
    return f"category{index}"


def layer_weight(index: int) -> str:
    """Name of a decision layer's weights."""
    return f"layer{index}.weight"


def looked_up(table: Tensor, values: Tensor, *, has_task_axis: bool) -> Tensor:
    """The vectors of values; with a task axis each task's from its own table."""
    if not has_task_axis:
        return table[values]
    task = torch.arange(len(table), device=table.device)
    return table[task.view(-1, *[1] * (values.dim() - 1)), values]
