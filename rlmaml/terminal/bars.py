"""Progress bars whose seconds are those of a clock that nobody sets."""

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from tqdm import tqdm

WIDTH, HEIGHT = 80, 24
"""Characters and lines."""


class ProgressBar(tqdm):  # type: ignore[misc]
    """tqdm's, by the monotonic clock: where the time of day jumps back, tqdm's own stands still until it is reached.

    Its lock is one of threads: that of tqdm's own, which is one of processes, too, decides for the whole process how
    multiprocessing starts others, which its owner may want to say later. In a terminal that does not say how wide it
    is, where tqdm would show nothing, it is 80 characters wide.
    """

    _lock = threading.RLock()

    def __init__(self, *values: Any, **options: Any) -> None:
        with suppress(OSError, ValueError):
            if sys.stderr.isatty() and not os.get_terminal_size(sys.stderr.fileno()).columns:
                options |= {"ncols": WIDTH, "nrows": HEIGHT, "dynamic_ncols": False}
        super().__init__(*values, **options)
        if not self.disable:
            self._time = time.monotonic
            self.start_t = self.last_print_t = self._time()
