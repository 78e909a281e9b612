"""A meta-trained policy in use: load it, act, adapt it to one robot's task from episodes, act better.

``policy = load(run_dir)``, ``adapted = policy.adapt(episodes)``, ``action = adapted.act(observation)``.
"""

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.threads import torch_threads
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.devices import move
from rlmaml.core.distributions import Distribution
from rlmaml.core.parameters import for_every_task
from rlmaml.core.policy import Policy, carries
from rlmaml.core.types import Adaptation, Batch, Memory, Meta, Params, Rollout
from rlmaml.deploy.fit import LIVED, check_acts_in, check_adapts_from_rewards, lived_through, off_policy_reason
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.adaptation_rule import adaptation_rule, check_goes_on, meta_like
from rlmaml.rules.inner_rule import InnerRule
from rlmaml.sampling.collect import to_batch
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout, check_episodes, check_rewards, from_rollout
from rlmaml.sampling.rollout import TaskEnvironment, first_seen, rollout
from rlmaml.settings.trust_region import check_trust_region
from rlmaml.settings.whole import Settings
from rlmaml.storage.checkpoint import AdaptationRecord, Checkpoint, check_fits, remembered, save_checkpoint
from rlmaml.storage.family_record import FamilyRecord
from rlmaml.storage.kept_checkpoints import policy_checkpoint
from rlmaml.terminal.words import counted

Actions: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.int64]
"""Of one step: numbers (..., action) within [-1, 1], or choices (...)."""

ActionKind: TypeAlias = Literal["sampled", "mean"]
"""With which actions a policy acts: sampled, as it adapts, or the mean, the most likely ones."""


