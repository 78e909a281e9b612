from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.nn import functional

from rlmaml.base.errors import UserError
from rlmaml.core.parameters import for_every_task
from rlmaml.core.types import Adaptation, Examples, Meta
from rlmaml.families.imitation import Demonstrations, Imitation
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.multimodal import MultimodalPolicy, encoded
from rlmaml.policies.sizes import Part, Sizes
from rlmaml.rules.gradient_rule import GradientRule, task_losses
from rlmaml.settings.policy import MultimodalSettings
from tests.rlmaml.makers import assert_same, of_task, random_task_params, random_theta

PARTS = (Part("picture", (2, 5, 4)), Part("ranges", (3,)), Part("wheels", (2,)))
SIZES = Sizes(45, 2, parts=PARTS)
SETTINGS = MultimodalSettings(hidden=(6,), features=4, filters=3, part_scales=(1.0, 2.0, 20.0))
POLICY = MultimodalPolicy(SETTINGS, SIZES)
HEARD = "encoder1.weight"
SPACE = spaces.Dict({part.name: spaces.Box(-1.0, 1.0, part.shape, np.float64) for part in PARTS}, seed=0)


def mean(params: Any, observations: torch.Tensor) -> torch.Tensor:
    said: torch.Tensor = POLICY.mean_of(params)(observations)
    return said


def test_each_encoder_reads_the_part_that_gymnasium_unflattens() -> None:
    vector: Any = spaces.flatten(SPACE, SPACE.sample())
    parts = spaces.unflatten(SPACE, vector)
    for encoder, part in zip(POLICY.encoders, PARTS, strict=True):
        np.testing.assert_array_equal(vector[encoder.columns].reshape(encoder.shape), parts[part.name])


def test_it_says_what_its_layers_say_when_they_are_written_out() -> None:
    theta = random_theta(POLICY)
    x = torch.randn(7, 45, dtype=torch.float64)
    picture = x[:, :40].reshape(7, 2, 5, 4)
    for i in range(2):
        weight, bias = (theta[f"encoder0.conv{i}.{kind}"] for kind in ("weight", "bias"))
        picture = torch.tanh(functional.conv2d(picture, weight, bias, stride=2, padding=1))
    assert picture.shape == (7, 3, 2, 1)
    inputs = [picture.flatten(1), x[:, 40:43] / 2, x[:, 43:] / 20]
    features = torch.cat(
        [
            torch.tanh(values @ theta[f"encoder{i}.weight"].T + theta[f"encoder{i}.bias"])
            for i, values in enumerate(inputs)
        ],
        -1,
    )
    hidden = torch.tanh(features @ theta["layer0.weight"].T + theta["layer0.bias"])
    assert_same(mean(theta, x), hidden @ theta["layer1.weight"].T + theta["layer1.bias"])


def test_tasks_at_once_are_tasks_in_a_loop_also_in_gradients_and_any_order() -> None:
    params = {name: tensor.requires_grad_() for name, tensor in random_task_params(POLICY, 3).items()}
    x = torch.randn(3, 2, 4, 45, dtype=torch.float64)
    together = mean(params, x)
    for task in range(3):
        assert_same(together[task], mean(of_task(params, task), x[task]))
    order = [2, 0, 1]
    turned = {name: tensor[order] for name, tensor in params.items()}
    assert_same(mean(turned, x[order]), together[order])
    ours = torch.autograd.grad(together.square().sum(), list(params.values())[:-1])
    alone = sum(mean(of_task(params, task), x[task]).square().sum() for task in range(3))
    assert isinstance(alone, torch.Tensor)
    for one, other in zip(ours, torch.autograd.grad(alone, list(params.values())[:-1]), strict=True):
        assert_same(one, other)


def test_second_derivatives_are_those_of_finite_differences() -> None:
    params = random_task_params(POLICY, 2)
    x = torch.randn(2, 1, 2, 45, dtype=torch.float64)
    names = [name for name in params if name.startswith("encoder0.conv")]

    def said(*weights: torch.Tensor) -> torch.Tensor:
        return mean(params | dict(zip(names, weights, strict=True)), x)

    weights = tuple(params[name].clone().requires_grad_() for name in names)
    assert torch.autograd.gradgradcheck(said, weights, fast_mode=True)


