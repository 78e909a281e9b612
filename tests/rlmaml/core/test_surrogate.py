import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from rlmaml.core.distributions import Distribution, Gaussian, detach
from rlmaml.core.parameters import with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import clipped_losses, divergences, entropies, fisher_products, replay_gap, surrogate_losses
from rlmaml.core.types import Batch
from tests.rlmaml.makers import (
    assert_same,
    categorical_policy,
    dense_hessian,
    gaussian_policy,
    random_batch,
    random_task_params,
    random_theta,
    summed,
    torch_distribution,
)

NUM_TASKS = 3
GAUSSIAN = gaussian_policy()
POLICIES: dict[str, Policy] = {"gaussian": GAUSSIAN, "categorical": categorical_policy()}


def old_and_new(policy: Policy = GAUSSIAN) -> tuple[Distribution, Distribution, Batch]:
    """The policies that sampled, others, and what was sampled."""
    params, moved = random_task_params(policy, NUM_TASKS), random_task_params(policy, NUM_TASKS, seed=1)
    batch = random_batch(policy, params, NUM_TASKS)
    assert not batch.valid.all()
    return policy.unroll(params, batch)[0].distribution, policy.unroll(moved, batch)[0].distribution, batch


def mean_of_valid(values: Tensor, batch: Batch) -> Tensor:
    return torch.stack([values[task][valid].mean() for task, valid in enumerate(batch.valid)])


def test_the_surrogate_loss_is_minus_the_mean_of_ratio_times_advantage_over_valid_steps() -> None:
    old, new, batch = old_and_new()
    ratio = new.log_prob(batch.actions).exp() / old.log_prob(batch.actions).exp()
    batch = batch._replace(inner_advantages=torch.full_like(batch.advantages, 5.0))
    assert_same(surrogate_losses(new, old, batch), -mean_of_valid(ratio * batch.advantages, batch))
    assert (ratio - 1).abs().median() > 0.1


def test_the_clipped_loss_is_minus_the_mean_of_the_lesser_of_ratio_and_clipped_ratio_times_advantage() -> None:
    old, new, batch = old_and_new()
    ratio, gain = new.log_prob(batch.actions).exp() / old.log_prob(batch.actions).exp(), batch.advantages
    for clip in (0.1, 0.4):
        lesser = torch.where(gain > 0, ratio.clamp(max=1 + clip), ratio.clamp(min=1 - clip)) * gain
        assert_same(clipped_losses(new, old, batch, clip), -mean_of_valid(lesser, batch))
        cut = (lesser != ratio * gain) & batch.valid
        assert cut.any((1, 2)).all()
        assert not cut[batch.valid].all()


def test_the_entropy_is_torchs_over_valid_steps() -> None:
    _, new, batch = old_and_new()
    assert_same(entropies(new, batch), mean_of_valid(torch_distribution(new).entropy(), batch))


def test_where_the_policies_are_the_same_the_ratio_is_exactly_one() -> None:
    # the advantages of a task need not average to 0
    old, _, batch = old_and_new()
    shifted = batch._replace(advantages=batch.advantages + 1.0)
    assert_same(surrogate_losses(old, detach(old), shifted), -mean_of_valid(shifted.advantages, batch))


def test_the_divergence_is_torchs_kl_from_old_to_new() -> None:
    old, new, batch = old_and_new()
    assert isinstance(old, Gaussian)
    assert isinstance(new, Gaussian)
    pair = [Independent(Normal(policy.mean, policy.log_std.exp()), 1) for policy in (old, new)]
    expected = mean_of_valid(kl_divergence(*pair), batch)
    assert_same(divergences(old, new, batch), expected)
    assert ((mean_of_valid(kl_divergence(*pair[::-1]), batch) / expected - 1).abs() > 0.01).all()


@pytest.mark.parametrize("kind", POLICIES)
def test_the_divergence_of_a_policy_from_itself_is_exactly_zero(kind: str) -> None:
    old, _, batch = old_and_new(POLICIES[kind])
    assert not divergences(old, detach(old), batch).any()


def test_the_replay_gap_is_zero_for_the_policies_that_sampled() -> None:
    old, new, batch = old_and_new()
    assert not replay_gap(old, batch).any()
    assert (replay_gap(new, batch) > 0.1).all()


@pytest.mark.parametrize("shift", [0.25, -0.25])
def test_the_replay_gap_is_the_largest_planted_difference_of_each_task(shift: float) -> None:
    old, _, batch = old_and_new()
    log_probs = batch.log_probs.clone()
    log_probs[1, 0, 2] += shift
    log_probs[1, 0, 1] += shift / 2
    log_probs[2, 0, 0] -= 2 * shift
    gaps = replay_gap(old, batch._replace(log_probs=log_probs))
    torch.testing.assert_close(gaps, torch.tensor([0.0, 0.25, 0.5]).double())


def test_the_replay_gap_sees_no_padding() -> None:
    old, _, batch = old_and_new()
    for garbage in (7.0, torch.nan):
        assert not replay_gap(old, batch._replace(log_probs=batch.log_probs.masked_fill(~batch.valid, garbage))).any()


@pytest.mark.parametrize("kind", POLICIES)
def test_fisher_products_are_those_of_the_dense_hessian_of_the_weighted_kl(kind: str) -> None:
    policy = POLICIES[kind]
    points = with_task_axis(random_theta(policy), NUM_TASKS)
    batches = [random_batch(policy, random_theta(policy), NUM_TASKS, seed=seed) for seed in (0, 1)]
    policies = [policy.unroll(points, batch)[0].distribution for batch in batches]
    generator = torch.Generator().manual_seed(0)
    weights = [torch.rand(b.valid.shape, generator=generator, dtype=torch.float64) * b.valid for b in batches]
    leaves = list(points.values())
    product = fisher_products(policies, weights, leaves)
    value = sum((weight * detach(each).kl(each)).sum() for weight, each in zip(weights, policies, strict=True))
    dense = dense_hessian(torch.as_tensor(value), leaves)
    columns = []
    for entry in torch.eye(len(dense), dtype=torch.float64):
        pieces = torch.split(entry, [leaf[0].numel() for leaf in leaves])
        tangents = [piece.view(leaf.shape[1:]).expand_as(leaf) for piece, leaf in zip(pieces, leaves, strict=True)]
        columns.append(summed(product(tangents)))
    assert_same(torch.stack(columns), dense, rtol=1e-9, atol=1e-11)
    assert dense.norm() > 1.0


def test_every_tasks_fisher_product_is_its_own() -> None:
    points = with_task_axis(random_theta(GAUSSIAN), NUM_TASKS)
    batch = random_batch(GAUSSIAN, random_theta(GAUSSIAN), NUM_TASKS)
    policies = [GAUSSIAN.unroll(points, batch)[0].distribution]
    leaves = list(points.values())
    product = fisher_products(policies, [batch.valid.double()], leaves)
    tangents = [torch.ones_like(leaf) for leaf in leaves]
    alone = [
        torch.where(torch.arange(NUM_TASKS).view(-1, *[1] * (leaf.dim() - 1)) == 1, leaf, 0.0) for leaf in tangents
    ]
    for image, whole in zip(product(alone), product(tangents), strict=True):
        assert_same(image[1], whole[1])
        assert not image[[0, 2]].any()
