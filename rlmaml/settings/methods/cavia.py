"""Settings of CAVIA: those of MAML, of which a context alone adapts."""

from rlmaml.settings.methods.maml_trpo import MAML_TRPO

CAVIA = MAML_TRPO._replace(
    name="cavia",
    summary="CAVIA: context inputs alone adapt, from 0 (arXiv 1810.03642)",
    module="rlmaml.algorithms.cavia",
    stands_for={"adapt": "context"},
    defaults={"context": 5, "inner_step_sizes": (1.0,)},
)
