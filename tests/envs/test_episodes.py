import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs import episodes as episodes_module
from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.episodes import Episodes, tried_out
from rlmaml_envs.family import Bools, Copies, Floats, Outcome, TaskFamily, finite_box, normalised_box
from rlmaml_envs.own_code import FamilyError
from rlmaml_envs.registry import FAMILIES, Entry, load_family
from rlmaml_envs.tasks import Task, task_features
from tests.envs.robots import body, family, paying


class Careless(TaskFamily):
    """Reports a reward and a termination for stopped copies too, and remembers which tasks it was given.

    The last copy's simulation goes unstable in its first step wherever the action is 1.
    """

    variants: ClassVar[Mapping[str, Any]] = {"only": None}
    frames_per_second = 10
    reward_terms = ("alive_reward", "effort_cost")

    def __init__(self, num_copies: int, **options: Any) -> None:
        self.observation_space, self.action_space = finite_box(1), normalised_box(1)
        self.task_space = spaces.Dict({"speed": spaces.Box(0.0, 9.0, (), np.float64)})
        self.wide_task_space = self.task_space
        self.task_units = {"speed": "m/s"}
        self.given: list[tuple[list[int], list[float]]] = []
        self._num_copies = num_copies

    def sample_task(self, generator: np.random.Generator, *, wide: bool = False) -> Task:
        return {"speed": np.array(generator.uniform(0.0, 9.0))}

    def set_tasks(self, copies: Copies, tasks: Task) -> None:
        self.given.append((copies.tolist(), tasks["speed"].tolist()))

    def reset(self, copies: Copies, generators: Mapping[int, np.random.Generator]) -> None:
        pass

    def step(self, actions: Floats, running: Bools) -> Outcome:
        terms = {"alive_reward": np.full(self._num_copies, 5.0), "effort_cost": -np.abs(actions[:, 0])}
        if actions[-1, 0] < 1.0 or not running[-1]:
            return Outcome(terms, ~running)
        return Outcome(terms, ~running, np.array([""] * (self._num_copies - 1) + ["exploded"]))

    def observe(self) -> Floats:
        return np.zeros((self._num_copies, 1))

    def render(self, copy: int) -> Any:
        raise NotImplementedError


@pytest.fixture
def episodes() -> Episodes:
    return Episodes("Careless-v0", Careless, num_copies=2, max_episode_steps=2)


def test_what_a_family_reports_about_stopped_copies_is_overruled(episodes: Episodes) -> None:
    episodes.reset(np.arange(2), {0: np.random.default_rng(0), 1: np.random.default_rng(1)})
    steps = [episodes.step(np.array([[0.5], [-0.25]])) for _ in range(3)]
    assert [step.reward.tolist() for step in steps] == [[4.5, 4.75], [4.5, 4.75], [0.0, 0.0]]
    assert [step.truncated.tolist() for step in steps] == [[False] * 2, [True] * 2, [True] * 2]
    assert not any(step.terminated.any() for step in steps)


def test_a_family_is_given_tasks_only_for_copies_whose_task_changed(episodes: Episodes) -> None:
    family = episodes.family
    assert isinstance(family, Careless)
    episodes.assign({"speed": [3.0, 4.0]})
    assert family.given == []
    episodes.reset(np.array([1]), {})
    assert family.given == [([1], [4.0])]
    episodes.reset(np.arange(2), {})
    assert family.given[1:] == [([0], [3.0])]
    episodes.reset(np.arange(2), {})
    assert len(family.given) == 2


def test_an_unstable_simulation_terminates_its_episode_without_reward_and_says_why(episodes: Episodes) -> None:
    episodes.reset(np.arange(2), {0: np.random.default_rng(0), 1: np.random.default_rng(1)})
    first, second = episodes.step(np.array([[1.0], [1.0]])), episodes.step(np.array([[1.0], [1.0]]))
    assert first.info["instability"].tolist() == ["", "exploded"]
    assert first.terminated.tolist() == [False, True]
    assert first.reward.tolist() == [4.0, 0.0]
    assert [first.info[name][1] for name in ("alive_reward", "effort_cost")] == [0.0, 0.0]
    assert "instability" not in second.info
    assert second.terminated.tolist() == [False, True]
    assert second.truncated.tolist() == [True, False]


def test_an_episode_that_terminates_in_its_last_step_is_never_truncated(episodes: Episodes) -> None:
    episodes.reset(np.arange(2), {0: np.random.default_rng(0), 1: np.random.default_rng(1)})
    episodes.step(np.array([[0.5], [0.5]]))
    for _ in range(3):
        step = episodes.step(np.array([[1.0], [1.0]]))
        assert step.terminated.tolist() == [False, True]
        assert step.truncated.tolist() == [True, False]


def test_without_a_limit_nothing_is_truncated() -> None:
    episodes = Episodes("Navigation2D-v0", load_family("Navigation2D-v0"), 1)
    episodes.assign({"goal": [[0.5, 0.5]]})
    episodes.reset(np.arange(1), {0: np.random.default_rng(0)})
    assert not any(episodes.step(np.zeros((1, 2))).truncated for _ in range(150))


