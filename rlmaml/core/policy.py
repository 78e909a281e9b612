"""What sampling, adaptation and meta-updates need of a policy, whatever its kind.

A policy is a function of a parameter dictionary. With theta (no task axis) one set of parameters serves all
observations; with task parameters (a leading task axis in every entry) row i of what is seen, which then also has a
leading task axis, is served by parameter set i. What a policy remembers comes out as a value, the carry; nothing is
kept in a module.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlmaml.core.distributions import Distribution
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.types import Carry, Memory, Outputs, Params, Seen

Act: TypeAlias = Callable[[Seen, Carry], tuple[Distribution, Carry]]
"""From what is seen in one step, and what was remembered, to the actions' distribution and what is remembered now."""


@runtime_checkable
class Acting(Protocol):
    """What sampling needs of who acts."""

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:
        """What is remembered before the first step of episodes ``shape``, that is (task, episode)."""

    def act(self, params: Params) -> Act:
        """The policy with these parameters: what depends on them alone is computed once, for many steps."""

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Noise from which the distribution's ``sample`` makes an action at each of ``shape`` steps."""


@runtime_checkable
class Policy(Acting, Protocol):
    """A policy of some kind."""

    @property
    def head(self) -> tuple[str, ...]:
        """Names of the last layer's weights: what adapts where only the head does."""

    @property
    def exploration(self) -> tuple[str, ...]:
        """Names of the weights that say only how much the actions vary."""

    @property
    def context(self) -> tuple[str, ...]:
        """Names of the weights that are inputs rather than connections; every task begins with them at 0."""

    def init(self, seed: int) -> Params:
        """Fresh theta."""

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        """What the policy says at every step of whole episodes, ``[task, episode, time]``; the same as stepping.

        Args:
            params: theta or task parameters.
            batch: holds ``observations`` and, for kinds that remember, ``actions``, ``rewards``, ``first_steps``,
                ``elapsed`` and ``valid``: an episode that is over keeps what it remembers.
            memory: what is remembered before the first step; None where a trial begins there.

        Returns:
            What the policy says, with its value where the kind has one and no memory was given, and what it remembers
            after every episode's last valid step; a kind that remembers nothing gives back what it was given.
        """

    def fisher_blocks(self, params: Params, batch: Any, step_weights: Tensor) -> FisherBlocks | None:
        """A Kronecker-factored approximation of every task's Fisher information; None where the kind has none.

        Args:
            params: task parameters.
            batch: holds the states.
            step_weights: ``[task, episode, time]`` or ``[task, example]``, the weight of every one; 0 on padding.
        """

    def numbers(self, params: Params) -> dict[str, float]:
        """What is worth a curve about theta, by name, such as its standard deviation."""

    def describe(self) -> dict[str, Any]:
        """What a user of the policy must know of its kind, as plain data."""

    def deterministic(self, params: Params) -> torch.nn.Module:
        """The most likely action, before any clipping, as a module of observations ``[batch, obs]``, to be exported.

        A kind that remembers makes one of observation, last reward ``[batch]`` and state ``[batch, state]``, with an
        attribute ``state_size``; it returns the next state, too, and a state of 0 remembers nothing.

        Raises:
            UserError: this kind's actions are no vectors.
        """


@runtime_checkable
class TaughtPolicy(Policy, Protocol):
    """A policy on a latent that a teacher tells or a student guesses (arXiv 2107.04034)."""

    @property
    def told(self) -> str:
        """Name of the weight that is 1 where the teacher tells, and 0 where the student guesses."""

    @property
    def bounds(self) -> tuple[str, str]:
        """Names of the weights between which the latent is clamped, the lowest and the highest; -1 and 1 in theta."""

    def teaching(self, params: Params) -> list[str]:
        """Names of the weights that are learned while the teacher tells: its own, and those of who acts."""

    def guessing(self, params: Params) -> list[str]:
        """Names of the student's weights."""

    def latents(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Tensor, Tensor]:
        """The teacher's latent and the student's at every step, ``[task, episode, time, latent]``."""

    def taught(self, params: Params, observations: Tensor) -> Tensor:
        """The teacher's latent at observations that end in the task's parameters."""


def carries(policy: Policy, params: Params) -> bool:
    """Whether a policy takes anything from one step to the next: then an action depends on more than what is seen."""
    carry = policy.start(params, (1, 1))
    return not (isinstance(carry, tuple) and not carry)
