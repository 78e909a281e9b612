"""What holds for every policy kind. A test class inherits it and parameterises it by entries of a table."""

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.parameters import with_task_axis
from rlmaml.core.policy import Policy, TaughtPolicy, carries
from rlmaml.core.types import Batch, Carry, Memory, Meta, Params, Seen
from rlmaml.policies.gru import VALUE
from rlmaml.policies.kinds import KINDS, make_policy, register_module
from rlmaml.policies.module import MakeModule
from rlmaml.policies.sizes import Part, Sizes
from rlmaml.sampling.rollout import first_seen, rollout
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.rlmaml.delegation import lent
from tests.rlmaml.makers import (
    assert_same,
    batch_as,
    of_task,
    random_batch,
    random_task_params,
    random_theta,
    select_tasks,
    single,
    torch_distribution,
    vector,
)
from tests.rlmaml.scripted import ScriptedEnvironment

NUM_TASKS = 3


class Kind(NamedTuple):
    """A policy kind under test. Its observations have three numbers."""

    settings: Settings
    sizes: Sizes
    exportable: bool
    """Whether the most likely action is a function of the observation alone, and a vector."""
    module: MakeModule | None = None
    """What the kind's name stands for, where it is a module of the user's own."""


def kind(
    policy: str,
    action: int = 2,
    *,
    exportable: bool,
    module: MakeModule | None = None,
    parts: tuple[Part, ...] = (),
    **options: Any,
) -> Kind:
    """An entry of the table."""
    task = int(policy == "latent")
    sizes = Sizes(3, action, discrete=policy == "categorical", extended=bool(task), task=task, parts=parts)
    return Kind(
        configure(options.pop("algorithm", "rma" if task else "maml-trpo"), policy, **options),
        sizes,
        exportable,
        module,
    )


class Stepped(NamedTuple):
    """What a policy said step after step: per step the fields of its distribution, and what it remembers in the end."""

    fields: list[Tensor]
    carry: Carry


def seen_at(batch: Batch, t: int) -> Seen:
    """What was seen before step t, in words of the rollout."""
    if t == 0:
        return first_seen(batch.observations[:, :, 0], torch.zeros_like(batch.actions[:, :, 0]))
    before = first_seen(batch.observations[:, :, t], batch.actions[:, :, t])
    return Seen(
        batch.observations[:, :, t],
        batch.actions[:, :, t - 1],
        batch.rewards[:, :, t - 1],
        torch.zeros_like(before.first_step),
    )


def step_through(policy: Policy, params: Params, batch: Batch, memory: Memory | None = None) -> Stepped:
    """The policy at every step of a batch; episodes that are over go on in its padding."""
    act = policy.act(params)
    carry = policy.start(params, tuple(batch.valid.shape[:2])) if memory is None else memory.carry
    said = []
    for t in range(batch.valid.shape[2]):
        seen = seen_at(batch, t)
        if t == 0 and memory is not None:
            seen = seen._replace(last_action=memory.last_action, last_reward=memory.last_reward)
        distribution, carry = act(seen, carry)
        said.append(distribution)
    return Stepped([torch.stack(fields, 2) for fields in zip(*said, strict=True)], carry)


def unrolled(policy: Policy, params: Params, batch: Batch, memory: Memory | None = None) -> Stepped:
    outputs, after = policy.unroll(params, batch, memory)
    return Stepped(list(outputs.distribution), () if after is None else after.carry)


def garbage_in_padding(values: Tensor, valid: Tensor) -> Tensor:
    """Values that nobody would have seen, done or earned where no step counts; of choices, another one."""
    garbage = torch.full_like(values, 9) if values.is_floating_point() else (values == 0).to(values)
    return torch.where(valid.view(*valid.shape, *[1] * (values.dim() - valid.dim())), values, garbage)


def tensors_in(carry: Carry) -> list[Tensor]:
    return [carry] if isinstance(carry, Tensor) else [tensor for part in carry for tensor in tensors_in(part)]


