"""Settings of first-order MAML: those of MAML, with one of them set."""

from rlmaml.settings.methods.maml_trpo import MAML_TRPO

FOMAML = MAML_TRPO._replace(
    name="fomaml",
    summary="first-order MAML: the derivative of the inner update is left out (arXiv 1703.03400, section 5.2)",
    module="rlmaml.algorithms.fomaml",
    stands_for={"first_order": True},
    defaults={"first_order_until": 0},
)
