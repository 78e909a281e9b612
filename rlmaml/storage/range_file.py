"""The range of a run's contexts as a file beside it, which goes with the policy onto a robot."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.rules.search_rule import ContextRange
from rlmaml.storage.run_directory import write_json


class StoredRange(NamedTuple):
    """A range, and after how many meta-iterations it was measured."""

    iteration: int
    limits: ContextRange


def write_context_range(path: Path, stored: StoredRange) -> None:
    """Write a range as JSON.

    Raises:
        UserError: it cannot be written.
    """
    sides = {side: _plain(params) for side, params in stored.limits._asdict().items()}
    write_json(path, {"iteration": stored.iteration, **sides})


def read_context_range(path: Path | str) -> StoredRange | None:
    """The range in a file; None where there is no file.

    Raises:
        UserError: it is no range: not JSON of this layout, not finite, or without 0.
    """
    try:
        content = read_json(Path(path))
        low, high, bounds = (
            {name: torch.tensor(values) for name, values in content.get(side, {}).items()}
            for side in ContextRange._fields
        )
        whole = low.keys() == high.keys() and all(low[name].shape == high[name].shape for name in low)
        around = whole and all(bool(((low[n] <= 0) & (high[n] >= 0) & low[n].isfinite()).all()) for n in low)
        others = [*high.values(), *bounds.values()]
        if not low or not around or not all(bool(value.isfinite().all()) for value in others):
            raise ValueError("it must hold finite numbers, low ones not above 0 and high ones not below")
        if type(content["iteration"]) is not int:
            raise ValueError("its meta-iteration is no whole number")
        return StoredRange(content["iteration"], ContextRange(low, high, bounds))
    except FileNotFoundError:
        return None
    except (UserError, AttributeError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no range of contexts ({error}). Delete it; it is measured again.") from error


def _plain(params: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in params.items()}
