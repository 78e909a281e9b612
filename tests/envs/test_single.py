import gymnasium
import numpy as np
import pytest

from rlmaml_envs.single import TaskEnv

ID = "Navigation2D-v0"
TASK = {"goal": np.array([0.3, -0.4])}


def test_a_task_given_once_persists() -> None:
    env = TaskEnv(ID)
    assert env.reset(options={"task": TASK})[1]["task"]["goal"].tolist() == [0.3, -0.4]
    assert env.reset(seed=5)[1]["task"]["goal"].tolist() == [0.3, -0.4]


def test_until_a_task_is_given_every_reset_draws_a_new_one() -> None:
    env = TaskEnv(ID)
    first, second = env.reset(seed=5)[1]["task"], env.reset()[1]["task"]
    again = env.reset(seed=5)[1]["task"]
    assert not np.array_equal(first["goal"], second["goal"])
    np.testing.assert_array_equal(first["goal"], again["goal"])


def test_the_task_of_an_episode_is_in_the_task_space() -> None:
    env = TaskEnv(ID, variant="dynamics")
    assert env.task_space.contains(env.reset(seed=0)[1]["task"])


def test_illegal_tasks_and_options_are_refused() -> None:
    env = TaskEnv(ID)
    with pytest.raises(ValueError, match="One task has no task axis"):
        env.reset(options={"task": {"goal": np.zeros((1, 2))}})
    with pytest.raises(ValueError, match="takes the option 'task'"):
        env.reset(options={"tasks": TASK})


def test_only_the_time_limit_wrapper_truncates() -> None:
    env = gymnasium.make(ID, max_episode_steps=2)
    env.reset(options={"task": TASK})
    assert env.step(np.zeros(2, np.float32))[3] is False
    assert env.step(np.zeros(2, np.float32))[3] is True
    bare = TaskEnv(ID)
    bare.reset(options={"task": TASK})
    assert not any(bare.step(np.zeros(2))[3] for _ in range(150))


def test_a_picture_shows_the_trail_of_its_own_episode_only() -> None:
    env = TaskEnv(ID, render_mode="rgb_array")
    env.reset(options={"task": TASK})
    start = env.render()
    for action in ([1.0, 1.0], [-1.0, -1.0]):
        env.step(np.array(action))
        back = env.render()
    assert (back != start).any()
    env.reset()
    np.testing.assert_array_equal(env.render(), start)


def test_a_window_follows_resets_and_steps_and_closes_twice() -> None:
    import pygame

    env = TaskEnv(ID, render_mode="human")
    env.reset(options={"task": TASK})
    first = pygame.surfarray.array3d(pygame.display.get_surface())
    env.step(np.ones(2))
    second = pygame.surfarray.array3d(pygame.display.get_surface())
    assert (first != second).any()
    assert env.render() is None
    env.close()
    env.close()
    assert not pygame.display.get_init()


def test_render_needs_a_mode() -> None:
    with pytest.raises(ValueError, match='render_mode="rgb_array"'):
        TaskEnv(ID).render()
    with pytest.raises(ValueError, match='render_mode is None, "human" or "rgb_array"'):
        TaskEnv(ID, render_mode="ansi")
