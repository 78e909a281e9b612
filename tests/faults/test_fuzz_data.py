"""Settings, tasks, robots and files of any content: they are refused as bad input, or are what they say."""

import dataclasses
import gzip
import io
import json
import re
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlmaml.base.errors import UserError
from rlmaml.deploy.adaptable import load
from rlmaml.families.decoding import decoded
from rlmaml.families.folders import annotated
from rlmaml.families.installed import IMAGES, read_idx
from rlmaml.families.rating_files import read_ratings
from rlmaml.results.by_episodes import ACTIONS, Asked, Place, stored_curves
from rlmaml.results.compare import Comparison, MethodReturns, as_plain, read_comparison
from rlmaml.results.compression import as_plain_table, read_table
from rlmaml.results.contenders import IN_RANGE, Contender
from rlmaml.sampling.recorded import REQUIRED, RecordedEpisodes, read_episodes, write_episodes
from rlmaml.settings.config_file import read_config
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.whole import configure, from_plain, owner_classes
from rlmaml.storage.checkpoint import HEADER, checksum, load_checkpoint
from rlmaml.storage.evaluation_file import read_evaluation
from rlmaml.storage.metrics_file import read_metrics
from rlmaml.storage.range_file import read_context_range
from rlmaml.storage.run_directory import ComparisonDirectory, RunDirectory
from rlmaml.storage.scores_file import read_scores
from rlmaml.training.opening import earlier_commits
from rlmaml.training.run import train
from rlmaml_envs import make_tasks_env, register_family
from rlmaml_envs.registry import FAMILIES
from rlmaml_envs.task_words import parse_task
from rlmaml_envs.tasks import Task
from tests.envs.robots import CARTS, body, family
from tests.faults.fuzzing import ANYTHING, altered, damaged, fuzzed, in_time, share
from tests.faults.trainings import SETTINGS, make_env
from tests.rlmaml.families.supervised import GREY
from tests.rlmaml.families.supervised import draw as draw_picture
from tests.rlmaml.families.test_rating_files import FILES as RATING_FILES
from tests.rlmaml.families.test_rating_files import write as write_ratings
from tests.rlmaml.results.test_compression import JUDGED, ROWS
from tests.rlmaml.sampling.test_recorded import recording
from tests.rlmaml.shapes import shapes_checked
from tests.rlmaml.storage.stored import evaluation, metrics
from tests.rlmaml.storage.test_scores_file import written as scores

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _unchecked() -> Iterator[None]:
    with shapes_checked(False):
        yield


FIELDS = sorted(
    {
        field.name
        for algorithm in METHODS
        for policy in POLICIES
        for kind in owner_classes(algorithm, policy).values()
        for field in dataclasses.fields(kind)
    }
)


@fuzzed(share("configurations"))
@given(
    algorithm=st.sampled_from(sorted(METHODS)) | st.text(max_size=5),
    policy=st.none() | st.sampled_from(sorted(POLICIES)),
    options=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=3),
)
def test_any_value_of_any_setting_is_refused_or_is_what_is_stored(
    algorithm: str, policy: str | None, options: dict[str, Any]
) -> None:
    with in_time():
        try:
            made = configure(algorithm, policy, **options)
        except UserError:
            return
        stored = made.as_plain()
        read = from_plain(json.loads(json.dumps(stored, allow_nan=False)))
        assert read.as_plain() == stored
        assert read == made.changed(start_from=stored["run"]["start_from"])


ENVIRONMENTS = {
    (env_id, variant): make_tasks_env(env_id, 1, 5, variant=variant)
    for env_id, variant in (("Navigation2D-v0", None), ("HalfCheetahVel-v0", None), ("RoverGoal-v0", None))
}
NUMBERS = st.floats().map(str) | st.integers().map(str) | st.text(max_size=5) | st.sampled_from(["1e999", "١", "0x1"])


