from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs.checks import check_names, check_numbers, check_spaces, check_wider
from rlmaml_envs.family import finite_box, normalised_box
from rlmaml_envs.tasks import Permutations


def test_rows_that_do_not_count_may_be_anything() -> None:
    values = np.array([[1.0, 2.0], [np.nan, 0.0]])
    check_numbers("It", values, (2, None), "(copy, 2)", rows=np.array([True, False]))
    with pytest.raises(ValueError, match=r"It must be finite; got nan at \[1, 0\]"):
        check_numbers("It", values, (2, None), "(copy, 2)")


@pytest.mark.parametrize(
    ("values", "kinds", "words"),
    [
        (np.ones(3), "fiub", r"numbers \(copy, 2\), here \(3, 2\); got shape \(3,\)"),
        (np.ones((3, 2)), "b", "truth values .* got dtype float64"),
        (np.array([["a", "b"]] * 3), "fiub", "got dtype <U1"),
        ([[1, 2], [3, 4]], "fiub", r"got shape \(2, 2\)"),
    ],
)
def test_a_wrong_shape_or_type_is_refused(values: object, kinds: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_numbers("It", values, (3, 2), "(copy, 2)", kinds=kinds)


def test_names_of_no_task_parameter_are_refused_with_those_there_are() -> None:
    check_names("changes", ["speed"], {"speed": 1, "load": 2})
    with pytest.raises(ValueError, match=r"changes names \['lode'\].*speed, load"):
        check_names("changes", ["speed", "lode"], {"speed": 1, "load": 2})


SPEED = spaces.Box(0.0, 1.0, (2,), np.float64)


@pytest.mark.parametrize(
    ("training", "wide"),
    [
        (SPEED, spaces.Box(0.0, np.array([1.0, 0.9]), (2,), np.float64)),
        (SPEED, spaces.Box(0.1, 2.0, (2,), np.float64)),
        (SPEED, spaces.Box(-1.0, 2.0, (3,), np.float64)),
        (SPEED, spaces.Box(-1, 2, (2,), np.int64)),
        (spaces.Box(0.0, 1.0, (), np.float64), spaces.Discrete(4)),
        (spaces.Discrete(4), spaces.Discrete(3)),
        (spaces.Discrete(4), spaces.Discrete(9, start=1)),
        (spaces.Box(0.0, 1.0, (2, 2), np.float64), Permutations(2)),
    ],
)
def test_wide_tasks_that_leave_out_some_of_training_are_refused_by_name(training: Any, wide: Any) -> None:
    with pytest.raises(ValueError, match='wide values of the task parameter "speed"'):
        check_wider({"speed": training}, {"speed": wide})
    check_wider({"speed": training}, {"speed": training})


def test_wide_tasks_hold_those_of_training() -> None:
    check_wider({"a": spaces.Discrete(1, start=2)}, {"a": spaces.Discrete(3)})
    check_wider({"a": spaces.Box(np.eye(2), np.eye(2), dtype=np.float64)}, {"a": Permutations(2)})
    with pytest.raises(ValueError, match="wide ones \\['b'\\]"):
        check_wider({"a": SPEED}, {"b": SPEED})


TASKS = [spaces.Dict({"speed": spaces.Box(0.0, 1.0, ())})] * 2


@pytest.mark.parametrize(
    ("observation", "action", "tasks", "words"),
    [
        (spaces.Discrete(2), normalised_box(1), TASKS, r"observation_space must be a Box .* got Discrete\(2\)"),
        (spaces.Box(0, 1, (2, 2)), normalised_box(1), TASKS, r"observation_space must be .* of shape \(n,\)"),
        (finite_box(1), spaces.Discrete(3), TASKS, r"action_space must be a Box .* got Discrete\(3\)"),
        (finite_box(1), spaces.Box(-2, 2, (1,)), TASKS, r"action_space must be \[-1, 1\] in every dimension"),
        (finite_box(1), spaces.Box(0, 1, (1,)), TASKS, r"action_space must be \[-1, 1\] in every dimension"),
        (finite_box(1), normalised_box(1), [spaces.Box(0, 1, (1,))] * 2, "task_space must be a Dict"),
    ],
)
def test_spaces_in_which_observations_actions_or_tasks_cannot_be_are_refused(
    observation: Any, action: Any, tasks: Any, words: str
) -> None:
    check_spaces(finite_box(1), normalised_box(1), TASKS)
    with pytest.raises(ValueError, match=words):
        check_spaces(observation, action, tasks)
