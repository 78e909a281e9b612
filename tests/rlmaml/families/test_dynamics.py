import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.distributions import Gaussian
from rlmaml.core.types import Outputs
from rlmaml.families.dynamics import (
    Dynamics,
    Normalisation,
    Transitions,
    normalisation_of,
    recorded_transitions,
    transitions_of,
)
from rlmaml.policies.sizes import Part, Sizes, parts_of
from rlmaml.sampling.examples import ListedFamily, check_examples
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout
from tests.rlmaml.sampling.test_recorded import recording

PLAIN = Normalisation((0.0,) * 3, (1.0,) * 3, (0.0,) * 3, (1.0,) * 3)


def numbered(num_tasks: int = 3, count: int = 5, time: int = 4) -> Transitions:
    """Transitions whose observations say which robot, episode and step they are of."""
    axes = torch.meshgrid(*(torch.arange(size) for size in (num_tasks, count, time)), indexing="ij")
    observations = torch.stack(axes, -1).float()
    return Transitions(
        observations, observations[..., :2] / 10, observations / 5, torch.ones(observations.shape[:3]) > 0
    )


def counted_episodes(lengths: tuple[int, ...] = (3, 2), *, final: bool = True) -> RecordedEpisodes:
    """Observations that are squares of 0, 1, 2, …; what is seen last is one more of them in each episode."""
    ends, last = np.cumsum(lengths), np.zeros(sum(lengths), bool)
    last[ends - 1] = True
    steps = np.concatenate([np.arange(length) for length in lengths])
    return RecordedEpisodes(
        observations=(steps**2.0)[:, None].astype(np.float32),
        actions=np.full((len(steps), 1), 2.0, np.float32),
        rewards=np.zeros(len(steps), np.float32),
        terminations=np.zeros(len(steps), bool),
        truncations=last,
        final_observations=np.array([[length**2.0] for length in lengths], np.float32) if final else None,
    )


def test_a_change_leads_to_what_was_seen_next_and_last_steps_to_what_was_seen_last() -> None:
    # squares grow by 1, 3, 5, …
    moved = recorded_transitions(counted_episodes())
    assert moved.valid[0].tolist() == [[True] * 3, [True, True, False]]
    assert moved.changes[moved.valid].flatten().tolist() == [1, 3, 5, 1, 3]
    assert moved.actions[moved.valid].tolist() == [[1.0]] * 5, "actions are as the robot does them"


def test_where_nobody_says_what_was_seen_last_no_last_step_is_learned_from() -> None:
    moved = recorded_transitions(counted_episodes((3, 2, 1), final=False))
    assert moved.valid[0].sum(-1).tolist() == [2, 1, 0]
    assert moved.changes[moved.valid].flatten().tolist() == [1, 3, 1]


def test_what_who_acted_was_told_is_left_out_and_failed_simulations_are() -> None:
    sampled = as_rollout(recording())
    moved = transitions_of(sampled, observed=3)
    assert torch.equal(moved.observations, sampled.observations[..., :3])
    assert moved.sizes == Sizes(3, 2)
    nothing = sampled._replace(valid=torch.zeros_like(sampled.valid))
    assert not transitions_of(nothing, 3).valid.any()
    choices = sampled._replace(actions=torch.zeros(1, 2, 3, dtype=torch.long))
    with pytest.raises(UserError, match="actions are choices"):
        transitions_of(choices, observed=3)


def test_normalised_training_transitions_have_mean_0_and_deviation_1_and_constants_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (4, 5, 6)
    observations, changes = (3 + 2 * torch.randn((*shape, 3), generator=generator) for _ in range(2))
    changes[..., 2] = 0.5
    valid = torch.rand(shape, generator=generator) < 0.8
    moved = Transitions(observations, torch.zeros(*shape, 2), torch.where(valid.unsqueeze(-1), changes, 99.0), valid)
    family = Dynamics("it", moved, normalisation_of(moved), queries=4)
    support, query = family.sets(family.every_task(), range(4))
    seen, said = (
        torch.cat([part[one.valid] for part, one in zip(parts, (support, query), strict=True)])
        for parts in zip(*(examples[:2] for examples in (support, query)), strict=True)
    )
    assert seen.mean(0).tolist() == pytest.approx([0, 0, 0, 0, 0], abs=1e-5)
    assert seen.std(0, unbiased=False)[:3].tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert said.std(0, unbiased=False).tolist() == pytest.approx([1, 1, 0], abs=1e-5)
    # the mean change, which is 0 when normalised, has an error of 1 in what varies
    mean = Outputs(Gaussian(torch.zeros_like(said), torch.zeros_like(said)))
    whole = support._replace(targets=said, valid=torch.ones(len(said)) > 0)
    assert float(family.loss(mean, whole)) == pytest.approx(2 / 3, abs=1e-5)
    assert family.score(mean, whole) == family.loss(mean, whole)


