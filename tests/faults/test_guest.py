"""A guest in somebody's process, directory and network: everything is as before when a call returns."""

import asyncio
import contextlib
import copy
import getpass
import logging
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlmaml.deploy.adaptable import AdaptablePolicy, load
from rlmaml.deploy.export import Actor, export_program, load_onnx, write_int8, write_onnx, write_program
from rlmaml.deploy.robot import actuation_of
from rlmaml.evaluation.video import as_video, film_progress
from rlmaml.sampling.recorded import read_episodes, write_episodes
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.terminal.streams import LastingStream
from rlmaml.training.run import evaluate_run, train
from rlmaml_envs import make_tasks_env
from rlmaml_envs.simulator import mujoco
from tests.faults.process_wide import changed, process_wide, put_back
from tests.faults.unshared import can_unshare
from tests.faults.writers import PICTURES, SHOWN, TRAINING
from tests.rlmaml.families.supervised import draw
from tests.rlmaml.shapes import shapes_checked
from tests.scripts.test_own_families import forget, write_family
from tests.scripts.test_scripts import TINY, run_script

SETTINGS = configure(
    iterations=1,
    num_tasks=2,
    num_episodes=2,
    horizon=5,
    hidden=(4,),
    cg_iterations=2,
    evaluation_tasks=1,
    evaluation_episodes=2,
    evaluation_steps=1,
    threads=1,
    rollout_threads=1,
)


def make_env(copies: int) -> Any:
    return make_tasks_env("Navigation2D-v0", copies, 5)


Calls = dict[str, Callable[[], object]]


def public_calls(where: Path) -> Calls:
    """What a program of somebody's calls, in this order."""
    run_dir, known = where / "run", dict[str, Any]()

    def policy() -> AdaptablePolicy:
        return load(run_dir)

    def export() -> None:
        env = make_env(1)
        actor = Actor(policy(), actuation_of(env))
        program = export_program(actor)
        write_onnx(program, where / "policy.onnx", actor, {})
        write_program(program, where / "policy.pt2", {})
        load_onnx(where / "policy.onnx")
        write_int8(where / "policy.onnx", where / "policy.int8.onnx")

    def robot() -> None:
        env = make_tasks_env("HalfCheetahVel-v0", 2, 5)
        env.reset(seed=[0, 1])
        env.step(np.zeros((2, 6)))

    def film() -> None:
        scene = make_tasks_env("Navigation2D-v0", 1, 5, render_mode="rgb_array")
        frames, rate = film_progress(policy(), make_env(2), scene, {"goal": np.array([0.2, 0.1])}, 0)
        as_video(frames, rate, ".gif")

    return {
        "train": lambda: train(SETTINGS, make_env, run_dir, progress=False),
        "resume": lambda: train(SETTINGS.changed(iterations=2), make_env, run_dir, progress=False, resume=True),
        "evaluate": lambda: evaluate_run(
            load_checkpoint(RunDirectory(run_dir).checkpoint), make_env, num_tasks=1, num_episodes=2, steps=1, seed=0
        ),
        "record": lambda: known.update(episodes=policy().record(make_env(2), 0)),
        "write": lambda: write_episodes(where / "episodes.npz", known["episodes"]),
        "adapt": lambda: policy().adapt(read_episodes(where / "episodes.npz")).save(where / "adapted.safetensors"),
        "act": lambda: policy().act(np.zeros(2)),
        "robot": robot,
        "film": film,
        "export": export,
    }


def test_process_wide_settings_are_as_before_after_every_public_call(tmp_path: Path) -> None:
    logging.disable(5)
    left = {}
    try:
        for name, call in public_calls(tmp_path).items():
            before = process_wide()
            with shapes_checked(False):  # whoever checks them draws random numbers
                call()
            left[name] = changed(before, process_wide())
    finally:
        logging.disable(logging.NOTSET)
    assert not {name: what for name, what in left.items() if what}
    assert not files_that_tell(tmp_path)


def warned() -> contextlib.AbstractContextManager[object]:
    """Warnings are errors."""
    return warnings.catch_warnings(action="error")


