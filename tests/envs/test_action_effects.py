import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs.action_effects import unseen_actions
from rlmaml_envs.changes import damaged_actuator
from rlmaml_envs.controls import Mapped
from rlmaml_envs.locomotion import LocomotionFamily
from rlmaml_envs.rehearsal import NUM_COPIES, try_out
from rlmaml_envs.tasks import as_task
from tests.envs.robots import CARTS, body, family

IDLE = CARTS.replace('joint="follow"', 'joint="follow" gear="0"')


def unseen(made: LocomotionFamily, num_copies: int = 4, num_tasks: int = 8) -> list[int]:
    worlds = made(num_copies)
    tasks = [as_task(worlds.sample_task(np.random.default_rng(seed))) for seed in range(num_tasks)]
    return unseen_actions(worlds, tasks, num_copies)


@pytest.mark.parametrize("num_copies", [2, 4, 32])
def test_a_number_of_the_action_that_moves_nothing_is_found_whatever_it_costs(num_copies: int) -> None:
    """The reward has a cost of all actions."""
    assert unseen(family(), num_copies) == []
    assert unseen(family(body(IDLE)), num_copies) == [1]


@pytest.mark.parametrize(
    "actuator",
    [
        'joint="follow" delay="0.2" nsample="30"',
        'joint="follow" gear="1e-9"',
    ],
)
def test_what_comes_late_or_is_little_is_seen(actuator: str) -> None:
    assert unseen(family(body(CARTS.replace('joint="follow"', actuator)))) == []


def test_a_motor_that_is_dead_in_some_tasks_alone_is_seen() -> None:
    dead = family(
        task_parameters={"speed": spaces.Box(0.1, 0.8, (), np.float64), "dead": spaces.Discrete(2, start=1)},
        task_units={"speed": "m/s", "dead": ""},
        changes={"dead": damaged_actuator(["slide", "follow"])},
    )
    assert unseen(dead) == []
    assert len(unseen(dead, num_tasks=1)) == 1


def said(made: LocomotionFamily) -> list[str]:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try_out("Carts-v0", made(NUM_COPIES))
    return [str(warning.message) for warning in heard]


def test_who_makes_the_environment_is_told_which_action_does_nothing() -> None:
    (words,) = said(family(body(IDLE)))
    assert words.startswith('Carts-v0: the action "push" was not seen to do anything in 20 control steps')


def test_of_a_function_the_number_is_told() -> None:
    def swapped(xp: Any, actions: Any) -> Any:
        return actions[:, [1, 0]]

    (words,) = said(family(body(IDLE, control_range=Mapped(swapped, 2))))
    assert "the action number 0 was not seen" in words
