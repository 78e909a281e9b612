"""A policy at the controls: through episodes, step after step, whether or not its kind remembers."""

import numpy as np
import numpy.typing as npt
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.torch_modes import ordinary_torch
from rlmaml.core.types import Carry, Seen
from rlmaml.deploy.adaptable import Actions, AdaptablePolicy, in_copies
from rlmaml.deploy.fit import goes_on, trial_ends
from rlmaml.sampling.rollout import first_seen


class Driver:
    """A policy that acts through episodes, whether or not its kind remembers.

    Args:
        policy: who acts.
        copies: how many robots, or copies of one, act at once.
        noise: draws the actions; without it they are the most likely ones.
    """

    def __init__(self, policy: AdaptablePolicy, copies: int = 1, *, noise: np.random.Generator | None = None) -> None:
        self._policy, self._copies, self._noise = policy, copies, noise
        self._act = policy.network.act(policy.weights)
        self._lived, self._first_step = 0, True
        self.begin()

    def begin(self, *, go_on: bool = False) -> None:
        """An episode begins in every copy, with what the policy remembers.

        Args:
            go_on: also with what every copy lived through since, as after :meth:`AdaptablePolicy.adapt` on its
                episodes; the first ``act`` is told the reward that ended the last one. A student whose trial is over
                begins anew.

        Raises:
            UserError: go on, where nothing is kept of an episode.
        """
        if go_on and not goes_on(self._policy):
            raise UserError(
                "This policy cannot go on from an episode, of which it keeps nothing for the next one: give begin() "
                "without go_on. A policy of rl2 can, and one of rma that was trained with --trial-episodes above 1."
            )
        if go_on and self._first_step:
            return
        self._lived = self._lived + 1 if go_on else 0
        self._first_step = True
        if go_on and not trial_ends(self._policy, self._lived):
            return
        remembered = None if go_on else self._policy.memory
        self._memory = None if remembered is None else in_copies(remembered, self._copies)
        start = self._policy.network.start(self._policy.weights, (1, self._copies))
        self._carry: Carry = start if self._memory is None else self._memory.carry
        self._last: torch.Tensor | None = None

    def act(self, observation: npt.ArrayLike, reward: npt.ArrayLike = 0.0) -> Actions:
        """Actions (copy, action), within [-1, 1] where they are the most likely ones.

        Args:
            observation: (copy, obs).
            reward: (copy,), earned by the last action; kinds that do not remember ignore it.

        Raises:
            UserError: the observation has another size than those of the training, or is not finite.
        """
        seen = torch.from_numpy(np.atleast_2d(self._policy.as_seen(observation))).unsqueeze(0)
        earned = torch.as_tensor(np.broadcast_to(np.asarray(reward, np.float32), (1, self._copies)).copy())
        discrete = self._policy.sizes.discrete
        nothing = torch.zeros((1, self._copies) if discrete else (1, self._copies, self._policy.sizes.action))
        now = first_seen(seen, nothing)
        if self._memory is not None:
            now = now._replace(last_action=self._memory.last_action, last_reward=self._memory.last_reward)
        if self._last is not None:
            now = Seen(seen, self._last, earned, torch.full_like(now.first_step, self._first_step))
        self._first_step = False
        with ordinary_torch(), torch.no_grad():
            distribution, self._carry = self._act(now, self._carry)
            if self._noise is None:
                self._last = distribution.most_likely
            else:
                drawn = self._policy.network.draw_noise(self._noise, (1, self._copies))
                self._last = distribution.sample(torch.from_numpy(drawn))
        actions: Actions = self._last[0].numpy()
        return actions
