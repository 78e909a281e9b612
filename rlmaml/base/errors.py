"""Errors a user can act on: each says what, what was received, what is legal, and the cure."""


class UserError(Exception):
    """Something the user can mend; scripts print it as one sentence, without a traceback."""


class NonFiniteError(UserError):
    """A quantity of the computation became NaN or infinite."""

    def __init__(self, what: str, cause: str) -> None:
        super().__init__(what, cause)

    def __str__(self) -> str:
        """The message; what it is made of stays apart, so that it comes whole from another process."""
        what, cause = self.args
        return f"{what} became NaN or infinite: {cause}."
