"""Write a policy as files that run on a robot: ONNX, a torch.export program, weights and a card; verify and time them.

RUN_DIR may also be a checkpoint, or a policy that adapt.py wrote, whose files go to a folder of its own. The files map
observations (batch, obs) to the robot's controls (batch, control) in its actuators' units, with the clipping and the
scaling of actions inside, for any batch size:

    policy.onnx  policy.pt2  policy.safetensors  policy.json  and, with --int8, policy.int8.onnx

With --normalised, policy-normalised.onnx and so on give actions in [-1, 1] instead: what env.step takes. Names, units,
scales, the control step and all else that policy.json says are in the metadata of each file, too.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from environments import in_variant
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, unwritable
from rlmaml.settings.command_line import options_of
from rlmaml.terminal.command import lasting_imports, run_command
from rlmaml.terminal.words import lost_or_gained
from task_choice import TaskChoice, help_with_tasks, make_task_environment, task_values

if TYPE_CHECKING:
    from rlmaml.storage.run_directory import RunDirectory


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of the run, a checkpoint, or an adapted policy."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Directory of the files; by default RUN_DIR/export, and NAME-export beside the file NAME of a policy."""
    int8: bool = False
    """Also write ONNX with 8-bit weights, and measure what that costs in return, on the task of --task, or the one
    that the policy adapted to."""
    normalised: bool = False
    """Let the files give actions in [-1, 1], as env.step of a Gymnasium environment takes them, instead of controls."""
    choice: tyro.conf.OmitArgPrefixes[TaskChoice] = field(default_factory=TaskChoice)
    seed: int = 0
    """Seed of all that is drawn: observations, episodes, and what is random in the task."""
    variant: str | None = None
    """Export for another variant of the family, e.g. a robot with other actuators; by default for the one of the
    training, or in which the policy adapted."""
    actions: Literal["sampled", "mean"] = "mean"
    """With which actions --int8 measures its cost: the mean, the most likely ones, which is what the files give."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    overwrite: bool = False
    """Replace files that are already there."""

    def __post_init__(self) -> None:
        """Check what is measured before anything is loaded."""
        if self.actions != "mean":
            raise UserError(
                "--actions is sampled; exported files give the mean, the most likely actions. What sampled ones earn "
                "is measured by: evaluate.py RUN_DIR --actions sampled."
            )


def main() -> None:
    """Parse, export, verify, time."""
    options = options_of(Options, help_with_tasks(__doc__, sys.argv[1:], Options))

    from rlmaml.storage.run_directory import beside, is_of_run, write_json

    directory = beside(options.run_dir)
    folder = options.output or directory.exported
    stem = "policy-normalised" if options.normalised else "policy"
    suffixes = ["onnx", "pt2", "safetensors", "json"] + (["int8.onnx"] if options.int8 else [])
    files = {suffix: folder / f"{stem}.{suffix}" for suffix in suffixes}

    with lasting_imports():
        import torch

        from rlmaml.base.provenance import provenance
        from rlmaml.deploy import export
        from rlmaml.deploy.adaptable import load
        from rlmaml.deploy.carried_state import Driven
        from rlmaml.deploy.cost import latency
        from rlmaml.deploy.fit import check_acts_in
        from rlmaml.deploy.robot import robot_of
        from rlmaml_envs.registry import data_sheet

        torch.set_num_threads(1)
        options.own.allow()
        policy = load(options.run_dir)
        options.own.check(policy)
        known = task_values(policy, options.variant)
        if options.int8 and policy.steps_taken and not (options.choice.task or known):
            raise UserError(
                f"{options.run_dir} has adapted to a task, on which --int8 is to be measured. Name it: "
                "--task NAME=VALUE."
            )
        trained_in = policy.settings.run.variant
        policy = replace(policy, settings=in_variant(policy.settings, options.variant))
        settings = policy.settings.changed(threads=1, rollout_threads=1)
        env, task = make_task_environment(settings, 20, options.choice, options.seed, adapted_to=known)
        check_acts_in(policy, env)
        check_new(*files.values(), overwrite=options.overwrite)
        robot = robot_of(env, normalised=options.normalised)
        actuation = robot.actuation
        actor = export.Actor(policy, actuation)
        as_trained = is_of_run(options.run_dir) and options.variant in (None, trained_in)
        made_with = {
            "held_out_returns": held_out_returns(directory) if as_trained else None,
            "data_sheet": data_sheet(settings.run.env_id),
            **provenance(),
        }
        card = export.card(policy, robot, made_with)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error

        program = export.export_program(actor)
        metadata = export.as_metadata(card)
        export.write_onnx(program, files["onnx"], actor, metadata)
    by_program = export.write_program(program, files["pt2"], metadata)
    policy.save(files["safetensors"])
    write_json(files["json"], card)

    print(f"{'file':<28}   kB   us/action   largest difference")
    by_onnx = export.load_onnx(files["onnx"])
    for suffix, controls in (("onnx", by_onnx), ("pt2", by_program)):
        difference = export.largest_difference(controls, policy, actuation, options.seed)
        if difference > export.LARGEST_DIFFERENCE:
            raise UserError(f"{files[suffix]} differs from the Python policy by {difference:.2g}; do not use it.")
        report(files[suffix], latency(controls, actor), difference)
    if options.int8:
        export.write_int8(files["onnx"], files["int8.onnx"])
        small = export.load_onnx(files["int8.onnx"])
        difference = export.largest_difference(small, policy, actuation, options.seed)
        report(files["int8.onnx"], latency(small, actor), difference)
    print(
        "(of controls from the Python policy's, in halves of a range, on random observations up to 10 times as large)"
    )
    if options.int8 and actuation.function is not None:
        print("\nThe return of files whose controls are a function of the actions is not measured; --normalised does.")
    elif options.int8:
        from rlmaml.base.intervals import half_interval

        exact, rounded = (
            export.returns_of(env, Driven(one, policy, env.num_envs), actuation, env.horizon, options.seed)
            for one in (by_onnx, small)
        )
        loss = exact - rounded
        print(
            f"\nReturn on {task.words}, {options.actions} actions: {exact.mean():.2f} exact, {rounded.mean():.2f} with "
            f"8-bit weights, which {lost_or_gained(float(loss.mean()), float(half_interval(loss)))} (the same "
            f"{len(loss)} initial states)."
        )
    print(f"\nThe files {'give actions in [-1, 1]' if options.normalised else 'command actuators'}: {folder}")


def held_out_returns(directory: "RunDirectory") -> dict[str, Any] | None:
    """Mean returns after 0, 1, ... inner steps in the evaluation that ended a training; None where there is none."""
    if not directory.evaluation.exists():
        return None
    return {"actions": "sampled", "after_steps": directory.read_evaluation()["returns"]["mean"]}


def report(path: Path, seconds: float, difference: float) -> None:
    """One line about one file."""
    print(f"{path.name:<28} {path.stat().st_size / 1000:>6.1f} {1e6 * seconds:>11.1f} {difference:>20.1e}")


if __name__ == "__main__":
    run_command(main)
