from types import SimpleNamespace
from typing import Any

import pytest

from rlmaml.base.errors import UserError
from rlmaml.storage.family_record import check_same_family, family_record, sheet_differences
from rlmaml_envs import make_tasks_env

SHEET = {"family": "Mine-v0", "variant": "one", "controls": {"0": {"low": -1.0, "high": 2.6}}, "joints": ["a", "b"]}


def saying(**changed: Any) -> Any:
    return SimpleNamespace(origin="/home/me/mine.py:Mine", sheet=SHEET | changed)


def test_what_differs_between_two_sheets_is_named_by_its_path_with_both_values() -> None:
    now = {**SHEET, "controls": {"0": {"low": -1.0, "high": 2.0}, "1": {}}, "joints": ["b", "a"], "step": 0.05}
    assert sheet_differences(SHEET, now) == [
        "controls.0.high was 2.6 and is now 2.0",
        "controls.1 was absent and is now {}",
        'joints was ["a", "b"] and is now ["b", "a"]',
        "step was absent and is now 0.05",
    ]
    assert sheet_differences(SHEET, dict(SHEET)) == []


def test_a_policy_is_refused_where_its_family_has_changed_and_tried_in_any_other_problem() -> None:
    recorded = family_record(saying())
    assert recorded["from"] == "mine.py:Mine"
    check_same_family(recorded, saying())
    with pytest.raises(UserError, match=r'another Mine-v0, one \(from mine.py:Mine\).*joints was \["a", "b"\]'):
        check_same_family(recorded, saying(joints=["b", "a"]))
    for other in (saying(variant="two", joints=[]), saying(family="Other-v0", joints=[]), SimpleNamespace()):
        check_same_family(recorded, other)
    check_same_family({}, saying())


def test_an_environments_own_record_survives_being_written() -> None:
    env = make_tasks_env("HalfCheetahChanged-v0", 2, variant="any")
    record = family_record(env)
    assert record["from"] == "rlmaml_envs.half_cheetah:CHANGED"
    check_same_family(record, env)
    assert family_record(SimpleNamespace()) == {}


def test_what_data_sheets_had_none_of_when_a_policy_was_trained_is_not_held_against_it() -> None:
    recorded = family_record(saying())
    check_same_family(recorded, saying(observed={"0": "x, m"}))
    check_same_family(family_record(saying(function=None)), saying(function=None))
    with pytest.raises(UserError, match=r"function was absent and is now \{\}"):
        check_same_family(family_record(saying(function=None)), saying(function={}))
    many = {"joints": {str(number): number for number in range(30)}}
    with pytest.raises(UserError, match=r"joints.11 was 11 and is now absent; and 18 more\. Give the family"):
        check_same_family(family_record(saying(**many)), saying(joints={}))
