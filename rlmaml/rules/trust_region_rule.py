"""Trust-region steps on a task's own episodes: an inner rule that goes on improving where gradient steps stop."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlmaml.base.random_streams import RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.core.parameters import flatten, unflatten, with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.task_sums import ALONE, mean_over_usable
from rlmaml.core.trust_region import Metric, Played, step_weights, trust_region_step
from rlmaml.core.types import Adaptation, Batch, Meta, Params
from rlmaml.rules.adapted_fisher import SeenStage, metric_of
from rlmaml.rules.inner_rule import StepJacobian
from rlmaml.settings.trust_region import TrustRegionSettings


@dataclass(frozen=True)
class TrustRegionRule:
    """One TRPO step of every task on its own episodes (arXiv 1502.05477).

    Where a gradient step has a fixed size, this one follows the natural gradient as far as the episodes' KL allows. It
    keeps improving a policy over many steps that plain gradients, noisy and badly scaled, leave where it is.

    Attributes:
        settings: of the trust region; the curvature is that of all episodes.
        steps: number of steps that are taken where nobody says more.
        reset: no weights.
    """

    settings: TrustRegionSettings
    steps: int = 1
    reset: tuple[str, ...] = ()

    @property
    def remembers(self) -> bool:
        """It adapts by its parameters."""
        return False

    def during(self, iteration: int) -> "TrustRegionRule":  # noqa: ARG002
        """Always the same."""
        return self

    def rates(self, params: Params) -> Params:  # noqa: ARG002
        """Nothing is learned."""
        return {}

    def begin(self, meta: Meta) -> Adaptation:
        """Every task starts at theta."""
        return Adaptation(meta.params)

    def step(
        self,
        policy: Policy,
        meta: Meta,  # noqa: ARG002
        adaptation: Adaptation,
        data: Batch,
        k: int,  # noqa: ARG002
        streams: RandomStreams | None = None,  # noqa: ARG002 (nothing is drawn)
        *,
        create_graph: bool = False,
    ) -> Adaptation:
        """One step for every task; the parameters of a task whose line search found nothing are as they were.

        Raises:
            NotImplementedError: a derivative is asked for; none passes through a line search.
            NonFiniteError: a loss or its gradient is NaN or infinite.
        """
        if create_graph:
            raise NotImplementedError("No derivative passes through a trust-region step.")
        tasks = [
            self._step_alone(
                policy,
                {name: tensor[task].detach() for name, tensor in adaptation.params.items()},
                Batch(*(field[task : task + 1] for field in data)),
            )
            for task in range(len(data.valid))
        ]
        return Adaptation({name: torch.stack([params[name] for params in tasks]) for name in adaptation.params})

    def jacobian(
        self, policy: Policy, meta: Meta, before: Adaptation, after: Adaptation, k: int, *, bends_on: Batch | None
    ) -> StepJacobian:
        """None passes through a line search.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("No derivative passes through a trust-region step.")

    def _step_alone(self, policy: Policy, params: Params, batch: Batch) -> Params:
        """The step of one task, without task axis."""
        mean = mean_over_usable(ALONE, [batch.valid])
        if not mean.num_usable:
            return params

        def play(point: Tensor) -> Played:
            points = with_task_axis(unflatten(point, params), 1)
            outputs, _ = policy.unroll(points, batch)
            return Played(list(points.values()), [outputs.distribution], [batch], [1.0])

        start = flatten(params.values())

        def curvature() -> Metric:
            alone = {name: tensor.unsqueeze(0) for name, tensor in params.items()}
            seen = SeenStage(alone, batch, step_weights(batch, 1.0, mean))
            return metric_of(policy, [seen], [], [1.0], Meta(params, {}), self.settings, mean)

        with torch_threads(1), torch.enable_grad():  # the products of a single task are small
            done = trust_region_step(start, play(start), play, curvature, self.settings, mean)
        return unflatten(done.point, params)
