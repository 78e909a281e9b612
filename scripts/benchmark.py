"""Time a meta-iteration and its parts, on any family and at any size.

Run it on an otherwise idle machine. Times are medians over the repeats, in seconds per meta-iteration. For robots, the
rate of environment steps is set beside that of MuJoCo's batched physics alone, which takes the same steps once more
directly after each meta-iteration, and, with --against envpool, beside EnvPool's. With --beside, meta-iterations of
other methods are timed in turn with those of --algorithm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from environments import default_variant, environment_maker, resolved
from own_code import chosen_family
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable
from rlmaml.settings.command_line import options_of
from rlmaml.settings.inner import InnerLoss
from rlmaml.settings.methods.registry import DEFAULT_METHOD, find_method
from rlmaml.settings.whole import Settings, configure
from rlmaml.terminal.command import run_command

if TYPE_CHECKING:
    from rlmaml.core.types import Rollout
    from rlmaml_envs import TaskVectorEnv


@dataclass(frozen=True)
class Options:
    """Options of the script; what is not listed is as in a default run."""

    env_id: tyro.conf.Positional[str | None] = None
    """Task family, a registered environment id."""
    family: str | None = None
    """In place of an id, a task family of your own, FILE.py:NAME or package.module:NAME, which is then run."""
    variant: str | None = None
    """Which of the family's definitions to use; by default its first."""
    algorithm: str = DEFAULT_METHOD
    """Method whose meta-iterations are timed."""
    beside: tuple[str, ...] = ()
    """Other methods, with the same settings wherever they have such; then whole meta-iterations alone are timed."""
    num_tasks: Annotated[int, tyro.conf.arg(name="tasks")] = 20
    """Tasks per meta-iteration."""
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes")] = 20
    """Episodes per task before each inner step, and again after the last."""
    horizon: int | None = None
    """Steps after which an episode is cut; by default as many as the variant's data sheet says."""
    inner_steps: int = 1
    """Inner gradient steps per task."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    inner_loss: InnerLoss = "log_likelihood"
    """Inner loss of the adaptation."""
    first_order: bool = False
    """Leave out the derivative of the inner update."""
    repeats: int = 20
    """Meta-iterations that are timed."""
    device: str = "cpu"
    """Where inner steps and meta-update are computed: cpu, cuda or cuda:N."""
    rollout_device: str = "cpu"
    """Where the policy acts, beside the physics: cpu, cuda or cuda:N."""
    threads: int = 2
    """Threads of the meta-update."""
    rollout_threads: int = 2
    """Threads that step the physics inside a rollout."""
    evaluation: bool = False
    """Also time the evaluation of as many held-out tasks and episodes, over three inner steps."""
    against: Literal["envpool"] | None = None
    """Also measure EnvPool's environment with the same body, where EnvPool is installed."""
    json: Path | None = None
    """File to which the figures are written."""
    overwrite: bool = False
    """Replace a file that is already there."""

    def __post_init__(self) -> None:
        """Check what is not part of a run's settings."""
        if self.repeats < 1:
            raise UserError(f"--repeats is {self.repeats}; it must be at least 1.")
        find_method(self.algorithm)
        for name in self.beside:
            find_method(name, "--beside")
        if len({self.algorithm, *self.beside}) < 1 + len(self.beside):
            raise UserError(f"--beside is {' '.join(self.beside)}; give different names, other than --algorithm's.")
        if self.beside and (self.evaluation or self.against):
            raise UserError("--beside times whole meta-iterations alone; leave --evaluation and --against out.")


def main() -> None:
    """Parse, time, print."""
    options = options_of(Options, __doc__)
    check_writable(options.json)
    check_new(options.json, overwrite=options.overwrite)
    own = (
        "env_id",
        "family",
        "variant",
        "algorithm",
        "beside",
        "repeats",
        "evaluation",
        "against",
        "json",
        "overwrite",
    )
    chosen = {name: value for name, value in vars(options).items() if name not in own}
    chosen["env_id"] = env_id = chosen_family(options.env_id, options.family)
    chosen["variant"] = options.variant or default_variant(env_id)
    family = resolved(configure(**chosen))
    run = family.run
    pool = check_envpool(run.env_id, run.variant) if options.against else None

    from rlmaml.results.benchmark import in_turn, of_method
    from rlmaml.storage.run_directory import write_json

    methods = {name: of_method(family, name) for name in (options.algorithm, *options.beside)}
    settings = methods[options.algorithm]
    if options.beside:
        figures = in_turn(methods, environment_maker, options.repeats)
    else:
        figures = measured_alone(options, settings, pool)
    if options.json:
        write_json(options.json, figures)
    print_beside(figures) if options.beside else print_alone(figures)


def measured_alone(options: Options, settings: Settings, pool: str | None) -> dict[str, Any]:
    """Time one method, part by part."""
    from rlmaml.results.benchmark import benchmark, benchmark_evaluation

    run = settings.run
    assert run.horizon is not None
    make_env = environment_maker(settings)
    replay = physics_replay if make_env(1).has_physics else None
    measure = envpool_measure(settings, pool, run.horizon) if pool else None
    figures = benchmark(settings, make_env, options.repeats, replay, measure)
    if options.evaluation:
        figures["evaluation"] = benchmark_evaluation(settings, make_env, options.repeats, replay)
    return figures


def print_beside(figures: dict[str, Any]) -> None:
    """The seconds of several methods, and their ratios."""
    print("seconds per meta-iteration")
    for name, one in figures["methods"].items():
        between = f"min {one['min']:.3f}, max {one['max']:.3f}"
        print(f"  {name:<12} {one['median']:.3f}  ({between})  x {one['ratio']:.2f}")


def print_alone(figures: dict[str, Any]) -> None:
    """The seconds of one method, part by part."""
    total = figures["seconds_per_iteration"]
    print(f"seconds per meta-iteration  {total['median']:.3f}  (min {total['min']:.3f}, max {total['max']:.3f})")
    for part, seconds in figures["parts"].items():
        print(f"  {part:<25} {seconds:.3f}")
    print(f"rollout steps per second     {figures['env_steps_per_second']:,.0f}")
    print(f"peak memory                  {figures['peak_memory_mb']:.0f} MiB")
    for name, value in (figures.get("simulators", {}) | figures.get("evaluation", {})).items():
        print(f"{name.replace('_', ' '):<28} {value:,.{0 if value > 100 else 2}f}")


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


if __name__ == "__main__":
    run_command(main)