PROCESSES: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "deterministic algorithms": lambda: put_back(torch.use_deterministic_algorithms, True, False),
    "one thread": lambda: put_back(torch.set_num_threads, 1, torch.get_num_threads()),
    "products in bfloat16": lambda: put_back(torch.set_float32_matmul_precision, "medium", "highest"),
    "no denormals": lambda: put_back(torch.set_flush_denormal, True, False),
    "double precision": lambda: put_back(torch.set_default_dtype, torch.float64, torch.float32),
    "another device": lambda: put_back(torch.set_default_device, "meta", "cpu"),
    "anomalies are looked for": lambda: torch.autograd.set_detect_anomaly(True),
    "inference": torch.inference_mode,
    "random numbers drawn": lambda: put_back(torch.manual_seed, 7, 0),
    "numpy raises": lambda: np.errstate(all="raise"),
    "warnings are errors": warned,
}


def trained(where: Path) -> list[float]:
    """The numbers that a training ends with."""
    train(SETTINGS, make_env, where, progress=False)
    return torch.cat([weights.flatten() for weights in load(where).weights.values()]).tolist()


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    with shapes_checked(False):
        return trained(tmp_path_factory.mktemp("trained") / "run")


FAST = ("deterministic algorithms", "warnings are errors")


@pytest.mark.parametrize(
    "process", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in PROCESSES]
)
def test_a_training_ends_with_the_same_numbers_in_anybody_s_process(
    tmp_path: Path, numbers: list[float], process: str
) -> None:
    with shapes_checked(False), PROCESSES[process]():
        assert trained(tmp_path / "run") == numbers


def test_trainings_end_with_the_same_numbers_in_an_event_loop_and_in_two_threads_at_once(
    tmp_path: Path, numbers: list[float]
) -> None:
    async def cell() -> list[float]:
        return trained(tmp_path / "notebook")

    with shapes_checked(False):
        assert asyncio.run(cell()) == numbers
        with put_back(torch.set_default_dtype, torch.float64, torch.float32):
            before = process_wide()
            with ThreadPoolExecutor(2) as pool:
                assert list(pool.map(trained, (tmp_path / "one", tmp_path / "two"))) == [numbers, numbers]
            assert not changed(before, process_wide())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_training_ends_with_the_same_numbers_in_a_worker_however_it_is_started(
    tmp_path: Path, numbers: list[float], method: str
) -> None:
    with torch.multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply_async(trained, (tmp_path / "run",)).get(200) == numbers


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_what_a_program_holds_can_be_copied_and_is_the_same(tmp_path: Path, copied: Callable[[Any], Any]) -> None:
    with shapes_checked(False):
        trained(tmp_path / "run")
        policy, seen = load(tmp_path / "run"), np.ones((4, 2))
        episodes = policy.record(make_env(2), 0)
        for one in (policy, policy.adapt(episodes)):
            np.testing.assert_array_equal(copied(one).act(seen), one.act(seen))
        np.testing.assert_array_equal(copied(episodes).observations, episodes.observations)
        np.testing.assert_array_equal(
            copied(policy).adapt(copied(episodes)).act(seen), policy.adapt(episodes).act(seen)
        )
    assert copied(SETTINGS) == SETTINGS
    checkpoint = load_checkpoint(RunDirectory(tmp_path / "run").checkpoint)
    assert copied(checkpoint).settings == checkpoint.settings
    assert copied(RunDirectory(tmp_path / "run")).checkpoint == RunDirectory(tmp_path / "run").checkpoint
    assert copied(make_env(2).task_space) == make_env(2).task_space


