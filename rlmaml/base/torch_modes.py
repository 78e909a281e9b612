"""Other people's torch settings: what is computed here does not depend on them, and they are as before afterwards."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def ordinary_torch() -> Iterator[None]:
    """Single precision, on the CPU where no device is named, with gradients and without automatic mixed precision.

    Also a decorator. Whoever calls may have set another default type or device, or be inside of ``torch.no_grad``,
    ``torch.inference_mode`` or ``torch.autocast``; tensors that are made in inference mode could never be trained.
    Filters of warnings, which packages add to when torch imports them on first use, are as before, too.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as modes:
        modes.callback(_put_back, list(warnings.filters))
        modes.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


def _put_back(filters: list[Any]) -> None:
    if list(warnings.filters) != filters:
        with warnings.catch_warnings():  # whose end tells the others that there are other filters
            pass
        warnings.filters[:] = filters  # type: ignore[index]
