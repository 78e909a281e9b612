import math

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Meta
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.matrices import (
    as_text,
    factorised,
    filled,
    is_factored,
    kept_entries,
    largest_entries,
    left_of,
    multiplied,
    pruned,
    truncated,
)
from rlmaml.policies.perceptron import perceptron
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.settings.whole import configure
from tests.rlmaml.makers import (
    assert_same,
    batch_as,
    gaussian_policy,
    random_batch,
    random_task_params,
    random_theta,
    select_tasks,
    single,
    streams_of,
)

MATRIX = torch.tensor([[0.1, -4.0, 0.0], [3.0, -0.2, 0.5]])


def small_policy() -> GaussianPolicy:
    """Of low rank, and its factors pruned to a half."""
    fresh = gaussian_policy(hidden=(6, 5), rank=2)
    return gaussian_policy(hidden=(6, 5), rank=2, kept=pruned(fresh.init(0), 0.5))


@pytest.mark.parametrize(
    ("share", "kept"), [(0.5, [[False, True, False], [True, False, True]]), (0.99, [[False, True, False], [False] * 3])]
)
def test_the_entries_nearest_to_zero_are_pruned_and_one_is_left_at_least(share: float, kept: list[list[bool]]) -> None:
    assert largest_entries(MATRIX, share).tolist() == kept


def test_the_share_is_that_of_every_matrix_and_of_nothing_else() -> None:
    params = {"a": MATRIX, "b": 1000 * MATRIX, "bias": torch.zeros(3)}
    texts = pruned(params, 0.5)
    kept = kept_entries(texts, {"a": (2, 3), "b": (2, 3)})
    assert {name: own.entries.tolist() for name, own in kept.items()} == {"a": [1, 3, 5], "b": [1, 3, 5]}
    left = left_of(params, kept)
    assert left["a"].tolist() == [-4.0, 3.0, 0.5]
    assert left["bias"] is params["bias"]
    assert filled(left, kept)["a"].tolist() == [[0.0, -4.0, 0.0], [3.0, 0.0, 0.5]]


def test_a_text_names_the_matrix_its_shape_and_a_bit_for_each_entry() -> None:
    assert as_text("a", torch.tensor([[True, False, True]])) == "a:1x3:oA=="  # 101 and five bits that do not count


def test_what_is_left_of_another_policys_matrices_is_refused() -> None:
    for text in (
        "layer0.weight:3x4:////",
        "layer9.weight:4x3://8=",
        "layer0.weight:4x3:AAA=",
        "layer0.weight:4x3:////",
    ):
        with pytest.raises(
            UserError, match=r"^--kept .*the matrices of this policy are layer0.weight 4x3, layer1.weight"
        ):
            gaussian_policy(kept=(text,))


def test_a_factored_matrix_acts_as_its_product() -> None:
    policy, whole = gaussian_policy(hidden=(6, 5), rank=2, context=2), gaussian_policy(hidden=(6, 5), context=2)
    theta = random_theta(policy)
    assert [tuple(theta[f"layer1.weight.{side}"].shape) for side in ("left", "right")] == [(5, 2), (2, 6)]
    products = multiplied(theta)
    assert list(products) == list(whole.init(0))
    batch = random_batch(policy, theta, 3)
    ours, theirs = (p.unroll(params, batch)[0].distribution.mean for p, params in ((policy, theta), (whole, products)))
    assert_same(ours, theirs)
    observations = batch.observations[0, 0].float()
    modules = policy.deterministic(single(theta)), whole.deterministic(single(products))
    assert_same(modules[0](observations), modules[1](observations), atol=1e-5)
    assert [tuple(own.shape) for own in modules[0].parameters()][3:5] == [(2, 6), (5, 2)]


