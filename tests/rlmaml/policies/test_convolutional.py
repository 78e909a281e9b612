import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlmaml.algorithms.registry import make_meta_algorithm
from rlmaml.base.errors import UserError
from rlmaml.core.losses import cross_entropy
from rlmaml.core.parameters import as_meta, detached, flatten, meta_vector, repeated
from rlmaml.core.policy import Policy
from rlmaml.core.types import Examples, Meta, Params
from rlmaml.policies.convolutional import ConvolutionalPolicy, convolved, normalised
from rlmaml.policies.sizes import Sizes
from rlmaml.rules.gradient_rule import GradientRule, task_losses
from rlmaml.settings.policy import ConvolutionalSettings
from rlmaml.settings.whole import configure
from tests.rlmaml.makers import assert_same, learner, random_task_params, random_theta

IMAGE = (2, 5, 4)
POLICY = ConvolutionalPolicy(ConvolutionalSettings(IMAGE, filters=3), Sizes(40, 3, discrete=True))


def images(num_tasks: int, num_images: int = 4, seed: int = 0, references: Tensor | None = None) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_tasks, num_images, 40, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (num_tasks, num_images), generator=generator)
    return Examples(x, labels, torch.ones(labels.shape) > 0, x[:, :0] if references is None else references)


def logits(params: Params, data: Examples) -> Tensor:
    found: Tensor = POLICY.unroll(params, data)[0].distribution.logits
    return found


def in_torchs_words(params: Params, data: Examples) -> Tensor:
    """Logits of one task by torch's own layers, whose statistics in training mode are those of the batch."""
    hidden = data.observations.view(-1, *IMAGE)
    for i in range(4):
        hidden = functional.conv2d(hidden, params[f"conv{i}.weight"], padding=1)
        hidden = functional.batch_norm(
            hidden, None, None, params[f"conv{i}.scale"], params[f"conv{i}.shift"], training=True
        )
        hidden = torch.relu(hidden)
        hidden = functional.max_pool2d(hidden, 2) if min(hidden.shape[-2:]) > 1 else hidden
    return functional.linear(hidden.flatten(1), params["head.weight"], params["head.bias"])


def test_it_is_a_policy() -> None:
    assert isinstance(POLICY, Policy)
    assert set(POLICY.head) <= set(POLICY.init(0))
    assert POLICY.describe() == {"image": [2, 5, 4], "blocks": 4, "filters": 3, "context": 0}


def test_all_tasks_at_once_are_torchs_own_layers_in_a_loop() -> None:
    params, data = random_task_params(POLICY, 3), images(3)
    together = logits(params, data)
    for task in range(3):
        own = {name: tensor[task] for name, tensor in params.items()}
        alone = in_torchs_words(own, Examples(*(field[task] for field in data)))
        assert_same(together[task], alone)
    assert (together[0] - together[1]).abs().mean() > 1e-2


def test_theta_is_task_parameters_that_are_copies_of_it() -> None:
    theta, data = random_theta(POLICY), images(2)
    copies = {name: tensor.expand(2, *tensor.shape) for name, tensor in theta.items()}
    assert_same(logits(theta, data), logits(copies, data))


def test_a_filters_output_is_centred_and_scaled_by_the_counted_examples_alone() -> None:
    values = torch.randn(2, 3, 5, 4, 4, dtype=torch.float64) * 3 + 1
    every, some = normalised(values, 0), normalised(values, 2)
    assert_same(every.mean((2, 3, 4)), torch.zeros(2, 3, dtype=torch.float64), atol=1e-12)
    assert_same(some[:, :, :2].square().mean((2, 3, 4)), torch.ones(2, 3, dtype=torch.float64), rtol=1e-4)
    assert some[:, :, 2:].mean((2, 3, 4)).abs().max() > 1e-3


def test_the_statistics_of_references_serve_the_others_and_none_of_the_others_are_in_them() -> None:
    params, support = random_task_params(POLICY, 2), images(2, seed=1)
    query = images(2, seed=2, references=support.observations)
    said = logits(params, query)
    assert said.shape == (2, 4, 3)
    others = query.observations.clone()
    others[:, 1:] = 5.0  # other neighbours change nothing for the first one
    changed = logits(params, query._replace(observations=others))
    assert_same(changed[:, 0], said[:, 0])
    assert not torch.allclose(changed[:, 1], said[:, 1])
    alone = query._replace(references=query.references[:, :0])
    assert not torch.allclose(logits(params, alone), said)
    moved = logits(params, alone._replace(observations=others))
    assert not torch.allclose(moved[:, 0], logits(params, alone)[:, 0])
    itself = support._replace(references=support.observations)  # the support set by its own statistics, said twice
    assert_same(logits(params, itself), logits(params, support))