def test_errors_in_units_are_those_of_the_next_observation() -> None:
    family = Dynamics("it", numbered(), PLAIN._replace(change_deviation=(1.0, 2.0, 10.0)))
    support, _ = family.sets({"index": np.array([0])}, [0])
    data = type(support)(*(field[0] for field in support))
    data = data._replace(valid=torch.tensor([True, True, False, False]))
    off = data.targets + torch.tensor([[1.0, 1.0, 1.0], [3.0, 1.0, 0.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    errors = family.squared_errors(Outputs(Gaussian(off, torch.zeros_like(off))), data)
    # (1 + 9) / 2 · 1², (1 + 1) / 2 · 2², (1 + 0) / 2 · 10²
    assert errors.tolist() == pytest.approx([5.0, 4.0, 50.0])


def test_support_and_query_sets_share_no_episode_and_in_order_the_first_ones_are_adapted_on() -> None:
    family = Dynamics("it", numbered(), PLAIN, shots=2, queries=2)
    assert isinstance(family, ListedFamily)
    for in_order in (False, True):
        own = Dynamics("it", numbered(), PLAIN, shots=2, queries=2, in_order=in_order)
        support, query = own.sets({"index": np.array([0, 1, 2] * 9)}, range(27))
        for examples in (support, query):
            check_examples(examples, 27, own.sizes, "it")
            assert torch.equal(examples.observations[..., 3:], examples.observations[..., :2] / 10)
        chosen = set()
        for given, held_out in zip(support.observations[..., 1], query.observations[..., 1], strict=True):
            assert not set(given.tolist()) & set(held_out.tolist())
            chosen.add((*given.tolist(), *held_out.tolist()))
        assert len(chosen) > 20 or in_order
        assert not in_order or chosen == {(*[0] * 4, *[1] * 4, *[2] * 4, *[3] * 4)}


def test_another_episode_is_another_variant_and_the_sheet_says_how_numbers_are_made() -> None:
    other = numbered()
    other.changes[0, 0, 0, 0] = 9.0
    variants = {Dynamics("it", moved, PLAIN, shots).variant for moved in (numbered(), other) for shots in (1, 2)}
    assert len(variants) == 4
    assert Dynamics("it", numbered(), PLAIN).sheet["normalisation"] == PLAIN._asdict()


def test_a_test_whose_errors_are_in_other_units_is_another_variant_and_a_training_is_resumed_as_before() -> None:
    other = PLAIN._replace(change_deviation=tuple(2 * number for number in PLAIN.change_deviation))
    training, test = (
        {Dynamics("it", numbered(), units, in_order=in_order).variant for units in (PLAIN, other)}
        for in_order in (False, True)
    )
    assert len(training) == 1
    assert len(test) == 2


def test_too_few_episodes_are_refused_by_their_robot() -> None:
    moved = numbered()
    moved.valid[1, 1:] = False
    with pytest.raises(UserError, match="Robot 1 of it has 1 usable episodes; to adapt on 1 there must be one more"):
        Dynamics("it", moved, PLAIN)
    with pytest.raises(UserError, match="--query-episodes is 0; it must be at least 1"):
        Dynamics("it", numbered(), PLAIN, queries=0)


def test_the_parts_of_an_observation_are_known_to_models_with_the_action_as_one_more() -> None:
    parts = (Part("picture", (1, 1, 2)), Part("speed", (1,)))
    sizes = Dynamics("it", numbered(), PLAIN, parts=parts).sizes
    assert sizes == Sizes(5, 3, parts=parts)
    assert parts_of(sizes) == (*parts, Part("rest", (2,)))
