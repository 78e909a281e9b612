"""A gated recurrent unit that remembers what it saw, did and earned, beside the observation, below a perceptron."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from rlmaml.core.baseline import NUM_POWERS, powers
from rlmaml.core.kronecker import FisherBlocks
from rlmaml.core.policy import Act
from rlmaml.core.types import Carry, Memory, Outputs, Params, Seen, last_valid
from rlmaml.policies.gaussian import LOG_STD, describe_perceptron, gaussian, initial_log_std, mean_std
from rlmaml.policies.perceptron import (
    Perceptron,
    check_scales,
    for_raw_inputs,
    glorot,
    init_perceptron,
    last_layer,
    perceptron,
)
from rlmaml.policies.recurrence import one_step, unrolled
from rlmaml.policies.sizes import Sizes, check_actions
from rlmaml.settings.policy import RecurrentSettings

INPUT, MEMORY, VALUE = "memory.input", "memory.state", "value."


class GruPolicy:
    """Kind ``gru``: a memory h of observation, last action, last reward and first-step flag x (arXiv 1406.1078).

    :mod:`rlmaml.policies.recurrence` has the equations. A Gaussian perceptron reads the observation and h'; where asked
    for, another one, of the value, reads these and the share of the trial's time that is over
    (:func:`~rlmaml.core.baseline.powers`), because the return to come depends on how much is left. The memory is 0
    where a trial begins, and it is reset nowhere else. A memory of no numbers has no weights: what is left is a
    perceptron on the observation, and its value.

    Args:
        settings: of the network.
        sizes: of observations and actions.

    Raises:
        UserError: the environment's actions are choices, or the scales do not fit its observations.
    """

    def __init__(self, settings: RecurrentSettings, sizes: Sizes) -> None:
        check_actions("gru", sizes, discrete=False)
        check_scales(settings.observation_scales, sizes.observation, extended=sizes.extended)
        self.settings, self.sizes = settings, sizes
        self.observed = sizes.observation
        self.head = last_layer(settings.hidden)
        self.context: tuple[str, ...] = ()
        self.exploration: tuple[str, ...] = (LOG_STD,)

    def init(self, seed: int) -> Params:
        """Fresh theta."""
        width, inputs = self.settings.memory, self.observed + self.sizes.action + 2
        generator = torch.Generator().manual_seed(seed)
        gates = init_gates(inputs, width, generator) if width else {}
        head_seed = int(torch.randint(2**31, (), generator=generator))
        below = (self.observed + self._width_read(), *self.settings.hidden)
        layers = init_perceptron((*below, self.sizes.action), head_seed)
        judged = (below[0] + NUM_POWERS, *below[1:], 1)
        critic = init_perceptron(judged, head_seed + 1) if self.settings.value_head else {}
        return {
            **gates,
            **layers,
            LOG_STD: initial_log_std(self.settings.initial_std, self.sizes.action),
            **{VALUE + name: tensor for name, tensor in critic.items()},
        }

    def start(self, params: Params, shape: tuple[int, ...]) -> Carry:
        """A memory of 0, ``[task, episode, memory]``; nothing where there is none."""
        if not self.settings.memory:
            return ()
        return params[LOG_STD].new_zeros(*shape, self.settings.memory)

    def act(self, params: Params) -> Act:
        """The policy with these parameters."""
        mean_step = self.mean_step(self.raw(params))

        def step(seen: Seen, carry: Carry) -> tuple[Any, Carry]:
            mean, memory = mean_step(seen, carry)
            return gaussian(mean, params[LOG_STD]), memory

        return step

    def mean_step(self, raw: Params) -> Callable[[Seen, Carry], tuple[Tensor, Carry]]:
        """From what is seen and remembered to the mean of the actions and what is remembered now.

        Args:
            raw: parameters as :meth:`raw` makes them.
        """
        advance, mean_of = self._memory(raw), perceptron(raw, self.settings.activation)

        def step(seen: Seen, carry: Carry) -> tuple[Tensor, Carry]:
            memory = advance(self._inputs(seen), carry)
            return mean_of(self._read(raw, seen.observation, memory)), memory

        return step

    def unroll(self, params: Params, batch: Any, memory: Memory | None = None) -> tuple[Outputs, Memory | None]:
        """What the policy says at every step, one after another, and of whole trials their value, where it has one."""
        seen, raw = seen_in(batch, memory), self.raw(params)
        start = self.start(params, seen.observation.shape[:-2]) if memory is None else memory.carry
        memories = self._memories(raw, self._inputs(seen), start)
        read = self._read(raw, seen.observation, memories)
        value: Any = ()
        if self.settings.value_head and memory is None:
            critic = {name.removeprefix(VALUE): raw[name] for name in raw if name.startswith(VALUE)}
            judged = torch.cat([read, powers(batch.elapsed.to(read))], -1)
            value = perceptron(critic, self.settings.activation)(judged).squeeze(-1)
        distribution = gaussian(perceptron(raw, self.settings.activation)(read), params[LOG_STD])
        if not self.settings.memory:
            return Outputs(distribution, value), memory
        after = Memory(
            last_valid(memories, batch.valid, start),
            last_valid(batch.actions, batch.valid, seen.last_action[..., 0, :]),
            last_valid(batch.rewards, batch.valid, seen.last_reward[..., 0]),
        )
        return Outputs(distribution, value), after

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Standard normal noise, one number per action dimension."""
        return generator.standard_normal((*shape, self.sizes.action), dtype=np.float32)

    def fisher_blocks(self, params: Params, batch: Any, step_weights: Tensor) -> FisherBlocks | None:  # noqa: ARG002
        """None: there is no approximation of this kind's."""
        return None

    def numbers(self, params: Params) -> dict[str, float]:
        """The standard deviation, a mean over the action's dimensions."""
        return {"std": mean_std(params[LOG_STD])}

    def describe(self) -> dict[str, Any]:
        """Memory, layers and scales."""
        memory = {"memory": self.settings.memory, "rewards_divided_by": self.settings.reward_scale}
        return {**(memory if self.settings.memory else {}), **describe_perceptron(self.settings)}

    def acting(self, params: Params) -> list[str]:
        """Names of the weights that the mean action depends on where the policy is used."""
        return [name for name in params if name != LOG_STD and not name.startswith(VALUE)]

    def deterministic(self, params: Params) -> torch.nn.Module:
        """The mean as a :class:`RememberingMean`; without a memory as a module of the observation alone."""
        if not self.settings.memory:
            return Perceptron(self.raw({name: params[name] for name in self.acting(params)}), self.settings.activation)
        return RememberingMean(self, params)

    def _inputs(self, seen: Seen) -> Float[Tensor, "*axes input"]:
        flag = seen.first_step.to(seen.observation).unsqueeze(-1)
        own = seen.observation[..., : self.observed]
        return torch.cat([own, seen.last_action, seen.last_reward.unsqueeze(-1), flag], -1)

    def _width_read(self) -> int:
        """How many numbers the perceptrons read beside the observation."""
        return self.settings.memory

    def _read(self, raw: Params, observation: Tensor, memory: Carry) -> Tensor:  # noqa: ARG002
        """What the perceptrons read, ``[*axes, read]``: the observation first."""
        return torch.cat([observation, memory], -1) if self.settings.memory else observation

    def raw(self, params: Params) -> Params:
        """Parameters that compute on observations and rewards as they come what the given ones do on scaled ones."""
        observation = self.settings.observation_scales
        unscaled = (1.0,) * (self.observed - len(observation) + self.sizes.action)
        scales = (*observation, *unscaled, self.settings.reward_scale)
        gates = for_raw_inputs(params, scales, f"{INPUT}.weight") if self.settings.memory else params
        heads = [f"{prefix}layer0.weight" for prefix in ("", VALUE) if f"{prefix}layer0.weight" in params]
        return gates | {name: for_raw_inputs(params, observation, name)[name] for name in heads}

    def _memories(self, raw: Params, inputs: Tensor, start: Carry) -> Float[Tensor, "*axes time memory"]:
        """What is remembered after every step."""
        if not self.settings.memory:
            return inputs[..., :0]
        return unrolled(inputs, start, *_gates(raw))

    def _memory(self, raw: Params) -> Any:
        """``(x, h) -> h'`` on ``[*axes, feature]``."""
        if not self.settings.memory:
            return lambda inputs, memory: memory  # noqa: ARG005
        return one_step(*_gates(raw))