def test_a_part_that_is_missing_says_the_same_whatever_was_there_and_the_others_are_still_heard() -> None:
    theta = random_theta(POLICY)
    x = torch.randn(5, 45, dtype=torch.float64)
    for encoder in POLICY.encoders:
        missing = x.clone()
        missing[:, encoder.columns] = 0.0
        own = encoded(theta, encoder, missing, torch.tanh)
        assert_same(own, own[:1].expand_as(own))
        assert (encoded(theta, encoder, x, torch.tanh) - own).abs().max() > 1e-2
        assert (mean(theta, missing) - mean(theta, missing)[:1]).abs().max() > 1e-3


def test_the_tasks_parameters_are_one_vector_more() -> None:
    policy = MultimodalPolicy(SETTINGS, Sizes(48, 2, extended=True, task=3, parts=PARTS))
    assert [encoder.shape for encoder in policy.encoders] == [(2, 5, 4), (3,), (2,), (3,)]
    assert policy.encoders[-1].columns == slice(45, 48)
    assert policy.describe()["parts"][-1]["name"] == "task"


def test_a_supervised_model_adapts_to_examples_in_which_a_part_is_missing() -> None:
    shown = torch.randn(2, 6, 5, 45, generator=torch.Generator().manual_seed(0))
    actions = torch.tanh(shown[..., [40, 43]])
    shown[0, ..., POLICY.encoders[0].columns] = 0.0
    family = Imitation("it", Demonstrations(shown, actions, torch.ones(2, 6, 5) > 0), shots=4, queries=2, parts=PARTS)
    policy = make_policy("multimodal", replace(SETTINGS, part_scales=()), family.sizes)
    meta, rule = Meta(policy.init(0), {}), GradientRule(20, (0.5,), family.loss)
    support = family.sets(family.every_task(), range(2)).support
    adaptation = Adaptation(for_every_task(meta, 2).params)
    before = task_losses(policy, adaptation.params, support, family.loss)
    for k in range(20):
        adaptation = rule.step(policy, meta, adaptation, support, k)
    assert (task_losses(policy, adaptation.params, support, family.loss) < 0.5 * before).all()
    silent, heard = (adaptation.params[name][0] != meta.params[name] for name in ("encoder0.conv0.weight", HEARD))
    assert heard.all()
    assert not silent.any()  # nothing is learned of what is 0


def test_supervised_models_have_the_same_encoders() -> None:
    params = random_task_params(POLICY, 2)
    data = torch.randn(2, 6, 45, dtype=torch.float64)
    examples = Examples(data, torch.zeros(2, 6, 2), torch.ones(2, 6) > 0, data[:, :0])
    assert torch.equal(POLICY.unroll(params, examples)[0].distribution.mean, mean(params, data))


def test_a_card_says_which_part_is_where() -> None:
    parts = POLICY.describe()["parts"]
    assert [(part["name"], part["first"], part["shape"]) for part in parts] == [
        ("picture", 0, [2, 5, 4]),
        ("ranges", 40, [3]),
        ("wheels", 43, [2]),
    ]
    assert [part["divided_by"] for part in parts] == [1.0, 2.0, 20.0]
    assert [part["read_by"] for part in parts] == ["convolutions", "a linear layer", "a linear layer"]


@pytest.mark.parametrize(
    ("sizes", "settings", "refused"),
    [
        (Sizes(10, 2), {}, "observations here are one vector of 10 numbers. Choose another kind, such as gaussian"),
        (Sizes(45, 2, parts=PARTS), {"part_scales": (1.0, 2.0)}, "has 2 numbers, .* 3 parts: picture, ranges, wheels"),
        (Sizes(6, 2, parts=(Part("map", (2, 3)),)), {}, r'"map" of observations here has the shape \(2, 3\). Reshape'),
        (Sizes(75, 2, parts=(Part("photo", (5, 5, 3)),)), {}, r'"photo" .* \(5, 5, 3\).*Put its channels first'),
        (Sizes(45, 2, discrete=True, parts=PARTS), {}, "acts by vectors of numbers, but actions here are choices"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(sizes: Sizes, settings: dict[str, Any], refused: str) -> None:
    with pytest.raises(UserError, match=refused):
        make_policy("multimodal", MultimodalSettings(**settings), sizes)


@pytest.mark.parametrize("settings", [{"features": 0}, {"filters": -1}, {"part_scales": (1.0, 0.0)}, {"hidden": (0,)}])
def test_settings_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings)).replace("_", "-")):
        MultimodalSettings(**settings)