@dataclass(frozen=True)
class AdaptablePolicy:
    """A policy for one robot, as meta-trained or after steps on its task.

    Attributes:
        network: the policy as a function of its parameters.
        sizes: of its observations and actions.
        meta: its weights, without a task axis, and the learned inner rates where there are any.
        settings: of the run that trained it; the variant is the one in which it adapted since, where it did.
        iteration: meta-iterations it was trained for.
        steps_taken: steps taken since, inner ones or within a trust region; or episodes lived through.
        memory: what it remembers of these, with axes for one task and one trial; None where it remembers nothing.
        family: what it was trained on.
        adaptation: on how many episodes it adapted since; who knows the task and the returns may add them.
    """

    network: Policy
    sizes: Sizes
    meta: Meta
    settings: Settings
    iteration: int
    steps_taken: int = 0
    memory: Memory | None = None
    family: FamilyRecord = field(default_factory=dict)
    adaptation: AdaptationRecord = field(default_factory=dict)

    @property
    def weights(self) -> Params:
        """What the network reads."""
        return self.meta.params

    @property
    def observed(self) -> int:
        """How many numbers of an observation it needs; a student with a teacher needs none of the task's."""
        return int(getattr(self.network, "observed", self.sizes.observation))

    @property
    def adapts_by_memory(self) -> bool:
        """Whether episodes are lived through, rather than steps of its parameters taken on them."""
        return adaptation_rule(self.settings, self.network).remembers

    @property
    def remembers(self) -> bool:
        """Whether an action depends on more than the observation."""
        return carries(self.network, self.weights)

    def on(self, device: str, rollout_device: str) -> "AdaptablePolicy":
        """The same policy with its steps of adaptation on one device, and acting in simulation on another.

        Raises:
            UserError: a device is none that torch knows.
        """
        return replace(self, settings=self.settings.changed(device=device, rollout_device=rollout_device))

    def act(self, observation: npt.ArrayLike) -> Actions:
        """The most likely action at one observation (obs,) or at several (..., obs), within [-1, 1].

        Raises:
            UserError: the observation has another size than those of the training, or is not finite; or the policy
                remembers: let a :class:`~rlmaml.deploy.driver.Driver` act.
        """
        seen = self.as_seen(observation)
        return _as_actions(self._distribution(seen).most_likely, seen)

    def explore(
        self, observation: npt.ArrayLike, generator: np.random.Generator
    ) -> tuple[Actions, npt.NDArray[np.float32]]:
        """A random action (..., action) and its log-probability (...), in nats, as a recording keeps them.

        The action is not clipped: that is for the actuators to do, after it was recorded.

        Raises:
            UserError: as :meth:`act`.
        """
        seen = self.as_seen(observation)
        distribution = self._distribution(seen)
        noise = self.network.draw_noise(generator, (int(np.prod(seen.shape[:-1])),))
        actions = distribution.sample(torch.from_numpy(noise))
        log_probs = distribution.log_prob(actions).numpy()
        return _as_actions(actions, seen), log_probs.reshape(seen.shape[:-1])

    @ordinary_torch()
    @torch_threads(1)
    def divergence(self, other: "AdaptablePolicy", episodes: RecordedEpisodes) -> float:
        """Mean ``KL(self ‖ other)`` of the actions over the steps of some episodes, in nats."""
        sampled = as_rollout(episodes)
        with torch.no_grad():
            ours, theirs = (policy._distributions(sampled) for policy in (self, other))
            return float(ours.kl(theirs)[sampled.valid].mean())

    @ordinary_torch()
    @torch_threads(1)
    def adapt(
        self, episodes: RecordedEpisodes, *, trust_region: float | None = None, step_scale: float = 1.0
    ) -> "AdaptablePolicy":
        """The policy after one more step, on episodes sampled with this one; computed on one thread.

        A policy whose method adapts by memory lives through the episodes, one after another: its parameters stay, it
        remembers, and who acted in them does not matter.

        Args:
            episodes: several episodes on the robot's task; see :mod:`rlmaml.sampling.recorded`.
            trust_region: take a trust-region step of at most this KL, in nats, instead of the trained inner step.
                An inner step after k steps of either kind has the size of the trained step k, or of the last one.
            step_scale: factor on the step.

        Warns:
            The episodes look as if another policy had made them; see :func:`off_policy_reason`. Or the trust region
            holds no policy that is better on them, and the policy stays as it is.

        Raises:
            UserError: the episodes do not fit the policy, their rewards prefer none, the trust region is not above 0,
                the step is not finite, the policy was trained on demonstrations, or it is a further step of a rule that
                holds it near where adaptation began.
        """
        check_trust_region(trust_region)
        check_adapts_from_rewards(self)
        rule = adaptation_rule(self.settings, self.network, trust_region)
        if rule.remembers:
            return self._having_lived_through(check_fit(self, episodes), rule)
        check_goes_on(rule, self.memory)
        inner = self.settings.inner
        if trust_region is None and self.steps_taken and (inner.inner_l2 or inner.inner_kl):
            raise UserError(
                "This policy was trained with --inner-l2 or --inner-kl, which hold further steps near where adaptation "
                "began, and an adapted policy no longer knows where that was. Adapt once, on more episodes, or within "
                "a trust region."
            )
        episodes = check_fit(self, episodes)
        check_rewards(episodes)
        if reason := off_policy_reason(self, episodes):
            warnings.warn(f"The episodes were not produced by this policy: {reason}", stacklevel=2)
        per_task = for_every_task(self.meta, 1)
        before = rule.begin(per_task) if not self.steps_taken else Adaptation(per_task.params)
        try:
            batch = self.as_batch(episodes, before.params)
            here = move((per_task, before, batch), self.settings.run.device)
            after = move(rule.step(self.network, *here, self.steps_taken).params, "cpu")
        except NonFiniteError as error:
            raise UserError(f"Adaptation failed: {error}") from error
        if trust_region is not None and all(torch.equal(after[name], old) for name, old in before.params.items()):
            warnings.warn("No better policy was found within the trust region.", stacklevel=2)
        adapted = {name: (old + step_scale * (after[name] - old))[0].detach() for name, old in before.params.items()}
        if not all(bool(tensor.isfinite().all()) for tensor in adapted.values()):
            raise UserError("Adaptation failed: the adapted parameters are not finite. Check the recorded rewards.")
        return replace(
            self,
            meta=Meta(adapted, self.meta.rates),
            steps_taken=self.steps_taken + 1,
            adaptation=self._on_more(len(episodes.ends)),
        )

    def as_batch(self, episodes: RecordedEpisodes, params: Params) -> Batch:
        """Recorded episodes of one task as the losses read them.

        Args:
            episodes: with the log-probabilities of their actions, or those that the policy gives them.
            params: the task's, with a leading axis.

        Raises:
            NonFiniteError: an advantage is NaN or infinite.
        """
        sampled = as_rollout(episodes)
        if episodes.log_probs is None:
            with torch.no_grad():
                distribution = self.network.unroll(params, sampled)[0].distribution
            sampled = sampled._replace(log_probs=distribution.log_prob(sampled.actions))
        return to_batch(sampled, self.settings.advantages, self.sizes.parts)

    @ordinary_torch()
    def record(
        self,
        env: TaskEnvironment,
        seed: int,
        *,
        visit: int = 0,
        actions: ActionKind = "sampled",
        stage: int | None = None,
    ) -> RecordedEpisodes:
        """One episode in every copy of an environment whose copies share one task.

        Args:
            env: the environment.
            seed: of initial states and actions, the same one for all visits: no visits of two seeds share an episode.
            visit: how many of this seed there were before; each has episodes of its own.
            actions: sampled, as the policy adapts, or the mean, the most likely ones.
            stage: also of these; by default the steps that the policy has taken, as in an evaluation. With the same
                one, policies begin in the same states, with the same noise on their actions.

        Raises:
            NonFiniteError: an observation, action or reward is NaN or infinite.
            FailedEpisodesError: the simulation failed in every copy.
            UserError: the family has changed since the training, or has other observations or actions.
        """
        check_acts_in(self, env)
        streams = RandomStreams(seed, Phase.EVALUATION, visit)
        device = self.settings.run.rollout_device
        weights = move(self.weights, device)
        with torch_threads(1):
            sampled = rollout(
                env,
                self.network,
                weights,
                tasks=[0],
                streams=streams,
                k=self.steps_taken if stage is None else stage,
                most_likely=actions == "mean",
                memory=None if self.memory is None else move(in_copies(self.memory, env.num_envs), device),
            )
        return from_rollout(sampled)

    @property
    def checkpoint(self) -> Checkpoint:
        """What is stored of the policy."""
        return Checkpoint(
            self.meta,
            self.iteration,
            self.settings,
            self.sizes,
            steps_taken=self.steps_taken,
            memory={} if self.memory is None else self.memory._asdict(),
            family=self.family,
            adaptation=self.adaptation,
        )

    def save(self, path: Path | str) -> None:
        """Write the policy to a file that :func:`load` reads.

        Raises:
            UserError: the file cannot be written.
        """
        save_checkpoint(path, self.checkpoint)

    def _having_lived_through(self, episodes: RecordedEpisodes, rule: InnerRule) -> "AdaptablePolicy":
        """The policy that remembers these episodes, too."""
        per_task = for_every_task(self.meta, 1)
        lived, before = rule.begin(per_task)._replace(memory=self.memory), lived_through(self)
        sampled = as_rollout(episodes)
        for episode in range(sampled.valid.shape[1]):
            alone = Rollout(*(field[:, episode : episode + 1] for field in sampled))
            lived = rule.step(self.network, per_task, lived, alone, before + episode)
        if lived.memory is None:
            warnings.warn(
                "Nothing is remembered of these episodes: the policy begins anew after every "
                f"{counted(self.settings.inner.trial_episodes, 'episode')}, within which it adapts.",
                stacklevel=3,
            )
        count = sampled.valid.shape[1]
        record = {**self._on_more(count), LIVED: before + count}
        return replace(self, memory=lived.memory, steps_taken=self.steps_taken + count, adaptation=record)

    def _on_more(self, episodes: int) -> AdaptationRecord:
        """The record after so many more episodes; what was known of task and returns is not known any more."""
        return {"episodes": self.adaptation.get("episodes", 0) + episodes}

    def _distributions(self, sampled: Rollout) -> Any:
        """Of the actions at every step of some episodes, each begun with what the policy remembers."""
        memory = None if self.memory is None else in_copies(self.memory, sampled.valid.shape[1])
        return self.network.unroll(_with_task_axis(self.weights), sampled, memory)[0].distribution

    def _distribution(self, seen: npt.NDArray[np.float32]) -> Distribution:
        if self.remembers:
            raise UserError("This policy remembers what it saw and did; let rlmaml.deploy.driver.Driver act.")
        with ordinary_torch(), torch.no_grad():
            rows = torch.from_numpy(np.atleast_2d(seen)).flatten(0, -2)
            distribution, _ = self.network.act(self.weights)(first_seen(rows, rows[:, :0]), ())
            return distribution

    def as_seen(self, observation: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Observations (..., obs) in single precision, checked.

        Raises:
            UserError: they have another size than those of the training, or are not finite.
        """
        seen = np.asarray(observation, np.float32)
        legal = (self.observed, self.sizes.observation)
        if seen.ndim == 0 or seen.shape[-1] not in legal or not np.isfinite(seen).all():
            raise UserError(
                f"The policy acts on finite observations of {self.observed} numbers; got shape "
                f"{seen.shape}{'' if np.isfinite(seen).all() else ', not finite'}."
            )
        return seen


def load(path: Path | str) -> AdaptablePolicy:
    """The policy of a run directory, or of a file that :meth:`AdaptablePolicy.save` wrote.

    Warns:
        The newest checkpoint of the run is damaged, and the one before it is used.

    Raises:
        UserError: there is none, it is truncated or foreign, its weights are not those of the policy that it says it
            holds or not finite, or its network is a torch module of the user's own that is not known here; see
            :func:`rlmaml.policies.kinds.register_module`.
    """
    return as_policy(policy_checkpoint(Path(path)))


def as_policy(checkpoint: Checkpoint) -> AdaptablePolicy:
    """The policy that a checkpoint holds, on the CPU wherever it was trained; see :meth:`AdaptablePolicy.on`.

    Raises:
        UserError: see :func:`load`.
    """
    network = make_policy(checkpoint.settings.policy, checkpoint.settings.network, checkpoint.sizes)
    with ordinary_torch():
        check_fits(checkpoint, meta_like(checkpoint.settings, network), "the policy that it says it holds")
    return AdaptablePolicy(
        network,
        checkpoint.sizes,
        checkpoint.meta,
        checkpoint.settings.changed(device="cpu", rollout_device="cpu"),
        checkpoint.iteration,
        checkpoint.steps_taken,
        remembered(checkpoint, network),
        checkpoint.family,
        checkpoint.adaptation,
    )


def in_copies(memory: Memory, copies: int, tasks: int = 1) -> Memory:
    """What one trial remembers, in each of several copies of its task, or of each of several tasks."""
    return Memory(*(tensor.expand(tasks, copies, *tensor.shape[2:]) for tensor in memory))


def check_fit(policy: AdaptablePolicy, episodes: RecordedEpisodes) -> RecordedEpisodes:
    """The episodes, checked on their own and against the policy.

    Raises:
        UserError: see :func:`rlmaml.sampling.recorded.check_episodes`; or observations or actions of another size than
            the policy's, or a bootstrapped time limit without final observations.
    """
    episodes = check_episodes(episodes, "The recording")
    legal = {"observations": (policy.observed, policy.sizes.observation), "actions": (policy.sizes.action,)}
    for name, sizes in legal.items():
        received = getattr(episodes, name).shape[1]
        if received not in sizes:
            raise UserError(f"The recorded {name} have {received} numbers; this policy was trained with {sizes[-1]}.")
    if policy.settings.advantages.bootstraps and episodes.final_observations is None:
        raise UserError(
            "This policy was trained with --time-limit bootstrap, which needs final_observations in the recording."
        )
    return episodes


def _with_task_axis(params: Params) -> Params:
    return {name: tensor.unsqueeze(0) for name, tensor in params.items()}


def _as_actions(actions: torch.Tensor, seen: npt.NDArray[np.float32]) -> Actions:
    rows: Actions = actions.numpy()
    return rows.reshape(*seen.shape[:-1], *rows.shape[1:])
