import math

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.sampling.examples import SupervisedFamily, check_examples


def test_it_is_a_supervised_family() -> None:
    assert isinstance(Sinusoid(), SupervisedFamily)


def test_waves_are_those_of_the_papers_at_points_computed_by_hand() -> None:
    x = np.array([[0.0, math.pi / 2]])
    task = {"amplitude": np.array([2.0]), "frequency": np.array([1.0]), "phase": np.array([math.pi / 6])}
    np.testing.assert_allclose(Sinusoid().wave(task, x), [[-1.0, math.sqrt(3)]])
    task["frequency"] = np.array([0.5])
    np.testing.assert_allclose(Sinusoid("li2017").wave(task, x), [[1.0, 2 * math.sin(5 * math.pi / 12)]])


@pytest.mark.parametrize(("waves", "frequencies"), [("finn2017", (1.0, 1.0)), ("li2017", (0.8, 1.2))])
def test_tasks_and_points_fill_their_ranges(waves: str, frequencies: tuple[float, float]) -> None:
    family = Sinusoid(waves, shots=3, queries=2)  # type: ignore[arg-type]
    tasks = family.sample_tasks(2000, range(2000))
    for name, (low, high) in {"amplitude": (0.1, 5.0), "phase": (0.0, math.pi), "frequency": frequencies}.items():
        assert low <= tasks[name].min() <= low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) <= tasks[name].max() <= high
        assert tasks[name].mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low) + 1e-9)
    x = family.sets(tasks, range(2000)).support.observations
    assert -5 <= float(x.min()) < -4.99
    assert 4.99 < float(x.max()) <= 5
    assert abs(float(x.mean())) < 0.15


def test_sets_have_the_numbers_that_are_asked_for_and_share_no_point() -> None:
    family = Sinusoid(shots=4, queries=7)
    tasks = family.sample_tasks(3, [5, 6, 7])
    support, query = family.sets(tasks, [1, 2, 3])
    check_examples(support, 3, family.sizes, "it")
    check_examples(query, 3, family.sizes, "it")
    assert (support.valid.shape, query.valid.shape) == ((3, 4), (3, 7))
    assert not np.intersect1d(support.observations.numpy(), query.observations.numpy()).size
    wave = family.wave(tasks, query.observations[..., 0].double().numpy())
    np.testing.assert_allclose(query.targets[..., 0].numpy(), wave, atol=1e-5)


def test_a_task_and_its_points_follow_from_its_own_seeds_alone() -> None:
    family = Sinusoid()
    several, alone = family.sample_tasks(3, [5, 6, 7]), family.sample_tasks(1, [6])
    assert all(values[1] == alone[name][0] for name, values in several.items())
    together, own = family.sets(several, [1, 2, 3]), family.sets(alone, [2])
    assert torch.equal(together.query.targets[1:2], own.query.targets)
    assert not torch.equal(together.query.targets[0], together.query.targets[1])


def test_without_points_there_is_no_family() -> None:
    with pytest.raises(UserError, match="--shots is 0; it must be at least 1"):
        Sinusoid(shots=0)
