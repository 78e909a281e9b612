from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.types import Rollout
from rlmaml.families.imitation import Demonstrations, Imitation, demonstrated, read_demonstrations
from rlmaml.sampling.examples import ListedFamily, SupervisedFamily, check_examples
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout, write_episodes
from tests.rlmaml.sampling.test_recorded import recording


def numbered(num_tasks: int = 3, count: int = 6, time: int = 4) -> Demonstrations:
    """Demonstrations whose observations say which task, demonstration and step they are of."""
    axes = torch.meshgrid(*(torch.arange(size) for size in (num_tasks, count, time)), indexing="ij")
    observations = torch.stack(axes, -1).float()
    return Demonstrations(observations, observations[..., :2] / 10, torch.ones(observations.shape[:3]) > 0)


def without_rewards(path: Path, episodes: RecordedEpisodes) -> Path:
    arrays = {name: array for name, array in episodes._asdict().items() if name != "rewards" and array is not None}
    np.savez(path, **arrays)
    return path


def test_it_is_a_supervised_family_with_legal_sets() -> None:
    family = Imitation("it", numbered(), shots=2, queries=3)
    assert isinstance(family, SupervisedFamily)
    tasks = family.sample_tasks(5, range(5))
    support, query = family.sets(tasks, range(5))
    for examples, count in ((support, 2), (query, 3)):
        check_examples(examples, 5, family.sizes, "it")
        assert examples.valid.shape == (5, count * 4)
        assert torch.equal(examples.observations[:, 0, 0].long(), torch.as_tensor(tasks["index"]))
        assert torch.equal(examples.targets, examples.observations[..., :2] / 10)


def test_its_tasks_are_listed_so_that_a_test_has_each_of_them_once() -> None:
    family = Imitation("it", numbered(num_tasks=4), shots=2, queries=3)
    assert isinstance(family, ListedFamily)
    tasks = family.every_task()
    assert tasks["index"].tolist() == [0, 1, 2, 3]
    assert family.sets(tasks, range(4)).query.observations[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_no_step_of_a_demonstration_that_is_held_out_is_learned_from() -> None:
    family = Imitation("it", numbered(), shots=2, queries=9)
    support, query = family.sets({"index": np.zeros(50, int)}, range(50))
    chosen = set()
    for given, held_out in zip(support.observations[..., 1], query.observations[..., 1], strict=True):
        assert not set(given.tolist()) & set(held_out.tolist())
        assert set(given.tolist()) | set(held_out.tolist()) == set(range(6))
        chosen.add(tuple(given.tolist()))
    assert len(chosen) > 20


def test_a_task_and_its_demonstrations_follow_from_its_own_seeds_alone() -> None:
    family = Imitation("it", numbered(), shots=2, queries=3)
    several, alone = family.sample_tasks(3, [5, 6, 7]), family.sample_tasks(1, [6])
    assert several["index"][1] == alone["index"][0]
    together, own = family.sets(several, [1, 2, 3]), family.sets(alone, [2])
    assert torch.equal(together.support.observations[1:2], own.support.observations)


def test_demonstrations_that_failed_are_passed_over_and_fewer_are_padded() -> None:
    shown = numbered(num_tasks=2)
    shown.valid[0, :3] = False
    shown.valid[1, :, 3] = False
    family = Imitation("it", shown, shots=2, queries=3)
    for seed in range(20):
        support, query = family.sets({"index": np.array([0, 1])}, [seed, seed])
        assert support.observations[0, support.valid[0], 1].min() >= 3
        assert support.valid.sum(-1).tolist() == [8, 6]
        assert query.valid.sum(-1).tolist() == [4, 9]
        held_out = set(query.observations[0, query.valid[0], 1].tolist())
        assert not held_out & set(support.observations[0, support.valid[0], 1].tolist())


def test_too_few_demonstrations_are_refused_by_their_task() -> None:
    shown = numbered()
    shown.valid[1, 1:] = False
    with pytest.raises(UserError, match="Task 1 of it has 1 demonstrations; to learn from 1 there must be one more"):
        Imitation("it", shown, shots=1)
    with pytest.raises(UserError, match="--shots is 0; it must be at least 1"):
        Imitation("it", numbered(), shots=0)


def test_other_demonstrations_are_another_variant() -> None:
    other = numbered()
    other.actions[0, 0, 0, 0] = 0.5
    variants = {Imitation("it", shown, shots).variant for shown in (numbered(), other) for shots in (1, 2)}
    assert len(variants) == 4
    assert Imitation("it", numbered(), 1).variant == Imitation("it", numbered(), 2).having(1).variant


def test_scales_are_root_mean_squares_of_what_was_seen() -> None:
    shown = Demonstrations(
        torch.tensor([[[[3.0, 0.0], [1.0, 0.0], [99.0, 9.0]]]]), torch.zeros(1, 1, 3, 1), torch.ones(1, 1, 3) > 0
    )
    shown.valid[..., 2] = False
    assert shown.scales == pytest.approx((5**0.5, 1e-3))


def test_what_a_demonstrator_is_told_is_left_out_and_its_actions_are_as_the_robot_does_them() -> None:
    sampled = as_rollout(recording()._replace(actions=np.array([[-3.0, 0.5]] * 5, np.float32)))
    shown = demonstrated(sampled, observed=3)
    assert torch.equal(shown.observations, sampled.observations[..., :3])
    assert shown.actions[sampled.valid].tolist() == [[-1.0, 0.5]] * 5
    choices = Rollout(*sampled)._replace(actions=torch.zeros(1, 2, 3, dtype=torch.long))
    with pytest.raises(UserError, match="actions are choices"):
        demonstrated(choices, observed=3)


def test_files_without_rewards_are_read_as_a_task_each(tmp_path: Path) -> None:
    one, other = recording((3, 2)), recording((4, 1, 2), seed=1)
    write_episodes(tmp_path / "one.npz", one)
    shown = read_demonstrations([tmp_path / "one.npz", without_rewards(tmp_path / "other.npz", other)])
    assert shown.valid.sum(-1).tolist() == [[3, 2, 0], [4, 1, 2]]
    np.testing.assert_array_equal(shown.observations[1][shown.valid[1]], other.observations)
    np.testing.assert_array_equal(shown.actions[0][shown.valid[0]], one.actions.clip(-1, 1))


def test_demonstrations_of_another_robot_are_refused_by_their_file(tmp_path: Path) -> None:
    write_episodes(tmp_path / "one.npz", recording())
    write_episodes(tmp_path / "other.npz", recording()._replace(actions=np.zeros((5, 3), np.float32)))
    with pytest.raises(
        UserError, match=r"other.npz: demonstrations of another robot, with 4 .* and 3 actions; those in"
    ):
        read_demonstrations([tmp_path / "one.npz", tmp_path / "other.npz"])
