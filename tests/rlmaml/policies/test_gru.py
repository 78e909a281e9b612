import itertools

import pytest
import torch
from torch import Tensor, nn

from rlmaml.core.baseline import powers
from rlmaml.core.parameters import with_task_axis
from rlmaml.core.types import Batch, Memory, Params
from rlmaml.policies.gru import GruPolicy
from rlmaml.sampling.trials import as_trials
from tests.rlmaml.makers import assert_same, gru_policy, random_batch, random_task_params, random_theta

SCALES = (0.5, 4.0, 2.0)
REWARD_SCALE = 3.0


def gru_cell(params: Params, inputs: int, width: int) -> nn.GRUCell:
    """Torch's own cell, with its gates in torch's order: reset, update, new."""
    cell = nn.GRUCell(inputs, width, dtype=torch.float64)
    named = {"weight_ih": "memory.input.weight", "weight_hh": "memory.state.weight"}
    named |= {name.replace("weight", "bias"): entry.replace("weight", "bias") for name, entry in named.items()}
    cell.load_state_dict({name: params[entry] for name, entry in named.items()})
    return cell


def plain_network(params: Params, prefix: str, sizes: tuple[int, ...]) -> nn.Sequential:
    """Torch's own layers with the weights of these names."""
    network = nn.Sequential()
    for index, (a, b) in enumerate(itertools.pairwise(sizes)):
        network.extend([nn.Tanh()] * (index > 0) + [nn.Linear(a, b, dtype=torch.float64)])
        network[-1].load_state_dict({kind: params[f"{prefix}layer{index}.{kind}"] for kind in ("weight", "bias")})
    return network


def plain_memories(params: Params, batch: Batch, scales: tuple[float, ...], width: int) -> Tensor:
    """What torch's cell remembers after every step, of what the batch says was seen, done and earned."""
    cell, memories = gru_cell(params, 3 + 2 + 1 + 1, width), []
    memory = torch.zeros(len(batch.valid), batch.valid.shape[1], width, dtype=torch.float64)
    for t in range(batch.valid.shape[2]):
        seen = batch.observations[:, :, t] / torch.tensor(scales)
        action, reward = torch.zeros_like(batch.actions[:, :, t]), torch.zeros_like(batch.rewards[:, :, :1])
        if t:
            action, reward = batch.actions[:, :, t - 1], batch.rewards[:, :, t - 1 : t]
        inputs = torch.cat([seen, action, reward / REWARD_SCALE, torch.full_like(reward, float(t == 0))], -1)
        memory = cell(inputs.flatten(0, 1), memory.flatten(0, 1)).view_as(memory)
        memories.append(memory)
    return torch.stack(memories, 2)


@pytest.mark.parametrize("scales", [(), SCALES])
@pytest.mark.parametrize("hidden", [(), (4,)])
def test_it_is_torchs_cell_beside_the_observation_below_plain_networks(
    hidden: tuple[int, ...], scales: tuple[float, ...]
) -> None:
    policy = gru_policy(hidden=hidden, memory=6, observation_scales=scales, reward_scale=REWARD_SCALE, value_head=True)
    params = random_task_params(policy, 2)
    batch = random_batch(policy, params, num_tasks=2, num_episodes=3, horizon=7)
    outputs, after = policy.unroll(params, batch)
    assert after is not None
    for task in range(2):
        own, alone = {name: tensor[task] for name, tensor in params.items()}, slice(task, task + 1)
        memories = plain_memories(own, Batch(*(field[alone] for field in batch)), scales or (1.0, 1.0, 1.0), 6)
        seen = torch.cat([batch.observations[alone] / torch.tensor(scales or (1.0, 1.0, 1.0)), memories], -1)
        mean = plain_network(own, "", (3 + 6, *hidden, 2))(seen)
        lived = torch.stack([torch.arange(7, dtype=torch.float64).div(7) ** power for power in (1, 2, 3)], -1)
        timed = torch.cat([seen, lived.expand(1, 3, 7, 3)], -1)
        value = plain_network(own, "value.", (3 + 6 + 3, *hidden, 1))(timed)
        assert_same(outputs.distribution.mean[alone], mean, rtol=1e-6, atol=1e-6)
        assert_same(outputs.value[alone], value.squeeze(-1), rtol=1e-6, atol=1e-6)
        lengths = batch.valid[task].sum(-1)
        left = torch.stack([memories[0, episode, length - 1] for episode, length in enumerate(lengths)])
        assert_same(after.carry[task], left, rtol=1e-6, atol=1e-6)
        assert memories.std() > 0.1


def test_a_memory_depends_on_everything_that_happened_before_and_on_nothing_after() -> None:
    policy = gru_policy()
    theta = random_theta(policy)
    batch = random_batch(policy, theta, num_tasks=1, num_episodes=1, horizon=5)
    before = policy.unroll(theta, batch)[0].distribution.mean
    for name, reaches in (("observations", 2), ("actions", 3), ("rewards", 3)):
        field = getattr(batch, name).clone()
        field[:, :, 2] += 1.0
        after = policy.unroll(theta, batch._replace(**{name: field}))[0].distribution.mean
        changed = (after != before).any(-1)[0, 0].tolist()
        assert changed == [t >= reaches for t in range(5)], name


def test_an_episode_without_a_valid_step_remembers_what_it_began_with() -> None:
    policy = gru_policy()
    theta = random_theta(policy)
    batch = random_batch(policy, theta, num_tasks=2)
    valid = batch.valid.clone()
    valid[1, 2] = False
    start = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    begun = Memory(start, torch.full_like(batch.actions[:, :, 0], 7.0), torch.full_like(batch.rewards[:, :, 0], 8.0))
    _, after = policy.unroll(theta, batch._replace(valid=valid), begun)
    assert after is not None
    for left, before in zip(after, begun, strict=True):
        assert torch.equal(left[1, 2], before[1, 2])
        assert (left[1, 3] != before[1, 3]).all()