@pytest.mark.parametrize("env_id", ["Navigation2D-v0", "HopperParams-v0"])
def test_an_oracle_sees_its_task_after_the_observation(env_id: str) -> None:
    make = load_family(env_id)
    plain, oracle = Episodes(env_id, make, 4), Episodes(env_id, make, 4, observe_task=True)
    generators = {copy: np.random.default_rng(copy) for copy in range(4)}
    again = {copy: np.random.default_rng(copy) for copy in range(4)}
    seen, told = plain.reset(np.arange(4), generators), oracle.reset(np.arange(4), again)
    size = seen.shape[1]
    np.testing.assert_array_equal(told[:, :size], seen)
    features = task_features(oracle.tasks, oracle.family.wide_task_space)
    np.testing.assert_array_equal(told[:, size:], features)
    assert len(np.unique(features, axis=0)) == 4
    assert oracle.observation_space.shape == told.shape[1:]
    actions = np.zeros((4, *oracle.family.action_space.shape))
    np.testing.assert_array_equal(oracle.step(actions).observation[:, size:], features)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"reward_terms": lambda m, t: np.where(m.position[:, 0] > 0.2, np.nan, 0.0)}, 'the reward term "own_reward"'),
        ({"observe": lambda p: np.where(p.qpos > 0.2, np.inf, p.qpos)}, "number 0 of the observation"),
    ],
)
def test_a_number_that_is_not_finite_ends_its_copy_s_episode_and_is_named(wrong: Any, words: str) -> None:
    made = paying(wrong["reward_terms"]) if "reward_terms" in wrong else family(body(observe=wrong["observe"]))
    episodes = tried_out("Carts-v0", made, 3)
    episodes.assign({"speed": [0.1, 0.2, 0.3], "load": [[1.0], [1.5], [2.0]]})
    episodes.reset(np.arange(3), {copy: np.random.default_rng(copy) for copy in range(3)})
    actions = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    told = rf"v0: {words} is (nan|inf) for copy 1 in step \d+ of its episode, .*speed = 0.2"
    with pytest.warns(UserWarning, match=told) as caught:
        steps = [episodes.step(actions) for _ in range(100)]
    assert len(caught) == 1
    (at,) = [number for number, step in enumerate(steps) if "instability" in step.info]
    causes = steps[at].info["instability"].tolist()
    assert [bool(cause) for cause in causes] == [False, True, False]
    assert re.fullmatch(rf"{words} is (nan|inf)", causes[1])
    assert all(step.terminated.tolist() == [False, number >= at, False] for number, step in enumerate(steps))
    for name in ("observation", "reward"):
        assert all(np.isfinite(getattr(step, name)).all() for step in steps)
    if "observe" in wrong:  # what was seen last stays
        np.testing.assert_array_equal(steps[-1].observation[1], steps[at - 1].observation[1])
    assert not any(step.reward[1] for step in steps[at:])
    episodes.reset(np.arange(3), {copy: np.random.default_rng(copy) for copy in range(3)})
    assert not episodes.over.any()


def test_an_episode_that_begins_with_a_reading_that_is_not_finite_ends_in_its_first_step() -> None:
    readings = [0.0]
    episodes = Episodes("Carts-v0", family(body(observe=lambda p: p.qpos + np.array([readings] * 3))), 3)
    readings[0] = 1e39  # no number of single precision
    begun = episodes.reset(np.arange(3), {copy: np.random.default_rng(copy) for copy in range(3)})
    assert not begun.any()
    with pytest.warns(UserWarning, match="number 0 of the observation is 1e\\+39"):
        ended = episodes.step(np.zeros((3, 2)))
    assert ended.terminated.all()
    assert not ended.reward.any()
    readings[0] = 0.0
    episodes.reset(np.array([1]), {1: np.random.default_rng(1)})
    assert episodes.step(np.zeros((3, 2))).terminated.tolist() == [True, False, True]


def test_a_family_is_tried_out_once_with_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr("rlmaml_envs.episodes.try_out", lambda owner, family: tried.append(owner))
    monkeypatch.setitem(FAMILIES, "Carts-v0", Entry(family(), 5))
    for options in ({}, {"threads": 1}, {}, {"variant": "mine"}):
        tried_out("Carts-v0", family(), 3, **options)
    assert len(tried) == 3
    monkeypatch.setitem(FAMILIES, "Carts-v0", Entry(family(), 5))
    tried_out("Carts-v0", family(), 3)
    assert len(tried) == 4


class Changing(Careless):
    """What it gives after the reset is as it is told."""

    late: ClassVar[Any] = None

    def step(self, actions: Floats, running: Bools) -> Outcome:
        outcome: Outcome = self.late(super().step(actions, running))
        return outcome


