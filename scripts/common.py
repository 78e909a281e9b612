"""What the scripts share: they introduce the environments of ``rlmaml_envs`` to ``rlmaml``, and train."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from defaults import tuned
from resuming import telling_how_to_resume, training_words
from rlmaml.base.errors import UserError
from rlmaml.base.memory import check_memory
from rlmaml.base.stopping import check_minutes
from rlmaml.settings.command_line import chosen, parse
from rlmaml.settings.config_file import Config, config_of
from rlmaml.settings.inner import MemorySettings
from rlmaml.settings.memory_needed import episodes_bytes
from rlmaml.settings.methods.registry import DEFAULT_METHOD
from rlmaml.settings.run import RunSettings
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.whole import Settings
from rlmaml.terminal.words import counted
from supervised import check_of_episodes

if TYPE_CHECKING:
    from rlmaml.core.types import Rollout
    from rlmaml.deploy.adaptable import AdaptablePolicy
    from rlmaml.evaluation.figures import DrawEpisodes
    from rlmaml.rules.search_rule import Search
    from rlmaml.storage.checkpoint import Checkpoint
    from rlmaml_envs import TaskVectorEnv


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training script that are no settings: where the run is kept."""

    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Directory of the run; by default runs/<env id>-<variant>-seed<seed>, with the method's name where it is not
    maml-trpo."""
    resume: bool = False
    """Continue the run in the run directory, or begin it if there is none."""
    overwrite: bool = False
    """Delete the run in the run directory and begin anew."""
    stop_after: float | None = None
    """Minutes of training after which no further meta-iteration is begun: the run is kept, --resume goes on with it,
    and the exit code is 75, as after a signal."""
    hold_out: str | None = None
    """Train on any change of the robot but this kind, which is the variant any_but_KIND. evaluate.py --beyond tests on
    it."""
    family: str | None = None
    """In place of an id, a task family of your own, FILE.py:NAME or package.module:NAME, which is then run; its id is
    NAME-v0."""
    config: Path | None = None
    """Begin from the settings of another run, its run.json, or from options in a YAML file, such as max-kl: 0.02; any
    option that is given overrules it."""


@dataclass(frozen=True)
class OwnCode:
    """Code of the user's own that a stored policy needs, and that is run where it is named, and nowhere else."""

    policy: str | None = None
    """Let this torch module of your own, FILE.py:NAME, be run; needed where the run's policy is one."""
    family: str | None = None
    """Let this task family of your own, FILE.py:NAME or package.module:NAME, be run; needed where the run's is one."""

    def allow(self) -> None:
        """Run it.

        Raises:
            UserError: there is no such file, module or name, or it is none of the kind.
        """
        allow_policy(self.policy)
        if self.family:
            allow_family(self.family)

    def check(self, trained: "Checkpoint | AdaptablePolicy") -> None:
        """Refuse a policy of another family than the one that was named, or of one that is not known here.

        Raises:
            UserError: names both, or where the policy's family came from; or it is of supervised tasks.
        """
        from rlmaml_envs.registry import FAMILIES

        env_id = trained.settings.run.env_id
        check_of_episodes(env_id)
        if self.family and allow_family(self.family) != env_id:
            raise UserError(
                f"The policy was trained on {env_id}; --family {self.family} is {allow_family(self.family)}."
            )
        if env_id not in FAMILIES and trained.family:
            raise UserError(
                f"The policy was trained on a task family of your own, {env_id}, from {trained.family['from']}. Say "
                "that its code may be run: --family FILE.py:NAME, or package.module:NAME."
            )


