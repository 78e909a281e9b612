"""CAVIA, context adaptation via meta-learning (arXiv 1810.03642): inputs c of the policy adapt, and theta is shared.

    c = −α ∇_c L(θ, 0),   min over θ of Σ_i L_i(θ, c_i).

Every task begins with the context at 0; further steps go on from where it is. The meta-algorithm is that of
:mod:`rlmaml.algorithms.maml_trpo`; for the context it finds a derivative of 0, so that theta's stays at 0.
"""

from rlmaml.algorithms.maml_trpo import meta_algorithm

__all__ = ["meta_algorithm"]
