"""A bit flipped, or a cut, at any byte of any file that is read: it is refused, or read as what is there."""

import contextlib
import gzip
import json
import struct
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import load
from rlmaml.deploy.export import Actor, export_program, load_onnx, write_onnx
from rlmaml.deploy.robot import actuation_of
from rlmaml.families.decoding import decoded
from rlmaml.families.folders import annotated
from rlmaml.families.imitation import read_demonstrations
from rlmaml.families.installed import IMAGES, LABELS, read_idx
from rlmaml.families.rating_files import read_ratings
from rlmaml.sampling.recorded import read_episodes, write_episodes
from rlmaml.storage.checkpoint import load_checkpoint
from rlmaml.storage.kept_checkpoints import newest_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.opening import best_so_far
from rlmaml.training.run import train
from rlmaml_envs.bodies import load_model
from tests.envs.robots import CARTS
from tests.faults.fuzzing import in_time
from tests.faults.stored_files import Reader, at_every_byte, readers_of, refused
from tests.faults.trainings import SETTINGS, make_env
from tests.rlmaml.deploy.trained import LIVES, navigation, trained_policy
from tests.rlmaml.families.supervised import GREY
from tests.rlmaml.families.supervised import draw as draw_picture
from tests.rlmaml.families.test_rating_files import FILES as RATING_FILES
from tests.rlmaml.families.test_rating_files import write as write_ratings
from tests.rlmaml.sampling.test_recorded import recording, write_minari
from tests.rlmaml.shapes import shapes_checked
from tests.scripts.test_scripts import SCRIPTS, run_script

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    with shapes_checked(False):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(SETTINGS.changed(iterations=2, hidden=(2,), kept_checkpoints=2), make_env, run_dir, progress=False)
    return RunDirectory(run_dir)


@pytest.fixture(scope="module")
def readers(trained: RunDirectory) -> dict[str, Reader]:
    return readers_of(trained)


def test_every_content_is_one_that_its_reader_takes(tmp_path: Path, readers: dict[str, Reader]) -> None:
    for name, (read, content) in readers.items():
        (tmp_path / "comparison.json").write_bytes(content)
        assert read(tmp_path / "comparison.json"), name


def test_any_byte_of_a_json_file_is_refused_or_nothing_is_read_but_what_was_written(
    tmp_path: Path, readers: dict[str, Reader]
) -> None:
    path = tmp_path / "comparison.json"

    def seen(read: Callable[[Path], object], content: bytes) -> Any:
        path.write_bytes(content)
        with in_time():
            return read(path)

    for name, (read, content) in readers.items():
        whole, count = seen(read, content), 0
        for number, damaged_content in enumerate(at_every_byte(content)):
            try:
                found = seen(read, damaged_content)
            except UserError:
                count += 1
                continue
            if name == "options":  # the user's own
                continue
            both_lists = isinstance(whole, list) and isinstance(found, list)  # lines, up to the first that is damaged
            expected = whole[: len(found)] if both_lists else whole
            assert repr(found) == repr(expected) or found == "of other settings", (name, number)
        never = name in ("metrics of a run that is gone on with", "an evaluation of whichever kind")
        assert count == 0 if never else count > len(content) * (0.25 if name == "options" else 0.9), name


def test_any_byte_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "episodes.npz"
    write_episodes(path, recording((3, 2, 4)))
    whole = path.read_bytes()
    ways: tuple[Callable[[Path], object], ...] = (
        read_episodes,
        partial(read_episodes, rewards=False),
        lambda path: read_demonstrations([path, path]),
    )
    for read in ways:
        count = 0
        for content in at_every_byte(whole):
            path.write_bytes(content)
            count += refused(read, path)
        assert count > len(whole)


