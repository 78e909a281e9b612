"""The axis vocabulary and the values that flow through the training loop.

Axis order is always ``task episode time feature``. Tensors are rectangular: an episode that ended early is
padded, and ``valid`` says which steps count.
"""

import math
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.utils import _pytree as pytree

DataT = TypeVar("DataT")
Params: TypeAlias = dict[str, Tensor]
"""A policy's weights by name: theta has no task axis, task parameters have a leading one in every entry."""

Tasks: TypeAlias = dict[str, npt.NDArray[Any]]
"""Parameters of the tasks by name, each with a leading task axis."""

Carry: TypeAlias = Any
"""What a policy remembers between steps: a tensor or a tuple of tensors, ``()`` where it remembers nothing."""


class Meta(NamedTuple):
    """What is meta-learned: the policy's weights, and the inner rates where these are learned."""

    params: Params
    """Theta; with a task axis where a step is taken for every task."""
    rates: Params
    """Learned inner rates by the weights they belong to; empty where none are learned."""


class Memory(NamedTuple):
    """What a policy that remembers begins an episode of a trial with, other than the first one."""

    carry: Carry
    """What it remembers."""
    last_action: Num[Tensor, "*axes action"]
    """The last one of the episodes before; 0 where there was none."""
    last_reward: Float[Tensor, "*axes"]
    """What that earned."""


class Adaptation(NamedTuple):
    """Where every task's adaptation stands."""

    params: Params
    """Task parameters, with a leading task axis."""
    state: Any = ()
    """What the inner rule remembers between its steps; ``()`` for gradient rules."""
    outputs: Any = None
    """What the policy said to the data of the step that led here, before it; None where the rule did not ask it."""
    gradients: Any = None
    """What that step went down, by entry; None for rules without gradients."""
    memory: Memory | None = None
    """What the policy remembers of earlier episodes where the next ones begin; None where it remembers none."""


class Seen(NamedTuple):
    """What a policy sees before it acts, for every task and episode; with a time axis after them where unrolled."""

    observation: Float[Tensor, "*axes obs"]
    last_action: Num[Tensor, "*axes action"]
    """Also of the episode before, in a trial; 0 before the very first step."""
    last_reward: Float[Tensor, "*axes"]
    """As the last action."""
    first_step: Bool[Tensor, "*axes"]
    """Whether an episode begins here."""


class Outputs(NamedTuple):
    """What a policy says about what it saw."""

    distribution: Any
    """Of the actions; see :mod:`rlmaml.core.distributions`."""
    value: Any = ()
    """Its estimate of the return to come, where the kind has one; of whole trials alone."""


class Rollout(NamedTuple):
    """Episodes of every task, as sampled.

    ``log_probs`` are those of the actions under the policy that sampled them. ``final_observations`` holds what
    was seen after an episode's last valid step: the state from which a time-limited episode would have gone on.
    ``term_returns`` splits each return into the environment's reward terms. In ``unstable`` episodes the simulation
    failed: no step of them is valid, so that they never enter the data; they are counted. ``tracked`` is what figures
    show: what the environment says of where its robots are before the first step and after each, without any column
    where it says nothing.
    """

    observations: Float[Tensor, "task episode time obs"]
    actions: Num[Tensor, "task episode time *action"]
    log_probs: Float[Tensor, "task episode time"]
    rewards: Float[Tensor, "task episode time"]
    terminated: Bool[Tensor, "task episode"]
    truncated: Bool[Tensor, "task episode"]
    valid: Bool[Tensor, "task episode time"]
    final_observations: Float[Tensor, "task episode obs"]
    term_returns: Float[Tensor, "task episode term"]
    unstable: Bool[Tensor, "task episode"]
    tracked: Float[Tensor, "task episode moment place"]

    @property
    def returns(self) -> Float[Tensor, "task episode"]:
        """Undiscounted return of each episode; NaN where the simulation failed."""
        return torch.where(self.unstable, torch.nan, (self.rewards * self.valid).sum(-1))

    @property
    def lengths(self) -> Float[Tensor, "task episode"]:
        """Number of valid steps of each episode."""
        return self.valid.sum(-1).to(self.rewards.dtype)

    @property
    def first_steps(self) -> Bool[Tensor, "task episode time"]:
        """Where an episode begins."""
        return at_the_start(self.valid)

    @property
    def elapsed(self) -> Float[Tensor, "task episode time"]:
        """Share of the episode's time that is over."""
        return elapsed_in(self.valid)


