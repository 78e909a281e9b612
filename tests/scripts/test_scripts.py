import dataclasses
import json
import re
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rlmaml.base.plain_data import read_json
from rlmaml.core.types import Meta
from rlmaml.deploy.adaptable import AdaptablePolicy, load
from rlmaml.policies.gaussian import GaussianPolicy
from rlmaml.policies.sizes import Sizes
from rlmaml.sampling.recorded import RecordedEpisodes, read_episodes, write_episodes
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.terminal.words import counted
from tests.rlmaml.deploy.trained import LIVES, student, trained_policy
from tests.rlmaml.shapes import shapes_checked
from tests.rlmaml.training.conftest import plain_figures

__all__ = ["plain_figures"]

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY: tuple[object, ...] = ("--tasks", 2, "--episodes", 3, "--horizon", 5, "--hidden", 8, "--iterations", 2)
TINY += ("--evaluation-tasks", 2, "--evaluation-episodes", 2, "--evaluation-steps", 1)

Run = Callable[..., int]


def run_script(name: str, *arguments: object) -> int:
    """Run a script as ``python scripts/NAME ARGUMENTS`` would, without checks of shapes, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch, shapes_checked(False):
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        patch.syspath_prepend(str(SCRIPTS))
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
    return 0


@pytest.fixture
def run() -> Run:
    return run_script


def test_help_explains_every_option(help_texts: dict[str, str]) -> None:
    for name, text in help_texts.items():
        # An option begins at the edge, or at that of its box; further lines of another one are indented.
        begins = re.compile(r"^[│ ]{0,2}(?=--?[a-z]|[A-Z_]{2,} )")
        _, listed = re.split(r"^ *(?:╭─|-{5}).*$", text, maxsplit=1, flags=re.MULTILINE)
        parts = "\n".join(begins.sub("\0", line).strip("│ ") for line in listed.splitlines()).split("\n\0")
        entries = parts[1:]
        assert len(entries) > 1 or name == "summarise.py"
        for entry in entries:
            assert re.search(r"[A-Z][a-z-]+[:,]? [a-z]+|show this help", entry), entry


def test_help_says_run_dir_where_a_run_is_named(help_texts: dict[str, str]) -> None:
    places = []
    for name, text in help_texts.items():
        usage, found, _ = text.partition("positional arguments")
        assert not (found and re.search(r"\bPATH\b", usage)), name
        named = re.findall(r"--(run-dir|demonstrator|acting|start-from) (\S+)", text)
        assert {value.strip("[].,") for _, value in named} <= {"RUN_DIR"}, name
        places += [option for option, _ in named]
    assert set(places) == {"run-dir", "demonstrator", "acting", "start-from"}
    assert "--beside RUN_DIR ..." in " ".join(help_texts["compress.py"].split())
    for name in ("adapt.py", "evaluate.py", "export.py", "render.py", "report.py", "summarise.py", "compress.py"):
        assert "RUN_DIR" in help_texts[name].partition("positional arguments")[0], name


def test_help_names_values_by_readable_words(help_texts: dict[str, str]) -> None:
    for name, text in help_texts.items():
        assert not re.findall(r"\{None|\bSTR\b|\bPATH\b|\[\w+ \[|default: (?:None)?\)", text), name
    assert "compare.py [-h] [OPTIONS] [FAMILY]" in help_texts["compare.py"]
    assert "benchmark.py [-h] [OPTIONS] [FAMILY]" in help_texts["benchmark.py"]


def test_which_actions_is_one_flag_of_every_script_that_measures_a_policys_return(help_texts: dict[str, str]) -> None:
    for name in ("adapt.py", "compare.py", "evaluate.py", "export.py", "render.py", "report.py"):
        assert re.search(r"--actions \{sampled,\s*mean\}", help_texts[name]), name
    others = {word for text in help_texts.values() for word in re.findall(r"--[a-z-]*(?:mean|sampled)[a-z-]*", text)}
    assert not [word for word in others if "action" in word and word != "--actions"]


def test_train_evaluate_and_summarise_work_together(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        assert run("train_nav.py", *TINY, "--seed", seed, "--run-dir", tmp_path / f"{seed}") == 0
    said = capsys.readouterr()
    assert "this run" in said.out
    printed = said.out.splitlines() + re.split(r"[\r\n]", said.err)
    returns = [line for line in printed if re.search(r"\breturn\b", line)]
    assert len(returns) >= 4
    assert all("sampled actions" in line for line in returns)

    evaluate = ["evaluate.py", tmp_path / "0", "--tasks", 3, "--episodes", 4, "--steps", 2, "--seed", 5]
    assert run(*evaluate, "--json", tmp_path / "e.json") == 0
    report = read_json(tmp_path / "e.json")
    parts = {"returns", "terms", "unstable_episodes", "per_task", "per_task_with_failed", "tasks", "config"}
    assert set(report) == parts
    assert report["returns"]["share_unstable"] == [0.0, 0.0, 0.0]
    assert report["returns"]["mean_with_failed"] == report["returns"]["mean"]
    assert len(report["returns"]["mean"]) == len(report["returns"]["std"]) == len(report["returns"]["ci95"]) == 3
    assert len(report["per_task"]) == 3
    assert len(report["tasks"]["goal"]) == 3
    assert run(*evaluate, "--json", tmp_path / "again.json") == 0
    assert read_json(tmp_path / "again.json") == report
    capsys.readouterr()
    assert run("evaluate.py", tmp_path / "0", "--json", tmp_path / "e.json") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert read_json(tmp_path / "e.json") == report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", sys.stdout)
        assert run("evaluate.py", tmp_path / "0", "--tasks", 2, "--episodes", 2, "--steps", 1) == 0
    *_, remark, title, empty, head, _ = capsys.readouterr().out.splitlines()
    assert remark.startswith("Published returns are of ")
    assert title == "Mean return on 2 held-out tasks, 2 episodes each, sampled actions:"
    assert (empty, head.split()) == ("", ["steps", "zero-shot", "1"])

    assert run("summarise.py", tmp_path / "0", tmp_path / "1") == 0
    output = capsys.readouterr().out
    assert "2 seeds" in output
    assert "of sampled actions" in output


def test_a_robot_is_trained_evaluated_beyond_its_training_range_and_timed(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    family = ["HalfCheetahVel-v0", "--variant", "rothfuss2019"]
    assert run("train_locomotion.py", *family, *TINY, "--run-dir", tmp_path / "run") == 0
    output = capsys.readouterr().out
    assert "of which velocity_error_cost" in output
    settings = read_json(tmp_path / "run" / "run.json")["settings"]["run"]
    assert (settings["env_id"], settings["variant"]) == ("HalfCheetahVel-v0", "rothfuss2019")
    evaluate = [
        "evaluate.py",
        tmp_path / "run",
        "--tasks",
        3,
        "--episodes",
        2,
        "--beyond",
        "--json",
        tmp_path / "e.json",
    ]
    assert run(*evaluate) == 0
    inner = read_json(tmp_path / "e.json")["per_task"]
    assert run(*evaluate, "--trust-region", 0.02, "--overwrite") == 0
    report = read_json(tmp_path / "e.json")
    assert [task[0] for task in report["per_task"]] == [task[0] for task in inner]
    assert report["per_task"] != inner
    assert min(report["tasks"]["velocity"]) > 3.0
    assert report["config"]["trust_region"] == 0.02
    assert set(report["terms"]) == {"velocity_error_cost", "control_cost"}
    sizes = [
        "--tasks",
        2,
        "--episodes",
        2,
        "--horizon",
        5,
        "--hidden",
        8,
        "--repeats",
        2,
        "--evaluation",
        "--json",
        tmp_path / "b.json",
    ]
    assert run("benchmark.py", *family, *sizes) == 0
    figures = read_json(tmp_path / "b.json")
    assert min(figures["simulators"].values()) > 0
    assert figures["evaluation"]["evaluation_over_physics"] > 0


def test_a_run_with_a_teacher_is_exported_and_who_has_one_is_judged_beside_it(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """After three meta-iterations; its files are the student's, who is told nothing."""
    words = ["--algorithm", "rma", *TINY, "--iterations", 3, "--memory", 4, "--minibatches", 1]
    assert run("train_nav.py", *words, "--run-dir", tmp_path / "run") == 0
    assert run("export.py", tmp_path / "run") == 0
    told = read_json(tmp_path / "run" / "export" / "policy.json")
    assert (told["network"]["kind"], told["observation"]["size"]) == ("latent", 2)
    assert told["memory"]["next_episode_on_the_same_robot"].startswith("begin as at the start")
    capsys.readouterr()
    evaluate = ["evaluate.py", tmp_path / "run", "--tasks", 3, "--episodes", 2, "--json", tmp_path / "e.json"]
    assert run(*evaluate, "--teacher") == 0
    assert "episodes, each begun anew            teacher         1" in capsys.readouterr().out
    found = read_json(tmp_path / "e.json")
    assert found["config"]["teacher"] is True
    teacher = [task[0] for task in found["per_task"]]
    assert run(*evaluate, "--steps", 0, "--overwrite") == 0
    assert teacher != [task[0] for task in read_json(tmp_path / "e.json")["per_task"]]
    for taken, message in (
        (0, "--teacher excludes --trust-region"),
        (1, "A teacher is judged as it was trained; this policy has adapted since."),
    ):
        dataclasses.replace(student(), steps_taken=taken).save(tmp_path / "adapted.safetensors")
        few = ["--tasks", 2, "--episodes", 1, "--teacher", *(() if taken else ("--trust-region", 0.1))]
        assert run("evaluate.py", tmp_path / "adapted.safetensors", *few) == 2
        assert message in capsys.readouterr().err
        (tmp_path / "adapted.safetensors").unlink()


