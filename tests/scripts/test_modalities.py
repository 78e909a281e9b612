"""A rover of several modalities through every script, and what is asked of one that is missing."""

from pathlib import Path

import gymnasium
import numpy as np
import onnxruntime
import pytest

from rlmaml.base.plain_data import read_json
from rlmaml.deploy.adaptable import load
from tests.rlmaml.training.conftest import plain_figures
from tests.scripts.test_scripts import TINY, Run, run, run_script

__all__ = ["plain_figures", "run"]

SIZES = ("--tasks", 3, "--episodes", 2, "--steps", 1)
SMALL = ("--features", 4, "--filters", 2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run too short to be good."""
    run_dir = tmp_path_factory.mktemp("runs") / "rover"
    words = ("RoverGoal-v0", "--variant", "modalities", *TINY, *SMALL, "--iterations", 1)
    assert run_script("train_locomotion.py", *words, "--run-dir", run_dir) == 0
    return run_dir


def test_one_modality_is_missing_in_all_held_out_tasks_and_the_rest_is_as_drawn(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for missing in ("none", "ranges", "picture"):
        path = tmp_path / f"{missing}.json"
        assert run("evaluate.py", trained, *SIZES, "--task", f"missing={missing}", "--json", path) == 0
        assert f"3 held-out tasks with missing={missing}, 2 episodes each" in capsys.readouterr().out
        found[missing] = read_json(path)
        assert found[missing]["config"]["task"] == [f"missing={missing}"]
    assert [found[name]["tasks"]["missing"] for name in found] == [[0] * 3, [1] * 3, [3] * 3]
    for name in ("distance", "obstacles", "wear"):
        assert found["none"]["tasks"][name] == found["picture"]["tasks"][name]
        assert found["none"]["tasks"][name][0] != found["none"]["tasks"][name][1]
    assert run("evaluate.py", trained, *SIZES, "--task", "missing=legs") == 2
    assert '"missing" may be 0 none, 1 ranges, 2 wheels, 3 picture' in capsys.readouterr().err
    assert run("evaluate.py", trained, *SIZES, "--task", "missing=none", "--beyond") == 2
    assert "--beyond draws tasks outside of the training range" in capsys.readouterr().err


def test_all_encoders_adapt_to_recorded_episodes_and_the_file_knows_the_parts(
    tmp_path: Path, trained: Path, run: Run
) -> None:
    recorded, new = tmp_path / "episodes.npz", tmp_path / "new.safetensors"
    few = ("--task", "missing=picture", "--episodes-per-step", 2, "--record", recorded)
    assert run("adapt.py", trained, *few, "--output", tmp_path / "other.safetensors") == 0
    assert run("adapt.py", trained, "--episodes", recorded, "--output", new) == 0
    policy = load(new)
    assert policy.steps_taken == 1
    assert [part.name for part in policy.sizes.parts] == ["picture", "ranges", "wheels"]
    before, after = load(trained).weights, policy.weights
    assert all((before[name] != after[name]).any() for name in before if name.startswith(("encoder1.", "layer")))


@pytest.mark.usefixtures("operators_read_once")
@pytest.mark.slow
def test_a_policy_with_encoders_is_exported_and_reported(
    tmp_path: Path, trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = load(trained)
    assert run("export.py", trained, "--normalised", "--output", "exported") == 0
    card = read_json(Path("exported/policy-normalised.json"))
    assert [part["name"] for part in card["network"]["parts"]] == ["picture", "ranges", "wheels"]
    assert card["observation"]["names"][287:290] == ["picture rover 11 11", "range_0", "range_1"]
    env = gymnasium.make("RoverGoal-v0", variant="modalities")
    seen = np.asarray(env.reset(seed=0)[0], np.float32)
    session = onnxruntime.InferenceSession("exported/policy-normalised.onnx")
    (action,) = session.run(None, {session.get_inputs()[0].name: seen[None]})
    np.testing.assert_allclose(action[0], policy.act(seen), atol=1e-5)
    assert run("report.py", trained, *SIZES, "--output", "page.html") == 0


def test_any_other_kind_acts_on_the_flat_vector_and_the_kind_is_refused_where_there_are_no_parts(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("RoverGoal-v0", *TINY, "--iterations", 1, "--run-dir", tmp_path / "flat")
    assert run("train_locomotion.py", *words, "--variant", "modalities", "--policy", "gaussian") == 0
    assert load(tmp_path / "flat").weights["layer0.weight"].shape == (8, 298)
    assert run("train_locomotion.py", *words, "--policy", "multimodal", "--overwrite") == 2
    assert "observations here are one vector of 10 numbers. Choose another kind" in capsys.readouterr().err
    assert run("train_locomotion.py", *words, "--variant", "modalities", "--part-scales", 1, "--overwrite") == 2
    assert "has 1 numbers, but observations here have 3 parts: picture, ranges, wheels" in capsys.readouterr().err


@pytest.mark.slow
def test_a_film_of_it_says_what_is_missing(tmp_path: Path, trained: Path, run: Run) -> None:
    pytest.importorskip("OpenGL")
    film = tmp_path / "film.gif"
    assert run("render.py", trained, "--task", "missing=picture", "--episodes-per-step", 2, "--output", film) == 0
    assert film.stat().st_size > 1000


@pytest.mark.slow
def test_models_of_demonstrations_and_of_dynamics_have_an_encoder_for_each_part(
    tmp_path: Path, trained: Path, run: Run
) -> None:
    common = ("--policy", "multimodal", *SMALL, "--hidden", 8, "--iterations", 1, "--tasks", 2, "--no-pretrained")
    own: tuple[object, ...] = (
        "--demonstrator",
        trained,
        "--train-tasks",
        3,
        "--test-tasks",
        2,
        "--shots",
        1,
        "--queries",
        1,
    )
    own += ("--test-shots", 1, "--test-episodes", 1, "--evaluation-steps", 1, "--evaluation-tasks", 2)
    assert run("train_imitation.py", *own, *common, "--run-dir", tmp_path / "imitation") == 0
    assert [part.name for part in load(tmp_path / "imitation").sizes.parts] == ["picture", "ranges", "wheels"]
    robots = ("--train-robots", 3, "--test-robots", 2, "--episode-steps", 4, "--evaluation-tasks", 2)
    words = ("RoverGoal-v0", "--variant", "modalities", *robots, *common)
    assert run("train_dynamics.py", *words, "--run-dir", tmp_path / "dynamics") == 0
    weights = load(tmp_path / "dynamics").weights
    assert weights["encoder3.weight"].shape == (4, 2)  # the action
