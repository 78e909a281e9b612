"""How much memory some settings need at least: what certainly is in memory at once, in single precision.

Whoever needs more than there is, is refused before anything is computed. What is left out (copies, the optimiser's
moments, buffers of libraries) is as much again or more, so that what is not refused may still not fit.
"""

import itertools
import math
from typing import Any

from rlmaml.base.memory import check_memory
from rlmaml.settings.inner import MemorySettings
from rlmaml.settings.run import RunSettings
from rlmaml.settings.whole import Settings
from rlmaml.terminal.words import counted

NUMBER = 4
"""Bytes of a number."""
OF_A_STEP = 17
"""Numbers that a rollout keeps of every step besides its network: observation, action, mean, deviation, reward, where
the robot was, ..."""
SCORE = 8
"""Bytes of a task's return or score after a step, which all evaluations keep."""
OF_A_COPY = 256
"""Bytes of an environment's copy: its state, task, generator and flags."""


def units(network: Any) -> int:
    """Outputs of a network's hidden layers, together."""
    hidden, memory = _widths(network)
    pixels: int = math.prod(getattr(network, "image", ())[1:])
    return sum(hidden) + 3 * memory + pixels * int(getattr(network, "filters", 0))


def network_bytes(network: Any) -> int:
    """Of the weights between a network's hidden layers, and its vectors; 0 where its kind has no settings of such."""
    hidden, memory = _widths(network)
    layers: int = sum(before * after for before, after in itertools.pairwise(hidden))
    vectors = sum(getattr(network, "categories", ())) * getattr(network, "embedding", 0)
    filters = 3 * 9 * getattr(network, "filters", 0) ** 2
    return NUMBER * (layers + sum(hidden) + 3 * memory * memory + vectors + filters)


def _widths(network: Any) -> tuple[tuple[int, ...], int]:
    """Of the hidden layers, and of the memory."""
    return getattr(network, "hidden", ()), getattr(network, "memory", 0)


def episodes_bytes(run: RunSettings, copies: int) -> int:
    """Of one episode in every copy of an environment."""
    return copies * (OF_A_COPY + NUMBER * OF_A_STEP * (run.horizon or 1))


def training_bytes(settings: Settings, num_tasks: int) -> int:
    """Of a meta-iteration on so many tasks: the episodes of all stages, and what the network says to one of them.

    Where a derivative passes through the inner steps, what it says to all stages is kept until that is taken.
    """
    stages: int = settings.inner.inner_steps + 1
    run, network, blocks = settings.run, settings.network, settings.task_blocks
    copies = num_tasks * run.num_episodes
    episodes, said = stages * episodes_bytes(run, copies), NUMBER * copies * (run.horizon or 1) * units(network)
    if blocks is not None:  # one theta, and one block of tasks after another
        return episodes + said // blocks
    through = stages if getattr(settings.inner, "first_order", True) is False else 1
    return episodes + through * (said + num_tasks * network_bytes(network))


def check_training_fits(settings: Settings, num_tasks: int) -> None:
    """Refuse a training on so many tasks, or the evaluation at its end, that needs more memory than there is.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    run, least = settings.run, "Take fewer --tasks or --episodes, a shorter --horizon or smaller --hidden layers."
    check_memory(training_bytes(settings, num_tasks), f"A meta-iteration on {counted(num_tasks, 'task')}", least)
    check_evaluation_fits(
        run, run.evaluation_tasks * run.evaluation_episodes, run.evaluation_tasks, run.evaluation_steps
    )


def evaluation_bytes(run: RunSettings, copies: int, num_tasks: int, steps: int, *, kept: bool) -> int:
    """Of an evaluation after so many steps: one stage's episodes, or all that are kept, and every stage's returns."""
    return (steps + 1 if kept else 1) * episodes_bytes(run, copies) + (steps + 1) * num_tasks * SCORE


def check_evaluation_fits(run: RunSettings, copies: int, num_tasks: int, steps: int, *, kept: bool = True) -> None:
    """Refuse an evaluation that needs more memory than there is.

    Args:
        run: settings of the run.
        copies: of the environment, an episode each.
        num_tasks: held-out tasks.
        steps: of adaptation, one stage after each.
        kept: whether what was sampled is kept.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    what = f"The evaluation of {counted(copies, 'episode')} after each of {counted(steps, 'step')}"
    needed = evaluation_bytes(run, copies, num_tasks, steps, kept=kept)
    check_memory(needed, what, "Take fewer tasks, episodes or steps.")


def check_lived_fits(settings: Settings, episodes: int, *, searches: bool) -> None:
    """Refuse so many episodes lived on each held-out task that need more memory than there is.

    A memory or a search lives through them one by one; steps share them, and take each share at once.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    run = settings.run
    one_by_one = searches or isinstance(settings.inner, MemorySettings)
    at_once = 1 if one_by_one else -(-episodes // max(settings.inner.inner_steps, 1))
    needed = episodes_bytes(run, run.evaluation_tasks * at_once) + SCORE * run.evaluation_tasks * episodes
    what = f"Living {counted(episodes, 'episode')} on each of {counted(run.evaluation_tasks, 'task')}"
    check_memory(needed, what, "Take fewer tasks, or a smaller number in --lived.")


def check_draws_fit(settings: Settings, draws: int) -> None:
    """Refuse so many draws of tasks that need more memory than there is: all stages of each are kept, twice.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    stages: int = settings.inner.inner_steps + 1
    once = stages * episodes_bytes(settings.run, settings.run.num_tasks * settings.run.num_episodes)
    check_memory(2 * draws * once, f"{counted(draws, 'draw')} of tasks and episodes", "Take fewer --draws.")


def check_examples_fit(settings: Settings, num_tasks: int, num_bytes: int, num_examples: int, what: str) -> None:
    """Refuse what takes supervised tasks, so many at once, and needs more memory than there is.

    Args:
        settings: of the run.
        num_tasks: at once.
        num_bytes: of the examples of one task.
        num_examples: how many these are.
        what: takes them.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    one = num_bytes + NUMBER * num_examples * units(settings.network) + network_bytes(settings.network)
    cure = "Take fewer tasks, fewer examples of each, or a smaller network."
    check_memory(num_tasks * one, f"{what} {counted(num_tasks, 'task')}", cure)


def check_scores_fit(run: RunSettings) -> None:
    """Refuse scores of held-out supervised tasks after so many steps that need more memory than there is.

    Raises:
        UserError: names what needs how much, and how much there is.
    """
    tasks, steps = counted(run.evaluation_tasks, "task"), counted(run.evaluation_steps, "step")
    needed = SCORE * run.evaluation_tasks * (run.evaluation_steps + 1)
    check_memory(needed, f"Scoring {tasks} after each of {steps}", "Take fewer of them.")
