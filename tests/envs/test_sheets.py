import json
from functools import partial
from typing import Any

import pytest
from gymnasium import spaces

from rlmaml_envs import KNOWN_IDS, make_tasks_env
from rlmaml_envs.controls import Mapped, described_function
from rlmaml_envs.registry import load_family
from rlmaml_envs.sheets import family_sheet
from tests.envs.robots import body, family, variant

EVERY = [(env_id, name) for env_id in KNOWN_IDS for name in load_family(env_id).variants]


@pytest.mark.parametrize("env_id", KNOWN_IDS)
def test_every_family_has_a_sheet_of_plain_data(env_id: str) -> None:
    env = make_tasks_env(env_id, 1)
    assert json.loads(json.dumps(env.sheet, allow_nan=False)) == env.sheet
    assert env.sheet["family"] == env_id
    assert env.sheet["variant"] == next(iter(load_family(env_id).variants))
    assert set(env.sheet["tasks"]) == set(env.task_space)
    assert len(env.sheet["controls"]) == len(env.control_range)


def test_a_sheet_holds_the_numbers_of_the_family() -> None:
    sheet = family_sheet("Carts-v0", "mine", family()(1))
    assert sheet["observation"] == {"size": 4}
    assert sheet["tasks"]["speed"] == {"low": 0.1, "high": 0.8, "unit": "m/s"}
    assert sheet["tasks_beyond"]["load"] == {"low": [1.0], "high": [2.0], "unit": ""}
    assert sheet["reward_terms"] == ["speed_error_cost", "control_cost"]
    assert sheet["seconds_per_step"] == pytest.approx(0.05)
    assert sheet["joints"] == ["slide", "follow"]
    assert sheet["changes"] == ["load"]
    assert sheet["observed"] == {str(number): str(number) for number in range(4)}
    assert sheet["control_function"] is None


def test_an_observed_task_is_no_part_of_a_sheet() -> None:
    plain, told = (make_tasks_env("HalfCheetahVel-v0", 1, observe_task=told) for told in (False, True))
    assert plain.sheet == told.sheet
    assert told.reset()[0].shape[1] > plain.sheet["observation"]["size"]


def halved(xp: Any, actions: Any) -> Any:
    return 0.5 * actions


def scaled_by(xp: Any, actions: Any, factor: float) -> Any:
    return factor * actions


def test_a_function_from_actions_to_controls_is_known_by_its_name_and_by_what_it_commands() -> None:
    described = described_function(halved, 2)
    assert described["name"] == "halved"
    assert described["commands"]["nothing"] == [0, 0]
    assert described["commands"]["-1 of number 1"] == [0, -0.5]
    half, other = (described_function(partial(scaled_by, factor=factor), 2) for factor in (0.5, 0.6))
    assert half["name"] == other["name"] == "scaled_by"
    assert half["commands"] == described["commands"] != other["commands"]
    curved = described_function(lambda xp, actions: 0.5 * xp.abs(actions) * actions, 2)  # the same at the ends
    assert curved["commands"] != described["commands"]


def test_names_of_observations_and_labels_of_tasks_are_told_by_number() -> None:
    named = family(
        body(observed=lambda model: [("a", "m"), ("b", ""), ("c", "m/s"), ("d", "")]),
        task_parameters={"kind": spaces.Discrete(2)},
        task_units={"kind": ""},
        task_labels={"kind": ("intact", "worn")},
        changes={},
    )
    sheet = family_sheet("Carts-v0", "mine", named(1))
    assert sheet["observed"] == {"0": "a, m", "1": "b", "2": "c, m/s", "3": "d"}
    assert sheet["task_labels"] == {"kind": ["intact", "worn"]}


def test_whatever_says_what_numbers_mean_is_seen_in_the_sheet() -> None:
    same = family_sheet("Carts-v0", "mine", family()(1))
    others = {
        "reward_terms": family(reward_terms={"control_cost": variant().reward_terms["control_cost"]}),
        "tasks": family(task_units={"speed": "km/h", "load": ""}),
        "changes": family(changes={}),
        "observed": family(body(observed=lambda model: [(name, "m") for name in "abcd"])),
        "task_elements": family(task_elements={"load": (("front",),)}),
        "control_function": family(body(control_range=Mapped(halved, 2))),
    }
    for field, other in others.items():
        assert family_sheet("Carts-v0", "mine", other(1))[field] != same[field]
