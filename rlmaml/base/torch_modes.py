"""Other people's torch settings: what is computed here does not depend on them, and they are as before afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from rlmaml.base.as_before import Held, held_filters

single_precision = Held(torch.get_default_dtype, torch.set_default_dtype, lambda _: torch.float32)
"""The default type, of all threads."""


@contextmanager
def ordinary_torch() -> Iterator[None]:
    """Single precision, on the CPU where no device is named, with gradients and without automatic mixed precision.

    Also a decorator. Whoever calls may have set another default type or device, or be inside of ``torch.no_grad``,
    ``torch.inference_mode`` or ``torch.autocast``; tensors that are made in inference mode could never be trained.
    Filters of warnings, which packages add to when torch imports them on first use, are as before, too.
    """
    with ExitStack() as modes:
        modes.enter_context(held_filters())
        modes.enter_context(single_precision())
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield
