from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from rlmaml_envs import make_tasks_env
from rlmaml_envs.task_words import legal_words, parse_task, training_mean
from rlmaml_envs.tasks import Permutations, Task

SPACE = spaces.Dict(
    {
        "velocity": spaces.Box(0.0, 2.0, (), np.float64),
        "goal": spaces.Box(-0.5, 0.5, (2,), np.float64),
        "corner": spaces.Discrete(4),
        "places": spaces.Box(-1.0, 1.0, (3, 2), np.float64),
    }
)
UNITS = {"velocity": "m/s", "goal": "m", "corner": "", "places": "m"}
LABELS = {"corner": ("north", "east", "south", "west")}
ELEMENTS = {"goal": (("x", "y"),), "places": (("first", "second", "third"), ("x", "y"))}
REST = {
    "velocity": np.array(0.25),
    "goal": np.array([0.1, 0.2]),
    "corner": np.array(3),
    "places": np.arange(6).reshape(3, 2) / 10,
}
ALL = "velocity=0.5 goal=0.3,-0.2 corner=2 places=0,0.1,0.2,0.3,0.4,0.5"


def parsed(words: str, asked: list[Sequence[str]] | None = None) -> Task:
    def rest(names: Sequence[str]) -> Task:
        if asked is not None:
            asked.append(names)
        return {name: REST[name] for name in names}

    return parse_task(words.split(), SPACE, UNITS, "Robot-v0", rest, LABELS, ELEMENTS)


def test_a_whole_task_in_words_is_parsed_a_matrix_row_by_row_and_needs_no_rest() -> None:
    asked: list[Sequence[str]] = []
    task = parsed(ALL, asked)
    assert (float(task["velocity"]), int(task["corner"]), task["goal"].tolist()) == (0.5, 2, [0.3, -0.2])
    np.testing.assert_array_equal(task["places"], [[0, 0.1], [0.2, 0.3], [0.4, 0.5]])
    assert not asked


def test_what_is_not_given_is_the_rest_and_what_is_given_is_not() -> None:
    asked: list[Sequence[str]] = []
    task = parsed("velocity=1.5 goal.1=-0.5", asked)
    assert asked == [["corner", "goal", "places"]]
    assert (float(task["velocity"]), task["goal"].tolist(), int(task["corner"])) == (1.5, [0.1, -0.5], 3)
    assert {name: values.tolist() for name, values in parsed("").items()} == {n: v.tolist() for n, v in REST.items()}
    assert REST["goal"].tolist() == [0.1, 0.2], "the rest itself stays as it is"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("goal.x=0.4 goal.y=0.3", "goal=0.4,0.3"),
        ("goal.0=0.4", "goal.x=0.4"),
        ("corner=south", "corner=2"),
        ("places.third.y=1", "places.2.1=1"),
        ("places.1.x=-1", "places=0,0.1,-1,0.3,0.4,0.5"),
    ],
)
def test_names_of_elements_and_of_values_are_their_numbers(first: str, second: str) -> None:
    tasks = parsed(first), parsed(second)
    for name in SPACE:
        np.testing.assert_array_equal(tasks[0][name], tasks[1][name])


