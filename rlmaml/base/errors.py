"""Errors a user can act on: each says what, what was received, what is legal, and the cure."""


class UserError(Exception):
    """Something the user can mend; scripts print it as one sentence, without a traceback."""

    exit_code = 2
    """With which a script ends."""
    heading = "error: "
    """What stands before the sentence; nothing where all went as the user asked."""


class LostUpdateError(UserError):
    """Nothing can be learned from the numbers of a meta-iteration; :mod:`rlmaml.base.lost_updates`."""


class NonFiniteError(LostUpdateError):
    """A quantity of the computation became NaN or infinite."""

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(f"{what} became NaN or infinite: {cause}.")
