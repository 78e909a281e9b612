import pytest
import torch

from rlmaml.base.errors import NonFiniteError
from rlmaml.rules.step_check import LARGEST_STEP, ExplodedError, check_step

THETA = {"a": torch.zeros(2, 2), "b": torch.tensor([[3.0, 4.0], [0.0, 0.0]])}
"""Of two tasks, whose lengths are 5 and 0."""


def moved(length: float, task: int) -> dict[str, torch.Tensor]:
    """Both tasks are moved by 1, and one of them by so much."""
    steps = torch.ones(2)
    steps[task] = length
    return {"a": THETA["a"] + steps[:, None] * torch.tensor([0.6, 0.8]), "b": THETA["b"]}


@pytest.mark.parametrize(("task", "most"), [(0, 6 * LARGEST_STEP), (1, LARGEST_STEP)])
def test_an_inner_step_explodes_where_it_is_longer_than_so_many_times_one_and_the_length_of_theta(
    task: int, most: float
) -> None:
    check_step(THETA, moved(0.99 * most, task), 1)
    with pytest.raises(ExplodedError, match=r"Inner step 2 exploded: .* is 101 times 1 \+"):
        check_step(THETA, moved(1.01 * most, task), 1)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e38])
def test_task_parameters_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises((NonFiniteError, ExplodedError)):
        check_step(THETA, moved(wrong, 0), 0)
    check_step(THETA, THETA, 0)
