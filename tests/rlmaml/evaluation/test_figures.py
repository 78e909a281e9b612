from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.evaluation.figures import AFTER, BEFORE, adaptation_figure, draw_rewards, shown_episodes
from rlmaml.settings.stages import teacher_and_student
from rlmaml.settings.whole import configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.train import IterationReport, meta_iteration
from rlmaml_envs import make_tasks_env

SETTINGS = configure(num_tasks=2, num_episodes=3, horizon=6, hidden=(8,))


@pytest.fixture(scope="module")
def report() -> IterationReport:
    env = make_tasks_env("Navigation2D-v0", 6, SETTINGS.run.horizon)
    method = make_method(SETTINGS, env)
    return meta_iteration(env, method, begin(SETTINGS, method), SETTINGS, 0)[1]


def test_an_episode_holds_every_valid_observation_and_the_final_one(report: IterationReport) -> None:
    rollout = report.rollouts[0]
    valid = rollout.valid.clone()
    valid[1, 0, 4:] = False
    short, _, full = shown_episodes(rollout._replace(valid=valid), 1, 3)
    assert short.observations.shape == (5, 2)
    assert full.observations.shape == (7, 2)
    assert np.array_equal(full.observations[:6], rollout.observations[1, 2].numpy())
    assert np.array_equal(full.observations[6], rollout.final_observations[1, 2].numpy())
    assert np.array_equal(short.rewards, rollout.rewards[1, 0, :4].numpy())


def test_the_figure_shows_each_task_before_and_after_with_its_returns(tmp_path: Path, report: IterationReport) -> None:
    figure = adaptation_figure(draw_rewards, report.tasks, report.rollouts, num_tasks=9)
    assert len(figure.axes) == 2
    for index, axes in enumerate(figure.axes):
        for step, colour in ((0, BEFORE), (1, AFTER)):
            lines = [line for line in axes.lines if line.get_color() == colour]
            assert len(lines) == 3
            for episode, line in enumerate(lines):
                np.testing.assert_array_equal(line.get_ydata(), report.rollouts[step].rewards[index, episode])
        after = float(torch.as_tensor(report.rollouts[1].returns[index]).mean())
        assert f"{after:.1f}" in axes.get_title()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["before adaptation", "after 1 inner step"]
    taught = adaptation_figure(draw_rewards, report.tasks, report.rollouts, words=teacher_and_student)
    assert [text.get_text() for text in taught.legends[0].get_texts()] == ["teacher", "student, episode 1"]
    figure.savefig(tmp_path / "figure.png")


def test_an_episode_whose_simulation_failed_is_neither_drawn_nor_counted(report: IterationReport) -> None:
    failed = torch.tensor([[False, True, False], [True, True, True]])
    rollouts = [
        sampled._replace(unstable=failed, valid=sampled.valid & ~failed.unsqueeze(-1)) for sampled in report.rollouts
    ]
    shown = shown_episodes(rollouts[0], 0, 3)
    assert [len(episode.rewards) for episode in shown] == [6, 6]
    np.testing.assert_array_equal(shown[1].rewards, rollouts[0].rewards[0, 2].numpy())
    assert len(shown_episodes(rollouts[0], 0, 1)) == 1
    figure = adaptation_figure(draw_rewards, report.tasks, rollouts)
    before = float(rollouts[0].returns[0, [0, 2]].mean())
    assert f"return {before:.1f}" in figure.axes[0].get_title()
    assert "sampled actions" in figure.axes[0].get_title()
    assert [len(axes.lines) for axes in figure.axes] == [4, 0]
