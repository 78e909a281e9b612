"""A classifier of images: blocks of convolution, batch normalisation, ReLU and pooling, below a linear head.

Four blocks of 3×3 filters, as in arXiv 1703.03400, section 5.2 (after arXiv 1606.04080). Batch statistics are those of
the examples at hand, or of their references where they have any; no running ones are kept. Every example counts in
them: sets of images have no padding. All tasks are convolved at once, each as a group of one convolution: on one core,
with second derivatives, that took as long as a loop over tasks or less, and less than half of a product over patches.

A context c, which begins at 0, scales and shifts the third block's filters before their ReLU: ``(1 + W_γ c) x + W_β c``
(FiLM, arXiv 1709.07871, by which CAVIA, arXiv 1810.03642, reads a context of images).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Categorical
from rlmaml.core.types import Memory, Outputs, Params
from rlmaml.policies.of_observations import OfObservations
from rlmaml.policies.perceptron import CONTEXT, init_context
from rlmaml.policies.sizes import Sizes, check_actions
from rlmaml.settings.policy import ConvolutionalSettings

BLOCKS = 4
WIDTH = 3
"""Of a filter, in pixels."""
SMALL = 1e-5
"""Added to a variance."""
MODULATED, MODULATION = 2, "modulation.weight"
"""Block that a context scales and shifts, and the entry ``[2 · filter, context]`` by which: γ above β."""


class ConvolutionalPolicy(OfObservations):
    """Kind ``conv4``.

    Args:
        settings: of the network.
        sizes: of images, flattened from channels, height, width; and the number of classes.

    Raises:
        UserError: there are no classes, or observations are no images of the size that is set.
    """

    def __init__(self, settings: ConvolutionalSettings, sizes: Sizes) -> None:
        check_actions("conv4", sizes, discrete=True)
        if math.prod(settings.image) != sizes.observation:
            raise UserError(
                f"--image is {settings.image}, which are {math.prod(settings.image)} numbers, but observations here "
                f"have {sizes.observation}."
            )
        self.settings, self.sizes = settings, sizes
        self.head: tuple[str, ...] = ("head.weight", "head.bias")
        self.context: tuple[str, ...] = (CONTEXT,) if settings.context else ()
        self.exploration: tuple[str, ...] = ()

    def init(self, seed: int) -> Params:
        """Filters and head Glorot-uniform, scales of 1, biases and shifts of 0."""
        generator = torch.Generator().manual_seed(seed)
        channels, *size = self.settings.image
        filters = self.settings.filters
        params: Params = {}
        for i in range(BLOCKS):
            weight = torch.empty(filters, channels, WIDTH, WIDTH)
            params[f"conv{i}.weight"] = torch.nn.init.xavier_uniform_(weight, generator=generator)
            params[f"conv{i}.scale"], params[f"conv{i}.shift"] = torch.ones(filters), torch.zeros(filters)
            channels, size = filters, [pooled(side) for side in size]
        weight = torch.empty(self.sizes.action, filters * math.prod(size))
        params["head.weight"] = torch.nn.init.xavier_uniform_(weight, generator=generator)
        params["head.bias"] = torch.zeros(self.sizes.action)
        if self.settings.context:
            weight = torch.empty(2 * filters, self.settings.context)
            params[MODULATION] = torch.nn.init.xavier_uniform_(weight, generator=generator)
        return {**params, **init_context(self.settings.context)}

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        """Logits of every example: it reads ``batch.observations`` and ``batch.references``."""
        return Outputs(Categorical(self._logits(params, batch.observations, batch.references))), memory

    def numbers(self, params: Params) -> dict[str, float]:  # noqa: ARG002
        """None."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Images, blocks, filters and context."""
        settings = self.settings
        described = {"image": list(settings.image), "blocks": BLOCKS, "filters": settings.filters}
        return described | {"context": settings.context}

    def deterministic(self, params: Params) -> torch.nn.Module:  # noqa: ARG002
        """Refused.

        Raises:
            UserError: what it says of an image depends on the others beside it.
        """
        raise UserError("A classifier by batch statistics says nothing of an image alone, and cannot be exported.")

    def _said(self, params: Params) -> Callable[[Tensor], Categorical]:
        """By the statistics of what it sees at once."""
        return lambda observations: Categorical(self._logits(params, observations, None))

    def _logits(
        self,
        params: Params,
        observations: Float[Tensor, "task example obs"],
        references: Float[Tensor, "task reference obs"] | None,
    ) -> Float[Tensor, "task example class"]:
        num_tasks, num_examples = observations.shape[:2]
        if params["head.bias"].dim() == 1:
            params = {name: tensor.expand(num_tasks, *tensor.shape) for name, tensor in params.items()}
        given = 0 if references is None else references.shape[1]
        images = observations if references is None or not given else torch.cat([references, observations], 1)
        hidden = images.view(*images.shape[:2], *self.settings.image).transpose(1, 2)
        for i in range(BLOCKS):
            weight = params[f"conv{i}.weight"]
            hidden = normalised(convolved(hidden, weight), given)
            scale, shift = (params[f"conv{i}.{name}"].view(num_tasks, -1, 1, 1, 1) for name in ("scale", "shift"))
            hidden = hidden * scale + shift
            if i == MODULATED and CONTEXT in params:
                hidden = modulated(hidden, params[MODULATION], params[CONTEXT])
            hidden = torch.relu(hidden)
            if min(hidden.shape[-2:]) > 1:
                shape = hidden.shape[:3]
                hidden = functional.max_pool2d(hidden.flatten(0, 2), 2)
                hidden = hidden.view(*shape, *hidden.shape[1:])
        features = hidden[:, :, given:].transpose(1, 2).reshape(num_tasks, num_examples, -1)
        return torch.baddbmm(params["head.bias"].unsqueeze(1), features, params["head.weight"].mT)


