from typing import Any

import pytest

from rlmaml.base.errors import UserError
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.supervised import SUPERVISED, check_source
from rlmaml.settings.whole import configure
from tests.rlmaml.families.supervised import supervised


def test_every_method_that_needs_a_gradient_alone_takes_supervised_tasks() -> None:
    assert set(METHODS) - set(SUPERVISED) == {"e-maml", "promp", "maml-ppo", "rl2", "rma", "robust", "oracle"}
    for name in SUPERVISED:
        check_source(supervised(name), supervised=True)


@pytest.mark.parametrize("name", ["e-maml", "promp", "rl2", "oracle"])
def test_methods_that_learn_from_episodes_are_refused_with_those_that_do_not(name: str) -> None:
    with pytest.raises(UserError, match=f"--algorithm is '{name}'.*must be one of maml-trpo, fomaml"):
        check_source(configure(name), supervised=True)


def test_the_outer_step_is_that_of_what_is_learned_from() -> None:
    with pytest.raises(UserError, match="--outer-optimiser is 'adam'; it must be trust_region for episodes"):
        check_source(configure(outer_optimiser="adam"), supervised=False)
    check_source(configure("reptile", outer_step="adam"), supervised=False)
    check_source(configure(), supervised=False)
    check_source(configure(), supervised=True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("num_episodes", 5), ("horizon", 9), ("discount", 0.9), ("inner_loss", "dice")),
        *(("entropy_bonus", 0.1), ("curvature_fraction", 0.2), ("jacobian_fraction", 0.9)),
    ],
)
def test_options_of_episodes_are_refused_where_there_are_none(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"is {value!r}, but supervised tasks have no episodes. Leave it out"):
        check_source(configure(**{option: value}), supervised=True)


def test_predictions_do_not_explore() -> None:
    with pytest.raises(UserError, match=r"--entropy-bonus is 0\.1; it must be 0 where --outer-optimiser is adam"):
        configure(outer_optimiser="adam", entropy_bonus=0.1)
