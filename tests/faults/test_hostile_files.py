"""Malicious, cut and damaged files: scripts that read them end with one sentence, execute nothing and leave nothing."""

import contextlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import read_json
from rlmaml.deploy.adaptable import load
from rlmaml.sampling.recorded import write_episodes
from rlmaml.settings.whole import as_method
from rlmaml.storage.checkpoint import load_checkpoint, save_checkpoint
from rlmaml.storage.metrics_file import metrics_line
from rlmaml.storage.run_directory import RunDirectory, write_json
from rlmaml.training.run import train
from tests.faults.trainings import SETTINGS, make_env
from tests.faults.writers import TRAINING, contents
from tests.scripts.test_scripts import run_script

READERS: tuple[tuple[object, ...], ...] = (
    ("adapt.py",),
    ("evaluate.py",),
    ("export.py",),
    ("render.py",),
    ("report.py",),
    ("solvers.py",),
    ("train_nav.py", *TRAINING, "--resume", "--run-dir"),
)
"""Scripts that read a run's checkpoint, without the run's directory at their end."""


class Executed:
    """What would make a file, were it unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def pickled(trace: Path, content: bytes) -> bytes:
    return pickle.dumps(Executed(trace))


def pickled_by_torch(trace: Path, content: bytes) -> bytes:
    archive = io.BytesIO()
    torch.save({"params": Executed(trace)}, archive)
    return archive.getvalue()


def pickled_by_numpy(trace: Path, content: bytes) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, observations=np.array([Executed(trace)], dtype=object), actions=np.zeros((1, 2)))
    return archive.getvalue()


def cut(trace: Path, content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(trace: Path, content: bytes) -> bytes:
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 1 << 6
    return bytes(damaged)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(SETTINGS.changed(iterations=1, kept_checkpoints=1), make_env, run_dir, progress=False)
    write_episodes(run_dir.parent / "episodes.npz", load(run_dir).record(make_env(2), 0))
    return run_dir


DAMAGES = (pickled, pickled_by_torch, pickled_by_numpy, cut, flipped)


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_reader_of_a_checkpoint_refuses_another_content(
    tmp_path: Path, trained: Path, damage: Callable[[Path, bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir, trace = tmp_path / "run", tmp_path / "executed"
    shutil.copytree(trained, run_dir)
    checkpoint = RunDirectory(run_dir).checkpoint
    checkpoint.write_bytes(damage(trace, checkpoint.read_bytes()))
    before = contents(run_dir)
    for reader in READERS:
        assert run_script(*map(str, reader), run_dir) == 2, reader
        said = capsys.readouterr().err
        assert said.startswith("error: "), reader
        assert checkpoint.name in said, reader
    assert not trace.exists()
    assert contents(run_dir) == before


@pytest.mark.parametrize("damage", DAMAGES)
def test_adapt_refuses_another_content_than_a_recording(
    tmp_path: Path, trained: Path, damage: Callable[[Path, bytes], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    recording, trace = tmp_path / "episodes.npz", tmp_path / "executed"
    recording.write_bytes(damage(trace, (trained.parent / "episodes.npz").read_bytes()))
    words = (trained, "--episodes", recording, "--output", tmp_path / "adapted.safetensors")
    assert run_script("adapt.py", *words) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not trace.exists()
    assert {path.name for path in tmp_path.iterdir()} == {recording.name}


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "evaluation.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_a_run_s_other_files_hold_scripts_say_what_is_wrong_or_do_without_them(
    tmp_path: Path,
    trained: Path,
    name: str,
    damage: Callable[[Path, bytes], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_dir, trace = tmp_path / "run", tmp_path / "executed"
    shutil.copytree(trained, run_dir)
    file = run_dir / name
    file.write_bytes(damage(trace, file.read_bytes()))
    code = run_script("summarise.py", run_dir)
    said = capsys.readouterr().err
    assert code == 0 or (code == 2 and said.startswith("error: "))
    assert not trace.exists()


OWN_CODE = """import pathlib
import torch
from rlmaml_envs.navigation import Navigation2D
pathlib.Path("executed").touch()
class Net(torch.nn.Linear): pass
class Robot(Navigation2D): pass
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of somebody's own in the working directory; where it is run it leaves the trace that is given."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN_CODE)
    return tmp_path / "executed"


