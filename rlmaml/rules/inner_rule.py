"""What an inner rule is: how task parameters change between stages. Who adapts calls it and knows nothing more."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Params


class StepJacobian(NamedTuple):
    """The derivative of one step of every task, as a linear map and its transpose."""

    forward: Callable[[Params, Params], Params]
    """From tangents of the task parameters before the step, and of the rates, to that of the parameters after it."""
    transpose: Callable[[Params], tuple[Params, Params]]
    """From cotangents of the parameters after the step to those of the parameters before it, and of the rates."""
    moves: Params
    """Derivative of the parameters after the step with respect to its own learned rates, by entry; or empty."""


@runtime_checkable
class InnerRule(Protocol):
    """A rule as a value: it is immutable, and what it remembers between steps is in the :class:`Adaptation`."""

    @property
    def steps(self) -> int:
        """Number of steps that are trained; it may take more."""

    @property
    def reset(self) -> tuple[str, ...]:
        """Names of the weights that every task begins with at 0, whatever theta says."""

    @property
    def remembers(self) -> bool:
        """Whether it adapts by what the policy remembers: episode after episode, whatever actions were taken."""

    def rates(self, params: Params) -> Params:
        """What is learned besides these weights, as it starts: by the weights they belong to, or empty."""

    def during(self, iteration: int) -> "InnerRule":
        """The rule in a meta-iteration of a training, where it changes over a run; or itself."""

    def begin(self, meta: Meta) -> Adaptation:
        """Stage 0.

        Args:
            meta: meta-parameters with a leading task axis.
        """

    def step(
        self,
        policy: Policy,
        meta: Meta,
        adaptation: Adaptation,
        data: Any,
        k: int,
        streams: RandomStreams | None = None,
        *,
        create_graph: bool = False,
    ) -> Adaptation:
        """From stage k to stage k + 1, for every task.

        Args:
            policy: the policy.
            meta: meta-parameters with a leading task axis.
            adaptation: stage k.
            data: what the policies of stage k met, with a leading task axis.
            k: how many steps were taken before.
            streams: random streams of the iteration, for rules that draw.
            create_graph: whether derivatives with respect to ``meta`` pass through the step, and through what the
                policy said.

        Raises:
            NonFiniteError: the step is not finite.
        """

    def jacobian(
        self, policy: Policy, meta: Meta, before: Adaptation, after: Adaptation, k: int, *, bends_on: Any | None
    ) -> StepJacobian:
        """The derivative of :meth:`step`, for metrics that see the policies through it.

        Args:
            policy: the policy.
            meta: meta-parameters with a leading task axis.
            before: stage k.
            after: stage k + 1, as the step made it.
            k: how many steps were taken before.
            bends_on: what the policies of stage k met, or a part of it, on which it is seen how the step bends: how
                its direction depends on where it is taken. None to leave that out.

        Raises:
            NotImplementedError: the rule has none.
        """
