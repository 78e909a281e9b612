"""What every script shares: user errors become one sentence and an exit code."""

import signal
import sys
import warnings
from collections.abc import Callable

from rlmaml.errors import UserError


def run_command(command: Callable[[], None]) -> None:
    """Run a script's main function; a user's mistake ends it with one sentence on stderr and exit code 2.

    An interrupt (Ctrl-C or SIGTERM) ends it with exit code 130.
    """
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        raise SystemExit(130 if interrupted else 2) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
