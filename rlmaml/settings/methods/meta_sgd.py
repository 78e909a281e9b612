"""Settings of Meta-SGD: those of MAML, with a learned size for every single parameter."""

from rlmaml.settings.methods.maml_trpo import MAML_TRPO

META_SGD = MAML_TRPO._replace(
    name="meta-sgd",
    summary="Meta-SGD: a learned size, with its sign, for every single parameter (arXiv 1707.09835)",
    module="rlmaml.algorithms.meta_sgd",
    stands_for={"learn_step_sizes": True, "step_sizes_per": "parameter"},
)
