import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Distribution as TorchDistribution
from torch.distributions import Independent, Normal, kl_divergence

from rlmaml.core.distributions import Categorical, Distribution, Gaussian, detach
from tests.rlmaml.makers import assert_same, categorical_policy, gaussian_policy


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_gaussians() -> tuple[Gaussian, Gaussian]:
    return (
        Gaussian(normal(4, 5, 3, seed=0), 0.5 * normal(4, 5, 3, seed=1) - 0.7),
        Gaussian(normal(4, 5, 3, seed=2), 0.5 * normal(4, 5, 3, seed=3) + 0.2),
    )


def two_categoricals() -> tuple[Categorical, Categorical]:
    return Categorical(2 * normal(4, 5, 3, seed=0)), Categorical(2 * normal(4, 5, 3, seed=1))


def reference(gaussian: Gaussian) -> TorchDistribution:
    return Independent(Normal(gaussian.mean, gaussian.log_std.exp()), 1)


def test_gaussian_log_prob_kl_and_entropy_are_those_of_torch() -> None:
    old, new = two_gaussians()
    actions = normal(4, 5, 3, seed=4)
    assert_same(old.log_prob(actions), reference(old).log_prob(actions))
    assert_same(old.kl(new), kl_divergence(reference(old), reference(new)))
    assert_same(old.entropy(), reference(old).entropy())


def test_categorical_log_prob_kl_and_entropy_are_those_of_torch() -> None:
    old, new = two_categoricals()
    actions = torch.arange(20).view(4, 5) % 3
    reference_old, reference_new = TorchCategorical(logits=old.logits), TorchCategorical(logits=new.logits)
    assert_same(old.log_prob(actions), reference_old.log_prob(actions))  # type: ignore[no-untyped-call]
    assert_same(old.kl(new), kl_divergence(reference_old, reference_new))
    assert_same(old.entropy(), reference_old.entropy())  # type: ignore[no-untyped-call]


def test_gaussian_log_prob_is_a_sum_over_action_dimensions() -> None:
    # N(0; 0, 1) = 1/√(2π) in each of three dimensions: −3/2 · log 2π, not its third.
    standard = Gaussian(torch.zeros(3), torch.zeros(3))
    assert float(standard.log_prob(torch.zeros(3))) == pytest.approx(-1.5 * math.log(2 * math.pi))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("old", [two_gaussians()[0], two_categoricals()[0]], ids=["gaussian", "categorical"])
def test_kl_to_itself_is_exactly_zero(old: Distribution, dtype: torch.dtype) -> None:
    one, same = (type(old)(*(field.to(dtype).clone() for field in old)) for _ in range(2))
    assert torch.equal(one.kl(same), torch.zeros(4, 5, dtype=dtype))  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [two_gaussians(), two_categoricals()], ids=["gaussian", "categorical"])
def test_fisher_product_is_the_hessian_of_the_kl(pair: tuple[Distribution, Distribution]) -> None:
    kind = type(pair[0])
    at, tangent = (torch.cat([field[1, 2] for field in distribution]) for distribution in pair)
    pieces = len(pair[0])

    def split(numbers: Tensor) -> Distribution:
        return kind(*numbers.chunk(pieces))

    def kl(numbers: Tensor) -> Tensor:
        return split(at).kl(split(numbers))  # type: ignore[arg-type]

    hessian: Tensor = torch.autograd.functional.hessian(kl, at)  # type: ignore[no-untyped-call]
    product = torch.cat(list(split(at).fisher_product(split(tangent))))  # type: ignore[arg-type]
    assert_same(product, hessian @ tangent)
    assert product.norm() > 0.1


def test_gaussian_samples_have_the_stated_distribution() -> None:
    noise = gaussian_policy(observation_size=1, action_size=2).draw_noise(np.random.default_rng(0), (4000,))
    mean, std = torch.tensor([1.5, -2.0]), torch.tensor([0.3, 2.0])
    samples = Gaussian(mean.expand(4000, 2), std.log().expand(4000, 2)).sample(torch.from_numpy(noise)).numpy()
    for axis in range(2):
        result = scipy.stats.kstest(samples[:, axis], "norm", args=(float(mean[axis]), float(std[axis])))
        assert result.pvalue > 0.01
    assert abs(np.corrcoef(samples.T)[0, 1]) < 0.05


def test_categorical_samples_have_the_stated_distribution() -> None:
    noise = categorical_policy(observation_size=1, num_actions=3).draw_noise(np.random.default_rng(0), (6000,))
    probabilities = torch.tensor([0.2, 0.5, 0.3])
    samples = Categorical(probabilities.log().expand(6000, 3) + 4.0).sample(torch.from_numpy(noise))
    counts = np.bincount(samples.numpy(), minlength=3)
    assert scipy.stats.chisquare(counts, 6000 * np.array([0.2, 0.5, 0.3])).pvalue > 0.01


@pytest.mark.parametrize(
    ("noise", "choice"),
    [(0.0, 0), (0.2499, 0), (0.25, 1), (0.7499, 1), (0.75, 2), (1 - 2**-24, 2)],
)
def test_a_categorical_sample_is_where_the_cumulative_probability_passes_the_noise(noise: float, choice: int) -> None:
    distribution = Categorical(torch.tensor([0.25, 0.5, 0.25]).log())
    assert int(distribution.sample(torch.tensor(noise))) == choice


def test_a_choice_of_probability_zero_is_never_sampled() -> None:
    distribution = Categorical(torch.tensor([0.0, 1.0, 0.0]).log().expand(3, 3))
    assert distribution.sample(torch.tensor([0.0, 0.5, 1 - 2**-24])).tolist() == [1, 1, 1]


def test_detach_keeps_the_values_and_cuts_the_graph() -> None:
    gaussian = Gaussian(normal(2, seed=0).requires_grad_(), normal(2, seed=1).requires_grad_())
    cut = detach(gaussian)
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(cut, gaussian, strict=True))


def test_the_most_likely_action_of_a_gaussian_is_its_mean_in_the_legal_range() -> None:
    gaussian = Gaussian(torch.tensor([0.3, -1.7, 4.0]), torch.zeros(3))
    torch.testing.assert_close(gaussian.most_likely, torch.tensor([0.3, -1.0, 1.0]), rtol=0, atol=0)


def test_the_most_likely_choice_has_the_largest_logit() -> None:
    assert Categorical(torch.tensor([[0.1, 3.0, -1.0], [2.0, 1.0, 0.0]])).most_likely.tolist() == [1, 0]
