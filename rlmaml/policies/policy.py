"""Policies as functions of a parameter dictionary, with or without a task axis.

Calling a policy as ``policy(params, observations)`` gives the action distribution. With theta (no task axis) one
set of parameters serves all observations; with task parameters (leading task axis in every entry) row i of the
observations, which then also have a leading task axis, is served by parameter set i. Nothing swaps parameters
inside a module.
"""

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rlmaml.core.distributions import Categorical, Distribution, Gaussian
from rlmaml.core.types import Params

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
MIN_STD = 1e-6


Act: TypeAlias = Callable[[Tensor], Distribution]


@runtime_checkable
class Policy(Protocol):
    """What rollout, adaptation and meta-updates need of a policy."""

    def init(self, seed: int) -> Params:
        """Fresh theta."""

    def bind(self, params: Params) -> Act:
        """The policy with these parameters: what depends on them alone is computed once, for many observations."""

    def __call__(self, params: Params, observations: Float[Tensor, "*axes obs"]) -> Distribution:
        """Action distribution at every observation; the same as ``bind(params)(observations)``."""

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Noise from which the distribution's ``sample`` makes an action at each of ``shape`` steps."""


@dataclass(frozen=True)
class GaussianMLP:
    """Multilayer perceptron for the mean, and a state-independent log standard deviation.

    Weights start Glorot-uniform and biases at zero; the last layer is scaled by ``output_scale``, so that the
    first policy acts alike everywhere. The standard deviation is never below 1e-6.

    Attributes:
        observation_size: number of observation features.
        action_size: number of action dimensions.
        hidden: widths of the hidden layers.
        activation: ``"tanh"`` or ``"relu"``.
        initial_std: standard deviation at initialisation, in units of the normalised action.
        output_scale: factor on the initial weights of the last layer.
        observation_scales: what the network divides each observation feature by; 1 for those beyond the last.
    """

    observation_size: int
    action_size: int
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    initial_std: float = 1.0
    output_scale: float = 0.01
    observation_scales: tuple[float, ...] = ()

    def init(self, seed: int) -> Params:
        """Fresh theta."""
        sizes = (self.observation_size, *self.hidden, self.action_size)
        log_std = torch.full((self.action_size,), math.log(self.initial_std))
        return {**init_mlp(sizes, seed, self.output_scale), "log_std": log_std}

    def bind(self, params: Params) -> Callable[[Tensor], Gaussian]:
        """The policy with these parameters."""
        mean_of = mlp(self.for_raw_observations(params), self.activation)
        log_std = params["log_std"].clamp(min=math.log(MIN_STD))

        def act(observations: Tensor) -> Gaussian:
            mean = mean_of(observations)
            per_task = log_std.view(len(log_std), *[1] * (mean.dim() - 2), -1) if log_std.dim() == 2 else log_std
            return Gaussian(mean, per_task.expand_as(mean))

        return act

    def __call__(self, params: Params, observations: Float[Tensor, "*axes obs"]) -> Gaussian:
        """Action distribution at every observation."""
        return self.bind(params)(observations)

    def for_raw_observations(self, params: Params) -> Params:
        """Parameters of the plain network that computes the same: ``W (x / s) = (W / s) x`` in the first layer."""
        if not self.observation_scales:
            return params
        weight = params["layer0.weight"]
        scales = weight.new_ones(self.observation_size)
        scales[: len(self.observation_scales)] = weight.new_tensor(self.observation_scales)
        return params | {"layer0.weight": weight / scales}

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal noise, one number per action dimension."""
        return generator.standard_normal((*shape, self.action_size), dtype=np.float32)


@dataclass(frozen=True)
class CategoricalMLP:
    """Multilayer perceptron for the logits of a choice among ``num_actions``.

    Attributes:
        observation_size: number of observation features.
        num_actions: number of choices.
        hidden: widths of the hidden layers.
        activation: ``"tanh"`` or ``"relu"``.
        output_scale: factor on the initial weights of the last layer.
    """

    observation_size: int
    num_actions: int
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    output_scale: float = 0.01

    def init(self, seed: int) -> Params:
        """Fresh theta."""
        return init_mlp((self.observation_size, *self.hidden, self.num_actions), seed, self.output_scale)

    def bind(self, params: Params) -> Callable[[Tensor], Categorical]:
        """The policy with these parameters."""
        logits_of = mlp(params, self.activation)
        return lambda observations: Categorical(logits_of(observations))

    def __call__(self, params: Params, observations: Float[Tensor, "*axes obs"]) -> Categorical:
        """Action distribution at every observation."""
        return self.bind(params)(observations)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Uniform noise in [0, 1), one number per action."""
        return generator.random(shape, dtype=np.float32)


