"""An encoder for each part of an observation, such as ranges and a picture, below a perceptron on all they say.

An observation is the flattened form of a Gymnasium ``Dict``. A part that is a vector is read by a linear layer, one
that is an image by two convolutions of 3×3 filters with stride 2 and a linear layer, each with an activation after it;
there are no batch statistics, so that an image means the same whatever is beside it. What the encoders say is put after
one another, and a Gaussian perceptron reads it. All of it adapts to a task, in which a part may be missing.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.types import Params
from rlmaml.policies.convolutional import WIDTH, convolved
from rlmaml.policies.gaussian import LOG_STD, gaussian, initial_log_std, mean_std
from rlmaml.policies.of_observations import OfObservations
from rlmaml.policies.perceptron import (
    ACTIVATIONS,
    CONTEXT,
    glorot,
    init_context,
    init_perceptron,
    last_layer,
    linear,
    perceptron,
    with_context_as_bias,
)
from rlmaml.policies.sizes import Sizes, check_actions, columns_of, parts_of
from rlmaml.settings.policy import MultimodalSettings

CONVOLUTIONS = 2
STRIDE = 2


class Encoder(NamedTuple):
    """What reads one part of an observation."""

    name: str
    """Of its entries: ``{name}.weight``, ``{name}.bias``, and those of its convolutions, ``{name}.conv0.weight`` …"""
    columns: slice
    """Where the part is."""
    shape: tuple[int, ...]
    """Of the part: one number of a vector, or channels, height and width of an image."""
    scale: float
    """Typical size of its numbers."""

    @property
    def is_image(self) -> bool:
        """Whether it has convolutions."""
        return len(self.shape) == 3


class MultimodalPolicy(OfObservations):
    """Kind ``multimodal``.

    Args:
        settings: of the network.
        sizes: of observations and actions.

    Raises:
        UserError: actions are choices, an observation is one vector, a part of it is neither a vector nor an image, or
            there are not as many scales as parts.
    """

    def __init__(self, settings: MultimodalSettings, sizes: Sizes) -> None:
        check_actions("multimodal", sizes, discrete=False)
        self.settings, self.sizes = settings, sizes
        self.encoders = encoders_of(settings, sizes)
        self.head = last_layer(settings.hidden)
        self.context: tuple[str, ...] = (CONTEXT,) if settings.context else ()
        self.exploration: tuple[str, ...] = (LOG_STD,)

    def init(self, seed: int) -> Params:
        """Fresh theta: weights Glorot-uniform, biases of 0, the last layer's weights small."""
        settings, generator = self.settings, torch.Generator().manual_seed(seed)
        params: Params = {}
        for encoder in self.encoders:
            numbers = math.prod(encoder.shape)
            if encoder.is_image:
                channels, *size = encoder.shape
                for i in range(CONVOLUTIONS):
                    weight = torch.empty(settings.filters, channels, WIDTH, WIDTH)
                    params[f"{encoder.name}.conv{i}.weight"] = torch.nn.init.xavier_uniform_(
                        weight, generator=generator
                    )
                    params[f"{encoder.name}.conv{i}.bias"] = torch.zeros(settings.filters)
                    channels, size = settings.filters, [strided(side) for side in size]
                numbers = channels * math.prod(size)
            params[f"{encoder.name}.weight"] = glorot(settings.features, numbers, generator)
            params[f"{encoder.name}.bias"] = torch.zeros(settings.features)
        inputs = len(self.encoders) * settings.features + settings.context
        own_seed = int(torch.randint(2**62, (), generator=generator))
        layers = init_perceptron((inputs, *settings.hidden, self.sizes.action), own_seed)
        log_std = initial_log_std(settings.initial_std, self.sizes.action)
        return {**params, **layers, LOG_STD: log_std, **init_context(settings.context)}

    def numbers(self, params: Params) -> dict[str, float]:
        """The standard deviation, a mean over the action's dimensions."""
        return {"std": mean_std(params[LOG_STD])}

    def describe(self) -> dict[str, Any]:
        """Parts of an observation, in their order, and layers."""
        settings = self.settings
        names = [part.name for part in parts_of(self.sizes)]
        return {
            "parts": [
                {
                    "name": name,
                    "first": encoder.columns.start,
                    "shape": list(encoder.shape),
                    "divided_by": encoder.scale,
                    "read_by": "convolutions" if encoder.is_image else "a linear layer",
                }
                for name, encoder in zip(names, self.encoders, strict=True)
            ],
            "features": settings.features,
            "filters": settings.filters,
            "hidden": list(settings.hidden),
            "activation": settings.activation,
            "context": settings.context,
        }

    def deterministic(self, params: Params) -> torch.nn.Module:
        """The mean as a module of raw observations."""
        return MeanAction(self, params)

    def mean_of(self, params: Params) -> Callable[[Tensor], Tensor]:
        """The mean of the actions, as a function of raw observations ``[*axes, obs]``."""
        function = ACTIVATIONS[self.settings.activation]
        decide = perceptron(with_context_as_bias(params), self.settings.activation)
        has_task_axis = params[self.head[0]].dim() == 3

        def mean(observations: Float[Tensor, "*axes obs"]) -> Float[Tensor, "*axes action"]:
            rows = observations.flatten(1, -2) if has_task_axis else observations.flatten(0, -2)
            features = torch.cat([encoded(params, encoder, rows, function) for encoder in self.encoders], -1)
            return decide(features).view(*observations.shape[:-1], -1)

        return mean

    def _said(self, params: Params) -> Callable[[Tensor], Gaussian]:
        mean_of = self.mean_of(params)
        return lambda observations: gaussian(mean_of(observations), params[LOG_STD])


