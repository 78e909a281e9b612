from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.algorithms.maml_trpo import MamlTrpo, TrustRegionReport
from rlmaml.algorithms.meta_algorithm import Learner
from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.core.losses import InnerLoss, cross_entropy, squared_error
from rlmaml.core.parameters import as_meta, meta_vector
from rlmaml.core.policy import Policy
from rlmaml.core.surrogate import divergences
from rlmaml.core.task_sums import ALONE
from rlmaml.core.types import Examples, Meta, Outputs
from rlmaml.families.cold_start import Division, divided_ratings
from rlmaml.families.images import FewShot
from rlmaml.families.made_ratings import made_ratings
from rlmaml.families.sinusoid import Sinusoid
from rlmaml.policies.categorical import CategoricalPolicy
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import trained_rule
from rlmaml.rules.gradient_rule import task_losses
from rlmaml.settings.whole import Settings, configure
from rlmaml.training.begin import begin, make_method
from rlmaml.training.supervised import SupervisedTasks, train_supervised
from rlmaml.training.train import meta_train
from tests.rlmaml.families.supervised import Lines, random_examples, supervised
from tests.rlmaml.makers import assert_same, random_theta, streams_of

NUM_TASKS = 3
EXACT: dict[str, Any] = {
    "outer_optimiser": "trust_region",
    "preconditioner": "none",
    "cg_iterations": 80,
    "damping": 1e-3,
}
CASES: dict[str, dict[str, Any]] = {
    "one step": {},
    "learned sizes": {"inner_steps": 2, "learn_step_sizes": True},
    "a loss after every step": {"inner_steps": 2, "stage_weights": (1.0, 2.0, 3.0)},
    "no step": {"inner_steps": 0},
    "classes": {"policy": "categorical", "inner_steps": 2},
}


class Posed:
    """Everything that an update is given, in double precision."""

    def __init__(self, policy: str = "gaussian", **options: Any) -> None:
        self.settings = configure("maml-trpo", policy, hidden=(3,), **EXACT | options)
        classes = policy == "categorical"
        kind: Any = CategoricalPolicy if classes else GaussianPolicy
        self.policy: Policy = kind(self.settings.network, Sizes(3, 2, discrete=classes))
        self.loss: InnerLoss = cross_entropy if classes else squared_error
        self.rule = trained_rule(self.settings, self.policy, self.loss)
        theta = random_theta(self.policy)
        self.meta = Meta(theta, {n: rate.double() for n, rate in self.rule.rates(theta).items()})
        self.algorithm = make_meta_algorithm(self.settings)
        sets = [random_examples(NUM_TASKS, seed=1), random_examples(NUM_TASKS, 7, seed=2)]
        if classes:
            sets = [data._replace(targets=(data.targets[..., 0] > 0).long()) for data in sets]
        self.stages = [*sets[:1] * self.rule.steps, sets[1]]
        self.learner = Learner(self.policy, self.rule, ALONE, streams_of(range(NUM_TASKS)))

    def update(self) -> tuple[Meta, TrustRegionReport]:
        assert isinstance(self.algorithm, MamlTrpo)
        meta, state, report = self.algorithm.update(self.learner, self.meta, {}, self.stages)
        assert state == {}
        return meta, report

    def _stages_at(self, vector: Tensor) -> list[Any]:
        """Task parameters of every stage, by their definition."""
        point = vector if vector.requires_grad else vector.clone().requires_grad_()
        one = as_meta(point, self.meta)
        meta = Meta(*({name: own.expand(NUM_TASKS, *own.shape) for name, own in part.items()} for part in one))
        adapted = [self.rule.begin(meta)]
        for k in range(self.rule.steps):
            adapted.append(self.rule.step(self.policy, meta, adapted[k], self.stages[k], k, create_graph=True))
        return adapted

    def _weighted(self, per_stage: list[Tensor]) -> Tensor:
        weights = self.settings.outer.weights(self.rule.steps)
        return torch.stack([w * own.mean() for w, own in zip(weights, per_stage, strict=True)]).sum()

    def objective(self, vector: Tensor) -> Tensor:
        stages = self._stages_at(vector)
        losses = [task_losses(self.policy, own.params, self.stages[-1], self.loss) for own in stages]
        return self._weighted(losses)

    def divergence(self, vector: Tensor) -> Tensor:
        """Mean KL on the query sets from what is predicted at the start."""
        query = self.stages[-1]
        pairs = zip(self._stages_at(meta_vector(self.meta)), self._stages_at(vector), strict=True)
        said = [[self.policy.unroll(own.params, query)[0].distribution for own in pair] for pair in pairs]
        return self._weighted([divergences(type(old)(*(f.detach() for f in old)), new, query) for old, new in said])


