import os
import pty
import sys

import pytest

from rlmaml.terminal.bars import WIDTH, ProgressBar


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_bar_is_seen_in_a_terminal_that_does_not_say_how_wide_it_is(
    monkeypatch: pytest.MonkeyPatch, *, dynamic: bool
) -> None:
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with ProgressBar(total=2, desc="training", dynamic_ncols=dynamic) as bar:
            bar.update()
        seen = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert "training" in seen
    assert max(map(len, seen.replace("\r", "\n").split("\n"))) <= WIDTH
