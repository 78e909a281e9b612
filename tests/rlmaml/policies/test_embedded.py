import pytest
import torch
from torch import Tensor

from rlmaml.base.errors import UserError
from rlmaml.core.losses import squared_error
from rlmaml.core.parameters import with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.types import Examples, Meta, Params
from rlmaml.policies.embedded import EmbeddedPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.gradient_rule import GradientRule, task_losses
from rlmaml.settings.policy import EmbeddedSettings
from tests.rlmaml.makers import assert_same, random_task_params

SETTINGS = EmbeddedSettings(categories=(3, 5), flags=4, embedding=2, hidden=(6,), context=1)
POLICY = EmbeddedPolicy(SETTINGS, Sizes(6, 1))


def examples(num_tasks: int = 3, count: int = 7, seed: int = 0) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    shape = (num_tasks, count)
    columns = [torch.randint(n, shape, generator=generator) for n in (*SETTINGS.categories, *[2] * SETTINGS.flags)]
    observations = torch.stack(columns, -1).double()
    targets = torch.randn(*shape, 1, generator=generator, dtype=torch.float64)
    return Examples(observations, targets, torch.ones(shape) > 0, observations[:, :0])


def said(params: Params, data: Examples) -> Tensor:
    mean: Tensor = POLICY.unroll(params, data)[0].distribution.mean
    return mean


def by_hand(params: Params, observation: Tensor) -> Tensor:
    """What one task's parameters say of one example."""
    first, second, *flags = observation.long().tolist()
    holding = [params["flags"][i] for i, flag in enumerate(flags) if flag]
    flagged = torch.stack(holding).mean(0) if holding else torch.zeros(2, dtype=torch.float64)
    read = torch.cat([params["category0"][first], params["category1"][second], flagged, params["context"]])
    hidden = torch.relu(params["layer0.weight"] @ read + params["layer0.bias"])
    return params["layer1.weight"] @ hidden + params["layer1.bias"]


def test_it_looks_values_up_and_the_decision_layers_read_them_after_one_another() -> None:
    assert isinstance(POLICY, Policy)
    params, data = random_task_params(POLICY, 3), examples()
    together = said(params, data)
    for task in range(3):
        own = {name: tensor[task] for name, tensor in params.items()}
        for example in range(7):
            assert_same(together[task, example], by_hand(own, data.observations[task, example]))
        assert_same(said(own, Examples(*(field[task : task + 1] for field in data))), together[task : task + 1])
    assert not torch.equal(together[0, 0], together[0, 1])


def test_the_head_is_every_decision_layer_and_the_vectors_stay_in_an_inner_step() -> None:
    theta, data = POLICY.init(0), examples()
    theta = {name: tensor.double() for name, tensor in theta.items()}
    rule = GradientRule(1, (0.5,), squared_error, entries=POLICY.head, reset=POLICY.context)
    per_task = Meta(with_task_axis(theta, 3), {})
    adapted = rule.step(POLICY, per_task, rule.begin(per_task), data, 0).params
    for name, tensor in adapted.items():
        moved = not torch.equal(tensor, theta[name].expand_as(tensor))
        assert moved == name.startswith("layer"), name
    losses = [task_losses(POLICY, params, data, squared_error) for params in (per_task.params, adapted)]
    assert (losses[1] < losses[0]).all()


def test_a_meta_gradient_reaches_the_vectors_of_what_was_seen_and_no_others() -> None:
    theta = {name: tensor.double().requires_grad_() for name, tensor in POLICY.init(0).items()}
    data = examples()
    data.observations[..., 1] = data.observations[..., 1].clamp(max=3)
    (gradient,) = torch.autograd.grad(task_losses(POLICY, theta, data, squared_error).sum(), [theta["category1"]])
    assert gradient[:4].abs().sum(-1).min() > 0
    assert not gradient[4].any()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="--categories are 2 and --flags 4, but observations here have 5 numbers"):
        EmbeddedPolicy(SETTINGS, Sizes(5, 1))
    with pytest.raises(UserError, match="--policy embedded acts by vectors of numbers, but actions here are choices"):
        EmbeddedPolicy(SETTINGS, Sizes(6, 2, discrete=True))
    with pytest.raises(UserError, match="cannot be exported"):
        POLICY.deterministic(POLICY.init(0))
    with pytest.raises(UserError, match=r"--categories is \(3, 0\); it must be numbers above 0"):
        EmbeddedSettings(categories=(3, 0))
