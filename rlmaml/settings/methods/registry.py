"""The registry of methods: every name that ``--algorithm`` takes."""

from rlmaml.base.errors import UserError
from rlmaml.settings.methods.anil import ANIL
from rlmaml.settings.methods.baselines import ORACLE, PRETRAINED, RANDOM, ROBUST
from rlmaml.settings.methods.cavia import CAVIA
from rlmaml.settings.methods.e_maml import E_MAML
from rlmaml.settings.methods.fomaml import FOMAML
from rlmaml.settings.methods.maml_plus_plus import MAML_PLUS_PLUS
from rlmaml.settings.methods.maml_trpo import MAML_TRPO
from rlmaml.settings.methods.meta_sgd import META_SGD
from rlmaml.settings.methods.method import Method
from rlmaml.settings.methods.promp import MAML_PPO, PROMP
from rlmaml.settings.methods.reptile import REPTILE
from rlmaml.settings.methods.rl2 import RL2
from rlmaml.settings.methods.rma import RMA
from rlmaml.terminal.words import did_you_mean

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(MAML_TRPO, FOMAML, E_MAML, META_SGD, MAML_PLUS_PLUS, ANIL, CAVIA),
        *(PROMP, MAML_PPO, REPTILE, RL2, RMA),
        *(PRETRAINED, ROBUST, ORACLE, RANDOM),
    )
}


DEFAULT_METHOD = MAML_TRPO.name
"""The method where none is named."""
PAPERS = (DEFAULT_METHOD, "pretrained", "random", "oracle")
"""The methods of the papers' experiment (arXiv 1703.03400, section 5.3)."""


def find_method(name: str, asked_by: str = "--algorithm") -> Method:
    """The method of a name.

    Args:
        name: which.
        asked_by: the option that gave it.

    Raises:
        UserError: there is none; the message lists those there are.
    """
    if name not in METHODS:
        raise UserError(f"{asked_by} is {name!r}; it must be one of {', '.join(METHODS)}.{did_you_mean(name, METHODS)}")
    return METHODS[name]