@pytest.mark.parametrize("name", CASES)
def test_the_step_is_the_gradient_in_the_metric_of_what_is_predicted_on_the_query_sets(name: str) -> None:
    posed = Posed(**CASES[name])
    start = meta_vector(posed.meta)
    leaf = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(posed.objective(leaf), leaf)
    metric = torch.autograd.functional.hessian(posed.divergence, start)  # type: ignore[no-untyped-call]
    damped = metric + posed.settings.outer.damping * torch.eye(len(start), dtype=torch.float64)
    natural = torch.linalg.solve(damped, gradient)
    new, report = posed.update()
    step = meta_vector(new) - start
    assert report.accepted
    assert float(torch.cosine_similarity(step, -natural, dim=0)) > 1 - 1e-9
    assert float(torch.cosine_similarity(step, -gradient, dim=0)) < 0.99
    assert report.loss_before == pytest.approx(posed.objective(start).item(), rel=1e-9)
    assert report.loss_after == pytest.approx(posed.objective(meta_vector(new)).item(), rel=1e-9)
    assert report.kl == pytest.approx(posed.divergence(meta_vector(new)).item(), rel=1e-6)
    assert 0.5 * posed.settings.outer.max_kl < report.kl <= posed.settings.outer.max_kl


def test_kronecker_factors_of_examples_lead_to_the_same_step() -> None:
    options: dict[str, Any] = {"inner_steps": 2, "learn_step_sizes": True, "damping": 1e-2, "max_kl": 1e-4}
    plain, quick = (Posed(**options, preconditioner=kind).update()[0] for kind in ("none", "kronecker"))
    assert_same(meta_vector(quick), meta_vector(plain), rtol=1e-5, atol=1e-7)


def test_on_linear_regression_it_goes_straight_to_the_solution_in_closed_form() -> None:
    """F of a Gaussian of deviation 1 is half the loss's second derivative, so that ``F⁻¹ g = 2 (θ − θ*)``: Newton's."""
    family, size = Lines(), 0.2
    options = EXACT | {"damping": 0.0, "hidden": (), "inner_step_sizes": (size,), "max_kl": 0.05}
    settings = configure("maml-trpo", **options)
    policy = GaussianPolicy(settings.network, family.sizes)
    rule = trained_rule(settings, policy, squared_error)
    sets = family.sets(family.sample_tasks(4, range(4)), range(4))
    stages = [data._replace(**{n: getattr(data, n).double() for n in ("observations", "targets")}) for data in sets]
    meta = Meta(random_theta(policy) | {"log_std": torch.zeros(1, dtype=torch.float64)}, {})
    learner = Learner(policy, rule, ALONE, streams_of(range(4)))
    new, _, report = make_meta_algorithm(settings).update(learner, meta, {}, stages)
    start, after = (torch.cat([m.params["layer0.weight"].flatten(), m.params["layer0.bias"]]) for m in (meta, new))
    assert isinstance(report, TrustRegionReport)
    metric = np.zeros((3, 3))
    for support, query in zip(family.support, family.query, strict=True):
        s, q = (np.hstack([x, np.ones((len(x), 1))]) for x in (support, query))
        shrinks = np.eye(3) - size * 2 / len(s) * s.T @ s
        metric += shrinks.T @ (q.T @ q / len(q)) @ shrinks / 4
    way = family.best(size, first_order=False) - start
    length = (2 * report.kl / float(way @ torch.from_numpy(metric) @ way)) ** 0.5
    assert 0.9 * settings.outer.max_kl < report.kl <= settings.outer.max_kl
    assert 0.05 < length < 1
    assert_same(after - start, length * way, rtol=1e-5)
    assert torch.equal(new.params["log_std"], meta.params["log_std"])  # the loss says nothing of it