@pytest.mark.parametrize("rank", [1, 2])
def test_what_a_task_finds_is_the_same_bit_for_bit_beside_any_others(rank: int) -> None:
    policy = gaussian_policy(hidden=(32,), rank=rank)
    params = single(random_task_params(policy, 3))
    batch = batch_as(random_batch(policy, random_task_params(policy, 3), 3), torch.float32)

    def found(tasks: list[int]) -> list[torch.Tensor]:
        own = {name: tensor[tasks].requires_grad_() for name, tensor in params.items()}
        said = policy.unroll(own, select_tasks(batch, tasks))[0].distribution.mean
        gradients = torch.autograd.grad(said.square().sum(), list(own.values())[:-1], create_graph=True)
        bends = torch.autograd.grad(torch.stack([g.square().sum() for g in gradients]).sum(), list(own.values())[:-1])
        return [said, *gradients, *bends]

    for together, *apart in zip(found([0, 1, 2]), found([0, 1]), found([2]), strict=True):
        assert torch.equal(together, torch.cat(apart))


def test_factors_of_full_rank_are_the_matrix_to_rounding_and_of_a_lower_one_the_nearest() -> None:
    factors = truncated(MATRIX, 2)
    assert_same(factors.left @ factors.right, MATRIX, atol=1e-6)
    assert_same(factors.left.square().sum(0), factors.right.square().sum(1), atol=1e-6)  # as large as each other
    rest = MATRIX - torch.matmul(*truncated(MATRIX, 1))
    assert_same(torch.linalg.matrix_norm(rest, 2), torch.linalg.svdvals(MATRIX)[1], atol=1e-6)


def test_a_network_of_exactly_that_rank_is_itself_to_rounding() -> None:
    policy = gaussian_policy(hidden=(6, 5), rank=2)
    of_rank = multiplied(random_theta(policy))
    again = factorised(of_rank, 2)
    assert "layer1.weight.left" in again
    observations = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)
    assert_same(perceptron(again, "tanh")(observations), perceptron(of_rank, "tanh")(observations))


def test_a_matrix_is_factored_only_where_that_is_smaller() -> None:
    assert is_factored((64, 64), 31)
    assert not is_factored((64, 64), 32)  # 32 · 128 = 64 · 64
    assert not is_factored((64, 64), 0)
    assert gaussian_policy(hidden=(6, 5), rank=2).head == ("layer2.weight", "layer2.bias")
    assert gaussian_policy(hidden=(6, 5), rank=1).head == ("layer2.weight.left", "layer2.weight.right", "layer2.bias")


def test_pruned_entries_are_exactly_zero_through_inner_steps_whatever_moves_the_others() -> None:
    policy = small_policy()
    settings = configure("maml-trpo", inner_steps=3, inner_l2=0.3, inner_kl=0.2, parameter_noise=0.1)
    rule = gradient_rule(settings.inner, policy)
    meta = Meta(random_task_params(policy, 3), {})
    adaptation = rule.begin(meta)
    for k in range(3):
        batch = random_batch(policy, adaptation.params, 3, seed=k)
        adaptation = rule.step(policy, meta, adaptation, batch, k, streams_of(range(3)))
    for name, kept in policy.kept.items():
        before, after = (filled(params, policy.kept)[name] for params in (meta.params, adaptation.params))
        gone = torch.ones(math.prod(kept.shape), dtype=torch.bool)
        gone[kept.entries] = False
        assert gone.any()
        assert not after.flatten(1)[:, gone].any()
        assert (after != before).flatten(1)[:, ~gone].all()


def test_only_what_is_left_of_a_matrix_takes_memory_on_every_task() -> None:
    policy = small_policy()
    per_task = for_every_task(Meta(policy.init(0), {}), 4).params
    numbers = {name: tensor.numel() for name, tensor in per_task.items()}
    assert numbers["layer1.weight.left"] == 4 * 5  # half of 5x2
    assert policy.describe()["entries_left"]["layer1.weight.left"] == [5, 10]


def test_the_exported_module_has_zeros_where_entries_were_pruned() -> None:
    whole = gaussian_policy(hidden=(6,))
    policy = gaussian_policy(hidden=(6,), kept=pruned(whole.init(0), 0.5))
    weights = dict(policy.deterministic(policy.init(0)).named_parameters())
    zeros = [int((weight == 0).sum()) for weight in weights.values() if weight.dim() == 2]
    assert zeros == [9, 6]  # half of 6x3 and of 2x6
