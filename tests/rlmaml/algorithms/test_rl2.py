"""RL²: credit across the episodes of a trial, minibatches of whole trials, and tasks that only memory can solve."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.distributions import kl_divergence

from rlmaml.algorithms.epochs import minibatches, own_blocks
from rlmaml.algorithms.ppo import RETURN_SCALE, Lived, judged, ppo_losses
from rlmaml.base.errors import UserError
from rlmaml.core.policy import Policy
from rlmaml.core.returns import advantages_over_time
from rlmaml.core.task_sums import mean_over_usable
from rlmaml.core.types import Batch, Outputs
from rlmaml.sampling.trials import as_trials
from rlmaml.settings.whole import Settings, configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import meta_train
from tests.rlmaml.algorithms.cases import Problem, make_problem, noise
from tests.rlmaml.delegation import lent
from tests.rlmaml.makers import assert_same, streams_of, torch_distribution

NOTHING = torch.zeros(())


@lent(Policy, of="policy")
class Known:
    """A policy whose value is what is written into the first number of the observation."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def unroll(self, params: Any, batch: Any, carry: Any = None) -> tuple[Outputs, Any]:
        outputs, carry = self.policy.unroll(params, batch, carry)
        return Outputs(outputs.distribution, batch.observations[..., 0]), carry


def hand_made(problem: Problem) -> list[Batch]:
    """Two episodes of up to three steps, in one trial of one task: rewards 1, 2 | 10, 20, 30, and values of 0.5."""
    first, second = (Batch(*(field[:1, :1, :3].clone() for field in batch)) for batch in problem.stages)
    valid = torch.tensor([[[True, True, False]]])
    first.observations[..., 0] = second.observations[..., 0] = 0.5
    return [
        first._replace(valid=valid, rewards=torch.tensor([[[1.0, 2.0, 99.0]]], dtype=torch.float64)),
        second._replace(
            valid=torch.ones_like(valid), rewards=torch.tensor([[[10.0, 20.0, 30.0]]], dtype=torch.float64)
        ),
    ]


