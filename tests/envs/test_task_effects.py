import re
import warnings
from typing import Any
from unittest import mock

import numpy as np
import pytest
from gymnasium import spaces

from rlmaml_envs.bodies import scalar_box
from rlmaml_envs.changes import shifted
from rlmaml_envs.rehearsal import CROWD, NUM_COPIES, try_out
from rlmaml_envs.task_effects import Part, parts_of, unseen_parts, unvaried_parts
from rlmaml_envs.tasks import Permutations, sample_uniform_task
from tests.envs.robots import family, speed_error_cost


def told(parameters: dict[str, Any], term: Any, **changed: Any) -> list[str]:
    """What the warnings about a family's tasks name."""
    sheet: dict[str, Any] = {
        "task_parameters": parameters,
        "task_units": dict.fromkeys(parameters, ""),
        "changes": {},
        "reward_terms": {"own_reward": term},
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try_out("Carts-v0", family(**{**sheet, **changed})(NUM_COPIES))
    words = [str(warning.message) for warning in caught]
    return [re.split(" was (?:not seen|the same)", word.split("the task parameter ")[1])[0] for word in words]


LOAD = {"load": spaces.Box(0.0, 2.0, (3,), np.float64)}


@pytest.mark.parametrize(
    ("term", "changed", "named"),
    [
        (lambda m, t: t["load"].sum(axis=1), {}, []),
        (lambda m, t: t["load"][:, 0] + t["load"][:, 2], {}, ["'load'[1]"]),
        (lambda m, t: t["load"][:, 0], {"task_elements": {"load": (("a", "b", "c"),)}}, ["'load'[b] and 'load'[c]"]),
        (lambda m, t: m.actions[:, 0], {}, ["'load'"]),
    ],
)
def test_each_number_of_a_parameter_must_change_something_or_is_named(
    term: Any, changed: Any, named: list[str]
) -> None:
    assert told(LOAD, term, **changed) == named


@pytest.mark.parametrize("value", [1, 6, 11])
def test_an_index_of_which_a_single_value_matters_is_seen(value: int) -> None:
    assert told({"kind": spaces.Discrete(12)}, lambda m, t: 1.0 * (t["kind"] == value)) == []


def test_a_number_that_matters_in_some_tasks_alone_is_seen() -> None:
    parameters = {"kind": spaces.Discrete(2), "goal": scalar_box(-1.0, 1.0)}
    assert told(parameters, lambda m, t: np.where(t["kind"] == 0, t["goal"], 3.0)) == []
    assert told(parameters, lambda m, t: np.where(t["kind"] == 1, t["goal"], 3.0)) == []


@pytest.mark.parametrize(("seen", "most"), [(0, 60), (15, 70), (30, 3)])
def test_a_parameter_of_many_numbers_is_looked_at_as_a_whole_and_the_rest_of_it_together(seen: int, most: int) -> None:
    """Number by number and task by task, a vector of 30 that nothing reads would take 720 control steps of 6 copies."""
    parameters = {"load": spaces.Box(0.0, 2.0, (30,), np.float64)}
    term = {"own_reward": lambda m, t: m.actions[:, 0] + t["load"][:, :seen].sum(axis=1)}
    made = family(task_parameters=parameters, task_units={"load": ""}, changes={}, reward_terms=term)(CROWD)
    tasks = [made.sample_task(np.random.default_rng(seed)) for seed in range(8)]
    with mock.patch.object(type(made), "step", autospec=True, side_effect=type(made).step) as step:
        dead = unseen_parts(made, tasks, CROWD)
    assert dead == ([Part("load", (number,)) for number in range(seen, 30)] if seen else [Part("load", None)])
    assert step.call_count <= most


def test_a_number_of_many_that_matters_late_and_in_some_tasks_alone_is_seen() -> None:
    """The others of its vector show themselves at once, and that one where the robot has gone somewhere."""
    parameters = {"kind": spaces.Discrete(2), "load": spaces.Box(0.0, 2.0, (3,), np.float64)}

    def term(motion: Any, task: Any) -> Any:
        gone = (np.abs(motion.position[:, 0]) > 0.05) & (task["kind"] == 1)
        return task["load"][:, :2].sum(axis=1) + np.where(gone, task["load"][:, 2], 0.0)

    assert told(parameters, term) == []


def test_what_is_observed_alone_counts_and_what_comes_late_too() -> None:
    offset = {"offset": spaces.Box(-0.1, 0.1, (2,), np.float64)}
    assert told(offset, lambda m, t: m.actions[:, 0], readings={"offset": shifted(slice(0, 2))}) == []
    late = {"speed": scalar_box(0.1, 0.8)}
    assert told(late, lambda m, t: np.where(np.abs(m.position[:, 0]) > 0.05, t["speed"], 0.0)) == []


def test_matrices_whose_numbers_hang_together_are_changed_as_a_whole() -> None:
    order = {"wiring": Permutations(2)}
    assert told(order, lambda m, t: m.actions[:, 0]) == ["'wiring'"]
    assert told(order, lambda m, t: t["wiring"][:, 0, 0]) == []


def the_same(space: Any, generator: Any) -> Any:
    return sample_uniform_task(space, generator) | {"load": np.ones(3)}


def in_part(space: Any, generator: Any) -> Any:
    drawn = sample_uniform_task(space, generator)
    return {"load": drawn["load"] * [1.0, 0.0, 1.0]}


def seldom(space: Any, generator: Any) -> Any:
    return {"load": np.full(3, 1.0 * (generator.uniform() < 0.1))}


@pytest.mark.parametrize(
    ("sample", "named"),
    [(the_same, ["'load'"]), (in_part, ["'load'[1]"]), (seldom, []), (sample_uniform_task, [])],
)
def test_what_the_sampler_never_varies_is_named(sample: Any, named: list[str]) -> None:
    assert told(LOAD, lambda m, t: t["load"].sum(axis=1), sample_task=sample) == named


def test_a_parameter_of_one_value_is_not_missed_where_it_does_not_vary() -> None:
    space = spaces.Dict(
        {
            "kind": spaces.Discrete(1, start=3),
            "load": spaces.Box(np.array([0.0, 1.0]), np.array([2.0, 1.0]), dtype=np.float64),
            "wiring": Permutations(2),
            "dead": spaces.Discrete(2),
        }
    )
    constant = {"kind": np.array(3), "load": np.ones(2), "wiring": np.eye(2), "dead": np.array(0)}
    named = unvaried_parts(space, lambda: constant)
    assert named == [Part("dead", None), Part("load", None), Part("wiring", None)]


def test_of_an_array_of_many_numbers_as_many_are_tried_as_there_is_time_for() -> None:
    many = spaces.Dict({"map": spaces.Box(0.0, 1.0, (40, 50), np.float64)})
    places = [part.place for part in parts_of(many)]
    assert len(set(places)) == len(places) == 30
    assert {places[0], places[-1]} == {(0, 0), (39, 49)}


def test_whole_numbers_and_single_values_are_seen_for_what_they_are() -> None:
    count = {"count": spaces.Box(1, 3, (2,), np.int64), "only": spaces.Box(2.0, 2.0, (2,), np.float64)}
    assert told(count, lambda m, t: 1.0 * t["count"][:, 0]) == ["'count'[1]"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try_out("Carts-v0", family(reward_terms={"speed_error_cost": speed_error_cost})(NUM_COPIES))
