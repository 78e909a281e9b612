import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import as_policy, load
from rlmaml.deploy.driver import Driver
from rlmaml.deploy.export import Actor, export_program, write_onnx
from rlmaml.deploy.robot import robot_of
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import sizes_of
from rlmaml.sampling.recorded import read_episodes, write_episodes
from rlmaml.settings.methods.registry import METHODS, find_method
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import Checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml_envs import KNOWN_IDS, make_tasks_env
from rlmaml_envs.registry import load_family
from tests.rlmaml.deploy.trained import LIVES, checkpoint, navigation
from tests.rlmaml.shapes import shapes_checked

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def code_with(word: str) -> str:
    code: str
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if word in code]
    return code


def test_the_policy_is_used_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(tmp_path / "runs" / "Navigation2D-v0-finn2017-seed0")
    directory.make()
    save_checkpoint(directory.checkpoint, checkpoint())
    policy = load(directory.path)
    write_episodes(tmp_path / "episodes.npz", policy.record(navigation(), 0))
    names: dict[str, Any] = {}
    exec(code_with("adapted.act"), names)
    assert names["action"].shape == (2,)
    assert names["adapted"].steps_taken == 1


def test_a_policy_that_remembers_is_used_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = RunDirectory(tmp_path / "runs" / "memory")
    directory.make()
    save_checkpoint(directory.checkpoint, checkpoint(LIVES))
    policy = load(directory.path)
    episodes = policy.record(navigation(), 0)
    write_episodes(tmp_path / "episodes.npz", episodes)
    names: dict[str, Any] = {"load": load, "read_episodes": read_episodes}
    exec(code_with("Driver"), names)
    adapted = policy.adapt(episodes)
    assert adapted.memory is not None
    np.testing.assert_array_equal(names["action"], Driver(adapted).act([0.0, 0.0], [-0.4])[0])
    assert np.abs(names["action"] - Driver(policy).act([0.0, 0.0])[0]).max() > 1e-6
    exploring = Driver(policy, noise=np.random.default_rng(0))
    assert not np.array_equal(exploring.act([0.0, 0.0]), Driver(policy).act([0.0, 0.0]))
    assert policy.adapt(episodes._replace(log_probs=None)).memory is not None


@pytest.mark.usefixtures("operators_read_once")
def test_an_exported_policy_drives_a_gymnasium_environment_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rover = make_tasks_env("RoverGoal-v0", 1)
    settings, sizes = configure(env_id="RoverGoal-v0", variant="worn", horizon=100, hidden=(8,)), sizes_of(rover)
    params = make_policy("gaussian", settings.network, sizes).init(0)
    policy = as_policy(Checkpoint(Meta({name: 3 * value for name, value in params.items()}, {}), 0, settings, sizes))
    actor = Actor(policy, robot_of(rover, normalised=True).actuation)
    write_onnx(export_program(actor), tmp_path / "policy-normalised.onnx", actor, {})
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code_with("onnxruntime"), names)
    env = gymnasium.make("RoverGoal-v0")
    observation, expected = env.reset(seed=0)[0], 0.0
    for _ in range(100):
        observation, reward, *_ = env.step(policy.act(observation))
        expected += float(reward)
    assert names["total"] == pytest.approx(expected, rel=1e-4)
    assert abs(expected) > 1.0


def test_the_loop_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, setting = code_with("meta_train"), "iterations=3"
    assert code.count(setting) == 1
    with shapes_checked(False):
        exec(code.replace(setting, "iterations=3, num_tasks=4, num_episodes=5"), {})
    assert re.search(r"^2: return -\d+\.\d before, -\d+\.\d after adaptation$", capsys.readouterr().out, re.MULTILINE)


def test_every_file_and_option_the_readme_names_exists() -> None:
    for path in re.findall(r"`((?:rlmaml|envs|scripts|tests)/[\w./]*)`|\]\(([\w./]+)\)", README):
        assert (ROOT / "".join(path)).exists(), path


def test_the_table_of_methods_has_every_one_with_its_file_and_the_lines_in_it() -> None:
    rows = re.findall(r"^\| (`.*?) \|.*\| `(rlmaml/algorithms/\w+\.py)` \| (\d+) \|", README, re.MULTILINE)
    named = {name for names, _, _ in rows for name in re.findall(r"`([\w+-]+)`", names)}
    assert named == set(METHODS)
    for names, path, lines in rows:
        assert {find_method(name).module.replace(".", "/") + ".py" for name in re.findall(r"`([\w+-]+)`", names)} == {
            path
        }
        assert len((ROOT / path).read_text().splitlines()) == int(lines), path


def test_the_table_of_families_names_every_parameter_of_their_tasks_with_its_unit() -> None:
    listed: dict[str, dict[str, str]] = {}
    ids: list[str] = []
    for first, *_, last in re.findall(r"^\| ((?:`\w+-v\d`(?:, )?)*) ?\|(.*?)\|(.*?)\|(.*) \|$", README, re.MULTILINE):
        ids = re.findall(r"`(.*?)`", first) or ids
        for env_id in ids:
            listed.setdefault(env_id, {}).update(re.findall(r"`(\w+)`(?: ([a-z/]+))?", last))
    assert set(listed) == set(KNOWN_IDS)
    for env_id, parameters in listed.items():
        units = [dict(variant.task_units) for variant in load_family(env_id).variants.values()]
        assert parameters == {name: unit for one in units for name, unit in one.items()}, env_id


def test_every_option_the_readme_names_is_explained_by_a_script(help_texts: dict[str, str]) -> None:
    text = "".join(help_texts.values())
    for option in set(re.findall(r"--[a-z][a-z-]+", README)) - {"--logdir", "--nproc-per-node", "--torch-backend"}:
        assert option in text, option
