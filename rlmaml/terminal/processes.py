"""Work in processes of their own, several at once, which end in order when the one that waits for them is asked to."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import TypeVar, cast

from rlmaml.base.errors import UserError
from rlmaml.base.stopping import StoppedRunError, stopping
from rlmaml.terminal.command import run_command
from rlmaml.terminal.waiting import elsewhere

POLLED = 0.2
"""Seconds after which whoever waits for processes sees that it is asked to end."""

Item = TypeVar("Item")


def in_processes(
    items: Sequence[Item], work: Callable[[Item], object], processes: int, name: Callable[[Item], str]
) -> Iterator[Item]:
    """Every item as soon as a process of its own has done the work on it.

    The first signal to end is passed on to the processes, which finish what they are doing; the second stops them.

    Args:
        items: what is worked on; they can be pickled.
        work: is done on one of them as a script does its own; likewise.
        processes: items at once.
        name: what messages call an item.

    Raises:
        UserError: a process failed.
        StoppedRunError: it was asked to end.
    """
    context, waiting = get_context("spawn"), list(items)
    running: dict[int, tuple[SpawnProcess, Item]] = {}

    def at_work() -> str:
        return f"{len(running)} process{'' if len(running) == 1 else 'es'} at work" if running else ""

    with stopping() as asked, elsewhere(at_work):
        try:
            while waiting or running:
                while waiting and len(running) < processes:
                    item = waiting.pop(0)
                    process = context.Process(
                        target=run_command, args=(partial(work, item),), kwargs={"waited_for": True}
                    )
                    with _deaf_to_terminals():
                        process.start()
                    running[process.sentinel] = process, item
                ended = wait(list(running), timeout=POLLED)
                if reason := asked():
                    raise StoppedRunError(
                        f"Stopped by {reason}. What is there is usable; the same command goes on with it."
                    )
                for sentinel in ended:
                    process, item = running.pop(cast("int", sentinel))
                    process.join()
                    if process.exitcode:
                        raise UserError(
                            f"{name(item)}, ended with exit code {process.exitcode}; its message is above. Where there "
                            "is none, memory may have run out: fewer --processes need less."
                        )
                    yield item
        except KeyboardInterrupt:  # the second signal, before the first one was passed on
            _ask([process for process, _ in running.values()])
            time.sleep(POLLED)  # two that come together are one
            raise
        finally:
            _end([process for process, _ in running.values()])


@contextlib.contextmanager
def _deaf_to_terminals() -> Iterator[None]:
    """A process that is started in this block ignores what a terminal sends to all; its parent passes that on, once."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _ask(processes: Sequence[BaseProcess]) -> None:
    """Ask processes to end."""
    for process in processes:
        process.terminate()


def _end(processes: Sequence[BaseProcess]) -> None:
    """Ask processes to end, and wait until they have; where that is interrupted, ask them once more.

    Raises:
        KeyboardInterrupt: it was interrupted; they have ended.
    """
    _ask(processes)
    try:
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        _ask(processes)
        for process in processes:
            process.join()
        raise