@dataclass(frozen=True)
class Machine:
    """Where a script computes."""

    device: str = "cpu"
    """Where steps of adaptation are computed: cpu, cuda or cuda:N."""
    rollout_device: str = "cpu"
    """Where the policy acts, beside the physics: cpu, cuda or cuda:N."""
    threads: int = 2
    """Threads of the physics, and of adaptation to several tasks at once."""

    def __post_init__(self) -> None:
        """Check the devices' names and the number of threads before anything is loaded.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        RunSettings(device=self.device, rollout_device=self.rollout_device, threads=self.threads)

    def applied(self, settings: Settings) -> Settings:
        """The settings on this machine."""
        return settings.changed(
            device=self.device,
            rollout_device=self.rollout_device,
            threads=self.threads,
            rollout_threads=self.threads,
        )


def train_command(env_id: str, description: str, arguments: Sequence[str] | None = None) -> None:
    """Parse the options of a training script, train, and print the table.

    Several processes started by ``torchrun`` share the tasks; the first of them writes and prints.

    Args:
        env_id: the family that the command trains.
        description: the script's help text.
        arguments: the command line; None for the process's own.

    Raises:
        UserError: see :func:`rlmaml.training.run.train`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    config = config_of(arguments)
    said = [*config.words, *arguments]
    held_out = chosen(said, "hold_out", "") or None

    def defaults(variant: str | None, method: str) -> Settings:
        if config.settings is None:
            return tuned(env_id, chosen_variant(env_id, variant, held_out), method)
        own = config.settings.run.variant if config.settings.run.env_id == env_id and not held_out else None
        return begun_from(config.settings, env_id, chosen_variant(env_id, variant or own, held_out))

    options, settings = parse(TrainOptions(), defaults, description, arguments, config.words)
    check_minutes(options.stop_after)
    settings = resolved(settings)
    run = settings.run
    if options.family and allow_family(options.family) != env_id:
        raise UserError(
            f"--family is {options.family}; this command trains {env_id}. Use: train_locomotion.py --family "
            f"{options.family}."
        )
    if run.env_id != env_id:
        command = " ".join(training_words(run.env_id))
        raise UserError(f"--env-id is {run.env_id}; this command trains {env_id}. Use: {command}.")
    name = "" if settings.algorithm == DEFAULT_METHOD else f"-{settings.algorithm}"
    run_dir = options.run_dir or Path("runs") / f"{run.env_id}-{run.variant}{name}-seed{run.seed}"

    from rlmaml.core.ranks import join_ranks, own_device
    from rlmaml.evaluation.table import evaluation_table
    from rlmaml.settings.stages import stage_unit
    from rlmaml.training.run import train

    allow_policy(settings.policy)
    here = settings.changed(
        device=own_device(os.environ, run.device), rollout_device=own_device(os.environ, run.rollout_device)
    )
    with telling_how_to_resume(run_dir, arguments, settings, options.family):
        evaluation = train(
            here,
            environment_maker(settings),
            run_dir,
            resume=options.resume,
            overwrite=options.overwrite,
            stop_after=options.stop_after,
            draw=episode_drawing(run.env_id, run.variant),
            make_scene=lambda: environment_maker(settings, "rgb_array")(1),
            sums=join_ranks(os.environ, here.run.device),
        )
    if evaluation is None:
        return
    shown = published(settings, run.evaluation_tasks, run.evaluation_episodes)
    tasks, episodes = counted(run.evaluation_tasks, "held-out task"), counted(run.evaluation_episodes, "episode")
    print(f"\nMean return on {tasks}, {episodes} each, of sampled actions:\n")
    print(evaluation_table(evaluation.summary(), evaluation.terms, shown, unit=stage_unit(settings)))
    print(f"\nRun: {run_dir}\nLook at it with: tensorboard --logdir {run_dir.parent}")


def begun_from(stored: Settings, env_id: str, variant: str) -> Settings:
    """The settings of another run for a family's variant; its horizon is for its own variant alone."""
    same = (stored.run.env_id, stored.run.variant) == (env_id, variant)
    return stored if same else stored.changed(env_id=env_id, variant=variant, horizon=None)