@fuzzed(share("task words"))
@given(data=st.data())
def test_any_words_for_a_task_are_refused_or_a_legal_task(data: st.DataObject) -> None:
    (env_id, _), env = data.draw(st.sampled_from(sorted(ENVIRONMENTS.items(), key=str)))
    names = st.sampled_from(sorted(env.task_space.spaces)) | st.text(max_size=5)
    word = st.tuples(names, st.lists(NUMBERS, min_size=1, max_size=3).map(",".join)).map("=".join) | st.text(max_size=9)
    words = data.draw(st.lists(word, max_size=4))

    def drawn(names: Sequence[str]) -> Task:
        return {name: values[0] for name, values in env.sample_tasks(1, [0]).items() if name in names}

    with in_time():
        try:
            task = parse_task(words, env.wide_task_space, env.task_units, env_id, drawn, env.task_labels)
        except (TypeError, ValueError):
            return
        assert env.wide_task_space.contains(task)


RECORDED = recording((3, 2, 4))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("recorded") / "episodes.npz"
    write_episodes(path, RECORDED)
    return path.read_bytes()


ARRAYS = hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))


@st.composite
def archives(draw: st.DrawFn, whole: bytes) -> bytes:
    """A damaged recording, or one whose arrays are others."""
    if draw(st.booleans()):
        return draw(damaged(whole))
    arrays = {name: array for name, array in RECORDED._asdict().items() if array is not None}
    names = st.sampled_from(sorted(arrays)) | st.sampled_from(["rewards", "more"])
    arrays |= draw(st.dictionaries(names, ARRAYS, min_size=1, max_size=2))
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@fuzzed(share("recordings"))
@given(data=st.data())
def test_any_recording_is_refused_or_made_of_finite_numbers_in_its_layout(
    tmp_path: Path, recorded: bytes, data: st.DataObject
) -> None:
    path = tmp_path / "episodes.npz"
    path.write_bytes(data.draw(archives(recorded)))
    with in_time():
        try:
            read = read_episodes(path)
        except UserError:
            return
        assert isinstance(read, RecordedEpisodes)
        assert len({len(getattr(read, name)) for name in REQUIRED}) == 1
        assert all(np.isfinite(array).all() for array in read if array is not None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    train(SETTINGS.changed(iterations=2), make_env, run_dir, progress=False)
    return run_dir


def resealed(content: bytes, draw: Callable[[Any], Any]) -> bytes:
    """A checkpoint that says other things of itself, with the checksum of these."""
    tensors = safetensors.torch.load(content)
    size = int.from_bytes(content[:8], "little")
    text = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][HEADER])
    text.pop("checksum")
    text = draw(altered(text))
    if isinstance(text, dict):
        text["checksum"] = checksum(text, tensors)
    return safetensors.torch.save(tensors, {HEADER: json.dumps(text)})


@fuzzed(share("checkpoints"))
@given(data=st.data())
def test_any_checkpoint_is_refused_or_acts(tmp_path: Path, trained: Path, data: st.DataObject) -> None:
    path, whole = tmp_path / "policy.safetensors", RunDirectory(trained).checkpoint.read_bytes()
    seals = data.draw(st.integers(0, 3)) == 0
    content = resealed(whole, data.draw) if seals else data.draw(damaged(whole))
    path.write_bytes(content)
    with in_time():
        try:
            load_checkpoint(path)
            assert seals or content == whole
            assert np.isfinite(load(path).act(np.zeros(2))).all()
        except UserError:
            return


def ranges() -> dict[str, Any]:
    return {"iteration": 3, "low": {"context": [-1.0, -0.5]}, "high": {"context": [1.0, 0.5]}}


