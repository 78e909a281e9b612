"""From a method's name to its meta-algorithm: only the module of the method that was chosen is imported."""

from importlib import import_module

from rlmaml.algorithms.meta_algorithm import MetaAlgorithm
from rlmaml.settings.methods.registry import find_method
from rlmaml.settings.whole import Settings


def make_meta_algorithm(settings: Settings) -> MetaAlgorithm:
    """The meta-algorithm of a run, with its own settings.

    Raises:
        UserError: there is no such method.
    """
    module = import_module(find_method(settings.algorithm).module)
    algorithm: MetaAlgorithm = module.meta_algorithm(settings)
    return algorithm
