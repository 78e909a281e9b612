"""Meta-train a policy that imitates, and end with its returns after a few demonstrations of tasks never seen.

--demonstrator RUN_DIR is a run of train_nav.py or train_locomotion.py, such as one on RoverGoal-v0: its policy adapts
by reinforcement learning to --train-tasks tasks, and demonstrates each of them. A policy learns to do what was shown
after inner steps down the squared error to --shots demonstrations, and is judged by others of the same task. The table
has its returns in the environment, by most likely actions, on tasks never seen, for --test-shots demonstrations and
after 0, 1, … 10 steps, beside the demonstrator's own, and the share of the gap between them that is closed.

The files of --demonstrations FILE FILE …, one for each task in the layout of recorded episodes
(rlmaml/sampling/recorded.py; no rewards needed), are learned from in place of the demonstrator's. The last quarter of
them is held out without --demonstrator, and there are squared errors alone: a file does not say what its task would
earn.

adapt.py RUN_DIR --demonstrations FILE adapts what was trained. maml-trpo is MAML; its outer optimiser here is Adam,
or the natural gradient with --outer-optimiser trust_region.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from environments import environment_maker
from machine import check_least
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from supervised import SupervisedOptions, check_options, parse_supervised, train_supervised_command

if TYPE_CHECKING:
    from rlmaml.core.types import Tasks
    from rlmaml.deploy.adaptable import ActionKind
    from rlmaml.evaluation.evaluate import Evaluation
    from rlmaml.evaluation.query_scores import QueryScores
    from rlmaml.families.imitation import Demonstrations, Imitation
    from rlmaml.policies.sizes import Sizes
    from rlmaml.storage.checkpoint import Checkpoint
    from rlmaml.training.supervised import SupervisedTasks, Trained

DEMONSTRATION_SEED = 30_000
"""Seed of the demonstrated tasks of a training, plus the run's; those of the test have the seed of every evaluation."""


