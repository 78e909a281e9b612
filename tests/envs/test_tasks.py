import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlmaml_envs.tasks import (
    Permutations,
    describe_task,
    repeat_tasks,
    sample_uniform_task,
    task_features,
    validate_task,
    validate_tasks,
)

SPACE = spaces.Dict(
    {
        "velocity": spaces.Box(0.0, 2.0, (), np.float64),
        "goal": spaces.Box(-0.5, 0.5, (2,), np.float64),
        "corner": spaces.Discrete(4),
    }
)
UNITS = {"velocity": "m/s", "goal": "m", "corner": ""}
VELOCITY = spaces.Dict({"velocity": spaces.Box(0.0, 2.0, (), np.float64)})


def legal(num_tasks: int = 3) -> dict[str, Any]:
    return {
        "velocity": np.linspace(0.0, 2.0, num_tasks),
        "goal": np.full((num_tasks, 2), 0.25),
        "corner": np.arange(num_tasks) % 4,
    }


def check(tasks: Any) -> dict[str, Any]:
    return validate_tasks(tasks, SPACE, UNITS, "Walk-v0")


def test_legal_tasks_come_back_as_a_copy_in_the_dtypes_of_the_space() -> None:
    tasks = legal() | {"velocity": np.array([0.5, 1.0, 2.0], np.float32), "goal": [[0, 0]] * 3}
    checked = check(tasks)
    assert {name: array.dtype for name, array in checked.items()} == {
        "velocity": np.float64,
        "goal": np.float64,
        "corner": np.int64,
    }
    np.testing.assert_array_equal(checked["velocity"], [0.5, 1.0, 2.0])
    tasks["corner"][:] = 0
    np.testing.assert_array_equal(checked["corner"], [0, 1, 2])


def test_an_error_says_what_received_legal_and_cure() -> None:
    with pytest.raises(ValueError, match="got shape") as error:
        validate_tasks({"velocity": np.ones((20, 1))}, VELOCITY, UNITS, "HalfCheetahVel-v0")
    assert str(error.value) == (
        'HalfCheetahVel-v0 expects tasks {"velocity": (num_tasks,) in [0, 2] m/s}; got shape (20, 1). '
        'Use tasks["velocity"][:, 0].'
    )


def test_the_legal_tasks_are_spelt_out_with_units() -> None:
    with pytest.raises(TypeError, match="got list") as error:
        check([legal()])
    assert (
        '{"corner": (num_tasks,) integers in [0, 3], "goal": (num_tasks, 2) in [-0.5, 0.5] m, '
        '"velocity": (num_tasks,) in [0, 2] m/s}'
    ) in str(error.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"speed": np.ones(3)}, ValueError, "unknown: ['speed']"),
        ({"goal": np.zeros(2)}, ValueError, 'Use tasks["goal"][None] for a batch of one task.'),
        ({"goal": np.zeros((3, 2, 1))}, ValueError, 'Use tasks["goal"][:, :, 0].'),
        ({"goal": np.zeros((3, 3))}, ValueError, "got shape (3, 3)"),
        ({"velocity": 1.0}, ValueError, 'Use tasks["velocity"][None]'),
        ({"velocity": np.ones(4)}, ValueError, "Give every parameter the same leading length."),
        ({"velocity": np.array([0.0, 2.5, 1.0])}, ValueError, 'got tasks["velocity"][1] = 2.5'),
        ({"goal": np.array([[0, 0], [0, 0], [0, -0.6]])}, ValueError, 'got tasks["goal"][2, 1] = -0.6'),
        ({"velocity": np.array([0.0, np.nan, 1.0])}, ValueError, 'got tasks["velocity"][1] = nan'),
        ({"velocity": np.array([np.inf, 1.0, 1.0])}, ValueError, 'got tasks["velocity"][0] = inf'),
        ({"corner": np.array([0, 4, 1])}, ValueError, 'got tasks["corner"][1] = 4'),
        ({"corner": np.array([0.0, 1.0, 2.0])}, TypeError, 'got "corner" of dtype float64. Pass integers.'),
        ({"velocity": ["a", "b", "c"]}, TypeError, 'got "velocity" of dtype <U1. Pass numbers.'),
        ({"velocity": [True, False, True]}, TypeError, "of dtype bool"),
        ({"velocity": [1j, 1j, 1j]}, TypeError, "of dtype complex128"),
        ({"velocity": None}, TypeError, "of dtype object"),
        ({"goal": [[0, 0], [0], [0, 0]]}, TypeError, 'got a ragged "goal"'),
    ],
)
def test_bad_tasks_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        check(legal() | change)