def resolved(settings: Settings) -> Settings:
    """The settings with the horizon of the variant's data sheet where none was asked for.

    Raises:
        UserError: the family or its variant is unknown.
    """
    from rlmaml_envs import horizon_of
    from rlmaml_envs.registry import constants_of

    run = settings.run
    try:
        constants_of(run.env_id, run.variant)
        return settings.changed(horizon=run.horizon or horizon_of(run.env_id, run.variant))
    except (ImportError, ValueError) as error:
        raise UserError(str(error)) from error


def allow_policy(kind: str | None) -> None:
    """Let a torch module of the user's own, FILE.py:NAME, be run; other kinds are known anyway.

    Raises:
        UserError: there is no such file or name.
    """
    if kind and ":" in kind:
        from rlmaml.policies.kinds import register_module

        register_module(kind)


def allow_family(word: str) -> str:
    """Let a task family of the user's own be run, and make it known by its id, NAME-v0, in this process.

    Args:
        word: FILE.py:NAME or package.module:NAME.

    Returns:
        The id.

    Raises:
        UserError: there is no such file, module or name, it is no family, or its id is taken.
    """
    from rlmaml.base.user_code import named_object

    found = named_object("--family", word)
    env_id = f"{found.name}-v0"
    try:
        from rlmaml_envs import register_family
        from rlmaml_envs.registry import FAMILIES, origin_of

        if env_id not in FAMILIES or origin_of(env_id) != found.place:
            register_family(env_id, found.value, origin=found.place, text=found.text)
    except (ImportError, ValueError) as error:
        raise UserError(f"--family {word}: {error}") from error
    return env_id


def chosen_family(env_id: str | None, word: str | None, default: str | None = None) -> str:
    """The id of the family that a command names: its own, that of ``--family``, or the default one.

    Raises:
        UserError: it names two, or none; or see :func:`allow_family`.
    """
    if env_id and word:
        raise UserError(f"{env_id} names a task family, and so does --family {word}. Give one of them.")
    if not (env_id or word or default):
        raise UserError("Give the task family first, e.g. HalfCheetahDir-v0, or one of your own with --family.")
    return allow_family(word) if word else str(env_id or default)


def family_of(config: Config) -> str | None:
    """The id of the family that the file of ``--config`` is of; None where it says nothing.

    Raises:
        UserError: it is one of the user's own that is not known here.
    """
    from rlmaml_envs.registry import FAMILIES

    if config.settings is not None and config.env_id not in FAMILIES:
        raise UserError(
            f"--config is of a run on {config.env_id}, which is none of our families"
            f"{f', from {config.origin}' if config.origin else ''}. Say that its code may be run: --family "
            "FILE.py:NAME, or package.module:NAME; or name one of ours."
        )
    return config.env_id


def published(
    settings: Settings, tasks: int, episodes: int, differs: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, tuple[float, ...]]:
    """Published returns of the same problem, after 0, 1, 2, 3 inner steps; empty where none compare.

    Args:
        settings: of the run.
        tasks: on which it is evaluated.
        episodes: per task and inner step. Both are to be those of a published row; where none has them, that is said.
        differs: what published returns are, in words -> whether these here are not; that is said, too.
    """
    from rlmaml_envs import horizon_of, published_returns

    run = resolved(settings).run
    own = horizon_of(run.env_id, run.variant)
    found = dict(published_returns(run.env_id, run.variant, own))
    lived = isinstance(settings.inner, MemorySettings) or differs.get("of inner steps", False)
    differs = {f"of episodes of {own} steps": run.horizon != own, **differs, "of inner steps": lived}
    others = [words for words, other in differs.items() if other]
    if found and others:
        print(f"Published returns are {' and '.join(others)}, and not shown beside other ones.", file=sys.stderr)
        return {}
    fitting = {name: row.means for name, row in found.items() if (row.tasks, row.episodes) == (tasks, episodes)}
    if found and not fitting:
        sizes = [sorted({getattr(row, size) for row in found.values()}) for size in ("tasks", "episodes")]
        of = [" or ".join(map(str, numbers)) for numbers in sizes]
        print(
            f"Published returns are of {of[0]} tasks with {of[1]} episodes each, and not shown beside other ones: "
            f"--tasks {sizes[0][0]} --episodes {sizes[1][0]}.",
            file=sys.stderr,
        )
    return fitting


