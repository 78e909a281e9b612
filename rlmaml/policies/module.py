"""Any torch module of the user's own as a policy: it maps observations to the mean of the actions."""

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.user_code import OwnCodeError, named_object
from rlmaml.core.distributions import Gaussian
from rlmaml.core.types import Params
from rlmaml.policies.gaussian import LOG_STD, gaussian, initial_log_std, mean_std
from rlmaml.policies.of_observations import OfObservations
from rlmaml.policies.sizes import Sizes, check_actions
from rlmaml.settings.policy import ModuleSettings

MakeModule: TypeAlias = Callable[[int, int], torch.nn.Module]
"""``make(observation_size, action_size)``: a module from ``[*axes, obs]`` to the mean action ``[*axes, action]``."""


class ModulePolicy(OfObservations):
    """A module for the mean of the actions, and a state-independent standard deviation that is added to it.

    The task axis is added by ``vmap`` over ``functional_call``. The module draws its first weights from torch's
    generator, which is seeded while it is made and afterwards as it was before.

    Args:
        make: makes the module; a class will do.
        settings: of what is added to it.
        sizes: of observations and actions.

    Raises:
        UserError: the environment's actions are choices, the module has buffers, such as those of batch
            normalisation, or its last parameters are no linear layer's and its outputs have another shape.
    """

    def __init__(self, make: MakeModule, settings: ModuleSettings, sizes: Sizes) -> None:
        check_actions("of a module", sizes, discrete=False)
        self.make, self.settings, self.sizes = make, settings, sizes
        self.context: tuple[str, ...] = ()
        self.exploration: tuple[str, ...] = (LOG_STD,)
        self.module = self._made(0)
        names = [name for name, _ in self.module.named_parameters()]
        if any(True for _ in self.module.buffers()):
            raise UserError("The module of --policy has buffers, which cannot differ between tasks. Leave them out.")
        if not names or LOG_STD in names:
            raise UserError(f"The module of --policy needs parameters, none of which is called {LOG_STD}.")
        with torch.no_grad():
            shape = tuple(self.module(torch.zeros(3, 2, sizes.observation)).shape)
        if shape != (3, 2, sizes.action):
            raise UserError(
                f"The module of --policy maps observations (3, 2, {sizes.observation}) to shape {shape}; it must be "
                f"(3, 2, {sizes.action}), the mean of the actions."
            )
        last = names[-1].rpartition(".")[0]
        self.head = tuple(name for name in names if name.rpartition(".")[0] == last)

    def init(self, seed: int) -> Params:
        """The module's own first parameters, drawn from the seed."""
        own = {name: tensor.detach().clone() for name, tensor in self._made(seed).named_parameters()}
        return {**own, LOG_STD: initial_log_std(self.settings.initial_std, self.sizes.action)}

    def numbers(self, params: Params) -> dict[str, float]:
        """The standard deviation, a mean over the action's dimensions."""
        return {"std": mean_std(params[LOG_STD])}

    def describe(self) -> dict[str, Any]:
        """The module in torch's words."""
        return {"module": str(self.module)}

    def deterministic(self, params: Params) -> torch.nn.Module:
        """The module with these parameters."""
        module = self._made(0)
        module.load_state_dict({name: tensor for name, tensor in params.items() if name != LOG_STD})
        return module

    def _made(self, seed: int) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(self.sizes.observation, self.sizes.action)

    def _said(self, params: Params) -> Callable[[Tensor], Gaussian]:
        own = {name: tensor for name, tensor in params.items() if name != LOG_STD}
        call = torch.func.vmap(self._call) if params[LOG_STD].dim() == 2 else self._call
        return lambda observations: gaussian(call(own, observations), params[LOG_STD])

    def _call(self, params: Params, observations: Tensor) -> Any:
        try:
            return torch.func.functional_call(self.module, params, (observations,))
        except Exception as error:
            raise OwnCodeError(f"The module of --policy failed: {type(error).__name__}: {error}") from error


def module_maker(kind: str) -> MakeModule:
    """What FILE.py:NAME names; the file is run.

    Raises:
        UserError: there is no such file or name, or it takes no two sizes.
    """
    make = named_object("--policy", kind).value
    if not callable(make) or len(inspect.signature(make).parameters) < 2:
        raise UserError(f"--policy is {kind!r}, which is no function or class of (observation_size, action_size).")
    chosen: MakeModule = make
    return chosen
