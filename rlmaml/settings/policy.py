"""Settings of the policy kinds, by the names that ``--policy`` takes."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from rlmaml.base.errors import UserError
from rlmaml.settings.checks import (
    all_finite_and_positive,
    require,
    require_kinds,
    require_not_negative,
    require_positive,
)
from rlmaml.terminal.words import did_you_mean

Activation = Literal["tanh", "relu"]
KEPT = r"[\w.]+:\d{1,9}(?:x\d{1,9}){1,4}:(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
"""A matrix by its name, its shape, and a bit for each of its entries, in base 64."""


@dataclass(frozen=True)
class ReducedSettings:
    """What every kind's weight matrices may be reduced to."""

    rank: int = field(default=0, kw_only=True)
    """Weight matrices are products of two factors, of this many columns and rows, where that is smaller; 0 for none."""
    kept: tuple[str, ...] = field(default=(), kw_only=True)
    """What is left of the weight matrices of a pruned policy, as scripts/compress.py writes it; all where none says."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        require_not_negative(self, "rank")
        require(self, "kept", all(re.fullmatch(KEPT, text) for text in self.kept), "texts as a pruned run has them")


@dataclass(frozen=True)
class PerceptronSettings(ReducedSettings):
    """A multilayer perceptron."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the policy's hidden layers."""
    activation: Activation = "tanh"
    """Activation between the policy's layers."""
    observation_scales: tuple[float, ...] = ()
    """Typical size of each number of the observation, in its unit; the policy divides by it. Empty: 1 for all."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require(self, "hidden", all(width > 0 for width in self.hidden), "widths above 0")
        require(self, "observation_scales", all_finite_and_positive(self.observation_scales), "finite numbers above 0")


@dataclass(frozen=True)
class CategoricalSettings(PerceptronSettings):
    """A perceptron for the logits of a choice."""

    context: int = 0
    """Inputs beside the observation that only adaptation sets, from 0 on every task (CAVIA); 0 for none."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_not_negative(self, "context")

    @property
    def all_is_head(self) -> bool:
        """Whether the last layer is the only one."""
        return not self.hidden


@dataclass(frozen=True)
class GaussianSettings(CategoricalSettings):
    """A perceptron for the mean of the actions, with a standard deviation that is the same everywhere."""

    initial_std: float = 1.0
    """Initial standard deviation of the policy, in units of the normalised action."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_deviation(self)


@dataclass(frozen=True)
class RecurrentSettings(PerceptronSettings):
    """A gated recurrent unit that remembers observations, actions and rewards, below a Gaussian perceptron."""

    initial_std: float = 1.0
    """Initial standard deviation of the policy, in units of the normalised action."""
    memory: int = 64
    """Width of the recurrent memory; 0 for none is what ``--algorithm robust`` stands for."""
    reward_scale: float = 1.0
    """Typical size of a step's reward, in its unit; the memory reads the last reward divided by it."""
    value_head: bool = False
    """Also estimate the return to come, for methods that learn with it."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_deviation(self)
        require_not_negative(self, "memory")
        require_positive(self, "reward_scale")


@dataclass(frozen=True)
class LatentSettings(RecurrentSettings):
    """A Gaussian perceptron on the observation and a latent, which a teacher tells or a student guesses from memory."""

    latent: int = 8
    """Numbers that say what the robot is like."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_positive(self, "memory latent")