def test_a_family_without_tasks_beyond_the_training_range_says_so(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train_locomotion.py", "HalfCheetahDir-v0", *TINY, "--run-dir", tmp_path) == 0
    capsys.readouterr()
    assert run("evaluate.py", tmp_path, "--beyond") == 2
    assert "every legal task of HalfCheetahDir-v0, finn2017, is in the training range" in capsys.readouterr().err


def test_a_kind_of_change_is_held_out_of_a_training_that_goes_on_and_is_what_is_beyond(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train_locomotion.py", "HalfCheetahChanged-v0", *TINY, "--algorithm", "oracle", "--run-dir", tmp_path]
    assert run(*train, "--hold-out", "dead") == 0
    assert run(*train, "--hold-out", "dead", "--resume", "--iterations", 3) == 0
    settings = read_json(tmp_path / "run.json")["settings"]["run"]
    assert (settings["variant"], settings["iterations"]) == ("any_but_dead", 3)
    capsys.readouterr()
    assert run(*train, "--hold-out", "offset", "--resume") == 2
    assert "--variant" in capsys.readouterr().err
    evaluate = ["evaluate.py", tmp_path, "--tasks", 4, "--episodes", 1, "--steps", 0, "--json", tmp_path / "e.json"]
    for options, is_dead in (([], False), (["--beyond"], True), (["--variant", "dead"], True)):
        assert run(*evaluate, *options, "--overwrite") == 0
        tasks = read_json(tmp_path / "e.json")["tasks"]
        assert [joint > 0 for joint in tasks["dead_joint"]] == [is_dead] * 4
    monkeypatch.syspath_prepend(str(SCRIPTS))
    compared = import_module("compare").Options("HalfCheetahChanged-v0", hold_out="dead").settings_of("maml-trpo")
    assert compared.run.variant == "any_but_dead"


def test_benchmark_writes_every_figure(tmp_path: Path, run: Run) -> None:
    sizes = [
        "--tasks",
        "2",
        "--episodes",
        "3",
        "--horizon",
        "5",
        "--inner-steps",
        "2",
        "--hidden",
        "8",
        "4",
        "--repeats",
        "3",
        "--threads",
        "1",
    ]
    assert run("benchmark.py", "Navigation2D-v0", *sizes, "--json", tmp_path / "b.json") == 0
    figures = read_json(tmp_path / "b.json")
    total = figures["seconds_per_iteration"]
    assert 0 < total["min"] <= total["median"] <= total["max"]
    parts = figures["parts"]
    assert set(parts) == {"rollout", "environment", "advantages", "adapt", "gradient", "curvature", "line_search"}
    assert all(seconds > 0 for seconds in parts.values())
    assert parts["environment"] < parts["rollout"]
    assert sum(parts.values()) - parts["environment"] < total["max"]
    assert figures["env_steps_per_second"] > 0
    assert figures["peak_memory_mb"] > 0
    assert figures["threads"] == 1
    assert figures["versions"]["torch"]
    assert run("benchmark.py", "Navigation2D-v0", *sizes, "--json", tmp_path / "b.json") == 2
    assert read_json(tmp_path / "b.json") == figures


def test_methods_are_timed_beside_each_other(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--tasks", 2, "--episodes", 3, "--horizon", 5, "--hidden", 8, "--repeats", 2, "--threads", 1]
    beside = ["--beside", "reptile", "--json", tmp_path / "b.json"]
    assert run("benchmark.py", "Navigation2D-v0", *sizes, *beside) == 0
    figures = read_json(tmp_path / "b.json")
    assert list(figures["methods"]) == ["maml-trpo", "reptile"]
    assert figures["versions"]["torch"]
    assert re.search(r"reptile +\d\.\d+ +\(min .*\)  x \d\.\d\d", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train_nav.py --episodes 0", "--episodes is 0; it must be a number above 0."),
        ("train_nav.py --iterations many", "--iterations is 'many'; it must be a whole number."),
        ("train_nav.py --iteratoins 3", "Did you mean --iterations or --cg-iterations?"),
        ("train_sinusoid.py --waves li217", "it must be one of finn2017, li2017. Did you mean li2017?"),
        ("compare.py --tsks 3", "--tsks is no option of compare.py. Did you mean --tasks?"),
        ("compare.py AntVel-v0 --hiden 64 64", "--hiden is no option of compare.py. Did you mean --hidden?"),
        ("compare.py --max-kll 3", "--max-kll is no option of compare.py. Did you mean --max-kl?"),
        ("compare.py --algorithms maml_ppo", "--algorithms is 'maml_ppo'; it must be one of maml-trpo"),
        ("compare.py --seed 3", "--seed is no option of compare.py. Use --seeds in its place."),
        (
            "compare.py --env-id AntVel-v0",
            "is no option of compare.py. Use the family's name alone, as the first word, in",
        ),
        ("compare.py --evaluation-tasks 3", "--evaluation-tasks is no option of compare.py. Use --tasks in its place."),
        ("adapt.py", "RUN_DIR is missing."),
        ("train_nav.py --env-id Nowhere-v0", "Known ids: Navigation2D-v0"),
        ("train_nav.py --variant nobody2050", "Choose one of: finn2017, rothfuss2019, dynamics"),
        ("train_nav.py --device gpu", "--device is 'gpu'; it must be cpu, cuda or cuda:N"),
        ("train_nav.py --rollout-device cuda:99", "--rollout-device is 'cuda:99', which is not available here"),
        ("train_nav.py --algorithm magic", "--algorithm is 'magic'; it must be one of maml-trpo, fomaml, e-maml"),
        ("train_nav.py --algorithm reptile --max-kl 0.1", "--max-kl is no option of reptile with a gaussian policy."),
        ("train_nav.py --policy nowhere.py:Net", "there is no file nowhere.py"),
        ("train_nav.py --policy categorical", "acts by choices, but actions here are vectors of numbers"),
        ("evaluate.py /nowhere --device tpu", "--device is 'tpu'; it must be cpu, cuda or cuda:N"),
        ("train_nav.py --run-dir /dev/null/run", "Cannot write"),
        ("evaluate.py /nowhere", "There is no checkpoint at /nowhere"),
        *(
            (f"{script} {words}", f"The run comes first: RUN_DIR --task {cure}.")
            for script, words, cure in (
                ("adapt.py", "--task goal=0.3,-0.2", "goal=0.3,-0.2"),
                ("evaluate.py", "--task goal=0.3,-0.2", "goal=0.3,-0.2"),
                ("render.py", "0.3,0.3", "NAME=0.3,0.3"),
                ("export.py", "--task goal=0.3,-0.2", "goal=0.3,-0.2"),
                ("compare.py", "goal=0.3 goal=0.2", "goal=0.3"),
            )
        ),
        ("adapt.py --task goal=0.3,-0.2 --online", "RUN_DIR is missing."),
        ("evaluate.py /nowhere --tasks 0", "--tasks is 0; it must be at least 1."),
        ("evaluate.py /nowhere --trust-region 0", "(--trust-region) is 0.0; it is a KL in nats above 0"),
        ("adapt.py /nowhere --trust-region inf", "(--trust-region) is inf; it is a KL in nats above 0"),
        ("evaluate.py /nowhere --search cmaes --steps 3", "--search takes as many steps as --search-episodes"),
        ("evaluate.py /nowhere --search cmaes --trust-region 0.1", "it excludes --trust-region"),
        ("evaluate.py /nowhere --teacher --steps 2", "--teacher is followed by the episodes of one of the student's"),
        ("evaluate.py /nowhere --search-episodes 5", "--search-episodes is 5; it must be left out without --search"),
        (
            "evaluate.py /nowhere --search cmaes --episodes 1 --search-average 2",
            "--episodes is 1; it must be at least 2",
        ),
        ("adapt.py /nowhere --search cmaes", "add --online"),
        ("adapt.py /nowhere --online --search cmaes --episodes-per-step 2", "it excludes --trust-region, --steps"),
        ("compare.py --source dynamics", "--source and --target go together"),
        ("compare.py --source dynamics --target finn2017 --variant dynamics", "leave --variant, --hold-out, --lived"),
        ("compare.py --source dynamics --target nowhere", "nowhere"),
        ("compare.py --source rothfuss2019 --target rothfuss2019", "two variants, or two ranges of one"),
        ("compare.py --source rothfuss2019 --target rothfuss2019-beyond", "there is no rothfuss2019-beyond"),
        ("compare.py typo run", "There is no checkpoint at typo"),
        ("compare.py --seed 3 typo other", "There is no checkpoint at typo"),
        ("compare.py --tasks 2 lived.safetensors", "Give two or more runs or policies"),
        ("compare.py --search cmaes", "none of maml-trpo, pretrained, random, oracle has one; add --algorithms cavia"),
        ("benchmark.py Nowhere-v0", "Known ids: Navigation2D-v0"),
        ("benchmark.py Navigation2D-v0 --repeats 0", "--repeats is 0"),
        ("benchmark.py Navigation2D-v0 --beside nobody", "--beside is 'nobody'"),
        ("benchmark.py Navigation2D-v0 --beside promp promp", "give different names"),
        ("benchmark.py Navigation2D-v0 --beside promp --evaluation", "leave --evaluation"),
        ("train_locomotion.py", "Give the task family first"),
        ("train_locomotion.py --iterations 3", "Give the task family first"),
        ("train_locomotion.py Nowhere-v0", "Known ids: Navigation2D-v0, HalfCheetahVel-v0"),
        ("train_locomotion.py Navigation2D-v0", "train it with scripts/train_nav.py"),
        ("train_locomotion.py AntVel-v0 --variant nobody2050", "Choose one of: finn2017, gymnasium"),
        ("train_locomotion.py AntVel-v0 --hold-out dead", 'cannot hold out "dead". Its kinds of change: none.'),
        (
            "train_locomotion.py AntChanged-v0 --hold-out payload",
            "Its kinds of change: dead, inverted, swapped, offset.",
        ),
        ("train_locomotion.py AntChanged-v0 --hold-out dead --variant any", "Give one of them"),
        ("compare.py AntChanged-v0 --hold-out=damaged", "Its kinds of change: dead, inverted, swapped, offset."),
        ("benchmark.py Navigation2D-v0 --against envpool", "EnvPool has no body like that"),
        ("summarise.py /nowhere", "There is no evaluation in /nowhere: there is no such run."),
    ],
)
def test_a_users_mistake_ends_with_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    capfd: pytest.CaptureFixture[str],
    command: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *arguments = command.split()
    assert run(name, *arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_evaluating_a_file_that_is_no_checkpoint_ends_with_one_sentence(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"something else")
    assert run("evaluate.py", tmp_path) == 2
    assert "is truncated, or no checkpoint at all" in capsys.readouterr().err


def test_a_variant_that_there_is_not_is_refused_also_with_a_horizon(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train_nav.py", *TINY, "--variant", "absent", "--run-dir", tmp_path / "run") == 2
    assert 'error: Navigation2D-v0 has no variant "absent". Choose one of: ' in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path: Path, run: Run) -> None:
    options = [*TINY, "--run-dir", tmp_path / "run", "--threads", 1, "--rollout-threads", 1]
    command = [sys.executable, SCRIPTS / "train_nav.py", *options, "--iterations", 100000]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_text().count("\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(2)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Stopped by SIGINT" in error
    assert "--resume continues it" in error
    assert "Traceback" not in error
    done = metrics.read_text().count("\n")
    assert run("train_nav.py", *options, "--iterations", done + 2, "--resume") == 0
    assert metrics.read_text().count("\n") == done + 2


def same_run(one: Path, other: Path) -> bool:
    """Whether two runs are the same but for their times: checkpoint byte for byte, metrics and evaluation."""
    lines = [
        [
            {name: value for name, value in json.loads(line).items() if not name.startswith(("seconds/", "checksum"))}
            for line in RunDirectory(run_dir).metrics.read_text().splitlines()
        ]
        for run_dir in (one, other)
    ]
    checkpoints = [RunDirectory(run_dir).checkpoint.read_bytes() for run_dir in (one, other)]
    evaluations = [RunDirectory(run_dir).read_evaluation()["per_task"] for run_dir in (one, other)]
    return lines[0] == lines[1] and checkpoints[0] == checkpoints[1] and evaluations[0] == evaluations[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("train_nav.py", ["--tasks", 5]),
        pytest.param(
            "train_locomotion.py",
            ["--tasks", 3, "--algorithm", "reptile", "--outer-step", "adam"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_processes_with_uneven_shares_give_the_run_of_one_bit_for_bit(
    tmp_path: Path, run: Run, script: str, words: list[object]
) -> None:
    family = ["HalfCheetahVel-v0"] if script == "train_locomotion.py" else []
    options = [*family, *TINY, *words, "--threads", 1, "--rollout-threads", 1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    together = [*torchrun, SCRIPTS / script, *options, "--run-dir", tmp_path / "two"]
    process = subprocess.Popen(list(map(str, together)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run(script, *options, "--run-dir", tmp_path / "one") == 0
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert output.count("Mean return on") == 1  # the process that leads prints alone
    assert same_run(tmp_path / "one", tmp_path / "two")
    assert load_checkpoint(RunDirectory(tmp_path / "two").checkpoint).iteration == 2


@pytest.mark.usefixtures("operators_read_once")
def test_a_torch_module_of_the_users_own_is_trained_evaluated_adapted_and_exported(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, size, actions):\n"
        "        super().__init__(torch.nn.Linear(size, 8), torch.nn.Tanh(), torch.nn.Linear(8, actions))\n"
    )
    sizes = [word for word in TINY if word not in ("--hidden", 8)]
    mine, elsewhere = ["--policy", "networks/mine.py:Net"], ["--policy", f"{tmp_path}/networks/mine.py:Net"]
    assert run("train_nav.py", *sizes, *mine, "--run-dir", "begun") == 0
    words = [*sizes, "--start-from", tmp_path / "begun", "--run-dir", "run"]
    assert run("train_nav.py", *words, *elsewhere) == 0
    assert run("train_nav.py", *words, *mine, "--iterations", 3, "--resume") == 0
    assert run("evaluate.py", "run", "--tasks", 2, "--episodes", 2, "--steps", 1, *mine) == 0
    assert run("adapt.py", "run", "--episodes-per-step", 4, *elsewhere) == 0
    assert run("export.py", "run/adapted.safetensors", *elsewhere) == 0
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in written if str(tmp_path).encode() in path.read_bytes()]
    monkeypatch.setattr("rlmaml.policies.kinds.KINDS", {})
    capsys.readouterr()
    assert run("evaluate.py", "run", "--tasks", 2, "--episodes", 2) == 2
    assert "Say that its code may be run: --policy mine.py:Net" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 2-D navigation, too short to be good."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    assert run_script("train_nav.py", *TINY, "--run-dir", run_dir) == 0
    return run_dir


def test_a_policy_is_adapted_in_simulation_from_recorded_episodes_and_online(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted, recorded, again = (tmp_path / name for name in ("a.safetensors", "episodes.npz", "b.safetensors"))
    task = ["--task", "goal=0.3,-0.2", "--episodes-per-step", 4]
    assert run("adapt.py", trained, *task, "--steps", 1, "--output", adapted, "--record", recorded) == 0
    output = capsys.readouterr().out
    assert "Task: goal = (0.3, -0.2) m" in output
    assert re.search(r"^    1 +-\d+\.\d\d  -\d+\.\d\d to -\d+\.\d\d($|  not to be left: )", output, re.MULTILINE)
    assert re.search(r"^again +-\d+\.\d\d  -\d+\.\d\d to -\d+\.\d\d$\n\nThe policy ", output, re.MULTILINE)
    assert run("adapt.py", trained, "--episodes", recorded, "--output", again) == 0
    one, other = load(again).weights, load(trained).adapt(read_episodes(recorded)).weights
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert run("adapt.py", adapted, "--online", "--steps", 2, "--episodes-per-step", 3, "--output", again) == 2
    assert "exists" in capsys.readouterr().err
    assert run("adapt.py", adapted, "--online", "--steps", 2, "--output", again, "--overwrite") == 0
    trust_region = ["--trust-region", 0.02, "--overwrite"]
    assert run("adapt.py", trained, "--episodes", recorded, "--output", again, *trust_region) == 0
    assert not torch.equal(load(again).weights["layer0.weight"], one["layer0.weight"])
    capsys.readouterr()
    assert run("adapt.py", trained, *task, "--output", again, *trust_region, "--online", "--seed", 3) == 0
    within = capsys.readouterr().out
    assert run("adapt.py", trained, *task, "--output", again, "--overwrite", "--online", "--seed", 3) == 0
    assert within.splitlines()[3] == (plain := capsys.readouterr().out).splitlines()[3]
    assert within.splitlines()[4] != plain.splitlines()[4]
    assert run("adapt.py", trained, *task, "--output", again, "--overwrite", "--online", "--episodes", recorded) == 0
    assert len(re.findall(r"^    \d +-\d", capsys.readouterr().out, re.MULTILINE)) == 3
    by_mean = ["--actions", "mean", "--output", tmp_path / "c.safetensors"]
    assert run("adapt.py", trained, "--task", "goal=0.6,0.2", *by_mean) == 0
    output = capsys.readouterr().out
    assert "(outside of the training range)" in output
    assert "95 % interval, mean actions" in output


def test_a_policy_that_adapted_in_another_variant_is_one_of_that_variant(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    adapted = tmp_path / "corners.safetensors"
    few = ("--task", "corner=1", "--episodes-per-step", 2)
    assert run("adapt.py", trained, *few, "--variant", "rothfuss2019", "--output", adapted) == 0
    assert load(adapted).settings.run.variant == "rothfuss2019"
    assert run("adapt.py", adapted, *few, "--output", tmp_path / "again.safetensors") == 0
    assert "Task: corner = 1" in capsys.readouterr().out


def test_a_checkpoint_and_an_adapted_policy_are_taken_like_a_run_and_say_what_they_are(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    few = ["--task", "goal=0.3,-0.2", "--episodes-per-step", 4]
    assert run("adapt.py", directory.checkpoint, *few, "--steps", 2, "--online") == 0
    adapted = load(directory.adapted)
    line = r"Return with (\w+) actions, on 4 fresh episodes: (.*) before, (.*) after"
    printed = re.findall(line, capsys.readouterr().out)
    assert adapted.adaptation["task"] == "goal = (0.3, -0.2) m"
    assert adapted.adaptation["episodes"] == 4 * adapted.steps_taken
    for kind, before, after in printed:
        stored = [adapted.adaptation["returns"][when][kind] for when in ("before", "after")]
        assert stored == pytest.approx([float(before), float(after)], abs=0.006)
    assert [kind for kind, *_ in printed] == ["sampled", "mean"]
    assert run("evaluate.py", directory.adapted, *SMALL_EVALUATION, "--actions", "mean") == 0
    assert "2 episodes each, mean actions" in capsys.readouterr().out
    assert run("adapt.py", directory.adapted, *few) == 0
    assert (directory.path / "adapted-adapted.safetensors").exists()


def test_an_adaptation_that_is_interrupted_keeps_the_best_policy_with_its_task_and_says_so(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, record = tmp_path / "left.safetensors", AdaptablePolicy.record
    adapt = ("adapt.py", trained, "--task", "goal=0.3,-0.2", "--episodes-per-step", 2, "--steps", 3, "--output", left)

    def interrupted(self: AdaptablePolicy, env: object, seed: int, *, visit: int, **more: object) -> object:
        if visit == 2:
            raise KeyboardInterrupt
        return record(self, env, seed, visit=visit, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(AdaptablePolicy, "record", interrupted)
    assert run(*adapt) == 130
    assert capsys.readouterr().err.endswith("Interrupted.\n")
    assert not left.exists()
    assert run(*adapt, "--online") == 130
    taken = load(left).steps_taken
    best = counted(taken, "step")
    said = f"Interrupted. {left} holds the best policy of 1 step, that after {best}; it was not measured again.\n"
    assert capsys.readouterr().err.endswith(said)
    goal = {"task": "goal = (0.3, -0.2) m", "task_values": {"goal": [0.3, -0.2]}}
    assert load(left).adaptation == {"episodes": 2 * taken, **goal}


def test_a_policy_that_remembers_lives_through_episodes_and_one_that_begins_anew_is_not_adapted(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lives, begins, recorded = tmp_path / "lives.safetensors", tmp_path / "begins.safetensors", tmp_path / "e.npz"
    trained_policy(LIVES).save(lives)
    student().save(begins)
    few = ("--task", "goal=0.3,-0.2", "--episodes-per-step", 4)
    assert run("adapt.py", lives, *few, "--record", recorded) == 0
    output = capsys.readouterr().out
    assert "A step lives through 4 episodes, which the policy remembers; its weights stay. It was trained on" in output
    assert "inner step" not in output
    assert re.search(
        r"^The policy (as it was: )?after living through 4 episodes, on fresh episodes", output, re.MULTILINE
    )
    assert run("adapt.py", lives, "--episodes", recorded, "--overwrite") == 0
    output = capsys.readouterr().out
    assert "Living through them changed the policy by a KL of" in output
    assert "inner step" not in output
    for words in (few, ("--episodes", recorded)):
        assert run("adapt.py", begins, *words) == 2
        assert "begins anew after each: nothing is kept of an episode" in capsys.readouterr().err
        assert not (tmp_path / "begins-adapted.safetensors").exists()
    assert run("adapt.py", begins, *few, "--trust-region", 0.05) == 0
    assert "after 1 step, on fresh episodes" in capsys.readouterr().out


@pytest.mark.slow
def test_a_policy_that_begins_anew_is_filmed_once(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    student().save(tmp_path / "begins.safetensors")
    assert run("render.py", tmp_path / "begins.safetensors", "--output", tmp_path / "film.gif") == 0
    assert re.search(r"mean actions -\d+\.\d, adapting within the episode$", capsys.readouterr().out, re.MULTILINE)


def test_the_line_of_an_attempt_has_an_interval_of_enough_episodes_and_says_what_was_tried_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    in_words = import_module("adapt").attempt_in_words
    attempt = SimpleNamespace(returns=np.array([-3.5]), undone=True, again=False, reason="worse", repeated=False)
    assert in_words(2, attempt) == "    2     -3.50  undone: worse"
    attempt.repeated = True
    assert in_words(2, attempt) == "    2     -3.50  the best of before, once more  undone: worse"
    attempt.returns, attempt.again, attempt.repeated = np.array([-3.0] * 3), True, False
    assert in_words(2, attempt) == "again     -3.00  -3.00 to -3.00"


SMALL_EVALUATION = ("--tasks", 2, "--episodes", 2, "--steps", 1)


@pytest.mark.usefixtures("operators_read_once")
@pytest.mark.slow
def test_an_adapted_policy_is_filmed_reported_on_and_exported_under_names_of_its_own(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    few = ["--task", "goal=0.3,-0.2", "--episodes-per-step", 4]
    assert run("adapt.py", directory.checkpoint, *few) == 0
    capsys.readouterr()
    assert run("render.py", directory.adapted, *few, "--actions", "sampled", "--output", tmp_path / "film.gif") == 0
    assert "return with sampled actions -" in capsys.readouterr().out
    assert run("report.py", directory.adapted, *SMALL_EVALUATION, "--actions", "mean") == 0
    assert "2 episodes each, mean actions" in (directory.path / "adapted-report.html").read_text()
    assert run("export.py", directory.adapted) == 0
    card = read_json(directory.path / "adapted-export" / "policy.json")
    assert (card["adaptation"], card["held_out_returns"]) == (load(directory.adapted).adaptation, None)
    assert not directory.exported.exists()


@pytest.mark.slow
def test_a_context_is_searched_for_by_every_script_that_adapts(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = ["compare.py", "--algorithms", "cavia", "random", "--iterations", 1, "--seeds", 0, "--tasks", 2]
    compare += ["--episodes", 2, "--processes", 1, "--output", tmp_path]
    search = ["--search", "cmaes", "--search-episodes", 8, "--search-average", 2]
    assert run(*compare, *search) == 0
    table = capsys.readouterr().out
    assert re.search(
        r"^\| cavia \(cmaes, 8 episodes, 2 per attempt\) \| -\d+.*\|  \|  \| -\d+.*\|$", table, re.MULTILINE
    )
    trained = tmp_path / "cavia-seed0"
    tried = read_json(trained / "searched.json")
    assert len(tried["returns"]["mean"]) == 5
    assert run(*compare) == 2
    assert "--search of cavia was cmaes, 8 episodes, 2 per attempt and is now none" in capsys.readouterr().err

    evaluate = ["evaluate.py", trained, "--tasks", 2, "--episodes", 2, *search, "--json", tmp_path / "e.json"]
    assert run(*evaluate) == 0
    report = read_json(tmp_path / "e.json")
    assert report["per_task"] == tried["per_task"]
    assert report["config"]["search"] == {"search": "cmaes", "search_episodes": 8, "search_average": 2}
    capsys.readouterr()
    climb = ["--online", "--search", "hill-climbing", "--search-episodes", 6, "--seed", 1]
    assert run("adapt.py", trained, "--task", "goal=0.3,-0.2", *climb, "--output", tmp_path / "a.safetensors") == 0
    assert len(re.findall(r"^    \d +-\d", capsys.readouterr().out, re.MULTILINE)) == 6
    low, high = (read_json(trained / "context_range.json")[side]["context"] for side in ("low", "high"))
    found = load(tmp_path / "a.safetensors").weights["context"]
    assert all(least <= value <= most for least, value, most in zip(low, found.tolist(), high, strict=True))
    assert run("adapt.py", tmp_path / "a.safetensors", *climb, "--output", tmp_path / "b.safetensors") == 2


def test_adaptation_from_recorded_episodes_imports_neither_simulators_nor_compilers(tmp_path: Path) -> None:
    settings, sizes = configure(env_id="HalfCheetahVel-v0", horizon=200), Sizes(20, 6)
    network = GaussianPolicy(settings.network, sizes)
    AdaptablePolicy(network, sizes, Meta(network.init(0), {}), settings, 0).save(tmp_path / "policy.safetensors")
    generator = np.random.default_rng(0)
    actions = np.asarray(network.draw_noise(generator, (4000,)))
    ends = np.arange(1, 4001) % 200 == 0
    rewards, observations = generator.standard_normal(4000), generator.standard_normal((4000, 20))
    episodes = RecordedEpisodes(observations, actions, rewards, np.zeros_like(ends), ends)
    write_episodes(tmp_path / "episodes.npz", episodes)
    words = (SCRIPTS / "adapt.py", tmp_path / "policy.safetensors", "--episodes", tmp_path / "episodes.npz")
    command = [sys.executable, "-X", "importtime", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert {"torch", "rlmaml.deploy.adaptable"} <= imported
    assert not imported & {"rlmaml_envs", "gymnasium", "mujoco", "matplotlib", "scipy", "tensorboard", "torch._dynamo"}


def test_recorded_episodes_serve_one_step_and_no_simulator(
    trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("adapt.py", trained, "--episodes", "episodes.npz", "--steps", 3) == 2
    assert "recorded episodes serve one step" in capsys.readouterr().err
    assert run("adapt.py", trained, "--episodes", "episodes.npz", "--variant", "dynamics") == 2
    assert "it excludes --task, --rest, --variant, --floor, --actions and --record" in capsys.readouterr().err


def test_adaptation_warns_of_more_threads_than_cores(
    tmp_path: Path, trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    with pytest.warns(UserWarning, match="--threads is 9, but this machine has 3 cores"):
        assert run("adapt.py", trained, "--threads", 9, "--output", tmp_path / "out.safetensors") == 0


def test_adaptation_refuses_what_it_cannot_use(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.safetensors").touch()  # is the last thing that matters
    for arguments, message in (
        (["--task", "speed=1"], '"goal": (2,) in '),
        (["--variant", "rothfuss2050"], "Choose one of: finn2017"),
        (["--steps", 0], "--steps is 0"),
        (["--episodes", tmp_path / "absent.npz"], "There are no episodes at"),
        (["--episodes", tmp_path / "absent.npz", "--online"], "There are no episodes at"),
        (["--floor", "nan"], "--floor is nan; it must be a finite return."),
        (["--task", "goal=0.3,-0.2"], "out.safetensors exists."),
    ):
        assert run("adapt.py", trained, *arguments, "--output", tmp_path / "out.safetensors") == 2
        assert message in capsys.readouterr().err
    assert run("adapt.py", tmp_path / "nowhere") == 2
    assert "There is no checkpoint at" in capsys.readouterr().err


def test_a_policy_is_filmed_before_and_after_adaptation(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "film.gif"
    render = ["render.py", trained, "--task", "goal=0.3,-0.2", "--episodes-per-step", 3, "--output", video]
    assert run(*render) == 0
    assert "Task: goal = (0.3, -0.2) m; return with mean actions -" in capsys.readouterr().out
    assert video.stat().st_size > 1000
    assert video.with_suffix(".png").exists()
    assert run(*render) == 2
    assert "exists" in capsys.readouterr().err


def test_without_opengl_rendering_a_robot_names_the_package(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    family = ["HopperParams-v0", *TINY, "--run-dir", tmp_path / "run"]
    assert run("train_locomotion.py", *family) == 0
    monkeypatch.setenv("MUJOCO_GL", "nothing")
    assert run("render.py", tmp_path / "run", "--episodes-per-step", 2) == 2
    assert "libegl1" in capsys.readouterr().err


@pytest.mark.usefixtures("operators_read_once")
def test_a_policy_is_exported_verified_and_timed(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    export = ["export.py", trained, "--output", tmp_path / "out", "--int8", "--task", "goal=0.3,-0.2"]
    assert run(*export) == 0
    output = capsys.readouterr().out
    assert re.search(r"^policy.onnx +\d+\.\d +\d+\.\d +\d\.\de-\d+$", output, re.MULTILINE)
    assert "Return on goal = (0.3, -0.2) m, mean actions: -" in output
    assert re.search(r"which (lose|gain) \d+\.\d\d ± \d+\.\d\d \(the same 20 initial states\)", output)
    names = ["policy.int8.onnx", "policy.json", "policy.onnx", "policy.pt2", "policy.safetensors"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    card = read_json(tmp_path / "out" / "policy.json")
    assert card["family"] == "Navigation2D-v0"
    assert "Navigation2D-v0" in card["data_sheet"]
    assert card["held_out_returns"]["actions"] == "sampled"
    assert len(card["held_out_returns"]["after_steps"]) > 1
    assert card["observation"] == {"size": 2, "names": ["x", "y"], "units": ["m", "m"]}
    assert card["horizon"] == 5
    assert run(*export) == 2
    assert "exists" in capsys.readouterr().err
    assert run(*export, "--overwrite", "--actions", "sampled") == 2
    assert "exported files give the mean, the most likely actions" in capsys.readouterr().err
    assert run(*export, "--overwrite", "--variant", "no_such") == 2
    assert "no_such" in capsys.readouterr().err
    again = dataclasses.replace(load(trained), steps_taken=1)
    again.save(tmp_path / "adapted.safetensors")
    assert run("export.py", tmp_path / "adapted.safetensors", "--int8", "--output", tmp_path / "adapted") == 2
    assert "has adapted to a task, on which --int8 is to be measured. Name it" in capsys.readouterr().err
    assert not (tmp_path / "adapted").exists()
    knows = dataclasses.replace(again, adaptation={"task_values": {"goal": [0.1, 0.25]}})
    knows.save(tmp_path / "adapted.safetensors")
    words = ("--int8", "--normalised", "--output", tmp_path / "adapted")
    assert run("export.py", tmp_path / "adapted.safetensors", *words) == 0
    assert "Return on goal = (0.1, 0.25) m, mean actions: -" in capsys.readouterr().out
    card = read_json(tmp_path / "adapted" / "policy-normalised.json")
    assert (card["control"]["is"], card["control"]["units"]) == ("action", ["", ""])
    assert card["actuators"]["units"] == read_json(tmp_path / "out" / "policy.json")["control"]["units"]


def test_methods_are_compared_on_the_same_tasks_and_runs_are_kept(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = configure(num_tasks=2, num_episodes=3, horizon=5, hidden=(8,), inner_steps=2, learn_step_sizes=True)
    monkeypatch.setattr("rlmaml.training.fine_tuning.FINE_TUNING", (1.0, 0.1))
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setitem(import_module("defaults").TUNED, ("Navigation2D-v0", "finn2017"), small)
    compare = ["compare.py", "--iterations", 1, "--seeds", 0, "--tasks", 2, "--episodes", 2, "--output", tmp_path]
    compare += ["--processes", 1]
    assert run(*compare) == 0
    output = capsys.readouterr().out
    assert "beyond the training range" in output
    assert re.search(r"one step recovers: maml-trpo -?\d+ %, pretrained -?\d+ %, random -?\d+ %\.", output)
    report = read_json(tmp_path / "comparison.json")
    assert set(report["results"]) == {"in the training range", "beyond the training range"}
    assert (tmp_path / "comparison.png").stat().st_size > 1000
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.jsonl")}
    assert run(*compare) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.jsonl")} == before
    capsys.readouterr()
    assert run(*compare, "--lived", 0, 3) == 0
    output = capsys.readouterr().out
    assert output.count("| method | zero-shot | 3 lived |") == 4  # two sets of tasks, sampled and mean actions
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/metrics.jsonl")} == before
    assert run(*compare, "--lived", 1, 3) == 2
    assert "--lived is 1 3; give different numbers of episodes, 0 among them" in capsys.readouterr().err
    other = [*compare, "--steps", 1]
    assert run(*other) == 2
    assert "--evaluation-steps was 3 and is now 1" in capsys.readouterr().err
    assert run(*compare, "--actions", "mean") == 2
    assert "--actions was sampled and is now mean" in capsys.readouterr().err
    assert run(*compare, "--lived", 0, 3, "--actions", "mean") == 2
    assert "--lived measures returns with sampled and with mean actions" in capsys.readouterr().err
    assert read_json(tmp_path / "comparison.json") == report
    assert run("report.py", tmp_path / "maml-trpo-seed0", "--tasks", 2, "--episodes", 2, "--steps", 0) == 0
    assert (
        "random, 1 seed: a policy that was never trained; fine-tuned where it is evaluated"
        in (tmp_path / "maml-trpo-seed0" / "report.html").read_text()
    )
    assert run(*other, "--overwrite") == 0
    assert (
        len(read_json(tmp_path / "comparison.json")["results"]["in the training range"]["methods"]["maml-trpo"]["mean"])
        == 2
    )
    assert run("compare.py", "--seeds", 0, 0) == 2
    assert "--seeds is 0 0;" in capsys.readouterr().err


def test_a_schedule_that_all_methods_of_a_comparison_are_given_is_that_schedule_whatever_its_iterations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    options = import_module("compare").Options(iterations=50, algorithms=("promp",))
    assert options.settings_of("promp").outer.cosine_iterations == 50  # the family's 100, of 100
    assert options.sharing({"cosine_iterations": 80})("promp").outer.cosine_iterations == 80


def test_an_option_of_a_training_is_for_all_methods_of_a_comparison_that_read_it(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    compare = ["compare.py", "--algorithms", "reptile", "pretrained", "oracle", "--iterations", 1, "--seeds", 0]
    compare += ["--tasks", 2, "--episodes", 2, "--steps", 1, "--processes", 1, "--output", tmp_path]
    small = ["--hidden", 8, "--horizon", 5, "--inner-steps", 2, "--outer-step-size", 0.5]
    assert run(*compare, *small) == 0
    output = capsys.readouterr().out
    assert "--inner-steps is for reptile.\n--outer-step-size is for reptile.\n" in output
    assert "--hidden" not in output
    for method, steps in (("reptile", 2), ("pretrained", 0), ("oracle", 0)):
        settings = read_json(tmp_path / f"{method}-seed0" / "run.json")["settings"]
        assert (settings["network"]["hidden"], settings["run"]["horizon"]) == ([8], 5), method
        assert settings["inner"]["inner_steps"] == steps, method
    assert read_json(tmp_path / "reptile-seed0" / "run.json")["settings"]["outer"]["outer_step_size"] == 0.5
    assert run(*compare, *small, "--hidden", 16) == 2
    assert "--hidden was (8,) and is now (16,)" in capsys.readouterr().err
    assert run(*compare, "--clip", 0.1) == 2
    error = capsys.readouterr().err
    assert "--clip is no option of reptile, pretrained, oracle. Add one of promp, maml-ppo, rl2, " in error
    for words, message in (
        (("--max-kl", -1), "error: --max-kl is -1.0; it must be a number above 0."),
        (("--max-kl", 0), "error: --max-kl is 0.0; it must be a number above 0."),
        (("--initial-std", 0), "error: --initial-std is 0.0; it must be"),
        (("--inner-steps", 2, "--stage-weights", 0, 1, 2, 3, 4), "Of maml-trpo: --stage-weights has 5 weights"),
        (
            ("--jacobian-fraction", 0.5),
            "--jacobian-fraction is 0.5, and nothing would read it. Of pretrained, oracle: ",
        ),
    ):
        several = ["maml-trpo", "pretrained"] if "--stage-weights" in words else ["reptile", "pretrained", "oracle"]
        assert run(*compare, "--algorithms", *several, *words) == 2, words
        assert message in capsys.readouterr().err
    assert run("compare.py", "sinusoid", "--hidden", 8) == 2
    assert "--hidden: a comparison on supervised tasks takes no option of a training" in capsys.readouterr().err


def test_runs_of_different_families_are_refused_before_any_is_evaluated(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = configure(env_id="AntVel-v0", variant="gymnasium")
    foreign = Checkpoint(Meta({"nothing": torch.zeros(1)}, {}), 0, settings, Sizes(1, 1))
    save_checkpoint(RunDirectory(tmp_path).checkpoint, foreign)
    assert run("report.py", trained, tmp_path, "--output", tmp_path / "report.html") == 2
    error = capsys.readouterr().err
    assert f"{trained} is on Navigation2D-v0, finn2017; {tmp_path} is on AntVel-v0, gymnasium. Give those" in error
    assert "evaluating" not in error


def returns_in(table: str) -> list[str]:
    """Mean returns in a table, without their intervals."""
    return re.findall(r"\| (-?\d+\.\d\d)(?= )", table)


def test_words_of_a_comparison_are_runs_where_they_are_several_or_look_like_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    names_runs = import_module("compare").names_runs
    for words in (
        "a b",
        "here",
        "runs/a",
        "a.safetensors",
        "--tasks 2 a b",
        "--overwrite here",
        "--seed=3 --steps 1 a b",
    ):
        assert names_runs(words.split()), words
    for words in (
        "",
        "AntVel-v0",
        "--output here",
        "AntVel-v0 --seeds 0 1 --algorithms here cavia",
        "--help AntVel-v0",
        "AntVel-v0 --hidden 64 64 --max-kl 0.02",
        "--learn-step-sizes AntVel-v0",
        "AntVel-v0 --hiden 64 64",
    ):
        assert not names_runs(words.split()), words


def test_runs_of_ones_own_are_compared_task_by_task(
    tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "again")
    sizes = ["--tasks", 2, "--episodes", 2, "--steps", 1]
    assert run("compare.py", trained, tmp_path / "again", *sizes) == 0
    output = capsys.readouterr().out
    assert "2 held-out tasks, 2 episodes each, of sampled actions" in output
    assert f"| again less {trained.name} | 0.00 | 0.00 |" in output
    assert "± takes 3 tasks or more" in output
    assert "The runs differ in no setting." in output
    assert run("compare.py", trained, tmp_path / "again", *sizes, "--actions", "mean") == 0
    assert "2 episodes each, of mean actions" in (of_mean := capsys.readouterr().out)
    assert returns_in(of_mean)[:2] != returns_in(output)[:2]
    assert run("compare.py", "--actions", "mean", *sizes, trained, tmp_path / "again") == 0
    assert returns_in(capsys.readouterr().out) == returns_in(of_mean)
    written = tmp_path / "compared.json"
    to_file = ("compare.py", trained, tmp_path / "again", *sizes, "--output", written)
    assert run(*to_file) == 0
    plain = read_json(written)
    assert [f"{mean:.2f}" for run in plain["runs"] for mean in run["mean"]] == returns_in(output)[:4]
    assert plain["config"] == {"num_tasks": 2, "num_episodes": 2, "steps": 1, "seed": 10_000, "actions": "sampled"}
    assert run(*to_file) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run("compare.py", trained, *sizes) == 2
    assert "for a single one there is evaluate.py RUN_DIR" in capsys.readouterr().err


def test_published_returns_stand_beside_evaluations_of_their_size_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    published, settings = import_module("environments").published, configure(horizon=100)
    assert published(settings, 40, 40)["MAML, published"][0] == -40.41
    assert capsys.readouterr().err == ""
    assert published(settings, 40, 20) == {}
    assert "Published returns are of 40 tasks with 40 episodes each" in capsys.readouterr().err
    differs = {"of sampled actions": True, "of inner steps": False}
    for other, said in (
        ((settings, 40, 40, differs), "of sampled actions, and not shown"),
        ((settings.changed(horizon=99), 40, 40), "of episodes of 100 steps, and not shown"),
        ((configure("rl2", horizon=100), 40, 40), "of inner steps, and not shown"),
        ((configure("rma", horizon=100), 40, 40, {"of inner steps": False}), "of inner steps, and not shown"),
    ):
        assert published(*other) == {}
        assert said in capsys.readouterr().err
    assert published(settings.changed(variant="dynamics"), 40, 20, differs) == {}
    assert capsys.readouterr().err == ""  # none were published
    ant = settings.changed(env_id="AntDir-v0", horizon=200)
    assert [name for name in published(ant, 40, 20) if "MAML" in name] == ["MAML, 20 episodes, published"]
    assert list(published(ant, 40, 40)) == ["MAML, 40 episodes, published"]
    assert published(ant, 40, 30) == published(ant, 30, 40) == {}
    assert "Published returns are of 40 tasks with 20 or 40 episodes each" in capsys.readouterr().err


def test_a_report_is_one_page(tmp_path: Path, trained: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    report = ["report.py", trained, "--tasks", 3, "--episodes", 2, "--steps", 1, "--output", tmp_path / "report.html"]
    assert run(*report) == 0
    page = (tmp_path / "report.html").read_text()
    assert "goal = (" in page
    assert "data:video/mp4" in page
    assert run(*report) == 2
    assert "exists" in capsys.readouterr().err
