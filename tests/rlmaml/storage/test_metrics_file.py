import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlmaml.base.errors import UserError
from rlmaml.base.plain_data import DamagedError
from rlmaml.storage.metrics_file import metrics_line, read_metrics, sound_lines

ENTRIES = [{"iteration": i, "return/after_0_steps": -1.5 * i, "update/kl": None} for i in range(4)]
LINES = [json.dumps(entry).encode() + b"\n" for entry in ENTRIES]


def test_lines_are_read_one_per_meta_iteration_and_an_unfinished_last_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"".join(LINES) + LINES[0][:9])
    assert read_metrics(path) == ENTRIES
    assert sound_lines(path.read_bytes()) == LINES
    path.write_bytes(b"")
    assert read_metrics(path) == []
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path / "absent")


def test_a_line_in_which_any_digit_is_another_is_named_and_ends_what_is_sound(tmp_path: Path) -> None:
    lines = [metrics_line(i, {"return/after_0_steps": -123.5, "update/kl": None}).encode() for i in range(3)]
    path = tmp_path / "m"
    path.write_bytes(b"".join(lines))
    assert read_metrics(path)[2] == {"iteration": 2, "return/after_0_steps": -123.5, "update/kl": None}
    for digit in b"1235":
        other = lines[1].replace(bytes([digit]), b"9", 1)
        path.write_bytes(lines[0] + other + lines[2])
        with pytest.raises(DamagedError, match="m is damaged, or no such file at all: line 2"):
            read_metrics(path)
        assert sound_lines(path.read_bytes()) == lines[:1]


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"7\n",
        b"\x00\x00\n",
        LINES[1],  # a duplicate
        LINES[3],  # a gap
        b'{"return/after_0_steps": 1.0}\n',
        b'{"iteration": true, "return/after_0_steps": 1.0}\n',
        b'{"iteration": 2, "return/after_0_steps": NaN}\n',
        b'{"iteration": 2, "return/after_0_steps": "1"}\n',
        b'{"iteration": 2, "return/after_0_steps": [1.0]}\n',
        b'{"iteration": 2, "return/after_1_steps": 1.0}\n',
        b'{"iteration": 2}\n',
    ],
)
def test_a_line_that_is_not_that_of_its_meta_iteration_is_named_and_ends_what_is_sound(
    tmp_path: Path, line: bytes
) -> None:
    content = b"".join(LINES[:2]) + line + b"".join(LINES[2:])
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(DamagedError, match="m is damaged, or no such file at all: line 3"):
        read_metrics(tmp_path / "m")
    assert sound_lines(content) == LINES[:2]


@given(st.integers(0, 8 * len(b"".join(LINES)) - 1), st.integers(0, len(b"".join(LINES))))
def test_flips_and_cuts_never_end_in_another_error(position: int, kept: int) -> None:
    damaged = bytearray(b"".join(LINES))
    damaged[position // 8] ^= 1 << position % 8
    for content in (bytes(damaged), bytes(damaged[:kept])):
        assert len(sound_lines(content)) <= 4


def test_a_directory_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is no file"):
        read_metrics(tmp_path)
