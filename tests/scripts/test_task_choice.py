import re
from pathlib import Path

import pytest

from rlmaml.deploy.adaptable import load
from tests.scripts.test_scripts import TINY, Run, run, run_script

__all__ = ["run"]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on changed half-cheetahs, too short to be good."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    words = ("HalfCheetahChanged-v0", "--variant", "any", *TINY, "--iterations", 1)
    assert run_script("train_locomotion.py", *words, "--run-dir", run_dir) == 0
    return run_dir


def adapted_to(run_dir: Path, output: Path, *words: object) -> str:
    """The task in words, which the adapted policy has kept."""
    few = ("--episodes-per-step", 2, "--output", output, "--overwrite")
    assert run_script("adapt.py", run_dir, *few, *words) == 0
    return str(load(output).adaptation["task"])


def test_a_part_of_a_task_is_chosen_and_the_rest_is_drawn_by_the_seed_or_is_the_mean(
    tmp_path: Path, changed: Path
) -> None:
    output, some = tmp_path / "a.safetensors", ("--task", "motor_gain.bthigh=-1", "dead_joint=fshin")
    drawn = [adapted_to(changed, output, *some, "--seed", seed) for seed in (3, 3, 6)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all("motor_gain = (-1, " in one and "dead_joint = 5" in one for one in drawn)
    mean = [adapted_to(changed, output, *some, "--rest", "mean", "--seed", seed) for seed in (3, 6)]
    assert mean[0] == mean[1]
    # One of four kinds is inverted motors, one or two of six: the mean gain is 1 - 2 / 4 * 1.5 / 6 = 0.875.
    gains = re.search(r"motor_gain = \((.*?)\)", mean[0])
    assert gains
    assert [float(gain) for gain in gains[1].split(", ")[1:]] == pytest.approx([0.875] * 5, abs=0.06)
    assert adapted_to(output, tmp_path / "b.safetensors", "--seed", 9) == mean[1]
    assert adapted_to(output, tmp_path / "b.safetensors", "--seed", 9, "--rest", "mean") != mean[1]
    built = adapted_to(changed, output, *some, "--variant", "unchanged")
    assert "motor_gain = (-1, 1, 1, 1, 1, 1)" in built
    assert "encoder_offset = (0, 0, 0, 0, 0, 0) rad" in built


@pytest.mark.parametrize("script", ["adapt.py", "render.py", "export.py", "evaluate.py"])
def test_the_help_of_a_run_lists_what_a_task_of_its_family_has(
    changed: Path, run: Run, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    assert run(script, changed, "--help") == 0
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert '"encoder_offset": (6,) in [-0.3, 0.3] rad' in text
    assert "1 bthigh, 2 bshin" in text
    assert 'elements of "motor_gain" are bthigh, bshin' in text
    assert run(script, "--seed", 3, "--no-overwrite", changed, "--variant", "damaged", "--help") == 0
    assert "dead_joint" in (text := capsys.readouterr().out)
    assert "encoder_offset" not in text
    assert run(script, "--help") == 0
    assert "encoder_offset" not in capsys.readouterr().out


def test_a_choice_without_a_mean_is_refused_by_name(
    tmp_path: Path, changed: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--variant", "damaged", "--rest", "mean", "--output", tmp_path / "a.safetensors")
    assert run("adapt.py", changed, *words) == 2
    assert '"dead_joint" is a choice, of which training has no mean' in capsys.readouterr().err
