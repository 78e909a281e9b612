"""First-order MAML (arXiv 1703.03400, section 5.2): the meta-gradient at the adapted parameters, taken for theta's.

    ∇J(θ) ≈ mean_i ∇_φ L_i(φ_i),   the derivative of the inner update being left out:   dφ_i/dθ ≈ I.

The meta-algorithm is that of :mod:`rlmaml.algorithms.maml_trpo`; the inner rule passes derivatives through the identity
alone, which is what ``--first-order`` says.
"""

from rlmaml.algorithms.maml_trpo import meta_algorithm

__all__ = ["meta_algorithm"]
