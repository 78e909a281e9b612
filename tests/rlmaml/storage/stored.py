"""Small valid contents of files that a run leaves."""

import json
from collections.abc import Sequence
from typing import Any

from rlmaml.settings.whole import Settings, configure


def evaluation(
    settings: Settings | None = None, returns: Sequence[float | None] = (-4.0, -2.0), failed: float = 0.0
) -> dict[str, Any]:
    """An evaluation with the same returns on every task."""
    settings = settings or configure(hidden=(8,), evaluation_tasks=2)
    rows = [list(returns) for _ in range(settings.run.evaluation_tasks)]
    shares = [failed for _ in returns]
    plain: dict[str, Any] = json.loads(json.dumps(settings.as_plain()))
    return {
        "returns": {"mean": list(returns), "mean_with_failed": list(returns), "share_unstable": shares},
        "per_task": rows,
        "per_task_with_failed": rows,
        "config": {"settings": plain, "commit": "abc"},
    }


def metrics(iterations: int, seconds: Sequence[float] = (1.5, 2.5)) -> str:
    """Lines of a run, whose meta-iterations take these seconds in turn."""
    line = '{{"iteration": {}, "return/after_0_steps": -4.0, "seconds/iteration": {}}}\n'
    return "".join(line.format(i, seconds[i % len(seconds)]) for i in range(iterations))
