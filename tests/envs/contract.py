"""What holds for every environment. A test class inherits it and parameterises it by id and variant."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import gymnasium
import mujoco
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo

from rlmaml_envs import TaskVectorEnv, make_tasks_env
from rlmaml_envs.robot_drawing import Marks, RobotCamera
from rlmaml_envs.tasks import Task, stack_tasks

Array = npt.NDArray[Any]

NUM_ENVS = 4
HORIZON = 6
SEED = 11


class History(NamedTuple):
    """Steps of a rollout, each array [time, copy, ...]; the observations include the first one."""

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    terms: dict[str, Array]


class Ending(NamedTuple):
    """A task and a constant action that terminate an episode before the horizon."""

    task: Task
    action: list[float]
    horizon: int = HORIZON


class Played(NamedTuple):
    """Copies with a task each, and actions [time, copy, action] that go on after the horizon."""

    env: TaskVectorEnv
    tasks: list[Task]
    actions: Array
    horizon: int


def assert_same(first: History, second: History) -> None:
    assert first.terms.keys() == second.terms.keys()
    for one, other in zip(first[:4], second[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    for name in first.terms:
        np.testing.assert_array_equal(first.terms[name], second.terms[name])


def record(observations: list[Array], steps: list[Any]) -> History:
    """A rollout from what ``reset`` and each ``step`` returned."""
    _, reward, terminated, truncated, infos = zip(*steps, strict=True)
    terms = {name: np.array([info[name] for info in infos]) for name in infos[0]}
    return History(np.array(observations), np.array(reward), np.array(terminated), np.array(truncated), terms)


def take(history: History, copies: Any) -> History:
    """The rollout of the given copies."""
    observation, reward, terminated, truncated = (array[:, copies] for array in history[:4])
    terms = {name: term[:, copies] for name, term in history.terms.items()}
    return History(observation, reward, terminated, truncated, terms)


def roll_out(env: TaskVectorEnv, actions: Array, seed: Any = SEED) -> History:
    """Reset and apply actions [time, copy, action]."""
    observations, steps = [env.reset(seed=seed)[0]], []
    for action in actions:
        steps.append(env.step(action))
        observations.append(steps[-1][0])
    return record(observations, steps)


def roll_out_single(env: gymnasium.Env[Any, Any], actions: Array, seed: int, task: Task) -> History:
    """The same for one ordinary environment and actions [time, action], until its episode is over."""
    observations, steps = [env.reset(seed=seed, options={"task": task})[0]], []
    for action in actions:
        steps.append(env.step(action))
        observations.append(steps[-1][0])
        if steps[-1][2] or steps[-1][3]:
            break
    return record(observations, steps)


def random_actions(env: TaskVectorEnv, num_steps: int, seed: int = 3) -> Array:
    """Actions [time, copy, action], a tenth beyond the action space on each side."""
    shape = (num_steps, *(env.action_space.shape or ()))
    return np.random.default_rng(seed).uniform(-1.1, 1.1, shape).astype(np.float32)


def single(env_id: str, variant: str, max_episode_steps: int = HORIZON, **options: Any) -> gymnasium.Env[Any, Any]:
    """One ordinary environment."""
    return gymnasium.make(env_id, variant=variant, max_episode_steps=max_episode_steps, **options)


class Sketches:
    """In place of pictures by OpenGL, which take long: pixels that are the robot's state and what its task asks."""

    def __init__(self, model: mujoco.MjModel, camera: RobotCamera) -> None:
        self.model = model

    def draw(self, data: mujoco.MjData, marks: Marks, reached: str = "") -> npt.NDArray[np.uint8]:
        joints = [self.model.joint(name).id for name in marks.damaged]
        goal = () if marks.goal is None else (float(marks.goal[0]), float(marks.goal[1]))
        seen = np.array([*data.qpos, *joints, *goal, marks.heading or 0.0, *marks.text.encode()], np.float64)
        picture = seen.view(np.uint8).reshape(1, -1, 1)
        return np.repeat(picture, 3, axis=2)