def init_gates(inputs: int, width: int, generator: torch.Generator) -> Params:
    """Weights of fresh gates, Glorot uniform gate by gate, and biases of 0."""
    return {
        f"{INPUT}.weight": torch.cat([glorot(width, inputs, generator) for _ in range(3)]),
        f"{INPUT}.bias": torch.zeros(3 * width),
        f"{MEMORY}.weight": torch.cat([glorot(width, width, generator) for _ in range(3)]),
        f"{MEMORY}.bias": torch.zeros(3 * width),
    }


def _gates(params: Params) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of the gates: those on the input, and those on the memory."""
    names = (INPUT, MEMORY)
    return [params[f"{name}.weight"] for name in names], [params[f"{name}.bias"] for name in names]


class RememberingMean(torch.nn.Module):
    """The mean action as a function of what is seen and of a state, which comes out as a value.

    The state ``[batch, memory + action + 1]`` holds the memory, the last action, and whether the episode has begun: 0
    before its first step. All of it is 0 where a trial begins; where a further episode of it does, only the last.

    Args:
        policy: the kind.
        params: its weights.
    """

    def __init__(self, policy: GruPolicy, params: Params) -> None:
        super().__init__()
        self.policy = policy
        raw = policy.raw(params)
        used = {name: tensor for name, tensor in raw.items() if name in policy.acting(raw)}
        self.names = list(used)
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(tensor.clone()) for tensor in used.values()])
        self.state_size = policy.settings.memory + policy.sizes.action + 1

    def forward(self, observation: Tensor, reward: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The mean at each row, before any clipping, and the state with which the next step is called.

        Args:
            observation: ``[batch, obs]``.
            reward: ``[batch]``, earned by the last action; 0 before the first one of a trial.
            state: ``[batch, state]``.
        """
        step = self.policy.mean_step(dict(zip(self.names, self.weights, strict=True)))
        sizes = [self.policy.settings.memory, self.policy.sizes.action, 1]
        memory, last_action, begun = torch.split(state, sizes, -1)
        mean, memory = step(Seen(observation, last_action, reward, 1 - begun.squeeze(-1)), memory)
        return mean, torch.cat([memory, mean.clamp(-1.0, 1.0), torch.ones_like(begun)], -1)


def seen_in(batch: Any, memory: Memory | None = None) -> Seen:
    """What the policy saw at every step of whole episodes or trials, from what it did and earned in them."""
    actions, rewards = delayed(batch.actions, -2), delayed(batch.rewards, -1)
    if memory is not None:
        actions = torch.cat([memory.last_action.unsqueeze(-2), actions[..., 1:, :]], -2)
        rewards = torch.cat([memory.last_reward.unsqueeze(-1), rewards[..., 1:]], -1)
    return Seen(batch.observations, actions, rewards, batch.first_steps)


def delayed(values: Tensor, time: int) -> Tensor:
    """The same values one step later along the time axis; 0 in the first step."""
    first = torch.zeros_like(values.narrow(time, 0, 1))
    return torch.cat([first, values.narrow(time, 0, values.shape[time] - 1)], time)
