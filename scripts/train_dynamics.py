"""Meta-train a model of a robot that may have changed, and end with what it predicts after one episode of a new one.

Usage: train_dynamics.py ID [--variant NAME] [options], e.g. HalfCheetahChanged-v0 --variant any, or --family
FILE.py:NAME with a task family of your own in place of ID. A task is one robot of the family. The model reads an
observation and an action, and predicts the next observation; it takes inner steps on every transition of
--support-episodes recorded episodes of the robot, and is judged on the --query-episodes next ones. Robots are moved by
random actions that are smooth in time, or by the policy of a run, --acting RUN_DIR. The table has the mean squared
error of the normalised change, 1 being that of the mean change, on robots never seen after 0, 1, … 10 steps, beside
those of a model that was trained jointly (pretrained), and the errors of every number of the observation in its unit;
adaptation.png in the run directory shows both. --recorded FILE adapts to the first episodes of a recording, too
(rlmaml/sampling/recorded.py has the layout; no rewards needed), and judges on its others. maml-trpo is MAML; its outer
optimiser here is Adam, or the natural gradient with --outer-optimiser trust_region.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from defaults import supervised, tuned
from environments import chosen_variant, environment_maker
from machine import check_least
from own_code import chosen_family
from rlmaml.base.errors import UserError
from rlmaml.settings.command_line import chosen
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from supervised import SupervisedOptions, check_options, directory_of, parse_supervised, train_supervised_command

if TYPE_CHECKING:
    from rlmaml.core.types import Rollout
    from rlmaml.evaluation.prediction_errors import Observed
    from rlmaml.families.dynamics import Dynamics, Transitions
    from rlmaml.policies.sizes import Sizes
    from rlmaml.training.supervised import SupervisedTasks, Trained

ROBOT = "HalfCheetahChanged-v0"
"""Whose options the help shows."""
TRANSITION_SEED = 40_000
"""Seed of the robots of a training, plus the run's; those of the test have the seed of every evaluation."""


@dataclass(frozen=True)
class Options(SupervisedOptions):
    """Options of the script."""

    family: str | None = None
    """In place of an id, a task family of your own, FILE.py:NAME or package.module:NAME, which is then run."""
    acting: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Run whose policy moves the robots, as it is before it adapts; by default they are moved by chance."""
    recorded: Path | None = None
    """Recorded episodes of one robot, to whose first --support-episodes the model adapts, too."""
    train_robots: int = 200
    """Robots of the training."""
    test_robots: int = 100
    """Other robots, for the test."""
    support_episodes: int = 1
    """Episodes of a robot that the model adapts on."""
    query_episodes: int = 2
    """Episodes of a robot that it is judged on."""
    episode_steps: int = 100
    """Control steps of an episode."""
    action_correlation: float = 0.9
    """Of an action by chance and the next one, from 0 to below 1."""
    action_std: float = 1.0
    """Standard deviation of actions by chance, which the robot clips to [-1, 1]."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--train-robots", self.train_robots, 1),
            ("--test-robots", self.test_robots, 1),
            ("--support-episodes", self.support_episodes, 1),
            ("--query-episodes", self.query_episodes, 1),
            ("--episode-steps", self.episode_steps, 1),
        )


def tasks_of(options: Options, settings: Settings, seed: int | None = None) -> "SupervisedTasks":
    """Robots that are moved as options say, those of the test of this seed."""
    from rlmaml.families.dynamics import Dynamics, normalisation_of
    from rlmaml.policies.sizes import sizes_of
    from rlmaml.training.run import EVALUATION_SEED
    from rlmaml.training.supervised import SupervisedTasks

    robots = robots_of(options, settings)
    sizes = sizes_of(environment_maker(robots)(1))
    train, test = (
        moved(robots, sizes, options, number, own)
        for number, own in (
            (options.train_robots, TRANSITION_SEED + settings.run.seed),
            (options.test_robots, EVALUATION_SEED if seed is None else seed),
        )
    )
    name = f"{robots.run.env_id}, {robots.run.variant}"
    numbers = (normalisation_of(train), options.support_episodes, options.query_episodes)
    family = Dynamics(name, train, *numbers, parts=sizes.parts)
    held_out = Dynamics(name, test, *numbers, in_order=True, parts=sizes.parts)
    return SupervisedTasks(settings, family, held_out, "errors")


def robots_of(options: Options, settings: Settings) -> Settings:
    """Of the episodes of the robots that a model is trained on."""
    robots = tuned(settings.run.env_id.removeprefix("dynamics-"), settings.run.variant)
    return robots.changed(horizon=options.episode_steps, rollout_threads=settings.run.rollout_threads)