def modulated(
    values: Float[Tensor, "task filter example height width"],
    weight: Float[Tensor, "task both context"],
    context: Float[Tensor, "task context"],
) -> Float[Tensor, "task filter example height width"]:
    """``(1 + γ) x + β`` per filter, γ and β being the two halves of ``W c``."""
    gain, offset = (weight @ context.unsqueeze(-1)).view(*values.shape[:1], -1, 1, 1, 1).chunk(2, 1)
    return values * (1 + gain) + offset


def pooled(side: int) -> int:
    """Side of an image after pooling; one of a single pixel stays."""
    return max(side // 2, 1)


def convolved(
    images: Float[Tensor, "task channel example height width"],
    weight: Float[Tensor, "task filter channel row column"],
    stride: int = 1,
) -> Float[Tensor, "task filter example ..."]:
    """Every task's images under its own filters, with zeros around them: tasks are groups of one convolution."""
    num_tasks, num_examples = images.shape[0], images.shape[2]
    rows = images.permute(2, 0, 1, 3, 4).flatten(1, 2)
    grouped = functional.conv2d(rows, weight.flatten(0, 1), stride=stride, padding=WIDTH // 2, groups=num_tasks)
    return grouped.view(num_examples, *weight.shape[:2], *grouped.shape[2:]).permute(1, 2, 0, 3, 4)


def normalised(
    values: Float[Tensor, "task filter example height width"], given: int
) -> Float[Tensor, "task filter example height width"]:
    """``(x − mean) / √(variance + 1e-5)`` per filter (arXiv 1502.03167).

    Args:
        values: of all examples.
        given: how many of the first examples the statistics are those of; 0 for all of them.
    """
    counted = values[:, :, :given] if given else values
    mean = counted.mean((2, 3, 4), keepdim=True)
    variance = (counted - mean).square().mean((2, 3, 4), keepdim=True)
    return (values - mean) * torch.rsqrt(variance + SMALL)
