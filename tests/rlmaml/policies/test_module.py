from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rlmaml.base.errors import UserError
from rlmaml.base.user_code import OwnCodeError, is_of_own_code
from rlmaml.core.parameters import flatten, with_task_axis
from rlmaml.core.policy import Policy
from rlmaml.core.types import Adaptation, Meta, Params
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.module import MakeModule, ModulePolicy, module_maker
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.gradient_rule import gradient_rule
from rlmaml.settings.inner import InnerSettings
from rlmaml.settings.policy import ModuleSettings
from tests.rlmaml.makers import assert_same, gaussian_policy, random_batch, random_task_params, random_theta

SIZES = Sizes(3, 2)


def plain_network(observation_size: int, action_size: int) -> nn.Module:
    """The network of the Gaussian policy as anybody would write it."""
    return nn.Sequential(nn.Linear(observation_size, 5), nn.Tanh(), nn.Linear(5, action_size))


@pytest.fixture
def ours() -> GaussianPolicy:
    return gaussian_policy(hidden=(5,))


@pytest.fixture
def theirs() -> ModulePolicy:
    return ModulePolicy(plain_network, ModuleSettings(), SIZES)


def plain_params(params: Params) -> Params:
    """``layer1.weight`` of ours is ``2.weight`` of the module: activations count there."""
    return {name.replace("layer0", "0").replace("layer1", "2"): tensor for name, tensor in params.items()}


@pytest.mark.parametrize("has_task_axis", [False, True])
def test_it_is_the_perceptron_with_the_same_weights(
    ours: GaussianPolicy, theirs: ModulePolicy, has_task_axis: bool
) -> None:
    params = random_task_params(ours, 3) if has_task_axis else random_theta(ours)
    batch = random_batch(ours, params, num_tasks=3)
    mine = ours.unroll(params, batch)[0].distribution
    plain = theirs.unroll(plain_params(params), batch)[0].distribution
    assert_same(plain.mean, mine.mean)
    assert_same(plain.log_std, mine.log_std)
    assert mine.mean.std() > 0.1


def test_it_has_the_second_order_meta_gradient_of_the_perceptron(ours: GaussianPolicy, theirs: ModulePolicy) -> None:
    theta = random_theta(ours)
    pre = random_batch(ours, theta, num_tasks=3)
    post = random_batch(ours, random_task_params(ours, 3), num_tasks=3, seed=1)
    rule = gradient_rule(InnerSettings(inner_step_sizes=(0.5,), inner_loss="likelihood_ratio"), ours)

    def meta_gradient(policy: Policy, params: Params, create_graph: bool = True) -> Tensor:
        points = Meta(with_task_axis(params, 3), {})
        adapted = rule.step(policy, points, Adaptation(points.params), pre, 0, create_graph=create_graph).params
        log_probs = policy.unroll(adapted, post)[0].distribution.log_prob(post.actions)
        loss = -log_probs * post.advantages * post.valid
        return flatten(torch.autograd.grad(loss.sum(), list(points.params.values())))

    expected = meta_gradient(ours, theta)
    assert_same(meta_gradient(theirs, plain_params(theta)), expected)
    assert expected.norm() > 0.1
    assert (meta_gradient(ours, theta, create_graph=False) - expected).norm() > 0.01


def test_it_starts_at_its_modules_own_parameters_and_never_changes_them(theirs: ModulePolicy) -> None:
    before = {name: tensor.detach().clone() for name, tensor in theirs.module.named_parameters()}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = dict(plain_network(3, 2).named_parameters())
    theta = theirs.init(3)
    assert theta.keys() == {*before, "log_std"}
    for name, tensor in expected.items():
        assert torch.equal(theta[name], tensor)
        theta[name].add_(1.0)
    assert not torch.equal(theta["0.weight"], theirs.init(3)["0.weight"])
    theirs.unroll(
        theta, random_batch(theirs, random_theta(theirs), num_tasks=1)._replace(observations=torch.ones(1, 5, 4, 3))
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.module.named_parameters())


def test_the_head_is_what_the_module_defines_last(theirs: ModulePolicy) -> None:
    assert theirs.head == ("2.weight", "2.bias")
    assert theirs.exploration == ("log_std",)


def test_the_initial_deviation_is_that_of_the_settings() -> None:
    policy = ModulePolicy(plain_network, ModuleSettings(initial_std=0.25), SIZES)
    assert policy.numbers(policy.init(0)) == {"std": pytest.approx(0.25)}


class WithBuffers(nn.Module):
    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(observation_size, 4), nn.BatchNorm1d(4), nn.Linear(4, action_size))


class WithLogStd(nn.Module):
    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(action_size))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (WithBuffers, "has buffers, which cannot differ between tasks"),
        (WithLogStd, "none of which is called log_std"),
        (lambda observation_size, action_size: nn.Identity(), "needs parameters"),
        (lambda observation_size, action_size: nn.Linear(observation_size, action_size + 1), r"it must be \(3, 2, 2\)"),
    ],
)
def test_a_module_that_cannot_be_a_policy_is_refused(make: MakeModule, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ModulePolicy(make, ModuleSettings(), SIZES)


def test_a_file_is_run_for_the_name_in_it(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text(
        "from torch import nn\n"
        "SIZE = 3\n"
        "def make(observation_size, action_size):\n"
        "    return nn.Linear(observation_size, action_size)\n"
        "def needs_less(observation_size):\n"
        "    return nn.Linear(observation_size, 2)\n"
    )
    assert isinstance(module_maker(f"{path}:make")(3, 2), nn.Linear)
    for name in ("SIZE", "needs_less"):
        with pytest.raises(UserError, match=f"{name}', which is no function or class of"):
            module_maker(f"{path}:{name}")
    with pytest.raises(UserError, match="has no absent at its top level"):
        module_maker(f"{path}:absent")
    with pytest.raises(UserError, match="there is no file"):
        module_maker(f"{tmp_path / 'absent.py'}:make")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    with pytest.raises(UserError, match="cannot be run: ZeroDivisionError"):
        module_maker(f"{broken}:make")


def test_a_module_that_fails_while_it_is_used_says_that_it_is_the_user_s_own(theirs: ModulePolicy) -> None:
    batch = random_batch(theirs, random_theta(theirs), num_tasks=3)

    def fail(*_: object) -> None:
        raise ValueError("too hot")

    theirs.module.register_forward_pre_hook(fail)
    for params in (random_theta(theirs), random_task_params(theirs, 3)):
        with pytest.raises(OwnCodeError, match="The module of --policy failed: ValueError: too hot") as failed:
            theirs.unroll(params, batch)
        assert is_of_own_code(failed.value)