def main() -> None:
    """Parse, move the robots, train, print the tables, draw."""
    first, *others = sys.argv[1:] or [""]
    named = None if first.startswith("-") or not first else first
    arguments = others if named else sys.argv[1:]
    robot = chosen_family(named, chosen(arguments, "family", "") or None, ROBOT)

    def defaults(variant: str | None, method: str) -> Settings:
        own = supervised("dynamics")(variant, method)
        return own.changed(env_id=f"dynamics-{robot}", variant=chosen_variant(robot, variant, None))

    options, settings = parse_supervised(Options(), "dynamics", str(__doc__), arguments, defaults)
    check_options(settings, options)

    from rlmaml.evaluation.figures import write_figure
    from rlmaml.evaluation.prediction_errors import Observed, prediction_figure
    from rlmaml.families.dynamics import Dynamics, recorded_transitions
    from rlmaml.families.imitation import check_same_robot
    from rlmaml.policies.sizes import sizes_of
    from rlmaml.sampling.recorded import read_episodes
    from rlmaml.storage.run_directory import RunDirectory

    env = environment_maker(robots_of(options, settings))(1)
    sizes, observed = sizes_of(env), Observed(tuple(env.observation_names), tuple(env.observation_units))
    recording = None
    if options.recorded:
        recording = recorded_transitions(read_episodes(options.recorded, rewards=False))
        check_same_robot(recording.sizes, sizes, str(options.recorded), "this one has", what="episodes")
    tasks = tasks_of(options, settings)
    held_out = tasks.held_out
    assert isinstance(held_out, Dynamics)
    further = None
    if recording:
        every = len(recording.valid[0])
        recorded = (recording, held_out.normalisation, options.support_episodes, every, True, sizes.parts)
        further = Dynamics(str(options.recorded), *recorded)

    def report(models: "Mapping[str, Trained]") -> tuple[dict[str, Any], str]:
        columns, reported, told = reported_numbers(models, held_out, observed)
        figure = RunDirectory(directory_of(settings, options)).figure
        rows = {name: model.scores.summary() for name, model in models.items()}
        write_figure(figure, prediction_figure(rows, observed, columns))
        recorded, also_told = reported_recording(models, further) if further else ({}, "")
        return reported | recorded, f"{told}\n\n{figure}{also_told}"

    train_supervised_command(tasks, options, report=report)


def moved(robots: Settings, sizes: "Sizes", options: Options, num_robots: int, seed: int) -> "Transitions":
    """What robots do that are moved by chance, or by the policy of a run."""
    from rlmaml.base.random_streams import Phase, RandomStreams
    from rlmaml.families.dynamics import transitions_of
    from rlmaml.sampling.rollout import rollout
    from rlmaml.sampling.smooth_actions import NO_PARAMETERS, SmoothActions

    num_episodes = options.support_episodes + options.query_episodes
    if options.acting:
        sampled = moved_by_policy(robots, options.acting, num_robots, num_episodes, seed)
    else:
        env = environment_maker(robots)(num_robots * num_episodes)
        streams = RandomStreams(seed, Phase.EVALUATION, tasks=range(num_robots))
        env.set_tasks(env.sample_tasks(num_robots, streams.task_seeds(num_robots)))
        by_chance = SmoothActions(sizes.action, options.action_correlation, options.action_std)
        sampled = rollout(env, by_chance, NO_PARAMETERS, tasks=range(num_robots), streams=streams, k=0)
    return transitions_of(sampled, sizes.observation)


def moved_by_policy(robots: Settings, run_dir: Path, num_robots: int, num_episodes: int, seed: int) -> "Rollout":
    """What robots do under the policy of a run, as it is before it adapts.

    Raises:
        UserError: it was trained on another family; or see :func:`rlmaml.training.run.evaluate_run`.
    """
    from rlmaml.storage.kept_checkpoints import policy_checkpoint
    from rlmaml.training.run import evaluate_run

    actor, run = policy_checkpoint(run_dir), robots.run
    if actor.settings.run.env_id != run.env_id:
        raise UserError(f"--acting {run_dir} was trained on {actor.settings.run.env_id}; the robots are {run.env_id}.")
    own = actor.settings.changed(
        variant=run.variant,
        horizon=run.horizon,
        device="cpu",
        rollout_device="cpu",
        rollout_threads=run.rollout_threads,
    )
    (sampled,) = evaluate_run(
        actor._replace(settings=own),
        environment_maker(own),
        num_tasks=num_robots,
        num_episodes=num_episodes,
        steps=0,
        seed=seed,
    ).rollouts
    return sampled


def reported_numbers(
    models: "Mapping[str, Trained]", held_out: "Dynamics", observed: "Observed"
) -> tuple[dict[str, list[float | None]], dict[str, Any], str]:
    """The errors of every number of the observation.

    Args:
        models: by method, that of the run first.
        held_out: the robots of the test.
        observed: what the numbers are.

    Returns:
        The columns of the table, that of the model that does not adapt first where there is one; all for the JSON; and
        the table.
    """
    from rlmaml.evaluation.prediction_errors import observation_table, root_mean_squares
    from rlmaml.evaluation.table import ZERO_SHOT
    from rlmaml.training.run import EVALUATION_SEED
    from rlmaml.training.supervised import judge_run

    rows = {
        name: root_mean_squares(
            judge_run(model.method, model.checkpoint, held_out, held_out.squared_errors, EVALUATION_SEED)
        )
        for name, model in models.items()
    }
    own, *_ = models
    means, last = rows[own]["mean"], models[own].checkpoint.settings.run.evaluation_steps
    steps = sorted({min(models[own].method.rule.steps, last), last} - {0})
    columns = {name: rows[name]["mean"][0] for name in ("pretrained",) if name in rows}
    columns |= {f"{own}, {ZERO_SHOT}": means[0]} | {f"{own}, {counted(k, 'step')}": means[k] for k in steps}
    title = "\n\nRoot mean squared error of every number of the next observation, in its unit:\n\n"
    numbers = {"observations": observed._asdict() | {"rows": rows}}
    return columns, numbers, title + observation_table(observed, columns)


def reported_recording(models: "Mapping[str, Trained]", recorded: "Dynamics") -> tuple[dict[str, Any], str]:
    """The errors on a recording's other episodes, for the JSON and in words."""
    from rlmaml.evaluation.query_scores import score_table
    from rlmaml.training.run import EVALUATION_SEED
    from rlmaml.training.supervised import score_run

    rows = {
        name: score_run(model.method, model.checkpoint, recorded, recorded.score, EVALUATION_SEED).summary()
        for name, model in models.items()
    }
    adapted = counted(recorded.shots, "episode")
    title = f"\n\nerrors on the other episodes of {recorded.name}, adapted to the first {adapted}:\n\n"
    return {"recorded": rows}, title + score_table(rows, {})


if __name__ == "__main__":
    run_command(main)