class Batch(NamedTuple):
    """What the losses read of a rollout: steps, sampling log-probabilities, advantages, and which steps count."""

    observations: Float[Tensor, "task episode time obs"]
    actions: Num[Tensor, "task episode time *action"]
    rewards: Float[Tensor, "task episode time"]
    log_probs: Float[Tensor, "task episode time"]
    advantages: Float[Tensor, "task episode time"]
    """Of rewards as they are: what is maximised."""
    valid: Bool[Tensor, "task episode time"]
    advantage_scale: Float[Tensor, "task episode time"]
    """What the advantages were divided by, in units of reward: one number per task."""
    inner_advantages: Float[Tensor, "task episode time"]
    """What an inner loss reads in place of the advantages; see :func:`rlmaml.core.advantages.with_advantages`."""

    @property
    def first_steps(self) -> Bool[Tensor, "task episode time"]:
        """Where an episode begins."""
        return at_the_start(self.valid)

    @property
    def elapsed(self) -> Float[Tensor, "task episode time"]:
        """Share of the episode's time that is over."""
        return elapsed_in(self.valid)


class Examples(NamedTuple):
    """Supervised data of every task. Tasks may have different numbers of examples: the others are padding.

    ``references`` are the observations whose batch statistics normalise these examples, in networks that have any;
    with none of them, ``[task, 0, obs]``, these examples' own do.
    """

    observations: Float[Tensor, "task example obs"]
    targets: Num[Tensor, "task example *target"]
    valid: Bool[Tensor, "task example"]
    references: Float[Tensor, "task reference obs"]


class Stage(NamedTuple):
    """The data of one stage: what the policies after k inner steps met."""

    data: Any
    """What inner rule and meta-algorithm read: a :class:`Batch`, or :class:`Examples`."""
    rollout: Rollout | None = None
    """The episodes it was made of, for whoever reports on them."""


def time_of(valid: Bool[Tensor, "*axes time"]) -> Int[Tensor, "*axes time"]:
    """Steps since an episode began."""
    return torch.arange(valid.shape[-1], device=valid.device).expand(valid.shape)


def elapsed_in(valid: Bool[Tensor, "*axes time"]) -> Float[Tensor, "*axes time"]:
    """Share of an episode's time that is over."""
    return time_of(valid) / valid.shape[-1]


def at_the_start(valid: Bool[Tensor, "*axes time"]) -> Bool[Tensor, "*axes time"]:
    """The first step of every episode."""
    first = torch.zeros_like(valid)
    first[..., 0] = True
    return first


def last_valid(values: Tensor, valid: Bool[Tensor, "*axes time"], before: Tensor) -> Tensor:
    """Each episode's last valid value along the axis of time, ``values[*axes, time, ...]``; without one, ``before``."""
    index = (valid.sum(-1).clamp(min=1) - 1).view(*valid.shape[:-1], 1, *[1] * (values.dim() - valid.dim()))
    last = values.gather(valid.dim() - 1, index.expand(*valid.shape[:-1], 1, *values.shape[valid.dim() :]))
    any_valid = valid.any(-1).view(*valid.shape[:-1], *[1] * (values.dim() - valid.dim()))
    return torch.where(any_valid, last.squeeze(valid.dim() - 1), before)


def first_episodes(batch: Batch, share: float) -> Batch:
    """The first episodes of every task: a share of them in [0, 1], rounded up to whole ones."""
    total = batch.valid.shape[1]
    count = math.ceil(round(share * total, 9))  # 0.55 × 20 is a little more than 11 in floating point
    return batch if count >= total else at_most(batch, count)


def at_most(data: DataT, episodes: int) -> DataT:
    """The first of every task's episodes, so many of them, in every tensor ``[task, episode, ...]`` of some data."""
    cut: DataT = pytree.tree_map_only(Tensor, lambda field: field[:, :episodes], data)
    return cut


def first_tasks(data: DataT, tasks: int) -> DataT:
    """The first tasks, so many of them, in every tensor ``[task, ...]`` of some data."""
    cut: DataT = pytree.tree_map_only(Tensor, lambda field: field[:tasks], data)
    return cut
