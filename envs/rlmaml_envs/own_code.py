"""Code of a family of the user's own that fails while episodes go on: one error that says which and where."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rlmaml_envs.checks import check_array
from rlmaml_envs.family import Floats, Outcome
from rlmaml_envs.reading import of_a_write
from rlmaml_envs.registry import FAMILIES, is_shipped


class ResultError(ValueError):
    """What a function of a family gave is not what its interface says; the message says all that there is to say."""


class FamilyError(RuntimeError):
    """Code of a task family failed that we did not write, or gave what its interface does not allow.

    Its cause is what that code raised, with its frames from the first one on that is not of ours.
    """

    of_own_code = True
    """What scripts know it by: code of the user's own is to blame."""


def described(error: BaseException) -> str:
    """An error as one line: its type, and what it says."""
    written = of_a_write(error)
    if written is not None:
        return written
    kind = "" if isinstance(error, ResultError) else type(error).__name__
    return ": ".join(part for part in (kind, " ".join(str(error).split())) if part)


def own_frames(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from its first frame on that is not of this package; all of it where there is none."""
    found = trace
    while found is not None and Path(found.tb_frame.f_code.co_filename).parent == Path(__file__).parent:
        found = found.tb_next
    return found or trace


class Blamed:
    """Inside this block a function of a family runs; what it raises is a :class:`FamilyError`.

    What a family that we ship raises stays as it is: it is a mistake of ours.

    Args:
        family_id: environment id.
        function: of the family, in words.
        where: says, once it has failed, where in the episodes that was.
        refusals: what it may raise, to say that it was asked for something that it does not have.
    """

    def __init__(
        self,
        family_id: str,
        function: str,
        where: Callable[[], str] = str,
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self._family_id, self._function, self._where = family_id, function, where
        self._kept = (*refusals, FamilyError)

    def __enter__(self) -> None:
        """Nothing is done."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say whose code failed.

        Raises:
            FamilyError: the block failed, and the family is none of ours.
        """
        if not isinstance(error, Exception) or is_shipped(self._family_id):
            return
        if isinstance(error, self._kept):
            if of_a_write(error) is not None:
                raise ResultError(f"{self._family_id}: {described(error)}") from error
            return
        told = self._family_id in FAMILIES and FAMILIES[self._family_id].origin
        whose = f"{self._family_id}, of {told}," if told else self._family_id
        message = f"The task family {whose} failed in {self._function}{self._where()}: {described(error)}"
        cause = None if isinstance(error, ResultError) else error.with_traceback(own_frames(trace))
        raise FamilyError(message) from cause


@contextmanager
def result_of_family() -> Iterator[None]:
    """What is refused inside this block is what a function of a family gave.

    Raises:
        ResultError: in place of a TypeError or ValueError.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ResultError(str(error)) from error


def check_outcome(outcome: Any, reward_terms: tuple[str, ...], num_copies: int) -> Outcome:
    """What a step gave, as the family's interface says; whether its numbers are finite is another matter.

    Raises:
        ResultError: names the part of another name, shape or type.
    """
    if not isinstance(outcome, tuple) or len(outcome) != len(Outcome._fields):
        raise ResultError(f"step gave {outcome!r:.80}; it must give an Outcome, ({', '.join(Outcome._fields)}).")
    terms, terminated, instability = outcome
    if not isinstance(terms, Mapping) or terms.keys() != set(reward_terms):
        given = list(terms) if isinstance(terms, Mapping) else f"{terms!r:.80}"
        raise ResultError(f"step gave the reward terms {given}; it must be {list(reward_terms)}.")
    with result_of_family():
        for name, term in terms.items():
            check_array(f'The reward term "{name}"', term, (num_copies,), "(copy,)")
        check_array("The end of episodes", terminated, (num_copies,), "(copy,)", kinds="b")
        if instability is not None:
            check_array("The causes of instability", instability, (num_copies,), "(copy,)", kinds="U")
    return Outcome({name: np.asarray(term) for name, term in terms.items()}, np.asarray(terminated), instability)


def check_observation(observation: Any, shape: tuple[int, ...]) -> Floats:
    """What was observed, of the shape that the family's space says, in double precision.

    Raises:
        ResultError: it has another shape or type.
    """
    with result_of_family():
        check_array("The observation", observation, shape, "(copy, observation)")
    return np.asarray(observation, np.float64)
