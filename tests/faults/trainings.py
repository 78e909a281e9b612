"""Small trainings in processes of their own, to be killed, and a server that has imported all they need beforehand."""

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rlmaml.settings.whole import configure
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import train
from rlmaml_envs import make_tasks_env

SETTINGS = configure(
    iterations=12,
    num_tasks=2,
    num_episodes=2,
    horizon=5,
    hidden=(8,),
    cg_iterations=2,
    checkpoint_interval=1,
    evaluation_tasks=1,
    evaluation_episodes=2,
    evaluation_steps=1,
    figure_interval=0,
    threads=1,
    rollout_threads=1,
)

FILE_EVENTS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir")
"""What a process does to files, by the names of Python's audit events."""


def make_env(copies: int) -> Any:
    return make_tasks_env("Navigation2D-v0", copies, 5)


def train_in(run_dir: Path, last_file_event: int | None = None) -> None:
    """Begin a run, or go on with it; end by SIGKILL before the given one of what it does to files in its directory."""
    if last_file_event is not None:
        kill_at(last_file_event, str(run_dir))
    train(SETTINGS, make_env, run_dir, resume=True, progress=False)


def kill_at(last: int, within: str) -> None:
    """Let SIGKILL end this process before it does one thing too many to files within a directory."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS and str(arguments[0]).startswith(within):
            count += 1
            if count > last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def server() -> ForkServerContext:
    """Forks processes that have imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def started(context: ForkServerContext, run_dir: Path, last_file_event: int | None = None) -> BaseProcess:
    process = context.Process(target=train_in, args=(run_dir, last_file_event), daemon=True)
    process.start()
    return process


def metrics_of(run_dir: Path) -> int:
    """Meta-iterations that the run's lines tell of."""
    path = RunDirectory(run_dir).metrics
    return path.read_bytes().count(b"\n") if path.exists() else 0
