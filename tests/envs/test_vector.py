import copy
import pickle
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from rlmaml_envs import make_tasks_env
from rlmaml_envs.family import named_range
from rlmaml_envs.registry import load_family
from rlmaml_envs.vector import TaskVectorEnv

ID = "Navigation2D-v0"
GOALS = {"goal": np.array([[0.3, 0.0], [0.0, -0.4]])}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a positive integer; got 0"),
        ({"num_envs": -3}, "got -3"),
        ({"num_envs": 2.0}, "got 2.0"),
        ({"num_envs": True}, "got True"),
        ({"max_episode_steps": 0}, "max_episode_steps must be a positive integer; got 0"),
        ({"render_mode": "human"}, 'render_mode must be None or "rgb_array"'),
        ({"variant": "finn"}, "Choose one of: finn2017, rothfuss2019, dynamics"),
        ({"variant": "finn-beyond"}, 'no variant "finn". Choose one of: finn2017'),
        ({"variant": "rothfuss2019-beyond"}, "every legal task of rothfuss2019 is in its training range; there is no"),
    ],
)
def test_unsuitable_construction_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskVectorEnv(ID, **options)


def test_gymnasium_makes_it_with_the_autoreset_of_its_own_and_we_without() -> None:
    env = gymnasium.make_vec(ID, num_envs=3)
    assert isinstance(env, TaskVectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert make_tasks_env(ID, 3).metadata["autoreset_mode"] == AutoresetMode.DISABLED
    assert make_tasks_env(ID, 3, autoreset_mode="SameStep").metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert env.observation_space.shape == env.action_space.shape == (3, 2)


def test_copy_i_gets_task_i_over_episodes() -> None:
    env = make_tasks_env(ID, num_envs=6)
    _, info = env.reset(options={"tasks": GOALS})
    np.testing.assert_array_equal(info["task"]["goal"], np.repeat(GOALS["goal"], 3, axis=0))


def test_tasks_must_divide_the_copies() -> None:
    env = make_tasks_env(ID, num_envs=5)
    with pytest.raises(ValueError, match="2 tasks do not divide num_envs = 5"):
        env.set_tasks(GOALS)


def test_a_masked_reset_takes_up_new_tasks_in_its_copies_only() -> None:
    env = make_tasks_env(ID, num_envs=4)
    env.reset(options={"tasks": GOALS})
    env.set_tasks({"goal": np.full((1, 2), 0.1)})
    _, info = env.reset(options={"reset_mask": np.array([True, False, False, True])})
    np.testing.assert_array_equal(info["task"]["goal"], [[0.1, 0.1], [0.3, 0.0], [0.0, -0.4], [0.1, 0.1]])
    _, info = env.reset()
    np.testing.assert_array_equal(info["task"]["goal"], np.full((4, 2), 0.1))


def test_refused_tasks_leave_the_assigned_ones() -> None:
    env = make_tasks_env(ID, num_envs=2)
    env.set_tasks(GOALS)
    with pytest.raises(ValueError, match="Keep it finite"):
        env.set_tasks({"goal": np.full((2, 2), 9.0)})
    np.testing.assert_array_equal(env.reset()[1]["task"]["goal"], GOALS["goal"])


def test_changing_the_callers_array_does_not_change_the_task() -> None:
    env = make_tasks_env(ID, num_envs=2)
    tasks = {"goal": GOALS["goal"].copy()}
    env.set_tasks(tasks)
    tasks["goal"][:] = 0.0
    np.testing.assert_array_equal(env.reset()[1]["task"]["goal"], GOALS["goal"])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros(2), "expects actions of shape (2, 2); got (2,)"),
        (np.zeros((2, 3)), "got (2, 3)"),
        ([[0.0, 0.0], [0.0, np.nan]], "expects finite actions; got [ 0. nan] for copy 1"),
        ([[np.inf, 0.0], [0.0, 0.0]], "for copy 0"),
        (np.ones((2, 2), complex), "expects actions that are plain numbers; got ndarray of complex128"),
        (np.full((2, 2), "1"), "got ndarray of <U1"),
        (np.ma.masked_less(np.zeros((2, 2)), 1.0), "got MaskedArray of float64"),
    ],
)
def test_bad_actions_are_refused_and_move_nothing(actions: Any, message: str) -> None:
    env = make_tasks_env(ID, num_envs=2)
    start, _ = env.reset(seed=0)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        env.step(actions)
    observation, *_ = env.step(np.zeros((2, 2)))
    np.testing.assert_array_equal(observation, start)


def test_a_step_needs_a_reset_of_every_copy() -> None:
    env = make_tasks_env(ID, num_envs=2)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(np.zeros((2, 2)))
    env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"reset_mask": [True, False]}, TypeError),
        ({"reset_mask": np.array([1, 0])}, TypeError),
        ({"reset_mask": np.array([True])}, ValueError),
        ({"reset_mask": np.array([False, False])}, ValueError),
        ({"task": {"goal": np.zeros(2)}}, ValueError),
    ],
)
def test_bad_reset_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    env = make_tasks_env(ID, num_envs=2)
    with pytest.raises(error, match="reset"):
        env.reset(options=options)


