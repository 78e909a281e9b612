import json

import pytest

from rlmaml_envs import KNOWN_IDS, make_tasks_env
from rlmaml_envs.registry import load_family
from rlmaml_envs.sheets import family_sheet
from tests.envs.robots import family, variant

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


def test_an_observed_task_is_no_part_of_a_sheet() -> None:
    plain, told = (make_tasks_env("HalfCheetahVel-v0", 1, observe_task=told) for told in (False, True))
    assert plain.sheet == told.sheet
    assert told.reset()[0].shape[1] > plain.sheet["observation"]["size"]


def test_whatever_says_what_numbers_mean_is_seen_in_the_sheet() -> None:
    same = family_sheet("Carts-v0", "mine", family()(1))
    others = {
        "reward_terms": family(reward_terms={"control_cost": variant().reward_terms["control_cost"]}),
        "tasks": family(task_units={"speed": "km/h", "load": ""}),
        "changes": family(changes={}),
    }
    for field, other in others.items():
        assert family_sheet("Carts-v0", "mine", other(1))[field] != same[field]