@dataclass(frozen=True)
class ConvolutionalSettings(ReducedSettings):
    """A convolutional network for the logits of an image's class."""

    image: tuple[int, int, int] = (1, 28, 28)
    """Size of the images: channels, height and width."""
    filters: int = 32
    """Filters of each of the four layers."""
    context: int = 0
    """Numbers that scale and shift what the third layer's filters see, and that only adaptation sets, from 0 on every
    task (CAVIA); 0 for none."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require(self, "image", all(number > 0 for number in self.image), "three numbers above 0")
        require_positive(self, "filters")
        require_not_negative(self, "context")


@dataclass(frozen=True)
class EmbeddedSettings(ReducedSettings):
    """A perceptron, the decision layers, on learned vectors of categories and flags."""

    categories: tuple[int, ...] = (2,)
    """How many values each category has, of which an observation holds the numbers, from 0 on."""
    flags: int = 0
    """How many numbers of 0 or 1 follow in an observation, each of which says whether something holds."""
    embedding: int = 16
    """Numbers of a value's vector."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the decision layers."""
    activation: Activation = "relu"
    """Activation between the decision layers."""
    context: int = 0
    """Inputs of the decision layers that only adaptation sets, from 0 on every task (CAVIA); 0 for none."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require(self, "categories", all(count > 0 for count in self.categories), "numbers above 0")
        require_positive(self, "embedding")
        require_not_negative(self, "flags context")
        require(self, "hidden", all(width > 0 for width in self.hidden), "widths above 0")


@dataclass(frozen=True)
class MultimodalSettings(ReducedSettings):
    """An encoder for each part of an observation, vectors and images, below a Gaussian perceptron."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers that read what all encoders say."""
    activation: Activation = "tanh"
    """Activation between the policy's layers."""
    features: int = 32
    """Numbers that each encoder says."""
    filters: int = 8
    """Filters of each convolution of an image."""
    part_scales: tuple[float, ...] = ()
    """Typical size of the numbers of each part, in the order of the parts; the policy divides by it. Empty: 1 for
    all."""
    context: int = 0
    """Inputs beside what the encoders say that only adaptation sets, from 0 on every task (CAVIA); 0 for none."""
    initial_std: float = 1.0
    """Initial standard deviation of the policy, in units of the normalised action."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require(self, "hidden", all(width > 0 for width in self.hidden), "widths above 0")
        require(self, "part_scales", all_finite_and_positive(self.part_scales), "finite numbers above 0")
        require_positive(self, "features filters")
        require_not_negative(self, "context")
        require_deviation(self)


@dataclass(frozen=True)
class ModuleSettings(ReducedSettings):
    """A torch module of the user's own, which maps observations to the mean of the actions."""

    initial_std: float = 1.0
    """Initial standard deviation of the policy, in units of the normalised action."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        super().__post_init__()
        require_deviation(self)


def require_deviation(settings: object) -> None:
    """Refuse an initial standard deviation that is none."""
    require_positive(settings, "initial_std")


@dataclass(frozen=True)
class CompressionSettings:
    """How a trained policy's weight matrices are made smaller: one of the two."""

    prune: float | None = None
    """Share of the entries of every weight matrix that is left out, above 0 and below 1, such as 0.5."""
    low_rank: int | None = None
    """Rank of the factors in the place of weight matrices, which must have fewer numbers than these."""

    def __post_init__(self) -> None:
        """Check every field; a :class:`UserError` names the option, what was received and what is legal."""
        require_kinds(self)
        if self.prune is not None:
            require(self, "prune", 0 < self.prune < 1, "a share above 0 and below 1")
        if self.low_rank is not None:
            require_positive(self, "low_rank")

    def check_given(self) -> None:
        """Refuse none of the two, and both.

        Raises:
            UserError: says how both are done.
        """
        if (self.prune is None) == (self.low_rank is None):
            raise UserError("Give one of --prune and --low-rank; for both, factor a run, and prune the new one.")


POLICIES: dict[str, type[Any]] = {
    "gaussian": GaussianSettings,
    "categorical": CategoricalSettings,
    "gru": RecurrentSettings,
    "latent": LatentSettings,
    "conv4": ConvolutionalSettings,
    "embedded": EmbeddedSettings,
    "multimodal": MultimodalSettings,
}
"""Name of a kind -> its settings; a module of the user's own is named by FILE.py:NAME."""


def policy_settings(kind: str) -> type[Any]:
    """The settings class of a kind.

    Raises:
        UserError: there is no such kind; the message lists those there are.
    """
    if kind in POLICIES:
        return POLICIES[kind]
    file, colon, name = kind.rpartition(":")
    if colon and file.endswith(".py") and name.isidentifier():
        return ModuleSettings
    raise UserError(
        f"--policy is {kind!r}; it must be one of {', '.join(POLICIES)}, or FILE.py:NAME of a torch module of your own."
        f"{did_you_mean(kind, POLICIES)}"
    )
