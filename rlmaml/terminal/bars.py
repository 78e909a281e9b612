"""Progress bars whose seconds are those of a clock that nobody sets."""

import threading
import time
from typing import Any

from tqdm import tqdm


class ProgressBar(tqdm):  # type: ignore[misc]
    """tqdm's, by the monotonic clock: where the time of day jumps back, tqdm's own stands still until it is reached.

    Its lock is one of threads: that of tqdm's own, which is one of processes, too, decides for the whole process how
    multiprocessing starts others, which its owner may want to say later.
    """

    _lock = threading.RLock()

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        if not self.disable:
            self._time = time.monotonic
            self.start_t = self.last_print_t = self._time()