def test_what_is_remembered_first_is_zero() -> None:
    policy = gru_policy()
    for params in (random_theta(policy), random_task_params(policy, 2)):
        start = policy.start(params, (2, 7))
        assert (start.shape, start.dtype) == ((2, 7, 5), torch.float64)
        assert not start.any()


def test_the_gates_start_glorot_uniform_each_for_itself_and_unlike_one_another() -> None:
    theta = GruPolicy(gru_policy(memory=40).settings, gru_policy().sizes).init(0)
    for name, inputs in (("memory.input", 7), ("memory.state", 40)):
        gates = theta[f"{name}.weight"].chunk(3)
        bound = (6 / (40 + inputs)) ** 0.5
        for gate in gates:
            assert gate.shape == (40, inputs)
            assert gate.abs().max() <= bound
            assert float(gate.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
        assert not torch.equal(gates[0], gates[1])
        assert not theta[f"{name}.bias"].any()
    assert theta["layer1.weight"].abs().max() < 0.05


def test_a_meta_gradient_passes_through_the_memory_as_through_the_loop_over_tasks() -> None:
    policy = gru_policy()
    theta = random_theta(policy)
    batch = random_batch(policy, theta, num_tasks=3)

    def gradient(params: Params, own: Batch) -> list[Tensor]:
        log_probs = policy.unroll(params, own)[0].distribution.log_prob(own.actions)
        return list(torch.autograd.grad((log_probs * own.advantages * own.valid).sum(), list(params.values())))

    together = gradient(with_task_axis(theta, 3), batch)
    for task in range(3):
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in theta.items()}
        alone = gradient(leaves, Batch(*(field[task : task + 1] for field in batch)))
        for every, own in zip(together, alone, strict=True):
            assert_same(every[task], own)


def test_one_theta_for_all_tasks_says_the_same_as_a_copy_for_each_of_them() -> None:
    policy = gru_policy(value_head=True)
    theta = random_theta(policy)
    batch = random_batch(policy, theta, num_tasks=3)
    carried = torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    begun = Memory(carried, torch.ones_like(batch.actions[:, :, 0]), torch.ones_like(batch.rewards[:, :, 0]))
    for start in (None, begun):
        shared, after = policy.unroll(theta, batch, start)
        copied, expected = policy.unroll(with_task_axis(theta, 3), batch, start)
        assert_same(shared.distribution.mean, copied.distribution.mean)
        if start is None:
            assert_same(shared.value, copied.value)
    assert after is not None
    assert expected is not None
    for ours, theirs in zip(after, expected, strict=True):
        assert_same(ours, theirs)


def test_a_value_knows_how_much_of_the_trials_time_is_over() -> None:
    policy = gru_policy(value_head=True)
    theta = random_theta(policy)
    stage = random_batch(policy, theta, num_tasks=1)._replace(
        valid=torch.tensor([True, False, False, False]).expand(1, 5, 4)
    )
    batch = as_trials([stage, stage._replace(valid=torch.ones_like(stage.valid))])
    forgetful = {name: tensor * (not name.startswith("memory.")) for name, tensor in theta.items()}
    standing = batch._replace(observations=torch.ones_like(batch.observations))
    outputs = policy.unroll(forgetful, standing)[0]
    assert (outputs.distribution.mean.diff(dim=2) == 0).all()
    assert (outputs.value[:, :, :5].diff(dim=2) != 0).all()
    whole = standing._replace(elapsed=torch.arange(8, dtype=torch.float64).div(8).expand(1, 5, 8))
    by_time = policy.unroll(forgetful, whole)[0].value
    assert_same(outputs.value[:, :, :5], by_time[:, :, [0, 4, 5, 6, 7]])


def test_the_time_saturates_no_unit_of_a_fresh_value_however_long_the_trial() -> None:
    policy = gru_policy(value_head=True, hidden=(64,))
    theta = policy.init(0)
    time = powers(torch.arange(2000) / 2000) @ theta["value.layer0.weight"][:, -3:].T
    assert time.abs().max() < 3


def test_further_episodes_alone_have_no_value_because_they_do_not_say_how_long_the_trial_is() -> None:
    policy = gru_policy(value_head=True)
    theta = random_theta(policy)
    batch = random_batch(policy, theta, num_tasks=1)
    memory = policy.unroll(theta, batch)[1]
    assert policy.unroll(theta, batch, memory)[0].value == ()


def test_without_a_value_head_there_is_neither_a_value_nor_a_weight_of_it() -> None:
    policy = gru_policy()
    theta = random_theta(policy)
    assert policy.unroll(theta, random_batch(policy, theta, num_tasks=1))[0].value == ()
    assert not [name for name in theta if "value" in name]


def test_without_a_memory_it_is_the_perceptron_on_the_observation_alone_whatever_was_done_and_earned() -> None:
    policy = gru_policy(hidden=(5,), memory=0, observation_scales=SCALES, value_head=True)
    params = random_theta(policy)
    assert not [name for name in params if name.startswith("memory.")]
    batch = random_batch(policy, params, 1)
    distribution = policy.unroll(params, batch)[0].distribution
    expected = plain_network(params, "", (3, 5, 2))(batch.observations / torch.tensor(SCALES))
    torch.testing.assert_close(distribution.mean, expected)
    other = batch._replace(actions=batch.actions + 1.0, rewards=batch.rewards - 2.0)
    assert torch.equal(policy.unroll(params, other)[0].distribution.mean, distribution.mean)