@dataclass(frozen=True)
class Options(SupervisedOptions):
    """Options of the script."""

    demonstrator: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Run whose policy demonstrates, after it adapted to a task by reinforcement learning."""
    family: str | None = None
    """Let this task family of your own, FILE.py:NAME or package.module:NAME, be run; needed where the demonstrator's
    is one."""
    demonstrations: tuple[Path, ...] = ()
    """Demonstrations to learn from, a file or Minari dataset per task, in place of the demonstrator's."""
    train_tasks: int = 200
    """Tasks that the demonstrator demonstrates for the training."""
    test_tasks: int = 40
    """Other tasks, for the test."""
    shots: int = 5
    """Demonstrations of a task that a policy adapts on."""
    queries: int = 10
    """Demonstrations of a task that the loss after adaptation is on."""
    test_shots: tuple[int, ...] = (1, 2, 5, 10)
    """Demonstrations of a task in the test, a row each."""
    demonstrator_steps: int = 3
    """Steps by which the demonstrator adapts to a task."""
    demonstrated_actions: Literal["sampled", "mean"] = "sampled"
    """With which actions the demonstrator demonstrates: sampled ones lead it astray, and show how it comes back."""
    test_episodes: int = 10
    """Episodes per task and step in the test."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--train-tasks", self.train_tasks, 1),
            ("--test-tasks", self.test_tasks, 1),
            ("--shots", self.shots, 1),
            ("--queries", self.queries, 1),
            *(("--test-shots", shots, 1) for shots in self.test_shots),
            ("--demonstrator-steps", self.demonstrator_steps, 0),
            ("--test-episodes", self.test_episodes, 1),
        )


class Tested(NamedTuple):
    """What a test in the environment needs of the demonstrator."""

    demonstrator: "Checkpoint"
    tasks: "Tasks"
    """Those that it demonstrated."""
    returns: "QueryScores"
    """Of its most likely actions on them, a single column."""


def tasks_of(options: Options, settings: Settings, seed: int | None = None) -> "SupervisedTasks":
    """Demonstrations that options name, those of the test on tasks of this seed, where somebody demonstrates them."""
    return shown_tasks(options, settings, seed)[0]


def shown_tasks(
    options: Options, settings: Settings, seed: int | None = None
) -> "tuple[SupervisedTasks, Tested | None]":
    """The same, and what a test in the environment needs.

    Raises:
        UserError: nobody demonstrates, or demonstrations are of another robot.
    """
    if not options.demonstrator and len(options.demonstrations) < 2:
        raise UserError(
            "Give --demonstrator RUN_DIR, a run whose policy demonstrates, or --demonstrations with a file for each of "
            "two or more tasks."
        )

    from rlmaml.families.imitation import Imitation, check_same_robot, read_demonstrations
    from rlmaml.training.supervised import SupervisedTasks

    recorded = read_demonstrations(options.demonstrations) if options.demonstrations else None
    demonstrator, tested, name = None, None, "recorded"
    if options.demonstrator:
        demonstrator = demonstrator_of(options.demonstrator, settings, OwnCode(family=options.family))
        run = demonstrator.settings.run
        name = f"{run.env_id}, {run.variant}"
        if recorded:
            check_same_robot(recorded.sizes, untold_sizes(demonstrator), "--demonstrations", "the demonstrator's has")
        train = recorded or demonstrations(demonstrator, options, options.train_tasks, seed=settings.run.seed)
        tested, test = demonstrated_test(demonstrator, options, seed)
    else:
        assert recorded is not None
        kept = len(options.demonstrations) - max(len(options.demonstrations) // 4, 1)
        train, test = recorded.of_tasks(slice(kept)), recorded.of_tasks(slice(kept, None))
    parts = untold_sizes(demonstrator).parts if demonstrator else ()
    family, held_out = (Imitation(name, shown, options.shots, options.queries, parts) for shown in (train, test))
    if not getattr(settings.network, "observation_scales", True):
        settings = settings.changed(observation_scales=train.scales)
    return SupervisedTasks(settings, family, held_out, "errors"), tested


def main() -> None:
    """Parse, demonstrate, train, print the tables."""
    options, settings = parse_supervised(Options(), "imitation", str(__doc__))
    check_options(settings, options)
    tasks, tested = shown_tasks(options, settings)

    from rlmaml.families.imitation import Imitation

    held_out = tasks.held_out
    assert isinstance(held_out, Imitation)
    others = {shots: held_out.having(shots) for shots in options.test_shots}

    def report(models: "Mapping[str, Trained]") -> tuple[dict[str, Any], str]:
        families = {options.shots: held_out} | others
        return reported_returns(models, tested, families, options) if tested else ({"returns": None}, "")

    also = {counted(shots, "demonstration"): other for shots, other in others.items() if shots != options.shots}
    train_supervised_command(tasks, options, also=also, report=report)


def demonstrator_of(run_dir: Path, settings: Settings, own: OwnCode) -> "Checkpoint":
    """The policy of a run, on the machine that these settings name.

    Raises:
        UserError: its family is of the user's own, and was not named; see :meth:`own_code.OwnCode.check`.
    """
    from rlmaml.storage.kept_checkpoints import policy_checkpoint

    own.allow()
    found, run = policy_checkpoint(run_dir), settings.run
    own.check(found)
    here = {name: getattr(run, name) for name in ("device", "threads")}
    return found._replace(settings=found.settings.changed(**here, rollout_device="cpu"))


def adapted_episodes(
    demonstrator: "Checkpoint", options: Options, num_tasks: int, seed: int, actions: "ActionKind"
) -> "Evaluation":
    """Episodes of the demonstrator on tasks to which it adapted."""
    from rlmaml.training.run import evaluate_run

    return evaluate_run(
        demonstrator,
        environment_maker(demonstrator.settings),
        num_tasks=num_tasks,
        num_episodes=max(options.shots, *options.test_shots) + options.queries,
        steps=options.demonstrator_steps,
        seed=seed,
        actions=actions,
        progress=True,
    )


def demonstrations(demonstrator: "Checkpoint", options: Options, num_tasks: int, *, seed: int) -> "Demonstrations":
    """Demonstrations of tasks of the training."""
    from rlmaml.families.imitation import demonstrated

    own = DEMONSTRATION_SEED + seed
    shown = adapted_episodes(demonstrator, options, num_tasks, own, options.demonstrated_actions)
    return demonstrated(shown.rollouts[-1], untold_sizes(demonstrator).observation)


def demonstrated_test(
    demonstrator: "Checkpoint", options: Options, seed: int | None = None
) -> "tuple[Tested, Demonstrations]":
    """Tasks of the test, with what the demonstrator's most likely actions earn, and its demonstrations of them."""
    from rlmaml.evaluation.query_scores import QueryScores
    from rlmaml.families.imitation import demonstrated
    from rlmaml.training.run import EVALUATION_SEED

    kinds: tuple[ActionKind, ...] = ("mean", options.demonstrated_actions)
    own = EVALUATION_SEED if seed is None else seed
    best, shown = (adapted_episodes(demonstrator, options, options.test_tasks, own, kind) for kind in kinds)
    tested = Tested(demonstrator, shown.tasks, QueryScores(best.returns[:, -1:]))
    return tested, demonstrated(shown.rollouts[-1], untold_sizes(demonstrator).observation)


