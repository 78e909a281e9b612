"""Compare MAML with a pretrained policy, random initialisation and an oracle, as in the papers.

Each method is trained with the family's settings and the same number of environment steps, for several seeds, and then
adapted to the same held-out tasks, in the training range and, where the family has such tasks, beyond it. Finished
runs and evaluations are kept and used again, so an interrupted comparison goes on where it was.
"""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from common import check_least, default_variant, environment_maker, episode_drawing
from defaults import NAVIGATION, locomotion

from rlmaml.base.command import run_command
from rlmaml.base.errors import UserError


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    env_id: tyro.conf.Positional[str] = NAVIGATION.env_id
    """Task family."""
    variant: str | None = None
    """Which of its definitions; by default the first."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the trainings."""
    iterations: int | None = None
    """Meta-iterations of MAML; by default the family's. The other methods get as many environment steps."""
    tasks: int = 40
    """Held-out tasks."""
    episodes: int = 40
    """Episodes per task and inner step in the evaluation."""
    steps: int = 3
    """Inner steps in the evaluation."""
    threads: int = 2
    """Threads of the meta-update, and of the physics."""
    output: Path | None = None
    """Directory of the runs and of the comparison; by default runs/compare-<env id>-<variant>."""
    overwrite: bool = False
    """Replace a comparison of other settings that is there, with the evaluations it was made of; trainings are kept."""

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(*((f"--{name}", getattr(self, name), 1) for name in ("tasks", "episodes", "steps", "threads")))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f"--seeds is {self.seeds}; give one or more different numbers not below 0.")


def main() -> None:
    """Parse, train what is missing, compare."""
    options = tyro.cli(Options, description=__doc__)
    variant = options.variant or default_variant(options.env_id)
    if options.env_id == NAVIGATION.env_id:
        config = replace(NAVIGATION, variant=variant)
    else:
        config = locomotion(options.env_id, variant)
    config = replace(
        config,
        iterations=config.iterations if options.iterations is None else options.iterations,
        evaluation_tasks=options.tasks,
        evaluation_episodes=options.episodes,
        evaluation_steps=options.steps,
        threads=options.threads,
        rollout_threads=options.threads,
    )
    folder = options.output or Path("runs") / f"compare-{config.env_id}-{config.variant}"
    space = environment_maker(config)(1)

    from rlmaml.base.files import write_atomically
    from rlmaml.results.compare import (
        BEYOND_RANGE,
        COMPARISON,
        IN_RANGE,
        METHODS,
        Comparison,
        as_json,
        check_same,
        comparison_figure,
        comparison_table,
        evaluated_run,
        fraction_recovered,
        gather,
        method_config,
        read_comparison,
    )

    if not options.overwrite:
        check_same(read_comparison(folder), config, options.seeds)
    places = [IN_RANGE] if space.wide_task_space == space.task_space else [IN_RANGE, BEYOND_RANGE]
    draw = episode_drawing(config.env_id)
    reports: dict[str, dict[str, list[dict[str, Any]]]] = {place: {m: [] for m in METHODS} for place in places}
    for seed in options.seeds:
        for method in METHODS:
            run_dir = folder / f"{method}-seed{seed}"
            print(f"{method}, seed {seed}: {run_dir}", flush=True)
            for place in places:
                settings = method_config(config, method, seed)
                report = evaluated_run(
                    settings, environment_maker(settings), run_dir, draw, beyond=place == BEYOND_RANGE
                )
                reports[place][method].append(report)
            if method in ("pretrained", "random"):
                print(f"fine-tuned with step sizes {report['config']['config']['inner_step_sizes']}")
    results = {place: {m: gather(runs) for m, runs in methods.items()} for place, methods in reports.items()}
    for place, methods in results.items():
        print(f"\n{options.tasks} held-out tasks {place}, {options.episodes} episodes each:\n")
        print(comparison_table(methods))
        shares = ", ".join(f"{m} {100 * fraction_recovered(methods, m):.0f} %" for m in METHODS if m != "oracle")
        print(f"Of what knowing the task is worth, one step recovers: {shares}.")
    picture = io.BytesIO()
    comparison_figure(results).savefig(picture, dpi=150)
    write_atomically(folder / "comparison.png", picture.getvalue())
    comparison = Comparison(replace(config, seed=options.seeds[0]), options.seeds, results)
    write_atomically(folder / COMPARISON, json.dumps(as_json(comparison), indent=2).encode())
    print(f"\n{folder / 'comparison.png'}\n{folder / COMPARISON}")


if __name__ == "__main__":
    run_command(main)
