import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlmaml
from rlmaml.base.errors import UserError
from rlmaml.settings.config import TrainConfig, check_resumable, from_json, option, to_json

FIELDS = [field.name for field in dataclasses.fields(TrainConfig)]


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_read_somewhere_outside_the_configuration_or_by_a_method_that_is(name: str) -> None:
    sources = [*Path(rlmaml.__file__).parent.rglob("*.py"), *Path("scripts").glob("*.py")]
    text = "\n".join(path.read_text() for path in sources)
    assert re.search(rf"(config|self|options)\.{name}\b(?! = )", text)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_help_text(name: str) -> None:
    source = (Path(rlmaml.__file__).parent / "settings" / "config.py").read_text()
    assert re.search(rf'^    {name}: .*= .*\n    """[^"]+\."""$', source, re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_tasks": 0}, "--tasks is 0; it must be a number above 0."),
        ({"num_episodes": -3}, "--episodes is -3"),
        ({"horizon": 0}, "--horizon is 0"),
        ({"inner_steps": -1}, "--inner-steps is -1"),
        ({"inner_steps": 0, "learn_step_sizes": True}, "there is no step to learn"),
        ({"iterations": -1}, "--iterations is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"discount": 1.5}, "--discount is 1.5; it must be a number from 0 to 1."),
        ({"max_kl": float("nan")}, "--max-kl is nan"),
        ({"hidden": (64, 0)}, "--hidden is (64, 0)"),
        ({"inner_step_sizes": ()}, "--inner-step-sizes is ()"),
        ({"inner_step_sizes": (0.1, -0.1)}, "--inner-step-sizes is (0.1, -0.1)"),
        ({"curvature_fraction": 0.0}, "--curvature-fraction is 0.0"),
        ({"backtrack": 1.0}, "--backtrack is 1.0"),
        ({"stage_weights": (1.0, -1.0)}, "--stage-weights is (1.0, -1.0); it must be finite numbers not below 0"),
        ({"stage_weights": (0.0, 0.0)}, "--stage-weights is (0.0, 0.0)"),
        ({"threads": 0}, "--threads is 0"),
        ({"threads": 10**9}, "--threads is 1000000000; it must be at most 1024"),
        ({"max_kl": float("inf")}, "--max-kl is inf; it must be a finite number"),
        ({"initial_std": float("inf")}, "--initial-std is inf"),
        ({"inner_step_sizes": (float("inf"),)}, "--inner-step-sizes is (inf,)"),
        ({"advantage_scale": 0.0}, "--advantage-scale is 0.0"),
        ({"observation_scales": (1.0, 0.0)}, "--observation-scales is (1.0, 0.0); it must be finite numbers above 0"),
    ],
)
def test_an_illegal_value_is_refused_with_its_option_its_value_and_what_is_legal(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        TrainConfig(**changes)


def test_json_brings_back_the_same_configuration() -> None:
    config = TrainConfig(hidden=(3, 5), inner_steps=2, stage_weights=(0.0, 1.0, 2.0), first_order=True)
    assert from_json(to_json(config)) == config


@given(st.text())
def test_text_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="does not fit this version"):
        from_json(text)


def test_a_stored_field_that_no_longer_exists_is_named() -> None:
    with pytest.raises(UserError, match="gone"):
        from_json('{"gone": 1}')


def test_the_last_inner_step_size_serves_all_further_steps() -> None:
    config = TrainConfig(inner_steps=2, inner_step_sizes=(0.3, 0.2))
    assert config.step_sizes(4) == (0.3, 0.2, 0.2, 0.2)
    assert config.step_sizes(1) == (0.3,)


def test_stage_weights_sum_to_one_and_fall_on_the_last_stage_by_default() -> None:
    assert TrainConfig(inner_steps=2).normalised_stage_weights() == (0.0, 0.0, 1.0)
    weights = TrainConfig(inner_steps=2, stage_weights=(0.0, 1.0, 3.0)).normalised_stage_weights()
    assert weights == (0.0, 0.25, 0.75)


def test_stage_weights_fit_any_number_of_inner_steps() -> None:
    weights = (0.0, 2.0, 1.0)
    assert TrainConfig(inner_steps=1, stage_weights=weights).normalised_stage_weights() == (0.0, 1.0)
    assert TrainConfig(inner_steps=3, stage_weights=weights).normalised_stage_weights() == (0.0, 0.5, 0.25, 0.25)


def test_resuming_under_other_settings_names_each_differing_field() -> None:
    with pytest.raises(UserError, match=r"--tasks was 20 and is now 5; --max-kl was 0.01 and is now 0.5") as error:
        check_resumable(TrainConfig(), TrainConfig(num_tasks=5, max_kl=0.5, iterations=7))
    assert option("iterations") not in str(error.value)


def test_settings_that_change_no_result_may_change_on_resume() -> None:
    check_resumable(TrainConfig(), TrainConfig(iterations=500, threads=1, checkpoint_interval=3, evaluation_tasks=2))
