"""The trainings of two processes, and what became of each."""

import resource
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import rlmaml.training.run
from rlmaml.core.task_sums import TaskSums
from rlmaml.settings.whole import Settings, as_method, configure
from rlmaml.training.run import MakeEnv, train
from rlmaml_envs import make_tasks_env
from tests.rlmaml.training.stand_ins import DisturbedRewards, FailingSimulations

HORIZON = 6
SETTINGS = configure(
    iterations=3,
    num_tasks=3,
    num_episodes=3,
    horizon=HORIZON,
    hidden=(8,),
    inner_steps=2,
    learn_step_sizes=True,
    stage_weights=(0.0, 1.0, 2.0),
    evaluation_tasks=2,
    evaluation_episodes=2,
    evaluation_steps=1,
    checkpoint_interval=1,
    figure_interval=0,
    cg_iterations=4,
    threads=1,
    rollout_threads=1,
)
FAILS = {0: 2, 1: 2, 2: 3}
"""Copy -> step: every simulation of the first task fails."""


def make_env(num_envs: int) -> Any:
    return make_tasks_env("Navigation2D-v0", num_envs, HORIZON)


def make_robot(num_envs: int) -> Any:
    return make_tasks_env("HalfCheetahVel-v0", num_envs, HORIZON)


RUNS: dict[str, tuple[Settings, MakeEnv]] = {
    "maml-trpo": (SETTINGS, make_env),
    "a robot": (SETTINGS.changed(env_id="HalfCheetahVel-v0"), make_robot),
    "a robot, with Adam": (
        as_method(SETTINGS, "reptile", "gaussian").changed(outer_step="adam", env_id="HalfCheetahVel-v0"),
        make_robot,
    ),
}


def unsound(rank: int, own: int) -> Callable[[int], Any]:
    """Every simulation of the first of all tasks fails."""
    return lambda num_envs: FailingSimulations(make_env(num_envs), FAILS if rank == 0 and num_envs == own else {})


def poisoned(rank: int, where: int) -> Callable[[int], Any]:
    """A reward is NaN in the second meta-iteration of one process alone."""
    moment = int(1.5 * (SETTINGS.inner.inner_steps + 1) * HORIZON)
    poison = lambda steps: float("nan") if rank == where and steps == moment else 0.0
    return lambda num_envs: DisturbedRewards(make_env(num_envs), poison)


def attempt_all(sums: TaskSums, rank: int, runs: Path) -> list[str]:
    """Train all that a test asks for, in one process of the two; how each training ended."""
    ends: list[str] = []
    warnings.simplefilter("ignore")
    vars(rlmaml.training.run)["adaptation_figure"] = lambda *_, **__: Figure(figsize=(1, 1))
    if rank > 0:  # whoever does not lead could not write if it tried
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    def attempt(name: str, settings: Settings, make: MakeEnv = make_env, **options: Any) -> None:
        try:
            evaluation = train(settings, make, runs / name, sums=sums, progress=False, **options)
            ended = "no evaluation" if evaluation is None else "evaluation"
        except Exception as error:
            ended = f"{type(error).__name__}: {error}"
        ends.append(ended)

    for name, (settings, make) in RUNS.items():
        attempt(name, settings, make)
    attempt("in two parts", SETTINGS.changed(iterations=1))
    attempt("in two parts", SETTINGS, resume=True)
    attempt("unsound", SETTINGS, unsound(rank, len(sums.own(3)) * 3))
    attempt("maml-trpo", SETTINGS)
    attempt("the second fails", SETTINGS.changed(patience=1), poisoned(rank, 1))
    attempt("the first fails", SETTINGS.changed(patience=1), poisoned(rank, 0))
    attempt("too few tasks", SETTINGS.changed(num_tasks=1))
    attempt("an update is lost", SETTINGS, poisoned(rank, 1))
    if rank == 0:  # the other one reads it only where this one has opened the run
        shutil.copy(runs / "a robot" / "checkpoint.safetensors", runs / "in two parts" / "best.safetensors")
    attempt("in two parts", SETTINGS.changed(iterations=4, validation_interval=1), resume=True)
    (runs / "in two parts" / "best.safetensors").unlink(missing_ok=True)
    return ends
