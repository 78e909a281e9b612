from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import rc_context, rcParams

from rlmaml.evaluation.figures import AFTER, BEFORE, adaptation_figure, draw_rewards, shown_episodes, write_figure
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
    assert short.path.shape == (5, 2)
    assert full.path.shape == (7, 2)
    assert np.array_equal(full.path[:6], rollout.observations[1, 2].numpy())
    assert np.array_equal(full.path[6], rollout.final_observations[1, 2].numpy())
    assert np.array_equal(short.rewards, rollout.rewards[1, 0, :4].numpy())


def test_the_path_of_an_episode_is_what_was_tracked_where_that_is_anything() -> None:
    env = make_tasks_env("RoverGoal-v0", 4, 6)
    settings = configure(env_id="RoverGoal-v0", num_tasks=2, num_episodes=2, horizon=6, hidden=(8,))
    method = make_method(settings, env)
    rollout = meta_iteration(env, method, begin(settings, method), settings, 0)[1].rollouts[-1]
    assert rollout.tracked.shape == (2, 2, 7, 5)
    path = shown_episodes(rollout, 1, 2)[1].path
    np.testing.assert_array_equal(path, rollout.tracked[1, 1])
    np.testing.assert_allclose(path[-1], np.asarray(env.tracked())[3], rtol=1e-6)
    short = rollout._replace(valid=rollout.valid & (torch.arange(6) < 4))
    assert len(shown_episodes(short, 1, 2)[1].path) == 5


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
    told = [f"goal = ({number}, -0.12) m, gain = 1.2, rotation = 1.57 rad" for number in range(9)]
    titled = adaptation_figure(draw_rewards, report.tasks, report.rollouts, task_words=told)
    for index, axes in enumerate(titled.axes):
        first, *rest = axes.get_title().split("\n")
        assert first.startswith("return ")
        assert " ".join(rest).replace("\N{NO-BREAK SPACE}", " ") == told[index]
        assert rest[-1].split(" ")[-1].replace("\N{NO-BREAK SPACE}", " ") == "rotation = 1.57 rad"
    figure.savefig(tmp_path / "figure.png")


SOMEBODYS: dict[Any, Any] = {"text.usetex": True, "figure.figsize": (9, 9), "axes.grid": True, "lines.linewidth": 9}


def test_a_figure_is_the_same_whatever_somebodys_matplotlib_is_set_to(tmp_path: Path, report: IterationReport) -> None:
    """LaTeX among it, which is not installed everywhere."""
    for name, theirs in (("ours", {}), ("theirs", SOMEBODYS)):
        with rc_context(theirs):
            before = dict(rcParams)
            figure = adaptation_figure(draw_rewards, report.tasks, report.rollouts)
            write_figure(tmp_path / name, figure)
            assert dict(rcParams) == before
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_what_somebody_calls_a_task_is_text_and_never_markup(tmp_path: Path, report: IterationReport) -> None:
    told = [rf"a_{{b$ = \frac{{ $, {number}" for number in range(9)]
    figure = adaptation_figure(draw_rewards, report.tasks, report.rollouts, task_words=told)
    write_figure(tmp_path / "figure.png", figure)
    assert not any(text.get_parse_math() for axes in figure.axes for text in (axes.title, axes.xaxis.label))


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
