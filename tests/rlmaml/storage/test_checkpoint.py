import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rlmaml.base.errors import UserError
from rlmaml.core.types import Meta
from rlmaml.policies.sizes import Part, Sizes
from rlmaml.settings.whole import configure
from rlmaml.storage.checkpoint import (
    Checkpoint,
    check_fits,
    checkpoint_bytes,
    checksum,
    load_checkpoint,
    remembered,
    save_checkpoint,
)
from tests.rlmaml.makers import gaussian_policy


def checkpoint() -> Checkpoint:
    """What a run with every part has learned."""
    params = gaussian_policy(hidden=(5, 4)).init(7)
    rates = {name: torch.arange(2.0) - index for index, name in enumerate(params)}
    state = {"step": torch.tensor(3.0), "moments/layer0.weight": torch.randn(3, 3), "counts": torch.tensor([1, 2])}
    run = configure(
        "maml-trpo", hidden=(5, 4), seed=3, learn_step_sizes=True, inner_step_sizes=(0.1, 0.05), damping=1e-5
    )
    sizes = Sizes(3, 2, parts=(Part("picture", (1, 1, 2)), Part("speed", (1,))))
    return Checkpoint(Meta(params, rates), 12, run, sizes, state, steps_taken=2)


def as_bits(tensors: dict[str, torch.Tensor]) -> list[Any]:
    """Names in their order, types, shapes and bytes."""
    return [(name, t.dtype, tuple(t.shape), t.reshape(-1).numpy().tobytes()) for name, t in tensors.items()]