def test_a_missing_parameter_is_named() -> None:
    tasks = legal()
    del tasks["goal"]
    with pytest.raises(ValueError, match=re.escape("Missing: ['goal']")):
        check(tasks)


def test_no_task_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one task"):
        check(legal(0))


@given(value=hnp.arrays(st.sampled_from([np.float64, np.float32, np.int64]), hnp.array_shapes(max_dims=3)))
def test_an_array_is_accepted_exactly_if_every_task_in_it_is_in_the_space(value: np.ndarray) -> None:
    is_legal = value.ndim == 1 and bool(((value >= 0) & (value <= 2)).all())
    if is_legal:
        checked = validate_tasks({"velocity": value}, VELOCITY, UNITS, "Walk-v0")
        assert all(VELOCITY.contains({"velocity": checked["velocity"][i, ...]}) for i in range(len(value)))
    else:
        with pytest.raises(ValueError, match=r"^Walk-v0 expects tasks .*; got .*\."):
            validate_tasks({"velocity": value}, VELOCITY, UNITS, "Walk-v0")


junk = st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.lists(st.integers()))


@given(tasks=st.one_of(junk, st.dictionaries(st.one_of(st.text(), st.integers()), junk)))
def test_anything_else_is_refused_in_one_line(tasks: object) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        check(tasks)
    assert str(error.value).startswith("Walk-v0 expects tasks")
    assert str(error.value).isprintable()


def test_one_task_has_no_task_axis() -> None:
    task = {"velocity": 1.5, "goal": [0.1, 0.2], "corner": 3}
    assert SPACE.contains(validate_task(task, SPACE, UNITS, "Walk-v0"))
    with pytest.raises(ValueError, match=re.escape('use task["goal"][0]')):
        validate_task(task | {"goal": [[0.1, 0.2]]}, SPACE, UNITS, "Walk-v0")
    with pytest.raises(ValueError, match=re.escape('{"velocity": () in [0, 2] m/s}; got "velocity" = 3.0')):
        validate_task({"velocity": 3.0}, VELOCITY, UNITS, "Walk-v0")


def test_repeated_tasks_are_task_major() -> None:
    repeated = repeat_tasks({"goal": np.array([[1, 2], [3, 4]])}, num_episodes=3)
    np.testing.assert_array_equal(repeated["goal"], [[1, 2], [1, 2], [1, 2], [3, 4], [3, 4], [3, 4]])


def test_a_task_is_described_with_its_units() -> None:
    task = {"velocity": np.array(1.5), "goal": np.array([0.3141592, -0.12]), "corner": np.array(2)}
    assert describe_task(task, UNITS) == "velocity = 1.5 m/s, goal = (0.3142, -0.12) m, corner = 2"


def test_sampled_tasks_are_uniform_over_the_space() -> None:
    generator = np.random.default_rng(0)
    tasks = [sample_uniform_task(SPACE, generator) for _ in range(4000)]
    assert all(SPACE.contains(task) for task in tasks[:100])
    velocity, corner = (np.array([task[name] for task in tasks]) for name in ("velocity", "corner"))
    # The mean of 4000 uniform draws over [0, 2] has standard deviation 2 / sqrt(12 * 4000) = 0.0091.
    assert abs(velocity.mean() - 1.0) < 4 * 0.0091
    assert 0.0 <= velocity.min() < 0.01 < 1.99 < velocity.max() <= 2.0
    # A count of 4000 draws with probability 1/4 has standard deviation sqrt(4000 * 3 / 16) = 27.4.
    assert (abs(np.bincount(corner, minlength=4) - 1000) < 4 * 27.4).all()