@dataclass(frozen=True)
class ModulePolicy:
    """Any ``torch.nn.Module`` that maps observations to a distribution's parameters, through ``torch.func``.

    The task axis is added by ``vmap`` over ``functional_call``. The module must be free of buffers and of randomness.

    Attributes:
        module: maps ``[*axes, obs]`` to the fields of ``distribution`` (a tensor, or a tuple of tensors).
        distribution: :class:`Gaussian` or :class:`Categorical`.
        noise: draws what ``distribution.sample`` needs.
    """

    module: torch.nn.Module
    distribution: type[Gaussian] | type[Categorical]
    noise: Callable[[np.random.Generator, tuple[int, ...]], npt.NDArray[np.float32]]

    def init(self, seed: int) -> Params:  # noqa: ARG002
        """The module's own parameters: whoever built it has initialised it."""
        return {name: tensor.detach().clone() for name, tensor in self.module.named_parameters()}

    def bind(self, params: Params) -> Act:
        """The policy with these parameters."""
        return functools.partial(self, params)

    def __call__(self, params: Params, observations: Float[Tensor, "*axes obs"]) -> Distribution:
        """Action distribution at every observation."""
        name, own = next(iter(self.module.named_parameters()))
        has_task_axis = params[name].dim() > own.dim()
        call = torch.func.vmap(self._call) if has_task_axis else self._call
        output: Any = call(params, observations)
        fields = output if isinstance(output, tuple) else (output,)
        return self.distribution(*fields)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """What the given ``noise`` draws."""
        return self.noise(generator, shape)

    def _call(self, params: Params, observations: Tensor) -> Any:
        return torch.func.functional_call(self.module, params, (observations,))


def init_mlp(sizes: tuple[int, ...], seed: int, output_scale: float) -> Params:
    """Weights and biases ``layer{i}.weight [out, in]``, ``layer{i}.bias [out]`` of a multilayer perceptron."""
    generator = torch.Generator().manual_seed(seed)
    params: Params = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = torch.nn.init.xavier_uniform_(torch.empty(fan_out, fan_in), generator=generator)
        params[f"layer{i}.weight"] = weight * (output_scale if i == len(sizes) - 2 else 1.0)
        params[f"layer{i}.bias"] = torch.zeros(fan_out)
    return params


def mlp(params: Params, activation: str) -> Callable[[Tensor], Tensor]:
    """Multilayer perceptron without activation after the last layer, as a function of ``[*axes, feature]``.

    Args:
        params: as made by :func:`init_mlp`; with a task axis, ``[task, out, in]`` and ``[task, out]``, the inputs'
            first axis is the task axis too.
        activation: a key of :data:`ACTIVATIONS`.
    """
    has_task_axis = params["layer0.weight"].dim() == 3
    num_layers = sum(name.endswith(".weight") for name in params)
    layers = [(params[f"layer{i}.weight"], params[f"layer{i}.bias"]) for i in range(num_layers)]
    if has_task_axis:  # the transposed weights are multiplied with: laid out once, they are read in order
        layers = [(weight.mT.contiguous().mT, bias) for weight, bias in layers]
    function = ACTIVATIONS[activation]

    def forward(inputs: Tensor) -> Tensor:
        hidden = inputs.flatten(1, -2) if has_task_axis else inputs
        for weight, bias in layers[:-1]:
            hidden = function(linear(hidden, weight, bias))
        output = linear(hidden, *layers[-1])
        return output.view(*inputs.shape[:-1], -1) if has_task_axis else output

    return forward


def linear(
    inputs: Float[Tensor, "*axes feature"],
    weight: Float[Tensor, "*task out feature"],
    bias: Float[Tensor, "*task out"],
) -> Float[Tensor, "*axes out"]:
    """``x Wᵀ + b``; with a task axis in W and b, ``inputs`` are ``[task, row, feature]``."""
    if weight.dim() == 2:
        return functional.linear(inputs, weight, bias)
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)