def assert_refused(capsys: pytest.CaptureFixture[str], script: str, *words: object) -> None:
    assert run_script(script, *words) == 2, (script, words)
    assert "error: " in capsys.readouterr().err, (script, words)


@pytest.mark.parametrize(
    "options",
    [
        "policy: own.py:Net",
        "--policy: own.py:Net",
        "family: own.py:Robot",
        "family: own:Robot",
        '"policy=own.py:Net": true',
        'seed: "--policy=own.py:Net"',
        "hidden: [8, --family=own.py:Robot]",
        "env-id: own:Robot-v0",
        "variant: own.py:Robot",
        "policy: !!python/name:own.Net",
        'seed: !!python/object/apply:os.mkdir ["executed"]',
    ],
)
def test_no_code_runs_because_a_file_of_options_names_it(
    own_code: Path, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text(options)
    config = ("--config", "mine.yaml", "--iterations", 1, "--run-dir", "run")
    assert_refused(capsys, "train_nav.py", *config)
    assert_refused(capsys, "train_locomotion.py", *config)
    for kind in ("sinusoid", "few_shot", "imitation", "dynamics", "recommender"):
        assert_refused(capsys, f"train_{kind}.py", *config)
    assert not own_code.exists()
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "names",
    [{"policy": "own.py:Net"}, {"env_id": "own.py:Robot"}, {"env_id": "own:Robot-v0"}, {"variant": "own.py:Robot"}],
)
def test_no_code_runs_because_a_run_names_it(
    own_code: Path, trained: Path, names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(shutil.copytree(trained, "run"))
    stored = load_checkpoint(run.checkpoint)
    family = {"from": "own.py:Robot", "sheet": dict(stored.family)["sheet"]}
    policy = names.get("policy", "gaussian")
    settings = as_method(stored.settings, stored.settings.algorithm, policy).changed(
        **{name: value for name, value in names.items() if name != "policy"}
    )
    save_checkpoint(run.checkpoint, stored._replace(settings=settings, family=family))
    write_json(run.settings, read_json(run.settings) | {"settings": settings.as_plain(), "family": family})
    for reader in READERS:
        assert_refused(capsys, *map(str, reader), run.path)
    assert_refused(capsys, "train_locomotion.py", "--config", run.settings, "--run-dir", "other")
    if "policy" in names:  # of others the family that a command trains is its own
        assert_refused(capsys, "train_nav.py", "--config", run.settings, "--run-dir", "other")
    with contextlib.suppress(UserError):  # a policy that is ours acts wherever it fits
        load(run.path).record(make_env(2), 0)
    assert not own_code.exists()


@pytest.mark.parametrize("more", [{"family": "own.py:Robot"}, {"test_shots": [1, "--family=own.py:Robot"]}])
def test_no_code_runs_because_a_run_on_demonstrations_names_it(
    own_code: Path, trained: Path, more: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(shutil.copytree(trained, "run"))
    stored = load_checkpoint(run.checkpoint)
    save_checkpoint(run.checkpoint, stored._replace(settings=stored.settings.changed(env_id="imitation")))
    run.evaluation.unlink()
    run.metrics.write_text(metrics_line(0, {"query_loss": 1.0}))  # by which it is known as a run on examples
    made_by = {"demonstrator": str(trained), **more}
    run.settings.write_text(json.dumps(read_json(run.settings) | {"made_by": made_by}))
    for script, *words in (("evaluate.py",), ("compress.py", "--prune", 0.5)):
        assert run_script(str(script), run.path, *words) == 2
        assert "made_by says" in capsys.readouterr().err
    assert not own_code.exists()
