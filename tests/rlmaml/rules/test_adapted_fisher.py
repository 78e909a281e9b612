import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from rlmaml.core.distributions import detach
from rlmaml.core.losses import dice, policy_gradient
from rlmaml.core.parameters import detached, entries, for_every_task, meta_vector, repeated
from rlmaml.core.policy import Policy
from rlmaml.core.task_sums import ALONE, mean_over_usable
from rlmaml.core.trust_region import step_weights
from rlmaml.core.types import Adaptation, Meta
from rlmaml.rules.adapted_fisher import SeenStage, adapted_fisher, summed_over_tasks
from rlmaml.rules.gradient_rule import GradientRule
from rlmaml.rules.rates import PerEntry, PerParameter
from tests.rlmaml.makers import (
    adapted_batches,
    assert_same,
    categorical_policy,
    dense_hessian,
    gaussian_policy,
    random_theta,
)

NUM_TASKS = 3
POLICIES: dict[str, Policy] = {"gaussian": gaussian_policy(), "categorical": categorical_policy()}
RULES: dict[str, dict[str, Any]] = {
    "second order": {},
    "first order": {"first_order": True},
    "learned sizes": {"learned": PerEntry()},
    "a size for every parameter": {"learned": PerParameter()},
    "head only": {"entries": POLICIES["gaussian"].head},
}


class Adapted:
    """Three stages at some meta-parameters; the divergence of the one in the middle does not count."""

    def __init__(self, policy: Policy, usable: bool = True, **changes: Any) -> None:
        self.policy = policy
        self.rule = GradientRule(**{"steps": 2, "step_sizes": (0.5, 0.3), "loss": policy_gradient(dice), **changes})
        theta = random_theta(policy)
        self.meta = Meta(theta, self.rule.rates(theta))
        self.batches = adapted_batches(policy, self.rule, self.meta, NUM_TASKS)
        if not usable:
            valid = self.batches[0].valid.clone()
            valid[1] = False
            self.batches[0] = self.batches[0]._replace(valid=valid)
        self.mean = mean_over_usable(ALONE, [batch.valid for batch in self.batches])
        self.weights = [
            step_weights(batch, w, self.mean) for batch, w in zip(self.batches, (0.4, 0.0, 0.6), strict=True)
        ]

    def stages(self, points: Meta, *, create_graph: bool) -> list[Adaptation]:
        adaptations = [self.rule.begin(points)]
        for k, batch in enumerate(self.batches[:-1]):
            step = self.rule.step(self.policy, points, adaptations[k], batch, k, create_graph=create_graph)
            adaptations.append(step)
        return adaptations

    def dense(self) -> Tensor:
        """Hessian of the mean KL, by autograd through the steps."""
        points = repeated(self.meta, NUM_TASKS)
        total = torch.zeros((), dtype=torch.float64)
        for stage, batch, weights in zip(
            self.stages(points, create_graph=True), self.batches, self.weights, strict=True
        ):
            said = self.policy.unroll(stage.params, batch)[0].distribution
            total = total + (weights * detach(said).kl(said)).sum()
        return dense_hessian(total, entries(points))

    def product(self) -> Any:
        points = for_every_task(self.meta, NUM_TASKS)
        stages = self.stages(points, create_graph=False)
        seen = [
            SeenStage(detached(own.params), batch, weights) if weights.any() else None
            for own, batch, weights in zip(stages, self.batches, self.weights, strict=True)
        ]
        jacobians = [
            self.rule.jacobian(self.policy, points, before, after, k, bends_on=self.batches[k])
            for k, (before, after) in enumerate(itertools.pairwise(stages))
        ]
        return adapted_fisher(self.policy, seen, jacobians)


def rows_of(adapted: Adapted) -> Tensor:
    product = summed_over_tasks(adapted.product(), adapted.meta, adapted.mean)
    return torch.stack([product(row) for row in torch.eye(len(meta_vector(adapted.meta)), dtype=torch.float64)])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "kind"), [*((name, "gaussian") for name in RULES), ("second order", "categorical")])
def test_the_metric_is_the_dense_hessian_of_the_mean_kl_seen_through_the_steps(name: str, kind: str) -> None:
    adapted = Adapted(POLICIES[kind], **RULES[name])
    ours = rows_of(adapted)
    assert_same(ours, adapted.dense(), rtol=1e-9, atol=1e-11)
    assert_same(ours, ours.T, rtol=1e-9, atol=1e-11)
    assert ours.norm() > 1e-2
    assert bool(adapted.meta.rates) == ("size" in name)


def test_a_task_that_does_not_count_is_not_in_the_metric() -> None:
    adapted = Adapted(POLICIES["gaussian"], usable=False)
    tangent = for_every_task(adapted.meta, NUM_TASKS)
    image = adapted.product()(tangent)
    for tensor in image.params.values():
        assert not tensor[1].any()
        assert tensor[[0, 2]].any()
    assert_same(rows_of(adapted), adapted.dense(), rtol=1e-9, atol=1e-11)