def test_a_policy_that_adapted_to_a_recording_keeps_none_of_its_numbers(tmp_path: Path) -> None:
    with shapes_checked(False):
        trained(tmp_path / "run")
        policy = load(tmp_path / "run")
        episodes = policy.record(make_env(2), 0)
        policy.adapt(episodes).save(tmp_path / "adapted.safetensors")
    content = (tmp_path / "adapted.safetensors").read_bytes()
    assert not any(weight.tobytes() in content for weight in policy.weights["layer0.weight"].numpy().flatten())
    numbers = np.concatenate([np.ravel(one) for one in (episodes.observations, episodes.actions, episodes.rewards)])
    told = [one for one in np.unique(numbers) if one.tobytes()[:2] != b"\0\0"]  # not 0, 1 and the like
    assert len(told) > 20
    for one in told:
        kept = (np.float32(one).tobytes(), np.float64(one).tobytes(), repr(float(one)).encode())
        assert not [number for number in kept if number in content], one


def files_that_tell(where: Path, *others: Path) -> list[str]:
    """Files that hold, or have in their name, a path, a user's or a machine's name, with that."""
    words = [str(Path(__file__).parents[2]), str(where), sys.prefix, str(Path.home()) + "/", socket.gethostname()]
    words += [getpass.getuser(), *map(str, others)]
    words = [word for word in words if len(word) > 4]  # others are found anywhere
    telling = []
    for path in (path for path in where.rglob("*") if path.is_file()):
        content = path.name.encode() + path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content += b"".join(archive.read(name) for name in archive.namelist())
        telling += [f"{path.relative_to(where)}: {word}" for word in words if word.encode() in content]
    return telling


@pytest.mark.slow
def test_nothing_that_any_script_leaves_tells_of_a_place_a_user_or_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robots, here = tmp_path / "robots", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(socket, "gethostname", lambda: "name-of-the-host")
    monkeypatch.setenv("LOGNAME", "name-of-the-user")
    family = ("--family", write_family(robots))
    (robots / "network.py").write_text("import torch\nclass Network(torch.nn.Linear): pass\n")
    own = (*family, "--policy", f"{robots}/network.py:Network")
    run, few = here / "run", ("--tasks", 2, "--episodes", 2)
    sizes = [word for word in TINY if word not in ("--hidden", 8)]
    training = (*sizes, "--start-from", here / "begun", "--run-dir", run)
    try:
        assert run_script("train_locomotion.py", *own, *sizes, "--run-dir", here / "begun") == 0
        assert run_script("train_locomotion.py", *own, *training, "--stop-after", 1e-9) == 75
        for script, *words in (
            ("train_locomotion.py", *training, "--resume"),
            ("evaluate.py", run, *few, "--steps", 1, "--json", here / "evaluation.json"),
            ("adapt.py", run, "--episodes-per-step", 2, "--record", here / "episodes.npz"),
            ("report.py", run, *few, "--steps", 1),
            ("export.py", run),
        ):
            assert run_script(str(script), *words, *own) == 0, script
        benchmark = ("--repeats", 1, "--json", here / "benchmark.json")
        assert run_script("benchmark.py", *few, *benchmark, *family) == 0
    finally:
        forget()
        sys.modules.pop("fastest_cart", None)
    written = {path.name for path in here.rglob("*")}
    assert written >= {"run.json", "report.html", "policy.json", "policy.onnx", "adapted.safetensors"}
    assert any(name.startswith("events.out.tfevents.") for name in written)
    assert not files_that_tell(here)


@pytest.mark.slow
def test_of_a_run_on_examples_nothing_but_its_record_says_where_its_data_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, data = tmp_path / "here", tmp_path / "data"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(socket, "gethostname", lambda: "name-of-the-host")
    for name in ("a", "b", "c", "d"):
        for index in range(8):
            draw(data / "pictures" / name / f"{index}.png", 30 * index, size=(9, 9))
    of_folder = ("--images", data / "pictures", "--image", 1, 8, 8, "--split", 2, 0, 2, "--processes", 1)
    page = here / "page.html"
    for script, *words in (
        ("train_nav.py", *TRAINING, "--run-dir", data / "run"),
        ("train_few_shot.py", *PICTURES, *of_folder, "--run-dir", "pictures"),
        ("train_imitation.py", *SHOWN, "--demonstrator", data / "run", "--run-dir", "shown"),
        ("adapt.py", data / "run", "--episodes-per-step", 2, "--record", data / "episodes.npz"),
        ("adapt.py", "shown", "--demonstrations", data / "episodes.npz"),
        ("report.py", "pictures", "pictures/random", "--output", page),
        ("compress.py", "shown", "--prune", 0.5, "--iterations", 1, "--tasks", 1, "--steps", 1, "--run-dir", "small"),
    ):
        assert run_script(str(script), *words) == 0, script
    assert page.stat().st_size
    assert {path.name for path in here.rglob("*")} >= {"adapted.safetensors", "compression.json", "split.json"}
    telling = files_that_tell(here, data)
    assert {line.partition(":")[0].rpartition("/")[2] for line in telling} == {
        "run.json"
    }  # by which they are made again


