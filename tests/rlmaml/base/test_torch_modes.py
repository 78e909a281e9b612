import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.deploy.adaptable import load
from tests.rlmaml.deploy.trained import LEARNED, navigation, trained_policy


@contextlib.contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "double precision": double,
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "another device": lambda: torch.device("meta"),
    "mixed precision": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES)
def test_within_it_torch_is_as_it_is_by_itself_and_afterwards_as_before(mode: str) -> None:
    def seen() -> tuple[object, ...]:
        made = torch.ones(2)
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        return made.dtype, made.device, made.is_inference(), torch.is_grad_enabled(), product.dtype

    ordinary = seen()
    with MODES[mode]():
        before = seen()
        assert before != ordinary
        with ordinary_torch():
            assert seen() == ordinary
        with pytest.raises(ZeroDivisionError), ordinary_torch():
            _ = 1 / 0
        assert seen() == before
    assert seen() == ordinary


@pytest.mark.parametrize("mode", MODES)
def test_a_policy_in_use_does_not_depend_on_the_callers_modes(tmp_path: Path, mode: str) -> None:
    trained_policy(LEARNED).save(tmp_path / "policy.safetensors")

    def used() -> tuple[Any, ...]:
        policy = load(tmp_path / "policy.safetensors")
        episodes = policy.record(navigation(), seed=1)
        adapted = policy.adapt(episodes)
        numbers = [weights.numpy() for weights in adapted.weights.values()]
        return episodes.rewards, adapted.act(episodes.observations), *numbers

    expected = used()
    with MODES[mode]():
        seen = used()
    for one, other in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(one, other)