def parts(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The text and the tensors of a file."""
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["rlmaml"]), tensors


def write(path: Path, text: dict[str, Any], tensors: dict[str, torch.Tensor], *, sealed: bool = True) -> None:
    """A file of these contents; sealed with the checksum that they have."""
    text = dict(text)
    if sealed:
        text.pop("checksum", None)
        text["checksum"] = checksum(text, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {"rlmaml": json.dumps(text)}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint())
    return tmp_path / "checkpoint.safetensors"


def test_a_checkpoint_comes_back_bit_for_bit_in_the_same_order(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(tmp_path / "c", saved)
    loaded = load_checkpoint(tmp_path / "c")
    for one, other in zip((*loaded.meta, loaded.state), (*saved.meta, saved.state), strict=True):
        assert as_bits(one) == as_bits(other)
    assert loaded[1:4] + loaded[5:] == saved[1:4] + saved[5:]


def test_sections_may_be_empty_and_numbers_of_any_kind_and_shape(tmp_path: Path) -> None:
    saved = checkpoint()
    params = {
        "b": torch.tensor([1.0, -0.0, 1e300], dtype=torch.float64),
        "a": torch.zeros(0, 3),
        "c": torch.ones(3, 2).T,
        "d": torch.tensor([True, False]),
    }
    save_checkpoint(tmp_path / "c", saved._replace(meta=Meta(params, {}), state={}))
    loaded = load_checkpoint(tmp_path / "c")
    assert as_bits(loaded.meta.params) == as_bits(params)
    assert (loaded.meta.rates, loaded.state) == ({}, {})


def test_the_same_checkpoint_gives_the_same_bytes() -> None:
    saved = checkpoint()
    content = checkpoint_bytes(saved)
    assert all(checkpoint_bytes(saved) == content for _ in range(4))
    assert checkpoint_bytes(saved._replace(iteration=13)) != content
    reversed_state = dict(reversed(saved.state.items()))
    assert checkpoint_bytes(saved._replace(state=reversed_state)) != content


def test_another_process_with_other_hashes_writes_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys, hashlib, pathlib\n"
        "from rlmaml.storage.checkpoint import *\n"
        "again = checkpoint_bytes(load_checkpoint(pathlib.Path(sys.argv[1])))\n"
        "print(hashlib.sha256(again).hexdigest(), hash('text'))\n"
    )
    save_checkpoint(tmp_path / "c", checkpoint())
    expected = hashlib.sha256((tmp_path / "c").read_bytes()).hexdigest()
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "c"],
        env=os.environ | {"PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        text=True,
    )
    content, hashed = done.stdout.split()
    assert content == expected
    assert int(hashed) != hash("text")


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no checkpoint at"):
        load_checkpoint(tmp_path / "none")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_checkpoint_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="is truncated, or no checkpoint at all"):
        load_checkpoint(path)


CONTENT = checkpoint_bytes(checkpoint())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 8 * len(CONTENT) - 1))
@example(position=0)
@example(position=8 * CONTENT.index(b"e-05") + 5)  # the number is the same with a capital E
@example(position=8 * CONTENT.index(b"checksum") + 5)
@example(position=8 * len(CONTENT) - 1)
def test_every_bit_that_flips_is_noticed(tmp_path: Path, position: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position // 8] ^= 1 << position % 8
    path = tmp_path / "c"
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"damaged|truncated|no checkpoint|not a checkpoint"):
        load_checkpoint(path)


def test_a_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    torch.save({"theta": torch.zeros(2)}, tmp_path / "c")
    with pytest.raises(UserError, match="is truncated, or no checkpoint at all"):
        load_checkpoint(tmp_path / "c")


def test_files_of_other_programs_and_versions_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c"
    for metadata, name in (
        (None, "None"),
        ({"format": "rlmaml-checkpoint-1", "iteration": "3"}, "'rlmaml-checkpoint-1'"),
    ):
        path.write_bytes(safetensors.torch.save({"layer0.weight": torch.zeros(2)}, metadata))
        with pytest.raises(UserError, match=f"its format is {name}; legal is 'rlmaml-checkpoint-2'.*Train anew"):
            load_checkpoint(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is truncated, or no checkpoint at all"):
        load_checkpoint(tmp_path)


def test_a_newer_format_is_refused_by_name(path: Path) -> None:
    text, tensors = parts(path)
    write(path, text | {"format": "rlmaml-checkpoint-9"}, tensors)
    with pytest.raises(UserError, match="its format is 'rlmaml-checkpoint-9'"):
        load_checkpoint(path)


def test_sections_that_this_version_does_not_know_are_left_unread(path: Path) -> None:
    text, tensors = parts(path)
    extended = text | {"order": text["order"] | {"buffers": ["mean", "count"]}, "remark": "from a later version"}
    more = tensors | {"buffers/mean": torch.ones(3), "buffers/count": torch.tensor(4)}
    write(path, extended, more)
    loaded, plain = load_checkpoint(path), checkpoint()
    assert as_bits(loaded.meta.params) == as_bits(plain.meta.params)
    assert as_bits(loaded.meta.rates) == as_bits(plain.meta.rates)
    assert list(loaded.state) == list(plain.state)


@pytest.mark.parametrize(
    "damage",
    [
        {"order": None},
        {"order": {}},
        {"order": {"params": ["absent"]}},
        {"order": "["},
        {"sizes": {"observation": 3}},
        {"settings": None},
        {"iteration": None},
    ],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_checkpoint_with_damaged_words_is_refused(path: Path, damage: dict[str, Any], sealed: bool) -> None:
    text, tensors = parts(path)
    changed = {name: value for name, value in (text | damage).items() if value is not None}
    write(path, changed, tensors, sealed=sealed)
    with pytest.raises(UserError, match=r"is damaged|The stored configuration"):
        load_checkpoint(path)


def test_what_was_loaded_stays_whatever_becomes_of_the_file(path: Path) -> None:
    loaded, content = load_checkpoint(path), path.read_bytes()
    before = [as_bits(tensors) for tensors in (*loaded.meta, loaded.state)]
    for other in (bytes(len(content)), b""):
        with path.open("r+b") as file:  # the very file that was read, and none in its place
            file.write(other)
            file.truncate(len(other))
        assert [as_bits(tensors) for tensors in (*loaded.meta, loaded.state)] == before


def test_other_numbers_than_the_checksum_was_made_of_are_refused(path: Path) -> None:
    text, tensors = parts(path)
    write(path, text, tensors, sealed=False)
    assert load_checkpoint(path).iteration == 12
    for name, tensor in tensors.items():
        write(path, text, tensors | {name: tensor + 1}, sealed=False)
        with pytest.raises(UserError, match="It is damaged"):
            load_checkpoint(path)
        for same_bytes in (tensor.view(torch.int32), tensor.flatten().unsqueeze(0)):
            write(path, text, tensors | {name: same_bytes}, sealed=False)
            with pytest.raises(UserError, match="It is damaged"):
                load_checkpoint(path)
    write(path, text, tensors | {"params/more": torch.zeros(1)}, sealed=False)
    with pytest.raises(UserError, match="It is damaged"):
        load_checkpoint(path)


def test_a_setting_that_this_version_does_not_know_is_named(path: Path) -> None:
    text, tensors = parts(path)
    newer = text["settings"] | {"run": text["settings"]["run"] | {"newer_setting": 1}}
    write(path, text | {"settings": newer}, tensors)
    with pytest.raises(UserError, match=r"checkpoint\.safetensors: The stored configuration.*'newer_setting'"):
        load_checkpoint(path)


def full(*_: object) -> NoReturn:
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_on_a_full_disk_the_earlier_checkpoint_stays(path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(os if where == "fsync" else Path, where, full)
    with pytest.raises(UserError, match="No space left on device"):
        save_checkpoint(path, checkpoint()._replace(iteration=99))
    monkeypatch.undo()
    assert load_checkpoint(path).iteration == 12
    assert os.listdir(path.parent) == [path.name]


def test_a_checkpoint_that_does_not_fit_names_the_entry() -> None:
    stored = checkpoint()
    check_fits(stored, stored.meta, "Robot-v0")
    params, rates = stored.meta
    name = next(iter(params))
    double = {other: tensor.double() if other == name else tensor for other, tensor in params.items()}
    fewer = {other: tensor for other, tensor in params.items() if other != name}
    for fresh, said in (
        (Meta({name: torch.zeros(7, 7, 7)}, rates), rf"its {name} has shape .* another version of rlmaml wrote it"),
        (Meta(params | {"absent": torch.zeros(1)}, rates), "its absent is missing"),
        (Meta(fewer, rates), f"does not fit Robot-v0: its {name} is not known there.* another version of rlmaml"),
        (Meta(double, rates), f"its {name} is of torch.float32, and torch.float64 is needed"),
        (Meta(params, {}), f"its rate of {name} is not known there"),
        (Meta(params, rates | {"absent": torch.zeros(2)}), "its rate of absent is missing"),
        (Meta(params, rates | {name: torch.zeros(3)}), f"its rate of {name} has shape"),
    ):
        with pytest.raises(UserError, match=said):
            check_fits(stored, fresh, "Robot-v0")


@pytest.mark.parametrize("section", ["params", "rates", "state", "memory"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_wherever_they_are(tmp_path: Path, section: str, value: float) -> None:
    saved, poisoned = checkpoint(), {"odd": torch.tensor([0.0, value])}
    meta = Meta(*(entries | poisoned if section == name else entries for name, entries in saved.meta._asdict().items()))
    rest: dict[str, Any] = {name: poisoned for name in ("state", "memory") if name == section}
    save_checkpoint(tmp_path / "c", saved._replace(meta=meta, **rest))
    with pytest.raises(UserError, match=f"c: Its odd, of {section}, holds NaN or infinite numbers"):
        load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize(
    "changes",
    [
        {"iteration": -1},
        {"iteration": True},
        {"iteration": 1.0},
        {"steps_taken": 10**30},
        {"sizes": {"observation": -3, "action": 2}},
        {"sizes": {"observation": 3, "action": "2"}},
        {"sizes": {"observation": 3, "action": 2, "discrete": 1}},
        {"sizes": [3, 2]},
    ],
    ids=str,
)
def test_counts_that_are_none_are_refused(path: Path, changes: dict[str, Any]) -> None:
    text, tensors = parts(path)
    write(path, text | changes, tensors)
    with pytest.raises(UserError, match="is damaged"):
        load_checkpoint(path)


def test_what_a_policy_does_not_remember_so_is_refused() -> None:
    policy = gaussian_policy(hidden=(5, 4))
    stored = checkpoint()
    assert remembered(stored, policy) is None
    lived = {"carry": torch.zeros(1, 1, 3), "last_action": torch.zeros(1, 1, 2), "last_reward": torch.zeros(1, 1)}
    with pytest.raises(UserError, match="its memory's carry is not known there"):
        remembered(stored._replace(memory=lived), policy)


def test_a_text_nested_too_deeply_is_damage(path: Path) -> None:
    _, tensors = parts(path)
    for text in ("[" * 200_000, '{"format": ' * 100_000):
        path.write_bytes(safetensors.torch.save(tensors, {"rlmaml": text}))
        with pytest.raises(UserError, match="is damaged"):
            load_checkpoint(path)