def untold_sizes(demonstrator: "Checkpoint") -> "Sizes":
    """Of what its robot sees without being told the task, and of its actions."""
    from rlmaml.policies.sizes import sizes_of

    return sizes_of(environment_maker(demonstrator.settings, told=False)(1))


def reported_returns(
    models: "Mapping[str, Trained]", tested: Tested, families: "Mapping[int, Imitation]", options: Options
) -> tuple[dict[str, Any], str]:
    """The returns after demonstrations in the environment, for the JSON and in words.

    Args:
        models: by method, that of the run first.
        tested: the tasks, and what the demonstrator earns on them.
        families: number of demonstrations -> demonstrations of these tasks.
        options: of the script.
    """
    from rlmaml.evaluation.imitated import imitated, shares_of_gap
    from rlmaml.evaluation.query_scores import score_table
    from rlmaml.training.run import EVALUATION_SEED

    make_env = environment_maker(tested.demonstrator.settings, told=False)
    env = make_env(options.test_tasks * options.test_episodes)
    own, *_ = models
    reached = {
        (name, shots): imitated(
            *(env, tested.tasks, family, model.method.policy, model.method.rule, model.checkpoint.meta),
            model.checkpoint.settings,
            steps=model.checkpoint.settings.run.evaluation_steps,
            seed=EVALUATION_SEED + 1,
        ).returns
        for name, model in models.items()
        for shots, family in families.items()
        if name == own or shots == options.shots
    }
    titles = {key: f"{key[0]}, {counted(key[1], 'demonstration')}" for key in reached}
    rows = {titles[key]: scores.summary() for key, scores in reached.items()}
    shares = {titles[key]: shares_of_gap(scores, tested.returns) for key, scores in reached.items() if key[0] == own}
    best = tested.returns.summary()
    tasks, episodes = counted(options.test_tasks, "held-out task"), counted(options.test_episodes, "episode")
    demonstrator = f"demonstrator, after {counted(options.demonstrator_steps, 'step')} of its own"
    told = (
        f"\n\nMean return on {tasks}, {episodes} each, of mean actions, after steps on demonstrations:\n\n",
        score_table(rows, {demonstrator: {0: best["mean"][0]}}),
        "\n\nShare of the gap between the return before the first step and the demonstrator's:\n\n",
        score_table(shares, {}),
    )
    main_row = rows[titles[own, options.shots]]
    found = {"returns": main_row, "returns_by_row": rows, "demonstrator": best, "share_of_gap": shares}
    return found, "".join(told)


if __name__ == "__main__":
    run_command(main)
