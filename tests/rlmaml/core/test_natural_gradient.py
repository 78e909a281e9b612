import math

import pytest
import torch
from torch import Tensor

from rlmaml.base.threads import torch_threads
from rlmaml.core.natural_gradient import (
    KL_MARGIN,
    LARGEST_GROWTH,
    LineSearch,
    Solution,
    conjugate_gradient,
    dot,
    full_step,
    gauss_newton_product,
    line_search,
)
from tests.rlmaml.makers import assert_same

SIZE = 8


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive_definite() -> Tensor:
    """Eigenvalues 1, 2, …, 8 in a random basis."""
    basis: Tensor = torch.linalg.qr(normal(SIZE, SIZE))[0]
    return basis @ torch.diag(torch.arange(1.0, SIZE + 1).double()) @ basis.T


A, B = positive_definite(), normal(SIZE, seed=1)


class Counter:
    """Products with A, counted."""

    def __init__(self, matrix: Tensor = A) -> None:
        self.matrix, self.calls = matrix, 0

    def __call__(self, vector: Tensor) -> Tensor:
        self.calls += 1
        return self.matrix @ vector


def relative(solution: Solution) -> float:
    return float(solution.residual.norm() / B.norm())


def test_conjugate_gradient_is_a_dense_solve_after_as_many_iterations_as_unknowns() -> None:
    solution = conjugate_gradient(Counter(), B, iterations=SIZE)
    assert_same(solution.x, torch.linalg.solve(A, B), rtol=1e-9)
    assert relative(solution) < 1e-9


def test_conjugate_gradient_after_k_iterations_is_the_best_point_of_the_krylov_space() -> None:
    # minimises ½ xᵀAx − bᵀx over span(b, Ab, A²b)
    krylov = torch.stack([B, A @ B, A @ A @ B], 1)
    expected = krylov @ torch.linalg.solve(krylov.T @ A @ krylov, krylov.T @ B)
    solution = conjugate_gradient(Counter(), B, iterations=3)
    assert_same(solution.x, expected, rtol=1e-8)
    assert_same(solution.residual, B - A @ expected, rtol=1e-8)
    assert relative(solution) > 0.01


def test_conjugate_gradient_takes_one_product_per_iteration() -> None:
    product = Counter()
    conjugate_gradient(product, B, iterations=3)
    assert product.calls == 3


def test_with_the_exact_inverse_as_preconditioner_one_iteration_is_enough() -> None:
    solution = conjugate_gradient(
        Counter(), B, iterations=1, precondition=lambda residual: torch.linalg.solve(A, residual)
    )
    assert_same(solution.x, torch.linalg.solve(A, B), rtol=1e-9)


def test_preconditioned_iterations_find_the_best_point_of_the_preconditioned_krylov_space() -> None:
    # minimises ½ xᵀAx − bᵀx over span(Mb, MAMb, MAMAMb), M being the preconditioner
    inverse = torch.diag(torch.linspace(0.3, 2.0, SIZE, dtype=torch.float64))
    vectors = [inverse @ B]
    for _ in range(2):
        vectors.append(inverse @ A @ vectors[-1])
    krylov = torch.stack(vectors, 1)
    expected = krylov @ torch.linalg.solve(krylov.T @ A @ krylov, krylov.T @ B)
    solution = conjugate_gradient(Counter(), B, iterations=3, precondition=lambda residual: inverse @ residual)
    assert_same(solution.x, expected, rtol=1e-8)
    assert_same(solution.residual, B - A @ expected, rtol=1e-8)
    plain = conjugate_gradient(Counter(), B, iterations=3)
    assert not torch.allclose(solution.x, plain.x, rtol=1e-2)


def test_conjugate_gradient_of_zero_is_zero_without_a_product() -> None:
    product = Counter()
    solution = conjugate_gradient(product, torch.zeros(SIZE), iterations=5)
    assert product.calls == 0
    assert not solution.x.any()
    assert not solution.residual.any()


def test_a_dot_product_is_that_of_torch() -> None:
    for size in (1, 10, 16384, 16385, 50000):
        a, b = normal(size), normal(size, seed=1)
        assert_same(dot(a, b), a.dot(b))


def test_a_dot_product_does_not_depend_on_the_number_of_threads() -> None:
    a, b = normal(100_000).float(), normal(100_000, seed=1).float()
    one = dot(a, b)
    with torch_threads(2):
        assert torch.equal(dot(a, b), one)


@pytest.mark.parametrize("iterations", [2, SIZE])
def test_a_full_step_lies_on_the_edge_of_the_trust_region(iterations: int) -> None:
    solution = conjugate_gradient(Counter(), B, iterations=iterations)
    step = full_step(solution, B, max_kl=0.01)
    assert float(0.5 * step @ A @ step) == pytest.approx(0.01, rel=1e-10)
    assert_same(step / step.norm(), solution.x / solution.x.norm())


def test_without_positive_curvature_the_full_step_is_zero() -> None:
    zero = torch.zeros_like(B)
    for x, residual in ((-B, zero), (B, B), (zero, B), (torch.full_like(B, torch.nan), zero)):
        assert not full_step(Solution(x, residual), B, max_kl=0.01).any()


