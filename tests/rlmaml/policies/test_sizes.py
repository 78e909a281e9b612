import json
from types import SimpleNamespace
from typing import Any

import pytest
from gymnasium import spaces

from rlmaml.base.errors import UserError
from rlmaml.policies.sizes import (
    Part,
    Sizes,
    check_actions,
    columns_of,
    numbers_in_vectors,
    parts_of,
    sizes_of,
    stored_sizes,
)


def environment(observation: tuple[int, ...], action: Any) -> Any:
    return SimpleNamespace(single_observation_space=spaces.Box(-1, 1, observation), single_action_space=action)


def test_sizes_are_those_of_the_spaces() -> None:
    assert sizes_of(environment((5,), spaces.Box(-1, 1, (2,)))) == Sizes(5, 2)
    assert sizes_of(environment((3, 4), spaces.Box(-1, 1, (2, 3))), extended=True) == Sizes(12, 6, extended=True)
    assert sizes_of(environment((5,), spaces.Discrete(7))) == Sizes(5, 7, discrete=True)


def test_a_kind_that_acts_otherwise_is_refused_with_one_that_fits() -> None:
    check_actions("gaussian", Sizes(3, 2), discrete=False)
    with pytest.raises(
        UserError, match=r"gaussian acts by vectors of numbers, but actions here are choices.*categorical"
    ):
        check_actions("gaussian", Sizes(3, 2, discrete=True), discrete=False)
    with pytest.raises(UserError, match=r"categorical acts by choices, but actions here are vectors.*such as gaussian"):
        check_actions("categorical", Sizes(3, 2), discrete=True)


PARTS = (Part("ranges", (2,)), Part("picture", (1, 1, 3)), Part("wheels", (1,)))


def in_parts(shapes: dict[str, tuple[int, ...]], observation: int, task_size: int = 0) -> Any:
    env = environment((observation,), spaces.Box(-1, 1, (2,)))
    env.observation_parts, env.task_size = shapes, task_size
    return env


def test_the_parts_of_observations_are_those_that_the_environment_says() -> None:
    shapes = {"ranges": (2,), "picture": (1, 1, 3), "wheels": (1,)}
    assert sizes_of(in_parts(shapes, 6)) == Sizes(6, 2, parts=PARTS)
    told = sizes_of(in_parts(shapes, 10, 4), extended=True)
    assert told == Sizes(10, 2, extended=True, task=4, parts=PARTS)
    assert parts_of(told) == (*PARTS, Part("task", (4,)))
    assert columns_of(parts_of(told)) == [slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 10)]


def test_a_linear_baseline_reads_what_is_in_no_image() -> None:
    assert numbers_in_vectors(PARTS, 8) == [0, 1, 5, 6, 7]
    assert numbers_in_vectors(PARTS[1:2], 3) == []
    assert numbers_in_vectors((), 3) is None
    assert numbers_in_vectors(PARTS[:1], 3) is None


def test_parts_that_are_not_those_of_observations_and_observations_that_are_no_array_are_refused() -> None:
    with pytest.raises(UserError, match=r"{'ranges': \(2,\)}, have 2 numbers, but observations have 3"):
        sizes_of(in_parts({"ranges": (2,)}, 3))
    env = SimpleNamespace(
        single_observation_space=spaces.Dict({"x": spaces.Discrete(2)}), single_action_space=spaces.Discrete(2)
    )
    with pytest.raises(UserError, match=r"Observations are Dict.*gymnasium.spaces.flatten.*observation_parts"):
        sizes_of(env)


def test_sizes_are_stored_as_json_and_what_is_none_is_refused() -> None:
    sizes = Sizes(6, 2, parts=PARTS)
    stored = json.loads(json.dumps(sizes._asdict()))
    assert stored_sizes(stored) == sizes
    del stored["parts"]
    assert stored_sizes(stored) == Sizes(6, 2)
    for parts in ([["ranges", [7]]], [["ranges", [-1]]], [["ranges", ["2"]]], [["ranges"]], 3):
        with pytest.raises((TypeError, ValueError)):
            stored_sizes({**stored, "parts": parts})
