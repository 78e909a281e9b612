"""Every part of MAML++ is switched on and off alone, and its schedules are those of the training loop."""

from functools import cache
from typing import Any

import pytest
import torch

from rlmaml.core.types import Meta
from rlmaml.settings.whole import Settings, configure
from rlmaml.training.train import IterationReport, Learned
from tests.rlmaml.makers import vector
from tests.rlmaml.training.test_train import Run, assert_same_run, run

OFF: dict[str, Any] = {
    "learn_step_sizes": False,
    "anneal_stage_weights": 0,
    "first_order_until": 0,
    "cosine_iterations": 0,
}
SMALL: dict[str, Any] = {
    "inner_steps": 2,
    "inner_step_sizes": (0.5, 0.3),
    "num_tasks": 2,
    "num_episodes": 4,
    "horizon": 3,
    "hidden": (6,),
    "threads": 1,
}
FULL: dict[str, dict[str, Any]] = {
    "maml-trpo": {"max_kl": 0.01, "cg_iterations": 3},
    "promp": {"outer_step_size": 0.02, "epochs": 2},
}
"""Method -> its meta-updates, the first number being how far they go."""
BY_HAND: dict[str, dict[int, dict[str, Any]]] = {
    "anneal_stage_weights": {0: {"stage_weights": (0.0, 1.0, 1.0)}, 2: {"stage_weights": (0.0, 1.0, 3.0)}, 4: {}},
    "first_order_until": {0: {"first_order": True}, 4: {}},
    "cosine_iterations": {0: {}, 4: {"length": 1 - 0.9}},
}
"""Part that takes four meta-iterations -> meta-iteration -> the settings that it stands for there."""


def settings(algorithm: str, length: float = 1.0, **options: Any) -> Settings:
    full = FULL["promp" if algorithm == "promp" else "maml-trpo"]
    reach = next(iter(full))
    return configure(algorithm, **SMALL, **full | {reach: length * full[reach]}, **options)


@cache
def iteration(settings: Settings, number: int) -> Run:
    """One meta-iteration, from where a run begins; not to be written to."""
    return run(settings.changed(iterations=number + 1), start=number)


@pytest.mark.parametrize(("method", "plain"), [("maml++", "maml-trpo"), ("promp", "promp")])
@pytest.mark.parametrize("part", BY_HAND)
def test_a_part_switched_on_alone_is_its_schedule_set_by_hand_bit_for_bit(method: str, plain: str, part: str) -> None:
    switched_on = settings(method, **OFF | {part: 4})
    for number, by_hand in BY_HAND[part].items():
        assert_same_run(iteration(switched_on, number), iteration(settings(plain, **by_hand), number))
    first, late = (iteration(each, 4)[0][0] for each in (settings(plain, **BY_HAND[part][0]), switched_on))
    assert not torch.equal(vector(first.meta), vector(late.meta))


def test_learned_sizes_switched_on_alone_begin_as_given_and_are_those_of_the_next_inner_steps() -> None:
    switched_on, plain = settings("maml++", **OFF | {"learn_step_sizes": True}), settings("maml-trpo")
    ((learned, report),) = iteration(switched_on, 0)
    assert_sampled_alike(report, iteration(plain, 0)[0][1])
    assert list(learned.meta.rates) == list(learned.meta.params)
    assert (torch.stack(list(learned.meta.rates.values())).std(0) > 1e-4).all()  # a size per layer in each step
    params, sizes = learned.meta.params, (0.2, 0.7)
    uniform = Learned(Meta(params, {name: torch.tensor(sizes).log() for name in params}), {})
    ((_, ours),) = run(switched_on.changed(iterations=2), uniform, start=1)
    by_hand = plain.changed(iterations=2, inner_step_sizes=sizes)
    ((_, theirs),) = run(by_hand, Learned(Meta(params, {}), {}), start=1)
    assert_sampled_alike(ours, theirs)


def assert_sampled_alike(ours: IterationReport, theirs: IterationReport) -> None:
    """To rounding; and every stage has actions of its own."""
    for one, other in zip(ours.rollouts, theirs.rollouts, strict=True):
        torch.testing.assert_close(one.actions, other.actions, rtol=1e-5, atol=1e-5)
    assert (ours.rollouts[1].actions - ours.rollouts[2].actions).abs().max() > 0.1


def test_with_everything_switched_off_it_is_maml_trpo_bit_for_bit() -> None:
    off, plain = (settings(method, **OFF).changed(iterations=2) for method in ("maml++", "maml-trpo"))
    assert_same_run(run(off), run(plain))
    assert settings("maml++").outer != plain.outer
    assert settings("maml++").inner != plain.inner
