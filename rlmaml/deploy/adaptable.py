"""A meta-trained policy in use: load it, act, adapt it to one robot's task from episodes, act better.

``policy = load(run_dir)``, ``adapted = policy.adapt(episodes)``, ``action = adapted.act(observation)``.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.errors import NonFiniteError, UserError
from rlmaml.base.random_streams import Phase, RandomStreams
from rlmaml.base.stopwatch import Stopwatch
from rlmaml.base.threads import torch_threads
from rlmaml.core.distributions import Gaussian
from rlmaml.core.parameters import detach, policy_parameters, with_task_axis
from rlmaml.core.types import Params
from rlmaml.policies.policy import GaussianMLP
from rlmaml.sampling.episodes import adaptation_step, to_batch
from rlmaml.sampling.recorded import RecordedEpisodes, as_rollout, check_episodes, from_rollout
from rlmaml.sampling.rollout import TaskEnvironment, rollout
from rlmaml.settings.config import TrainConfig, check_trust_region
from rlmaml.storage.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.training.initial import sized_policy

LARGEST_LOG_RATIO = 0.5
"""Mean |log importance ratio| in nats above which episodes count as another policy's."""
LEGAL_SPREAD = (0.5, 2.0)
"""Mean squared standardised action noise; 1 for the policy's own episodes."""

MOST_AT_THE_LIMIT = 0.01
"""Share of action entries at exactly -1 or 1 above which they count as clipped; a Gaussian draws none."""


