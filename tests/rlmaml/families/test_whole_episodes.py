import numpy as np
import torch

from rlmaml.families.whole_episodes import checksum_of, divided, steps_of_episodes


def test_episodes_are_divided_in_an_order_that_is_drawn_or_as_they_are_given() -> None:
    valid = torch.ones(6, 2) > 0
    valid[1] = False
    given, held_out = divided(valid, 2, 9, None)
    assert (given.tolist(), held_out.tolist()) == ([0, 2], [3, 4, 5])
    drawn = [divided(valid, 2, 2, seed) for seed in range(40)]
    assert all(len(given) == len(held_out) == 2 for given, held_out in drawn)
    assert all(len({*given, *held_out}) == 4 and 1 not in {*given, *held_out} for given, held_out in drawn)
    assert len({(*given, *held_out) for given, held_out in drawn}) > 25


def test_steps_are_those_of_the_chosen_episodes_of_each_task_and_padding_counts_for_nothing() -> None:
    axes = torch.meshgrid(*(torch.arange(size) for size in (2, 3, 2)), indexing="ij")
    fields = (torch.stack(axes, -1).float(), -torch.stack(axes, -1).float(), torch.ones(2, 3, 2) > 0)
    chosen = [np.array([2, 0]), np.array([1])]
    steps = steps_of_episodes(fields, np.array([1, 0]), chosen)
    assert steps.observations[0].tolist() == [[1, 2, 0], [1, 2, 1], [1, 0, 0], [1, 0, 1]]
    assert steps.observations[1, :2].tolist() == [[0, 1, 0], [0, 1, 1]]
    assert steps.valid.tolist() == [[True] * 4, [True, True, False, False]]
    assert torch.equal(steps.targets, -steps.observations)


def test_another_number_or_shape_has_another_checksum() -> None:
    values = torch.arange(4.0)
    assert len({checksum_of([tensor]) for tensor in (values, values + 1, values.view(2, 2), values.view(4, 1))}) == 4
    assert checksum_of([values]) == checksum_of([values.clone()])