def check_least(*options: tuple[str, int, int]) -> None:
    """Raise a :class:`UserError` for the first option, given as its name, value and least value, that is too small."""
    for name, value, least in options:
        if value < least:
            raise UserError(f"{name} is {value}; it must be at least {least}.")


def check_budget_alone(trust_region: float | None, steps: bool, episodes: bool) -> None:
    """Refuse what says in another way how a search goes: a trust region, a number of steps, or episodes per step.

    Raises:
        UserError: names the options.
    """
    if trust_region is not None or steps or episodes:
        raise UserError(
            "--search takes as many steps as --search-episodes and --search-average say; it excludes --trust-region, "
            "--steps and --episodes-per-step."
        )


def trained_search(settings: SearchSettings, run_dir: Path, machine: Machine) -> "Search":
    """A search within the range of a run's contexts, which is measured in the variant of its training if need be.

    Raises:
        UserError: see :func:`rlmaml.training.run.trained_context_range`.
    """
    from rlmaml.rules.search_rule import Search
    from rlmaml.storage.kept_checkpoints import newest_checkpoint
    from rlmaml.storage.run_directory import beside
    from rlmaml.training.run import trained_context_range

    directory = beside(run_dir)
    checkpoint = newest_checkpoint(directory)
    trained = machine.applied(checkpoint.settings)
    limits = trained_context_range(checkpoint._replace(settings=trained), environment_maker(trained), directory)
    return Search(settings, limits)


def environment_maker(
    settings: Settings, render_mode: str | None = None, *, family: str | None = None, told: bool = True
) -> Callable[[int], "TaskVectorEnv"]:
    """A function that makes the configured environment with a given number of copies.

    Args:
        settings: of the run.
        render_mode: ``"rgb_array"`` for an environment to be drawn.
        family: a family of the user's own that another process may not know yet, as ``--family`` names it.
        told: where False, observations do not end in the task, not even an ``oracle``'s.

    Raises:
        UserError: see :func:`allow_family`.
    """
    run = settings.run
    if family:
        allow_family(family)

    def make(num_envs: int) -> "TaskVectorEnv":
        episodes = "One episode" if num_envs == 1 else f"An episode in each of {num_envs} copies"
        check_memory(episodes_bytes(run, num_envs), episodes, "Take fewer tasks or episodes, or a shorter --horizon.")
        try:
            from rlmaml_envs import make_tasks_env

            return make_tasks_env(
                run.env_id,
                num_envs,
                run.horizon,
                render_mode=render_mode,
                variant=run.variant,
                observe_task=told and run.observe_task,
                threads=run.rollout_threads,
            )
        except (ImportError, ValueError) as error:
            raise UserError(str(error)) from error

    return make


def in_variant(settings: Settings, variant: str | None) -> Settings:
    """The settings of a run for another variant of its family, as long as the run's; None for the run's own."""
    return settings.changed(variant=variant) if variant else settings


def chosen_variant(env_id: str, variant: str | None, hold_out: str | None) -> str:
    """The variant that ``--variant`` names or ``--hold-out`` stands for; without both, the first of the family.

    Raises:
        UserError: both are given, the id is unknown, or the family has no such kind of change.
    """
    if hold_out is None:
        return variant or default_variant(env_id)
    if variant is not None:
        raise UserError(f"--hold-out {hold_out} names a variant, and so does --variant {variant}. Give one of them.")
    try:
        from rlmaml_envs.kinds import variant_without
        from rlmaml_envs.registry import load_family

        return variant_without(env_id, load_family(env_id).variants, hold_out)
    except (ImportError, ValueError) as error:
        raise UserError(f"--hold-out: {error}") from error