@dataclass(frozen=True)
class AdaptablePolicy:
    """A policy for one robot, as meta-trained or after steps on its task.

    Attributes:
        network: the policy as a function of its parameters.
        params: its parameters, without a task axis, with the learned step sizes where there are any.
        config: settings of the run that trained it.
        iteration: meta-iterations it was trained for.
        steps_taken: steps taken since, inner ones or within a trust region.
    """

    network: GaussianMLP
    params: Params
    config: TrainConfig
    iteration: int
    steps_taken: int = 0

    @property
    def weights(self) -> Params:
        """What the network reads: the parameters without the learned step sizes."""
        return policy_parameters(self.params)

    def act(self, observation: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The most likely action at one observation (obs,) or at several (..., obs), within [-1, 1].

        Raises:
            UserError: the observation has another size than those of the training, or is not finite.
        """
        seen = self._seen(observation)
        clipped: npt.NDArray[np.float32] = self._distribution(seen).mean.clamp(-1.0, 1.0).numpy()
        return clipped.reshape(*seen.shape[:-1], -1)

    def explore(
        self, observation: npt.ArrayLike, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """A random action (..., action) and its log-probability (...), in nats, as a recording keeps them.

        The action is not clipped: that is for the actuators to do, after it was recorded.

        Raises:
            UserError: the observation has another size than those of the training, or is not finite.
        """
        seen = self._seen(observation)
        distribution = self._distribution(seen)
        noise = self.network.draw_noise(generator, tuple(distribution.mean.shape[:-1]))
        actions = distribution.sample(torch.from_numpy(noise))
        log_probs = distribution.log_prob(actions).numpy()
        return actions.numpy().reshape(*seen.shape[:-1], -1), log_probs.reshape(seen.shape[:-1])

    def divergence(self, other: "AdaptablePolicy", observations: npt.ArrayLike) -> float:
        """Mean ``KL(self ‖ other)`` of the actions at observations (n, obs), in nats.

        Raises:
            UserError: the observations have another size than those of the training, or are not finite.
        """
        seen = self._seen(observations)
        return float(self._distribution(seen).kl(other._distribution(seen)).mean())

    def _distribution(self, seen: npt.NDArray[np.float32]) -> Gaussian:
        with torch.no_grad():
            return self.network(self.weights, torch.from_numpy(np.atleast_2d(seen)))

    def _seen(self, observation: npt.ArrayLike) -> npt.NDArray[np.float32]:
        seen = np.asarray(observation, np.float32)
        if seen.ndim == 0 or seen.shape[-1] != self.network.observation_size or not np.isfinite(seen).all():
            raise UserError(
                f"The policy acts on finite observations of {self.network.observation_size} numbers; got shape "
                f"{seen.shape}{'' if np.isfinite(seen).all() else ', not finite'}."
            )
        return seen

    def adapt(
        self, episodes: RecordedEpisodes, *, trust_region: float | None = None, step_scale: float = 1.0
    ) -> "AdaptablePolicy":
        """The policy after one more step, on episodes sampled with this one.

        Args:
            episodes: several episodes on the robot's task; see :mod:`rlmaml.sampling.recorded`.
            trust_region: take a trust-region step of at most this KL, in nats, instead of the trained inner step.
                An inner step after k steps of either kind has the size of the trained step k, or of the last one.
            step_scale: factor on the step.

        Warns:
            The episodes look as if another policy had made them; see :func:`off_policy_reason`. Or the trust region
            holds no policy that is better on them, and the policy stays as it is.

        Raises:
            UserError: the episodes do not fit the policy, the trust region is not above 0, or the step is not finite.
        """
        check_trust_region(trust_region)
        episodes = check_fit(self, episodes)
        if reason := off_policy_reason(self, episodes):
            warnings.warn(f"The episodes were not produced by this policy: {reason}", stacklevel=2)
        sampled = as_rollout(episodes)
        repeated = detach(with_task_axis(self.params, 1))
        before = policy_parameters(repeated)
        if episodes.log_probs is None:
            with torch.no_grad():
                log_probs = self.network(before, sampled.observations).log_prob(sampled.actions)
            sampled = sampled._replace(log_probs=log_probs)
        try:
            batch = to_batch(sampled, self.config)
            after = adaptation_step(
                self.network,
                repeated,
                before,
                batch,
                self.config,
                self.steps_taken,
                Stopwatch(),
                trust_region=trust_region,
            )
        except NonFiniteError as error:
            raise UserError(f"Adaptation failed: {error}") from error
        if trust_region is not None and all(torch.equal(after[name], before[name]) for name in before):
            warnings.warn("No better policy was found within the trust region.", stacklevel=2)
        adapted = {name: before[name] + step_scale * (after[name] - before[name]) for name in before}
        if not all(bool(tensor.isfinite().all()) for tensor in adapted.values()):
            raise UserError("Adaptation failed: the adapted parameters are not finite. Check the recorded rewards.")
        single = {name: tensor[0].detach() for name, tensor in adapted.items()}
        return replace(self, params=self.params | single, steps_taken=self.steps_taken + 1)

    def record(self, env: TaskEnvironment, seed: int) -> RecordedEpisodes:
        """One episode in every copy of an environment whose copies share one task, with exploration.

        Raises:
            NonFiniteError: an observation, action or reward is NaN or infinite.
        """
        with torch_threads(1):
            sampled = rollout(
                env,
                self.network,
                self.weights,
                num_tasks=1,
                horizon=self.config.horizon,
                streams=RandomStreams(seed, Phase.EVALUATION),
                step=self.steps_taken,
                clock=Stopwatch(),
            )
        return from_rollout(sampled)

    def save(self, path: Path) -> None:
        """Write the policy to a file that :func:`load` reads.

        Raises:
            UserError: the file cannot be written.
        """
        save_checkpoint(path, Checkpoint(self.params, self.iteration, self.config, self.steps_taken))


def load(path: Path | str) -> AdaptablePolicy:
    """The policy of a run directory, or of a file that :meth:`AdaptablePolicy.save` wrote.

    Raises:
        UserError: there is none, or it is truncated or foreign.
    """
    path = Path(path)
    checkpoint = load_checkpoint(path / CHECKPOINT if path.is_dir() or not path.suffix else path)
    theta, config = checkpoint.theta, checkpoint.config
    network = sized_policy(config, theta["layer0.weight"].shape[-1], theta["log_std"].shape[-1])
    return AdaptablePolicy(network, theta, config, checkpoint.iteration, checkpoint.steps_taken)


def check_fit(policy: AdaptablePolicy, episodes: RecordedEpisodes) -> RecordedEpisodes:
    """The episodes, checked on their own and against the policy.

    Raises:
        UserError: see :func:`rlmaml.sampling.recorded.check_episodes`; or observations or actions of another size than
            the policy's, or a bootstrapped time limit without final observations.
    """
    episodes = check_episodes(episodes, "The recording")
    sizes = {"observations": policy.network.observation_size, "actions": policy.network.action_size}
    for name, size in sizes.items():
        received = getattr(episodes, name).shape[1]
        if received != size:
            raise UserError(f"The recorded {name} have {received} numbers; this policy was trained with {size}.")
    if policy.config.time_limit == "bootstrap" and episodes.final_observations is None:
        raise UserError(
            "This policy was trained with --time-limit bootstrap, which needs final_observations in the recording."
        )
    return episodes


def off_policy_reason(policy: AdaptablePolicy, episodes: RecordedEpisodes) -> str | None:
    """Why recorded episodes cannot be this policy's own, or None if they may be.

    With recorded log-probabilities, the importance ratio ``π(a|o) / π_recorded(a|o)`` is 1 for the policy's own
    episodes. Without them, ``((a − μ(o)) / σ)²`` has mean 1 for these. Actions drawn from a Gaussian are never exactly
    -1 or 1.
    """
    if np.mean(np.abs(episodes.actions) == 1.0) > MOST_AT_THE_LIMIT:
        return "its actions were clipped to [-1, 1]; record them as they were drawn."
    with torch.no_grad():
        distribution = policy.network(policy.weights, torch.from_numpy(episodes.observations))
        actions = torch.from_numpy(episodes.actions)
        if episodes.log_probs is not None:
            log_ratio = distribution.log_prob(actions) - torch.from_numpy(episodes.log_probs)
            typical = float(log_ratio.abs().mean())
            if typical > LARGEST_LOG_RATIO:
                return f"the importance ratio is far from 1 (mean |log ratio| {typical:.2f} nats)."
            return None
        spread = float(((actions - distribution.mean) * torch.exp(-distribution.log_std)).square().mean())
    low, high = LEGAL_SPREAD
    if low <= spread <= high:
        return None
    kind = "less" if spread < low else "more"
    return f"its actions vary {kind} than the policy's exploration (mean squared deviation {spread:.2f}, not about 1)."
