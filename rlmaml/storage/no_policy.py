"""What somebody names in place of a policy: what it is, and what to give instead."""

import re
from pathlib import Path

from rlmaml.base.errors import UserError
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.terminal.words import did_you_mean

POLICIES = "the directory of a run, a checkpoint, or a policy that adapt.py wrote"
TASK = re.compile(r"[A-Za-z_][\w.]*=.*|[-+]?[\d.]+(?:[,e][-+]?[\d.]+)*")
"""A name that is a task, or numbers of one."""
EXPORTED = {".onnx", ".pt2"}


def no_policy_at(path: Path) -> UserError:
    """The message where there is no file: a run is missing, or a task or a folder of runs is named in its place."""
    directory = RunDirectory(path.parent)
    named = path.parent if path == directory.checkpoint else path
    if named != path and directory.found():
        return UserError(f"There is no checkpoint at {path}. Give the directory of a run.")
    said = f"There is no checkpoint at {named if named.name else named.resolve()}."
    if named.is_dir():
        runs = sorted(one.name for one in named.iterdir() if RunDirectory(one).checkpoint.is_file())
        holds = f"It holds the runs {', '.join(runs)}; give one of them" if runs else f"Give {POLICIES}"
        return UserError(f"{said} {holds}.")
    if TASK.fullmatch(str(named)):
        task = str(named) if "=" in str(named) else f"NAME={named}"
        return UserError(f"{said} It looks like a task. The run comes first: RUN_DIR --task {task}.")
    beside = [one.name for one in named.parent.iterdir()] if named.parent.is_dir() else []
    return UserError(f"{said} Give {POLICIES}.{did_you_mean(named.name, beside)}")


def what_it_is(path: Path) -> str | None:
    """A file that is there, but is no policy, in words with what to give; None where nobody knows."""
    run = RunDirectory(path.parent)
    its = {
        run.settings: "holds the settings of a run",
        run.metrics: "is the record of a training",
        run.evaluation: "holds what a run reached on held-out tasks",
    } | dict.fromkeys(run.events(), "is what TensorBoard shows of a training")
    cure = f"Give its directory, {run.path}." if run.checkpoint.is_file() else f"Give {POLICIES}."
    if path in its:
        return f"{its[path]}, and no policy. {cure}"
    if path.suffix == ".npz":
        return "holds recorded episodes, and no policy. Give RUN_DIR --episodes FILE to adapt from them."
    if path.suffix in EXPORTED:
        return f"is a policy as it was exported, which is not loaded again. Give {POLICIES}."
    if path.suffix in (".json", ".jsonl"):
        return f"is text, and no policy. {cure}"
    return None
