from types import SimpleNamespace
from typing import Any

import pytest
from gymnasium import spaces

from rlmaml.base.errors import UserError
from rlmaml.policies.sizes import Sizes, check_actions, sizes_of


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
