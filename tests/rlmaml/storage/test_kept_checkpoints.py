import os
import resource
from pathlib import Path
from typing import NoReturn

import pytest

from rlmaml.base.errors import UserError
from rlmaml.storage.checkpoint import load_checkpoint, save_checkpoint
from rlmaml.storage.kept_checkpoints import keep_checkpoint, newest_checkpoint, policy_checkpoint
from rlmaml.storage.run_directory import RunDirectory
from rlmaml.training.opening import check_openable
from tests.rlmaml.storage.test_checkpoint import checkpoint


def kept_after(directory: RunDirectory, iterations: range, kept: int) -> list[int]:
    """Keep a checkpoint after each iteration; what is there then, from the newest on."""
    directory.make()
    for iteration in iterations:
        keep_checkpoint(directory, checkpoint()._replace(iteration=iteration), kept)
    paths = (directory.checkpoint, *directory.earlier_checkpoints())
    return [load_checkpoint(path).iteration for path in paths]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # a second name keeps what it had
    path.write_bytes(content)


@pytest.mark.parametrize("linked", [True, False])
def test_the_last_ones_are_kept_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(1, os.strerror(1))

    if not linked:
        monkeypatch.setattr(os, "link", refuse)
    directory = RunDirectory(tmp_path)
    assert kept_after(directory, range(1), 3) == [0]
    assert kept_after(directory, range(1, 7), 3) == [6, 5, 4]
    assert kept_after(directory, range(7, 8), 2) == [7, 6]
    assert kept_after(directory, range(8, 9), 1) == [8]
    assert kept_after(directory, range(9, 14), 4) == [13, 12, 11, 10]


def test_a_damaged_newest_one_is_reported_and_the_one_before_it_is_used(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    kept_after(directory, range(4), 3)
    assert newest_checkpoint(directory).iteration == 3
    damage(directory.checkpoint)
    said = r"checkpoint\.safetensors: It is damaged.* Used instead: .*1_before\.safetensors, after 2 meta-iterations"
    with pytest.warns(UserWarning, match=said):
        assert newest_checkpoint(directory).iteration == 2
    with pytest.warns(UserWarning, match=said):
        assert policy_checkpoint(tmp_path).iteration == 2
    with pytest.raises(UserError, match="It is damaged"):
        policy_checkpoint(directory.checkpoint)  # a file that is named is meant
    directory.checkpoint.unlink()
    damage(directory.earlier_checkpoint(1))
    with pytest.warns(UserWarning, match="There is no checkpoint at .* after 1 meta-iteration"):
        assert newest_checkpoint(directory).iteration == 1
    damage(directory.earlier_checkpoint(2))
    with pytest.raises(UserError, match="There is no checkpoint at"):
        newest_checkpoint(directory)


def test_one_that_has_done_more_than_is_known_of_is_passed_over(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    kept_after(directory, range(3), 3)
    assert newest_checkpoint(directory, at_most=2).iteration == 2
    said = r"has done 2 meta-iterations, but .*metrics\.jsonl tells of the first 1 alone.*after 1 meta-iteration"
    with pytest.warns(UserWarning, match=said):
        assert newest_checkpoint(directory, at_most=1).iteration == 1
    kept_after(directory, range(3, 9), 3)
    with pytest.raises(UserError, match=r"has done 8 meta-iterations.*Restore that file, or begin anew"):
        newest_checkpoint(directory, at_most=5)


def test_at_no_moment_is_there_no_newest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path)
    kept_after(directory, range(4), 3)
    calls = ["link", "unlink", "rename", "replace"]
    seen = 0

    def watched(name: str) -> None:
        act = getattr(os, name)

        def call(*args: object, **options: object) -> object:
            nonlocal seen
            done = act(*args, **options)
            seen += 1
            assert load_checkpoint(directory.checkpoint).iteration in (3, 4)
            return done

        monkeypatch.setattr(os, name, call)

    for name in calls:
        watched(name)
    keep_checkpoint(directory, checkpoint()._replace(iteration=4), 3)
    assert seen >= 3


def test_a_link_in_the_place_of_an_earlier_one_is_replaced(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    kept_after(directory, range(1), 2)
    (tmp_path / "victim").write_text("precious")
    directory.earlier.mkdir()
    directory.earlier_checkpoint(1).symlink_to(tmp_path / "victim")
    keep_checkpoint(directory, checkpoint(), 2)
    assert (tmp_path / "victim").read_text() == "precious"
    assert load_checkpoint(directory.earlier_checkpoint(1)).iteration == 0


def test_a_link_to_another_folder_of_earlier_ones_is_refused_and_nothing_there_is_touched(tmp_path: Path) -> None:
    directory, other = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "other")
    kept_after(directory, range(1), 3)
    kept_after(other, range(3), 3)
    before = {path: path.read_bytes() for path in other.earlier_checkpoints()}
    directory.earlier.symlink_to(other.earlier, target_is_directory=True)
    with pytest.raises(UserError, match="earlier_checkpoints is a link to another place"):
        keep_checkpoint(directory, checkpoint(), 2)
    for choice in ({"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}):
        with pytest.raises(UserError, match="earlier_checkpoints is a link to another place"):
            check_openable(directory, **choice)
    assert {path: path.read_bytes() for path in other.earlier_checkpoints()} == before


def test_of_a_copy_that_does_not_fit_on_the_disk_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(1, os.strerror(1))

    monkeypatch.setattr(os, "link", refuse)
    directory = RunDirectory(tmp_path)
    kept_after(directory, range(1), 2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (directory.checkpoint.stat().st_size // 2, before[1]))
    try:
        with pytest.raises(UserError, match="Cannot write"):
            keep_checkpoint(directory, checkpoint(), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(directory.earlier.iterdir())
    assert load_checkpoint(directory.checkpoint).iteration == 0


def test_what_a_killed_copy_had_written_is_tidied_up(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    kept_after(directory, range(2), 2)
    left, own = (directory.earlier / f".{name}.partial" for name in ("1_before.safetensors." + "0" * 16, "mine"))
    left.write_bytes(b"half")
    own.write_bytes(b"mine")
    directory.tidy()
    assert (left.exists(), own.exists()) == (False, True)
    assert load_checkpoint(directory.earlier_checkpoint(1)).iteration == 0


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path)
    directory.make()
    save_checkpoint(directory.checkpoint, checkpoint())
    directory.earlier.write_text("in the way")
    with pytest.raises(UserError, match="Cannot write"):
        keep_checkpoint(directory, checkpoint(), 2)
    assert load_checkpoint(directory.checkpoint).iteration == 12
