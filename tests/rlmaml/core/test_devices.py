from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlmaml.core.devices import move

META_DEVICE = torch.device("meta")
"""A device without memory: what lies there has moved, on every machine."""


class Value(NamedTuple):
    tensor: Tensor
    number: float
    nested: dict[str, Tensor]


def test_every_tensor_in_a_value_moves_and_everything_else_stays_as_it_is() -> None:
    value = Value(torch.ones(2), 3.5, {"b": torch.zeros(1), "a": torch.zeros(2)})
    given: list[Any] = [value, (torch.ones(3), "text"), None, ()]
    named, pair, nothing, empty = move(given, META_DEVICE)
    assert isinstance(named, Value)
    assert isinstance(pair, tuple)
    assert [named.tensor.device, pair[0].device] == [META_DEVICE] * 2
    assert list(named.nested) == ["b", "a"]
    assert all(tensor.device == META_DEVICE for tensor in named.nested.values())
    assert (named.number, pair[1], nothing, empty) == (3.5, "text", None, ())


def test_what_is_there_already_is_the_same_tensor() -> None:
    tensor = torch.ones(2)
    assert move(tensor, "cpu") is tensor
    assert move({"x": tensor}, torch.device("cpu"))["x"] is tensor


def test_moving_leaves_the_value_itself_alone() -> None:
    value = {"x": torch.ones(2)}
    move(value, META_DEVICE)
    assert value["x"].device == torch.device("cpu")
