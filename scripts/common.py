"""What the scripts share: they introduce the environments of ``envs`` to ``rlmaml``, and train."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from rlmaml.base.errors import UserError
from rlmaml.settings.config import TrainConfig

if TYPE_CHECKING:
    from envs import TaskVectorEnv
    from rlmaml.core.types import Rollout


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training script: where the run is kept, and the settings of the run."""

    run_dir: Path | None = None
    """Directory of the run; by default runs/<env id>-<variant>-seed<seed>."""
    resume: bool = False
    """Continue the run in the run directory, or begin it if there is none."""
    overwrite: bool = False
    """Delete the run in the run directory and begin anew."""
    config: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)


def train_command(defaults: TrainConfig, description: str, arguments: Sequence[str] | None = None) -> None:
    """Parse the options of a training script, train, and print the table.

    Args:
        defaults: settings that the command line may change.
        description: the script's help text.
        arguments: the command line; None for the process's own.

    Raises:
        UserError: see :func:`rlmaml.training.run.train`.
    """
    options = tyro.cli(TrainOptions, default=TrainOptions(config=defaults), description=description, args=arguments)
    config = options.config
    default_variant(config.env_id)  # an unknown id ends here, with those that are known
    if config.env_id != defaults.env_id:
        raise UserError(f"--env-id is {config.env_id}; this command trains {defaults.env_id}. Name the family first.")
    run_dir = options.run_dir or Path("runs") / f"{config.env_id}-{config.variant}-seed{config.seed}"

    from rlmaml.evaluation.table import evaluation_table
    from rlmaml.training.run import train

    evaluation = train(
        config,
        environment_maker(config),
        run_dir,
        resume=options.resume,
        overwrite=options.overwrite,
        draw=episode_drawing(config.env_id),
        make_scene=lambda: environment_maker(config, "rgb_array")(1),
    )
    print(f"\nMean return on {config.evaluation_tasks} held-out tasks, {config.evaluation_episodes} episodes each:\n")
    print(evaluation_table(evaluation.summary(), evaluation.terms, config.env_id, config.variant, config.horizon))
    print(f"\nRun: {run_dir}\nLook at it with: tensorboard --logdir {run_dir.parent}")


def check_least(*options: tuple[str, int, int]) -> None:
    """Raise a :class:`UserError` for the first option, given as its name, value and least value, that is too small."""
    for name, value, least in options:
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}.")


def environment_maker(config: TrainConfig, render_mode: str | None = None) -> Callable[[int], "TaskVectorEnv"]:
    """A function that makes the configured environment with a given number of copies."""

    def make(num_envs: int) -> "TaskVectorEnv":
        try:
            from envs import make_tasks_env

            return make_tasks_env(
                config.env_id,
                num_envs,
                config.horizon,
                render_mode=render_mode,
                variant=config.variant,
                observe_task=config.observe_task,
                threads=config.rollout_threads,
            )
        except (ImportError, ValueError) as error:
            raise UserError(str(error)) from error

    return make


def make_task_environment(
    config: TrainConfig,
    num_envs: int,
    words: Sequence[str],
    seed: int,
    variant: str | None,
    threads: int,
    render_mode: str | None = None,
) -> tuple["TaskVectorEnv", str]:
    """An environment whose copies all work on one task, and that task in words.

    Args:
        config: settings of the run; its family, variant and horizon are used.
        num_envs: copies.
        words: the task as ``name=value`` words, or ``random`` for one that training may draw.
        seed: seed of a random task.
        variant: another variant of the family than the run's.
        threads: threads of the physics.
        render_mode: ``"rgb_array"`` for an environment to be drawn.

    Raises:
        UserError: the task is not legal in this family; the message lists its parameters with ranges and units.
    """
    import numpy as np

    from envs.tasks import describe_task, parse_task
    from rlmaml.base.threads import check_threads

    config = replace(config, variant=variant or config.variant, threads=threads, rollout_threads=threads)
    check_threads(config)
    env = environment_maker(config, render_mode)(num_envs)
    try:
        if tuple(words) == ("random",):
            task = {name: np.asarray(values[0]) for name, values in env.sample_tasks(1, [seed]).items()}
        else:
            task = parse_task(words, env.wide_task_space, env.task_units, config.env_id, env.task_labels)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    env.set_tasks({name: value[None] for name, value in task.items()})
    flag = "" if env.task_space.contains(task) else " (outside of the training range)"
    return env, describe_task(task, env.task_units) + flag


def default_variant(env_id: str) -> str:
    """The first variant of a family.

    Raises:
        UserError: the id is unknown, or the family's simulator is not installed.
    """
    try:
        from envs.registry import load_family

        return next(iter(load_family(env_id).variants))
    except (ImportError, ValueError) as error:
        raise UserError(str(error)) from error


def check_beyond(config: TrainConfig) -> None:
    """Raise a :class:`UserError` where the family has no tasks beyond the training range."""
    env = environment_maker(config)(1)
    if env.wide_task_space == env.task_space:
        raise UserError(f"--beyond: every legal task of {config.env_id}, {config.variant}, is in the training range.")


def check_envpool(env_id: str, variant: str) -> str:
    """The name of EnvPool's environment with the same body and control step.

    Raises:
        UserError: EnvPool is not installed, or has no such body.
    """
    from envs.throughput import envpool_name

    try:
        name = envpool_name(env_id, variant)
    except ValueError as error:
        raise UserError(f"--against envpool: {error}") from error
    try:
        import_module("envpool")
    except ImportError as error:
        raise UserError(f"--against envpool: {error}. EnvPool is installed with: pip install envpool.") from error
    return name


def envpool_measure(config: TrainConfig, name: str) -> Callable[[], float]:
    """Measures EnvPool's control steps per second, at the sizes of a run and under its first policy's actions."""
    from envs.throughput import envpool_rate

    copies = config.num_tasks * config.num_episodes
    return lambda: envpool_rate(name, copies, config.horizon, config.rollout_threads, config.initial_std)


def physics_replay(env: "TaskVectorEnv", sampled: "Rollout") -> float:
    """Seconds that MuJoCo alone takes for a rollout's steps, from the states to which the environment was reset."""
    from envs.throughput import replay_seconds

    return replay_seconds(env, sampled.actions.flatten(0, 1).numpy(), sampled.valid.flatten(0, 1).numpy())


def episode_drawing(env_id: str) -> Callable[..., None]:
    """How the family's episodes are drawn in figures: paths for navigation, rewards over time for the others."""
    from rlmaml.evaluation.figures import draw_rewards

    if env_id != "Navigation2D-v0":
        return draw_rewards

    from envs.navigation_drawing import draw_paths

    def draw(axes: Any, task: Any, episodes: Any, **style: Any) -> None:
        draw_paths(axes, task, [episode.observations for episode in episodes], **style)

    return draw