def test_terminated_copies_stop_while_the_others_run_on_to_the_horizon() -> None:
    env = make_tasks_env(ID, num_envs=2, horizon=3)
    env.reset(options={"tasks": {"goal": np.array([[0.1, 0.0], [0.5, 0.0]])}})
    flags, positions, rewards = [], [], []
    for _ in range(4):
        observation, reward, terminated, truncated, _ = env.step(np.array([[1.0, 0.0], [1.0, 0.0]]))
        flags.append([terminated.tolist(), truncated.tolist()])
        positions.append(observation[:, 0])
        rewards.append(reward)
    assert flags == [
        [[True, False], [False, False]],
        [[True, False], [False, False]],
        [[True, False], [False, True]],
        [[True, False], [False, True]],
    ]
    np.testing.assert_allclose(positions, [[0.1, 0.1], [0.1, 0.2], [0.1, 0.3], [0.1, 0.3]])
    np.testing.assert_allclose(rewards, [[0.0, -0.4], [0.0, -0.3], [0.0, -0.2], [0.0, 0.0]], atol=1e-15)


def test_a_reset_copy_can_walk_and_terminate_again() -> None:
    env = make_tasks_env(ID, num_envs=2, horizon=3)
    env.set_tasks({"goal": np.array([[0.1, 0.0], [0.2, 0.0]])})
    for options in ({}, {"reset_mask": np.array([True, True])}):
        env.reset(options=options)
        ends = [env.step(np.array([[1.0, 0.0], [1.0, 0.0]]))[2].tolist() for _ in range(2)]
        assert ends == [[True, False], [True, True]]


def test_an_episode_that_terminates_at_the_horizon_is_not_truncated() -> None:
    env = make_tasks_env(ID, num_envs=1, horizon=1)
    env.reset(options={"tasks": {"goal": np.array([[0.1, 0.0]])}})
    *_, terminated, truncated, _ = env.step(np.array([[1.0, 0.0]]))
    assert terminated.tolist() == [True]
    assert truncated.tolist() == [False]


def test_without_a_limit_of_its_own_an_episode_is_as_long_as_its_variant_says() -> None:
    env = TaskVectorEnv(ID, num_envs=1, autoreset_mode="rest")
    assert env.horizon == env.max_episode_steps == 100
    env.reset(options={"tasks": {"goal": np.array([[0.5, 0.5]])}})
    truncated = [bool(env.step(np.zeros((1, 2)))[3][0]) for _ in range(101)]
    assert truncated == [False] * 99 + [True] * 2


@pytest.mark.parametrize("env_id", [ID, "RoverGoal-v0"])
def test_the_tasks_beyond_a_variants_training_range_are_a_variant_too(env_id: str) -> None:
    variant = next(iter(load_family(env_id).variants))
    inside, beyond = (make_tasks_env(env_id, 4, variant=name) for name in (variant, f"{variant}-beyond"))
    drawn, expected = beyond.sample_tasks(4, range(4)), inside.sample_tasks(4, range(4), beyond=True)
    for name, values in expected.items():
        np.testing.assert_array_equal(drawn[name], values)
    assert beyond.task_space == beyond.wide_task_space == inside.wide_task_space != inside.task_space
    assert beyond.sheet["tasks"] == inside.sheet["tasks_beyond"]
    assert beyond.horizon == inside.horizon
    beyond.reset(seed=1)
    own = beyond.reset(seed=1)[1]["task"]
    assert not any(inside.task_space.contains({name: np.asarray(own[name][copy]) for name in own}) for copy in range(4))
    again = copy.deepcopy(beyond).reset(seed=1)[1]["task"]
    for name, values in own.items():
        np.testing.assert_array_equal(again[name], values)
    with pytest.raises(ValueError, match="every legal task is in the training range already"):
        beyond.sample_tasks(1, beyond=True)


def test_a_variant_that_is_named_so_is_itself() -> None:
    assert named_range({"far-beyond": None}, "far-beyond") == ("far-beyond", False)
    assert named_range({"far": None}, "far-beyond") == ("far", True)
    assert named_range({"far": None}, None) == (None, False)


def test_sampling_without_seeds_continues_the_environments_own_stream() -> None:
    env = make_tasks_env(ID, num_envs=1)
    env.reset(seed=3)
    first, second = env.sample_tasks(2), env.sample_tasks(2)
    assert not np.array_equal(first["goal"], second["goal"])
    task = env.reset(seed=3)[1]["task"]
    np.testing.assert_array_equal(env.sample_tasks(2)["goal"], first["goal"])
    assert not np.array_equal(task["goal"], first["goal"][:1])


