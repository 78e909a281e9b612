import pytest
import torch

from rlmaml.core.types import Batch
from rlmaml.sampling.trials import as_trials
from tests.rlmaml.makers import gaussian_policy, padded_batch, random_batch, random_theta

POLICY = gaussian_policy()


def stages(count: int = 3) -> list[Batch]:
    theta = random_theta(POLICY)
    return [random_batch(POLICY, theta, num_tasks=2, num_episodes=3, seed=k) for k in range(count)]


def without(batch: Batch, task: int, episode: int) -> Batch:
    """The same episodes, of which the simulation of one failed."""
    valid = batch.valid.clone()
    valid[task, episode] = False
    return batch._replace(valid=valid)


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "log_probs"])
def test_a_trial_is_its_episodes_valid_steps_one_after_another(name: str) -> None:
    lived = stages()
    lived[1] = without(lived[1], 1, 2)
    trials = as_trials(lived)
    for task in range(2):
        for trial in range(3):
            steps = [getattr(stage, name)[task, trial][stage.valid[task, trial]] for stage in lived]
            own = trials.valid[task, trial]
            length = sum(map(len, steps))
            assert own.tolist() == [True] * length + [False] * (len(own) - length)
            assert torch.equal(getattr(trials, name)[task, trial][own], torch.cat(steps))
            starts = trials.first_steps[task, trial][own].nonzero().flatten().tolist()
            assert starts == [sum(map(len, steps[:k])) for k in range(3) if len(steps[k])]
    assert int(trials.valid.sum()) == sum(int(stage.valid.sum()) for stage in lived)


def test_the_time_of_a_trial_gives_every_episode_its_horizon() -> None:
    lived = stages()
    for horizon in (None, 10):
        trials = as_trials(lived, horizon)
        for task in range(2):
            for trial in range(3):
                lengths = [int(stage.valid[task, trial].sum()) for stage in lived]
                expected = [k * (horizon or 4) + t for k, length in enumerate(lengths) for t in range(length)]
                own = trials.valid[task, trial]
                assert trials.time[task, trial][own].tolist() == expected
                share = torch.tensor(expected) / (3 * (horizon or 4))
                assert torch.equal(trials.elapsed[task, trial][own], share)


def test_padding_of_the_stages_ends_up_behind_the_trial() -> None:
    trials = as_trials(stages())
    padded = as_trials([padded_batch(stage) for stage in stages()], horizon=4)
    longest = int(trials.valid.sum(-1).max())
    for ours, theirs in zip(padded.until(longest), trials.until(longest), strict=True):
        assert torch.equal(ours[trials.valid[:, :, :longest]], theirs[trials.valid[:, :, :longest]])
    assert torch.equal(padded.valid[:, :, :longest], trials.valid[:, :, :longest])
    assert not padded.valid[:, :, longest:].any()


def test_the_trials_of_some_tasks_are_theirs_alone() -> None:
    trials = as_trials(stages())
    for ours, theirs in zip(trials.of([1]), trials, strict=True):
        assert torch.equal(ours, theirs[1:])
