import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlmaml.algorithms.maml_trpo import MamlTrpo
from rlmaml.algorithms.reptile import Reptile
from rlmaml.base.errors import UserError
from rlmaml.base.random_streams import RandomStreams
from rlmaml.core.types import Params
from rlmaml.deploy.adaptable import load
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.gru import GruPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.begin import begin, make_method, sizes_in, warn_of_first_order
from rlmaml.training.run import train
from rlmaml.training.train import Learned
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.makers import vector

SETTINGS = configure(hidden=(8, 4), initial_std=0.5, inner_steps=2, inner_step_sizes=(0.3, 0.1), learn_step_sizes=True)


def environment(*, observe_task: bool = False) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", 1, observe_task=observe_task)


def begun(settings: Settings, *, observe_task: bool = False) -> Learned:
    return begin(settings, make_method(settings, environment(observe_task=observe_task)))


def fresh(settings: Settings) -> Params:
    """What the policy itself draws from the seed of the run."""
    policy = make_method(settings, environment()).policy
    return policy.init(RandomStreams(settings.run.seed).parameter_seed())


def test_the_policy_fits_the_environment_and_the_settings() -> None:
    theta = begun(SETTINGS).meta.params
    shapes = [tuple(tensor.shape) for name, tensor in theta.items() if name.endswith("weight")]
    assert shapes == [(8, 2), (4, 8), (2, 4)]
    assert torch.allclose(theta["log_std"], torch.full((2,), math.log(0.5)))


def test_a_method_is_what_its_settings_name() -> None:
    method = make_method(SETTINGS, environment())
    assert isinstance(method.policy, GaussianPolicy)
    assert isinstance(method.algorithm, MamlTrpo)
    assert method.algorithm.settings == SETTINGS.outer
    assert method.rule.steps == 2
    assert method.sums.leads
    other = make_method(configure("reptile", "gru", memory=3), environment())
    assert isinstance(other.policy, GruPolicy)
    assert isinstance(other.algorithm, Reptile)
    assert other.policy.settings.memory == 3


def test_the_policy_divides_by_the_scales_of_the_settings_which_fit_its_observations() -> None:
    scaled = SETTINGS.changed(observation_scales=(2.0, 3.0))
    policy = make_method(scaled, environment()).policy
    assert isinstance(policy, GaussianPolicy)
    assert policy.settings.observation_scales == (2.0, 3.0)
    with pytest.raises(UserError, match=r"--observation-scales has 1 numbers, but observations .*have 2"):
        make_method(SETTINGS.changed(observation_scales=(2.0,)), environment())


def test_the_task_that_an_oracle_sees_needs_no_scales() -> None:
    oracle = SETTINGS.changed(observation_scales=(2.0, 3.0), observe_task=True)
    env = environment(observe_task=True)
    assert sizes_in(env, oracle) == Sizes(4, 2, discrete=False, extended=True, task=2)
    policy = make_method(oracle, env).policy
    assert isinstance(policy, GaussianPolicy)
    assert policy.sizes.observation == 4


def test_learned_step_sizes_start_from_the_given_ones() -> None:
    meta = begun(SETTINGS).meta
    assert list(meta.rates) == list(meta.params)
    for logs in meta.rates.values():
        assert torch.allclose(logs.exp(), torch.tensor([0.3, 0.1]))
    assert begun(SETTINGS.changed(learn_step_sizes=False)).meta.rates == {}


def test_a_training_that_never_takes_what_dice_differs_by_is_warned_of(tmp_path: Path) -> None:
    def fail(num_envs: int) -> TaskVectorEnv:
        raise RuntimeError("far enough")

    with (
        pytest.warns(
            UserWarning, match="--first-order-until is 20, and --iterations 20: this training takes no second"
        ),
        pytest.raises(RuntimeError, match="far enough"),
    ):
        train(configure("maml++", inner_loss="dice", iterations=20, threads=1, rollout_threads=1), fail, tmp_path)
    for loss, iterations in (("dice", 21), ("dice", 0), ("likelihood_ratio", 20)):
        warn_of_first_order(configure("maml++", inner_loss=loss, iterations=iterations))
    for other in ("reptile", "rl2"):
        warn_of_first_order(configure(other))


