"""Step sizes for models that were not meta-trained for any: the best of several on validation tasks."""

from collections.abc import Callable, Iterable

from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import Checkpoint
from rlmaml.terminal.bars import ProgressBar

FINE_TUNING = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
"""Factors on the configured inner step sizes that are tried for policies that were not meta-trained for these."""


def fine_tuning(settings: Settings) -> list[float] | None:
    """Factors on the step sizes that are tried; None for a policy that was meta-trained for them, or takes no step."""
    takes_steps = settings.has("inner_step_sizes") and settings.inner.inner_steps == 0 < settings.run.evaluation_steps
    return list(FINE_TUNING) if takes_steps else None


def words_on_sizes(settings: Settings) -> str:
    """What a reader of returns after steps has to know of their sizes; empty where the policy was trained for them."""
    if fine_tuning(settings) is None:
        return ""
    sizes = ", ".join(f"{size:g}" for size in settings.inner.inner_step_sizes)
    return (
        f"The policy was trained for no inner step; these have the configured size, {sizes}. compare.py finds the size "
        "that is best on validation tasks."
    )


def fine_tuned(trained: Checkpoint, reached: Callable[[Checkpoint], float], *, progress: bool = True) -> Checkpoint:
    """The policy with the inner step sizes with which it reaches most on validation tasks.

    A policy that was not meta-trained has no reason to be improved by steps of the configured size: it explores
    little in the end, and steps that suit MAML would destroy it. Fairness asks for the best of ``FINE_TUNING``.

    Args:
        trained: with the configured sizes.
        reached: how much, after the last step; more is better.
        progress: show a progress bar: each size has an evaluation of its own.
    """
    settings = trained.settings
    sizes = settings.inner.inner_step_sizes
    candidates = [
        trained._replace(settings=settings.changed(inner_step_sizes=tuple(factor * size for size in sizes)))
        for factor in FINE_TUNING
    ]
    tried: Iterable[Checkpoint] = ProgressBar(
        candidates, desc="trying step sizes", unit="size", leave=False, disable=not progress
    )
    return max(tried, key=reached)