def check(env_id: str, variant: str) -> None:
    """Let Gymnasium's checker look at an environment; whatever it warns of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(env_id, variant=variant, render_mode="rgb_array")
        check_env(env.unwrapped)


Make = Callable[[str, str, int], TaskVectorEnv]


@pytest.fixture(scope="module")
def make() -> Make:
    """``make(env_id, variant, horizon)``: copies that are made once, and used by one test after another."""
    return functools.cache(lambda env_id, variant, horizon: make_tasks_env(env_id, NUM_ENVS, horizon, variant=variant))


class EnvironmentContract:
    endings: ClassVar[dict[tuple[str, str], Ending]] = {}
    """Where a variant terminates: how to make it."""

    @pytest.fixture
    def env(self, make: Make, env_id: str, variant: str) -> TaskVectorEnv:
        env = make(env_id, variant, HORIZON)
        env.set_tasks(env.sample_tasks(NUM_ENVS, seeds=range(NUM_ENVS)))
        return env

    @pytest.fixture
    def played(self, make: Make, env_id: str, variant: str) -> Played:
        """Random tasks and actions, but for copy 1 of a variant that is known to end: that copy terminates."""
        ending = self.endings.get((env_id, variant))
        horizon = HORIZON if ending is None else ending.horizon
        env = make(env_id, variant, horizon)
        tasks, actions = env.sample_tasks(NUM_ENVS, seeds=range(NUM_ENVS)), random_actions(env, horizon + 3)
        singles = [{name: array[i, ...] for name, array in tasks.items()} for i in range(NUM_ENVS)]
        if ending is not None:
            singles[1], actions[:, 1] = ending.task, ending.action
        env.set_tasks(stack_tasks(singles))
        return Played(env, singles, actions, horizon)

    def test_the_same_seed_gives_the_same_episode_and_another_seed_another(self, env_id: str, variant: str) -> None:
        env, other = (make_tasks_env(env_id, NUM_ENVS, HORIZON, variant=variant) for _ in range(2))
        actions = random_actions(env, HORIZON)
        first = roll_out(env, actions)
        assert_same(roll_out(env, actions), first)
        assert_same(roll_out(other, actions), first)
        later = roll_out(other, actions, SEED + NUM_ENVS)
        assert (later.observation != first.observation).any() or (later.reward != first.reward).any()

    def test_gymnasiums_checker_finds_nothing(self, env_id: str, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rlmaml_envs.locomotion.RobotPictures", Sketches)
        check(env_id, variant)

    def test_the_spaces_contain_what_is_returned(self, env: TaskVectorEnv) -> None:
        observation, info = env.reset(seed=SEED)
        for action in random_actions(env, HORIZON):
            assert env.observation_space.contains(observation)
            observation = env.step(action)[0]
        assert env.observation_space.contains(observation)
        for copy in range(NUM_ENVS):
            assert env.task_space.contains({name: array[copy, ...] for name, array in info["task"].items()})

    def test_the_reward_is_the_sum_of_its_terms_and_costs_are_never_positive(self, env: TaskVectorEnv) -> None:
        history = roll_out(env, random_actions(env, HORIZON))
        assert tuple(history.terms) == env.reward_terms
        np.testing.assert_array_equal(history.reward, sum(history.terms.values()))
        for name, term in history.terms.items():
            assert name.endswith(("_cost", "_reward"))
            assert not name.endswith("_cost") or (term <= 0).all()

    def test_a_batch_equals_its_single_environments_bit_for_bit(
        self, env_id: str, variant: str, played: Played
    ) -> None:
        batch = roll_out(played.env, played.actions)
        assert batch.truncated.any()
        for copy, task in enumerate(played.tasks):
            alone = roll_out_single(single(env_id, variant, played.horizon), played.actions[:, copy], SEED + copy, task)
            steps = len(alone.reward)
            mine = take(batch, copy)
            np.testing.assert_array_equal(mine.observation[: steps + 1], alone.observation)
            for one, other in zip(mine[1:4], alone[1:4], strict=True):
                np.testing.assert_array_equal(one[:steps], other)
            for name, term in alone.terms.items():
                np.testing.assert_array_equal(mine.terms[name][:steps], term)

    def test_without_a_task_a_batch_draws_the_tasks_its_single_environments_draw(
        self, env_id: str, variant: str
    ) -> None:
        env = make_tasks_env(env_id, NUM_ENVS, variant=variant)
        one = single(env_id, variant)
        for seed in (SEED, None):
            drawn = env.reset(seed=seed)[1]["task"]
            alone = one.reset(seed=seed)[1]["task"]
            for name in drawn:
                np.testing.assert_array_equal(drawn[name][0], alone[name])

    def test_permuting_tasks_seeds_and_actions_permutes_the_results(
        self, env: TaskVectorEnv, env_id: str, variant: str
    ) -> None:
        order = np.array([2, 0, 3, 1])
        tasks, actions = env.sample_tasks(NUM_ENVS, seeds=range(NUM_ENVS)), random_actions(env, HORIZON)
        straight = roll_out(env, actions, seed=[5, 6, 7, 8])
        env.set_tasks({name: array[order] for name, array in tasks.items()})
        permuted = roll_out(env, actions[:, order], seed=[(5, 6, 7, 8)[i] for i in order])
        assert_same(permuted, take(straight, order))

    def test_a_task_changes_its_own_copies_only(self, env: TaskVectorEnv) -> None:
        actions = random_actions(env, HORIZON)
        actions[:, 2] = 1.0
        before = roll_out(env, actions)
        has_changed = False
        tasks, beyond = env.sample_tasks(NUM_ENVS, seeds=range(NUM_ENVS)), env.wide_task_space != env.task_space
        for seed in range(90, 98):
            other = env.sample_tasks(1, seeds=[seed], beyond=beyond)
            env.set_tasks({name: np.concatenate([array[:2], other[name], array[3:]]) for name, array in tasks.items()})
            after = roll_out(env, actions)
            assert_same(take(after, [0, 1, 3]), take(before, [0, 1, 3]))
            now, then = take(after, 2), take(before, 2)
            has_changed = bool((now.reward != then.reward).any() or (now.observation != then.observation).any())
            if has_changed:
                break
        assert has_changed

    def test_a_task_does_not_leak_into_later_episodes_or_into_the_running_one(self, env: TaskVectorEnv) -> None:
        own, other = (env.sample_tasks(NUM_ENVS, seeds=range(i, i + NUM_ENVS)) for i in (0, 50))
        actions = random_actions(env, HORIZON)
        first = roll_out(env, actions)
        env.set_tasks(other)
        roll_out(env, actions)
        env.set_tasks(own)
        assert_same(roll_out(env, actions), first)
        env.reset(seed=SEED)
        env.set_tasks(other)
        for step, action in enumerate(actions):
            observation, reward, *_ = env.step(action)
            np.testing.assert_array_equal(observation, first.observation[step + 1])
            np.testing.assert_array_equal(reward, first.reward[step])

    def test_consecutive_copies_share_a_task(self, env: TaskVectorEnv) -> None:
        tasks = env.sample_tasks(2, seeds=[1, 2])
        env.set_tasks(tasks)
        assigned = env.reset()[1]["task"]
        for name, array in tasks.items():
            np.testing.assert_array_equal(assigned[name], array[[0, 0, 1, 1]])

    def test_a_copy_is_truncated_exactly_at_the_horizon(self, env: TaskVectorEnv) -> None:
        history = roll_out(env, random_actions(env, HORIZON))
        running = ~history.terminated[-1]
        assert running.any()
        assert not history.truncated[:-1].any()
        np.testing.assert_array_equal(history.truncated[-1], running)

    def test_a_finished_copy_does_not_move_and_gets_no_reward(self, env_id: str, variant: str, played: Played) -> None:
        history = roll_out(played.env, played.actions)
        over = history.terminated | history.truncated
        others = [0, 2, 3]
        assert history.terminated[played.horizon - 2, 1] == ((env_id, variant) in self.endings)
        assert not history.terminated[:, others].any()
        assert not over[: played.horizon - 1, others].any()
        assert over[played.horizon - 1 :].all()
        assert not (history.terminated & history.truncated).any()
        for step in range(1, len(over)):
            still = over[step - 1]
            now, before = history.observation[step + 1], history.observation[step]
            np.testing.assert_array_equal(now[still], before[still])
            assert (now[~still] != before[~still]).any(axis=1).all()
            assert not history.reward[step][still].any()
            assert not any(term[step][still].any() for term in history.terms.values())
            for flag in (history.terminated, history.truncated):
                np.testing.assert_array_equal(flag[step][still], flag[step - 1][still])

    def test_a_reset_mask_resets_those_copies_only(self, env: TaskVectorEnv) -> None:
        actions = random_actions(env, HORIZON)
        whole = roll_out(env, actions)
        env.reset(seed=SEED)
        for action in actions[:2]:
            env.step(action)
        mask = np.array([False, True, False, True])
        options = {"reset_mask": mask}
        observation, _ = env.reset(seed=SEED, options=options)
        assert options == {"reset_mask": mask}
        np.testing.assert_array_equal(observation[mask], whole.observation[0][mask])
        np.testing.assert_array_equal(observation[~mask], whole.observation[2][~mask])
        for step in range(2, HORIZON):
            mixed = np.where(mask[:, None], actions[step - 2], actions[step])
            observation, _, _, truncated, _ = env.step(mixed)
            np.testing.assert_array_equal(observation[mask], whole.observation[step - 1][mask])
            np.testing.assert_array_equal(observation[~mask], whole.observation[step + 1][~mask])
        np.testing.assert_array_equal(truncated, ~mask & whole.truncated[-1])

    def test_returned_arrays_are_the_callers(self, env: TaskVectorEnv) -> None:
        actions = random_actions(env, HORIZON)
        expected = roll_out(env, actions)
        observation, info = env.reset(seed=SEED)
        for array in info["task"].values():
            array[:] = 0
        for step, action in enumerate(actions):
            observation[:] = 77.0
            observation, reward, terminated, truncated, terms = env.step(action)
            np.testing.assert_array_equal(observation, expected.observation[step + 1])
            np.testing.assert_array_equal(reward, expected.reward[step])
            np.testing.assert_array_equal(truncated, expected.truncated[step])
            for array in (reward, *terms.values()):
                array[:] = 77.0
            terminated[:], truncated[:] = True, True

    def test_actions_are_clipped_to_their_space(self, env: TaskVectorEnv) -> None:
        actions = 5 * random_actions(env, HORIZON)
        assert_same(roll_out(env, actions), roll_out(env, np.clip(actions, -1, 1)))

    def test_task_i_depends_on_seed_i_alone(self, env: TaskVectorEnv) -> None:
        three, one = env.sample_tasks(3, seeds=[4, 5, 6]), env.sample_tasks(1, seeds=[5])
        for name in three:
            np.testing.assert_array_equal(three[name][1], one[name][0])

    def test_an_unknown_variant_is_refused_with_the_legal_ones(self, env_id: str, variant: str) -> None:
        with pytest.raises(ValueError, match=variant):
            make_tasks_env(env_id, NUM_ENVS, variant="none of them")


class PictureContract:
    def test_the_picture_is_an_image_that_follows_the_agent(self, env_id: str, variant: str) -> None:
        env = single(env_id, variant, render_mode="rgb_array")
        env.reset(seed=SEED)
        pictures: list[Any] = [env.render()]
        for _ in range(2):
            env.step(np.ones(env.action_space.shape or (), np.float32))
        pictures.append(env.render())
        for picture in pictures:
            assert picture.dtype == np.uint8
            assert picture.shape == (*picture.shape[:2], 3)
        assert (pictures[0] != pictures[1]).any()
        env.close()


class RecordingContract:
    def test_gymnasiums_checker_finds_nothing_in_real_pictures(self, env_id: str, variant: str) -> None:
        check(env_id, variant)

    def test_gymnasiums_recorders_work(self, env_id: str, variant: str, tmp_path: Path) -> None:
        made = single(env_id, variant, render_mode="rgb_array")
        env = RecordEpisodeStatistics(RecordVideo(made, str(tmp_path / "video"), disable_logger=True))
        env.reset(seed=SEED)
        total, over, info = 0.0, False, dict[str, Any]()
        while not over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        env.close()
        assert info["episode"]["r"] == pytest.approx(total)
        assert len(list((tmp_path / "video").glob("*.mp4"))) == 1
