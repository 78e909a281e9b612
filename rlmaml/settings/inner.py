"""Settings of the inner rule: how task parameters change between stages."""

from dataclasses import dataclass
from typing import Literal

from rlmaml.base.errors import UserError
from rlmaml.settings.advantages import AdvantageSettings
from rlmaml.settings.checks import (
    all_finite_and_positive,
    require,
    require_kinds,
    require_not_negative,
    require_positive,
)

InnerLoss = Literal["log_likelihood", "likelihood_ratio", "dice"]
Adapt = Literal["all", "head", "context"]
StepSizesPer = Literal["layer", "parameter"]


def refuse_teacher(network: object) -> None:
    """Refuse a policy with a teacher: only RMA keeps how far it is told apart from what it learns.

    Raises:
        UserError: the policy has one.
    """
    if hasattr(network, "latent"):
        raise UserError(
            "--policy latent has a teacher, whom only --algorithm rma learns from and leaves out afterwards; memory "
            "alone is --policy gru."
        )


@dataclass(frozen=True)
class InnerSettings:
    """Gradient steps on a task's own episodes."""

    inner_steps: int = 1
    """Inner gradient steps per task, each on fresh episodes; 0 trains one policy over all tasks, without adaptation."""
    inner_step_sizes: tuple[float, ...] = (0.1,)
    """Inner step sizes in order; the last one serves all further steps, also in evaluation."""
    inner_loss: InnerLoss = "log_likelihood"
    """Inner loss: log_likelihood (MAML), likelihood_ratio (LVC, as in ProMP) or dice."""
    adapt: Adapt = "all"
    """Which weights adapt: all, the head alone (the last layer), or a context alone, inputs that begin at 0 on every
    task."""
    adapt_std: bool = False
    """Whether the standard deviation adapts along with the head."""
    inner_l2: float = 0.0
    """Factor of ½ ‖φ − θ‖² in the inner loss, which holds task parameters near theta."""
    inner_kl: float = 0.0
    """Factor of the mean KL(π_θ ‖ π_φ) in the inner loss, which holds the task's policy near theta's."""
    parameter_noise: float = 0.0
    """Standard deviation of normal noise on every adapted parameter after each inner step of the training."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_not_negative(self, "inner_steps")
        sizes = self.inner_step_sizes
        require(
            self, "inner_step_sizes", sizes and all_finite_and_positive(sizes), "one or more finite numbers above 0"
        )
        require_not_negative(self, "inner_l2 inner_kl parameter_noise")
        require(
            self,
            "adapt",
            self.inner_steps > 0 or self.adapt == "all",
            "all, or --inner-steps above 0: without a step nothing adapts",
        )
        require(self, "adapt_std", self.adapt == "head" or not self.adapt_std, "off unless --adapt is head")
        for name in ("inner_l2", "inner_kl"):
            held = self.inner_steps > 1 or not getattr(self, name)
            require(self, name, held, "0 with fewer than two inner steps: the first one begins at theta")
        noisy = self.inner_steps > 0 or not self.parameter_noise
        require(self, "parameter_noise", noisy, "0 where --inner-steps is 0: no step is taken")

    def check_with(self, network: object) -> None:
        """Refuse to adapt what the policy does not have, and a teacher or a value that nobody would learn from.

        Raises:
            UserError: a context adapts, and there is none, or a head that is all there is, or one beside a context that
                stays; or the policy has a teacher, or a memory and a value.
        """
        refuse_teacher(network)
        if self.adapt == "context":
            legal = "all or head with this policy; all kinds but gru, latent and modules can have a --context"
            require(self, "adapt", hasattr(network, "context"), legal)
            require(network, "context", getattr(network, "context", 0) > 0, "above 0 where it is what adapts")
        if self.adapt == "head":
            below = not getattr(network, "all_is_head", False)
            legal = "all, or --hidden one width or more: without hidden layers the head is all there is"
            require(self, "adapt", below, legal)
            stays = getattr(network, "context", 0) == 0
            require(
                network,
                "context",
                stays,
                "0, or --adapt all or context: beside a head that adapts alone it would stay 0 on every task",
            )
        judged = getattr(network, "value_head", False) and getattr(network, "memory", 0) > 0
        require(network, "value_head", not judged, "off with inner steps: rl2 and rma alone learn a value")


@dataclass(frozen=True)
class MemorySettings:
    """A memory that lives through the episodes of a trial, and parameters that stay."""

    trial_episodes: int = 2
    """Episodes of a trial, through which the memory lives; it is evaluated over as many as are asked for."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_positive(self, "trial_episodes")

    @property
    def inner_steps(self) -> int:
        """Episodes after which more is remembered and another one follows."""
        return self.trial_episodes - 1

    def check_with(self, network: object) -> None:
        """Refuse a policy without memory or without value, and a teacher who would teach nobody.

        Raises:
            UserError: the policy is another.
        """
        refuse_teacher(network)
        if not getattr(network, "value_head", False):
            raise UserError("A method with memory needs --policy gru with --value-head.")

    def check_advantages(self, advantages: AdvantageSettings) -> None:
        """Refuse rewards and advantages of their own for gradient steps, of which there are none, also in evaluation.

        Raises:
            UserError: names the option, what was received and what is legal.
        """
        for name, own in (("inner_reward_power", 1), ("inner_advantage_scale", None)):
            require(advantages, name, getattr(advantages, name) == own, f"{own} where nothing adapts by gradient steps")


