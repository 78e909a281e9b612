"""The registry of methods: every name that ``--algorithm`` takes."""

from rlmaml.base.errors import UserError
from rlmaml.settings.fomaml import FOMAML
from rlmaml.settings.maml_trpo import MAML_TRPO
from rlmaml.settings.method import Method
from rlmaml.settings.reptile import REPTILE

METHODS: dict[str, Method] = {method.name: method for method in (MAML_TRPO, FOMAML, REPTILE)}


def find_method(name: str) -> Method:
    """The method of a name.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    if name not in METHODS:
        raise UserError(f"--algorithm is {name!r}; it must be one of {', '.join(METHODS)}.")
    return METHODS[name]