def test_the_algorithm_begins_with_its_state() -> None:
    assert begun(SETTINGS).state == {}
    learned = begun(configure("reptile", outer_step="adam", hidden=(3,)))
    assert {name.partition("/")[0] for name in learned.state} == {"step", "exp_avg", "exp_avg_sq"}
    assert not any(tensor.any() for tensor in learned.state.values())


def test_theta_follows_from_the_seed_alone() -> None:
    one, same = begun(SETTINGS).meta, begun(SETTINGS.changed(num_tasks=3)).meta
    other = begun(SETTINGS.changed(seed=1)).meta
    assert torch.equal(vector(one), vector(same))
    assert not torch.equal(one.params["layer0.weight"], other.params["layer0.weight"])


def trained(settings: Settings, run_dir: Path) -> Params:
    """The theta of a run that is written to a directory."""
    meta = begun(settings).meta
    theta = {name: tensor + 1.0 for name, tensor in meta.params.items()}
    sizes = sizes_in(environment(), settings)
    checkpoint = Checkpoint(meta._replace(params=theta), 3, settings, sizes)
    save_checkpoint(RunDirectory(run_dir).checkpoint, checkpoint)
    return theta


@pytest.mark.parametrize("policy", ["gaussian", "gru"])
def test_a_run_that_starts_from_another_takes_its_network_alone(tmp_path: Path, policy: str) -> None:
    settings = configure(policy=policy, hidden=(8, 4), initial_std=0.5, learn_step_sizes=True)
    theirs = trained(settings, tmp_path)
    further = settings.changed(seed=5, initial_std=0.3, inner_step_sizes=(0.7,), start_from=str(tmp_path))
    learned, own = begun(further), fresh(further)
    assert list(learned.meta.params) == list(own)
    for name, tensor in learned.meta.params.items():
        assert torch.equal(tensor, own[name] if name == "log_std" else theirs[name])
    assert all(torch.allclose(logs.exp(), torch.tensor(0.7)) for logs in learned.meta.rates.values())


def test_a_run_may_start_from_a_checkpoint_or_an_adapted_policy(tmp_path: Path) -> None:
    theirs = trained(SETTINGS, tmp_path)
    path = RunDirectory(tmp_path).checkpoint
    adapted = load(path)
    moved = {name: tensor + 0.5 for name, tensor in adapted.weights.items()}
    replace(adapted, meta=adapted.meta._replace(params=moved), steps_taken=1).save(tmp_path / "adapted.safetensors")
    for file, params in ((path, theirs), (tmp_path / "adapted.safetensors", moved)):
        learned = begun(configure(hidden=(8, 4), start_from=str(file)))
        assert torch.equal(learned.meta.params["layer0.weight"], params["layer0.weight"])


def test_another_method_may_start_from_a_run(tmp_path: Path) -> None:
    theirs = trained(SETTINGS, tmp_path)
    learned = begun(configure("reptile", hidden=(8, 4), start_from=str(tmp_path)))
    assert torch.equal(learned.meta.params["layer0.weight"], theirs["layer0.weight"])


@pytest.mark.parametrize(
    ("policy", "changes", "message"),
    [
        ("gaussian", {"hidden": (8, 5)}, "--hidden is (8, 5), but (8, 4) in"),
        ("gaussian", {"activation": "relu"}, "--activation is relu, but tanh in"),
        ("gaussian", {"observation_scales": (1.0, 2.0)}, "--observation-scales is (1.0, 2.0), but () in"),
        ("gaussian", {"start_from": "nowhere"}, "There is no checkpoint at nowhere"),
        ("gru", {}, "--policy is gru, but gaussian in"),
    ],
)
def test_a_run_cannot_start_from_another_kind_of_policy(
    tmp_path: Path, policy: str, changes: dict[str, Any], message: str
) -> None:
    trained(SETTINGS, tmp_path)
    further = configure(policy=policy, **{"hidden": (8, 4), "start_from": str(tmp_path)} | changes)
    with pytest.raises(UserError, match=re.escape(message)):
        begun(further)
