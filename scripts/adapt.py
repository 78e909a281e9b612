"""Adapt a meta-trained policy to one task, and write the best policy that was reached.

In simulation: adapt.py RUN_DIR --task velocity=1.3. From recorded episodes, without a simulator: adapt.py RUN_DIR
--episodes FILE. On and on, within a trust region and with bad steps undone, in simulation: adapt.py RUN_DIR --task
velocity=1.3 --online --trust-region 0.05 --steps 50, with --episodes FILE after a first attempt from these;
rlmaml.deploy.online does the same on a robot. By trying contexts within a budget of episodes: adapt.py RUN_DIR --task
velocity=1.3 --online --search cmaes --search-episodes 20. A run of train_imitation.py, from demonstrations without
rewards and without a simulator: adapt.py RUN_DIR --demonstrations FILE. RUN_DIR may also be a policy that this script
wrote, which is then adapted further, but for a search. What is written after steps in simulation is the policy with the
highest lower confidence bound of its mean return, or the best context, after it was measured again beside the one that
it began with.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from environments import in_variant
from machine import Machine, check_least
from own_code import OwnCode
from rlmaml.base.errors import UserError
from rlmaml.base.files import check_new, check_writable
from rlmaml.settings.command_line import options_of
from rlmaml.settings.search import SearchSettings
from rlmaml.settings.trust_region import INNER_KL, KL_SCALE, check_trust_region
from rlmaml.terminal.command import lasting_imports, run_command
from rlmaml.terminal.words import counted
from searching import check_budget_alone, trained_search
from supervised import check_of_episodes
from task_choice import TaskChoice, help_with_tasks, make_task_environment, task_values

if TYPE_CHECKING:
    from rlmaml.deploy.adaptable import ActionKind, AdaptablePolicy
    from rlmaml.deploy.online import Attempt, Collect
    from rlmaml.sampling.recorded import RecordedEpisodes

DEFAULT_EPISODES = 20


@dataclass(frozen=True)
class Options:
    """Options of the script."""

    run_dir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN_DIR")]
    """Directory of the run, a checkpoint, or an adapted policy."""
    choice: tyro.conf.OmitArgPrefixes[TaskChoice] = field(default_factory=TaskChoice)
    episodes: Path | None = None
    """Adapt from these recorded episodes instead: an .npz file (rlmaml/sampling/recorded.py) or a Minari dataset;
    go on from there in simulation with --online."""
    demonstrations: Path | None = None
    """Adapt a policy of train_imitation.py to what is demonstrated in this recording; it needs no rewards."""
    online: bool = False
    """Go on adapting; undo a step unless its returns show that it is no worse. A search keeps the best it met."""
    floor: float | None = None
    """Return below which an episode counts as failed: no step, and no policy that is written, may have a larger share
    of such episodes than before."""
    actions: Literal["sampled", "mean"] = "sampled"
    """With which actions policies are judged: sampled, as they adapt, or the mean, the most likely ones. Steps are
    always taken on sampled ones; what is written is measured with both."""
    trust_region: float | None = None
    """Take trust-region steps of at most this KL, in nats, instead of the trained inner steps: 0.05, say. On tasks like
    those of the training an inner step goes much further; these are for a robot that goes on working on something
    else, where they improve the policy over tens of steps."""
    search: tyro.conf.OmitArgPrefixes[SearchSettings] = field(default_factory=SearchSettings)
    num_episodes: Annotated[int, tyro.conf.arg(name="episodes-per-step")] = DEFAULT_EPISODES
    """Episodes per step in simulation."""
    steps: int | None = None
    """Steps in simulation, 1 by default, or attempts with --online; on demonstrations, by default as many as were
    trained. Beyond the trained inner steps, the last size is used again."""
    seed: int = 0
    """Seed of the episodes, and of what is random in the task."""
    variant: str | None = None
    """Adapt in another variant of the family, in which the policy that is written then is; by default in the one of
    the training."""
    record: Path | None = None
    """Also write the episodes of the unadapted policy to this .npz file."""
    output: Path | None = None
    """Where the adapted policy is written; by default RUN_DIR/adapted.safetensors, and beside the file NAME of a policy
    NAME-adapted.safetensors."""
    overwrite: bool = False
    """Replace files that are already there."""
    own: tyro.conf.OmitArgPrefixes[OwnCode] = field(default_factory=OwnCode)
    machine: tyro.conf.OmitArgPrefixes[Machine] = field(default_factory=Machine)

    def __post_init__(self) -> None:
        """Check the numbers before anything is loaded."""
        check_least(
            ("--episodes-per-step", self.num_episodes, 2),
            ("--steps", self.num_steps, 1),
            ("--seed", self.seed, 0),
        )
        check_trust_region(self.trust_region)
        if self.demonstrations and (
            *(self.episodes, self.online, self.record, self.variant, self.search.search),
            *(self.floor, self.trust_region, self.choice, self.actions),
        ) != (None, False, None, None, None, None, None, TaskChoice(), "sampled"):
            raise UserError(
                "--demonstrations needs no simulator and no rewards; it excludes --task, --rest, --episodes, "
                "--online, --variant, --search, --trust-region, --floor, --actions and --record."
            )
        if self.search.search:
            if not self.online:
                raise UserError("--search tries one context after another on the task; add --online.")
            check_budget_alone(self.trust_region, self.num_steps != 1, self.num_episodes != DEFAULT_EPISODES)
            if self.episodes:
                raise UserError("--search tries contexts itself, and learns nothing from recordings; leave --episodes.")
        if self.floor is not None and not math.isfinite(self.floor):
            raise UserError(f"--floor is {self.floor}; it must be a finite return.")
        if self.episodes and not self.online:
            simulated = self.record or self.variant or self.floor is not None or self.choice != TaskChoice()
            if simulated or self.actions != "sampled":
                raise UserError(
                    "--episodes needs no simulator; it excludes --task, --rest, --variant, --floor, --actions and "
                    "--record. To go on in simulation, add --online."
                )
            if self.num_steps != 1:
                raise UserError(
                    f"--steps is {self.steps}, but recorded episodes serve one step; the next needs new ones. To go on "
                    "in simulation, add --online."
                )

    @property
    def num_steps(self) -> int:
        """Steps in simulation, or attempts."""
        return 1 if self.steps is None else self.steps


def main() -> None:
    """Parse, adapt, write, print the returns."""
    options = options_of(Options, help_with_tasks(__doc__, sys.argv[1:], Options))
    for path in (options.output, options.record):
        check_writable(path)

    with lasting_imports():
        from rlmaml.deploy.adaptable import load
        from rlmaml.deploy.fit import check_adapts_from_rewards
        from rlmaml.storage.run_directory import beside

    target = options.output or beside(options.run_dir).adapted
    options.own.allow()
    policy = load(options.run_dir).on(options.machine.device, options.machine.rollout_device)
    if options.demonstrations:
        adapt_to_demonstrations(options, policy, options.demonstrations, target)
        return
    check_adapts_from_rewards(policy)
    check_of_episodes(policy.settings.run.env_id)
    episodes = None
    if options.episodes:
        from rlmaml.sampling.recorded import read_episodes

        episodes = read_episodes(options.episodes)
    if episodes and not options.online:
        adapt_from_recording(options, policy, episodes, target)
    else:
        options.own.check(policy)
        adapt_in_simulation(options, policy, target, episodes)
    print(f"Adapted policy: {target}")


def check_place(options: Options, target: Path) -> None:
    """Refuse places where nothing can be written, once all else is known to be right and before anything is computed.

    Raises:
        UserError: the policy's place, or that of its episodes, is taken or none.
    """
    check_writable(target)
    check_new(target, options.record, overwrite=options.overwrite)


def adapt_to_demonstrations(options: Options, policy: "AdaptablePolicy", path: Path, target: Path) -> None:
    """Adapt to what is demonstrated in a recording, write, and print how near the policy is to it."""
    from rlmaml.deploy.imitate import imitate, imitation_error
    from rlmaml.sampling.recorded import read_episodes

    shown = read_episodes(path, rewards=False)
    check_place(options, target)
    adapted = imitate(policy, shown, steps=options.steps, source=str(path))
    adapted.save(target)
    before, after = (imitation_error(one, shown) for one in (policy, adapted))
    taken = counted(adapted.steps_taken - policy.steps_taken, "inner step")
    shots = counted(len(shown.ends), "demonstration")
    print(f"{shots}, {taken}: squared error {before:.4g} before, {after:.4g} after.\nAdapted policy: {target}")


def adapt_from_recording(
    options: Options, policy: "AdaptablePolicy", episodes: "RecordedEpisodes", target: Path
) -> None:
    """Adapt to recorded episodes, write, and print by how much that changed the policy."""
    from rlmaml.deploy.fit import check_remembers

    if options.trust_region is None:
        check_remembers(policy, len(episodes.ends))
    check_place(options, target)
    adapted = policy.adapt(episodes, trust_region=options.trust_region)
    mean = float(episodes.returns.mean())
    returns = {"before": {"sampled": mean} if math.isfinite(mean) else {}}
    adapted = replace(adapted, adaptation={**adapted.adaptation, "returns": returns})
    adapted.save(target)
    inner = "Living through them" if policy.adapts_by_memory else "An inner step"
    kind = inner if options.trust_region is None else "A trust-region step"
    print(f"Recorded episodes: {len(episodes.ends)}, mean return {mean:.2f}, sampled actions.")
    print(changed_by(policy, adapted, episodes, kind))


def changed_by(first: "AdaptablePolicy", left: "AdaptablePolicy", episodes: "RecordedEpisodes", what: str) -> str:
    """By how much something changed a policy on some episodes, in words, with a scale."""
    change = first.divergence(left, episodes)
    scale = KL_SCALE if first.adapts_by_memory else INNER_KL
    return f"{what} changed the policy by a KL of {change:.3g} nats on what it saw ({scale})."


def adapt_in_simulation(
    options: Options, policy: "AdaptablePolicy", target: Path, recorded: "RecordedEpisodes | None" = None
) -> None:
    """Adapt to the chosen task, first from recorded episodes where there are any, write, and print each step's return.

    What is left is measured with sampled and with mean actions, whichever it was judged by.
    """
    from rlmaml.deploy.fit import check_acts_in, check_remembers
    from rlmaml.deploy.online import (
        adapt_online,
        best_in_steps,
        in_visits,
        search_online,
        taken_since,
        visits_checked,
    )
    from rlmaml.sampling.recorded import write_episodes

    policy = replace(policy, settings=in_variant(policy.settings, options.variant))
    settings = options.machine.applied(policy.settings)
    searches = options.search.search is not None
    lives = policy.adapts_by_memory and not searches and options.trust_region is None
    num_episodes = options.search.average if searches else options.num_episodes
    known = task_values(policy, options.variant)
    env, task = make_task_environment(settings, num_episodes, options.choice, options.seed, adapted_to=known)
    check_acts_in(policy, env)
    if lives:
        check_remembers(policy, len(recorded.ends) if recorded else num_episodes)
    check_place(options, target)

    def collecting(actions: "ActionKind") -> "Collect":
        return lambda current, visit: current.record(env, options.seed, visit=visit, actions=actions, stage=0)

    first, reason = policy, ""
    begun = collecting("sampled")(first, 0) if options.record else None

    def sampled(current: "AdaptablePolicy", visit: int) -> "RecordedEpisodes":
        return begun if begun and current is first and not visit else collecting("sampled")(current, visit)

    judged = sampled if options.actions == "sampled" else collecting(options.actions)
    if searches:
        search = trained_search(options.search, options.run_dir, options.machine)
        steps = search_online(policy, judged, search, seed=options.seed, floor=options.floor)
        rounds = options.search.attempts
        print(f"{counted(rounds, 'attempt')}, {counted(num_episodes, 'episode')} each.")
    else:
        rounds = options.num_steps + (recorded is not None) + 1
        how: Any = {"trust_region": options.trust_region, "floor": options.floor}
        how |= {} if options.actions == "sampled" else {"measure": judged}
        if options.online:
            steps = adapt_online(policy, sampled, options.num_steps, recorded=recorded, **how)
        else:
            steps = best_in_steps(policy, sampled, options.num_steps, **how)
    if options.record and begun:
        write_episodes(options.record, begun)
    noun, head = ("attempt", "tries") if searches else ("step", "steps")
    if lives:
        print(life_in_words(policy, num_episodes))
    print(f"Task: {task.words}\n\n{head}    return  95 % interval, {options.actions} actions")
    lived = 0

    def keep(left: "AdaptablePolicy", **more: Any) -> None:
        record = {"episodes": 0, **left.adaptation, "task": task.words, "task_values": task.values}
        replace(left, adaptation=record | more).save(target)

    def kept() -> str:
        best, done = taken_since(first, policy, noun), counted(lived - 1, noun)
        return f"{target} holds the best policy of {done}, that after {best}; it was not measured again."

    with told_at_an_interrupt(lambda: kept() if lived else ""):
        for number, step in enumerate(steps):
            policy, reason = step.policy, step.reason
            if options.online:
                keep(policy)  # what was reached outlives whatever ends the work
                lived = number + 1
            print(attempt_in_words(number, step), flush=True)
    keep(policy)
    print(f"\n{reason}")
    times = visits_checked(num_episodes) if searches else 1
    returns, words = measured(first, policy, lambda kind: in_visits(collecting(kind), times), rounds + times + 1)
    keep(policy, returns=returns)
    print(words)


def life_in_words(policy: "AdaptablePolicy", num_episodes: int) -> str:
    """What a step is where a memory lives through its episodes."""
    trained = policy.settings.inner.trial_episodes
    beyond = f" It was trained on trials of {trained}." if num_episodes >= trained else ""
    return f"A step lives through {num_episodes} episodes, which the policy remembers; its weights stay.{beyond}"


def attempt_in_words(number: int, attempt: "Attempt") -> str:
    """A line of the table: the mean return with its interval, where episodes are enough for one, and what is wrong."""
    from rlmaml.deploy.online import return_interval

    low, high = return_interval(attempt.returns)
    interval = f"  {low:.2f} to {high:.2f}" if math.isfinite(low) else ""
    mean = f"{attempt.returns.mean():>8.2f}{interval}" if len(attempt.returns) else "every episode failed"
    remark = "  the best of before, once more" if attempt.repeated else ""
    remark += "  undone" if attempt.undone else "  not to be left" if attempt.reason else ""
    remark += f": {attempt.reason}" if attempt.reason else ""
    return f"{'again' if attempt.again else number:>5}  {mean}{'' if attempt.again else remark}"


class InterruptedAdaptationError(UserError):
    """The user stopped an adaptation, of which something is left."""

    heading = ""


@contextmanager
def told_at_an_interrupt(words: Callable[[], str]) -> Iterator[None]:
    """Say at an interrupt what is left of the work in this block.

    Raises:
        InterruptedAdaptationError: at the interrupt, where there is something to say.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not (left := words()):
            raise
        raise InterruptedAdaptationError(f"Interrupted. {left}") from error


def measured(
    first: "AdaptablePolicy", left: "AdaptablePolicy", collecting: "Callable[[ActionKind], Collect]", visit: int
) -> tuple[dict[str, dict[str, float]], str]:
    """Mean returns before and after, with either kind of actions, on fresh episodes; and in words, with the KL."""
    kinds: tuple[ActionKind, ...] = ("sampled", "mean")
    returns: dict[str, dict[str, float]] = {"before": {}, "after": {}}
    words = []
    for kind in kinds:
        before, after = (collecting(kind)(one, visit) for one in (first, left))
        means = {"before": float(before.returns.mean()), "after": float(after.returns.mean())}
        for when, reached in means.items():
            returns[when] |= {kind: reached} if math.isfinite(reached) else {}
        words.append(
            f"Return with {kind} actions, on {counted(len(before.ends), 'fresh episode')}: "
            f"{means['before']:.2f} before, {means['after']:.2f} after."
        )
    if left is not first:
        words.append(changed_by(first, left, collecting("sampled")(first, visit), "Adaptation"))
    return returns, "\n".join(words)


if __name__ == "__main__":
    run_command(main)
