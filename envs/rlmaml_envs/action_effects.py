"""Whether each number of an action is seen to change anything: observations, rewards, ends of episodes.

A motor whose gear is 0, or a number that ``step`` never reads, costs a policy nothing that a training would show.
Copies of one task that are commanded otherwise in one number of one control step alone must come to differ afterwards,
while all are commanded alike: a cost of the action itself is no effect of it.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from rlmaml_envs.family import TaskFamily
from rlmaml_envs.task_effects import MANY_STEPS, SOON, run_apart
from rlmaml_envs.tasks import Task, stack_tasks

ENDS = -1.0, 1.0
"""What a number of the action is in the step that differs, in place of what all others have."""


def unseen_actions(family: TaskFamily, tasks: Sequence[Task], num_copies: int) -> list[int]:
    """The numbers of an action that were not seen to change anything in any of the tasks.

    Args:
        family: ``num_copies`` worlds.
        tasks: some that were drawn: a motor may be dead in one of them.
        num_copies: the first one has the action that the others have in all numbers but one.
    """
    missing = list(range(family.action_space.shape[0]))
    for steps, task, end in product((SOON, MANY_STEPS), tasks, ENDS):
        changed = [(number, end) for number in missing]
        missing = []
        while changed:
            few, changed = changed[: num_copies - 1], changed[num_copies - 1 :]
            differ = commanded_otherwise(family, task, few, num_copies, steps)
            missing += [number for (number, _), differs in zip(few, differ, strict=True) if not differs]
        if not missing:
            break
    return missing


def commanded_otherwise(
    family: TaskFamily, task: Task, changes: Sequence[tuple[int, float]], num_copies: int, steps: int
) -> npt.NDArray[np.bool_]:
    """Which changes of the first action lead elsewhere, from the same start in the same task, (changes,).

    Args:
        family: ``num_copies`` worlds.
        task: that of all of them.
        changes: number of the action, and its value in the first step.
        num_copies: more than there are changes; worlds without one stand still, as do those that differ already.
        steps: control steps after which no more is looked for.
    """
    copies, asked = np.arange(num_copies), np.arange(len(changes) + 1)
    family.set_tasks(asked, stack_tasks([task] * len(asked)))
    family.reset(asked, {copy: np.random.default_rng(0) for copy in asked.tolist()})

    def actions() -> Iterator[npt.NDArray[np.float64]]:
        stream, size = np.random.default_rng(100), family.action_space.shape[0]
        first = np.tile(stream.uniform(-0.5, 0.5, size), (num_copies, 1))
        for copy, (number, value) in enumerate(changes, 1):
            first[copy, number] = value
        yield first
        for _ in range(steps - 1):
            yield np.tile(stream.uniform(-1, 1, size), (num_copies, 1))

    paid = lambda step, terms: {**(terms if step else {}), **family.readouts()}
    return run_apart(family, copies <= len(changes), actions(), paid)[1 : len(changes) + 1]
