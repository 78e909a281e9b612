"""What train_nav.py and train_locomotion.py share: options, training and the table at its end."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from defaults import tuned
from environments import chosen_variant, environment_maker, episode_drawing, published, resolved
from own_code import allow_family, allow_policy
from resuming import telling_how_to_resume, training_words
from rlmaml.base.errors import UserError
from rlmaml.base.stopping import check_minutes
from rlmaml.settings.command_line import chosen, parse
from rlmaml.settings.config_file import config_of
from rlmaml.settings.methods.registry import DEFAULT_METHOD
from rlmaml.settings.whole import Settings
from rlmaml.terminal.words import counted


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
    from rlmaml.training.fine_tuning import words_on_sizes
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
    if words := words_on_sizes(settings):
        print(f"\n{words}")
    print(f"\nRun: {run_dir}\nLook at it with: tensorboard --logdir {run_dir.parent}")


def begun_from(stored: Settings, env_id: str, variant: str) -> Settings:
    """The settings of another run for a family's variant; its horizon is for its own variant alone."""
    same = (stored.run.env_id, stored.run.variant) == (env_id, variant)
    return stored if same else stored.changed(env_id=env_id, variant=variant, horizon=None)
