"""Progress bars whose seconds are those of a clock that nobody sets."""

import time
from typing import Any

from tqdm import tqdm


class ProgressBar(tqdm):  # type: ignore[misc]
    """tqdm's, by the monotonic clock: where the time of day jumps back, tqdm's own stands still until it is reached."""

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        if not self.disable:
            self._time = time.monotonic
            self.start_t = self.last_print_t = self._time()