def test_every_update_of_a_training_stays_within_the_largest_kl_and_the_loss_falls(unchecked: None) -> None:
    family = Sinusoid(shots=5, queries=10)
    settings = supervised(
        "maml-trpo", outer_optimiser="trust_region", hidden=(20, 20), num_tasks=8, iterations=12, max_kl=0.05
    )
    method = make_method(settings, family)
    reports = [report.update for _, report in meta_train(family, method, begin(settings, method), settings)]
    assert all(isinstance(report, TrustRegionReport) and report.kl <= 0.05 for report in reports)
    losses = [report.loss_before for report in reports if isinstance(report, TrustRegionReport)]
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])


def pictures_and_ratings() -> Iterator[tuple[Any, Settings]]:
    """Families whose models are of other kinds, the deviation of one being fixed, and settings for them."""
    generator = torch.Generator().manual_seed(0)
    pictures = {name: torch.randint(0, 255, (6, 16), generator=generator, dtype=torch.uint8) for name in "abc"}
    shared: dict[str, Any] = {"num_tasks": 2, "iterations": 1, "inner_steps": 1, "threads": 1}
    network = {"image": (1, 4, 4), "filters": 2}
    yield FewShot("made", pictures, ways=2, shots=2, queries=3), configure("maml-trpo", "conv4", **network, **shared)
    users = divided_ratings(made_ratings(30, 40), Division())
    network = {"categories": users.vocabulary.counts, "flags": len(users.vocabulary.flags), "hidden": (4,)}
    yield users.train, configure("maml-trpo", "embedded", **network, **shared, adapt="head")


def test_classifiers_of_pictures_and_recommenders_take_it_too(unchecked: None) -> None:
    for family, settings in pictures_and_ratings():
        method = make_method(settings, family)
        (report,) = [own.update for _, own in meta_train(family, method, begin(settings, method), settings)]
        assert isinstance(report, TrustRegionReport)
        assert report.accepted
        assert 0 < report.kl <= settings.outer.max_kl
        assert report.loss_after < report.loss_before


class Exploding(GaussianPolicy):
    """Away from where it began, inner steps lead to no number."""

    began: Tensor | None = None

    def unroll(self, params: Any, batch: Any, memory: Any = None) -> tuple[Outputs, Any]:
        outputs, memory = super().unroll(params, batch, memory)
        moved = self.began is not None and not torch.allclose(params["layer0.weight"], self.began, atol=1e-3)
        mean = outputs.distribution.mean * (torch.nan if moved and batch.valid.shape[1] == 5 else 1.0)
        return Outputs(outputs.distribution._replace(mean=mean)), memory


def test_a_point_of_the_line_search_from_which_inner_steps_explode_is_left_and_ends_nothing() -> None:
    posed = Posed()
    policy = Exploding(posed.settings.network, Sizes(3, 2))
    policy.began = posed.meta.params["layer0.weight"]
    posed.learner = posed.learner._replace(policy=policy)
    new, report = posed.update()
    assert not report.accepted
    assert new is posed.meta


def test_a_family_whose_loss_is_of_no_distribution_is_refused_with_the_cure(tmp_path: Path) -> None:
    class Absolute(Sinusoid):
        """The mean absolute error."""

        def loss(self, outputs: Outputs, data: Examples) -> Any:
            return (outputs.distribution.mean - data.targets).abs().mean()

    def trained(optimiser: str, family: Sinusoid) -> None:
        few = {"iterations": 0, "evaluation_tasks": 2, "evaluation_steps": 1}
        settings = supervised("maml-trpo", **few).changed(outer_optimiser=optimiser)
        train_supervised(SupervisedTasks(settings, family, family, "errors"), tmp_path / optimiser, progress=False)

    with pytest.raises(UserError, match=r"the loss of finn2017, 10-shot, 1 queries is no negative log-like.*Take adam"):
        trained("trust_region", Absolute(queries=1))
    assert not (tmp_path / "trust_region").exists()
    trained("trust_region", Sinusoid(queries=1))
    trained("adam", Absolute())