def default_variant(env_id: str) -> str:
    """The first variant of a family.

    Raises:
        UserError: the id is unknown, or the family's simulator is not installed.
    """
    try:
        from rlmaml_envs.registry import load_family

        return next(iter(load_family(env_id).variants))
    except (ImportError, ValueError) as error:
        raise UserError(str(error)) from error


def has_physics(env_id: str) -> bool:
    """Whether a family's robots are moved by MuJoCo.

    Raises:
        UserError: the id is unknown.
    """
    settings = tuned(env_id, default_variant(env_id))
    return environment_maker(settings)(1).has_physics


def has_tasks_beyond(settings: Settings) -> bool:
    """Whether the family has tasks beyond the training range."""
    env = environment_maker(settings)(1)
    return bool(env.wide_task_space != env.task_space)


def unchanged_variant(settings: Settings) -> str | None:
    """The variant of a family in which the robot is as it was built; None where there is none, or it is this one."""
    from rlmaml_envs.kinds import UNCHANGED
    from rlmaml_envs.registry import load_family

    there = UNCHANGED in load_family(settings.run.env_id).variants and settings.run.variant != UNCHANGED
    return UNCHANGED if there else None


def check_beyond(settings: Settings) -> None:
    """Raise a :class:`UserError` where the family has no tasks beyond the training range."""
    if not has_tasks_beyond(settings):
        run = settings.run
        raise UserError(f"--beyond: every legal task of {run.env_id}, {run.variant}, is in the training range.")


def check_envpool(env_id: str, variant: str) -> str:
    """The name of EnvPool's environment with the same body and control step.

    Raises:
        UserError: EnvPool is not installed, or has no such body.
    """
    from rlmaml_envs.throughput import envpool_name

    try:
        name = envpool_name(env_id, variant)
    except ValueError as error:
        raise UserError(f"--against envpool: {error}") from error
    try:
        import_module("envpool")
    except ImportError as error:
        raise UserError(f"--against envpool: {error}. EnvPool is installed with: pip install envpool.") from error
    return name


def envpool_measure(settings: Settings, name: str, horizon: int) -> Callable[[], float]:
    """Measures EnvPool's control steps per second, at the sizes of a run and under its first policy's actions."""
    from rlmaml_envs.throughput import envpool_rate

    run = settings.run
    copies = run.num_tasks * run.num_episodes
    return lambda: envpool_rate(name, copies, horizon, run.rollout_threads, settings.network.initial_std)


def physics_replay(env: "TaskVectorEnv", sampled: "Rollout") -> float:
    """Seconds that MuJoCo alone takes for a rollout's steps, from the states to which the environment was reset."""
    from rlmaml_envs.throughput import replay_seconds

    return replay_seconds(env, sampled.actions.flatten(0, 1).numpy(), sampled.valid.flatten(0, 1).numpy())


def episode_drawing(env_id: str, variant: str, family: str | None = None) -> "DrawEpisodes":
    """How a variant's episodes are drawn in figures, to be pickled: as it says, or as rewards over time.

    Args:
        env_id: the family's id.
        variant: the variant.
        family: as in :func:`environment_maker`.
    """
    from rlmaml.evaluation.figures import draw_rewards
    from rlmaml_envs import path_drawing

    return partial(_draw_observations, env_id, variant, family) if path_drawing(env_id, variant) else draw_rewards


def _draw_observations(
    env_id: str, variant: str, family: str | None, axes: Any, task: Any, episodes: Any, **style: Any
) -> None:
    from rlmaml_envs import path_drawing

    if family:
        allow_family(family)
    draw_paths = path_drawing(env_id, variant)
    assert draw_paths is not None
    draw_paths(axes, task, [episode.path for episode in episodes], **style)