@dataclass(frozen=True)
class TaughtSettings(MemorySettings):
    """A teacher who is told the task, and a student whose memory lives through the episodes of a trial."""

    trial_episodes: int = 1
    """Episodes of the student's trial, after which it begins anew, also where it is evaluated."""

    @property
    def inner_steps(self) -> int:
        """Stages after the teacher's."""
        return self.trial_episodes

    def check_with(self, network: object) -> None:
        """Refuse a policy without a teacher or without value.

        Raises:
            UserError: the policy is another.
        """
        if not (hasattr(network, "latent") and getattr(network, "value_head", False)):
            raise UserError("A method with a teacher needs --policy latent with --value-head.")


@dataclass(frozen=True)
class DifferentiatedInnerSettings(InnerSettings):
    """Gradient steps through which a meta-gradient passes."""

    learn_step_sizes: bool = False
    """Learn the inner step sizes along with theta, one per layer and step, from these (as in MAML++)."""
    step_sizes_per: StepSizesPer = "layer"
    """What has a learned size of its own, in each step: a layer's weights and its biases, or every single parameter,
    with its sign (as in Meta-SGD)."""
    first_order: bool = False
    """Leave out the derivative of the inner update (first-order MAML)."""
    first_order_until: int = 0
    """Meta-iteration from which that derivative is taken; before it is left out (as in MAML++)."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        learns = self.inner_steps > 0 or not self.learn_step_sizes
        require(self, "learn_step_sizes", learns, "off, or --inner-steps above 0: there is no step to learn")
        per = self.learn_step_sizes or self.step_sizes_per == "layer"
        require(self, "step_sizes_per", per, "layer where sizes are not learned; add --learn-step-sizes")
        require_not_negative(self, "first_order_until")
        passes = self.inner_steps > 0 or not self.first_order
        require(self, "first_order", passes, "off, or --inner-steps above 0: without a step there is no derivative")
        changes = (self.inner_steps > 0 and not self.first_order) or not self.first_order_until
        legal = "0 with first order, which stays so, and where --inner-steps is 0: there is no derivative to be taken"
        require(self, "first_order_until", changes, legal)
        differs = self.inner_loss != "dice" or not self.first_order
        require(self, "inner_loss", differs, "another with first order: dice differs by its second derivative alone")
