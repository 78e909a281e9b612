"""Settings of ANIL: those of MAML, of which the head alone adapts."""

from rlmaml.settings.methods.maml_trpo import MAML_TRPO

ANIL = MAML_TRPO._replace(
    name="anil",
    summary="ANIL: almost no inner loop, the head alone adapts (arXiv 1909.09157)",
    module="rlmaml.algorithms.anil",
    stands_for={"adapt": "head"},
)