@pytest.mark.filterwarnings("ignore")
def test_any_byte_of_a_minari_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = write_minari(tmp_path, monkeypatch, recording((3, 2, 4)))
    for path in sorted(path for path in dataset.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for content in at_every_byte(whole, 1 if len(whole) < 1000 else 97):  # of HDF5, most of which is empty, a share
            path.write_bytes(content)
            refused(lambda _: read_episodes(dataset), path)
        path.write_bytes(whole)


def test_any_byte_of_a_family_s_file(tmp_path: Path) -> None:
    grey = draw_picture(tmp_path / "picture.png").read_bytes()
    Image.new("RGB", (6, 6), (9, 99, 199)).save(tmp_path / "picture.jpg")
    images, labels = struct.pack(">4I", IMAGES, 2, 3, 4) + bytes(range(24)), struct.pack(">2I", LABELS, 3) + bytes(3)
    files: list[tuple[Callable[[Path], object], Path, bytes]] = [
        (partial(decoded, image=GREY), tmp_path / "picture.png", grey),
        (partial(decoded, image=(3, 6, 6)), tmp_path / "picture.jpg", (tmp_path / "picture.jpg").read_bytes()),
        (partial(read_idx, magic=IMAGES), tmp_path / "images.gz", gzip.compress(images)),
        (partial(read_idx, magic=LABELS), tmp_path / "labels.gz", gzip.compress(labels)),
        (annotated, tmp_path / "notes.txt", b"val_0.JPEG\tn02\t0\t0\nval_1.JPEG\tn01\t0\t0\n"),
    ]
    for place, layout in enumerate(RATING_FILES.values()):
        folder = write_ratings(tmp_path / str(place), layout)
        files += [
            (lambda path: read_ratings(path.parent), folder / name, (folder / name).read_bytes()) for name in layout
        ]
    for read, path, content in files:
        path.write_bytes(content)
        read(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for damaged_content in at_every_byte(content):
                path.write_bytes(damaged_content)
                refused(read, path)
        path.write_bytes(content)


def test_any_byte_of_a_run_s_newest_and_best_checkpoint(trained: RunDirectory) -> None:
    whole = trained.checkpoint.read_bytes()
    assert newest_checkpoint(trained).iteration == 2
    assert refused(load_checkpoint, trained.best)  # there is none
    try:
        for content in at_every_byte(whole):
            trained.checkpoint.write_bytes(content)
            with pytest.warns(UserWarning, match=r"Used instead: .*, after 1 meta-iteration"):
                assert newest_checkpoint(trained).iteration == 1
            trained.best.write_bytes(content)
            with pytest.warns(UserWarning, match="The best checkpoint is looked for anew"):
                assert best_so_far(trained) is None
    finally:
        trained.checkpoint.write_bytes(whole)
        trained.best.unlink()


def test_any_byte_of_an_adapted_policy_that_remembers(tmp_path: Path) -> None:
    path, policy = tmp_path / "adapted.safetensors", trained_policy(LIVES.changed(hidden=(2,), memory=1))
    adapted = policy.adapt(policy.record(navigation(), 0))
    assert adapted.memory is not None
    adapted.save(path)
    assert load(path).memory is not None
    for content in at_every_byte(path.read_bytes()):
        path.write_bytes(content)
        assert refused(load, path)


def test_any_byte_of_how_the_tasks_of_a_run_on_examples_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(tmp_path / "run")
    words = ("--iterations", 1, "--tasks", 2, "--hidden", 2, "--evaluation-tasks", 2, "--no-pretrained")
    assert run_script("train_sinusoid.py", *words, "--run-dir", run.path) == 0
    monkeypatch.syspath_prepend(str(SCRIPTS))
    scripts, own_code, machine = map(import_module, ("supervised_runs", "own_code", "machine"))
    made_by = json.loads(run.settings.read_text())["made_by"]
    whole = json.dumps({"made_by": made_by}).encode()

    def opened(_: Path) -> None:
        try:
            scripts.opened_run(run.path, own_code.OwnCode(), machine.Machine())
        except SystemExit as error:  # an option's value is none: it is told of as on the command line
            raise UserError(str(error)) from error

    run.settings.write_bytes(whole)
    opened(run.settings)
    count = 0
    for content in at_every_byte(whole):
        run.settings.write_bytes(content)
        count += refused(opened, run.settings)
    assert count > len(whole)


def test_any_byte_of_a_robot_s_model_is_refused_by_the_simulator_or_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "carts.xml"
    for content in at_every_byte(CARTS.encode()):
        path.write_bytes(content)
        with contextlib.suppress(ValueError):  # which whoever makes the environment says with the family's name
            load_model(path)


def test_any_byte_of_an_exported_policy(tmp_path: Path, trained: RunDirectory) -> None:
    actor = Actor(load(trained.path), actuation_of(make_env(1)))
    program = export_program(actor)
    write_onnx(program, tmp_path / "policy.onnx", actor, {})
    path, count = tmp_path / "policy.onnx", 0
    for content in at_every_byte(whole := path.read_bytes()):
        path.write_bytes(content)
        count += refused(load_onnx, path)
    assert count > len(whole) / 2