class Line:
    """Loss and KL along a line on which the start is 10, as functions of the step so far; remembers its calls."""

    def __init__(self, losses: dict[float, float], kls: dict[float, float]) -> None:
        self.losses, self.kls = losses, kls
        self.tried: list[float] = []

    def __call__(self, point: Tensor) -> tuple[float, float]:
        self.tried.append(x := round(float(point) - 10, 6))
        return self.losses.get(x, 0.0), self.kls[x]

    def search(self, tries: int = 4, max_kl: float = 0.1) -> LineSearch:
        start, step = torch.tensor([10.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
        return line_search(self, start, step, loss=1.0, max_kl=max_kl, backtrack=0.5, tries=tries)


def test_the_line_search_accepts_the_first_admissible_point() -> None:
    # at 1 the loss rises; at ½ the KL is too large; ¼ is admissible, and so would ⅛ be
    line = Line({1.0: 2.0, 0.25: 0.5}, {1.0: 0.08, 0.5: 0.11, 0.25: 0.03, 0.125: 0.01})
    found = line.search()
    assert line.tried == [1.0, 0.5, 0.25]
    assert found.point.tolist() == [10.25]
    assert (found.loss, found.kl, found.tries, found.accepted) == (0.5, 0.03, 3, True)


@pytest.mark.parametrize("kl", [0.05, 0.07, 0.1])
def test_a_first_step_near_the_edge_is_accepted_as_it_is(kl: float) -> None:
    line = Line({}, {1.0: kl})
    assert line.search().accepted
    assert line.tried == [1.0]


@pytest.mark.parametrize("kl", [0.101, 0.4, 3.0, 0.049, 0.01])
def test_a_first_step_off_the_edge_is_scaled_to_it_once(kl: float) -> None:
    # The KL grows with the square of the length. At the edge the loss is too high, so the step is halved from there.
    tried: list[float] = []

    def evaluate(point: Tensor) -> tuple[float, float]:
        tried.append(x := float(point))
        return (0.0 if len(tried) != 2 else 2.0), kl * x**2

    start, step = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    found = line_search(evaluate, start, step, loss=1.0, max_kl=0.1, backtrack=0.5, tries=4)
    scaled = math.sqrt(KL_MARGIN * 0.1 / kl)
    assert tried == pytest.approx([1.0, scaled, scaled / 2])
    assert found.accepted
    assert found.kl == pytest.approx(KL_MARGIN * 0.1 / 4)


def test_a_step_grows_by_a_bounded_factor() -> None:
    line = Line({}, {1.0: 1e-9, LARGEST_GROWTH: 1e-7})
    assert line.search().point.tolist() == [10.0 + LARGEST_GROWTH]


@pytest.mark.parametrize("kl", [math.inf, math.nan])
def test_a_first_kl_that_is_not_finite_only_shortens_the_step(kl: float) -> None:
    line = Line({}, {1.0: kl, 0.5: 0.06})
    assert line.search().point.tolist() == [10.5]


def test_a_kl_at_the_bound_is_accepted_and_an_equal_loss_is_not() -> None:
    def search(loss: float, kl: float) -> bool:
        return line_search(lambda _: (loss, kl), B, A[0], loss=1.0, max_kl=0.5, backtrack=0.5, tries=3).accepted

    assert search(0.999, 0.5)
    assert not search(1.0, 0.5)
    assert not search(0.999, 0.5001)


@pytest.mark.parametrize("answer", [(2.0, 0.3), (0.0, 1.0), (math.nan, 0.3), (0.0, math.nan)])
def test_a_failed_line_search_returns_the_start_bit_for_bit(answer: tuple[float, float]) -> None:
    found = line_search(lambda _: answer, B, A[0], loss=1.0, max_kl=0.5, backtrack=0.5, tries=5)
    assert found.point is B
    assert (found.loss, found.kl, found.tries, found.accepted) == (1.0, 0.0, 5, False)


def test_the_gauss_newton_product_is_that_of_dense_matrices() -> None:
    x, y = normal(3), normal(4, seed=1)
    metrics = [positive_definite()[:2, :2], positive_definite()[:3, :3]]

    def outputs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([(x * y[:3]).sum().sin(), x.prod() * y[3]]), x.exp() * y[:3].square()

    jacobian = torch.autograd.functional.jacobian(outputs, (x, y))  # type: ignore[no-untyped-call]
    stacked = torch.cat([torch.cat(blocks, 1) for blocks in jacobian])
    metric = torch.zeros(5, 5, dtype=torch.float64)
    metric[:2, :2], metric[2:, 2:] = metrics
    expected = stacked.T @ metric @ stacked
    x, y = x.requires_grad_(), y.requires_grad_()
    product = gauss_newton_product(
        outputs(x, y), [x, y], lambda tangents: [m @ t for m, t in zip(metrics, tangents, strict=True)]
    )
    for seed in (0, 1):
        tangent = normal(7, seed=seed)
        assert_same(torch.cat(list(product([tangent[:3], tangent[3:]]))), expected @ tangent)