def test_mujoco_s_handler_is_as_before_after_robots_that_step_in_several_threads() -> None:
    before = mujoco.get_mju_user_warning()

    def step(seed: int) -> None:
        env = make_tasks_env("HalfCheetahVel-v0", 1, 50)
        env.reset(seed=[seed])
        for _ in range(50):
            env.step(np.zeros((1, 6)))

    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(step, range(4)))
        assert mujoco.get_mju_user_warning() is before


def test_a_stream_that_nobody_reads_loses_what_is_said_and_nothing_else() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as stream:
        lasting = LastingStream(stream)
        assert lasting.write("x" * 100_000) == 100_000
        lasting.flush()
        assert lasting.fileno() == writes
    lasting.write("closed")
    lasting.flush()


@pytest.mark.slow
@pytest.mark.parametrize("redirected", [">&- 2>&-", "<&- >&- 2>&-", "2>&1 | true", ">/dev/full 2>/dev/full"])
def test_closed_and_broken_streams_lose_no_result(tmp_path: Path, redirected: str) -> None:
    script = Path(__file__).parents[2] / "scripts" / "train_nav.py"
    options = "--tasks 2 --episodes 2 --horizon 5 --hidden 4 --iterations 3 --evaluation-tasks 1 --figure-interval 0 "
    options += "--evaluation-episodes 2 --evaluation-steps 1 --video-interval 0 --threads 1 --rollout-threads 1"
    command = f"{sys.executable} {script} {options} --run-dir {tmp_path / 'run'} {redirected}"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], timeout=300, check=False)
    assert done.returncode == 0
    run = RunDirectory(tmp_path / "run")
    assert len(run.read_metrics()) == 3
    assert run.read_evaluation()


FROM_OTHERS = re.compile(r"/mesa|/matplotlib/fontlist-[^/]*\.json$")
"""What others keep in the user's cache as soon as anybody uses them: the driver's shaders, and matplotlib's list
of fonts, without which each start would look through the machine's fonts again."""


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("strace") and can_unshare("-rn")), reason="needs strace and unshare")
def test_no_name_is_looked_up_by_anything_that_is_imported_and_no_trace_is_left(tmp_path: Path) -> None:
    home, temporary, trace = tmp_path / "home", tmp_path / "temporary", tmp_path / "trace"
    home.mkdir()
    temporary.mkdir()
    program = (
        "import time, pathlib, tests.faults.test_guest as guest\n"
        f"[call() for call in guest.public_calls(pathlib.Path({str(tmp_path)!r})).values()]\n"
        "time.sleep(12)"
    )
    root = Path(__file__).parents[2]
    places = os.pathsep.join(str(root / name) for name in (".", "envs", "scripts"))
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": places}
    environment["TMPDIR"] = str(temporary)
    command = ["unshare", "-rn", "strace", "-f", "-e", "trace=connect,sendto,sendmsg,openat", "-o", str(trace)]
    command += [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    calls = trace.read_text().splitlines()
    assert len(calls) > 1000
    # the C library asks for a name at these; that of the user, which torch asks for, is in /etc/passwd
    asked = ("AF_INET", "/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve")
    assert not [call for call in calls if any(word in call for word in asked)]
    assert not [path for path in home.rglob("*") if path.is_file() and not FROM_OTHERS.search(str(path))]
    assert not list(temporary.iterdir())
