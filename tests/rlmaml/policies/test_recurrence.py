import pytest
import torch
from torch import Tensor

from rlmaml.policies.recurrence import unrolled
from tests.rlmaml.makers import assert_same

WIDTH, INPUTS, ROWS, TIME = 3, 2, 2, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def arguments(*tasks: int) -> list[Tensor]:
    """Inputs, start, both weights and both biases, with a task axis or without."""
    shapes = (ROWS, TIME, INPUTS), (ROWS, WIDTH), (3 * WIDTH, INPUTS), (3 * WIDTH, WIDTH), (3 * WIDTH,), (3 * WIDTH,)
    return [drawn(*tasks, *shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]


def memories(inputs: Tensor, start: Tensor, *of_gates: Tensor) -> Tensor:
    return unrolled(inputs, start, of_gates[:2], of_gates[2:])


def by_torch(inputs: Tensor, start: Tensor, *of_gates: Tensor) -> Tensor:
    options = (True, 1, 0.0, True, False, True)  # biases, one layer, no dropout, training, one way, batch first
    return torch.gru(inputs, start.unsqueeze(0), of_gates, *options)[0]


def test_memories_and_gradients_are_those_of_torchs_own_unit() -> None:
    own = arguments()
    weights = drawn(ROWS, TIME, WIDTH, seed=7)
    ours, theirs = (torch.autograd.grad((unit(*own) * weights).sum(), own) for unit in (memories, by_torch))
    assert_same(memories(*own), by_torch(*own))
    for one, other in zip(ours, theirs, strict=True):
        assert other.abs().max() > 0.1
        assert_same(one, other)


@pytest.mark.parametrize("tasks", [(), (2,)])
def test_first_and_second_derivatives_agree_with_finite_differences(tasks: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(memories, arguments(*tasks))
    assert torch.autograd.gradgradcheck(memories, arguments(*tasks), fast_mode=True)


def test_a_task_axis_is_a_loop_over_tasks() -> None:
    every = arguments(2)
    together = memories(*every)
    for task in range(2):
        assert_same(together[task], memories(*(tensor[task] for tensor in every)))


@pytest.mark.parametrize("shape", [(0, TIME), (ROWS, 1)])
def test_no_rows_and_a_single_step_are_legal(shape: tuple[int, int]) -> None:
    _, _, *of_gates = arguments()
    inputs, start = drawn(*shape, INPUTS), drawn(shape[0], WIDTH, seed=1)
    every = memories(inputs, start, *of_gates)
    assert every.shape == (*shape, WIDTH)
    gradients = torch.autograd.grad(every.sum(), of_gates)
    expected = torch.autograd.grad(by_torch(inputs, start, *of_gates).sum(), of_gates) if shape[0] else None
    for index, gradient in enumerate(gradients):
        assert_same(gradient, torch.zeros_like(gradient) if expected is None else expected[index])
