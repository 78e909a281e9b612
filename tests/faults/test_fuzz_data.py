"""Settings, tasks, robots and files of any content: they are refused as bad input, or are what they say."""

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
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
from rlmaml.sampling.recorded import REQUIRED, RecordedEpisodes, read_episodes, write_episodes
from rlmaml.settings.methods.registry import METHODS
from rlmaml.settings.policy import POLICIES
from rlmaml.settings.whole import configure, from_plain, owner_classes
from rlmaml.storage.checkpoint import HEADER, checksum, load_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.run import train
from rlmaml_envs import make_tasks_env, register_family
from rlmaml_envs.registry import FAMILIES
from rlmaml_envs.task_words import parse_task
from rlmaml_envs.tasks import Task
from tests.envs.robots import CARTS, body, family
from tests.faults.fuzzing import ANYTHING, altered, damaged, fuzzed, in_time, share
from tests.faults.stored_files import Reader, readers_of
from tests.faults.trainings import SETTINGS, make_env
from tests.rlmaml.sampling.test_recorded import recording
from tests.rlmaml.shapes import shapes_checked

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


@pytest.fixture(scope="module")
def readers(trained: Path) -> dict[str, Reader]:
    return readers_of(RunDirectory(trained))


@fuzzed(share("JSON files"))
@given(data=st.data())
def test_any_text_in_place_of_a_file_is_refused_or_can_be_read(
    tmp_path: Path, readers: dict[str, Reader], data: st.DataObject
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
