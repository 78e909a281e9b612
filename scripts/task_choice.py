"""On which task a script works: parameters of one's own choice, and the rest random or as training has on average."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from environments import environment_maker, in_variant
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.settings.command_line import chosen, positional_words
from rlmaml.settings.whole import Settings
from rlmaml.terminal.option_help import HELP

if TYPE_CHECKING:
    from rlmaml.core.types import Tasks
    from rlmaml.deploy.adaptable import AdaptablePolicy
    from rlmaml_envs import TaskVectorEnv
    from rlmaml_envs.task_words import Rest


@dataclass(frozen=True)
class TaskChoice:
    """A task in words."""

    task: tuple[str, ...] = ()
    """Task in simulation: all or some of its parameters by name, velocity=1.3 or goal=0.3,-0.2, or elements of them by
    name or number, motor_gain.bthigh=-1 or goal.0=0.3. All are listed with units by RUN_DIR --help."""
    rest: Literal["random", "mean"] = "random"
    """What --task does not give: random, as training may draw it, or the mean over tasks of training. Without --task,
    an adapted policy that knows its task goes on with that."""


class ChosenTask(NamedTuple):
    """A task that a script works on."""

    words: str
    """Its parameters with units."""
    values: dict[str, Any]
    """They as plain numbers, by name."""


def task_values(policy: "AdaptablePolicy", variant: str | None) -> Mapping[str, Any]:
    """The parameters of the task that a policy has adapted to, by name; empty where it is unknown, or of a variant."""
    return {} if variant else policy.adaptation.get("task_values", {})


def make_task_environment(
    settings: Settings,
    num_envs: int,
    choice: TaskChoice,
    seed: int,
    render_mode: str | None = None,
    *,
    adapted_to: Mapping[str, Any] = MappingProxyType({}),
) -> tuple["TaskVectorEnv", "ChosenTask"]:
    """An environment whose copies all work on one task, and that task.

    Args:
        settings: of the run; its family, variant, horizon and threads are used.
        num_envs: copies.
        choice: the task.
        seed: seed of what is random in the task.
        render_mode: ``"rgb_array"`` for an environment to be drawn.
        adapted_to: the parameters of the task that a policy has adapted to, which it is where none is chosen.

    Raises:
        UserError: the task is not legal in this family; the message lists its parameters with ranges and units.
    """
    from rlmaml.base.threads import warn_of_idle_threads
    from rlmaml_envs.task_words import NUM_AVERAGED, parse_task, training_mean
    from rlmaml_envs.tasks import Task, describe_task

    warn_of_idle_threads(threads=settings.run.rollout_threads)
    env = environment_maker(settings, render_mode)(num_envs)

    def rest(names: Sequence[str]) -> Task:
        if choice == TaskChoice() and set(names) <= set(adapted_to):
            return {name: np.asarray(adapted_to[name], env.wide_task_space[name].dtype) for name in names}
        if choice.rest == "mean":
            return training_mean(env.sample_tasks(NUM_AVERAGED, range(NUM_AVERAGED)), env.task_space, names)
        return {name: values[0] for name, values in env.sample_tasks(1, [seed]).items() if name in names}

    spaces, owner = env.wide_task_space, settings.run.env_id
    try:
        task = parse_task(choice.task, spaces, env.task_units, owner, rest, env.task_labels, env.task_elements)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    env.set_tasks({name: value[None] for name, value in task.items()})
    flag = "" if env.task_space.contains(task) else " (outside of the training range)"
    values = {name: np.asarray(value).tolist() for name, value in task.items()}
    return env, ChosenTask(describe_task(task, env.task_units) + flag, values)


def chosen_in_all(words: Sequence[str], settings: Settings) -> Callable[["Tasks"], "Tasks"]:
    """What makes of tasks that were drawn the same with some parameters of one's own choice.

    Args:
        words: as those of ``--task``.
        settings: of the run; its family and variant are used.

    Raises:
        UserError: when it is made or called: they are no task of this family; the message lists its parameters.
    """
    from rlmaml_envs.task_words import parse_task
    from rlmaml_envs.tasks import stack_tasks

    env, owner = environment_maker(settings)(1), settings.run.env_id

    def choose(drawn: "Tasks") -> "Tasks":
        tasks = [
            {name: values[i, ...] for name, values in drawn.items()} for i in range(len(next(iter(drawn.values()))))
        ]
        spaces, units, labels, elements = env.wide_task_space, env.task_units, env.task_labels, env.task_elements
        try:
            return stack_tasks([parse_task(words, spaces, units, owner, of(one), labels, elements) for one in tasks])
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error

    def of(task: "Tasks") -> "Rest":
        return lambda names: {name: task[name] for name in names}

    choose(env.sample_tasks(1, [0]))
    return choose


def help_with_tasks(text: str | None, arguments: Sequence[str], options: type[Any]) -> str:
    """A script's help text; of ``RUN_DIR --help`` with the tasks of that family, in the variant that is asked for.

    Args:
        text: the help text.
        arguments: the command line, where the run may be named before or after options.
        options: of the script.

    Raises:
        UserError: the policy cannot be read, or its family is not known here.
    """
    from rlmaml.storage.run_directory import policy_file

    asked = positional_words(arguments, options) if set(arguments) & set(HELP) else []
    path = next((Path(word) for word in asked if policy_file(Path(word)).is_file()), None)
    if path is None:
        return text or ""

    from rlmaml.deploy.adaptable import load
    from rlmaml_envs.task_words import legal_words

    own = OwnCode(chosen(arguments, "policy", "") or None, chosen(arguments, "family", "") or None)
    own.allow()
    policy = load(path)
    own.check(policy)
    settings = in_variant(policy.settings, chosen(arguments, "variant", "") or None)
    env = environment_maker(settings)(1)
    owner = f"{settings.run.env_id}, {settings.run.variant},"
    legal = legal_words(env.wide_task_space, env.task_units, owner, env.task_labels, env.task_elements)
    return f"{text}\n\n--task: {legal}."
