import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlmaml.base.errors import UserError
from rlmaml.families.folders import read_classes
from rlmaml.policies.kinds import make_policy
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.recorded import read_episodes
from rlmaml.settings.memory_needed import check_draws_fit
from rlmaml.settings.whole import configure
from rlmaml.terminal.command import run_command
from rlmaml.training.run import train
from tests.scripts.test_scripts import TINY, Run, run

__all__ = ["run"]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--tasks", 4_000_000, "--episodes", 2000), "A meta-iteration on 4000000 tasks"),
        (("--hidden", 10_000_000, 10_000_000), "A meta-iteration on 2 tasks"),
        (("--evaluation-tasks", 100_000_000), "The evaluation of 200000000 episodes"),
        (("--evaluation-steps", 10**10), "after each of 10000000000 steps"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_with_the_number(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], more: tuple[object, ...], what: str
) -> None:
    assert run("train_nav.py", *TINY, *more, "--run-dir", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert what in said
    assert "GiB of memory at least" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("train_sinusoid.py", "--tasks", 100_000_000), "A meta-iteration on 100000000 tasks"),
        (("train_sinusoid.py", "--evaluation-tasks", 900_000_000), "Scoring 900000000 tasks"),
        (("train_sinusoid.py", "--shots", 4_000_000_000_000), "A wave of 4000000000020 points"),
        (("train_sinusoid.py", "--test-shots", 4_000_000_000_000), "A wave of 4000000000100 points"),
        (
            ("train_sinusoid.py", "--test-shots", 10, 1_000_000, "--evaluation-tasks", 1_000_000),
            "Scoring 1000000 tasks",
        ),
        (("train_sinusoid.py", "--hidden", 10_000_000, 10_000_000), "A policy of kind gaussian"),
        (("train_recommender.py", "--embedding", 1 << 40), "A policy of kind embedded"),
        (("train_sinusoid.py", "--evaluation-steps", 10**10), "Scoring 1000 tasks after each of 10000000000 steps"),
        (("train_few_shot.py", "--filters", 10_000_000), "Scoring 600 tasks"),
        (("train_few_shot.py", "--tasks", 50_000_000), "A meta-iteration on 50000000 tasks"),
        (
            ("train_dynamics.py", "Navigation2D-v0", "--train-robots", 900_000_000),
            "in each of 2700000000 copies",
        ),
    ],
)
def test_supervised_tasks_that_do_not_fit_into_memory_are_refused_with_the_number(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], more: tuple[object, ...], what: str
) -> None:
    assert run(*more, "--run-dir", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert what in said
    assert "GiB of memory at least" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("algorithm", ["maml-trpo", "rl2", "cavia"])
def test_episodes_to_be_lived_that_do_not_fit_into_memory_are_refused_before_a_training(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], algorithm: str
) -> None:
    words = (
        "--algorithms",
        algorithm,
        "--seeds",
        0,
        "--tasks",
        2,
        "--lived",
        0,
        10**11,
        "--output",
        tmp_path / "there",
    )
    search = ("--search", "cmaes") if algorithm == "cavia" else ()
    assert run("compare.py", *words, *search) == 2
    said = capsys.readouterr().err
    assert "Living 100000000000 episodes on each of 2 tasks" in said
    assert "GiB of memory at least" in said
    assert not list(tmp_path.rglob("*.safetensors"))


def test_steps_of_a_trained_policy_that_do_not_fit_into_memory_are_refused_with_the_number(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = tmp_path / "run"
    assert run("train_nav.py", *TINY, "--run-dir", trained) == 0
    shown = (
        "train_imitation.py",
        "--demonstrator",
        trained,
        "--demonstrator-steps",
        10**10,
        "--run-dir",
        tmp_path / "s",
    )
    few = ("--tasks", 2, "--episodes", 2)
    for words in (shown, ("evaluate.py", trained, *few, "--steps", 10**11), ("report.py", trained, "--steps", 10**10)):
        capsys.readouterr()
        assert run(*words) == 2, words
        said = capsys.readouterr().err
        assert "after each of 1000000000" in said
        assert "GiB of memory at least" in said


def test_what_is_measured_and_does_not_fit_into_memory_is_refused_with_the_number(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("benchmark_supervised.py", "--tasks", 100_000_000, "--repeats", 1) == 2
    assert "A meta-iteration on 100000000 tasks would need" in capsys.readouterr().err
    settings = configure(num_tasks=2, num_episodes=3, horizon=5)
    check_draws_fit(settings, 1)
    with pytest.raises(UserError, match=r"1000000000000 draws of tasks and episodes would need .*fewer --draws"):
        check_draws_fit(settings, 10**12)


@pytest.mark.parametrize("available", [1 << 12, 50_000])
def test_a_picture_or_a_folder_that_unpacks_to_more_than_there_is_is_refused_before_it_is_decoded(
    tmp_path: Path, available: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.new("L", (200, 300)).save(tmp_path / name / "1.png")
    monkeypatch.setattr("rlmaml.base.memory.available_memory", lambda: float(available))
    what = "2 pictures of" if available < 10_000 else "1.png, as it says, would need"
    with pytest.raises(UserError, match=what):
        read_classes(tmp_path, (1, 60, 60) if available < 10_000 else (1, 6, 6), processes=1, progress=False)


def test_a_training_by_the_api_is_refused_before_its_environment_is_made(tmp_path: Path) -> None:
    def never(num_envs: int) -> object:
        raise AssertionError

    with pytest.raises(UserError, match="GiB of memory at least"):
        train(configure(num_tasks=4_000_000, num_episodes=2000, horizon=100), never, tmp_path / "run")  # type: ignore[arg-type]


def test_a_network_that_only_a_file_says_it_has_is_refused() -> None:
    with pytest.raises(UserError, match="A policy of kind gaussian would need"):
        make_policy("gaussian", configure(hidden=(10_000_000, 10_000_000)).network, Sizes(2, 2))


def test_a_recording_that_unpacks_to_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 45,)})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("rewards.npy", header.getvalue())
    small, huge = len(header.getvalue()).to_bytes(4, "little"), (0xFFFFFF00).to_bytes(4, "little")
    entry = content.getvalue().index(b"PK\x01\x02")
    directory = content.getvalue()[entry:].replace(small, huge)
    path = tmp_path / "e.npz"
    path.write_bytes(content.getvalue()[:entry] + directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlmaml.base.memory.available_memory", lambda: float(1 << 30))
        with pytest.raises(UserError, match=r"e.npz says it holds would need 4\.0 GiB of memory at least; 1\.0 GiB"):
            read_episodes(path)
        patch.setattr("rlmaml.base.memory.available_memory", lambda: float(1 << 40))
        with pytest.raises(UserError, match="no readable"):  # where it fits, its contents are looked at
            read_episodes(path)


@pytest.mark.parametrize("error", [MemoryError("9 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9")])
def test_memory_that_runs_out_all_the_same_ends_a_script_with_a_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    for name in ("signal.signal", "warnings.formatwarning"):
        monkeypatch.setattr(name, lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        run_command(fail)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: There is not enough memory: ")