def test_second_order_gradients_are_those_of_finite_differences() -> None:
    theta, rule = random_theta(POLICY), GradientRule(1, (0.3,), cross_entropy)
    support = images(2, seed=1)
    query = images(2, seed=2, references=support.observations)
    algorithm = make_meta_algorithm(configure(policy="conv4", outer_optimiser="adam"))
    meta = Meta(theta, {})

    def objective(vector: Tensor) -> Tensor:
        points = repeated(as_meta(vector, meta), 2)
        moved = rule.step(POLICY, points, rule.begin(points), support, 0)
        return task_losses(POLICY, detached(moved.params), query, cross_entropy).mean().detach()

    state = {name: tensor.double() for name, tensor in algorithm.init(meta).items()}
    _, after, report = algorithm.update(learner(POLICY, rule), meta, state, [support, query])
    ours = 10 * flatten(after[f"exp_avg/params/{name}"] for name in theta)
    point, width, generator = meta_vector(meta), 1e-6, torch.Generator().manual_seed(0)
    for _ in range(12):  # along random directions: there are hundreds of parameters
        direction = torch.randn(len(point), generator=generator, dtype=torch.float64)
        numeric = (objective(point + width * direction) - objective(point - width * direction)) / (2 * width)
        assert float(ours @ direction) == pytest.approx(float(numeric), rel=1e-5, abs=1e-6)
    first = make_meta_algorithm(configure("fomaml", policy="conv4", outer_optimiser="adam")).update(
        learner(POLICY, GradientRule(1, (0.3,), cross_entropy, first_order=True)), meta, state, [support, query]
    )[2]
    assert first.numbers()["gradient_norm"] != pytest.approx(report.numbers()["gradient_norm"], rel=1e-2)


MODULATED = ConvolutionalPolicy(ConvolutionalSettings(IMAGE, filters=3, context=2), Sizes(40, 3, discrete=True))


def test_a_context_scales_and_shifts_the_filters_of_the_third_block_and_at_0_does_nothing() -> None:
    theta, data = random_theta(MODULATED), images(1)
    assert theta["modulation.weight"].shape == (6, 2)
    one = Examples(*(field[0] for field in data))
    # γ and β of three filters, by the two halves of the matrix
    gain, offset = (
        half @ theta["context"] for half in (theta["modulation.weight"][:3], theta["modulation.weight"][3:])
    )
    by_hand = theta | {
        "conv2.scale": theta["conv2.scale"] * (1 + gain),
        "conv2.shift": theta["conv2.shift"] * (1 + gain) + offset,
    }
    said = MODULATED.unroll(theta, data)[0].distribution.logits[0]
    assert_same(said, in_torchs_words(by_hand, one))
    without = {name: tensor for name, tensor in theta.items() if name not in ("context", "modulation.weight")}
    at_0 = MODULATED.unroll(theta | {"context": torch.zeros(2).double()}, data)[0].distribution.logits
    assert torch.equal(at_0, POLICY.unroll(without, data)[0].distribution.logits)
    assert (at_0[0] - said).abs().max() > 1e-2
    fresh, plain = MODULATED.init(3), POLICY.init(3)
    assert all(torch.equal(fresh[name], tensor) for name, tensor in plain.items())
    assert not fresh["context"].any()


def test_where_a_context_adapts_each_task_has_its_own_and_nothing_else_of_the_network_moves() -> None:
    params = random_task_params(MODULATED, 2)
    meta, data = Meta(params, {}), images(2)
    rule = GradientRule(1, (0.5,), cross_entropy, entries=MODULATED.context, reset=MODULATED.context)
    begun = rule.begin(meta)
    assert not begun.params["context"].any()
    stepped = rule.step(MODULATED, meta, begun, data, 0).params
    for name, tensor in stepped.items():
        assert torch.equal(tensor, begun.params[name]) == (name != "context"), name
    assert (stepped["context"][0] - stepped["context"][1]).abs().max() > 1e-3
    before, after = (task_losses(MODULATED, own, data, cross_entropy) for own in (begun.params, stepped))
    assert (after < before).all()


def test_query_pictures_never_leak_into_an_inner_step() -> None:
    params = random_task_params(POLICY, 2)
    meta, rule, support = Meta(params, {}), GradientRule(1, (0.3,), cross_entropy), images(2)
    steps = [rule.step(POLICY, meta, rule.begin(meta), support, 0).params for _ in range(2)]
    query = images(2, seed=5, references=support.observations)
    task_losses(POLICY, steps[0], query, cross_entropy)
    again = rule.step(POLICY, meta, rule.begin(meta), support, 0).params
    assert all(torch.equal(steps[1][name], tensor) for name, tensor in again.items())


@pytest.mark.parametrize("side", [1, 2, 8, 28])
def test_pictures_of_any_size_have_their_head(side: int) -> None:
    policy = ConvolutionalPolicy(ConvolutionalSettings((1, side, side), 2), Sizes(side * side, 5, discrete=True))
    data = torch.rand(1, 3, side * side)
    found = policy.unroll(policy.init(0), Examples(data, torch.zeros(1, 3).long(), torch.ones(1, 3) > 0, data[:, :0]))
    assert found[0].distribution.logits.shape == (1, 3, 5)


def test_initial_parameters_depend_on_the_seed_alone() -> None:
    one, again, other = (flatten(POLICY.init(seed).values()) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_filters_of_a_task_see_its_own_images_alone() -> None:
    x, weight = torch.randn(3, 2, 4, 5, 4), torch.randn(3, 6, 2, 3, 3)
    for task in range(3):
        own = functional.conv2d(x[task].transpose(0, 1), weight[task], padding=1).transpose(0, 1)
        torch.testing.assert_close(convolved(x, weight)[task], own, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"--image is \(2, 5, 4\), which are 40 numbers, but observations here have 41"):
        ConvolutionalPolicy(POLICY.settings, Sizes(41, 3, discrete=True))
    with pytest.raises(UserError, match="Choose another kind"):
        ConvolutionalPolicy(POLICY.settings, Sizes(40, 3))
    with pytest.raises(UserError, match="cannot be exported"):
        POLICY.deterministic(POLICY.init(0))