@pytest.fixture(scope="module")
def readers(trained: Path) -> dict[str, tuple[Callable[[Path], object], bytes]]:
    """What is read -> its reader and a valid content."""
    run = RunDirectory(trained)

    settings = configure(hidden=(8,), evaluation_tasks=2)
    asked = Asked((0, 1), (Place(IN_RANGE, "finn2017", beyond=False),))
    returns = [[-4.0, -2.0], [-3.0, None]]
    contender = Contender(settings, run)
    lived = {
        "curves": {IN_RANGE: {actions: {"maml-trpo": returns} for actions in ACTIONS}},
        "config": {"settings": settings.as_plain()} | asked.of(contender),
    }
    compared = Comparison(settings, (0,), {IN_RANGE: {"maml-trpo": MethodReturns(np.array([[[-4.0, -2.0]]]))}})

    def comparison(path: Path) -> object:
        return read_comparison(ComparisonDirectory(path.parent))

    def curves(path: Path) -> object:
        own = contender._replace(directory=RunDirectory(path.parent))
        path.replace(own.directory.lived)
        return stored_curves(own, asked)

    def commits(path: Path) -> object:
        directory = RunDirectory(path.parent)
        path.replace(directory.settings)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = earlier_commits(directory)
        if said:  # it is told of them, and goes on
            raise UserError(str(said[0].message))
        return found

    return {
        "an evaluation": (read_evaluation, json.dumps(evaluation()).encode()),
        "metrics": (read_metrics, metrics(3).encode()),
        "metrics of a run": (read_metrics, run.metrics.read_bytes()),
        "a range": (read_context_range, json.dumps(ranges()).encode()),
        "a run's settings": (read_config, run.settings.read_bytes()),
        "options": (read_config, b"max-kl: 0.02\ntasks: 3\nhidden: [8, 8]\nresume: true\n"),
        "a run's evaluation": (read_evaluation, run.evaluation.read_bytes()),
        "scores": (read_scores, json.dumps(scores()).encode()),
        "a comparison": (comparison, json.dumps(as_plain(compared)).encode()),
        "returns by episodes lived": (curves, json.dumps(lived).encode()),
        "commits": (commits, b'{"commit": "abc", "earlier_commits": ["def", null]}'),
    }


@fuzzed(share("JSON files"))
@given(data=st.data())
def test_any_text_in_place_of_a_file_is_refused_or_can_be_read(
    tmp_path: Path, readers: dict[str, tuple[Callable[[Path], object], bytes]], data: st.DataObject
) -> None:
    reader, content = readers[data.draw(st.sampled_from(sorted(readers)))]
    is_object = content.count(b"\n{") == 0 and content.startswith(b"{")
    if is_object and data.draw(st.booleans()):
        content = json.dumps(data.draw(altered(json.loads(content)))).encode()
    else:
        content = data.draw(damaged(content))
    path = tmp_path / "comparison.json"
    path.write_bytes(content)
    with in_time():
        try:
            reader(path)
        except UserError:
            return


SEEDS = ANYTHING | st.lists(st.integers(-2, 2**70) | st.none(), max_size=3)
OPTIONS = st.dictionaries(
    st.sampled_from(["reset_mask", "tasks", "task"]) | st.text(max_size=3),
    ANYTHING | hnp.arrays(np.bool_, hnp.array_shapes(max_dims=2, max_side=3)) | st.dictionaries(st.text(), ARRAYS),
    max_size=2,
)


@fuzzed(share("reset options"))
@given(seed=SEEDS, options=OPTIONS | ANYTHING)
def test_any_seed_and_any_options_of_a_reset_are_refused_or_start_episodes(seed: Any, options: Any) -> None:
    env = make_tasks_env("Navigation2D-v0", 2, 5)
    with in_time():
        try:
            observations, info = env.reset(seed=seed, options=options)
        except (TypeError, ValueError):
            env.reset(seed=0)
            return
    assert np.isfinite(observations).all()
    assert env.wide_task_space.contains({name: values[0] for name, values in info["task"].items()})


