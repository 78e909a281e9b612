"""Multilayer perceptrons as functions of a parameter dictionary, with or without a task axis.

The entries are ``layer{i}.weight [out, in]``, or two factors in its place (:mod:`rlmaml.policies.matrices`), and
``layer{i}.bias [out]``, with a leading task axis where parameters differ between tasks, and ``context``, which the
first layer reads after the observation. No file outside of this room knows these names.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rlmaml.base.errors import UserError
from rlmaml.core.kronecker import LayerFactors
from rlmaml.core.types import Params
from rlmaml.policies.matrices import Factors, Weight, reading, weight_of
from rlmaml.settings.policy import PerceptronSettings

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
CONTEXT = "context"
OUTPUT_SCALE = 0.01
"""Factor on the initial weights of a policy's last layer, so that the first policy acts alike everywhere."""


def init_perceptron(sizes: tuple[int, ...], seed: int, output_scale: float = OUTPUT_SCALE) -> Params:
    """Glorot-uniform weights, and biases of 0; the last layer's weights are scaled by ``output_scale``."""
    generator = torch.Generator().manual_seed(seed)
    params: Params = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        weight = glorot(fan_out, fan_in, generator)
        params[f"layer{i}.weight"] = weight * (output_scale if i == len(sizes) - 2 else 1.0)
        params[f"layer{i}.bias"] = torch.zeros(fan_out)
    return params


def glorot(fan_out: int, fan_in: int, generator: torch.Generator) -> Float[Tensor, "out feature"]:
    """A weight matrix, Glorot-uniform."""
    return torch.nn.init.xavier_uniform_(torch.empty(fan_out, fan_in), generator=generator)


def perceptron(params: Params, activation: str) -> Callable[[Tensor], Tensor]:
    """Multilayer perceptron without activation after the last layer, as a function of ``[*axes, feature]``.

    Args:
        params: as made by :func:`init_perceptron`, among others; with a task axis the inputs' first axis is the task
            axis too.
        activation: a key of :data:`ACTIVATIONS`.
    """
    has_task_axis = params["layer0.bias"].dim() == 2
    layers = [(weight_of(params, f"layer{i}.weight"), params[f"layer{i}.bias"]) for i in range(num_layers(params))]
    if has_task_axis:
        layers = [
            (Factors(*map(laid_out, weight)) if isinstance(weight, Factors) else laid_out(weight), bias)
            for weight, bias in layers
        ]
    function = ACTIVATIONS[activation]

    def forward(inputs: Tensor) -> Tensor:
        hidden = inputs.flatten(1, -2) if has_task_axis else inputs
        for weight, bias in layers[:-1]:
            hidden = function(linear(hidden, weight, bias))
        output = linear(hidden, *layers[-1])
        return output.view(*inputs.shape[:-1], -1) if has_task_axis else output

    return forward


def linear(
    inputs: Float[Tensor, "*axes feature"], weight: Weight, bias: Float[Tensor, "*task out"]
) -> Float[Tensor, "*axes out"]:
    """``x Wᵀ + b``, or ``(x Rᵀ) Lᵀ + b``; with a task axis in W and b, ``inputs`` are ``[task, row, feature]``."""
    if isinstance(weight, Factors) and weight.left.shape[-1] == 1:
        return linear(inputs, weight.left @ weight.right, bias)  # batched products with one column: bits by the batch
    if isinstance(weight, Factors):
        return linear(inputs @ weight.right.mT, weight.left, bias)
    if weight.dim() == 2:
        return functional.linear(inputs, weight, bias)
    return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)


def laid_out(weight: Float[Tensor, "*task out feature"]) -> Float[Tensor, "*task out feature"]:
    """The same weights, with their transpose in memory order: multiplied with often, they are read in order."""
    return weight.mT.contiguous().mT


def num_layers(params: Params) -> int:
    """Layers of a perceptron among some parameters."""
    return sum(name.startswith("layer") and name.endswith(".bias") for name in params)


