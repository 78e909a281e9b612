from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from rlmaml.core.task_sums import ALONE, largest, mean_over_usable
from tests.rlmaml.makers import assert_same


class WithOthers:
    """One process of two: the other one's task is the last, and everything it found is 10."""

    leads = True

    def own(self, num_tasks: int, blocks: int | None = None) -> range:
        return range(num_tasks - 1)

    def gather(self, per_task: Sequence[Tensor]) -> list[Tensor]:
        return [torch.cat([mine, torch.full_like(mine[:1], 10)]) for mine in per_task]

    def agree(self, ok: bool) -> bool:
        return ok


STEPS = torch.ones(3, 2, 2, dtype=torch.bool)


def no_steps_of(task: int) -> Tensor:
    valid = STEPS.clone()
    valid[task] = False
    return valid


def test_alone_all_tasks_are_ones_own() -> None:
    assert ALONE.leads
    assert list(ALONE.own(3)) == [0, 1, 2]
    assert [ALONE.agree(ok) for ok in (True, False)] == [True, False]
    given = [torch.ones(3), torch.zeros(3, 2)]
    assert all(one is other for one, other in zip(ALONE.gather(given), given, strict=True))


def test_a_task_counts_where_every_stage_has_a_valid_step() -> None:
    one_step = no_steps_of(1)
    one_step[1, 1, 0] = True
    mean = mean_over_usable(ALONE, [one_step, no_steps_of(2)])
    assert mean.usable.tolist() == [True, True, False]
    assert mean.num_usable == 2


def test_a_mean_is_over_the_tasks_that_count_whatever_the_others_hold() -> None:
    mean = mean_over_usable(ALONE, [no_steps_of(1)])
    for garbage in (77.0, float("nan"), float("inf")):
        per_task = torch.tensor([1.0, garbage, 5.0])
        assert float(mean.of(per_task)) == 3.0
        assert float(mean.share(per_task)) == 3.0


def test_derivatives_pass_through_the_share_of_the_tasks_that_count() -> None:
    mean = mean_over_usable(ALONE, [no_steps_of(1)])
    per_task = torch.tensor([1.0, 2.0, 5.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(mean.share(per_task), per_task)
    assert gradient.tolist() == [0.5, 0.0, 0.5]


def test_a_total_adds_every_entry_over_tasks_into_one_vector() -> None:
    mean = mean_over_usable(ALONE, [STEPS])
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 2, 2), (3,)))
    expected = torch.cat([(first[0] + first[1] + first[2]).reshape(-1), second.sum().reshape(1)])
    assert_same(mean.total([first, second]), expected)


def test_what_other_processes_found_counts() -> None:
    mean = mean_over_usable(WithOthers(), [no_steps_of(1)])
    assert mean.usable.tolist() == [True, False, True]
    assert mean.num_usable == 3
    per_task = torch.tensor([1.0, 77.0, 4.0])
    assert float(mean.of(per_task)) == 5.0  # (1 + 4 + 10) / 3
    assert float(mean.share(per_task)) == pytest.approx(5 / 3)  # its own part of it
    assert mean.total([per_task]).tolist() == [92.0]
    assert largest(WithOthers(), torch.tensor([1.0, 2.0])) == 10.0


def test_the_largest_is_over_all_tasks() -> None:
    assert largest(ALONE, torch.tensor([1.0, 7.5, -9.0])) == 7.5