WIRING = spaces.Dict({"wiring": Permutations(3)})


def test_drawn_permutations_are_uniform_over_all_of_them() -> None:
    generator = np.random.default_rng(0)
    drawn = [sample_uniform_task(WIRING, generator) for _ in range(3000)]
    assert all(WIRING.contains(task) for task in drawn)
    orders, counts = np.unique([task["wiring"].argmax(axis=1) for task in drawn], axis=0, return_counts=True)
    assert len(orders) == 6
    # A count of 3000 draws with probability 1/6 has standard deviation sqrt(3000 * 5 / 36) = 20.4.
    assert (abs(counts - 500) < 4 * 20.4).all()


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.ones((3, 3)),
        np.full((3, 3), 1 / 3),
        [[1, 0, 0], [1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]],
    ],
)
def test_a_matrix_that_is_no_permutation_is_refused_and_not_in_the_space(matrix: Any) -> None:
    assert not WIRING.contains({"wiring": np.array(matrix, np.float64)})
    tasks = {"wiring": [np.eye(3)[[2, 0, 1]], matrix]}
    with pytest.raises(ValueError, match=r"permutation matrices in \[0, 1\].*none. Give each row and each column"):
        validate_tasks(tasks, WIRING, {"wiring": ""}, "Robot-v0")
    checked = validate_tasks({"wiring": [np.eye(3)[[2, 0, 1]]]}, WIRING, {"wiring": ""}, "Robot-v0")
    np.testing.assert_array_equal(checked["wiring"], [[[0, 0, 1], [1, 0, 0], [0, 1, 0]]])


def test_task_features_by_hand() -> None:
    tasks = {"velocity": np.array([0.0, 1.5]), "goal": np.array([[0.5, -0.5], [0.0, 0.25]]), "corner": np.array([0, 3])}
    columns = {"velocity": [[-1.0], [0.5]], "goal": [[1.0, -1.0], [0.0, 0.5]], "corner": [[1, 0, 0, 0], [0, 0, 0, 1]]}
    expected = np.concatenate([np.array(columns[name], np.float64) for name in SPACE], axis=1)
    np.testing.assert_array_equal(task_features(tasks, SPACE), expected)


def test_a_parameter_with_a_single_value_is_0_among_the_features() -> None:
    space = spaces.Dict({"gain": spaces.Box(2.0, 2.0, (), np.float64)})
    assert task_features({"gain": np.array([2.0])}, space).tolist() == [[0.0]]


def test_whole_numbers_are_drawn_up_to_their_upper_end_and_are_not_cut_down_from_fractions() -> None:
    space = spaces.Dict({"legs": spaces.Box(-1, np.array([1, 3]), (2,), np.int8)})
    generator = np.random.default_rng(0)
    legs = np.stack([sample_uniform_task(space, generator)["legs"] for _ in range(300)])
    assert legs.dtype == np.int8
    for column, values in zip(legs.T, ([-1, 0, 1], [-1, 0, 1, 2, 3]), strict=True):
        found, counts = np.unique(column, return_counts=True)
        assert found.tolist() == values
        assert (abs(counts * len(values) / 300 - 1) < 0.4).all()
    words = r"\(2,\) integers in \[-1, \(1, 3\)\]}; got .legs. of dtype float64. Pass integers."
    with pytest.raises(TypeError, match=words):
        validate_task({"legs": [0.0, 1.7]}, space, {"legs": ""}, "Walk-v0")


def test_fractions_are_drawn_as_ever() -> None:
    task, uniform = sample_uniform_task(SPACE, np.random.default_rng(3)), np.random.default_rng(3)
    assert int(task["corner"]) == uniform.integers(0, 3, endpoint=True)
    np.testing.assert_array_equal(task["goal"], uniform.uniform(-0.5, 0.5, 2))
    assert float(task["velocity"]) == uniform.uniform(0.0, 2.0)