@pytest.mark.parametrize(
    ("late", "words"),
    [
        (lambda o: o._replace(terms=o.terms | {"effort_cost": np.array(0.0)}), r'"effort_cost" must be .*shape \(\)'),
        (lambda o: o._replace(terms={n: t[:, None] for n, t in o.terms.items()}), r"got shape \(2, 1\)"),
        (lambda o: o._replace(terms=o.terms | {"effort_cost": "none"}), "got dtype <U4"),
        (lambda o: o._replace(terminated=np.array(False)), r"The end of episodes must be .*got shape \(\)"),
        (lambda o: o._replace(terminated=np.zeros(2)), "The end of episodes must be truth values .* dtype float64"),
        (lambda o: o._replace(terminated=None), "The end of episodes must be truth values"),
        (lambda o: o.terms, "it must give an Outcome"),
        (lambda o: o._replace(terms=o.terms | {"fall_cost": -o.terms["alive_reward"]}), "step gave the reward terms"),
        (lambda o: o._replace(terms={"alive_reward": o.terms["alive_reward"]}), "step gave the reward terms"),
    ],
)
def test_what_comes_to_have_another_shape_or_type_while_episodes_go_on_is_one_error(late: Any, words: str) -> None:
    made: Any = type("Later", (Changing,), {"late": staticmethod(late)})
    episodes = Episodes("Later-v0", made, 2)
    episodes.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    with pytest.raises(FamilyError, match=f"Later-v0 failed in its function step, at step 0 .*{words}"):
        episodes.step(np.zeros((2, 1)))


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("late", "words"),
    [
        (lambda seen: seen[:, 0], r"got shape \(2,\)"),
        (lambda seen: seen[:1], r"got shape \(1, 1\)"),
        (lambda seen: np.hstack([seen, seen]), r"got shape \(2, 2\)"),
        (lambda seen: seen.astype(complex), "got dtype complex128"),
        (lambda seen: None, "got dtype object"),
    ],
)
def test_observations_that_come_to_have_another_shape_or_type_are_one_error(
    monkeypatch: pytest.MonkeyPatch, late: Any, words: str, told: bool
) -> None:
    made: Any = type("Later", (Careless,), {})
    episodes = Episodes("Later-v0", made, 2, observe_task=told)
    episodes.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    monkeypatch.setattr(type(episodes.family), "observe", lambda self: late(np.zeros((2, 1))))
    with pytest.raises(
        FamilyError, match=f"Later-v0 failed in its function observe, at step 1 .*The observation must be .*{words}"
    ):
        episodes.step(np.zeros((2, 1)))


def test_a_step_that_goes_well_looks_at_nothing_but_whether_numbers_are_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    episodes = Episodes("Carts-v0", paying(lambda m, t: m.actions[:, 0] > 0), 3)
    for name in ("check_outcome", "check_observation"):
        monkeypatch.setattr(f"rlmaml_envs.episodes.{name}", None)
    episodes.reset(np.arange(3), {copy: np.random.default_rng(copy) for copy in range(3)})
    now = episodes.step(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(now.info["own_reward"], [1.0, 0.0, 0.0])  # truth values count as numbers
    assert {values.dtype for values in (now.reward, now.observation, *now.info.values())} == {np.dtype(np.float64)}


def test_terms_that_are_live_views_of_the_simulation_stay_what_they_were() -> None:
    episodes = Episodes("Carts-v0", paying(lambda m, t: m.physics.qvel[:, 0]), 2)
    episodes.reset(np.arange(2), {copy: np.random.default_rng(copy) for copy in range(2)})
    first = episodes.step(np.ones((2, 2))).info["own_reward"]
    kept = first.copy()
    episodes.step(np.ones((2, 2)))
    np.testing.assert_array_equal(first, kept)


def test_observations_in_single_precision_are_kept_in_double_as_the_space_says() -> None:
    class Single(Careless):
        def observe(self) -> Any:
            return super().observe().astype(np.float32)

    episodes = Episodes("Single-v0", Single, 2)
    assert episodes.reset(np.arange(2), {0: np.random.default_rng(0), 1: np.random.default_rng(1)}).dtype == np.float64


def test_tasks_beyond_training_that_cannot_be_drawn_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes_module, "MOST_DRAWS", 50)
    wide = {"speed": scalar_box(0.1, 2.0)}
    inside = family(
        wide_task_parameters=wide,
        sample_task=lambda space, generator: {"speed": np.asarray(generator.uniform(0.1, 0.8)), "load": np.ones(1)},
    )
    made = Episodes("Carts-v0", inside, 2)
    with pytest.raises(
        FamilyError, match=r"Carts-v0 failed in its function sample_task: 50 tasks .* draw from all of the"
    ):
        made.draw([np.random.default_rng(0)], beyond=True)


def test_a_family_of_actions_that_would_be_cut_down_is_refused_when_it_is_made() -> None:
    class Wide(Careless):
        def __init__(self, num_copies: int, **options: Any) -> None:
            super().__init__(num_copies)
            self.action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)

    with pytest.raises(ValueError, match=r"Wide-v0: action_space must be \[-1, 1\]"):
        Episodes("Wide-v0", Wide, 2)
