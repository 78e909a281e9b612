"""ANIL, almost no inner loop (arXiv 1909.09157): the body is meta-learned, and the head alone adapts.

    φ = (θ_body, θ_head − α ∇_head L(θ)),   min over θ of Σ_i L_i(φ_i).

The head is the last layer, weights and biases; the standard deviation of the actions adapts with ``--adapt-std`` alone.
The meta-algorithm is that of :mod:`rlmaml.algorithms.maml_trpo`.
"""

from rlmaml.algorithms.maml_trpo import meta_algorithm

__all__ = ["meta_algorithm"]
