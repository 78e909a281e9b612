"""Moving values between devices: the one place where tensors enter the update's device and come back from it."""

from typing import Any, TypeVar, cast

import torch
from torch import Tensor

ValueT = TypeVar("ValueT")


def move(value: ValueT, device: str | torch.device) -> ValueT:
    """The same value with every tensor in it on a device: dictionaries, tuples, named tuples and lists are walked."""
    moved: Any = value
    if isinstance(value, Tensor):
        moved = value.to(device)
    elif isinstance(value, dict):
        moved = {name: move(part, device) for name, part in value.items()}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        moved = type(value)(*(move(part, device) for part in value))
    elif isinstance(value, list | tuple):
        moved = type(value)(move(part, device) for part in value)
    return cast(ValueT, moved)