class MeanAction(torch.nn.Module):
    """The mean of a policy's actions as a torch module, to be exported.

    Args:
        policy: whose.
        params: without task axis.
    """

    def __init__(self, policy: MultimodalPolicy, params: Params) -> None:
        super().__init__()
        self.policy, self.names = policy, list(params)
        self.weights = torch.nn.ParameterList(params.values())

    def forward(self, inputs: Tensor) -> Tensor:
        """The mean, ``[batch, action]``."""
        return self.policy.mean_of(dict(zip(self.names, self.weights, strict=True)))(inputs)


def encoders_of(settings: MultimodalSettings, sizes: Sizes) -> tuple[Encoder, ...]:
    """What reads each part of an observation; the task's parameters, where observations end in them, are one more.

    Raises:
        UserError: see :class:`MultimodalPolicy`.
    """
    parts, scales = parts_of(sizes), settings.part_scales
    if not sizes.parts:
        raise UserError(
            f"--policy multimodal has an encoder for each part of an observation, but observations here are one vector "
            f"of {sizes.observation} numbers. Choose another kind, such as gaussian, or a family that states its parts."
        )
    if scales and len(scales) != len(sizes.parts):
        raise UserError(
            f"--part-scales has {len(scales)} numbers, but observations here have {len(sizes.parts)} parts: "
            f"{', '.join(part.name for part in sizes.parts)}. Give one for each, or none."
        )
    for part in parts:
        if len(part.shape) not in (1, 3):
            raise UserError(
                f"--policy multimodal reads vectors and images of channels, height and width; the part "
                f'"{part.name}" of observations here has the shape {part.shape}. Reshape it.'
            )
        if len(part.shape) == 3 and part.shape[2] in (1, 3, 4) and part.shape[0] > part.shape[2]:
            raise UserError(
                f'The image "{part.name}" of observations here has the shape {part.shape}, which looks like height, '
                "width and channels. Put its channels first."
            )
    each = [*(scales or [1.0] * len(sizes.parts)), *[1.0] * (len(parts) - len(sizes.parts))]
    return tuple(
        Encoder(f"encoder{i}", columns, part.shape, scale)
        for i, (part, columns, scale) in enumerate(zip(parts, columns_of(parts), each, strict=True))
    )


def encoded(
    params: Params,
    encoder: Encoder,
    rows: Float[Tensor, "*task row obs"],
    function: Callable[[Tensor], Tensor],
) -> Float[Tensor, "*task row feature"]:
    """What an encoder says of its part of observations; with a task axis each task's own says it."""
    hidden = rows[..., encoder.columns] / encoder.scale
    if encoder.is_image:
        hidden = hidden.reshape(*hidden.shape[:-1], *encoder.shape)
        for i in range(CONVOLUTIONS):
            weight, bias = (params[f"{encoder.name}.conv{i}.{kind}"] for kind in ("weight", "bias"))
            hidden = function(filtered(hidden, weight, bias))
        hidden = hidden.flatten(-3)
    return function(linear(hidden, params[f"{encoder.name}.weight"], params[f"{encoder.name}.bias"]))


def filtered(
    images: Float[Tensor, "*task row channel height width"],
    weight: Float[Tensor, "*task filter channel 3 3"],
    bias: Float[Tensor, "*task filter"],
) -> Float[Tensor, "*task row filter less narrower"]:
    """Images under filters at every second pixel, plus the bias; with a task axis each task's under its own."""
    if weight.dim() == 4:
        return functional.conv2d(images, weight, bias, stride=STRIDE, padding=WIDTH // 2)
    return convolved(images.transpose(1, 2), weight, STRIDE).transpose(1, 2) + bias[:, None, :, None, None]


def strided(side: int) -> int:
    """Side of an image after a convolution."""
    return -(-side // STRIDE)