@given(st.sampled_from([*ELEMENTS]), st.integers(0, 5), st.floats(-0.5, 0.5))
def test_an_element_changes_that_element_alone(name: str, position: int, value: float) -> None:
    shape = REST[name].shape
    place = np.unravel_index(position % REST[name].size, shape)
    task = parsed(f"{name}.{'.'.join(map(str, place))}={value!r}")
    expected: Any = REST[name].copy()
    expected[place] = value
    np.testing.assert_array_equal(task[name], expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("velocity", "Write name=value"),
        ("random", "got 'random'. Write name=value"),
        ("velocity=high", "Write name=value"),
        ("velocity=", "Write name=value"),
        ("velocity=0.5 velocity=0.6", "each parameter once"),
        ("goal.0=0.5 goal=0.1,0.2", "each parameter once"),
        ("goal=0.1,0.2 goal.0=0.5", "each parameter once"),
        ("goal.0=0.5 goal.x=0.1", "each element once"),
        ("goal.0=0.5,0.1", "a single number"),
        ("velocity=3", 'got "velocity" = 3'),
        ("velocity=nan", 'got "velocity" = nan'),
        ("goal.x=0.6", 'got "goal" = 0.6'),
        ("goal=0.3", "shape"),
        ("places=0,0.1,0.2,0.3,0.4", r"got shape \(5,\)"),
        ("corner=2.5", "Pass integers"),
        ("corner=up", 'where "corner" may be 0 north, 1 east, 2 south, 3 west'),
        ("speed=1", "there is no 'speed'"),
        ("goal.z=0.1", "no element 'z'. Choose: 0 to 1, or x, y"),
        ("goal.2=0.1", "no element '2'"),
        ("goal.-1=0.1", "no element '-1'"),
        ("goal.0.1=0.1", "Name one along each of 1 axes"),
        ("places.0=0.1", "Name one along each of 2 axes"),
        ("velocity.0=0.1", "It is a single number"),
    ],
)
def test_words_that_are_no_task_list_what_is_legal(words: str, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        parsed(words)
    assert '"velocity": () in [0, 2] m/s' in str(raised.value)


def test_what_is_legal_names_ranges_units_values_and_elements() -> None:
    text = legal_words(SPACE, UNITS, "Robot-v0", LABELS, ELEMENTS)
    assert '"goal": (2,) in [-0.5, 0.5] m' in text
    assert '"corner" may be 0 north' in text
    assert 'the elements of "places" are first, second, third and x, y' in text


def test_the_mean_of_training_is_that_of_numbers_and_of_a_choice_its_most_frequent_value() -> None:
    space = spaces.Dict(
        {
            "gain": spaces.Box(0.0, 1.0, (2,), np.float64),
            "dead": spaces.Discrete(3),
            "wiring": Permutations(2),
        }
    )
    swapped = np.eye(2)[::-1]
    tasks = {
        "gain": np.array([[0.0, 1.0], [0.5, 1.0], [0.25, 1.0]]),
        "dead": np.array([1, 0, 1]),
        "wiring": np.stack([np.eye(2), swapped, swapped]),
    }
    mean = training_mean(tasks, space, ["gain", "dead", "wiring"])
    assert (mean["gain"].tolist(), int(mean["dead"]), mean["wiring"].tolist()) == ([0.25, 1.0], 1, swapped.tolist())
    tied = {"dead": np.array([0, 1])}
    with pytest.raises(ValueError, match='"dead" is a choice, of which training has no mean'):
        training_mean(tied, space, ["dead"])
    assert training_mean(tied, space, []) == {}, "what is given needs no mean"


@pytest.mark.parametrize(
    ("env_id", "variant", "words"),
    [
        ("Navigation2D-v0", "finn2017", "goal.y=0.2"),
        ("Navigation2D-v0", "dynamics", "wind.x=0.01"),
        ("HalfCheetahChanged-v0", "unchanged", "motor_gain.bthigh=-1 encoder_offset.ffoot=0.1 dead_joint=fshin"),
        ("AntChanged-v0", "unchanged", "motor_gain.hip_4=-1"),
        ("HopperParams-v0", "rothfuss2019", "friction.floor=1.2 damping.leg_joint=0.8"),
        ("RoverGoal-v0", "worn", "wear.left=0.7 obstacles.obstacle_2.y=-0.9"),
    ],
)
def test_elements_of_our_families_have_names(env_id: str, variant: str, words: str) -> None:
    env = make_tasks_env(env_id, 1, variant=variant)
    rest = {name: values[0] for name, values in env.sample_tasks(1, [3]).items()}
    task = parse_task(
        words.split(), env.wide_task_space, env.task_units, env_id, lambda _: rest, env.task_labels, env.task_elements
    )
    changed = sum(int((task[name] != rest[name]).sum()) for name in task)
    assert changed == len(words.split())
    env.set_tasks({name: value[None] for name, value in task.items()})


def test_whole_numbers_are_counted_in_words_and_their_mean_is_rounded() -> None:
    space, units = spaces.Dict({"legs": spaces.Box(1, 6, (2,), np.int16)}), {"legs": ""}
    rest = {"legs": np.array([2, 3], np.int16)}
    for words, legs in (("legs=4,5", [4, 5]), ("legs.1=6", [2, 6])):
        assert parse_task([words], space, units, "Robot-v0", lambda names: rest)["legs"].tolist() == legs
    for words in ("legs=4,5.5", "legs.1=1.7"):
        with pytest.raises(TypeError, match="Pass integers"):
            parse_task([words], space, units, "Robot-v0", lambda names: rest)
    mean = training_mean({"legs": np.array([[1, 2], [2, 3], [2, 6]])}, space, ["legs"])["legs"]
    assert mean.dtype == np.int16
    assert mean.tolist() == [2, 4]
