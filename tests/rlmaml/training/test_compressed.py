import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import as_policy, load
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.matrices import Kept, filled, multiplied
from rlmaml.policies.sizes import Sizes
from rlmaml.settings.policy import CompressionSettings
from rlmaml.settings.whole import Settings, configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.compressed import begin_compressed, compressed
from rlmaml.training.run import train
from rlmaml_envs import TaskVectorEnv, make_tasks_env
from tests.rlmaml.shapes import shapes_checked

SETTINGS = configure(
    "meta-sgd",
    iterations=2,
    num_tasks=2,
    num_episodes=3,
    horizon=6,
    hidden=(8,),
    evaluation_tasks=2,
    evaluation_episodes=2,
    evaluation_steps=1,
    figure_interval=0,
    video_interval=0,
    cg_iterations=3,
    threads=1,
    rollout_threads=1,
)
HALF, RANK = CompressionSettings(prune=0.5), CompressionSettings(low_rank=1)


def make_env(num_envs: int) -> TaskVectorEnv:
    return make_tasks_env("Navigation2D-v0", num_envs, 6, variant="finn2017")


def go_on(directory: Path, settings: Settings) -> Checkpoint:
    train(settings, make_env, directory, resume=True, progress=False)
    return load_checkpoint(RunDirectory(directory).checkpoint)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    with shapes_checked(False):
        directory = tmp_path_factory.mktemp("source")
        train(SETTINGS, make_env, directory / "run", progress=False)
        yield RunDirectory(directory / "run")


def kept_in(checkpoint: Checkpoint) -> dict[str, Kept]:
    network = as_policy(checkpoint).network
    assert isinstance(network, GaussianPolicy)
    return network.kept


def zeros(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Which entries of every whole matrix are exactly 0."""
    whole = filled(checkpoint.meta.params, kept_in(checkpoint))
    return {name: tensor == 0 for name, tensor in whole.items() if tensor.dim() == 2}


@pytest.mark.parametrize("change", [HALF, RANK], ids=["pruned", "of low rank"])
def test_a_smaller_run_goes_on_where_the_training_was_and_resumes_to_the_same_bits(
    source: RunDirectory, tmp_path: Path, change: CompressionSettings
) -> None:
    trained = load_checkpoint(source.checkpoint)
    smaller = compressed(trained, change, 2)
    assert (smaller.iteration, smaller.settings.run.iterations) == (2, 4)
    straight, halved = RunDirectory(tmp_path / "straight"), RunDirectory(tmp_path / "halved")
    for directory in (straight, halved):
        begin_compressed(smaller, source, directory, overwrite=False)
    whole = go_on(straight.path, smaller.settings)
    half = go_on(halved.path, smaller.settings.changed(iterations=3))
    resumed = go_on(halved.path, smaller.settings)
    assert whole.iteration == resumed.iteration == 4
    for ours, theirs, half_way in zip(resumed.meta, whole.meta, half.meta, strict=True):
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert not any(torch.equal(ours[name], half_way[name]) for name in ours)
    lines = straight.metrics.read_text().splitlines()
    assert lines[:2] == source.metrics.read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [0, 1, 2, 3]
    assert straight.read_evaluation()["returns"]["mean"] == halved.read_evaluation()["returns"]["mean"]
    if change is HALF:
        gone, still = zeros(smaller), zeros(resumed)
        assert {name: int(mask.sum()) for name, mask in gone.items()} == {"layer0.weight": 8, "layer1.weight": 8}
        assert all(torch.equal(still[name], mask) for name, mask in gone.items())
    else:
        assert torch.linalg.matrix_rank(multiplied(resumed.meta.params)["layer0.weight"]) == 1


def test_a_factored_run_can_be_pruned_too_and_read_wherever_a_policy_is(source: RunDirectory, tmp_path: Path) -> None:
    factored = compressed(load_checkpoint(source.checkpoint), RANK, 0)
    first, second = RunDirectory(tmp_path / "first"), RunDirectory(tmp_path / "second")
    begin_compressed(factored, source, first, overwrite=False)
    both = compressed(load_checkpoint(first.checkpoint), HALF)
    assert both.settings.run.iterations == 3  # one more at least
    begin_compressed(both, first, second, overwrite=False)
    after = go_on(second.path, both.settings)
    assert sorted(kept_in(after)) == [f"layer{i}.weight.{side}" for i in (0, 1) for side in ("left", "right")]
    policy = load(second.path)
    env = make_env(3)
    env.set_tasks(env.sample_tasks(1, [0]))
    adapted = policy.adapt(policy.record(env, 0))
    stored = adapted.checkpoint
    assert all(torch.equal(own, zeros(after)[name]) for name, own in zeros(stored).items())
    assert not torch.equal(stored.meta.params["layer0.weight.left"], after.meta.params["layer0.weight.left"])


def test_what_cannot_be_made_smaller_is_refused(source: RunDirectory) -> None:
    trained = load_checkpoint(source.checkpoint)
    for given, change, words in (
        (trained, CompressionSettings(), "^Give one of --prune and --low-rank"),
        (trained, CompressionSettings(prune=0.5, low_rank=2), "^Give one of --prune and --low-rank"),
        (trained._replace(steps_taken=1), HALF, "has adapted to a task"),
        (trained, CompressionSettings(low_rank=2), "^--low-rank is 2; .* legal is 1 to 1"),
    ):
        with pytest.raises(UserError, match=words):
            compressed(given, change)
    with pytest.raises(UserError, match=r"^--iterations is -1"):
        compressed(trained, HALF, -1)


def test_a_policy_whose_student_learns_from_a_teacher_is_refused_and_another_kind_is_not(source: RunDirectory) -> None:
    trained = load_checkpoint(source.checkpoint)
    for kind, sizes in (("gru", trained.sizes), ("latent", Sizes(4, 2, extended=True, task=2))):
        settings = configure("rma" if kind == "latent" else "maml-trpo", kind, hidden=(8,), memory=4)
        policy = make_policy(kind, settings.network, sizes)
        other = trained._replace(settings=settings, meta=Meta(policy.init(0), {}), sizes=sizes)
        if kind == "gru":
            assert compressed(other, HALF).settings.network.kept
        else:
            with pytest.raises(UserError, match="whose student learns from a teacher cannot be pruned or factored"):
                compressed(other, HALF)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 2.0])
@pytest.mark.usefixtures("unchecked")
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=rf"^--prune is {share}; it must be a share above 0 and below 1\.$"):
        CompressionSettings(prune=share)


def test_nothing_is_written_over_and_nothing_begins_without_its_record(source: RunDirectory, tmp_path: Path) -> None:
    smaller = compressed(load_checkpoint(source.checkpoint), HALF, 0)
    with pytest.raises(UserError, match="already holds a run"):
        begin_compressed(smaller, source, source, overwrite=False)
    with pytest.raises(UserError, match="is the run that is to be made smaller"):
        begin_compressed(smaller, source, RunDirectory(source.path / ".." / "run"), overwrite=True)
    bare, target = RunDirectory(tmp_path / "bare"), RunDirectory(tmp_path / "target")
    with pytest.raises(UserError, match="tells of 0 of the run's 2 meta-iterations"):
        begin_compressed(smaller, bare, target, overwrite=False)
    assert not target.path.exists()
    begin_compressed(smaller, source, target, overwrite=False)
    with pytest.raises(UserError, match="already holds a run"):
        begin_compressed(smaller, source, target, overwrite=False)
    begin_compressed(smaller, source, target, overwrite=True)
    assert load_checkpoint(target.checkpoint).settings == smaller.settings
