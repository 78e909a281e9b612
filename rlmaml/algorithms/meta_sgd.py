"""Meta-SGD (arXiv 1707.09835): theta is learned together with a size, and a sign, for the step of every parameter.

    φ = θ − α ⊙ ∇L(θ),   min over θ and α of Σ_i L_i(φ_i).

The meta-algorithm is that of :mod:`rlmaml.algorithms.maml_trpo`, whose trust region bounds θ and α together; the sizes
are :class:`rlmaml.rules.rates.PerParameter`. The paper takes one step; each further one has sizes of its own here.
"""

from rlmaml.algorithms.maml_trpo import meta_algorithm

__all__ = ["meta_algorithm"]