@st.composite
def models(draw: st.DrawFn) -> str:
    """The MJCF of two carts in which some numbers are others, or some elements or attributes are gone."""
    xml = CARTS
    for _ in range(draw(st.integers(1, 3))):
        pattern = draw(st.sampled_from([r"-?\d*\.?\d+", r' \w+="[^"]*"', r"<(joint|geom|motor|light)[^>]*/>", r"\w+"]))
        places = [found.span() for found in re.finditer(pattern, xml)]
        if not places:
            continue
        begin, end = draw(st.sampled_from(places))
        numbers = st.sampled_from(["0", "-1", "1e300", "1e-300", "nan", "inf", "1e6", "", "x"]) | st.floats().map(str)
        xml = xml[:begin] + (draw(numbers) if pattern.startswith("-") else "") + xml[end:]
    return xml


@fuzzed(share("MJCF"))
@given(xml=models())
@pytest.mark.filterwarnings("ignore")
def test_any_robot_is_refused_or_gives_finite_numbers(xml: str) -> None:
    name = "FuzzedCarts-v0"
    try:
        with in_time():
            try:
                register_family(name, family(body(xml)), origin="here", text="")
                env = make_tasks_env(name, 2, 5)
            except (ImportError, ValueError):
                return
            seen, _ = env.reset(seed=0)
            for _ in range(5):
                assert np.isfinite(seen).all()
                seen, rewards, *_ = env.step(np.ones((2, *(env.single_action_space.shape or ()))))
                assert np.isfinite(rewards).all()
    finally:
        FAMILIES.pop(name, None)


def at_every_byte(content: bytes) -> Iterator[bytes]:
    """A content with a bit flipped, and one cut, at each of its bytes."""
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        yield bytes(flipped)
        yield content[:place]


def refused(read: Callable[[Path], object], path: Path) -> bool:
    """Whether a reader refuses a file as it should, in time; another error than a refusal is raised."""
    with in_time():
        try:
            read(path)
        except UserError:
            return True
    return False


def test_every_content_is_one_that_its_reader_takes(
    tmp_path: Path, readers: dict[str, tuple[Callable[[Path], object], bytes]]
) -> None:
    for name, (read, content) in readers.items():
        (tmp_path / "comparison.json").write_bytes(content)
        assert read(tmp_path / "comparison.json") is not None, name


def test_a_flip_or_a_cut_at_any_byte_of_a_file_is_refused_or_read_as_what_is_there(
    tmp_path: Path, readers: dict[str, tuple[Callable[[Path], object], bytes]], recorded: bytes
) -> None:
    path = tmp_path / "comparison.json"
    small = {name: reader for name, reader in readers.items() if not name.startswith("a run's")}  # of the same readers
    for name, (read, content) in {**small, "a recording": (read_episodes, recorded)}.items():
        count = 0
        for damaged_content in at_every_byte(content):
            path.write_bytes(damaged_content)
            count += refused(read, path)
        assert count > len(content) / 4, name


def test_a_flip_or_a_cut_at_any_byte_of_a_familys_file_is_refused_or_read_as_what_is_there(tmp_path: Path) -> None:
    picture = draw_picture(tmp_path / "picture.png").read_bytes()
    clothes = gzip.compress(struct.pack(">4I", IMAGES, 2, 3, 4) + bytes(range(24)))
    notes = b"val_0.JPEG\tn02\t0\t0\nval_1.JPEG\tn01\t0\t0\n"
    table = json.dumps(as_plain_table(ROWS, JUDGED, {"commit": "x"})).encode()
    files: list[tuple[Callable[[Path], object], Path, bytes]] = [
        (partial(decoded, image=GREY), tmp_path / "picture.png", picture),
        (partial(read_idx, magic=IMAGES), tmp_path / "clothes.gz", clothes),
        (annotated, tmp_path / "notes.txt", notes),
        (read_table, tmp_path / "table.json", table),
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


def test_a_flip_or_a_cut_at_any_byte_of_a_checkpoint_is_refused(tmp_path: Path, trained: Path) -> None:
    path = tmp_path / "policy.safetensors"
    for content in at_every_byte(RunDirectory(trained).checkpoint.read_bytes()):
        path.write_bytes(content)
        assert refused(load_checkpoint, path)
