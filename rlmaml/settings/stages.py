"""What the stages of a method are called, wherever a picture or a curve shows them."""

from collections.abc import Callable
from typing import TypeAlias

from rlmaml.settings.inner import MemorySettings, TaughtSettings
from rlmaml.settings.whole import Settings
from rlmaml.terminal.words import counted

StageWords: TypeAlias = Callable[[int], str]
"""The words for stage k."""


def after_steps(k: int) -> str:
    """Of a policy that takes inner steps."""
    return f"after {counted(k, 'inner step')}" if k else "before adaptation"


def after_episodes(k: int) -> str:
    """Of a policy that lives through episodes."""
    return f"after {counted(k, 'episode')}" if k else "before adaptation"


def teacher_and_student(k: int) -> str:
    """Of a training in which a teacher acts first, and then the student, episode after episode."""
    return f"student, episode {k}" if k else "teacher"


def stage_unit(settings: Settings) -> str:
    """What the numbers of the stages count, where a table shows them."""
    if isinstance(settings.inner, TaughtSettings):
        trial = settings.inner.trial_episodes
        return "episodes, each begun anew" if trial == 1 else f"episodes, begun anew after {trial}"
    return "episodes lived" if isinstance(settings.inner, MemorySettings) else "steps"


def stage_words(settings: Settings, *, in_training: bool = False) -> StageWords:
    """The words for the stages of a run; in training a teacher may act first."""
    if isinstance(settings.inner, TaughtSettings) and in_training:
        return teacher_and_student
    return after_episodes if isinstance(settings.inner, MemorySettings) else after_steps