@pytest.mark.parametrize(("num_tasks", "seeds"), [(0, None), (3, [1, 2])])
def test_sampling_needs_a_seed_per_task(num_tasks: int, seeds: list[int] | None) -> None:
    with pytest.raises(ValueError, match="task"):
        make_tasks_env(ID, num_envs=1).sample_tasks(num_tasks, seeds)


def test_pictures_come_one_per_copy_and_only_in_their_mode() -> None:
    env = make_tasks_env(ID, num_envs=2, render_mode="rgb_array")
    env.reset(options={"tasks": GOALS})
    first, second = env.render()
    assert first.shape == second.shape
    assert (first != second).any()
    with pytest.raises(ValueError, match="rgb_array"):
        make_tasks_env(ID, num_envs=2).render()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("env_id", [ID, "HopperParams-v0"])
def test_a_batch_that_resets_itself_is_gymnasiums_own_of_single_environments(mode: AutoresetMode, env_id: str) -> None:
    steps, limit = 60, 25
    singles = [lambda: gymnasium.make(env_id, max_episode_steps=limit)] * 3
    theirs = SyncVectorEnv(singles, autoreset_mode=mode)
    ours: Any = gymnasium.make_vec(env_id, num_envs=3, max_episode_steps=limit, autoreset_mode=mode.value)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, *ours.action_space.shape)).astype(np.float32)
    np.testing.assert_array_equal(ours.reset(seed=4)[0], theirs.reset(seed=4)[0])
    ends = 0
    for action in actions:
        mine, yours = ours.step(action), theirs.step(action)
        for one, other in zip(mine[:4], yours[:4], strict=True):
            np.testing.assert_array_equal(one, other)
        ends += int((mine[2] | mine[3]).sum())
        reset = yours[4].get("_task", np.zeros(3, np.bool_))
        for name, values in yours[4].get("task", {}).items():
            if not name.startswith("_"):
                np.testing.assert_array_equal(mine[4]["task"][name][reset], values[reset])
        if "_final_obs" in yours[4]:
            over = yours[4]["_final_obs"]
            np.testing.assert_array_equal(mine[4]["_final_obs"], over)
            np.testing.assert_array_equal(np.stack(mine[4]["final_obs"][over]), np.stack(yours[4]["final_obs"][over]))
            for name in ours.reward_terms:
                np.testing.assert_array_equal(mine[4]["final_info"][name], yours[4]["final_info"][name])
    assert ends > 5


def test_disabled_an_episode_that_is_over_must_be_reset_before_the_next_step() -> None:
    env: Any = gymnasium.make_vec(ID, num_envs=2, max_episode_steps=2, autoreset_mode="DISABLED")
    env.reset(seed=0)
    for _ in range(2):
        *_, truncated, _ = env.step(np.zeros((2, 2)))
    with pytest.raises(gymnasium.error.ResetNeeded, match="episode of copy 0 is over, and autoreset is disabled"):
        env.step(np.zeros((2, 2)))
    env.reset(options={"reset_mask": truncated})
    assert not env.step(np.zeros((2, 2)))[3].any()


def test_an_unknown_autoreset_mode_is_refused_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"one of NextStep, SameStep, Disabled, rest; got 'never'"):
        TaskVectorEnv(ID, 2, autoreset_mode="never")


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_gymnasiums_statistics_count_whole_episodes_where_it_resets_itself(mode: str) -> None:
    env = RecordEpisodeStatistics(gymnasium.make_vec(ID, num_envs=2, max_episode_steps=3, autoreset_mode=mode))
    env.reset(seed=0)
    for _ in range(12):
        env.step(np.full((2, 2), 0.5))
    assert list(env.length_queue) == [3] * (6 if mode == "NextStep" else 8)


def test_gymnasiums_vector_statistics_wrapper_works() -> None:
    env = RecordEpisodeStatistics(make_tasks_env(ID, num_envs=2, horizon=3))
    env.reset(options={"tasks": GOALS})
    info: dict[str, Any] = {}
    for _ in range(3):
        *_, info = env.step(np.zeros((2, 2)))
    np.testing.assert_allclose(info["episode"]["r"], [-0.9, -1.2])


@pytest.mark.parametrize("env_id", ["Navigation2D-v0", "HalfCheetahChanged-v0", "AntGoal-v0", "RoverGoal-v0"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_a_copy_goes_on_alike_and_leaves_the_original_alone(env_id: str, copied: Any, make: Any) -> None:
    env: Any = make(env_id)
    env.reset(seed=3)
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (8, *env.action_space.shape)).astype(np.float32)
    for action in actions[:3]:
        env.step(action)
    other = copied(env)
    theirs = [other.step(action) for action in actions[3:]] + [other.reset()]
    ours = [env.step(action) for action in actions[3:]] + [env.reset()]
    for one, two in zip(ours, theirs, strict=True):
        for mine, yours in zip(one, two, strict=True):
            np.testing.assert_equal(yours, mine)
