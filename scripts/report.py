"""Write one HTML page about one or several runs: returns, learning curves, tasks, what adaptation changed, a video.

Each run is adapted to the same held-out tasks. Where compare.py has left comparison.json in the folder of the runs, its
baselines are shown beside them. A video made by render.py is shown, or else a short one is made where
robots can be drawn. Everything is inside: the page opens without a network.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from common import check_least, environment_maker

from rlmaml.base.command import run_command
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable, write_atomically

if TYPE_CHECKING:
    from rlmaml.results.report import ReportedRun


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of runs of one family and variant."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 40
    """Held-out tasks, drawn for evaluation alone."""
    num_episodes: Annotated[int | None, tyro.conf.arg(name="episodes")] = None
    """Episodes per task and inner step; by default as many as in the evaluation that ended each training."""
    steps: int = 3
    """Inner steps; beyond the trained ones, the last step size is used again."""
    seed: int = 10_000
    """Seed of the held-out tasks and of the episodes."""
    threads: int = 2
    """Threads of the adaptation, and of the physics."""
    output: Path | None = None
    """The page; by default report.html in the first run directory."""
    overwrite: bool = False
    """Replace a page that is already there."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--tasks", self.num_tasks, 1),
            ("--episodes", 1 if self.num_episodes is None else self.num_episodes, 1),
            ("--steps", self.steps, 0),
            ("--seed", self.seed, 0),
            ("--threads", self.threads, 1),
        )
        if not self.run_dirs:
            raise UserError("Give one or more directories of runs.")


def main() -> None:
    """Parse, evaluate each run, write the page."""
    options = tyro.cli(Options, description=__doc__)
    target = options.output or options.run_dirs[0] / "report.html"
    check_writable(options.output)
    check_new(target, overwrite=options.overwrite)

    from tqdm import tqdm

    from rlmaml.results.compare import comparison_around
    from rlmaml.results.report import report_page
    from rlmaml.storage.checkpoint import CHECKPOINT, load_checkpoint

    configs = [load_checkpoint(run_dir / CHECKPOINT).config for run_dir in options.run_dirs]
    families = {(config.env_id, config.variant) for config in configs}
    if len(families) > 1:
        raise UserError(f"The runs are of different families or variants: {sorted(families)}; report on one at a time.")
    comparison = comparison_around(options.run_dirs, configs[0])
    runs = [reported(options, run_dir) for run_dir in tqdm(options.run_dirs, desc="evaluating", unit="run")]
    write_atomically(target, report_page(runs, comparison).encode())
    print(f"{target}, {target.stat().st_size / 1e6:.1f} MB")


def reported(options: Options, run_dir: Path) -> "ReportedRun":
    """One run: evaluated, and with its pictures."""
    from envs.tasks import describe_task
    from rlmaml.base.threads import check_threads
    from rlmaml.deploy.adaptable import load
    from rlmaml.evaluation.effects import adaptation_effects
    from rlmaml.results.report import ReportedRun, read_metrics
    from rlmaml.storage.checkpoint import CHECKPOINT, load_checkpoint
    from rlmaml.training.run import FIGURE, evaluate_run, run_settings

    checkpoint = load_checkpoint(run_dir / CHECKPOINT)
    config = replace(checkpoint.config, threads=options.threads, rollout_threads=options.threads)
    check_threads(config)
    steps = 0 if config.observe_task else options.steps
    make_env = environment_maker(config)
    evaluation = evaluate_run(
        checkpoint._replace(config=config),
        make_env,
        num_tasks=options.num_tasks,
        num_episodes=options.num_episodes or config.evaluation_episodes,
        steps=steps,
        seed=options.seed,
    )
    policy = load(run_dir)
    units = make_env(1).task_units
    tasks = [{name: values[i] for name, values in evaluation.tasks.items()} for i in range(options.num_tasks)]
    settings = run_settings(config) | {"iterations_done": checkpoint.iteration, "evaluation_seed": options.seed}
    picture = run_dir / FIGURE
    return ReportedRun(
        name=run_dir.name,
        settings=settings,
        metrics=read_metrics(run_dir),
        evaluation=evaluation,
        effects=adaptation_effects(policy.network, policy.params, config, evaluation) if steps else None,
        task_words=[describe_task(task, units) for task in tasks],
        picture=picture.read_bytes() if picture.exists() else None,
        video=video(run_dir, options, tasks[0]),
    )


def video(run_dir: Path, options: Options, task: dict[str, object]) -> bytes | None:
    """The video that render.py made of a run, or a short new one, or none where nothing can be drawn."""
    from rlmaml.deploy.adaptable import load
    from rlmaml.evaluation.video import as_video, film_progress

    made = run_dir / "adaptation.mp4"
    if made.exists():
        return made.read_bytes()
    policy = load(run_dir)
    robots, scene = environment_maker(policy.config)(20), environment_maker(policy.config, "rgb_array")(1)
    try:
        frames, rate = film_progress(policy, robots, scene, task, options.seed)
    except (RuntimeError, UserError) as error:
        print(f"No video of {run_dir}: {error}")
        return None
    return as_video(frames, rate, ".mp4")


if __name__ == "__main__":
    run_command(main)
