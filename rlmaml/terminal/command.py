"""What every script shares: user errors become one sentence and an exit code; and heavy imports take less time."""

import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from traceback import format_exception

from rlmaml.base.errors import UserError
from rlmaml.base.memory import keep_freed_memory
from rlmaml.base.user_code import is_of_own_code
from rlmaml.terminal.streams import make_streams_last
from rlmaml.terminal.waiting import signs_of_life


def run_command(command: Callable[[], object], *, waited_for: bool = False) -> None:
    """Run a script's main function; a user's mistake ends it with one sentence on stderr and exit code 2.

    So does code of the user's own that fails, such as a task family, with the frames of that code below the sentence;
    a mistake of ours keeps its traceback.

    An interrupt (Ctrl-C, SIGTERM or SIGHUP) ends it with exit code 130; a training that finished its meta-iteration
    before it ended, and can be gone on with, has 75. It must be called before torch is first imported: it
    asks MKL, unless the user asks for something else, to round a task alone as in a batch of tasks, so that any number
    of processes gives the same bits. Large blocks of memory are kept for reuse. Whoever waits sees signs of life, see
    :mod:`rlmaml.terminal.waiting`. What a terminal cannot show is shown as a question mark; what nobody reads any more
    is lost, and nothing else.

    Args:
        command: what is run.
        waited_for: another process waits for this one, and shows signs of life for both.
    """
    make_streams_last()
    keep_freed_memory()
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    for one in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(one) != signal.SIG_IGN:  # nohup asks for that
            signal.signal(one, signal.default_int_handler)
    try:
        with signs_of_life(silent=time.process_time(), waited_for=waited_for):  # what the imports so far have taken
            check_words(sys.argv[1:])
            command()
    except UserError as error:
        print(f"{error.heading}{error}", file=sys.stderr)  # noqa: T201
        interrupted = isinstance(error.__cause__, KeyboardInterrupt)
        raise SystemExit(130 if interrupted else error.exit_code) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
    except Exception as error:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's
            said = f"There is not enough memory: {error}. Ask for less at once."
        elif isinstance(error, FileNotFoundError) and "usable temporary directory" in str(error):  # tempfile's
            said = f"{error.strerror}. Free space, or name another place for temporary files by TMPDIR."
        elif is_of_own_code(error):
            said = failure_of_own_code(error)
        else:
            raise
        print(f"error: {said}", file=sys.stderr)  # noqa: T201
        raise SystemExit(UserError.exit_code) from None


def failure_of_own_code(error: Exception) -> str:
    """What is said of code of the user's own that failed: a sentence, what is left, and where in that code it was."""
    cause = error.__cause__
    frames = "" if cause is None else "".join(format_exception(cause)).rstrip()
    return "\n".join([str(error), *getattr(error, "__notes__", ()), *([frames] if frames else ())])


def check_words(words: Sequence[str]) -> None:
    """Refuse words of a command line that are empty, as of a variable that is not set, or no text.

    Raises:
        UserError: says which word it is.
    """
    for number, word in enumerate(words, start=1):
        if not word or (word.startswith("--") and word.endswith("=")):
            before = f", after {words[number - 2]}" if number > 1 else ""
            raise UserError(f"Word {number} of the command line is empty{before}. Is a variable not set?")
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{word} is no text in UTF-8, as those who read files need it. Rename it; or set PYTHONUTF8=1 where "
                "it is the terminal that speaks another encoding."
            ) from error


@contextmanager
def lasting_imports() -> Iterator[None]:
    """Import inside this block what the process needs to its end: nothing in it is looked through for garbage.

    Importing torch makes hundreds of thousands of objects that all stay. Python's collector would look at them again
    and again while they are made, and once more at exit: a quarter of the time of a process that does little else.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
