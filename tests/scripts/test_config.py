import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rlmaml.base.plain_data import read_json
from rlmaml.settings.whole import Settings, from_plain
from tests.scripts.test_scripts import SCRIPTS, TINY, run_script


def settings_of(run_dir: Path) -> Settings:
    """What a run says of itself."""
    written: dict[str, Any] = read_json(run_dir / "run.json")
    return from_plain(written["settings"])


def test_a_run_begins_from_the_settings_of_another_and_any_option_overrules_them(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    words = [*TINY, "--algorithm", "cavia", "--context", 3, "--max-kl", 0.07]
    assert run_script("train_nav.py", *words, "--run-dir", first) == 0
    config = ["--config", first / "run.json"]
    assert run_script("train_nav.py", *config, "--run-dir", second) == 0
    assert settings_of(second) == settings_of(first)
    assert (second / "checkpoint.safetensors").read_bytes() == (first / "checkpoint.safetensors").read_bytes()
    others = ["--algorithm", "fomaml", "--seed", 4, "--max-kl", 0.05, "--iterations", 1]
    assert run_script("train_nav.py", *others, *config, "--run-dir", third) == 0
    before, now = settings_of(first).flat(), settings_of(third).flat()
    changed = {name for name in before if before[name] != now[name]}
    assert changed == {"algorithm", "seed", "max_kl", "iterations", "adapt", "first_order", "inner_step_sizes"}
    assert (now["seed"], now["max_kl"], now["first_order"], now["adapt"]) == (4, 0.05, True, "all")
    assert now["inner_step_sizes"] == (0.1,)  # and not those that a context takes


def test_yaml_names_the_family_and_its_options_which_the_command_line_overrules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "env-id: HalfCheetahDir-v0\nvariant: rothfuss2019\ntasks: 2\nepisodes: 3\nhorizon: 5\nhidden: [8]\n"
        "iterations: 9\nevaluation-tasks: 2\nevaluation-episodes: 2\nevaluation-steps: 1\nlearn-step-sizes: false\n"
    )
    run_dir = tmp_path / "run"
    assert run_script("train_locomotion.py", "--config", path, "--iterations", 1, "--run-dir", run_dir) == 0
    run = settings_of(run_dir).run
    assert (run.env_id, run.variant, run.num_tasks, run.iterations) == ("HalfCheetahDir-v0", "rothfuss2019", 2, 1)
    assert not settings_of(run_dir).inner.learn_step_sizes
    path.write_text("iterations: many\n")
    capsys.readouterr()
    assert run_script("train_nav.py", "--config", path, "--run-dir", tmp_path / "none") == 2
    assert "iterations" in "".join(capsys.readouterr())
    path.write_text("no-such-thing: 3\n")
    assert run_script("train_nav.py", "--config", path, "--run-dir", tmp_path / "none") == 2
    assert "--no-such-thing is no option of maml-trpo" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_code_of_another_runs_policy_is_not_run_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_text(
        json.dumps({"settings": json.loads(json.dumps(plain("mine.py:Net"))), "commit": None})
    )
    assert run_script("train_nav.py", "--config", "run.json", "--run-dir", "run") == 2
    assert "Say that its code may be run: --policy mine.py:Net" in capsys.readouterr().err


def plain(policy: str) -> Any:
    """Settings of a run whose policy is a module of the user's own."""
    from rlmaml.settings.whole import configure

    return configure(policy=policy).as_plain()


def test_a_training_on_examples_begins_from_another_one_of_its_kind_and_options_overrule_it(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    words = ("--iterations", 2, "--tasks", 3, "--hidden", 4, "--evaluation-tasks", 2, "--evaluation-steps", 1)
    assert run_script("train_sinusoid.py", *words, "--no-pretrained", "--shots", 5, "--run-dir", first) == 0
    config = ("--config", first / "run.json", "--no-pretrained")
    assert run_script("train_sinusoid.py", *config, "--shots", 5, "--run-dir", second) == 0
    assert settings_of(second) == settings_of(first)
    assert (second / "checkpoint.safetensors").read_bytes() == (first / "checkpoint.safetensors").read_bytes()
    path = tmp_path / "mine.yaml"
    path.write_text("shots: 5\nwaves: li2017\niterations: 1\nalgorithm: reptile\npretrained: false\n")
    assert run_script("train_sinusoid.py", "--config", path, *words[2:], "--seed", 4, "--run-dir", third) == 0
    now = settings_of(third)
    assert (now.algorithm, now.run.iterations, now.run.num_tasks, now.run.seed) == ("reptile", 1, 3, 4)
    assert "li2017" in now.run.variant


@pytest.mark.parametrize("kind", ["sinusoid", "few_shot", "imitation", "dynamics", "recommender"])
def test_every_training_on_examples_takes_a_file_and_none_of_another_kind(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("no-such-thing: 3\n")
    (tmp_path / "run.json").write_text(json.dumps({"settings": plain("gaussian")}))
    run_dir = ("--run-dir", tmp_path / "run")
    assert run_script(f"train_{kind}.py", "--config", tmp_path / "mine.yaml", *run_dir) == 2
    assert "--no-such-thing is no option of maml-trpo" in capsys.readouterr().err
    assert run_script(f"train_{kind}.py", "--config", tmp_path / "run.json", *run_dir) == 2
    said = capsys.readouterr().err
    assert f"--config is of a run on Navigation2D-v0; this command trains on {kind.replace('_', '-')}." in said


def test_rewards_are_squared_for_inner_steps_where_they_are_costs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    defaults, environments = import_module("defaults"), import_module("environments")
    squared = {place: own for place, own in defaults.TUNED.items() if own.advantages.inner_reward_power != 1}
    assert set(squared) == {("Navigation2D-v0", "finn2017"), ("HalfCheetahVel-v0", "rothfuss2019")}
    for place, settings in squared.items():
        env = environments.environment_maker(environments.resolved(settings))(4)
        env.reset(seed=0)
        assert all((env.step(env.action_space.sample())[1] <= 0).all() for _ in range(20))
        for method in ("rl2", "rma"):
            own = defaults.tuned(*place, method).advantages
            assert (own.inner_reward_power, own.inner_advantage_scale) == (1.0, None)


def test_robust_is_fine_tuned_on_the_rewards_and_the_scale_that_pretrained_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    defaults = import_module("defaults")
    for place in defaults.TUNED.keys() - {("RoverGoal-v0", "modalities")}:
        ours, theirs = (defaults.tuned(*place, method).advantages for method in ("robust", "pretrained"))
        assert ours.inner_reward_power == theirs.inner_reward_power
        scales = [own.inner_advantage_scale or own.advantage_scale for own in (ours, theirs)]
        assert scales[0] == scales[1], place


def test_tasks_beyond_a_training_range_have_the_tuned_settings_of_their_variant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    defaults = import_module("defaults")
    for method in ("maml-trpo", "promp"):
        known, beyond = (defaults.tuned("Navigation2D-v0", f"finn2017{end}", method) for end in ("", "-beyond"))
        assert beyond == known.changed(variant="finn2017-beyond")
        assert beyond.run.iterations == 100
    assert defaults.tuned("RoverGoal-v0", "mine-beyond").flat()["hidden"] == (100, 100)
