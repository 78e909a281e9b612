from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rlmaml.core.types import Examples, Meta, Params
from rlmaml.deploy.adaptable import AdaptablePolicy, as_policy
from rlmaml.deploy.eight_bits import InEightBits, patterned, write_with_numbers
from rlmaml.deploy.export import Actor, export_program, largest_difference, load_onnx, write_int8, write_onnx
from rlmaml.deploy.robot import as_predicted, normalised_actuation
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.smaller import factored_policy, pruned_policy
from rlmaml.sampling.rollout import first_seen
from tests.rlmaml.deploy.trained import PLAIN, checkpoint
from tests.rlmaml.shapes import shapes_checked

pytestmark = pytest.mark.usefixtures("operators_read_once")

ACTUATION = normalised_actuation(2)


def with_large_weights(network: GaussianPolicy, seed: int) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.5 * torch.randn(own.shape, generator=generator) for name, own in network.init(0).items()}


def small_policy(seed: int = 0) -> AdaptablePolicy:
    """Factored, and its factors pruned to a half."""
    trained = checkpoint(PLAIN.changed(hidden=(8, 6)))
    network = as_policy(trained).network
    assert isinstance(network, GaussianPolicy)
    network, theta = factored_policy(network, trained.meta.params, 2)
    network, theta = pruned_policy(network, theta, 0.5)
    settings = trained.settings.changed(rank=network.settings.rank, kept=network.settings.kept)
    return as_policy(trained._replace(settings=settings, meta=Meta(with_large_weights(network, seed), {})))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with shapes_checked(False):
        file, actor = tmp_path_factory.mktemp("exported") / "policy.onnx", Actor(small_policy(), ACTUATION)
        write_onnx(export_program(actor), file, actor, {})
        yield file


def test_a_factored_and_pruned_policy_is_exported_exactly(exported: Path) -> None:
    assert largest_difference(load_onnx(exported), small_policy(), ACTUATION) < 1e-5


def test_what_is_pruned_is_exactly_zero_in_the_files_of_32_and_of_8_bits(exported: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    small = tmp_path / "small.onnx"
    write_int8(exported, small)
    network = small_policy().network
    assert isinstance(network, GaussianPolicy)
    pruned = sorted(own.shape[0] * own.shape[1] - len(own.entries) for own in network.kept.values())
    for file in (exported, small):
        arrays = [onnx.numpy_helper.to_array(own) for own in onnx.load(str(file)).graph.initializer]
        zeros = sorted(int((own == 0).sum()) for own in arrays if own.ndim == 2)
        assert len(zeros) == len(pruned)
        if file is exported:
            assert zeros == pruned
        assert all(found >= least for found, least in zip(zeros, pruned, strict=True))


def test_a_file_with_the_numbers_of_another_policy_is_that_policys(tmp_path: Path) -> None:
    pattern, file, small = tmp_path / "pattern.onnx", tmp_path / "other.onnx", small_policy(seed=5)
    fresh = as_policy(checkpoint(small.settings))  # whose biases are 0, as are the middles of the actuators' ranges
    write_onnx(export_program(actor := patterned(small, ACTUATION)), pattern, actor, {})
    for policy in (small, fresh):
        write_with_numbers(pattern, file, Actor(policy, ACTUATION))
        assert largest_difference(load_onnx(file), policy, ACTUATION) < 1e-5
    assert largest_difference(load_onnx(file), small, ACTUATION) > 0.1
    plain = as_policy(checkpoint(PLAIN.changed(hidden=(8, 6))))
    with pytest.raises(ValueError, match=r"has no network|is of shape"):
        write_with_numbers(pattern, file, Actor(plain, ACTUATION))


def test_every_task_acts_by_its_own_weights_rounded_to_eight_bits(tmp_path: Path) -> None:
    policy, thetas = small_policy(), [small_policy(seed).weights for seed in (0, 1)]
    per_task = {name: torch.stack([theta[name] for theta in thetas]) for name in thetas[0]}
    observations = torch.linspace(-0.5, 0.5, 12).view(2, 3, 2)
    seen = first_seen(observations, observations[..., :0])
    said, carry = InEightBits(policy, tmp_path).act(per_task)(seen, ())
    exact, _ = policy.network.act(per_task)(seen, ())
    assert carry == ()
    differences = (said.most_likely - exact.most_likely.clamp(-1, 1)).abs().amax((1, 2))
    assert 0 < float(differences.max()) < 0.05
    assert (said.most_likely[0] - said.most_likely[1]).abs().max() > 0.1
    assert np.isfinite(said.most_likely.numpy()).all()


def test_what_a_model_predicts_is_not_clipped_as_actions_are(tmp_path: Path) -> None:
    policy, thetas = small_policy(), [small_policy(seed).weights for seed in (0, 1)]
    per_task = {name: 20.0 * torch.stack([theta[name] for theta in thetas]) for name in thetas[0]}
    observations = torch.linspace(-0.5, 0.5, 12).view(2, 3, 2)
    examples = Examples(observations, observations, torch.ones(2, 3, dtype=torch.bool), observations[:, :0])
    said, _ = InEightBits(policy, tmp_path, as_predicted(2)).unroll(per_task, examples)
    exact, _ = policy.network.unroll(per_task, examples)
    assert exact.distribution.mean.abs().max() > 2.0
    assert (
        0 < (said.distribution.mean - exact.distribution.mean).abs().max() < 0.1 * exact.distribution.mean.abs().max()
    )
    assert torch.equal(said.distribution.log_std, exact.distribution.log_std)