def assert_agree(actual: Stepped, expected: Stepped) -> None:
    parts = [*zip(actual.fields, expected.fields, strict=True)]
    parts += [*zip(tensors_in(actual.carry), tensors_in(expected.carry), strict=True)]
    for one, other in parts:
        assert_same(one, other)


def complete(batch: Batch) -> Batch:
    """The same batch without padding."""
    return batch._replace(valid=torch.ones_like(batch.valid))


@lent(Policy, of="policy")
class Watched:
    """A policy that writes down what it is given to remember at every step."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.carries = policy, list[Carry]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def act(self, params: Params) -> Any:
        step = self.policy.act(params)

        def act(seen: Seen, carry: Carry) -> Any:
            self.carries.append(copy.deepcopy(carry))
            return step(seen, carry)

        return act


class PolicyContract:
    @pytest.fixture
    def policy(self, kind: Kind) -> Iterator[Policy]:
        name = kind.settings.policy
        if kind.module is not None:
            register_module(name, kind.module)
        yield make_policy(name, kind.settings.network, kind.sizes)
        if kind.module is not None:
            del KINDS[name]

    @pytest.fixture
    def theta(self, policy: Policy) -> Params:
        return random_theta(policy)

    @pytest.fixture
    def params(self, policy: Policy) -> Params:
        return random_task_params(policy, NUM_TASKS)

    @pytest.fixture
    def batch(self, policy: Policy, params: Params) -> Batch:
        return random_batch(policy, params, NUM_TASKS)

    def test_it_is_a_policy(self, policy: Policy) -> None:
        assert isinstance(policy, Policy)

    def test_theta_is_task_parameters_that_are_copies_of_it(self, policy: Policy, theta: Params, batch: Batch) -> None:
        copies = with_task_axis(theta, NUM_TASKS)
        assert_agree(unrolled(policy, copies, batch), unrolled(policy, theta, batch))
        assert_agree(step_through(policy, copies, batch), step_through(policy, theta, batch))

    def test_row_i_is_served_by_parameter_set_i(self, policy: Policy, params: Params, batch: Batch) -> None:
        alike = Batch(*(field[:1].expand_as(field) for field in batch))
        for through in (unrolled, step_through):
            together = through(policy, params, batch)
            for task in range(NUM_TASKS):
                alone = through(policy, of_task(params, task), select_tasks(batch, [task]))
                for batched, own in zip(together.fields, alone.fields, strict=True):
                    assert batched.shape[:3] == batch.valid.shape
                    assert_same(batched[task : task + 1], own)
            first = through(policy, params, alike).fields[0]
            assert (first[0] - first[1]).abs().mean() > 1e-3

    def test_one_step_of_one_episode_and_many_of_many_are_served(self, policy: Policy, theta: Params) -> None:
        for shape in ((1, 1, 1), (2, 1, 3), (1, 4, 2)):
            small = random_batch(policy, theta, *shape)
            assert all(field.shape[:3] == shape for field in unrolled(policy, theta, small).fields)

    @pytest.mark.parametrize("has_task_axis", [False, True])
    def test_unrolled_is_stepped(self, policy: Policy, params: Params, batch: Batch, has_task_axis: bool) -> None:
        given, full = params if has_task_axis else of_task(params, 0), complete(batch)
        leaves = {name: tensor.requires_grad_() for name, tensor in given.items()}
        acting = [tensor for name, tensor in leaves.items() if not name.startswith(VALUE)]
        results = []
        for through in (unrolled, step_through):
            stepped = through(policy, leaves, full)
            weights = [torch.linspace(-1, 2, field.numel(), dtype=torch.float64) for field in stepped.fields]
            total = torch.stack([(f.reshape(-1) * w).sum() for f, w in zip(stepped.fields, weights, strict=True)]).sum()
            results.append((stepped, torch.autograd.grad(total, acting)))
        (ours, our_gradients), (theirs, their_gradients) = results
        assert_agree(ours, theirs)
        for one, other in zip(our_gradients, their_gradients, strict=True):
            assert_same(one, other)
            assert other.any()

    def test_the_padding_of_a_batch_changes_neither_what_it_says_nor_what_it_remembers(
        self, policy: Policy, params: Params, batch: Batch
    ) -> None:
        assert not batch.valid.all()
        dirty = batch._replace(
            **{
                name: garbage_in_padding(getattr(batch, name), batch.valid)
                for name in ("observations", "actions", "rewards")
            }
        )
        assert not any((one == other).all() for one, other in zip(dirty[:3], batch[:3], strict=True))
        (said, remembered), (still_said, still_remembered) = (policy.unroll(params, one) for one in (batch, dirty))
        for one, other in zip(said.distribution, still_said.distribution, strict=True):
            assert torch.equal(one[batch.valid], other[batch.valid])
        for one, other in zip(remembered or (), still_remembered or (), strict=True):
            assert torch.equal(one, other)

    def test_what_is_remembered_is_handed_on_and_reset_where_it_is_not(
        self, policy: Policy, params: Params, batch: Batch
    ) -> None:
        # a trial of two episodes: the second one goes on with what the first one left
        second = random_batch(policy, params, NUM_TASKS, seed=1)
        for episodes in (batch, complete(batch)):
            between = policy.unroll(params, episodes)[1]
            trial = unrolled(policy, params, complete(second), between)
            assert_agree(trial, step_through(policy, params, second, between))
        start = policy.start(params, tuple(batch.valid.shape[:2]))
        fresh = unrolled(policy, params, second)
        nothing = Memory(start, torch.zeros_like(batch.actions[:, :, 0]), torch.zeros_like(batch.rewards[:, :, 0]))
        assert_agree(unrolled(policy, params, second, nothing), fresh)
        remembers = between is not None and all(
            (left != begun).any() for left, begun in zip(tensors_in(between), tensors_in(nothing), strict=True)
        )
        assert remembers == bool(tensors_in(start)) == carries(policy, params)
        assert remembers == (not torch.allclose(trial.fields[0], fresh.fields[0]))

    def test_half_an_episode_and_the_other_half_are_the_whole(
        self, policy: Policy, params: Params, batch: Batch
    ) -> None:
        act, carry, fields = policy.act(params), policy.start(params, tuple(batch.valid.shape[:2])), []
        for t in range(2):
            carry = act(seen_at(batch, t), carry)[1]
        again = policy.act(params)
        for t in range(2, batch.valid.shape[2]):
            distribution, carry = again(seen_at(batch, t), carry)
            fields.append(distribution[0])
        whole = unrolled(policy, params, complete(batch))
        assert_same(torch.stack(fields, 2), whole.fields[0][:, :, 2:])
        for one, other in zip(tensors_in(carry), tensors_in(whole.carry), strict=True):
            assert_same(one, other)

    def test_nothing_is_kept_in_the_object_and_nothing_given_is_written_to(
        self, policy: Policy, params: Params, batch: Batch
    ) -> None:
        before = pickle.dumps(vars(policy))
        carry = unrolled(policy, params, batch).carry
        given = copy.deepcopy((params, carry))
        act, other = policy.act(params), policy.act(random_task_params(policy, NUM_TASKS, 5))
        first, after = act(seen_at(batch, 0), carry)
        other(seen_at(batch, 1), after)
        again, _ = act(seen_at(batch, 0), carry)
        assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
        policy.init(3)
        policy.numbers(of_task(params, 0))
        assert pickle.dumps(vars(policy)) == before
        assert all(torch.equal(tensor, given[0][name]) for name, tensor in params.items())
        for one, two in zip(tensors_in(carry), tensors_in(given[1]), strict=True):
            assert torch.equal(one, two)

    def test_a_copy_whose_episode_is_over_keeps_what_it_remembers(self, policy: Policy, params: Params) -> None:
        env = ScriptedEnvironment(6, {1: (2, "terminated"), 5: (3, "truncated")}, earns=0.5)
        watched = Watched(policy)
        env.horizon = 5
        given = single({name: tensor[:2] for name, tensor in params.items()})
        rollout(env, watched, given, tasks=range(2), streams=RandomStreams(0), k=0)
        assert len(watched.carries) == 5
        steps = [torch.stack(parts) for parts in zip(*map(tensors_in, watched.carries), strict=True)]
        for remembered in steps:
            for copy_index, length in ((1, 2), (5, 3)):
                kept = remembered[:, copy_index // 3, copy_index % 3]
                assert (kept[length:] == kept[length]).all()
                assert (kept[length] != kept[length - 1]).any()
            assert (remembered[4, 0, 0] != remembered[3, 0, 0]).any()

    def test_initial_parameters_depend_on_the_seed_alone(self, policy: Policy) -> None:
        torch.manual_seed(1)
        one, other = policy.init(5), policy.init(6)
        torch.manual_seed(2)
        state, numpys = torch.get_rng_state(), pickle.dumps(np.random.get_state())  # noqa: NPY002
        again = policy.init(5)
        assert torch.equal(torch.get_rng_state(), state)
        assert pickle.dumps(np.random.get_state()) == numpys  # noqa: NPY002
        assert list(one) == list(again)
        assert torch.equal(vector(one), vector(again))
        assert not torch.equal(vector(one), vector(other))
        assert all(tensor.dtype == torch.float32 and not tensor.requires_grad for tensor in one.values())

    def test_initial_parameters_are_nobody_elses(self, policy: Policy) -> None:
        changed = policy.init(5)
        for tensor in changed.values():
            tensor.add_(1.0)
        assert torch.equal(vector(policy.init(5)) + 1.0, vector(changed))

    def test_the_log_probability_is_a_sum_over_the_action_dimensions(
        self, policy: Policy, params: Params, batch: Batch
    ) -> None:
        distribution = policy.unroll(params, batch)[0].distribution
        expected = torch_distribution(distribution).log_prob(batch.actions)
        assert expected.shape == batch.valid.shape
        assert_same(distribution.log_prob(batch.actions), expected)
        assert_same(expected[batch.valid], batch.log_probs[batch.valid])

    def test_actions_follow_from_noise_of_the_right_shape(self, policy: Policy, params: Params, batch: Batch) -> None:
        noise, same, other = (policy.draw_noise(np.random.default_rng(seed), (5, 4)) for seed in (0, 0, 1))
        assert noise.dtype == np.float32
        assert noise.shape == (5, 4, *batch.actions.shape[3:])
        np.testing.assert_array_equal(noise, same)
        assert (noise != other).any()
        distribution = policy.unroll(of_task(params, 0), select_tasks(batch, [0]))[0].distribution
        actions = distribution.sample(torch.from_numpy(noise)[None])
        assert (actions.shape, actions.dtype) == (batch.actions[:1].shape, batch.actions.dtype)

    def test_gradients_flow_to_every_entry(self, policy: Policy, params: Params, batch: Batch) -> None:
        leaves = {name: tensor.requires_grad_() for name, tensor in params.items()}
        said = policy.unroll(leaves, batch)[0]
        log_probs = said.distribution.log_prob(batch.actions)
        judged = said.value if torch.is_tensor(said.value) else 0
        total = ((log_probs + judged) * batch.advantages * batch.valid).sum()
        gradients = torch.autograd.grad(total, list(leaves.values()))
        bounds = policy.bounds if isinstance(policy, TaughtPolicy) else ()  # of a latent, which may lie within them
        for name, gradient in zip(leaves, gradients, strict=True):
            assert gradient.isfinite().all(), name
            assert name in bounds or all(row.any() for row in gradient), name

    def test_the_head_is_the_last_linear_layer(self, policy: Policy, theta: Params, batch: Batch) -> None:
        assert policy.head
        assert set(policy.head) <= set(theta)
        doubled = theta | {name: 2 * theta[name] for name in policy.head}
        assert_same(unrolled(policy, doubled, batch).fields[0], 2 * unrolled(policy, theta, batch).fields[0])

    def test_exploration_says_only_how_much_actions_vary(self, policy: Policy, theta: Params, batch: Batch) -> None:
        assert set(policy.exploration) <= set(theta)
        assert not set(policy.exploration) & set(policy.head)
        wilder = theta | {name: theta[name] + 0.5 for name in policy.exploration}
        before, after = (policy.unroll(each, batch)[0].distribution for each in (theta, wilder))
        assert torch.equal(before.most_likely, after.most_likely)
        assert (after.entropy() > before.entropy()).all() or not policy.exploration

    def test_its_description_and_numbers_are_plain_data(self, policy: Policy, theta: Params) -> None:
        described = policy.describe()
        assert described
        assert json.loads(json.dumps(described, allow_nan=False)) == described
        assert all(isinstance(number, float) for number in policy.numbers(theta).values())

    def test_a_checkpoint_gives_the_same_policy_bit_for_bit(
        self, policy: Policy, kind: Kind, batch: Batch, tmp_path: Path
    ) -> None:
        theta = single(random_theta(policy))
        save_checkpoint(tmp_path / "policy", Checkpoint(Meta(theta, {}), 3, kind.settings, kind.sizes))
        loaded = load_checkpoint(tmp_path / "policy")
        assert (loaded.settings, loaded.sizes) == (kind.settings, kind.sizes)
        assert list(loaded.meta.params) == list(theta)
        again = make_policy(loaded.settings.policy, loaded.settings.network, loaded.sizes)
        said = unrolled(policy, theta, batch_as(batch, torch.float32)).fields
        says = unrolled(again, loaded.meta.params, batch_as(batch, torch.float32)).fields
        assert all(torch.equal(one, other) for one, other in zip(said, says, strict=True))

    def test_the_deterministic_policy_is_the_most_likely_action(self, policy: Policy, kind: Kind, batch: Batch) -> None:
        theta, observations = single(random_theta(policy)), batch.observations.float().flatten(0, 2)
        if not kind.exportable:
            with pytest.raises(UserError, match="cannot be exported"):
                policy.deterministic(theta)
            return
        module = policy.deterministic(theta)
        if tensors_in(policy.start(theta, (1, 1))):
            self.follow(policy, theta, module, batch_as(batch, torch.float32))
            return
        distribution, _ = policy.act(theta)(first_seen(observations, torch.zeros(len(observations), 2)), ())
        actions = module(observations).detach()
        assert_same(actions.clamp(-1.0, 1.0), distribution.most_likely, rtol=1e-5, atol=1e-6)
        assert_same(module(observations[:1]).detach(), actions[:1], rtol=1e-5, atol=1e-6)

    @staticmethod
    def follow(policy: Policy, theta: Params, module: Any, batch: Batch) -> None:
        """The module through episodes whose actions are the most likely ones, and into a second one of the trial."""
        if isinstance(policy, TaughtPolicy):  # where it is used, nobody tells
            theta = theta | {policy.told: torch.zeros_like(theta[policy.told])}
        act, carry = policy.act(theta), policy.start(theta, tuple(batch.valid.shape[:2]))
        rows = batch.valid[..., 0].numel()
        state, last = torch.zeros(rows, module.state_size), torch.zeros_like(batch.actions[:, :, 0])
        reward = torch.zeros_like(batch.rewards[:, :, 0])
        for t in [*range(batch.valid.shape[2])] * 2:
            begins = torch.full_like(batch.valid[:, :, 0], t == 0)
            seen = Seen(batch.observations[:, :, t], last, reward, begins)
            distribution, carry = act(seen, carry)
            if t == 0:
                state[:, -1] = 0.0
            means, state = module(seen.observation.flatten(0, 1), reward.flatten(), state)
            last, reward = distribution.most_likely, batch.rewards[:, :, t]
            assert_same(means.detach().clamp(-1.0, 1.0), last.flatten(0, 1), rtol=1e-5, atol=1e-6)
            state = state.detach()

    def test_actions_of_the_other_sort_are_refused(self, policy: Policy, kind: Kind) -> None:
        with pytest.raises(UserError, match="Choose another kind"):
            make_policy(
                kind.settings.policy, kind.settings.network, kind.sizes._replace(discrete=not kind.sizes.discrete)
            )
