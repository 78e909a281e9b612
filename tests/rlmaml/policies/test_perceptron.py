import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rlmaml.base.errors import UserError
from rlmaml.base.threads import torch_threads
from rlmaml.core.parameters import with_task_axis
from rlmaml.core.types import Params
from rlmaml.policies.perceptron import (
    Perceptron,
    check_scales,
    for_raw_inputs,
    init_perceptron,
    last_layer,
    num_layers,
    perceptron,
)
from tests.rlmaml.makers import assert_same

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def inputs(*shape: int) -> Tensor:
    return torch.randn((*shape, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def random_layers(sizes: tuple[int, ...]) -> Params:
    generator = torch.Generator().manual_seed(1)
    fresh = init_perceptron(sizes, 0, 1.0)
    return {
        name: tensor.double() + 0.4 * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for name, tensor in fresh.items()
    }


def plain_module(params: Params, sizes: tuple[int, ...], activation: str) -> nn.Module:
    """The network as anybody would write it."""
    linears = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    for index, linear in enumerate(linears):
        weights = {kind: params[f"layer{index}.{kind}"] for kind in ("weight", "bias")}
        linear.double().load_state_dict(weights)
    between: list[nn.Module] = [module for linear in linears for module in (linear, ACTIVATIONS[activation]())]
    return nn.Sequential(*between[:-1])


@pytest.mark.parametrize("hidden", [(5, 4), (64, 128)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_it_is_plain_torch_modules(activation: str, hidden: tuple[int, ...]) -> None:
    params = random_layers((3, *hidden, 2))
    expected = plain_module(params, (3, *hidden, 2), activation)(inputs(4, 5))
    assert_same(perceptron(params, activation)(inputs(4, 5)), expected)
    assert expected.std() > 0.1


@pytest.mark.parametrize("width", [64, 100])
def test_one_thread_and_two_compute_the_same_bits(width: int) -> None:
    params = init_perceptron((3, width, width, 2), 0)
    for rows in range(1001, 1017):
        for given, seen in (
            (params, inputs(rows).float()),
            (with_task_axis(params, 1), inputs(1, rows).float()),
            (with_task_axis(params, 3), inputs(3, rows).float()),
        ):
            alone = perceptron(given, "tanh")(seen)
            with torch_threads(2):
                assert torch.equal(perceptron(given, "tanh")(seen), alone)


def test_without_hidden_layers_it_is_linear() -> None:
    params = random_layers((3, 2))
    expected = inputs(4) @ params["layer0.weight"].T + params["layer0.bias"]
    assert_same(perceptron(params, "tanh")(inputs(4)), expected)


@pytest.mark.parametrize("axes", [(), (4,), (3, 5), (3, 5, 7)])
def test_parameters_without_task_axis_serve_any_axes(axes: tuple[int, ...]) -> None:
    params = random_layers((3, 4, 2))
    assert perceptron(params, "tanh")(inputs(*axes)).shape == (*axes, 2)


@pytest.mark.parametrize("axes", [(3, 5), (3, 5, 7)], ids=["task row", "task episode time"])
def test_row_i_is_served_by_parameter_set_i(axes: tuple[int, ...]) -> None:
    every = [random_layers((3, 4, 2)), init_perceptron((3, 4, 2), 5), init_perceptron((3, 4, 2), 6)]
    stacked = {name: torch.stack([params[name].double() for params in every]) for name in every[0]}
    together = perceptron(stacked, "relu")(inputs(*axes))
    assert together.shape == (*axes, 2)
    for task in range(3):
        alone = perceptron({name: tensor[task] for name, tensor in stacked.items()}, "relu")
        assert_same(together[task], alone(inputs(*axes)[task]))


def test_weights_for_raw_inputs_divide_by_the_scales_and_by_1_beyond_the_last() -> None:
    params = random_layers((3, 5, 2))
    divided = inputs(4, 5) / torch.tensor([0.5, 4.0, 1.0])
    expected = perceptron(params, "tanh")(divided)
    for given in (params, with_task_axis(params, 4)):
        scaled = for_raw_inputs(given, (0.5, 4.0))
        assert_same(perceptron(scaled, "tanh")(inputs(4, 5)), expected)
    assert not torch.allclose(perceptron(params, "tanh")(inputs(4, 5)), expected, atol=0.1)
    assert for_raw_inputs(params, ()) is params


@pytest.mark.parametrize(("scales", "extended"), [((), False), ((1.0, 2.0, 3.0), False), ((1.0,), True)])
def test_scales_are_one_for_each_number_or_none_and_may_leave_out_the_tasks(
    scales: tuple[float, ...], extended: bool
) -> None:
    check_scales(scales, 3, extended=extended)


@pytest.mark.parametrize(("scales", "extended"), [((1.0, 2.0), False), ((1.0,) * 4, False), ((1.0,) * 4, True)])
def test_other_numbers_of_scales_are_refused(scales: tuple[float, ...], extended: bool) -> None:
    with pytest.raises(
        UserError, match=f"--observation-scales has {len(scales)} numbers, but observations here have 3"
    ):
        check_scales(scales, 3, extended=extended)


def test_initial_weights_are_glorot_uniform_and_the_last_layer_is_small() -> None:
    params = init_perceptron((40, 50, 60), 0, 0.01)
    for name, fans, scale in (("layer0", 40 + 50, 1.0), ("layer1", 50 + 60, 0.01)):
        bound = scale * math.sqrt(6 / fans)
        weight = params[f"{name}.weight"]
        assert weight.abs().max() <= bound
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not params[f"{name}.bias"].any()


def test_the_last_layer_is_found_by_name() -> None:
    for hidden in ((), (4,), (5, 4)):
        params = init_perceptron((3, *hidden, 2), 0)
        assert num_layers(params) == num_layers(params | {"log_std": torch.zeros(2)}) == len(hidden) + 1
        assert list(params)[-2:] == list(last_layer(hidden))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_module_is_the_same_network(activation: str) -> None:
    params = {name: tensor.float() for name, tensor in random_layers((3, 5, 4, 2)).items()}
    module = Perceptron(params | {"log_std": torch.zeros(2)}, activation)
    seen = inputs(6).float()
    torch.testing.assert_close(module(seen), perceptron(params, activation)(seen))
    assert sum(tensor.numel() for tensor in module.parameters()) == sum(tensor.numel() for tensor in params.values())