def credited(discount: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Advantages before they are scaled, and returns, of the hand-made trial."""
    problem = make_problem("rl2").of_tasks([0])
    settings = configure("rl2", discount=discount, gae_lambda=gae_lambda, advantage_scale=1.0).advantages
    stages = hand_made(problem)
    learner = problem.learner._replace(policy=Known(problem.learner.policy), streams=streams_of([0]))
    mean = mean_over_usable(learner.sums, [batch.valid for batch in stages])
    before, blocks = torch.ones((), dtype=torch.float64), own_blocks(learner, 1, 1)
    trials = as_trials(stages).until(5)
    found = judged(learner, problem.meta.params, trials, before, mean=mean, blocks=blocks, settings=settings)
    assert found.lived.valid.flatten().tolist() == [True] * 5
    return found.lived.advantages.flatten(), found.lived.targets.flatten() * (found.return_scale + 1e-8)


def test_credit_passes_from_one_episode_of_a_trial_to_the_next_and_ends_with_it() -> None:
    discount, gae_lambda = 0.9, 0.8
    rewards, value = [1.0, 2.0, 10.0, 20.0, 30.0], 0.5
    expected, ahead = list[float](), 0.0
    for t, gap in reversed(list(enumerate([1, 2, 1, 1, 1]))):  # the first episode ends a step before its horizon of 3
        difference = rewards[t] + (discount**gap * value if t < 4 else 0.0) - value
        ahead = difference + (discount * gae_lambda) ** gap * ahead
        expected.insert(0, ahead)
    advantages, returns = credited(discount, gae_lambda)
    raw = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(advantages, raw - raw.mean())
    torch.testing.assert_close(returns, raw + value)


def test_an_episode_that_ends_sooner_brings_the_next_one_no_nearer() -> None:
    problem = make_problem("rl2").of_tasks([0])
    first, second = hand_made(problem)
    worths = []
    for length in (1, 2, 3):
        valid = (torch.arange(3) < length).expand(1, 1, 3)
        trials = as_trials([first._replace(valid=valid, rewards=torch.zeros_like(first.rewards)), second])
        nothing = torch.zeros_like(trials.rewards)
        worth = advantages_over_time(trials.rewards, nothing, trials.valid, trials.time, 0.9, 1.0)
        worths.append(float(worth[0, 0, 0]))
    assert worths == pytest.approx([0.9**3 * 10 + 0.9**4 * 20 + 0.9**5 * 30] * 3)


def test_without_discount_the_first_step_is_worth_the_whole_trial() -> None:
    _, returns = credited(1.0, 1.0)
    assert returns.tolist() == pytest.approx([63.0, 62.0, 60.0, 50.0, 30.0])


def test_the_loss_between_other_policies_is_clipped_and_has_the_value_s_error_and_the_entropy() -> None:
    problem = make_problem("rl2")
    policy, trials = problem.learner.policy, as_trials(problem.stages)
    moved = {name: tensor + 0.2 * noise(tensor) for name, tensor in problem.meta.params.items()}
    old, new = (policy.unroll(params, trials)[0] for params in (problem.meta.params, moved))
    advantages, targets = noise(trials.rewards), 1 + noise(trials.rewards)
    settings = configure("rl2", clip=0.1, value_weight=0.7, entropy_bonus=0.3).outer
    losses = ppo_losses(problem.learner, Lived(trials, old.distribution, advantages, targets), settings)
    of_tasks, kls = losses(moved, torch.tensor([2, 0]))
    for task, loss, kl in zip((2, 0), of_tasks, kls, strict=True):
        valid = trials.valid[task]
        said = [torch_distribution(type(one)(*(field[task] for field in one))) for one in (old[0], new[0])]
        before, after = (each.log_prob(trials.actions[task]) for each in said)
        ratio, gain = (after - before).exp(), advantages[task]
        lesser = torch.where(gain > 0, ratio.clamp(max=1.1), ratio.clamp(min=0.9)) * gain
        assert (lesser != ratio * gain)[valid].any()
        error = 0.5 * (new.value[task] - targets[task]).square()
        assert_same(loss, (-lesser + 0.7 * error - 0.3 * said[1].entropy())[valid].mean())
        assert_same(kl, kl_divergence(*said)[valid].mean())


@pytest.mark.parametrize(("most", "sizes"), [(1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (9, [1, 1, 1, 1])])
def test_every_usable_task_is_in_one_minibatch_of_an_epoch_and_epochs_differ(most: int, sizes: list[int]) -> None:
    problem = make_problem("rl2", num_tasks=5)
    valid = problem.stages[0].valid.clone()
    valid[3] = False
    mean = mean_over_usable(problem.learner.sums, [valid])
    epochs = [minibatches(problem.learner, mean, epoch, most) for epoch in range(4)]
    for chosen in epochs:
        assert sorted(int(tasks.sum()) for tasks in chosen) == sorted(sizes)
        assert torch.stack(chosen).sum(0).tolist() == [1, 1, 1, 0, 1]
    if most == 2:
        assert len({tuple(chosen[0].tolist()) for chosen in epochs}) > 1


def test_the_typical_return_is_that_of_the_trials_and_changes_slowly() -> None:
    problem = make_problem("rl2")
    fresh = problem._replace(state=problem.algorithm.init(problem.meta))
    first = fresh.update().state[RETURN_SCALE]
    ten = problem._replace(
        stages=[batch._replace(rewards=10 * batch.rewards) for batch in problem.stages],
        state=fresh.state | {RETURN_SCALE: first},
    )
    assert float(first) > 0
    assert float(first) * 1.5 < float(ten.update().state[RETURN_SCALE]) < 2.5 * float(first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tasks": 3}, "--minibatches is 4; it must be at most --tasks, which is 3"),
        ({"blocks": 65}, "--blocks is 65; it must be at most --tasks"),
        (
            {"inner_reward_power": 2.0, "inner_advantage_scale": 1.0},
            "--inner-reward-power is 2.0; it must be 1 where nothing adapts by gradient steps",
        ),
        ({"inner_advantage_scale": 2.0}, "--inner-advantage-scale is 2.0; it must be None where nothing adapts"),
        ({"time_limit": "bootstrap"}, "--time-limit is 'bootstrap'; it must be fixed_horizon with trials"),
        ({"value_head": False}, "needs --policy gru with --value-head"),
        ({"policy": "gaussian"}, "needs --policy gru with --value-head"),
        ({"trial_episodes": 0}, "--trial-episodes is 0"),
        ({"clip": 1.5}, "--clip is 1.5"),
        ({"largest_gradient": 0.0}, "--largest-gradient is 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        configure("rl2", **options)


class Bandit:
    """Two arms: an action above 0 pulls the right one. One of them pays 1, on every task another; nothing is seen."""

    reward_terms: tuple[str, ...] = ("pay",)
    single_observation_space = spaces.Box(-1, 1, (1,))
    single_action_space = spaces.Box(-1, 1, (1,))
    horizon = 1

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.sides = np.ones(num_envs)

    def sample_tasks(
        self, num_tasks: int, seeds: Sequence[int] | None = None, *, beyond: bool = False
    ) -> dict[str, npt.NDArray[Any]]:
        assert seeds is not None
        assert not beyond
        return {"side": np.array([np.random.default_rng(seed).choice([-1.0, 1.0]) for seed in seeds])}

    def set_tasks(self, tasks: Mapping[str, npt.NDArray[Any]]) -> None:
        self.sides = np.repeat(tasks["side"], self.num_envs // len(tasks["side"]))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray[Any], Any]:
        return np.zeros((self.num_envs, 1)), {}

    def step(self, actions: npt.NDArray[Any]) -> tuple[Any, ...]:
        pay = (actions[:, 0] * self.sides > 0).astype(float)
        over = np.ones(self.num_envs, bool)
        return np.zeros((self.num_envs, 1)), pay, np.zeros_like(over), over, {"pay": pay}


class Fork(Bandit):
    """Navigation in the plane: the goal is one to the left or one to the right of the start, on every task another.

    The place is seen, the goal is not, and a reward is seen once an episode: in its last step, minus the distance to
    the goal. Where the side is not known, no path earns more than -1 in the mean, which is half the distance of the two
    goals.
    """

    single_observation_space = spaces.Box(-2, 2, (2,))
    single_action_space = spaces.Box(-1, 1, (2,))
    horizon = 3

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[npt.NDArray[Any], Any]:
        self.places, self.moves = np.zeros((self.num_envs, 2)), 0
        return self.places, {}

    def step(self, actions: npt.NDArray[Any]) -> tuple[Any, ...]:
        self.places, self.moves = self.places + 0.5 * actions.clip(-1, 1), self.moves + 1
        over = np.full(self.num_envs, self.moves == self.horizon)
        distances = np.hypot(self.places[:, 0] - self.sides, self.places[:, 1])
        pay = np.where(over, -distances, 0.0)
        return self.places, pay, np.zeros_like(over), over, {"pay": pay}


BANDIT = configure(
    "rl2",
    num_tasks=32,
    num_episodes=2,
    trial_episodes=4,
    iterations=40,
    hidden=(8,),
    memory=8,
    initial_std=1.0,
    outer_step_size=0.01,
    threads=1,
)
FORK = BANDIT.changed(trial_episodes=3, iterations=60, horizon=3, initial_std=0.5)


def pays(settings: Settings, make_env: type[Bandit]) -> list[float]:
    """Mean pay of every episode of a trial, over the last ten meta-iterations of a training."""
    env: Any = make_env(settings.run.num_tasks * settings.run.num_episodes)
    method = make_method(settings, env)
    reports = [report for _, report in meta_train(env, method, begin(settings, method), settings)]
    returns = [[float(stage.returns.mean()) for stage in report.outcomes] for report in reports[-10:]]
    return [sum(column) / len(column) for column in zip(*returns, strict=True)]


@pytest.mark.slow
def test_a_bandit_whose_good_arm_changes_per_trial_is_learnt_by_memory_alone() -> None:
    first, *_, last = pays(BANDIT, Bandit)
    assert first == pytest.approx(0.5, abs=0.1)
    assert last > 0.7  # ten seeds passed 0.9, twice as far from chance
    # Without a memory: in a trial of one episode, of one step, there is nothing to remember when it acts.
    (without,) = pays(BANDIT.changed(trial_episodes=1), Bandit)
    assert without == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_navigation_whose_reward_is_seen_once_an_episode_is_learnt_by_memory_alone() -> None:
    first, *_, last = pays(FORK, Fork)
    assert first < -0.9
    assert last > -0.71  # ten seeds passed -0.42, twice as far from what no memory can pass
    # Without a memory: in a trial of one episode, whose reward comes last, nothing that it remembers tells the side.
    (without,) = pays(FORK.changed(trial_episodes=1), Fork)
    assert without < -0.9
