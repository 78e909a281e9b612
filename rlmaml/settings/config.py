"""The configuration of a run: one frozen dataclass, from which the command line is made. Imports no torch."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tyro.conf import arg

from rlmaml.base.errors import UserError

InnerLoss = Literal["log_likelihood", "likelihood_ratio", "dice"]
MOST_THREADS = 1024
TimeLimit = Literal["fixed_horizon", "bootstrap"]
Activation = Literal["tanh", "relu"]
COUNTED = {"iterations", "evaluation_tasks", "evaluation_episodes", "evaluation_steps"}
"""Settings that a resumed run may change, but that move what it reaches; others, like threads, do not."""


def _free(default: Any) -> Any:
    """A field that a resumed run may change, because it does not change what is computed."""
    return field(default=default, metadata={"free_on_resume": True})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a meta-training run. Every sentence below is also the help text of the option."""

    env_id: str = "Navigation2D-v0"
    """Task family, a registered environment id."""
    variant: str = "finn2017"
    """Which of the family's published definitions to use."""
    seed: int = 0
    """Seed of all random streams; the same seed gives the same run, with any number of threads."""
    iterations: int = _free(100)
    """Meta-iterations in total; a resumed run may raise it."""

    num_tasks: Annotated[int, arg(name="tasks")] = 20
    """Tasks per meta-iteration."""
    num_episodes: Annotated[int, arg(name="episodes")] = 20
    """Episodes per task before each inner step, and again after the last."""
    observe_task: bool = False
    """Add the task's parameters, scaled, to the observations: the oracle of the papers, which need not adapt."""
    horizon: int = 100
    """Steps after which an episode is cut."""

    inner_steps: int = 1
    """Inner gradient steps per task, each on fresh episodes; 0 trains one policy over all tasks, without adaptation."""
    inner_step_sizes: tuple[float, ...] = (0.1,)
    """Inner step sizes in order; the last one serves all further steps, also in evaluation."""
    learn_step_sizes: bool = False
    """Learn the inner step sizes along with theta, one per layer and step, from these (as in MAML++)."""
    inner_loss: InnerLoss = "log_likelihood"
    """Inner loss: log_likelihood (MAML), likelihood_ratio (LVC, as in ProMP) or dice."""
    first_order: bool = False
    """Leave out the derivative of the inner update (first-order MAML)."""
    stage_weights: tuple[float, ...] = ()
    """Weights in the meta-objective of the policies before and after each inner step; the last number serves all
    further steps. Empty: the fully adapted policy alone."""

    start_from: str = ""
    """Directory of a finished run whose network this run begins with, e.g. of the intact robot; its standard deviation
    begins at --initial-std all the same. Empty: a random network."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    activation: Activation = "tanh"
    """Activation between the policy's layers."""
    initial_std: float = 1.0
    """Initial standard deviation of the policy, in units of the normalised action."""
    observation_scales: tuple[float, ...] = ()
    """Typical size of each number of the observation, in its unit; the policy divides by it. Empty: 1 for all."""

    discount: float = 0.99
    """Discount factor per step."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation; 1 is return minus baseline."""
    time_limit: TimeLimit = "fixed_horizon"
    """At the horizon the return ends (fixed_horizon, as in the papers) or goes on with the baseline (bootstrap)."""
    advantage_scale: float | None = None
    """Divide the centred advantages of all tasks by this, in reward units; by default by each task's own deviation."""

    max_kl: float = 0.01
    """Largest mean KL in nats between the adapted policies before and after a meta-update."""
    damping: float = 1e-5
    """Multiple of the identity added to the curvature."""
    cg_iterations: int = 10
    """Conjugate-gradient iterations per meta-update."""
    curvature_fraction: float = 0.05
    """Fraction of each task's episodes that the curvature is taken on; loss, gradient and KL use all."""
    backtrack: float = 0.8
    """Factor by which the line search shortens a step."""
    backtrack_tries: int = 15
    """Step lengths that the line search tries before it gives up and keeps theta."""

    evaluation_tasks: int = _free(40)
    """Held-out tasks of the evaluation that ends the run."""
    evaluation_episodes: int = _free(40)
    """Episodes per step of that evaluation."""
    evaluation_steps: int = _free(3)
    """Inner steps of that evaluation."""
    checkpoint_interval: int = _free(10)
    """Meta-iterations between checkpoints; there is always one at the end."""
    figure_interval: int = _free(25)
    """Meta-iterations between figures in TensorBoard; 0 for none."""
    video_interval: int = _free(50)
    """Meta-iterations between short videos in TensorBoard; 0 for none, and none where robots cannot be drawn."""

    device: str = _free("cpu")
    """Where the policy is computed: cpu, cuda or cuda:N."""
    threads: int = _free(2)
    """Threads of the meta-update."""
    rollout_threads: int = _free(2)
    """Threads that step the physics inside a rollout; the policy, whose operations are small there, takes one."""

    def __post_init__(self) -> None:
        """Check every field against its legal range.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        for name in ("initial_std", "max_kl", "damping"):
            self._require(name, math.isfinite(getattr(self, name)), "a finite number")
        for name in ("threads", "rollout_threads"):
            self._require(name, getattr(self, name) <= MOST_THREADS, f"at most {MOST_THREADS}")
        positive = (
            "num_tasks num_episodes horizon cg_iterations backtrack_tries evaluation_tasks "
            "evaluation_episodes checkpoint_interval threads rollout_threads initial_std max_kl"
        )
        for name in positive.split():
            self._require(name, getattr(self, name) > 0, "a number above 0")
        for name in (
            "seed",
            "iterations",
            "inner_steps",
            "evaluation_steps",
            "figure_interval",
            "video_interval",
            "damping",
        ):
            self._require(name, getattr(self, name) >= 0, "a number not below 0")
        for name in ("discount", "gae_lambda"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a number from 0 to 1")
        self._require("curvature_fraction", 0 < self.curvature_fraction <= 1, "a number above 0 and at most 1")
        scale = self.advantage_scale
        self._require("advantage_scale", scale is None or 0 < scale < math.inf, "a finite number above 0")
        self._require("backtrack", 0 < self.backtrack < 1, "a number between 0 and 1")
        scales = self.observation_scales
        self._require("observation_scales", all(0 < size < math.inf for size in scales), "finite numbers above 0")
        self._require("hidden", all(width > 0 for width in self.hidden), "widths above 0")
        learns = self.inner_steps > 0 or not self.learn_step_sizes
        self._require("learn_step_sizes", learns, "off where --inner-steps is 0: there is no step to learn")
        sizes = self.inner_step_sizes
        legal = sizes and all(0 < size < math.inf for size in sizes)
        self._require("inner_step_sizes", legal, "one or more finite numbers above 0")
        weights = self.stage_weights[: self.inner_steps + 1]
        legal = not weights or (all(0 <= weight < math.inf for weight in self.stage_weights) and sum(weights) > 0)
        self._require("stage_weights", legal, "finite numbers not below 0, and not all 0")

    def _require(self, name: str, condition: object, legal: str) -> None:
        if not condition:
            raise UserError(f"{option(name)} is {getattr(self, name)!r}; it must be {legal}.")

    def step_sizes(self, num_steps: int) -> tuple[float, ...]:
        """Sizes of the first ``num_steps`` inner steps."""
        last = self.inner_step_sizes[-1]
        return (*self.inner_step_sizes, *[last] * num_steps)[:num_steps]

    def without_inner_steps(self) -> "TrainConfig":
        """The same settings for a policy that is optimised as it is, without adaptation."""
        return dataclasses.replace(self, inner_steps=0, learn_step_sizes=False, stage_weights=(1.0,))

    def normalised_stage_weights(self) -> tuple[float, ...]:
        """Weight of each of the ``inner_steps + 1`` stages; they sum to 1."""
        given = self.stage_weights or (*[0.0] * self.inner_steps, 1.0)
        weights = (*given, *[given[-1]] * self.inner_steps)[: self.inner_steps + 1]
        return tuple(weight / sum(weights) for weight in weights)


def check_trust_region(max_kl: float | None) -> None:
    """Check the trust region of an adaptation; None is for inner steps.

    Raises:
        UserError: it is no finite number above 0.
    """
    if max_kl is not None and not 0 < max_kl < math.inf:
        raise UserError(f"The trust region (--trust-region) is {max_kl}; it is a KL in nats above 0, such as 0.05.")


def option(name: str) -> str:
    """How the command line spells a field."""
    return "--" + {"num_tasks": "tasks", "num_episodes": "episodes"}.get(name, name).replace("_", "-")


def to_json(config: TrainConfig) -> str:
    """The configuration as JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str) -> TrainConfig:
    """Inverse of :func:`to_json`.

    Raises:
        UserError: the text is not a configuration of this version.
    """
    try:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in json.loads(text).items()}
        return TrainConfig(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"The stored configuration does not fit this version of rlmaml: {error}. Use the version that wrote it, or "
            "train anew."
        ) from error


def differences(stored: TrainConfig, requested: TrainConfig, *, counted: bool = False) -> list[str]:
    """Settings that make one run another, where they differ, with both values; ``counted`` adds :data:`COUNTED`."""
    return [
        f"{option(f.name)} was {getattr(stored, f.name)!r} and is now {getattr(requested, f.name)!r}"
        for f in dataclasses.fields(TrainConfig)
        if (not f.metadata.get("free_on_resume") or (counted and f.name in COUNTED))
        and getattr(stored, f.name) != getattr(requested, f.name)
    ]


def check_resumable(stored: TrainConfig, requested: TrainConfig) -> None:
    """Refuse to continue a run under settings that would have made it another run.

    Raises:
        UserError: names every differing field, with both values.
    """
    if differing := differences(stored, requested):
        raise UserError(
            f"The run to resume has another configuration: {'; '.join(differing)}. "
            "Repeat its options, or start a new run with another --run-dir."
        )
