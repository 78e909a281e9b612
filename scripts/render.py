"""Film a policy before and after adaptation, side by side on the same task: RUN_DIR/adaptation.mp4 and .gif.

The policy adapts to the task from fresh episodes, as in adapt.py; both films then start from the same state and show
the most likely actions, or with --actions sampled random ones. For families that are drawn as paths there is also a
still figure of several tasks.
"""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from environments import environment_maker, episode_drawing, in_variant
from machine import Machine, check_least
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable, replacing
from rlmaml.settings.command_line import options_of
from rlmaml.settings.whole import Settings
from rlmaml.terminal.command import run_command
from rlmaml.terminal.words import counted
from task_choice import TaskChoice, help_with_tasks, make_task_environment, task_values


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of the run, a checkpoint, or an adapted policy, which goes on from where it is."""
    choice: tyro.conf.OmitArgPrefixes[TaskChoice] = field(default_factory=TaskChoice)
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes-per-step")] = 20
    """Episodes per inner step."""
    steps: int = 1
    """Inner steps; beyond the trained ones, the last step size is used again."""
    seed: int = 0
    """Seed of what is random in the task, of the episodes and of the filmed initial state."""
    variant: str | None = None
    """Film another variant of the family; by default the one of the training."""
    actions: Literal["sampled", "mean"] = "mean"
    """Which actions are filmed: sampled, as the policy adapts, or the mean, the most likely ones."""
    output: Path | None = None
    """The video, an .mp4 or a .gif; by default both are written, as adaptation.mp4 and adaptation.gif in RUN_DIR."""
    overwrite: bool = False
    """Replace files that are already there."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--episodes-per-step", self.num_episodes, 1),
            ("--steps", self.steps, 1),
            ("--seed", self.seed, 0),
        )


def main() -> None:
    """Parse, adapt, film, write."""
    options = options_of(Options, help_with_tasks(__doc__, sys.argv[1:], Options))

    from rlmaml.storage.run_directory import beside
    from rlmaml_envs import path_drawing

    directory = beside(options.run_dir)
    targets = [options.output] if options.output else list(directory.videos)
    stills = options.output.with_suffix(".png") if options.output else directory.paths
    check_writable(options.output)

    from rlmaml.deploy.adaptable import load
    from rlmaml.deploy.fit import begins_anew, check_acts_in
    from rlmaml.deploy.online import adapt_in_steps, taken_since
    from rlmaml.evaluation.video import check_video_path, film, frame_stride, side_by_side, write_video
    from rlmaml.terminal.bars import ProgressBar

    for path in targets:
        check_video_path(path)
    options.own.allow()
    policy = load(options.run_dir).on(options.machine.device, options.machine.rollout_device)
    options.own.check(policy)
    settings = options.machine.applied(in_variant(policy.settings, options.variant))
    known = task_values(policy, options.variant)
    chosen = partial(make_task_environment, settings, choice=options.choice, seed=options.seed, adapted_to=known)
    scene, task = chosen(1, render_mode="rgb_array")
    check_acts_in(policy, scene)
    for path in targets:
        check_writable(path)
    check_new(*targets, stills, overwrite=options.overwrite)
    scene.reset(seed=[options.seed])
    try:
        scene.render()
    except RuntimeError as error:
        raise UserError(str(error)) from error
    stride = frame_stride(scene.metadata["render_fps"])
    robots, _ = chosen(options.num_episodes)
    rounds = 0 if begins_anew(policy) else options.steps
    with ProgressBar(total=rounds + (1 + bool(rounds)) * scene.horizon, desc="adapting", unit="step") as bar:
        for attempt in adapt_in_steps(
            policy, lambda current, visit: current.record(robots, options.seed, visit=visit), rounds
        ):
            adapted = attempt.policy
            bar.update(adapted.steps_taken > policy.steps_taken)
        bar.set_description("filming")
        actors = (policy, adapted) if rounds else (policy,)
        films = [film(scene, actor, options.seed, stride, bar.update, actions=options.actions) for actor in actors]
    done = taken_since(policy, adapted, "more step" if policy.steps_taken else "gradient step")
    each = "" if policy.adapts_by_memory else f" on {counted(options.num_episodes, 'episode')} each"
    before = "as adapted before" if policy.steps_taken else "before adaptation"
    captions = (before, f"after {done}{each}") if rounds else ("adapting within the episode",)
    title = f"{settings.run.env_id}: {task.words}"
    frames = list(side_by_side(films, captions, title, actions=options.actions))
    earned = [f"{shots[-1].earned:.1f}" for shots in films]
    for path in targets:
        write_video(path, frames, scene.metadata["render_fps"] / stride)
    drawn = [stills] if path_drawing(settings.run.env_id, settings.run.variant) else []
    for path in drawn:
        draw_stills(options, settings, path)
    told = f"{earned[0]} before, {earned[1]} after {done}" if rounds else f"{earned[0]}, adapting within the episode"
    print(f"Task: {task.words}; return with {options.actions} actions {told}")
    print(*targets, *drawn, sep="\n")


def draw_stills(options: Options, settings: Settings, path: Path) -> None:
    """Paths before and after adaptation to four tasks drawn for evaluation, with the actions that are filmed, too."""
    from rlmaml.evaluation.figures import adaptation_figure, ordinary_figures
    from rlmaml.settings.stages import stage_words
    from rlmaml.storage.kept_checkpoints import policy_checkpoint
    from rlmaml.training.run import evaluate_run

    evaluation = evaluate_run(
        policy_checkpoint(options.run_dir)._replace(settings=settings),
        environment_maker(settings),
        num_tasks=4,
        num_episodes=options.num_episodes,
        steps=options.steps,
        seed=options.seed,
        actions=options.actions,
    )
    run = settings.run
    draw, words = episode_drawing(run.env_id, run.variant), stage_words(settings)
    stages, told = evaluation.rollouts, evaluation.task_words
    figure = adaptation_figure(draw, evaluation.tasks, stages, words=words, actions=options.actions, task_words=told)
    with ordinary_figures(), replacing(path) as target:
        figure.savefig(target, dpi=150)


if __name__ == "__main__":
    run_command(main)
