from pathlib import Path

import numpy as np
import torch

from envs import make_tasks_env
from rlmaml.evaluation.figures import AFTER, BEFORE, adaptation_figure, draw_rewards, shown_episodes
from rlmaml.settings.whole import configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import IterationReport, meta_iteration

SETTINGS = configure(num_tasks=2, num_episodes=3, horizon=6, hidden=(8,))


def report() -> IterationReport:
    env = make_tasks_env("Navigation2D-v0", 6, SETTINGS.run.horizon)
    method = make_method(SETTINGS, env)
    return meta_iteration(env, method, begin(SETTINGS, method), SETTINGS, 0)[1]


def test_an_episode_holds_every_valid_observation_and_the_final_one() -> None:
    rollout = report().rollouts[0]
    valid = rollout.valid.clone()
    valid[1, 0, 4:] = False
    short, _, full = shown_episodes(rollout._replace(valid=valid), 1, 3)
    assert short.observations.shape == (5, 2)
    assert full.observations.shape == (7, 2)
    assert np.array_equal(full.observations[:6], rollout.observations[1, 2].numpy())
    assert np.array_equal(full.observations[6], rollout.final_observations[1, 2].numpy())
    assert np.array_equal(short.rewards, rollout.rewards[1, 0, :4].numpy())


def test_the_figure_shows_each_task_before_and_after_with_its_returns(tmp_path: Path) -> None:
    seen = report()
    figure = adaptation_figure(draw_rewards, seen.tasks, seen.rollouts, num_tasks=9)
    assert len(figure.axes) == 2
    for index, axes in enumerate(figure.axes):
        for step, colour in ((0, BEFORE), (1, AFTER)):
            lines = [line for line in axes.lines if line.get_color() == colour]
            assert len(lines) == 3
            for episode, line in enumerate(lines):
                np.testing.assert_array_equal(line.get_ydata(), seen.rollouts[step].rewards[index, episode])
        after = float(torch.as_tensor(seen.rollouts[1].returns[index]).mean())
        assert f"{after:.1f}" in axes.get_title()
    figure.savefig(tmp_path / "figure.png")