def layer_shapes(widths: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Shapes of the weight matrices by name; the inputs' width is the first."""
    return {f"layer{i}.weight": (after, before) for i, (before, after) in enumerate(itertools.pairwise(widths))}


def last_layer(hidden: Sequence[int]) -> tuple[str, str]:
    """Names of the last layer's entries, below hidden layers of these widths."""
    return f"layer{len(hidden)}.weight", f"layer{len(hidden)}.bias"


def init_context(size: int) -> Params:
    """The context, ``[context]``, at 0; empty where there is none."""
    return {CONTEXT: torch.zeros(size)} if size else {}


def with_context_as_bias(params: Params) -> Params:
    """Parameters without context that compute the same: ``W [x, c] + b = W_x x + (W_c c + b)``."""
    if CONTEXT not in params:
        return params
    weight, context, name = weight_of(params, "layer0.weight"), params[CONTEXT], reading(params, "layer0.weight")
    columns = params[name]
    inputs = columns.shape[-1] - context.shape[-1]
    added = columns[..., inputs:] @ context.unsqueeze(-1)
    if isinstance(weight, Factors):
        added = weight.left @ added
    rest = {own: tensor for own, tensor in params.items() if own != CONTEXT}
    return rest | {name: columns[..., :inputs], "layer0.bias": params["layer0.bias"] + added.squeeze(-1)}


def policy_perceptron(params: Params, settings: PerceptronSettings) -> Callable[[Tensor], Tensor]:
    """The perceptron of a policy, as a function of raw observations ``[*axes, obs]``."""
    return perceptron(for_observations(params, settings), settings.activation)


def for_observations(params: Params, settings: PerceptronSettings) -> Params:
    """Parameters of a plain perceptron on raw observations."""
    return for_raw_inputs(with_context_as_bias(params), settings.observation_scales, reading(params, "layer0.weight"))


def for_raw_inputs(params: Params, scales: Sequence[float], name: str = "layer0.weight") -> Params:
    """Parameters that compute on raw inputs what the given ones do on scaled ones: ``W (x / s) = (W / s) x``.

    Args:
        params: parameters of a network on scaled inputs.
        scales: typical size of each input; 1 for those beyond the last.
        name: the entry that reads the inputs.
    """
    if not scales:
        return params
    weight = params[name]
    divisors = weight.new_ones(weight.shape[-1])
    divisors[: len(scales)] = weight.new_tensor(scales)
    return params | {name: weight / divisors}


def check_scales(scales: Sequence[float], observation_size: int, *, extended: bool) -> None:
    """Refuse scales that do not fit the observations.

    Args:
        scales: typical size of each number of the observation, or none at all.
        observation_size: how many numbers it has.
        extended: whether the observation ends in more numbers, the task's, for which no scale need be given.

    Raises:
        UserError: there are too many, or too few.
    """
    given = len(scales)
    if given > observation_size or (0 < given < observation_size and not extended):
        raise UserError(
            f"--observation-scales has {given} numbers, but observations here have {observation_size}. Give one for "
            "each, or none."
        )


def layer_factors(
    params: Params,
    activation: str,
    scales: Sequence[float],
    observations: Float[Tensor, "task ... obs"],
    step_weights: Float[Tensor, "task ..."],
    roots_of: Callable[[Tensor], Tensor],
) -> list[LayerFactors]:
    """Kronecker factors of every layer and task; see :mod:`rlmaml.core.kronecker`.

    Args:
        params: task parameters.
        activation: a key of :data:`ACTIVATIONS`.
        scales: typical sizes of the observations; see :func:`for_raw_inputs`.
        observations: raw.
        step_weights: weight of every step.
        roots_of: from the network's outputs to roots of the Fisher information of the actions, ``[root, …]``.
    """
    weights = step_weights.flatten(1).unsqueeze(-1)
    hidden = observations.flatten(1, -2)
    if scales:
        divisors = hidden.new_ones(hidden.shape[-1])
        divisors[: len(scales)] = hidden.new_tensor(scales)
        hidden = hidden / divisors
    if CONTEXT in params:
        hidden = torch.cat([hidden, params[CONTEXT].detach().unsqueeze(1).expand(-1, hidden.shape[1], -1)], -1)
    inputs, outputs = [], []
    with torch.enable_grad():
        for i in range(num_layers(params)):
            inputs.append(torch.cat([hidden, torch.ones_like(hidden[..., :1])], -1).detach())
            weight, bias = params[f"layer{i}.weight"], params[f"layer{i}.bias"]
            outputs.append(linear(hidden, weight.detach().requires_grad_(), bias.detach()))
            hidden = ACTIVATIONS[activation](outputs[-1])
        said = outputs[-1]
        roots = roots_of(said.detach())
        pulled = [torch.autograd.grad(said, outputs, root.view_as(said), retain_graph=True) for root in roots]
    return [
        LayerFactors(
            f"layer{i}.weight",
            f"layer{i}.bias",
            inputs=(inputs[i] * weights).mT @ inputs[i],
            outputs=torch.stack([(own[i] * weights).mT @ own[i] for own in pulled]).sum(0),
        )
        for i in range(len(inputs))
    ]


def context_diagonal(params: Params, layers: Sequence[LayerFactors]) -> Params:
    """Diagonal of every task's Fisher information of its context, ``diag(W_cᵀ G W_c)``; empty without one."""
    if CONTEXT not in params:
        return {}
    columns = params["layer0.weight"][..., -params[CONTEXT].shape[-1] :]
    return {CONTEXT: (columns * (layers[0].outputs @ columns)).sum(1)}


def linear_layer(weight: Float[Tensor, "out feature"], bias: Float[Tensor, " out"] | None = None) -> torch.nn.Module:
    """A layer of torch's own with these weights."""
    has_bias = {"bias": bias is not None}
    layer: torch.nn.Module = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0], **has_bias)  # type: ignore[no-untyped-call]
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer


class Perceptron(torch.nn.Module):
    """The same network as a torch module of its own, to be exported.

    Args:
        params: without task axis, for raw inputs.
        activation: a key of :data:`ACTIVATIONS`.
    """

    def __init__(self, params: Params, activation: str) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList()
        for index in range(num_layers(params)):
            weight, bias = weight_of(params, f"layer{index}.weight"), params[f"layer{index}.bias"]
            if isinstance(weight, Factors):
                self.layers.append(torch.nn.Sequential(linear_layer(weight.right), linear_layer(weight.left, bias)))
            else:
                self.layers.append(linear_layer(weight, bias))
        self.activation = ACTIVATIONS[activation]

    def forward(self, inputs: Tensor) -> Tensor:
        """The last layer's outputs."""
        hidden = inputs
        for layer in self.layers[:-1]:
            hidden = self.activation(layer(hidden))
        output: Tensor = self.layers[-1](hidden)
        return output
