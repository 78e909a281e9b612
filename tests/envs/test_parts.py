from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces

from rlmaml_envs import make_tasks_env
from rlmaml_envs.episodes import Episodes
from rlmaml_envs.family import finite_box
from rlmaml_envs.parts import check_parts, flat, part_columns, part_shapes, with_dict_observations
from rlmaml_envs.sheets import family_sheet
from tests.envs.robots import body, family

SPACE = spaces.Dict(
    {
        "picture": spaces.Box(0.0, 1.0, (2, 3, 4), np.float64),
        "gear": spaces.Discrete(3, start=-1),
        "bumpers": spaces.MultiBinary(2),
        "height": spaces.Box(0.0, 2.0, (), np.float64),
        "arm": spaces.Box(-1.0, 1.0, (5,), np.float32),
    },
    seed=0,
)
"""Gymnasium orders its parts by name."""


def samples(number: int) -> list[dict[str, Any]]:
    return [SPACE.sample() for _ in range(number)]


def vector_of(drawn: dict[str, Any]) -> npt.NDArray[Any]:
    vector: Any = spaces.flatten(SPACE, drawn)
    return np.asarray(vector)


def test_parts_of_all_copies_are_flattened_as_gymnasium_flattens_those_of_each() -> None:
    drawn = samples(4)
    together = flat(SPACE, {name: np.stack([one[name] for one in drawn]) for name in SPACE})
    np.testing.assert_array_equal(together, np.stack([vector_of(one) for one in drawn]))


def test_columns_and_shapes_of_parts_are_those_that_gymnasium_unflattens() -> None:
    (drawn,) = samples(1)
    vector = vector_of(drawn)
    shapes, columns = part_shapes(SPACE), part_columns(SPACE)
    assert list(shapes) == ["arm", "bumpers", "gear", "height", "picture"]
    assert shapes["picture"] == (2, 3, 4)
    assert shapes["gear"] == (3,)
    assert shapes["height"] == (1,)
    back = spaces.unflatten(SPACE, vector)
    for name, part in SPACE.items():
        np.testing.assert_array_equal(vector[columns[name]], spaces.flatten(part, back[name]))


@pytest.mark.parametrize(
    ("part", "refused"),
    [
        (spaces.Dict({"left": spaces.Discrete(2), "right": spaces.Discrete(2)}), "is a Dict itself.*x_left, x_right"),
        (spaces.Text(4), r'"x" of an observation is Text\(.*must be a Box, or a Discrete or MultiBinary'),
        (spaces.Tuple([spaces.Discrete(2)]), "must be a Box"),
        (spaces.MultiDiscrete([2, 3]), "must be a Box"),
        (spaces.Box(0, 1, (0,)), "needs numbers"),
    ],
)
def test_a_part_of_which_no_numbers_are_made_is_refused_by_name(part: spaces.Space[Any], refused: str) -> None:
    with pytest.raises(ValueError, match=refused):
        part_shapes(spaces.Dict({"x": part}))


STATE = spaces.Dict({"place": finite_box(2), "speed": finite_box(2)})


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"dict_space": spaces.Dict({"place": finite_box(2)})}, r"Carts-v0: dict_space has 2 numbers, .* shape \(4,\)"),
        ({"dict_space": finite_box(4)}, "must be a gymnasium.spaces.Dict, or None"),
        ({"dict_space": spaces.Dict({"x": STATE})}, "x_place, x_speed"),
    ],
)
def test_a_family_whose_dict_is_not_that_of_its_observations_is_refused(
    changed: Mapping[str, Any], refused: str
) -> None:
    with pytest.raises(ValueError, match=refused):
        Episodes("Carts-v0", family(body(**changed)), 2)


def test_a_dict_in_place_of_a_vector_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(ValueError, match=r"observation_space is a Dict.*flatten_space.*dict_space"):
        check_parts(None, STATE)


def test_a_robot_of_ones_own_has_its_parts_in_its_sheet() -> None:
    sheet = family_sheet("Carts-v0", "mine", family(body(dict_space=STATE))(1))
    assert sheet["observation"] == {"size": 4, "parts": [["place", [2]], ["speed", [2]]]}


def test_single_environments_give_the_dict_and_batched_ones_its_flattened_form() -> None:
    plain = gymnasium.make("RoverGoal-v0", variant="modalities")
    env = with_dict_observations(plain)
    observation, _ = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    vector, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(spaces.flatten(env.observation_space, observation), vector)
    batched = make_tasks_env("RoverGoal-v0", 2, variant="modalities")
    assert batched.observation_parts == {"picture": (2, 12, 12), "ranges": (8,), "wheels": (2,)}
    assert batched.single_observation_space.shape == vector.shape
    with pytest.raises(ValueError, match="no Dict of parts"):
        with_dict_observations(gymnasium.make("RoverGoal-v0"))
    with pytest.raises(ValueError, match="no Dict of parts"):
        with_dict_observations(gymnasium.make("RoverGoal-v0", variant="modalities", observe_task=True))
